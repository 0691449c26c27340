/* gap_aware.c - a gradient is divided by how far the weights went meanwhile, measured in average
 * steps, each coordinate by itself (Barkai, Hakimi, Schuster, "Gap-Aware Mitigation of Gradient
 * Staleness", ICLR 2020, arXiv 1909.10802):
 *
 *   g <- g / (1 + |w - w_bak| / C)
 *
 * What is here: C = sqrt(S) + 1e-12, where S is the mean of the squared steps that the server has
 * made with this coordinate, one mean for all workers,
 *
 *   S <- (1 - a) S + a (w_before - w_after)^2,   a = max(1 - sync.step_decay, 1 / updates)
 *
 * so the first 1 / (1 - step_decay) updates count alike, and older ones are forgotten after that.
 * A step is what the optimiser really made of the gradient: learning rate, velocity and weight
 * decay are in it, and any optimiser will do. S is taken before this gradient's own step.
 *
 * What is not verified: the paper's own C. Its text was not at hand; the abstract says only that
 * the penalty is linear in the gap. A public implementation that names the paper (FTPipe) has
 * C = max lr * (sqrt(mean of squared gradients or velocities, decay 0.999, corrected for its start)
 * + 1e-8) for SGD, and the root of a mean of squared steps, as here, for Adam. The two agree while
 * the learning rate is constant. It also divides the weight decay by the penalty; here the decay is
 * the optimiser's and is not divided. */
#include <float.h>
#include <math.h>

#include "rules/rules.h"

static const float FLOOR = 1e-12f; /* of C, where nothing has moved yet */

static void compensate(const tg_hyper *h, size_t n, const float *restrict w,
                       const float *restrict w_bak, float *restrict state, float *restrict g,
                       double *correction_square, double *gradient_square) {
  (void)h;
  float corrections = 0, gradients = 0;
#pragma omp simd reduction(+ : corrections, gradients)
  for (size_t i = 0; i < n; i++) {
    float gi = g[i];
    float step = sqrtf(state[i]) + FLOOR;
    float penalised = gi / (1.0f + fabsf(w[i] - w_bak[i]) / step);
    float c = penalised - gi;
    g[i] = penalised;
    corrections += c * c;
    gradients += gi * gi;
  }
  *correction_square += corrections;
  *gradient_square += gradients;
}

static void settle(const tg_hyper *h, size_t n, const float *restrict before,
                   const float *restrict w, float *restrict state) {
  const float take = tg_step_take(h), keep = 1.0f - take;
#pragma omp simd
  for (size_t i = 0; i < n; i++) {
    float step = before[i] - w[i];
    float mean = keep * state[i] + take * step * step;
    mean = mean < FLT_MAX ? mean : FLT_MAX;
    state[i] = mean < FLT_MIN ? 0 : mean;
  }
}

const tg_rule tg_rule_gap_aware = {
    .name = "gap-aware",
    .help = "asynchronous, gradients divided by 1 + distance gone meanwhile / average step",
    .scheme = TG_SCHEME_ASYNC,
    .has_state = true,
    .state_of = TG_STATE_SERVER,
    .compensate = compensate,
    .settle = settle,
};
