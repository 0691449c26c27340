/* amsgrad.c - AMSGrad (Reddi, Kale and Kumar, ICLR 2018): Adam's step over the largest second
 * moment so far, which never falls: vhat <- max(vhat, v). The means are corrected for their age as
 * in Adam, the maximum is taken of uncorrected ones (PyTorch's form; the paper corrects none).
 * Weight decay is part of the gradient. */
#include "optim/optimizers.h"

static void apply(const tg_hyper *h, size_t n, float *restrict w, const float *restrict g,
                  float *const *slot) {
  float *restrict mean = slot[0], *restrict square = slot[1], *restrict most = slot[2];
  const tg_factors f = h->factors;
#pragma omp simd
  for (size_t i = 0; i < n; i++) {
    float d = g[i] + f.couple * w[i];
    float m = tg_normal_or_zero(f.keep1 * mean[i] + f.take1 * d);
    float v = tg_mean_square(f.keep2, f.take2, square[i], d);
    float top = most[i] > v ? most[i] : v;
    mean[i] = m;
    square[i] = v;
    most[i] = top;
    w[i] -= f.step * (m / (sqrtf(top) * f.root + f.epsilon));
  }
}

const tg_optimizer tg_optimizer_amsgrad = {
    .name = "amsgrad",
    .help = "adam over the largest mean(d^2) so far",
    .slots = 3,
    .default_epsilon = 1e-8,
    .prepare = tg_prepare_moments,
    .apply = apply,
};
