/* nesterov.c - Nesterov's momentum in PyTorch's convention (Sutskever et al., ICML 2013, with the
 * look-ahead moved into the step): v <- mu v + (g + wd w); w <- w - lr ((g + wd w) + mu v). */
#include "optim/optimizers.h"

static void apply(const tg_hyper *h, size_t n, float *restrict w, const float *restrict g,
                  float *const *slot) {
  float *restrict velocity = slot[0];
  const float lr = h->lr, decay = h->weight_decay, mu = h->momentum;
#pragma omp simd
  for (size_t i = 0; i < n; i++) {
    float d = g[i] + decay * w[i];
    float v = mu * velocity[i] + d;
    v = tg_normal_or_zero(v);
    velocity[i] = v;
    w[i] -= lr * (d + mu * v);
  }
}

const tg_optimizer tg_optimizer_nesterov = {
    .name = "nesterov",
    .help = "v = mu v + (g + wd w); w -= lr ((g + wd w) + mu v)",
    .slots = 1,
    .apply = apply,
};
