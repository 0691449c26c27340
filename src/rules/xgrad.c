/* xgrad.c - weight prediction: a worker is sent the weights as they are expected to be when its
 * gradient comes back, so that the gradient fits where it is applied (Guan, Li, Shi, Meng, "XGrad:
 * Boosting Gradient-Based Optimizers With Weight Prediction", arXiv 2305.18240):
 *
 *   sent = w - s D,   D = w_before - w_after of the last update,   s = sync.prediction_steps
 *
 * D is the paper's lr * (direction of the optimiser's last update): lr times the velocity with
 * momentum, lr times the last gradient with plain SGD; taken as the step that was really made, it
 * serves any optimiser. (Only where the schedule has just changed the learning rate do the two
 * differ: D has the rate of the last update.) The paper predicts in one process; that s is the
 * staleness to be expected, workers - 1, is this program's use of it. w_bak(m) holds what was sent.
 * An evaluation is of w itself. s = 0 is asgd. */
#include <string.h>

#include "rules/rules.h"

static void settle(const tg_hyper *h, size_t n, const float *restrict before,
                   const float *restrict w, float *restrict state) {
  (void)h;
#pragma omp simd
  for (size_t i = 0; i < n; i++) state[i] = before[i] - w[i];
}

static void serve(const tg_hyper *h, size_t n, const float *restrict w, const float *restrict state,
                  float *restrict out) {
  const float s = h->prediction_steps;
  if (s == 0) {
    memcpy(out, w, n * sizeof *w); /* the sign of zeros too */
    return;
  }
#pragma omp simd
  for (size_t i = 0; i < n; i++) out[i] = w[i] - s * state[i];
}

const tg_rule tg_rule_xgrad = {
    .name = "xgrad",
    .help = "asynchronous, workers are sent predicted weights: the last step made s times more",
    .scheme = TG_SCHEME_ASYNC,
    .has_state = true,
    .state_of = TG_STATE_SERVER,
    .settle = settle,
    .serve = serve,
};
