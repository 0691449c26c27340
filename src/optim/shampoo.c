/* shampoo.c - Shampoo (Gupta, Koren and Singer, ICML 2018, Algorithms 1 and 2): each weight tensor
 * G [rows,cols] (a convolution's dimensions behind the first taken together) is preconditioned from
 * both sides by the inverse fourth roots of what its gradients have been:
 *
 *   L <- L + G G^T,  R <- R + G^T G,  W <- W - lr (L + epsilon I)^(-1/4) G (R + epsilon I)^(-1/4)
 *
 * A dimension above optimizer.shampoo_limit is left alone: the other's matrix is then taken to the
 * power -1/2, the paper's -1/(2k) for k dimensions. Where both are, and for vectors, every element
 * goes by itself: AdaGrad, w -= lr g / sqrt(sum g^2 + epsilon). (The paper would give a vector its
 * full matrix; but an update adds one direction to that, and between two computations of its root
 * every other direction would be lengthened 1 / sqrt(epsilon) times.)
 * Roots are computed anew every optimizer.shampoo_every updates, and in each of the first so many:
 * the roots of one gradient alone would lengthen all that is new in the next ones, up to
 * 1 / sqrt(epsilon) times. No momentum; weight decay is part of the gradient.
 *
 * State: for each side the sum and its root, dimension^2 floats each; they are one slot, tensor
 * after tensor, so that a checkpoint holds them. Tensors are shared among threads, each computed by
 * one: bits do not depend on their number. They do depend on OpenBLAS's kernels for the processor.
 */
#include <stdio.h>

#include "backend/cpu_symmetric.h"
#include "optim/optimizers.h"
#include "tardigrad/update.h"

/* Sides that are preconditioned, 0 for none. */
typedef struct sides {
  size_t left, right;
} sides;

static size_t side_of(size_t dimension, size_t limit) {
  return dimension <= limit ? dimension : 0;
}

static sides sides_of(const tg_part *part, const tg_optimizer_keys *keys) {
  if (part->rows == 1 || part->cols == 1) return (sides){0, 0};
  return (sides){side_of(part->rows, keys->shampoo_limit),
                 side_of(part->cols, keys->shampoo_limit)};
}

static size_t state_of(const tg_part *part, const tg_optimizer_keys *keys) {
  sides s = sides_of(part, keys);
  return s.left || s.right ? 2 * (s.left * s.left + s.right * s.right) : part->count;
}

static size_t slot_length(const tg_optimizer_keys *keys, const tg_layout *layout, int slot) {
  (void)slot;
  size_t sum = 0;
  for (size_t i = 0; i < layout->count; i++) sum += state_of(&layout->part[i], keys);
  return sum;
}

/* Each thread computes the roots of one tensor at a time: at most those of the largest at once. */
static size_t passing(const tg_optimizer_keys *keys, const tg_layout *layout, size_t threads) {
  size_t sum = 0, last = SIZE_MAX;
  for (size_t t = 0; t < threads; t++) {
    size_t next = 0, alike = 0;
    for (size_t i = 0; i < layout->count; i++) {
      sides s = sides_of(&layout->part[i], keys);
      size_t side = s.left > s.right ? s.left : s.right;
      if (side < last && side > next) {
        next = side;
        alike = 0;
      }
      alike += side == next;
    }
    if (next == 0) break;
    last = next;
    if (alike > threads - t) alike = threads - t;
    sum += alike * tg_inverse_root_bytes(next);
    t += alike - 1;
  }
  return sum;
}

static void step_each(const tg_hyper *h, size_t n, float *restrict w, const float *restrict g,
                      float *restrict sum) {
  const float lr = h->lr, epsilon = (float)h->keys.epsilon;
#pragma omp simd
  for (size_t i = 0; i < n; i++) {
    float s = sum[i] + g[i] * g[i];
    s = s < FLT_MAX ? s : FLT_MAX;
    sum[i] = s;
    w[i] -= lr * (g[i] / sqrtf(s + epsilon));
  }
}

/* g becomes the preconditioned gradient. */
static tg_status precondition(const tg_hyper *h, const tg_part *part, sides s, float *state,
                              float *g) {
  uint64_t every = h->keys.shampoo_every;
  bool anew = h->update < every || h->update % every == 0, both = s.left && s.right;
  float *left = state, *left_root = left + s.left * s.left;
  float *right = left_root + s.left * s.left, *right_root = right + s.right * s.right;
  if (s.left) tg_gram_add(part->rows, part->cols, g, false, left);
  if (s.right) tg_gram_add(part->rows, part->cols, g, true, right);
  if (anew && s.left) TG_TRY(tg_inverse_root(s.left, left, h->keys.epsilon, both, left_root));
  if (anew && s.right) TG_TRY(tg_inverse_root(s.right, right, h->keys.epsilon, both, right_root));
  if (s.left) tg_multiply_left(part->rows, part->cols, left_root, g);
  if (s.right) tg_multiply_right(part->rows, part->cols, right_root, g);
  return TG_OK;
}

static tg_status step(const tg_hyper *h, const tg_part *part, float *w, float *g, float *state) {
  sides s = sides_of(part, &h->keys);
  const float decay = h->weight_decay, lr = h->lr;
  for (size_t i = 0; i < part->count; i++) g[i] = g[i] + decay * w[i];
  if (!s.left && !s.right) {
    step_each(h, part->count, w, g, state);
    return TG_OK;
  }
  TG_TRY(precondition(h, part, s, state, g));
  for (size_t i = 0; i < part->count; i++) w[i] -= lr * g[i];
  return TG_OK;
}

/* The message of a failure is its thread's own: that of the first tensor is said again. */
static tg_status whole(const tg_update *u, const tg_layout *layout, float *g,
                       tg_update_sums *sums) {
  (void)sums;
  const tg_hyper *h = &u->hyper;
  tg_status failed = TG_OK;
  size_t first = SIZE_MAX;
  char message[256] = "";
#pragma omp parallel for schedule(dynamic, 1)
  for (size_t i = 0; i < layout->count; i++) {
    const tg_part *part = &layout->part[i];
    float *state = u->slot[0];
    for (size_t j = 0; j < i; j++) state += state_of(&layout->part[j], &h->keys);
    tg_status status = step(h, part, u->w + part->offset, g + part->offset, state);
    if (status == TG_OK) continue;
#pragma omp critical
    if (i < first) {
      first = i;
      failed = status;
      snprintf(message, sizeof message, "shampoo: %s", tg_status_message());
    }
  }
  return failed == TG_OK ? TG_OK : tg_status_set(failed, "%s", message);
}

const tg_optimizer tg_optimizer_shampoo = {
    .name = "shampoo",
    .help = "W -= lr L^(-1/4) G R^(-1/4), L and R the sums of G G^T and G^T G of each tensor",
    .slots = 1,
    .slot_length = slot_length,
    .passing = passing,
    .default_epsilon = 1e-4,
    .whole = whole,
    .mixes = true,
};
