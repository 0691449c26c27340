/* lars.c - layer-wise adaptive rates (You, Gitman and Ginsburg, 2017, Algorithm 1): momentum whose
 * step is measured, tensor by tensor, by the size of the weights.
 *
 *   rate = lr trust |w| / (|g| + wd |w|)
 *   v <- mu v + rate (g + wd w),   w <- w - v
 *
 * The rate is inside the velocity, as in the paper. Biases and parameters of normalisations have
 * rate = lr and no weight decay; so has a weight that is zero, or whose gradient and decay are,
 * rate = lr. Norms are summed in the order of tg_square_sum. */
#include "optim/optimizers.h"
#include "tardigrad/update.h"

static float rate_of(const tg_hyper *h, const tg_part *part, const float *w, const float *g) {
  if (!part->weight) return h->lr;
  double size = sqrt(tg_square_sum(part->count, w)), slope = sqrt(tg_square_sum(part->count, g));
  double below = slope + (double)h->weight_decay * size;
  if (!(size > 0) || !(below > 0)) return h->lr;
  return (float)(h->lr * (h->keys.trust * (size / below)));
}

static void step(const tg_hyper *h, const tg_part *part, float *restrict w, const float *restrict g,
                 float *restrict velocity) {
  const float rate = rate_of(h, part, w, g), mu = h->momentum;
  const float decay = part->weight ? h->weight_decay : 0;
#pragma omp parallel for simd schedule(static) if (part->count > 1 << 16)
  for (size_t i = 0; i < part->count; i++) {
    float v = tg_normal_or_zero(mu * velocity[i] + rate * (g[i] + decay * w[i]));
    velocity[i] = v;
    w[i] -= v;
  }
}

static tg_status whole(const tg_update *u, const tg_layout *layout, float *g,
                       tg_update_sums *sums) {
  (void)sums;
  for (size_t i = 0; i < layout->count; i++) {
    size_t at = layout->part[i].offset;
    step(&u->hyper, &layout->part[i], u->w + at, g + at, u->slot[0] + at);
  }
  return TG_OK;
}

const tg_optimizer tg_optimizer_lars = {
    .name = "lars",
    .help = "momentum, each weight tensor's step scaled by trust |w| / (|g| + wd |w|)",
    .slots = 1,
    .whole = whole,
};
