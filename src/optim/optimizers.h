/* optimizers.h - the rows of optimizers.def, for the files that define them. */
#ifndef OPTIM_OPTIMIZERS_H
#define OPTIM_OPTIMIZERS_H

#include "tardigrad/optim.h"

#define TG_OPTIMIZER(symbol) extern const tg_optimizer tg_optimizer_##symbol;
#include "optim/optimizers.def"
#undef TG_OPTIMIZER

#endif
