/* diffgrad.c - diffGrad (Dubey et al., IEEE TNNLS 2020): Adam whose step is damped by a half where
 * the gradient does not change, and less the more it does.
 *
 *   xi = 1 / (1 + exp(-|d_{t-1} - d_t|)),   w <- w - lr xi m / (1 - b1^t) / (sqrt(v / ...) +
 * epsilon)
 *
 * with Adam's means of d = g + wd w, and d_0 = 0. With a server d_{t-1} is the gradient of the
 * update before, whichever worker sent it. */
#include "optim/negative_exp.h"
#include "optim/optimizers.h"

static void apply(const tg_hyper *h, size_t n, float *restrict w, const float *restrict g,
                  float *const *slot) {
  float *restrict mean = slot[0], *restrict square = slot[1], *restrict last = slot[2];
  const tg_factors f = h->factors;
#pragma omp simd
  for (size_t i = 0; i < n; i++) {
    float d = g[i] + f.couple * w[i];
    float m = tg_normal_or_zero(f.keep1 * mean[i] + f.take1 * d);
    float v = tg_mean_square(f.keep2, f.take2, square[i], d);
    float friction = 1 + tg_negative_exp(fabsf(last[i] - d));
    mean[i] = m;
    square[i] = v;
    last[i] = d;
    w[i] -= f.step * (m / friction / (sqrtf(v) * f.root + f.epsilon));
  }
}

const tg_optimizer tg_optimizer_diffgrad = {
    .name = "diffgrad",
    .help = "adam, damped where the gradient does not change",
    .slots = 3,
    .default_epsilon = 1e-8,
    .prepare = tg_prepare_moments,
    .apply = apply,
};
