/* checkpoint.h - weights and state on disk: safetensors, a manifest, and nothing half written.
 *
 * A checkpoint is a folder checkpoints/<update>/ with weights.safetensors (parameters and running
 * statistics under PyTorch's names), state.safetensors (w_bak, rule and optimiser state, versions,
 * steps, counters) and manifest.json (sizes and XXH3-128 hashes of both, the counters, the place in
 * trace.bin and metrics.jsonl). It is written into a folder beside, every file and folder synced,
 * then renamed: what has its final name is whole. */
#ifndef TARDIGRAD_CHECKPOINT_H
#define TARDIGRAD_CHECKPOINT_H

#include <stddef.h>
#include <stdint.h>

#include "tardigrad/status.h"

/* ---- safetensors: u64 header length, JSON, raw bytes (github.com/huggingface/safetensors) ---- */

typedef enum { TG_ST_F32, TG_ST_U64, TG_ST_I64, TG_ST_F64, TG_ST_BF16, TG_ST_U8 } tg_st_dtype;

typedef struct tg_st_tensor {
  const char *name;
  tg_st_dtype dtype;
  int nd;
  int64_t dim[5];
  const void *data; /* writing: borrowed. reading: into the file's memory, aligned if we wrote it */
  size_t bytes;     /* reading: of data. writing: follows from dtype and dim */
} tg_st_tensor;

/* tg_safetensors_write - writes and syncs a file, beside its name and then renamed; metadata: count
 * pairs of strings, or NULL. hash_hex (33 chars, may be NULL) receives the XXH3-128 of the file's
 * bytes. */
TG_CHECKED tg_status tg_safetensors_write(const char *path, const tg_st_tensor *tensors,
                                          size_t count, const char *const (*metadata)[2],
                                          size_t metadata_count, size_t *bytes, char *hash_hex);

typedef struct tg_safetensors tg_safetensors;
/* tg_safetensors_open - reads a whole file and checks every offset, shape and overlap before any
 * use. TG_ENOINPUT, TG_EDATA (file, offset, what was expected). */
TG_CHECKED tg_status tg_safetensors_open(const char *path, tg_safetensors **out);
void tg_safetensors_close(tg_safetensors *file);
size_t tg_safetensors_count(const tg_safetensors *file);
const tg_st_tensor *tg_safetensors_at(const tg_safetensors *file, size_t i);
const tg_st_tensor *tg_safetensors_find(const tg_safetensors *file, const char *name); /* or NULL */
/* The XXH3-128 of the whole file as 32 hex digits. */
const char *tg_safetensors_hash(const tg_safetensors *file);

/* tg_hash_hex - XXH3-128 of memory, as 32 hex digits and a zero. */
void tg_hash_hex(const void *data, size_t bytes, char out[33]);

/* ---- checkpoints ---- */

/* One named array to save, or to restore into. */
typedef struct tg_ckpt_array {
  char name[128];
  tg_st_dtype dtype;
  int nd;
  int64_t dim[5];
  void *data;
} tg_ckpt_array;

/* A run whose train.epochs was changed when it was resumed: what it was until so many records of
 * trace.bin. Replay changes it there too, for it decides which gradients are asked for. */
typedef struct tg_leg {
  uint64_t records;
  double epochs;
} tg_leg;
enum { TG_MOST_LEGS = 64 };

typedef struct tg_ckpt_content {
  tg_ckpt_array *weights; /* -> weights.safetensors */
  size_t weight_count;
  tg_ckpt_array *state; /* -> state.safetensors */
  size_t state_count;
  uint64_t update, samples; /* counters, also in the manifest */
  double epoch;
  uint64_t trace_records; /* records of trace.bin handled */
  uint64_t metrics_bytes; /* length of metrics.jsonl */
  double epochs; /* train.epochs of the run that saved it; NaN in checkpoints of before that */
  tg_leg leg[TG_MOST_LEGS]; /* and before it was resumed, the first one first */
  size_t legs;
  const char *model; /* name, for `eval CHECKPOINT` and messages */
} tg_ckpt_content;

/* tg_checkpoint_save - writes <run>/checkpoints/<update>/ (a whole one of that name is left as it
 * is) and then removes all older ones but the newest `keep` and 0. TG_ERUNTIME on I/O errors, after
 * which nothing half written carries a final name. */
TG_CHECKED tg_status tg_checkpoint_save(const char *run, const tg_ckpt_content *content, int keep);

/* tg_checkpoint_newest - the update of the newest checkpoint of the run that is whole (manifest
 * present, sizes and hashes right); broken ones are warned about and passed over. TG_ENOINPUT if
 * there is none. */
TG_CHECKED tg_status tg_checkpoint_newest(const char *run, uint64_t *update);

/* tg_checkpoint_load - fills content->...[i].data of every array by name from `folder` (a
 * checkpoints/<update> folder) after checking the manifest's hashes, and the counters. Names,
 * dtypes and shapes must match exactly: TG_EDATA names the array and both shapes, and nothing was
 * filled. A count of 0 skips that file: both 0 read the counters alone. model, unless NULL, must be
 * the manifest's. */
TG_CHECKED tg_status tg_checkpoint_load(const char *folder, tg_ckpt_content *content);

#endif
