/* rule.h - what a late or shared gradient becomes before the optimiser takes it.
 *
 * A rule is a pure elementwise function of (w, g, w_bak, state, hyper-parameters): no I/O, no
 * clock, no rank. The server owns everything else: snapshots, versions, staleness, schedules. */
#ifndef TARDIGRAD_RULE_H
#define TARDIGRAD_RULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tardigrad/status.h"

/* Rules and optimisers run block by block: a block and its companions stay in the L1 cache, so that
 * rule, optimiser and the copy into w_bak are one pass over memory. */
enum { TG_BLOCK = 512 }; /* floats */

typedef struct tg_hyper {
  float lr;                /* per server update, schedule and warm-up included */
  float lambda;            /* sync.lambda */
  float mean_square_decay; /* sync.mean_square_decay, m */
  float epsilon;           /* sync.epsilon, inside the square root */
  float cap;               /* sync.cap: |correction| <= cap |gradient| elementwise; 0 = no cap */
  float momentum;          /* optimizer.momentum */
  float weight_decay;      /* optimizer.weight_decay */
  uint64_t update;         /* server updates applied before this one, t */
  uint64_t staleness;      /* t - version of the weights the gradient was computed at */
} tg_hyper;

typedef enum {
  TG_SCHEME_LOCAL, /* one process, no messages: sgd */
  TG_SCHEME_SYNC,  /* all-reduce over the workers, then one update: ssgd */
  TG_SCHEME_ASYNC, /* a server applies each gradient as it arrives */
  TG_SCHEME_OWN, /* workers train weights of their own, in step, and mix them: local-sgd, d-psgd */
  TG_SCHEME_GOSSIP /* the same, out of step and in pairs: ad-psgd */
} tg_scheme;

typedef struct tg_rule {
  const char *name, *help;
  tg_scheme scheme;
  float default_lambda; /* sync.lambda where the configuration does not set it */
  bool has_state;       /* a vector of n floats, zero at the start: per worker or one for all
                           (sync.mean_square) */
  /* compensate - replaces g[n] by the gradient to apply. n <= TG_BLOCK. state is NULL without
   * has_state. Adds to *correction_square and *gradient_square the sums of squares of the
   * correction and of the raw gradient (for r = |correction|/|gradient|). NULL: g is used as it is.
   * The correction must be exactly 0 where w equals w_bak. */
  void (*compensate)(const tg_hyper *h, size_t n, const float *w, const float *w_bak, float *state,
                     float *g, double *correction_square, double *gradient_square);
} tg_rule;

extern const tg_rule *const tg_rules[];
extern const size_t tg_rule_count;

/* tg_rule_find - the row of that name; TG_ECONFIG names the nearest. */
TG_CHECKED tg_status tg_rule_find(const char *name, const tg_rule **out);

#endif
