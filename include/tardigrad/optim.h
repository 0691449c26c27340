/* optim.h - what a gradient becomes: optimisers and schedules. */
#ifndef TARDIGRAD_OPTIM_H
#define TARDIGRAD_OPTIM_H

#include "tardigrad/rule.h"

enum { TG_MAX_SLOTS = 4 };

/* One tensor of a model in the flat vectors. As a matrix it has its first dimension's rows, and the
 * others together as columns; a vector has one column. */
typedef struct tg_part {
  size_t offset, count;
  size_t rows, cols;
  bool weight; /* of a layer: no bias, no parameter of a normalisation */
} tg_part;

typedef struct tg_layout {
  const tg_part *part; /* [count], ascending, together [0,n) */
  size_t count;
  const struct tg_paths *paths; /* its path blocks (paths.h); NULL: not known */
} tg_layout;

struct tg_update;
struct tg_update_sums;

typedef struct tg_optimizer {
  const char *name, *help;
  int slots; /* state vectors, zero at the start */
  /* slot_length - floats of slot i; NULL: n, as the weights. */
  size_t (*slot_length)(const tg_optimizer_keys *keys, const tg_layout *layout, int i);
  /* passing - bytes that an update takes for a while, with so many threads. NULL: none. */
  size_t (*passing)(const tg_optimizer_keys *keys, const tg_layout *layout, size_t threads);
  /* What optimizer.alpha and .epsilon are where the configuration does not set them; 0: not read.
   */
  double default_alpha, default_epsilon;
  /* prepare - fills h->factors from h->keys, lr, weight_decay and update. NULL: it needs none. */
  void (*prepare)(tg_hyper *h);
  /* apply - updates w[n] in place with the gradient g[n] (already compensated; weight decay is
   * added here, outside any square of the rule). n <= TG_BLOCK. slot[i] points at the block's part.
   * NULL: `whole` does it. */
  void (*apply)(const tg_hyper *h, size_t n, float *w, const float *g, float *const *slot);
  /* whole - of optimisers that look at whole tensors, once an update when all of the gradient is
   * there: g [n], in host memory like all that *u points at; g may be overwritten. (On a device its
   * own kernels do it: backend.h, whole_open.) u->hyper is
   * prepared. Adds to *sums what it compensates itself (path_step). What it leaves does not depend
   * on the number of threads. */
  tg_status (*whole)(const struct tg_update *u, const tg_layout *layout, float *g,
                     struct tg_update_sums *sums);
  /* path_step - of optimisers in path space, whose `whole` is tg_path_update: by how much, times
   * lr, path values p [n] with gradient d [n] go down; weight decay is added here. n <= TG_BLOCK.
   */
  void (*path_step)(const tg_hyper *h, size_t n, const float *p, const float *d, float *const *slot,
                    float *step);
  bool path_plain; /* it is d + weight_decay p, and tg_path_update may do so itself, in one loop */
  const struct tg_optimizer *inner; /* of a wrapper: its slots come first */
  bool mixes;                       /* a weight whose gradient is always 0 may move */
} tg_optimizer;

extern const tg_optimizer *const tg_optimizers[];
extern const size_t tg_optimizer_count;

TG_CHECKED tg_status tg_optimizer_find(const char *name, const tg_optimizer **out);

/* tg_optimizer_make - the row of that name, around the one called `inner` if it is a wrapper.
 * TG_ECONFIG for a name that is not there, or an inner optimiser that cannot be wrapped. */
TG_CHECKED tg_status tg_optimizer_make(const char *name, const char *inner, tg_optimizer *out);

/* tg_optimizer_keys_of - keys with what the row says in place of an alpha or an epsilon that is
 * NaN. */
tg_optimizer_keys tg_optimizer_keys_of(const tg_optimizer *o, const tg_optimizer_keys *set);

/* tg_optimizer_prepare - the hyper-parameters of one update, for apply and whole. */
static inline void tg_optimizer_prepare(const tg_optimizer *o, tg_hyper *h) {
  h->inner = o->inner;
  if (o->inner && o->inner->prepare) o->inner->prepare(h);
  if (o->prepare) o->prepare(h);
}

/* tg_optimizer_slot_length - floats of state vector i of a model of n parameters. */
static inline size_t tg_optimizer_slot_length(const tg_optimizer *o, const tg_optimizer_keys *keys,
                                              const tg_layout *layout, size_t n, int i) {
  return o->slot_length ? o->slot_length(keys, layout, i) : n;
}

/* tg_layout_check - TG_ECONFIG where an optimiser of whole tensors cannot work: the tensors are not
 * together [0,n), or the vectors lie in a device's memory, where only those in path space work. */
TG_CHECKED tg_status tg_layout_check(const tg_optimizer *o, const tg_layout *layout, size_t n,
                                     bool on_device);

typedef struct tg_schedule_step {
  double epoch;  /* effective epoch at which the factor applies */
  double factor; /* multiplies the learning rate from then on; factors accumulate */
} tg_schedule_step;

typedef struct tg_schedule {
  double lr;
  const tg_schedule_step *steps;
  size_t count;
  double warmup_epochs; /* linear ramp, 0 = none */
  double warmup_start;  /* factor at the very beginning of the ramp, 0..1 */
} tg_schedule;

/* tg_schedule_lr - the learning rate at an effective epoch (samples applied / training set).
 * Warm-up: factor = start + (1 - start) * min(1, epoch / warmup_epochs), with the epoch at the END
 * of the gradient being applied, so that the first update is never empty. */
double tg_schedule_lr(const tg_schedule *s, double epoch_before, double epoch_after);

/* tg_clip_scale - the factor that brings a gradient of this norm to at most `limit` (0 = no limit):
 * 1 where nothing is to be done. Source: Pascanu et al., ICML 2013. */
float tg_clip_scale(double norm, double limit);

#endif
