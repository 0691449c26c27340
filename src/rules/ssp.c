/* ssp.c - stale synchronous parallel (Ho et al., NeurIPS 2013): fast workers run ahead of the
 * slowest one, but not further than the bound s.
 *
 * A worker's clock is the number of its gradients that were applied. Each is a step of its own, as
 * it arrives; its worker is given weights only when clock <= slowest clock + s. s = 0 is a barrier:
 * all read the same weights, and with lr divided by the workers the sum of their steps is ssgd's.
 * Without a bound it is asgd. */
#include "rules/rules.h"

static bool runs(const tg_hyper *h, uint64_t clock, uint64_t slowest) {
  return clock <= slowest || clock - slowest <= h->staleness_bound;
}

const tg_rule tg_rule_ssp = {
    .name = "ssp",
    .help = "asynchronous, but no worker runs more than sync.staleness_bound gradients ahead",
    .scheme = TG_SCHEME_ASYNC,
    .runs = runs,
};
