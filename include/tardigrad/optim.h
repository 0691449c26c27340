/* optim.h - what a gradient becomes: optimisers and schedules. */
#ifndef TARDIGRAD_OPTIM_H
#define TARDIGRAD_OPTIM_H

#include "tardigrad/rule.h"

enum { TG_MAX_SLOTS = 4 };

typedef struct tg_optimizer {
  const char *name, *help;
  int slots; /* state vectors of n floats, zero at the start */
  /* apply - updates w[n] in place with the gradient g[n] (already compensated; weight decay is
   * added here, outside any square of the rule). n <= TG_BLOCK. slot[i] points at the block's part.
   */
  void (*apply)(const tg_hyper *h, size_t n, float *w, const float *g, float *const *slot);
} tg_optimizer;

extern const tg_optimizer *const tg_optimizers[];
extern const size_t tg_optimizer_count;

TG_CHECKED tg_status tg_optimizer_find(const char *name, const tg_optimizer **out);

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
