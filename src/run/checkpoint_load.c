#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run/checkpoint_parts.h"
#include "run/safetensors_parts.h"
#include "tardigrad/log.h"

/* ---- which there are ---- */

/* "120", and nothing that only looks like it. */
static bool read_update(const char *name, uint64_t *out) {
  char *end, again[32];
  errno = 0;
  *out = strtoull(name, &end, 10);
  snprintf(again, sizeof again, "%llu", (unsigned long long)*out);
  return errno == 0 && strcmp(again, name) == 0;
}

static int descending(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x > y ? -1 : x < y;
}

tg_status tg_updates_list(const char *run, uint64_t **updates, size_t *count) {
  char path[TG_CKPT_PATH];
  *updates = NULL;
  *count = 0;
  TG_TRY(tg_path_join(run, "checkpoints", path));
  DIR *folder = opendir(path);
  if (!folder) return TG_OK;
  size_t room = 0;
  for (struct dirent *entry; (entry = readdir(folder));) {
    uint64_t update;
    if (!read_update(entry->d_name, &update)) continue;
    if (*count == room) {
      room = 2 * room + 16;
      uint64_t *more = realloc(*updates, room * sizeof *more);
      if (!more) break;
      *updates = more;
    }
    (*updates)[(*count)++] = update;
  }
  closedir(folder);
  if (*count) qsort(*updates, *count, sizeof **updates, descending);
  return TG_OK;
}

tg_status tg_checkpoint_newest(const char *run, uint64_t *update) {
  uint64_t *updates;
  size_t count;
  bool found = false;
  TG_TRY(tg_updates_list(run, &updates, &count));
  for (size_t i = 0; i < count && !found; i++) {
    char name[64], path[TG_CKPT_PATH];
    tg_manifest m;
    snprintf(name, sizeof name, "checkpoints/%llu", (unsigned long long)updates[i]);
    if (tg_path_join(run, name, path) == TG_OK && tg_manifest_verify(path, &m) == TG_OK) {
      *update = updates[i];
      found = true;
    } else {
      tg_warn("checkpoint %llu is broken and passed over: %s", (unsigned long long)updates[i],
              tg_status_message());
    }
  }
  free(updates);
  if (!found) TG_FAIL(TG_ENOINPUT, "%s/checkpoints: no whole checkpoint", run);
  return TG_OK;
}

/* ---- reading one ---- */

static const char *shape_text(tg_st_dtype dtype, int nd, const int64_t *dim, char out[160]) {
  int n = snprintf(out, 160, "%s [", tg_st_kinds[dtype].name);
  for (int i = 0; i < nd; i++)
    n += snprintf(out + n, (size_t)(160 - n), i ? ", %lld" : "%lld", (long long)dim[i]);
  snprintf(out + n, (size_t)(160 - n), "]");
  return out;
}

static tg_status check_array(const char *path, const tg_safetensors *f, const tg_ckpt_array *a) {
  const tg_st_tensor *t = tg_safetensors_find(f, a->name);
  char expected[160], found[160];
  if (!t) TG_FAIL(TG_EDATA, "%s: array '%s' is missing", path, a->name);
  bool same = t->dtype == a->dtype && t->nd == a->nd;
  for (int i = 0; same && i < t->nd; i++) same = t->dim[i] == a->dim[i];
  if (!same)
    TG_FAIL(TG_EDATA, "%s: array '%s' is %s: expected %s", path, a->name,
            shape_text(t->dtype, t->nd, t->dim, found),
            shape_text(a->dtype, a->nd, a->dim, expected));
  return TG_OK;
}

/* An array of the file that nobody asked for: the counts differ, so there is one. */
static tg_status name_surplus(const char *path, const tg_safetensors *f,
                              const tg_ckpt_array *arrays, size_t count) {
  for (size_t i = 0; i < tg_safetensors_count(f); i++) {
    const char *name = tg_safetensors_at(f, i)->name;
    bool wanted = false;
    for (size_t j = 0; j < count && !wanted; j++) wanted = strcmp(arrays[j].name, name) == 0;
    if (!wanted) TG_FAIL(TG_EDATA, "%s: array '%.120s' is not expected here", path, name);
  }
  return TG_OK;
}

static tg_status open_listed(const char *folder, const tg_manifest *m, const char *name, char *path,
                             tg_safetensors **out) {
  TG_TRY(tg_path_join(folder, name, path));
  for (size_t i = 0; i < m->file_count; i++) {
    if (strcmp(m->file[i].name, name) != 0) continue;
    TG_TRY(tg_safetensors_open(path, out));
    if (strcmp(tg_safetensors_hash(*out), m->file[i].hash) == 0) return TG_OK;
    TG_FAIL(TG_EDATA, "%s: hash %s: the manifest says %s", path, tg_safetensors_hash(*out),
            m->file[i].hash);
  }
  TG_FAIL(TG_EDATA, "%s: not in the checkpoint's manifest", path);
}

static tg_status open_arrays(const char *folder, const tg_manifest *m, const char *name,
                             const tg_ckpt_array *arrays, size_t count, tg_safetensors **out) {
  char path[TG_CKPT_PATH];
  TG_TRY(open_listed(folder, m, name, path, out));
  for (size_t i = 0; i < count; i++) TG_TRY(check_array(path, *out, &arrays[i]));
  return tg_safetensors_count(*out) == count ? TG_OK : name_surplus(path, *out, arrays, count);
}

static void copy_arrays(const tg_safetensors *f, const tg_ckpt_array *arrays, size_t count) {
  for (size_t i = 0; i < count; i++) {
    const tg_st_tensor *t = tg_safetensors_find(f, arrays[i].name);
    if (t->bytes) memcpy(arrays[i].data, t->data, t->bytes);
  }
}

tg_status tg_checkpoint_load(const char *folder, tg_ckpt_content *content) {
  tg_status status = TG_OK;
  tg_manifest m;
  tg_safetensors *weights = NULL, *state = NULL;
  TG_DO(tg_manifest_read(folder, &m));
  if (content->model && strcmp(content->model, m.model) != 0)
    TG_DO(tg_status_set(TG_EDATA, "%s: a checkpoint of model '%s': expected '%s'", folder, m.model,
                        content->model));
  if (content->weight_count)
    TG_DO(open_arrays(folder, &m, TG_CKPT_WEIGHTS, content->weights, content->weight_count,
                      &weights));
  if (content->state_count)
    TG_DO(open_arrays(folder, &m, TG_CKPT_STATE, content->state, content->state_count, &state));
  if (weights) copy_arrays(weights, content->weights, content->weight_count);
  if (state) copy_arrays(state, content->state, content->state_count);
  content->update = m.update;
  content->samples = m.samples;
  content->epoch = m.epoch;
  content->epochs = m.epochs;
  content->legs = m.legs;
  memcpy(content->leg, m.leg, sizeof m.leg);
  content->trace_records = m.trace_records;
  content->metrics_bytes = m.metrics_bytes;
done:
  tg_safetensors_close(weights);
  tg_safetensors_close(state);
  return status;
}
