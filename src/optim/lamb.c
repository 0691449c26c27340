/* lamb.c - LAMB (You et al., ICLR 2020, Algorithm 2, with phi(z) = z): Adam whose step is measured,
 * tensor by tensor, by the size of the weights.
 *
 *   r = m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + epsilon) + wd w
 *   w <- w - lr |w| / |r| r
 *
 * with Adam's means of g. Biases and parameters of normalisations take w - lr r without weight
 * decay; so does, with it, a weight that is zero, or whose r is. Norms are summed in the order of
 * tg_square_sum. */
#include "optim/optimizers.h"
#include "tardigrad/update.h"

/* Leaves r in g. */
static void direction(const tg_hyper *h, const tg_part *part, const float *restrict w,
                      float *restrict g, float *restrict mean, float *restrict square) {
  const tg_factors f = h->factors;
  const float decay = part->weight ? h->weight_decay : 0;
#pragma omp parallel for simd schedule(static) if (part->count > 1 << 16)
  for (size_t i = 0; i < part->count; i++) {
    float m = tg_normal_or_zero(f.keep1 * mean[i] + f.take1 * g[i]);
    float v = tg_mean_square(f.keep2, f.take2, square[i], g[i]);
    mean[i] = m;
    square[i] = v;
    g[i] = m * f.unbias / (sqrtf(v) * f.root + f.epsilon) + decay * w[i];
  }
}

static float rate_of(const tg_hyper *h, const tg_part *part, const float *w, const float *r) {
  if (!part->weight) return h->lr;
  double size = sqrt(tg_square_sum(part->count, w)), length = sqrt(tg_square_sum(part->count, r));
  return size > 0 && length > 0 ? (float)(h->lr * (size / length)) : h->lr;
}

static void step(float rate, size_t n, float *restrict w, const float *restrict r) {
#pragma omp parallel for simd schedule(static) if (n > 1 << 16)
  for (size_t i = 0; i < n; i++) w[i] -= rate * r[i];
}

static tg_status whole(const tg_update *u, const tg_layout *layout, float *g,
                       tg_update_sums *sums) {
  (void)sums;
  const tg_hyper *h = &u->hyper;
  float *w = u->w;
  for (size_t i = 0; i < layout->count; i++) {
    const tg_part *part = &layout->part[i];
    size_t at = part->offset;
    direction(h, part, w + at, g + at, u->slot[0] + at, u->slot[1] + at);
    step(rate_of(h, part, w + at, g + at), part->count, w + at, g + at);
  }
  return TG_OK;
}

const tg_optimizer tg_optimizer_lamb = {
    .name = "lamb",
    .help = "adamw's step, that of each weight tensor as long as lr |w|",
    .slots = 2,
    .default_epsilon = 1e-6,
    .prepare = tg_prepare_moments,
    .whole = whole,
};
