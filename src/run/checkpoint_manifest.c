#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "run/checkpoint_parts.h"
#include "run/safetensors_parts.h"
#include "run/text.h"

static const char FORMAT[] = "tardigrad checkpoint";
enum { VERSION = 1, READ_BYTES = 1 << 20 };

tg_status tg_path_join(const char *folder, const char *name, char *out) {
  int n = snprintf(out, TG_CKPT_PATH, "%s/%s", folder, name);
  if (n < 0 || n >= TG_CKPT_PATH) TG_FAIL(TG_ERUNTIME, "%s: the path is too long", folder);
  return TG_OK;
}

/* ---- writing ---- */

static json_t *describe(const tg_manifest *m) {
  json_t *files = json_array();
  for (size_t i = 0; i < m->file_count; i++)
    json_array_append_new(files,
                          json_pack("{s:s, s:I, s:s}", "name", m->file[i].name, "bytes",
                                    (json_int_t)m->file[i].bytes, "xxh3_128", m->file[i].hash));
  json_t *legs = json_array();
  for (size_t i = 0; i < m->legs; i++)
    json_array_append_new(legs, json_pack("{s:I, s:f}", "records", (json_int_t)m->leg[i].records,
                                          "epochs", m->leg[i].epochs));
  return json_pack("{s:s, s:i, s:s, s:I, s:I, s:f, s:f, s:o, s:I, s:I, s:o}", "format", FORMAT,
                   "version", VERSION, "model", m->model, "update", (json_int_t)m->update,
                   "samples", (json_int_t)m->samples, "epoch", m->epoch, "epochs", m->epochs,
                   "legs", legs, "trace_records", (json_int_t)m->trace_records, "metrics_bytes",
                   (json_int_t)m->metrics_bytes, "files", files);
}

tg_status tg_manifest_write(const char *folder, const tg_manifest *m) {
  tg_status status = TG_OK;
  char path[TG_CKPT_PATH];
  int fd = -1;
  TG_TRY(tg_path_join(folder, TG_CKPT_MANIFEST, path));
  json_t *root = describe(m);
  char *text = root ? json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(17)) : NULL;
  if (!text) TG_DO(tg_status_set(TG_ERUNTIME, "%s: cannot describe the checkpoint", path));
  size_t length = strlen(text);
  text[length] = '\n'; /* in place of the end mark: the text is written by its length */
  fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd < 0 || write(fd, text, length + 1) != (ssize_t)length + 1 || fsync(fd) != 0)
    TG_DO(tg_status_set(TG_ERUNTIME, "%s: cannot write: %s", path, strerror(errno)));
done:
  if (fd >= 0) close(fd);
  free(text);
  json_decref(root);
  return status;
}

/* ---- reading ---- */

static tg_status get_count(const char *path, const json_t *root, const char *key, uint64_t *out) {
  const json_t *value = json_object_get(root, key);
  if (!json_is_integer(value) || json_integer_value(value) < 0)
    TG_FAIL(TG_EDATA, "%s: '%s': expected an integer from 0", path, key);
  *out = (uint64_t)json_integer_value(value);
  return TG_OK;
}

static tg_status get_text(const char *path, const json_t *root, const char *key, char *out,
                          size_t bytes) {
  const char *value = json_string_value(json_object_get(root, key));
  if (!value || strlen(value) >= bytes)
    TG_FAIL(TG_EDATA, "%s: '%s': expected a text of less than %zu bytes", path, key, bytes);
  memcpy(out, value, strlen(value) + 1);
  return TG_OK;
}

static tg_status get_file(const char *path, const json_t *entry, tg_ckpt_file *out) {
  TG_TRY(get_text(path, entry, "name", out->name, sizeof out->name));
  if (strcmp(out->name, TG_CKPT_WEIGHTS) != 0 && strcmp(out->name, TG_CKPT_STATE) != 0)
    TG_FAIL(TG_EDATA, "%s: 'name': expected " TG_CKPT_WEIGHTS " or " TG_CKPT_STATE, path);
  TG_TRY(get_count(path, entry, "bytes", &out->bytes));
  TG_TRY(get_text(path, entry, "xxh3_128", out->hash, sizeof out->hash));
  if (strspn(out->hash, "0123456789abcdef") != 32)
    TG_FAIL(TG_EDATA, "%s: 'xxh3_128': expected 32 hex digits", path);
  return TG_OK;
}

