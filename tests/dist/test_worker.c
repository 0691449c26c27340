/* test_worker.c - one request answered: headers, norms, clipping, what is not finite. */
#include <check.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "../support/fixture.h"
#include "tardigrad/optim.h"
#include "tardigrad/update.h"
#include "tardigrad/worker.h"

enum { N = 100003, KS = 3 };

/* A gradient that the test lays down by hand. */
static struct {
  float g[N], s[KS], w[N], b[2];
  double loss;
  tg_status status;
  uint32_t worker;
  uint64_t step;
} fake;

static tg_status gradient(tg_compute *c, uint32_t worker, uint64_t step, const float *w,
                          double *loss_sum, uint64_t *correct) {
  ck_assert_ptr_eq(w, fake.w);
  fake.worker = worker;
  fake.step = step;
  memcpy(c->g, fake.g, c->n * sizeof *c->g);
  memcpy(c->s, fake.s, c->ks * sizeof *c->s);
  *loss_sum = fake.loss;
  *correct = 11;
  return fake.status;
}

static tg_status evaluate(tg_compute *c, const float *w, const float *b, double *loss_sum,
                          uint64_t *correct, uint32_t *samples) {
  (void)c;
  ck_assert_ptr_eq(w, fake.w);
  ck_assert_ptr_eq(b, fake.b);
  *loss_sum = 21;
  *correct = 22;
  *samples = 23;
  return fake.status;
}

static float g[N], s[KS];
static tg_compute compute = {.n = N,
                             .k = 2,
                             .ks = KS,
                             .batch = 16,
                             .g = g,
                             .s = s,
                             .gradient = gradient,
                             .evaluate = evaluate};
static tg_worker_options options;

static void set_up(void) {
  memset(&fake, 0, sizeof fake);
  memset(&options, 0, sizeof options);
  fake.loss = 5;
  for (size_t i = 0; i < N; i++) fake.g[i] = (float)sin((double)i) * (i % 3 ? 1e-3f : 2.f);
}

static const tg_msg request = {
    .kind = TG_MSG_WEIGHTS, .flags = 0, .worker = 3, .version = 77, .step = 9};

static tg_msg answer(void) {
  tg_msg out;
  ck_ok(tg_worker_step(&compute, &options, &request, fake.w, NULL, &out));
  return out;
}

static double reference_norm(void) {
  long double sum = 0;
  for (size_t i = 0; i < N; i++) sum += (long double)fake.g[i] * fake.g[i];
  return (double)sqrtl(sum);
}

START_TEST(answers_with_a_push) {
  tg_msg out = answer();
  ck_assert_uint_eq(out.kind, TG_MSG_PUSH);
  ck_assert_uint_eq(out.flags, 0);
  ck_assert_uint_eq(out.worker, 3);
  ck_assert_uint_eq(out.version, 77);
  ck_assert_uint_eq(out.step, 9);
  ck_assert_uint_eq(out.samples, 16);
  ck_assert_uint_eq(out.correct, 11);
  ck_assert_uint_eq(fake.worker, 3);
  ck_assert_uint_eq(fake.step, 9);
  ck_assert_double_eq(out.loss_sum, 5);
  ck_assert_mem_eq(g, fake.g, sizeof g);
}
END_TEST

START_TEST(norm_is_that_of_the_raw_gradient) {
  ck_assert_double_eq_tol(answer().gradient_norm, reference_norm(), 1e-12 * reference_norm());
}
END_TEST

START_TEST(norm_does_not_depend_on_threads) {
  int before = omp_get_max_threads();
  omp_set_num_threads(1);
  double alone = answer().gradient_norm;
  for (int threads = 2; threads <= 5; threads++) {
    omp_set_num_threads(threads);
    ck_assert_double_eq(answer().gradient_norm, alone);
  }
  omp_set_num_threads(before);
}
END_TEST

