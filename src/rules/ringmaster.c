/* ringmaster.c - Ringmaster ASGD without calculation stops (Maranjyan, Tyurin, Richtarik, ICML
 * 2025, arXiv 2501.16168, Algorithm 4): a gradient whose delay has reached the threshold R is
 * ignored and its worker gets the current weights; any other is a step as in asgd. R = 1 applies
 * fresh gradients only; without a threshold it is asgd. */
#include "rules/rules.h"

static bool takes(const tg_hyper *h, uint64_t staleness) {
  return staleness < h->delay_threshold;
}

const tg_rule tg_rule_ringmaster = {
    .name = "ringmaster",
    .help =
        "asynchronous: gradients that are sync.delay_threshold or more updates late are dropped",
    .scheme = TG_SCHEME_ASYNC,
    .takes = takes,
};
