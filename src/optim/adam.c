/* adam.c - Adam (Kingma and Ba, ICLR 2015, Algorithm 1). Weight decay is part of the gradient, as
 * in PyTorch's Adam: d = g + wd w.
 *
 *   m <- b1 m + (1 - b1) d,   v <- b2 v + (1 - b2) d^2
 *   w <- w - lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + epsilon)
 *
 * t counts updates of the server, from 1: with M asynchronous workers M gradients are M updates. */
#include "optim/optimizers.h"

static void apply(const tg_hyper *h, size_t n, float *restrict w, const float *restrict g,
                  float *const *slot) {
  float *restrict mean = slot[0], *restrict square = slot[1];
  const tg_factors f = h->factors;
#pragma omp simd
  for (size_t i = 0; i < n; i++) {
    float d = g[i] + f.couple * w[i];
    float m = tg_normal_or_zero(f.keep1 * mean[i] + f.take1 * d);
    float v = tg_mean_square(f.keep2, f.take2, square[i], d);
    mean[i] = m;
    square[i] = v;
    w[i] -= f.step * (m / (sqrtf(v) * f.root + f.epsilon));
  }
}

const tg_optimizer tg_optimizer_adam = {
    .name = "adam",
    .help = "d = g + wd w; w -= lr mean(d) / (sqrt(mean(d^2)) + epsilon), means of age-corrected "
            "decay",
    .slots = 2,
    .default_epsilon = 1e-8,
    .prepare = tg_prepare_moments,
    .apply = apply,
};
