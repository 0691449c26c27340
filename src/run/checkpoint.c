#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "run/checkpoint_parts.h"
#include "tardigrad/log.h"

/* What is being written or removed is called .<update>.<pid>.part: only what is whole, or was, has
 * the name of an update. */

static tg_status sync_folder(const char *path) {
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  bool synced = fd >= 0 && fsync(fd) == 0;
  int error = errno;
  if (fd >= 0) close(fd);
  /* Some network file systems cannot sync folders, and say so. */
  if (!synced && error != EINVAL && error != ENOTSUP)
    TG_FAIL(TG_ERUNTIME, "%s: cannot sync: %s", path, strerror(error));
  return TG_OK;
}

/* Removes a checkpoint's folder. What cannot be removed is left to the next save. */
static void remove_folder(const char *path) {
  DIR *folder = opendir(path);
  if (!folder) return;
  for (struct dirent *entry; (entry = readdir(folder));)
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
      unlinkat(dirfd(folder), entry->d_name, 0);
  closedir(folder);
  rmdir(path);
}

/* Leftovers of processes that are gone. */
static void remove_stale(const char *checkpoints) {
  DIR *folder = opendir(checkpoints);
  if (!folder) return;
  for (struct dirent *entry; (entry = readdir(folder));) {
    unsigned long long update;
    int pid, end = 0;
    char path[TG_CKPT_PATH];
    if (sscanf(entry->d_name, ".%llu.%d.part%n", &update, &pid, &end) != 2 || !end ||
        entry->d_name[end] || pid <= 0)
      continue;
    bool alive = pid != getpid() && (kill(pid, 0) == 0 || errno == EPERM);
    if (!alive && tg_path_join(checkpoints, entry->d_name, path) == TG_OK) remove_folder(path);
  }
  closedir(folder);
}

static tg_status make_folder(const char *path) {
  if (mkdir(path, 0777) == 0 || errno == EEXIST) return TG_OK;
  TG_FAIL(TG_ERUNTIME, "%s: cannot make the folder: %s", path, strerror(errno));
}

static tg_status write_arrays(const char *folder, const char *name, const tg_ckpt_array *arrays,
                              size_t count, const char *model, tg_ckpt_file *out) {
  const char *const metadata[][2] = {{"format", "pt"}, {"model", model}};
  char path[TG_CKPT_PATH];
  tg_status status = TG_OK;
  size_t bytes = 0;
  tg_st_tensor *tensors = calloc(count + 1, sizeof *tensors);
  if (!tensors) TG_FAIL(TG_ERUNTIME, "%s: no memory", folder);
  for (size_t i = 0; i < count; i++) {
    tensors[i] = (tg_st_tensor){.name = arrays[i].name,
                                .dtype = arrays[i].dtype,
                                .nd = arrays[i].nd,
                                .data = arrays[i].data};
    memcpy(tensors[i].dim, arrays[i].dim, sizeof tensors[i].dim);
  }
  TG_DO(tg_path_join(folder, name, path));
  TG_DO(tg_safetensors_write(path, tensors, count, metadata, 2, &bytes, out->hash));
  snprintf(out->name, sizeof out->name, "%s", name);
  out->bytes = bytes;
done:
  free(tensors);
  return status;
}

static tg_status write_folder(const char *folder, const tg_ckpt_content *c) {
  const char *model = c->model ? c->model : "";
  tg_manifest m = {.update = c->update,
                   .samples = c->samples,
                   .trace_records = c->trace_records,
                   .metrics_bytes = c->metrics_bytes,
                   .epoch = c->epoch,
                   .epochs = c->epochs,
                   .legs = c->legs};
  memcpy(m.leg, c->leg, sizeof m.leg);
  snprintf(m.model, sizeof m.model, "%s", model);
  TG_TRY(make_folder(folder));
  TG_TRY(write_arrays(folder, TG_CKPT_WEIGHTS, c->weights, c->weight_count, model,
                      &m.file[m.file_count++]));
  if (c->state_count)
    TG_TRY(write_arrays(folder, TG_CKPT_STATE, c->state, c->state_count, model,
                        &m.file[m.file_count++]));
  TG_TRY(tg_manifest_write(folder, &m));
  return sync_folder(folder);
}

static tg_status part_path(const char *checkpoints, uint64_t update, char *out) {
  char name[64];
  snprintf(name, sizeof name, ".%llu.%d.part", (unsigned long long)update, (int)getpid());
  return tg_path_join(checkpoints, name, out);
}

static tg_status final_path(const char *checkpoints, uint64_t update, char *out) {
  char name[64];
  snprintf(name, sizeof name, "%llu", (unsigned long long)update);
  return tg_path_join(checkpoints, name, out);
}

/* Takes a checkpoint's name away first, so that a removal cut short leaves nothing that looks
 * whole. */
static tg_status discard(const char *checkpoints, uint64_t update) {
  char path[TG_CKPT_PATH], part[TG_CKPT_PATH];
  TG_TRY(final_path(checkpoints, update, path));
  TG_TRY(part_path(checkpoints, update, part));
  if (rename(path, part) != 0) TG_FAIL(TG_ERUNTIME, "%s: cannot remove: %s", path, strerror(errno));
  remove_folder(part);
  return TG_OK;
}

/* Those with a higher number than the one just saved were passed over as broken, or come from a
 * future that will be trained again: they are neither counted nor touched. */
static tg_status prune(const char *run, const char *checkpoints, uint64_t saved, int keep) {
  uint64_t *updates;
  size_t count;
  tg_status status = TG_OK;
  TG_TRY(tg_updates_list(run, &updates, &count));
  int kept = 0;
  for (size_t i = 0; i < count; i++)
    if (updates[i] <= saved && updates[i] > 0 && kept++ >= keep)
      TG_DO(discard(checkpoints, updates[i]));
done:
  free(updates);
  return status;
}

static tg_status write_and_rename(const char *checkpoints, const tg_ckpt_content *content) {
  char path[TG_CKPT_PATH], part[TG_CKPT_PATH];
  TG_TRY(final_path(checkpoints, content->update, path));
  TG_TRY(part_path(checkpoints, content->update, part));
  tg_status status = write_folder(part, content);
  if (status == TG_OK && rename(part, path) != 0)
    status = tg_status_set(TG_ERUNTIME, "%s: cannot rename to it: %s", path, strerror(errno));
  if (status != TG_OK) remove_folder(part);
  return status;
}

tg_status tg_checkpoint_save(const char *run, const tg_ckpt_content *content, int keep) {
  char checkpoints[TG_CKPT_PATH], path[TG_CKPT_PATH];
  tg_manifest m;
  TG_TRY(tg_path_join(run, "checkpoints", checkpoints));
  TG_TRY(make_folder(checkpoints));
  remove_stale(checkpoints);
  TG_TRY(final_path(checkpoints, content->update, path));
  bool exists = access(path, F_OK) == 0;
  bool whole = exists && tg_manifest_verify(path, &m) == TG_OK;
  if (exists && !whole) {
    tg_warn("checkpoint %llu is broken and written anew: %s", (unsigned long long)content->update,
            tg_status_message());
    TG_TRY(discard(checkpoints, content->update));
  }
  if (!whole) TG_TRY(write_and_rename(checkpoints, content));
  TG_TRY(sync_folder(checkpoints));
  TG_TRY(sync_folder(run));
  return prune(run, checkpoints, content->update, keep);
}
