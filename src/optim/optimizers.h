/* optimizers.h - the rows of optimizers.def, and what the files that define them share. */
#ifndef OPTIM_OPTIMIZERS_H
#define OPTIM_OPTIMIZERS_H

#include <float.h>
#include <math.h>

#include "tardigrad/optim.h"

/* tg_normal_or_zero - x, or 0 where it is subnormal. State that decays without a gradient would end
 * among the subnormal numbers and stay there, where some processors are a hundred times slower. */
static inline float tg_normal_or_zero(float x) {
  return fabsf(x) < FLT_MIN ? 0 : x;
}

/* tg_mean_square - a running mean of squares: no subnormal numbers, and no infinity, which would
 * silence its coordinate for good. */
static inline float tg_mean_square(float keep, float take, float mean, float g) {
  float v = keep * mean + take * g * g;
  v = v < FLT_MAX ? v : FLT_MAX;
  return v < FLT_MIN ? 0 : v;
}

/* tg_prepare_moments - keep1 to take2, unbias, step, root, epsilon and couple, for Adam and its
 * kin. */
void tg_prepare_moments(tg_hyper *h);

#define TG_OPTIMIZER(symbol) extern const tg_optimizer tg_optimizer_##symbol;
#include "optim/optimizers.def"
#undef TG_OPTIMIZER

#endif
