/* checkpoint_parts.h - what writing and reading checkpoints share: names, and the manifest. */
#ifndef RUN_CHECKPOINT_PARTS_H
#define RUN_CHECKPOINT_PARTS_H

#include "tardigrad/checkpoint.h"

enum { TG_CKPT_PATH = 4096, TG_CKPT_FILES = 2 };

#define TG_CKPT_WEIGHTS  "weights.safetensors"
#define TG_CKPT_STATE    "state.safetensors"
#define TG_CKPT_MANIFEST "manifest.json"

typedef struct tg_ckpt_file {
  char name[32];
  uint64_t bytes;
  char hash[33];
} tg_ckpt_file;

typedef struct tg_manifest {
  uint64_t update, samples, trace_records, metrics_bytes;
  double epoch, epochs;
  tg_leg leg[TG_MOST_LEGS];
  size_t legs;
  char model[128];
  tg_ckpt_file file[TG_CKPT_FILES];
  size_t file_count;
} tg_manifest;

/* tg_manifest_write - writes and syncs folder/manifest.json. */
TG_CHECKED tg_status tg_manifest_write(const char *folder, const tg_manifest *m);
/* tg_manifest_read - TG_ENOINPUT without one, TG_EDATA (file, what was expected). */
TG_CHECKED tg_status tg_manifest_read(const char *folder, tg_manifest *m);
/* tg_manifest_verify - reads the manifest, and compares size and hash of every file. */
TG_CHECKED tg_status tg_manifest_verify(const char *folder, tg_manifest *m);

/* tg_path_join - folder/name into out[TG_CKPT_PATH]. TG_ERUNTIME where it is too long. */
TG_CHECKED tg_status tg_path_join(const char *folder, const char *name, char *out);

/* tg_updates_list - the updates that <run>/checkpoints has folders of, descending, malloc'ed;
 * whether they are whole is not looked at. No such folder: none. */
TG_CHECKED tg_status tg_updates_list(const char *run, uint64_t **updates, size_t *count);

#endif
