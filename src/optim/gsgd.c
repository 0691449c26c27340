/* gsgd.c - G-SGD and its kin: optimisers of path values (paths.h, src/paths/step.c). Here is what
 * an optimiser makes of path gradients d at path values p; what belongs to no path block is treated
 * likewise, each weight a path of its own. Weight decay is 1/2 wd sum p^2 over basis paths that are
 * no skeletons. Source: Meng et al., "G-SGD: Optimizing ReLU neural networks in its positively
 * scale-invariant space", ICLR 2019; momentum and the adaptive ones are in the authors' program. */
#include "optim/optimizers.h"
#include "tardigrad/paths.h"

static void plain(const tg_hyper *h, size_t n, const float *restrict p, const float *restrict d,
                  float *const *slot, float *restrict step) {
  (void)slot;
  const float decay = h->weight_decay;
#pragma omp simd
  for (size_t i = 0; i < n; i++) step[i] = d[i] + decay * p[i];
}

const tg_optimizer tg_optimizer_gsgd = {
    .name = "gsgd",
    .help = "SGD on the values of basis paths: rescaling hidden units changes nothing",
    .whole = tg_path_update,
    .path_step = plain,
    .path_plain = true,
};

static void momentum(const tg_hyper *h, size_t n, const float *restrict p, const float *restrict d,
                     float *const *slot, float *restrict step) {
  float *restrict velocity = slot[0];
  const float decay = h->weight_decay, mu = h->momentum;
#pragma omp simd
  for (size_t i = 0; i < n; i++) {
    float v = tg_normal_or_zero(mu * velocity[i] + (d[i] + decay * p[i]));
    velocity[i] = v;
    step[i] = v;
  }
}

const tg_optimizer tg_optimizer_gsgd_momentum = {
    .name = "gsgd-momentum",
    .help = "the same, as a heavy ball",
    .slots = 1,
    .whole = tg_path_update,
    .path_step = momentum,
};

static void rmsprop(const tg_hyper *h, size_t n, const float *restrict p, const float *restrict d,
                    float *const *slot, float *restrict step) {
  float *restrict square = slot[0];
  const tg_factors f = h->factors;
#pragma omp simd
  for (size_t i = 0; i < n; i++) {
    float g = d[i] + f.couple * p[i];
    float v = tg_mean_square(f.keep2, f.take2, square[i], g);
    square[i] = v;
    step[i] = g / (sqrtf(v) + f.epsilon);
  }
}

const tg_optimizer tg_optimizer_gsgd_rmsprop = {
    .name = "gsgd-rmsprop",
    .help = "the same, each path's step divided by the root of its mean square gradient",
    .slots = 1,
    .default_epsilon = 1e-8,
    .prepare = tg_prepare_moments,
    .whole = tg_path_update,
    .path_step = rmsprop,
};

/* As the authors have it: epsilon stands beside the root of a mean square that is still young. */
static void adam(const tg_hyper *h, size_t n, const float *restrict p, const float *restrict d,
                 float *const *slot, float *restrict step) {
  float *restrict mean = slot[0], *restrict square = slot[1];
  const tg_factors f = h->factors;
  const float young = f.unbias / f.root;
#pragma omp simd
  for (size_t i = 0; i < n; i++) {
    float g = d[i] + f.couple * p[i];
    float m = tg_normal_or_zero(f.keep1 * mean[i] + f.take1 * g);
    float v = tg_mean_square(f.keep2, f.take2, square[i], g);
    mean[i] = m;
    square[i] = v;
    step[i] = young * (m / (sqrtf(v) + f.epsilon));
  }
}

const tg_optimizer tg_optimizer_gsgd_adam = {
    .name = "gsgd-adam",
    .help = "the same, by Adam",
    .slots = 2,
    .default_epsilon = 1e-8,
    .prepare = tg_prepare_moments,
    .whole = tg_path_update,
    .path_step = adam,
};
