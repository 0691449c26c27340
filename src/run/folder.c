/* folder.c - where a run lies on disk. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tardigrad/log.h"
#include "tardigrad/run.h"

static tg_status fill(tg_folder *out, const char *run) {
  if ((size_t)snprintf(out->run, sizeof out->run, "%s", run) >= sizeof out->run)
    TG_FAIL(TG_ECONFIG, "run.dir/run.name is longer than %zu bytes", sizeof out->run - 1);
  snprintf(out->config, sizeof out->config, "%s/config.yaml", out->run);
  snprintf(out->trace, sizeof out->trace, "%s/trace.bin", out->run);
  snprintf(out->metrics, sizeof out->metrics, "%s/metrics.jsonl", out->run);
  return TG_OK;
}

tg_status tg_folder_of(const tg_config *config, tg_folder *out) {
  char run[1024];
  snprintf(run, sizeof run, "%s/%s", config->run_dir, config->run_name);
  return fill(out, run);
}

tg_status tg_folder_named(const char *run, tg_folder *out) {
  struct stat st;
  if (stat(run, &st) != 0 || !S_ISDIR(st.st_mode)) TG_FAIL(TG_ENOINPUT, "%s: no such run", run);
  TG_TRY(fill(out, run));
  if (access(out->config, R_OK) != 0)
    TG_FAIL(TG_ENOINPUT, "%s: not the folder of a run: it has no config.yaml", run);
  return TG_OK;
}

static tg_status make_folders(const char *path) {
  char part[1024];
  snprintf(part, sizeof part, "%s", path);
  for (char *p = part + 1;; p++) {
    if (*p != '/' && *p) continue;
    char end = *p;
    *p = 0;
    if (mkdir(part, 0777) != 0 && errno != EEXIST)
      TG_FAIL(TG_ERUNTIME, "folder %s cannot be made: %s", part, strerror(errno));
    if (!end) return TG_OK;
    *p = end;
  }
}

/* ---- one job at a time ---- */

static tg_status open_lock(const char *run, int *fd) {
  char path[1100];
  TG_TRY(make_folders(run));
  snprintf(path, sizeof path, "%s/.lock", run);
  *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (*fd < 0) TG_FAIL(TG_ERUNTIME, "%s cannot be made: %s", path, strerror(errno));
  return TG_OK;
}

/* Ranks of a job whose mpirun was killed live on for a second or two, and write. */
static tg_status take_lock(const char *run, int fd) {
  const double patience_s = 10, until = tg_clock_s() + patience_s;
  while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR)
      TG_FAIL(TG_ERUNTIME, "%s cannot be locked: %s", run, strerror(errno));
    if (tg_clock_s() > until)
      TG_FAIL(TG_EUNAVAILABLE, "%s: another job has been writing this run for %g s", run,
              patience_s);
    tg_nap(0.05);
  }
  return TG_OK;
}

tg_status tg_folder_lock(const tg_folder *folder, int *fd) {
  TG_TRY(open_lock(folder->run, fd));
  tg_status status = take_lock(folder->run, *fd);
  if (status != TG_OK) {
    close(*fd);
    *fd = -1;
  }
  return status;
}

/* An earlier run of the same name is kept under the next free number. */
static tg_status move_aside(const tg_folder *folder, int *lock) {
  if (access(folder->config, F_OK) != 0) return TG_OK;
  const char *run = folder->run;
  for (int i = 1; i < 100000; i++) {
    char aside[1024];
    snprintf(aside, sizeof aside, "%s.%d", run, i);
    if (access(aside, F_OK) == 0) continue;
    if (rename(run, aside) != 0)
      TG_FAIL(TG_ERUNTIME, "earlier run %s cannot be moved to %s: %s", run, aside, strerror(errno));
    tg_info("an earlier run of this name is now %s", aside);
    /* The lock went with it; the new folder gets one of its own. */
    close(*lock);
    *lock = -1;
    return tg_folder_lock(folder, lock);
  }
  TG_FAIL(TG_ERUNTIME, "%s: too many earlier runs of this name", run);
}

static tg_status write_config(const tg_folder *folder, const tg_config *config) {
  char part[840];
  snprintf(part, sizeof part, "%s.part", folder->config);
  FILE *f = fopen(part, "w");
  if (!f) TG_FAIL(TG_ERUNTIME, "%s cannot be written: %s", part, strerror(errno));
  tg_status status = tg_config_write(config, f);
  bool whole = fflush(f) == 0 && fsync(fileno(f)) == 0;
  if ((fclose(f) != 0 || !whole) && status == TG_OK)
    status = tg_status_set(TG_ERUNTIME, "%s cannot be written: %s", part, strerror(errno));
  if (status == TG_OK && rename(part, folder->config) != 0)
    status = tg_status_set(TG_ERUNTIME, "%s cannot be renamed: %s", part, strerror(errno));
  if (status != TG_OK) unlink(part);
  return status;
}

tg_status tg_folder_prepare(const tg_folder *folder, const tg_config *config, bool keep,
                            int *lock) {
  if (!keep) TG_TRY(move_aside(folder, lock));
  return write_config(folder, config);
}

/* ---- RUN|CHECKPOINT ---- */

/* A checkpoint is <run>/checkpoints/<update>. */
static bool is_checkpoint(const char *path) {
  char manifest[1100];
  snprintf(manifest, sizeof manifest, "%s/manifest.json", path);
  return access(manifest, F_OK) == 0;
}

static tg_status run_of_checkpoint(const char *path, tg_folder *out) {
  char up[1100];
  snprintf(up, sizeof up, "%s/../..", path);
  char *whole = realpath(up, NULL);
  if (!whole) TG_FAIL(TG_ENOINPUT, "%s: not a checkpoint of a run", path);
  tg_status status = tg_folder_named(whole, out);
  free(whole);
  return status;
}

tg_status tg_source_open(const char *path, const char *const *assignments, int count,
                         tg_source *out) {
  uint64_t update;
  if (is_checkpoint(path)) {
    TG_TRY(run_of_checkpoint(path, &out->folder));
    snprintf(out->checkpoint, sizeof out->checkpoint, "%s", path);
  } else {
    TG_TRY(tg_folder_named(path, &out->folder));
    TG_TRY(tg_checkpoint_newest(out->folder.run, &update));
    snprintf(out->checkpoint, sizeof out->checkpoint, "%s/checkpoints/%llu", out->folder.run,
             (unsigned long long)update);
  }
  return tg_config_load(out->folder.config, assignments, count, &out->config);
}
