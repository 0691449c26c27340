/* optimizers.h - the rows of optimizers.def, for the files that define them. */
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

#define TG_OPTIMIZER(symbol) extern const tg_optimizer tg_optimizer_##symbol;
#include "optim/optimizers.def"
#undef TG_OPTIMIZER

#endif
