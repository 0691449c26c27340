/* momentum.c - heavy ball in PyTorch's convention: the learning rate scales the velocity when it is
 * applied, so that a schedule acts at once. v <- mu v + (g + wd w); w <- w - lr v. */
#include "optim/optimizers.h"

static void apply(const tg_hyper *h, size_t n, float *restrict w, const float *restrict g,
                  float *const *slot) {
  float *restrict velocity = slot[0];
  const float lr = h->lr, decay = h->weight_decay, mu = h->momentum;
#pragma omp simd
  for (size_t i = 0; i < n; i++) {
    float v = mu * velocity[i] + (g[i] + decay * w[i]);
    v = tg_normal_or_zero(v);
    velocity[i] = v;
    w[i] -= lr * v;
  }
}

const tg_optimizer tg_optimizer_momentum = {
    .name = "momentum",
    .help = "v = mu v + (g + wd w); w -= lr v",
    .slots = 1,
    .apply = apply,
};
