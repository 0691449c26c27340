/* pace.h - rules that hold workers, drop gradients or gather them, as rows for tests; and an order
 * of arrivals for each. */
#ifndef DIST_PACE_H
#define DIST_PACE_H

#include "cluster.h"

typedef struct pace_row {
  const char *rule;
  uint64_t number; /* s, b or R, whichever the rule has */
} pace_row;

#define PACE_NONE UINT64_MAX

static const pace_row pace_rows[] = {
    {"ssp", 0},
    {"ssp", 1},
    {"ssp", 3},
    {"ssp", PACE_NONE},
    {"ssgd-backup", 0},
    {"ssgd-backup", 1},
    {"ssgd-backup", 2},
    {"ringmaster", 1},
    {"ringmaster", 2},
    {"ringmaster", 5},
    {"ringmaster", PACE_NONE},
};
enum { PACE_ROWS = sizeof pace_rows / sizeof *pace_rows };

static inline tg_server_options pace_options(const pace_row *r, const char *optimizer,
                                             uint32_t workers, size_t n, double samples) {
  tg_server_options o = cluster_options(r->rule, optimizer, workers, n, samples);
  o.hyper.staleness_bound = r->number;
  o.hyper.delay_threshold = r->number;
  o.hyper.backup_workers = (uint32_t)r->number;
  return o;
}

/* A number in [0,below). */
static inline uint32_t pace_random(uint64_t a, uint64_t b, uint32_t below) {
  return (uint32_t)((cluster_random(a, b, 12) + 1) / 2 * (float)below) % below;
}

/* Who of those that are busy answers next; workers if nobody is busy. Worker 0 is slow: it is
 * passed over mostly. In every third seed whoever answered last is preferred. */
static inline uint32_t pace_next(const cluster *c, uint64_t seed, uint64_t turn, uint32_t last) {
  uint32_t workers = c->o.workers, m = pace_random(seed, turn, workers);
  if (seed % 3 == 2 && pace_random(seed + 1, turn, 4) && last < workers) m = last;
  if (m == 0 && pace_random(seed + 2, turn, 5)) m = 1 % workers;
  for (uint32_t i = 0; i < workers; i++)
    if (cluster_busy(c, (m + i) % workers)) return (m + i) % workers;
  return workers;
}

#endif