/* Checkpoints of before there were legs have neither. */
static tg_status get_legs(const char *path, const json_t *root, tg_manifest *m) {
  const json_t *epochs = json_object_get(root, "epochs"), *legs = json_object_get(root, "legs");
  m->epochs = json_is_number(epochs) ? json_number_value(epochs) : NAN;
  m->legs = json_array_size(legs);
  if (m->legs > TG_MOST_LEGS)
    TG_FAIL(TG_EDATA, "%s: 'legs': expected at most %d", path, TG_MOST_LEGS);
  for (size_t i = 0; i < m->legs; i++) {
    const json_t *leg = json_array_get(legs, i);
    TG_TRY(get_count(path, leg, "records", &m->leg[i].records));
    if (!json_is_number(json_object_get(leg, "epochs")))
      TG_FAIL(TG_EDATA, "%s: 'epochs' of 'legs': expected a number", path);
    m->leg[i].epochs = json_number_value(json_object_get(leg, "epochs"));
  }
  return TG_OK;
}

static tg_status interpret(const char *path, const json_t *root, tg_manifest *m) {
  char format[64];
  uint64_t version = 0;
  TG_TRY(get_text(path, root, "format", format, sizeof format));
  if (strcmp(format, FORMAT) != 0) TG_FAIL(TG_EDATA, "%s: 'format': expected '%s'", path, FORMAT);
  TG_TRY(get_count(path, root, "version", &version));
  if (version != VERSION)
    TG_FAIL(TG_EDATA, "%s: version %llu: expected %d", path, (unsigned long long)version, VERSION);
  TG_TRY(get_text(path, root, "model", m->model, sizeof m->model));
  TG_TRY(get_count(path, root, "update", &m->update));
  TG_TRY(get_count(path, root, "samples", &m->samples));
  TG_TRY(get_count(path, root, "trace_records", &m->trace_records));
  TG_TRY(get_count(path, root, "metrics_bytes", &m->metrics_bytes));
  const json_t *epoch = json_object_get(root, "epoch"), *files = json_object_get(root, "files");
  if (!json_is_number(epoch)) TG_FAIL(TG_EDATA, "%s: 'epoch': expected a number", path);
  m->epoch = json_number_value(epoch);
  TG_TRY(get_legs(path, root, m));
  m->file_count = json_array_size(files);
  if (m->file_count < 1 || m->file_count > TG_CKPT_FILES)
    TG_FAIL(TG_EDATA, "%s: 'files': expected 1 or %d", path, TG_CKPT_FILES);
  for (size_t i = 0; i < m->file_count; i++)
    TG_TRY(get_file(path, json_array_get(files, i), &m->file[i]));
  return TG_OK;
}

tg_status tg_manifest_read(const char *folder, tg_manifest *m) {
  char path[TG_CKPT_PATH], shown[TG_SHOWN_CHARS];
  json_error_t error;
  *m = (tg_manifest){.update = 0};
  TG_TRY(tg_path_join(folder, TG_CKPT_MANIFEST, path));
  if (access(path, R_OK) != 0) TG_FAIL(TG_ENOINPUT, "%s: %s", path, strerror(errno));
  json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
  if (!root)
    TG_FAIL(TG_EDATA, "%s: offset %d: expected JSON: %s", path,
            error.position > 0 ? error.position : 0, tg_text_shown(error.text, shown));
  tg_status status = interpret(path, root, m);
  json_decref(root);
  return status;
}

static tg_status hash_file(const char *path, uint64_t *bytes, char hash[33]) {
  tg_status status = TG_OK;
  XXH3_state_t *state = XXH3_createState();
  unsigned char *buffer = malloc(READ_BYTES);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) TG_DO(tg_status_set(TG_EDATA, "%s: %s", path, strerror(errno)));
  if (!state || !buffer) TG_DO(tg_status_set(TG_ERUNTIME, "%s: no memory", path));
  XXH3_128bits_reset(state);
  *bytes = 0;
  for (ssize_t n; (n = read(fd, buffer, READ_BYTES)) != 0;) {
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) TG_DO(tg_status_set(TG_EDATA, "%s: cannot read: %s", path, strerror(errno)));
    XXH3_128bits_update(state, buffer, (size_t)n);
    *bytes += (uint64_t)n;
  }
  tg_hash_text(XXH3_128bits_digest(state), hash);
done:
  if (fd >= 0) close(fd);
  free(buffer);
  XXH3_freeState(state);
  return status;
}

tg_status tg_manifest_verify(const char *folder, tg_manifest *m) {
  TG_TRY(tg_manifest_read(folder, m));
  for (size_t i = 0; i < m->file_count; i++) {
    const tg_ckpt_file *f = &m->file[i];
    char path[TG_CKPT_PATH], hash[33];
    uint64_t bytes = 0;
    TG_TRY(tg_path_join(folder, f->name, path));
    TG_TRY(hash_file(path, &bytes, hash));
    if (bytes != f->bytes)
      TG_FAIL(TG_EDATA, "%s: %llu bytes: the manifest says %llu", path, (unsigned long long)bytes,
              (unsigned long long)f->bytes);
    if (strcmp(hash, f->hash) != 0)
      TG_FAIL(TG_EDATA, "%s: hash %s: the manifest says %s", path, hash, f->hash);
  }
  return TG_OK;
}
