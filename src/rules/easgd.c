/* easgd.c - elastic averaging (Zhang, Choromanska, LeCun, "Deep learning with Elastic Averaging
 * SGD", NIPS 2015, Algorithm 1): each worker trains weights x_m of its own, and every
 * sync.local_steps steps they and the centre w are pulled together:
 *
 *   d = alpha (x_m - w),   w <- w + d,   x_m <- x_m - d
 *
 * A push brings x_m where other rules get a gradient; what is sent back is the new x_m. The rule's
 * state holds it too, because an evaluation, which is of the centre, uses w_bak(m) for the centre.
 * Between exchanges a worker makes steps x_m <- x_m - lr (g + wd x_m) at the learning rate that
 * came with the weights. (In Algorithm 1 the first gradient after an exchange is still that of the
 * weights before it; here every gradient is of the weights that it is applied to.) */
#include <string.h>

#include "rules/rules.h"

static void step(const tg_hyper *h, size_t n, float *restrict w, const float *restrict w_bak,
                 float *restrict state, const float *restrict g, double *correction_square) {
  (void)w_bak, (void)correction_square;
  const float alpha = h->elasticity;
#pragma omp simd
  for (size_t i = 0; i < n; i++) {
    float d = alpha * (g[i] - w[i]);
    w[i] += d;
    state[i] = g[i] - d;
  }
}

static void serve(const tg_hyper *h, size_t n, const float *restrict w, const float *restrict state,
                  float *restrict out) {
  (void)h, (void)w;
  memcpy(out, state, n * sizeof *out);
}

const tg_rule tg_rule_easgd = {
    .name = "easgd",
    .help = "asynchronous, workers' own weights drawn to a centre: d = alpha (x_m - w); w += d; "
            "x_m -= d",
    .scheme = TG_SCHEME_ASYNC,
    .has_state = true,
    .state_of = TG_STATE_WORKER,
    .starts_at_w0 = true,
    .local_steps = true,
    .optimizer = "sgd",
    .step = step,
    .serve = serve,
};
