/* rule.h - what a late or shared gradient becomes before the optimiser takes it.
 *
 * A rule is a pure elementwise function of (w, g, w_bak, state, hyper-parameters): no I/O, no
 * clock, no rank. The server owns everything else: snapshots, versions, staleness, schedules. */
#ifndef TARDIGRAD_RULE_H
#define TARDIGRAD_RULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tardigrad/hyper.h"
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
  float step_decay;        /* sync.step_decay, of the mean squared step */
  float prediction_steps;  /* sync.prediction_steps, updates ahead */
  float elasticity;        /* sync.elasticity, alpha */
  float workers;           /* M; the server fills it in */
  /* When the server answers, and what counts. tg_rule says who reads them. */
  uint64_t staleness_bound; /* sync.staleness_bound, s; UINT64_MAX: none */
  uint64_t delay_threshold; /* sync.delay_threshold, R >= 1; UINT64_MAX: none */
  uint32_t backup_workers;  /* sync.backup_workers, b < workers */
  uint64_t update;          /* server updates applied before this one, t */
  uint64_t staleness;       /* t - version of the weights the gradient was computed at */
  tg_optimizer_keys keys;
  /* Filled in by tg_optimizer_prepare, whoever makes the update. */
  tg_factors factors;
  const struct tg_optimizer *inner; /* what lookahead wraps; else NULL */
} tg_hyper;

typedef enum {
  TG_SCHEME_LOCAL, /* one process, no messages: sgd */
  TG_SCHEME_SYNC,  /* all-reduce over the workers, then one update: ssgd */
  TG_SCHEME_ASYNC, /* a server applies each gradient as it arrives */
  TG_SCHEME_OWN, /* workers train weights of their own, in step, and mix them: local-sgd, d-psgd */
  TG_SCHEME_GOSSIP /* the same, out of step and in pairs: ad-psgd */
} tg_scheme;

/* Whose a rule's state is. */
typedef enum {
  TG_STATE_CHOSEN, /* each worker's own, or one for all: sync.mean_square says */
  TG_STATE_WORKER, /* each worker's own */
  TG_STATE_SERVER  /* one for all */
} tg_state_of;

/* With a gradient g of worker m comes, block by block:
 *   compensate, then the optimiser, then settle;   or step, in place of all three
 * and what m is sent, and computes at, is w, or what serve writes. */
typedef struct tg_rule {
  const char *name, *help;
  tg_scheme scheme;
  float default_lambda; /* sync.lambda where the configuration does not set it */
  bool has_state;       /* a vector of n floats, zero at the start, or w_0 with starts_at_w0 */
  tg_state_of state_of;
  bool starts_at_w0;
  bool local_steps;      /* workers make sync.local_steps steps of SGD of their own between two
                            exchanges, and push weights instead of a gradient */
  const char *optimizer; /* the only one it goes with; NULL: any */
  /* lr - the learning rate of a gradient so late, where the schedule says lr. NULL: lr. */
  double (*lr)(double lr, uint64_t staleness);
  bool votes; /* sync: what most workers' messages say is applied (tg_codec.vote), not the mean */
  /* compensate - replaces g[n] by the gradient to apply. n <= TG_BLOCK. state is NULL without
   * has_state. Adds to *correction_square and *gradient_square the sums of squares of the
   * correction and of the raw gradient (for r = |correction|/|gradient|). NULL: g is used as it is.
   * The correction must be exactly 0 where w equals w_bak. */
  void (*compensate)(const tg_hyper *h, size_t n, const float *w, const float *w_bak, float *state,
                     float *g, double *correction_square, double *gradient_square);
  /* step - the whole update of w[n]; no optimiser follows. Adds the sum of squares of whatever it
   * put to the gradient to *correction_square. NULL: the optimiser makes it. */
  void (*step)(const tg_hyper *h, size_t n, float *w, const float *w_bak, float *state,
               const float *g, double *correction_square);
  /* settle - state[n] after the optimiser took `before` to w. NULL: nothing to be done. */
  void (*settle)(const tg_hyper *h, size_t n, const float *before, const float *w, float *state);
  /* serve - what a worker is sent to compute at. An evaluation is always of w. NULL: w. */
  void (*serve)(const tg_hyper *h, size_t n, const float *w, const float *state, float *out);
  /* Asynchronous rules: which gradients count, and who must wait for an answer. Functions of these
   * numbers alone, so that a replayed run decides alike. NULL: every gradient is an update of its
   * own, as it arrives, and its worker is answered at once. */
  /* takes - whether a gradient counts that comes `staleness` updates late; one that does not is
   * dropped, and its worker is given the current weights. A fresh gradient (0) must count. */
  bool (*takes)(const tg_hyper *h, uint64_t staleness);
  /* gathers - how many gradients make one update, with their mean: 1 to `workers`, or 0 where that
   * cannot be (TG_ECONFIG). A worker whose gradient was gathered is held until that update. */
  uint32_t (*gathers)(const tg_hyper *h, uint32_t workers);
  /* runs - whether a worker may begin its next gradient when `clock` of its gradients have counted,
   * and `slowest` of the slowest worker's; else it is held. The slowest worker must run. */
  bool (*runs)(const tg_hyper *h, uint64_t clock, uint64_t slowest);
} tg_rule;

/* tg_step_take - the weight of the newest in a mean of squared steps that forgets by
 * hyper.step_decay: the plain mean of what has come until that mean forgets faster. */
static inline float tg_step_take(const tg_hyper *h) {
  float mean = 1.0f / ((float)h->update + 1.0f), take = 1.0f - h->step_decay;
  return mean > take ? mean : take;
}

extern const tg_rule *const tg_rules[];
extern const size_t tg_rule_count;

/* tg_rule_find - the row of that name; TG_ECONFIG names the nearest. */
TG_CHECKED tg_status tg_rule_find(const char *name, const tg_rule **out);
/* tg_rule_owns_weights - whether workers train weights of their own. tg_rule_is_recorded - whether
 * the order of its messages is left to chance, and recorded. */
static inline bool tg_rule_owns_weights(const tg_rule *rule) {
  return rule->scheme == TG_SCHEME_OWN || rule->scheme == TG_SCHEME_GOSSIP;
}
static inline bool tg_rule_is_recorded(const tg_rule *rule) {
  return rule->scheme == TG_SCHEME_ASYNC || rule->scheme == TG_SCHEME_GOSSIP;
}

/* tg_rule_check - TG_ECONFIG where the rule does not go with that optimiser; `whole` says that it
 * takes the gradient as a whole. */
TG_CHECKED tg_status tg_rule_check(const tg_rule *rule, const char *optimizer, bool whole);
/* tg_rule_states - how many state vectors it has; `global` is sync.mean_square=global. */
size_t tg_rule_states(const tg_rule *rule, bool global, uint32_t workers);

#endif