START_TEST(clips_to_the_norm) {
  double norm = reference_norm();
  options.clip_norm = norm / 4;
  tg_msg out = answer();
  ck_assert_double_eq_tol(out.gradient_norm, norm, 1e-12 * norm);
  for (size_t i = 0; i < N; i++)
    ck_assert_double_eq_tol(g[i], fake.g[i] / 4, 1e-6 * fabs(fake.g[i]) + 1e-30);
}
END_TEST

START_TEST(leaves_a_short_gradient_alone) {
  options.clip_norm = reference_norm() * 1.001;
  answer();
  ck_assert_mem_eq(g, fake.g, sizeof g);
}
END_TEST

/* Also where a square would overflow a float. */
START_TEST(large_is_not_infinite) {
  fake.g[5] = 3e38f;
  ck_assert_uint_eq(answer().flags, 0);
}
END_TEST

START_TEST(flags_what_is_not_finite) {
  const float bad[] = {NAN, INFINITY, -INFINITY};
  fake.g[_i < 3 ? N - 1 : 0] = _i < 3 ? bad[_i] : 0;
  if (_i == 3) fake.loss = NAN;
  if (_i == 4) fake.loss = INFINITY;
  if (_i == 5) fake.s[KS - 1] = NAN;
  options.clip_norm = 1;
  tg_msg out = answer();
  ck_assert_uint_eq(out.kind, TG_MSG_PUSH);
  ck_assert_uint_eq(out.flags, TG_FLAG_NONFINITE);
}
END_TEST

START_TEST(makes_the_gradient_asked_for_not_finite) {
  options.chaos_nan_at = 10;
  ck_assert_uint_eq(answer().flags, TG_FLAG_NONFINITE);
  options.chaos_nan_at = 9;
  ck_assert_uint_eq(answer().flags, 0);
}
END_TEST

START_TEST(evaluates) {
  tg_msg in = request, out;
  in.kind = TG_MSG_EVALUATE;
  ck_ok(tg_worker_step(&compute, &options, &in, fake.w, fake.b, &out));
  ck_assert_uint_eq(out.kind, TG_MSG_EVALUATED);
  ck_assert_double_eq(out.loss_sum, 21);
  ck_assert_uint_eq(out.correct, 22);
  ck_assert_uint_eq(out.samples, 23);
  ck_assert_uint_eq(out.version, 77);
  options.skip_evaluation = true;
  ck_ok(tg_worker_step(&compute, &options, &in, NULL, NULL, &out));
  ck_assert_uint_eq(out.kind, TG_MSG_EVALUATED);
  ck_assert_uint_eq(out.samples, 0);
}
END_TEST

START_TEST(passes_failures_up) {
  tg_msg in = request, out;
  fake.status = TG_EUNAVAILABLE;
  ck_assert_int_eq(tg_worker_step(&compute, &options, &in, fake.w, NULL, &out), TG_EUNAVAILABLE);
  in.kind = 99;
  ck_assert_int_eq(tg_worker_step(&compute, &options, &in, fake.w, NULL, &out), TG_ERUNTIME);
  ck_assert_str_eq(tg_status_message(), "worker 3: the server sent a message of unknown kind 99");
}
END_TEST

/* ---- steps of its own ---- */

/* The gradient of (worker, step) at w: linear in w, other for every step. */
static tg_status moving(tg_compute *c, uint32_t worker, uint64_t step, const float *w,
                        double *loss_sum, uint64_t *correct) {
  ck_assert_uint_eq(worker, 3);
  ck_assert_uint_eq(step, fake.step++);
  for (size_t i = 0; i < c->n; i++) c->g[i] = 0.5f * w[i] + fake.g[(i + step) % N];
  for (size_t i = 0; i < KS; i++) c->s[i] = (float)step;
  if (step == fake.worker) c->g[7] = INFINITY;
  *loss_sum = (double)step;
  *correct = step;
  return TG_OK;
}

