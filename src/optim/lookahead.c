/* lookahead.c - Lookahead (Zhang et al., NeurIPS 2019): the inner optimiser goes k steps ahead of
 * slow weights, which then follow, and from where it goes on.
 *
 *   every k updates:  slow <- slow + alpha (w - slow),  w <- slow
 *
 * Slow weights begin as w_0: the first update writes them down, so that they need nobody else. The
 * step is written as w - (1 - alpha) (w - slow): with alpha = 1 it is the inner optimiser's weight
 * exactly. The inner optimiser keeps its state. */
#include <string.h>

#include "optim/optimizers.h"

static void prepare(tg_hyper *h) {
  h->factors.first = h->update == 0;
  h->factors.pull = (h->update + 1) % h->keys.k == 0;
  h->factors.mix = (float)(1 - h->keys.alpha);
}

static void apply(const tg_hyper *h, size_t n, float *restrict w, const float *restrict g,
                  float *const *slot) {
  float *restrict slow = slot[h->inner->slots];
  const float mix = h->factors.mix;
  if (h->factors.first) memcpy(slow, w, n * sizeof *slow);
  h->inner->apply(h, n, w, g, slot);
  if (!h->factors.pull) return;
#pragma omp simd
  for (size_t i = 0; i < n; i++) {
    float s = w[i] - mix * (w[i] - slow[i]);
    slow[i] = s;
    w[i] = s;
  }
}

const tg_optimizer tg_optimizer_lookahead = {
    .name = "lookahead",
    .help = "optimizer.inner, and every k updates w = slow = slow + alpha (w - slow)",
    .slots = 1,
    .default_alpha = 0.5,
    .prepare = prepare,
    .apply = apply,
    .inner = &tg_optimizer_sgd,
};
