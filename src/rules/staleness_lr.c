/* staleness_lr.c - a late gradient makes a small step: the learning rate is divided by the
 * staleness tau of this gradient (Zhang, Gupta, Lian, Liu, "Staleness-aware Async-SGD for
 * Distributed Deep Learning", arXiv 1511.05950):
 *
 *   alpha = eta / tau   for tau >= 1,   alpha = eta   for tau = 0
 *
 * The learning rate that is logged is the one that was applied. With an optimiser that has a
 * velocity the whole step is divided, what earlier gradients gave to it included. */
#include "rules/rules.h"

static double lr_of(double lr, uint64_t staleness) {
  return staleness > 1 ? lr / (double)staleness : lr;
}

const tg_rule tg_rule_staleness_lr = {
    .name = "staleness-lr",
    .help = "asynchronous, the learning rate divided by each gradient's staleness",
    .scheme = TG_SCHEME_ASYNC,
    .lr = lr_of,
};
