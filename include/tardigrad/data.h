/* data.h - data sets, and which sample goes where.
 *
 * A data set is bytes in memory: images are uint8, planar (C,H,W), labels int32. What a worker
 * trains on is a pure function of (seed, worker, step): no state, no broadcast, so that a batch is
 * the same whoever computes it. */
#ifndef TARDIGRAD_DATA_H
#define TARDIGRAD_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tardigrad/backend.h"

/* Validation: the last `validation` samples of the training set, held out of TG_TRAIN. */
typedef enum { TG_TRAIN, TG_TEST, TG_VALIDATION } tg_split;
/* tg_split_name - "train", "test", "validation". */
const char *tg_split_name(tg_split split);

/* crop_flip: the image with 4 black pixels (of value 0) all around it, cut at (top, left), each
 * uniform in 0..8, then mirrored left to right with probability 1/2. The three are drawn in this
 * order by tg_rng_below from the stream (seed, TG_RNG_AUGMENT, epoch, sample). */
typedef enum { TG_AUGMENT_NONE, TG_AUGMENT_CROP_FLIP } tg_augment;

typedef struct tg_data_options {
  const char *name;                 /* "fashion_mnist" */
  const char *path;                 /* folder; "" = search the usual places */
  uint32_t train_limit, test_limit; /* first N samples; 0 = all */
  uint32_t validation;              /* samples held out; train_limit counts what is left */
  uint64_t seed;                    /* of synthetic data */
} tg_data_options;

typedef struct tg_dataset {
  const char *name;
  uint32_t count;              /* samples */
  int channels, height, width; /* of an image */
  int classes;
  float mean[3], std[3]; /* per channel, of pixel/255 over the whole training set */
  const uint8_t *pixels; /* [count][channels][height][width] */
  const int32_t *labels; /* [count], 0..classes-1 */
  size_t bytes;          /* memory held */
} tg_dataset;

/* One row of data/datasets.def. */
typedef struct tg_dataset_source {
  const char *name, *help;
  int channels, height, width, classes;
  float mean[3], std[3];
  /* Samples in the official files: load() takes no others; 0 = decided by load(). */
  uint32_t train_count, test_count;
  const char *folders; /* ':'-separated places to look in when path is empty */
  /* Reads one split (TG_TRAIN or TG_TEST) found in `folder` into freshly malloc'ed *pixels and
   * *labels: NULL before, and the caller's to free after a failure too. */
  tg_status (*load)(const struct tg_dataset_source *self, const tg_data_options *options,
                    const char *folder, tg_split split, uint32_t *count, uint8_t **pixels,
                    int32_t **labels);
  /* Whether `folder` looks like this set's; NULL for sets that are made, not read. */
  bool (*present)(const char *folder);
} tg_dataset_source;

extern const tg_dataset_source *const tg_dataset_sources[];
extern const size_t tg_dataset_source_count;

/* tg_dataset_find - the row of that name; TG_ECONFIG names the nearest. */
TG_CHECKED tg_status tg_dataset_find(const char *name, const tg_dataset_source **out);

/* tg_dataset_open - reads one split into memory.
 * Errors: TG_ECONFIG (no such set, a limit beyond the set, a held-out part
 * that leaves nothing, TG_VALIDATION of none), TG_ENOINPUT (files missing: the message
 * names the places that were searched), TG_EDATA (file, byte offset, what was expected). */
TG_CHECKED tg_status tg_dataset_open(const tg_data_options *options, tg_split split,
                                     tg_dataset **out);
void tg_dataset_close(tg_dataset *dataset);

/* ---- which samples ---- */

typedef struct tg_loader tg_loader;

typedef struct tg_loader_options {
  uint64_t seed;
  uint32_t workers; /* the training set is sliced into this many parts, anew each epoch */
  uint32_t batch;   /* samples per step */
  tg_augment augment;
} tg_loader_options;

/* tg_loader_create - batches of a training set. The data set must outlive the loader.
 * Worker m of M reads, in its own epoch e, entries [N*m/M, N*(m+1)/M) of the permutation of
 * (seed, e); its batches run through these slices one after the other without a gap, so that every
 * sample is used exactly once an epoch and no batch is short. */
TG_CHECKED tg_status tg_loader_create(const tg_dataset *dataset, const tg_loader_options *options,
                                      tg_loader **out);
void tg_loader_destroy(tg_loader *loader);

/* tg_loader_indices - the samples of worker `worker`'s step `step` (0-based), in batch order:
 * sample[batch] indices into the training set, epoch[batch] the worker's epochs they belong to
 * (either may be NULL). Keeps the last few permutations; not thread safe. */
TG_CHECKED tg_status tg_loader_indices(tg_loader *loader, uint32_t worker, uint64_t step,
                                       uint32_t *sample, uint32_t *epoch);

/* tg_loader_fill - the batch itself: x [batch,C,H,W] float32 normalised ((p/255-mean)/std) after
 * augmentation (seeded per (seed, epoch, sample)), y [batch] labels. */
TG_CHECKED tg_status tg_loader_fill(tg_loader *loader, uint32_t worker, uint64_t step, float *x,
                                    int32_t *y);

/* tg_loader_cuts - the batch's description, cut[batch], for devices that hold the set: what they
 * make of it equals tg_loader_fill's to the bit. */
TG_CHECKED tg_status tg_loader_cuts(tg_loader *loader, uint32_t worker, uint64_t step, tg_cut *cut);

/* tg_dataset_fill - samples first..first+count-1, normalised, not augmented. Where the set ends
 * before, images are zero and labels -1, which losses ignore. */
void tg_dataset_fill(const tg_dataset *dataset, uint32_t first, uint32_t count, float *x,
                     int32_t *y);
/* tg_dataset_cuts - the description of the same. */
void tg_dataset_cuts(const tg_dataset *dataset, uint32_t first, uint32_t count, tg_cut *cut);
/* tg_dataset_on - a copy of the set on a device that can hold one. Free with the device's
 * images_close. */
TG_CHECKED tg_status tg_dataset_on(const tg_dataset *dataset, tg_device *device, void **out);

#endif
