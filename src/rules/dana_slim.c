/* dana_slim.c - every worker has its own velocity (Hakimi, Barkai, Gabel, Schuster, "Taming
 * Momentum in a Distributed Asynchronous Environment", arXiv 1907.11612, DANA-Slim):
 *
 *   v_m <- mu v_m + d,   w <- w - eta (d + mu v_m),   d = g + wd w
 *
 * In the paper the worker keeps v_m and sends mu v_m + g, which the server applies as plain SGD.
 * A velocity depends on nothing but its own worker's gradients, in their order, so it makes no
 * difference who keeps it: here the server does, as the rule's state, so that checkpoints hold it
 * and what a worker computes stays a pure function of the weights. (With weight decay it does make
 * one: here the decay is of the weights as they are, not as they were.) It is Nesterov's momentum
 * per worker: one worker is the optimiser nesterov, to the bit. */
#include <float.h>
#include <math.h>

#include "rules/rules.h"

static void step(const tg_hyper *h, size_t n, float *restrict w, const float *restrict w_bak,
                 float *restrict state, const float *restrict g, double *correction_square) {
  (void)w_bak;
  const float lr = h->lr, mu = h->momentum, decay = h->weight_decay;
  float corrections = 0;
#pragma omp simd reduction(+ : corrections)
  for (size_t i = 0; i < n; i++) {
    float d = g[i] + decay * w[i];
    float v = mu * state[i] + d;
    v = fabsf(v) < FLT_MIN ? 0 : v; /* as in optim/: subnormal numbers are slow */
    state[i] = v;
    float c = mu * v;
    w[i] -= lr * (d + c);
    corrections += c * c;
  }
  *correction_square += corrections;
}

const tg_rule tg_rule_dana_slim = {
    .name = "dana-slim",
    .help = "asynchronous, a velocity per worker: v = mu v + g; w -= lr (g + mu v)",
    .scheme = TG_SCHEME_ASYNC,
    .has_state = true,
    .state_of = TG_STATE_WORKER,
    .optimizer = "sgd",
    .step = step,
};
