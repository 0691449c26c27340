/* sgd.c - w <- w - lr (g + wd w). */
#include "optim/optimizers.h"

static void apply(const tg_hyper *h, size_t n, float *restrict w, const float *restrict g,
                  float *const *slot) {
  (void)slot;
  const float lr = h->lr, decay = h->weight_decay;
#pragma omp simd
  for (size_t i = 0; i < n; i++) w[i] -= lr * (g[i] + decay * w[i]);
}

const tg_optimizer tg_optimizer_sgd = {
    .name = "sgd",
    .help = "w -= lr (g + wd w)",
    .apply = apply,
};
