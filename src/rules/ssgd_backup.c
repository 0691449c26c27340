/* ssgd_backup.c - synchronous rounds with backup workers (Chen et al. 2016, arXiv 1604.00981,
 * "Revisiting Distributed Synchronous SGD"): of M workers the first N = M - b make the update, with
 * the mean of their gradients at the same weights; what comes later belongs to weights that have
 * passed, and is dropped. (The paper counts N workers and b more.) b = 0 is ssgd. */
#include "rules/rules.h"

static uint32_t gathers(const tg_hyper *h, uint32_t workers) {
  return h->backup_workers < workers ? workers - h->backup_workers : 0;
}

static bool takes(const tg_hyper *h, uint64_t staleness) {
  (void)h;
  return staleness == 0;
}

const tg_rule tg_rule_ssgd_backup = {
    .name = "ssgd-backup",
    .help = "rounds: the mean of the first gradients, all but sync.backup_workers; later ones are "
            "dropped",
    .scheme = TG_SCHEME_ASYNC,
    .takes = takes,
    .gathers = gathers,
};