static tg_msg move(uint32_t steps) {
  tg_msg in = request, out;
  tg_compute c = compute;
  in.lr = 0.125;
  c.gradient = moving;
  options.local_steps = steps;
  options.weight_decay = 0.25;
  fake.step = in.step * steps;
  ck_ok(tg_worker_prepare(&c, &options));
  ck_ok(tg_worker_step(&c, &options, &in, fake.w, NULL, &out));
  tg_worker_release(&c);
  ck_assert_ptr_null(c.x);
  return out;
}

START_TEST(pushes_where_its_steps_led) {
  static float x[N], d[N];
  double squares = 0;
  for (size_t i = 0; i < N; i++) fake.w[i] = (float)cos((double)i);
  options.clip_norm = _i ? 60 : 0;
  tg_msg out = move(4);
  ck_assert_uint_eq(fake.step, 40); /* of exchange 9: steps 36 to 39 */
  ck_assert(out.kind == TG_MSG_PUSH && out.flags == 0 && out.step == 9 && out.version == 77);
  ck_assert_uint_eq(out.samples, 4 * 16);
  ck_assert_uint_eq(out.correct, 36 + 37 + 38 + 39);
  ck_assert_double_eq(out.loss_sum, 36 + 37 + 38 + 39);
  ck_assert(s[0] == 39);
  memcpy(x, fake.w, sizeof x);
  for (uint64_t step = 36; step < 40; step++) {
    for (size_t i = 0; i < N; i++) d[i] = 0.5f * x[i] + fake.g[(i + step) % N];
    double square = tg_square_sum(N, d);
    squares += square;
    float factor = tg_clip_scale(sqrt(square), options.clip_norm);
    ck_assert((factor < 1) == _i);
    for (size_t i = 0; i < N; i++) {
      float clipped = factor == 1 ? d[i] : d[i] * factor;
      x[i] -= 0.125f * (clipped + 0.25f * x[i]);
    }
  }
  ck_assert_mem_eq(g, x, sizeof g);
  ck_assert_double_eq_tol(out.gradient_norm, sqrt(squares / 4), 1e-9);
}
END_TEST

START_TEST(stops_where_its_steps_are_not_finite) {
  fake.worker = 37;
  tg_msg out = move(4);
  ck_assert_uint_eq(out.flags, TG_FLAG_NONFINITE);
  ck_assert_uint_eq(fake.step, 38);
  fake.worker = 0;
  options.chaos_nan_at = 10;
  ck_assert_uint_eq(move(4).flags, TG_FLAG_NONFINITE);
  options.chaos_nan_at = 38;
  ck_assert_uint_eq(move(4).flags, 0);
  /* Every gradient is finite, but where they lead is not. */
  options.chaos_nan_at = 0;
  fake.w[5] = 3.3e38f;
  ck_assert_uint_eq(move(1).flags, 0);
  fake.g[5 + 9] = -3.4e38f;
  ck_assert_uint_eq(move(1).flags, TG_FLAG_NONFINITE);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("worker");
  TCase *tc = tcase_create("worker");
  tcase_add_checked_fixture(tc, set_up, NULL);
  tcase_add_test(tc, answers_with_a_push);
  tcase_add_test(tc, norm_is_that_of_the_raw_gradient);
  tcase_add_test(tc, norm_does_not_depend_on_threads);
  tcase_add_test(tc, clips_to_the_norm);
  tcase_add_test(tc, leaves_a_short_gradient_alone);
  tcase_add_test(tc, large_is_not_infinite);
  tcase_add_loop_test(tc, flags_what_is_not_finite, 0, 6);
  tcase_add_test(tc, makes_the_gradient_asked_for_not_finite);
  tcase_add_test(tc, evaluates);
  tcase_add_test(tc, passes_failures_up);
  tcase_add_loop_test(tc, pushes_where_its_steps_led, 0, 2);
  tcase_add_test(tc, stops_where_its_steps_are_not_finite);
  suite_add_tcase(suite, tc);
  return fixture_run(suite, 0) != 0;
}
