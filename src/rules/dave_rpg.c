/* dave_rpg.c - the server averages iterates, not gradients (Mishchenko, Iutzeler, Malick, "A
 * Distributed Flexible Delay-tolerant Proximal Gradient Algorithm", SIAM J. Optim. 30(1), 2020;
 * DAve-RPG with one local step):
 *
 *   x_m+ = z_m - gamma (g + wd z_m),   w <- w + (x_m+ - x_m) / M,   x_m <- x_m+
 *
 * z_m = w_bak(m), the weights that the gradient was computed at; gamma is the learning rate; w,
 * which is also what is sent, is the mean of all x_m. A worker that is never heard keeps its x_m in
 * the mean, so the fixed point is the minimum of the mean of the workers' losses however different
 * they and their speeds are, and gamma need not shrink with the delays. gamma is meant to be
 * constant.
 *
 * There is no proximal operator: weight decay, the quadratic regulariser, is smooth and stands in
 * the gradient step, at z_m.
 *
 * In floats, w cannot take the whole of a small difference. What it did take is what x_m is moved
 * by, so that w stays the mean of all x_m, and the rest comes with m's next gradient. */
#include "rules/rules.h"

static void step(const tg_hyper *h, size_t n, float *restrict w, const float *restrict w_bak,
                 float *restrict state, const float *restrict g, double *correction_square) {
  (void)correction_square;
  const float lr = h->lr, decay = h->weight_decay, workers = h->workers;
#pragma omp simd
  for (size_t i = 0; i < n; i++) {
    float z = w_bak[i];
    float x = z - lr * (g[i] + decay * z);
    float next = w[i] + (x - state[i]) / workers;
    state[i] = state[i] + workers * (next - w[i]);
    w[i] = next;
  }
}

const tg_rule tg_rule_dave_rpg = {
    .name = "dave-rpg",
    .help = "asynchronous, the mean of every worker's own last step: w += (x_m+ - x_m) / M",
    .scheme = TG_SCHEME_ASYNC,
    .has_state = true,
    .state_of = TG_STATE_WORKER,
    .starts_at_w0 = true,
    .optimizer = "sgd",
    .step = step,
};
