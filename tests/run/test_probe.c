/* test_probe.c - corrections of late gradients against sums in double, on a quadratic whose Hessian
 * is a known diagonal; and the largest stable rate against its formula. */
#include "tardigrad/probe.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../support/fixture.h"
#include "../support/quadratic.h"

enum { N = 301, SAMPLES = 5, STEP = 3, WORKER = 1 };

static float w_bak[N], w[N], g[N], after[N], mean_square[N];
static tg_fidelity_options o;
static tg_fidelity found;

static void gradient(tg_compute *c, uint32_t worker, uint64_t step, const float *at, float *out) {
  double loss;
  uint64_t correct;
  ck_ok(c->gradient(c, worker, step, at, &loss, &correct));
  memcpy(out, c->g, N * sizeof *out);
}

static void setup(void) {
  const quadratic_options problem = {.n = N, .batch = 4, .noise = 0.5f};
  const quadratic_options noisy = {.n = N, .batch = 1, .noise = 2};
  o = (tg_fidelity_options){.compute = quadratic_create(&problem),
                            .small = quadratic_create(&noisy),
                            .samples = SAMPLES,
                            .vectors = 3,
                            .lambda = 0.25,
                            .adaptive_lambda = 2,
                            .epsilon = 1e-3,
                            .seed = 9};
  quadratic_initial(N, w_bak);
  for (int i = 0; i < N; i++) {
    w[i] = w_bak[i] + 0.05f * (float)(i % 7 - 3);
    mean_square[i] = 0.1f + (float)(i % 5);
  }
  gradient(o.compute, WORKER, STEP, w_bak, g);
  gradient(o.compute, WORKER, STEP, w, after);
  ck_ok(tg_fidelity_measure(&o, WORKER, STEP, w_bak, w, g, mean_square, &found));
}

static void teardown(void) {
  quadratic_destroy(o.compute);
  quadratic_destroy(o.small);
}

/* What a correction leaves, coordinate by coordinate. */
static double residual(const double *correction, double scale) {
  double left = 0, change = 0;
  for (int i = 0; i < N; i++) {
    double d = (double)after[i] - g[i], r = scale * correction[i] - d;
    left += r * r;
    change += d * d;
  }
  return sqrt(left / change);
}

/* The scale found is the best, and both residuals are those of the correction. */
static void check(tg_curve curve, const double *correction, double scale) {
  double size = 0, gradients = 0, best = found.of[curve].best_scale;
  for (int i = 0; i < N; i++) {
    size += correction[i] * correction[i];
    gradients += (double)g[i] * g[i];
  }
  ck_assert_double_eq_tol(found.of[curve].scale, scale, 1e-12);
  ck_assert_double_eq_tol(found.of[curve].residual, residual(correction, scale), 1e-5);
  ck_assert_double_eq_tol(found.of[curve].ratio, scale * sqrt(size / gradients), 1e-5);
  ck_assert_double_eq_tol(found.of[curve].best_residual, residual(correction, best), 1e-5);
  ck_assert_double_le(residual(correction, best), residual(correction, best * 1.01) + 1e-12);
  ck_assert_double_le(residual(correction, best), residual(correction, best * 0.99) + 1e-12);
}

START_TEST(diagonals_are_the_rules) {
  double plain[N], adaptive[N];
  for (int i = 0; i < N; i++) {
    plain[i] = (double)g[i] * g[i] * (w[i] - w_bak[i]);
    adaptive[i] = plain[i] / sqrt(mean_square[i] + 1e-3);
  }
  check(TG_CURVE_DIAGONAL, plain, 0.25);
  check(TG_CURVE_ADAPTIVE, adaptive, 2);
}
END_TEST

START_TEST(expectations_are_means_over_small_batches) {
  double diagonal[N] = {0}, outer[N] = {0};
  for (int k = 0; k < SAMPLES; k++) {
    float sample[N];
    double along = 0;
    gradient(o.small, 0, STEP * SAMPLES + k, w_bak, sample);
    for (int i = 0; i < N; i++) along += (double)sample[i] * (w[i] - w_bak[i]);
    for (int i = 0; i < N; i++) {
      diagonal[i] += (double)sample[i] * sample[i] * (w[i] - w_bak[i]) / SAMPLES;
      outer[i] += sample[i] * along / SAMPLES;
    }
  }
  check(TG_CURVE_MEAN, diagonal, 1);
  check(TG_CURVE_OUTER, outer, 1);
}
END_TEST

/* The loss is a quadratic with a diagonal Hessian: both leave nothing but rounding. */
START_TEST(the_hessian_leaves_nothing) {
  ck_assert_double_lt(found.of[TG_CURVE_HESSIAN].residual, 1e-3);
  ck_assert_double_lt(found.of[TG_CURVE_HUTCHINSON].residual, 1e-2);
  ck_assert_double_eq_tol(found.of[TG_CURVE_HESSIAN].best_scale, 1, 1e-3);
}
END_TEST

START_TEST(nothing_late_is_told_so) {
  tg_fidelity f;
  ck_ok(tg_fidelity_measure(&o, WORKER, STEP, w_bak, w_bak, g, mean_square, &f));
  ck_assert_double_eq(f.change, 0);
  ck_assert_double_eq(f.distance, 0);
}
END_TEST

START_TEST(sharpness_is_the_largest_curvature) {
  double largest = 0, sharpness;
  for (int i = 0; i < N; i++) largest = fmax(largest, 0.5 + i * 7919 % 1000 / 1000.0);
  ck_ok(tg_fidelity_sharpness(&o, WORKER, STEP, w, 2000, &sharpness));
  ck_assert_double_eq_tol(sharpness, largest, 2e-3 * largest);
}
END_TEST

START_TEST(stable_rates_are_the_formula) {
  static const uint64_t delays[] = {0, 1, 2, 3, 7};
  double rate;
  ck_ok(tg_stable_rate_found(delays[_i], false, &rate));
  ck_assert_double_eq_tol(rate, tg_stable_rate(delays[_i], false), 3e-4);
  ck_ok(tg_stable_rate_found(delays[_i], true, &rate));
  ck_assert_double_eq_tol(rate, 2, 3e-4);
}
END_TEST

int main(void) {
  Suite *s = suite_create("probe");
  TCase *tc = tcase_create("fidelity");
  suite_add_tcase(s, tc);
  tcase_add_checked_fixture(tc, setup, teardown);
  tcase_add_test(tc, diagonals_are_the_rules);
  tcase_add_test(tc, expectations_are_means_over_small_batches);
  tcase_add_test(tc, the_hessian_leaves_nothing);
  tcase_add_test(tc, nothing_late_is_told_so);
  tcase_add_test(tc, sharpness_is_the_largest_curvature);
  tcase_add_loop_test(tc, stable_rates_are_the_formula, 0, 5);
  return fixture_run(s, 0) != 0;
}
