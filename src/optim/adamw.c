/* adamw.c - Adam with decoupled weight decay (Loshchilov and Hutter, ICLR 2019, Algorithm 2, with
 * PyTorch's scaling): the decay does not pass through the means, and is scaled by the learning rate
 * of the update: w <- w - lr wd w - lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + epsilon). */
#include "optim/optimizers.h"

static void prepare(tg_hyper *h) {
  tg_prepare_moments(h);
  h->factors.couple = 0;
  h->factors.shrink = (float)((double)h->lr * h->weight_decay);
}

static void apply(const tg_hyper *h, size_t n, float *restrict w, const float *restrict g,
                  float *const *slot) {
  float *restrict mean = slot[0], *restrict square = slot[1];
  const tg_factors f = h->factors;
#pragma omp simd
  for (size_t i = 0; i < n; i++) {
    float m = tg_normal_or_zero(f.keep1 * mean[i] + f.take1 * g[i]);
    float v = tg_mean_square(f.keep2, f.take2, square[i], g[i]);
    mean[i] = m;
    square[i] = v;
    w[i] -= f.shrink * w[i] + f.step * (m / (sqrtf(v) * f.root + f.epsilon));
  }
}

const tg_optimizer tg_optimizer_adamw = {
    .name = "adamw",
    .help = "adam with decoupled weight decay: w -= lr wd w beside adam's step",
    .slots = 2,
    .default_epsilon = 1e-8,
    .prepare = prepare,
    .apply = apply,
};
