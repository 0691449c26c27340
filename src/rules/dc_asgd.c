/* dc_asgd.c - delay compensation (Zheng et al., ICML 2017, Algorithm 2).
 *
 * The gradient was computed at w_bak and is applied at w. A first-order step towards the gradient
 * at w, with the Hessian's diagonal taken to be lambda g*g:
 *
 *   g <- g + lambda_t (.) g (.) g (.) (w - w_bak)
 *   -c  lambda_t = lambda
 *   -a  MS <- m MS + (1 - m) g (.) g,   lambda_t = lambda / sqrt(MS + epsilon)
 *
 * MS is updated before it is used, without bias correction; epsilon lies inside the root. Factors
 * are multiplied in an order in which the correction is exactly 0 where lambda is 0 or w equals
 * w_bak, even where g*g would not fit a float.
 *
 * Every operation here is rounded by IEEE 754 alone, square root and division too, and
 * nothing is contracted: the result does not depend on vector width, block or thread. The sums of
 * squares do; they are for reports. */
#include <float.h>
#include <math.h>

#include "rules/rules.h"

/* What bounds |correction| / |gradient|: a cap that is off never bites. */
static float cap_of(const tg_hyper *h) {
  return h->cap > 0 ? h->cap : FLT_MAX;
}

static inline float bounded(float correction, float limit) {
  correction = correction < limit ? correction : limit;
  return correction > -limit ? correction : -limit;
}

static void compensate_constant(const tg_hyper *h, size_t n, const float *restrict w,
                                const float *restrict w_bak, float *restrict state,
                                float *restrict g, double *correction_square,
                                double *gradient_square) {
  (void)state;
  const float lambda = h->lambda, cap = cap_of(h);
  float corrections = 0, gradients = 0;
#pragma omp simd reduction(+ : corrections, gradients)
  for (size_t i = 0; i < n; i++) {
    float gi = g[i];
    float c = gi * (gi * (lambda * (w[i] - w_bak[i])));
    c = bounded(c, cap * fabsf(gi));
    g[i] = gi + c;
    corrections += c * c;
    gradients += gi * gi;
  }
  *correction_square += corrections;
  *gradient_square += gradients;
}

static void compensate_adaptive(const tg_hyper *h, size_t n, const float *restrict w,
                                const float *restrict w_bak, float *restrict mean_square,
                                float *restrict g, double *correction_square,
                                double *gradient_square) {
  const float lambda = h->lambda, cap = cap_of(h), epsilon = h->epsilon;
  const float keep = h->mean_square_decay, take = 1 - h->mean_square_decay;
  float corrections = 0, gradients = 0;
#pragma omp simd reduction(+ : corrections, gradients)
  for (size_t i = 0; i < n; i++) {
    float gi = g[i];
    float ms = keep * mean_square[i] + take * gi * gi;
    /* A mean square that overflowed would silence its coordinate for good; one that decays into
     * subnormal numbers would stay there, and slow every later update down. */
    ms = ms < FLT_MAX ? ms : FLT_MAX;
    ms = ms < FLT_MIN ? 0 : ms;
    mean_square[i] = ms;
    float square = ms + epsilon;
    square = square > FLT_MIN ? square : FLT_MIN;
    float c = gi / sqrtf(square) * (gi * (lambda * (w[i] - w_bak[i])));
    c = bounded(c, cap * fabsf(gi));
    g[i] = gi + c;
    corrections += c * c;
    gradients += gi * gi;
  }
  *correction_square += corrections;
  *gradient_square += gradients;
}

const tg_rule tg_rule_dc_asgd_c = {
    .name = "dc-asgd-c",
    .help = "asynchronous, delay-compensated with a constant lambda",
    .scheme = TG_SCHEME_ASYNC,
    .default_lambda = 0.04f,
    .compensate = compensate_constant,
};

const tg_rule tg_rule_dc_asgd_a = {
    .name = "dc-asgd-a",
    .help = "asynchronous, delay-compensated with lambda adapted by a mean square",
    .scheme = TG_SCHEME_ASYNC,
    .default_lambda = 2.0f,
    .has_state = true,
    .compensate = compensate_adaptive,
};
