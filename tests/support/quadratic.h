/* quadratic.h - a problem for tests of what carries gradients: no network, no data.
 *
 * loss(w) = 1/2 sum_i a_i (w_i - c_i)^2 with 0.5 <= a_i < 1.5; the gradient of batch `step` of
 * worker m is a_i (w_i - c_i) + noise * z, z uniform in [-1,1) and a pure function of (m, step, i).
 * Batch statistics are pure functions of (w, m, step) too. */
#ifndef TESTS_QUADRATIC_H
#define TESTS_QUADRATIC_H

#include "tardigrad/worker.h"

typedef struct quadratic_options {
  size_t n, k; /* k running statistics, as many batch statistics */
  uint32_t batch;
  float noise;
  double busy_s;      /* each gradient sleeps so long ... */
  uint32_t slow;      /* ... and worker slow - 1 (0: none) */
  double slow_busy_s; /* so long */
  uint64_t die_at;    /* the process kills itself before this step (0: never) */
} quadratic_options;

/* Memory: free with quadratic_destroy. NULL without memory. */
tg_compute *quadratic_create(const quadratic_options *options);
void quadratic_destroy(tg_compute *compute);
/* How many requests' weights came in pieces. */
uint64_t quadratic_taken(const tg_compute *compute);
/* The weights that training starts from. */
void quadratic_initial(size_t n, float *w);
/* The gradient of one batch, in double. */
void quadratic_gradient(size_t n, uint32_t worker, uint64_t step, float noise, const double *w,
                        double *g);
/* loss(w), in double. */
double quadratic_loss(size_t n, const float *w);

#endif
