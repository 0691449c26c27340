#include "tardigrad/data.h"

#include "data/normalise.h"
#include "tardigrad/rng.h"

#include <inttypes.h>
#include <stdlib.h>

/* Workers of a simulation drift apart by an epoch or two; each asks for its own. */
enum { KEPT = 4 };

typedef struct permutation {
  uint32_t epoch;
  uint64_t used;   /* when it was asked for last; 0 = never made */
  uint32_t *entry; /* [count] */
} permutation;

struct tg_loader {
  const tg_dataset *dataset;
  tg_loader_options options;
  tg_pixel_table table;
  permutation kept[KEPT];
  uint64_t clock;           /* counts requests, to know the permutation unused for longest */
  uint32_t *sample, *epoch; /* [batch] of tg_loader_fill */
};

tg_status tg_loader_create(const tg_dataset *dataset, const tg_loader_options *options,
                           tg_loader **out) {
  *out = NULL;
  if (options->batch == 0) TG_FAIL(TG_ECONFIG, "train.batch: 0 samples are no batch");
  if (options->workers == 0) TG_FAIL(TG_ECONFIG, "there are no workers to load data for");
  if (options->workers > dataset->count)
    TG_FAIL(TG_ECONFIG, "%s has %" PRIu32 " training samples: too few for %" PRIu32 " workers",
            dataset->name, dataset->count, options->workers);
  tg_loader *l = calloc(1, sizeof *l);
  if (!l) TG_FAIL(TG_ERUNTIME, "no memory for a loader");
  l->dataset = dataset;
  l->options = *options;
  tg_pixel_table_make(dataset, l->table);
  l->sample = malloc(options->batch * sizeof *l->sample);
  l->epoch = malloc(options->batch * sizeof *l->epoch);
  bool complete = l->sample && l->epoch;
  for (int i = 0; i < KEPT; i++) {
    l->kept[i].entry = malloc(dataset->count * sizeof *l->kept[i].entry);
    complete = complete && l->kept[i].entry;
  }
  if (!complete) {
    tg_loader_destroy(l);
    TG_FAIL(TG_ERUNTIME, "no memory for the permutations of %" PRIu32 " samples", dataset->count);
  }
  *out = l;
  return TG_OK;
}

void tg_loader_destroy(tg_loader *loader) {
  if (!loader) return;
  for (int i = 0; i < KEPT; i++) free(loader->kept[i].entry);
  free(loader->sample);
  free(loader->epoch);
  free(loader);
}

static const uint32_t *permutation_of(tg_loader *l, uint32_t epoch) {
  permutation *oldest = &l->kept[0];
  l->clock++;
  for (permutation *p = l->kept; p < l->kept + KEPT; p++) {
    if (p->used > 0 && p->epoch == epoch) {
      p->used = l->clock;
      return p->entry;
    }
    if (p->used < oldest->used) oldest = p;
  }
  tg_rng r = tg_rng_open(l->options.seed, TG_RNG_PERMUTE, epoch, 0);
  tg_rng_permutation(&r, l->dataset->count, oldest->entry);
  oldest->epoch = epoch;
  oldest->used = l->clock;
  return oldest->entry;
}

tg_status tg_loader_indices(tg_loader *loader, uint32_t worker, uint64_t step, uint32_t *sample,
                            uint32_t *epoch) {
  uint64_t count = loader->dataset->count, batch = loader->options.batch;
  uint64_t workers = loader->options.workers;
  if (worker >= workers)
    TG_FAIL(TG_ERUNTIME, "batch for worker %" PRIu32 ": there are %" PRIu64, worker, workers);
  uint64_t lo = count * worker / workers, part = count * (worker + 1u) / workers - lo;
  /* The last sample of the step must belong to an epoch that 32 bits can name. */
  if (step >= part * UINT32_MAX / batch)
    TG_FAIL(TG_ERUNTIME, "batch for worker %" PRIu32 ": step %" PRIu64 " is too far", worker, step);
  uint32_t own = (uint32_t)(step * batch / part);
  uint64_t at = step * batch % part;
  const uint32_t *order = NULL;
  for (uint64_t i = 0; i < batch; i++, at++) {
    if (at == part) {
      at = 0;
      own++;
      order = NULL;
    }
    /* Epochs alone need no permutation. */
    if (sample && !order) order = permutation_of(loader, own);
    if (sample) sample[i] = order[lo + at];
    if (epoch) epoch[i] = own;
  }
  return TG_OK;
}

static tg_cut whole(uint32_t sample) {
  return (tg_cut){.sample = sample, .top = TG_CROP_PAD, .left = TG_CROP_PAD};
}

static tg_cut draw_cut(const tg_loader_options *o, uint32_t epoch, uint32_t sample) {
  if (o->augment != TG_AUGMENT_CROP_FLIP) return whole(sample);
  tg_rng r = tg_rng_open(o->seed, TG_RNG_AUGMENT, epoch, sample);
  tg_cut cut = {.sample = sample, .top = (uint8_t)tg_rng_below(&r, 2 * TG_CROP_PAD + 1)};
  cut.left = (uint8_t)tg_rng_below(&r, 2 * TG_CROP_PAD + 1);
  cut.flip = (uint8_t)tg_rng_below(&r, 2);
  return cut;
}

tg_status tg_loader_cuts(tg_loader *loader, uint32_t worker, uint64_t step, tg_cut *cut) {
  TG_TRY(tg_loader_indices(loader, worker, step, loader->sample, loader->epoch));
  for (uint32_t i = 0; i < loader->options.batch; i++)
    cut[i] = draw_cut(&loader->options, loader->epoch[i], loader->sample[i]);
  return TG_OK;
}

void tg_dataset_cuts(const tg_dataset *dataset, uint32_t first, uint32_t count, tg_cut *cut) {
  for (uint32_t i = 0; i < count; i++)
    cut[i] = whole(first + i < dataset->count ? first + i : UINT32_MAX);
}

tg_status tg_loader_fill(tg_loader *loader, uint32_t worker, uint64_t step, float *x, int32_t *y) {
  const tg_dataset *d = loader->dataset;
  size_t image = (size_t)(d->channels * d->height * d->width);
  TG_TRY(tg_loader_indices(loader, worker, step, loader->sample, loader->epoch));
  for (uint32_t i = 0; i < loader->options.batch; i++, x += image) {
    uint32_t sample = loader->sample[i];
    const uint8_t *pixels = d->pixels + sample * image;
    if (loader->options.augment == TG_AUGMENT_CROP_FLIP)
      tg_normalise_cut(d, loader->table, draw_cut(&loader->options, loader->epoch[i], sample),
                       pixels, x);
    else
      tg_normalise_image(d, loader->table, pixels, x);
    y[i] = d->labels[sample];
  }
  return TG_OK;
}
