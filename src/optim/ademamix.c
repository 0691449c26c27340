/* ademamix.c - AdEMAMix (Pagliardini, Ablin and Grangier, 2024, Algorithm 1): Adam with a second,
 * slow mean of gradients that is not corrected for its age.
 *
 *   w <- w - lr ((m1 / (1 - b1^t) + alpha_t m2) / (sqrt(v / (1 - b2^t)) + epsilon) + wd w)
 *   m2 <- b3_t m2 + (1 - b3_t) g
 *
 * alpha_t = alpha min(1, t / T_alpha). beta3 grows from beta1 to beta3 within T_beta3 updates so
 * that its half-life grows linearly:
 *   b3_t = min(beta3, exp(ln b1 ln b3 / ((1 - t / T) ln b3 + t / T ln b1))). */
#include "optim/optimizers.h"
#include "optim/powers.h"

static double part_of(uint64_t t, uint64_t of) {
  return t < of ? (double)t / (double)of : 1;
}

static double beta3_of(const tg_optimizer_keys *k, uint64_t t) {
  double part = part_of(t, k->beta3_updates);
  /* A mean without memory has no half-life to begin with. */
  if (part >= 1 || k->beta3 <= k->beta1 || k->beta1 <= 0) return k->beta3;
  if (k->beta3 >= 1) return 1;
  double from = tg_log(k->beta1), to = tg_log(k->beta3);
  double beta3 = tg_exp(from * to / ((1 - part) * to + part * from));
  return beta3 < k->beta3 ? beta3 : k->beta3;
}

static void prepare(tg_hyper *h) {
  tg_prepare_moments(h);
  uint64_t t = h->update + 1;
  double beta3 = beta3_of(&h->keys, t);
  tg_factors *f = &h->factors;
  f->keep3 = (float)beta3;
  f->take3 = (float)(1 - beta3);
  f->mix = (float)(h->keys.alpha * part_of(t, h->keys.alpha_updates));
  f->couple = 0;
  f->shrink = (float)((double)h->lr * h->weight_decay);
}

static void apply(const tg_hyper *h, size_t n, float *restrict w, const float *restrict g,
                  float *const *slot) {
  float *restrict mean = slot[0], *restrict square = slot[1], *restrict slow = slot[2];
  const tg_factors f = h->factors;
  const float lr = h->lr;
#pragma omp simd
  for (size_t i = 0; i < n; i++) {
    float m = tg_normal_or_zero(f.keep1 * mean[i] + f.take1 * g[i]);
    float v = tg_mean_square(f.keep2, f.take2, square[i], g[i]);
    float s = tg_normal_or_zero(f.keep3 * slow[i] + f.take3 * g[i]);
    mean[i] = m;
    square[i] = v;
    slow[i] = s;
    float both = m * f.unbias + f.mix * s;
    w[i] -= f.shrink * w[i] + lr * (both / (sqrtf(v) * f.root + f.epsilon));
  }
}

const tg_optimizer tg_optimizer_ademamix = {
    .name = "ademamix",
    .help = "adamw with a second, slow mean of gradients beside the first, alpha times as strong",
    .slots = 3,
    .default_alpha = 5,
    .default_epsilon = 1e-8,
    .prepare = prepare,
    .apply = apply,
};
