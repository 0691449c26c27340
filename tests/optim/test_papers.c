/* What the optimisers' papers promise, on one coordinate or one tensor, and what must not go wrong.
 */
#include <float.h>
#include <math.h>

#include "../dist/cluster.h"
#include "../support/ref_optim.h"
#include "made.h"

/* One coordinate by itself, without a server. */
typedef struct single {
  const tg_optimizer *row;
  tg_hyper h;
  float w, state[TG_MAX_SLOTS];
} single;

static single single_of(const char *name, float w) {
  single s = {.row = made(name, "sgd"), .w = w};
  s.h.keys = default_keys(s.row);
  s.h.lr = 0.1f;
  s.h.momentum = 0.9f;
  return s;
}

/* An update of a tensor, by an optimiser of whole tensors. */
static void whole_step(const tg_optimizer *row, const tg_hyper *h, const tg_layout *layout,
                       float *w, float *g, float *const *slot) {
  tg_update u = {.optimizer = row, .hyper = *h, .w = w};
  tg_update_sums sums = {0};
  for (int i = 0; i < row->slots; i++) u.slot[i] = slot[i];
  ck_assert(tg_rule_find("sgd", &u.rule) == TG_OK);
  ck_assert(row->whole(&u, layout, g, &sums) == TG_OK);
}

static void single_step(single *s, float g) {
  static const tg_part part = {0, 1, 1, 1, true};
  const tg_layout layout = {.part = &part, .count = 1, .paths = any_paths(1)};
  float *slot[TG_MAX_SLOTS];
  for (int i = 0; i < TG_MAX_SLOTS; i++) slot[i] = &s->state[i];
  tg_optimizer_prepare(s->row, &s->h);
  if (s->row->whole)
    whole_step(s->row, &s->h, &layout, &s->w, &g, slot);
  else
    s->row->apply(&s->h, 1, &s->w, &g, slot);
  s->h.update++;
}

/* Reddi et al., section 3: f_t(x) = C x every third time, -x else, x in [-1,1], C > 2. The best
 * point is -1; Adam with beta1 = 0, beta2 = 1 / (1 + C^2) and lr / sqrt(t) goes to +1. */
static double counter_example(const char *name) {
  const double C = 4;
  single s = single_of(name, 0);
  s.h.keys.beta1 = 0;
  s.h.keys.beta2 = 1 / (1 + C * C);
  for (int t = 1; t <= 30000; t++) {
    s.h.lr = (float)(0.1 / sqrt(t));
    single_step(&s, t % 3 == 1 ? (float)C : -1);
    s.w = fminf(fmaxf(s.w, -1), 1);
  }
  return s.w;
}

START_TEST(amsgrad_where_adam_fails) {
  ck_assert_double_gt(counter_example("adam"), 0.98);
  ck_assert_double_lt(counter_example("amsgrad"), -0.98);
}
END_TEST

START_TEST(largest_moment_never_falls) {
  single s = single_of("amsgrad", 1);
  float before = 0;
  for (int t = 0; t < 3000; t++) {
    /* Gradients that swell, fade and end. */
    single_step(&s, t < 2000 ? 10 * cluster_random(1, (uint64_t)t, 9) * sinf((float)t / 100) : 0);
    ck_assert(s.state[2] >= before && s.state[2] >= s.state[1]);
    before = s.state[2];
  }
  ck_assert(before > s.state[1]);
}
END_TEST

/* w -= lr g / sqrt(sum g^2 + epsilon), in float32, to the bit. */
START_TEST(shampoo_of_one_element_is_adagrad) {
  single s = single_of("shampoo", 1);
  float sum = 0, w = 1;
  for (int t = 0; t < 300; t++) {
    float g = cluster_random(2, (uint64_t)t, 9);
    single_step(&s, g);
    sum += g * g;
    w -= 0.1f * (g / sqrtf(sum + 1e-4f));
    ck_assert(s.w == w && s.state[0] == sum);
  }
}
END_TEST

/* A diagonal matrix whose gradients are: every element of it is AdaGrad's, from both sides. */
START_TEST(shampoo_of_a_diagonal_is_adagrad) {
  enum { SIDE = 4, N = SIDE * SIDE };
  const tg_part part = {0, N, SIDE, SIDE, true};
  const tg_layout layout = {.part = &part, .count = 1};
  const tg_optimizer *row = made("shampoo", NULL);
  tg_hyper h = {.lr = 0.1f, .keys = default_keys(row)};
  h.keys.shampoo_every = 1;
  float w[N] = {0}, state[4 * N] = {0}, *slot[TG_MAX_SLOTS] = {state};
  double expected[SIDE] = {0}, sum[SIDE] = {0};
  ck_assert_uint_eq(row->slot_length(&h.keys, &layout, 0), 4 * N);
  for (int t = 0; t < 200; t++, h.update++) {
    float g[N] = {0};
    for (uint64_t i = 0; i < SIDE; i++) {
      g[i * SIDE + i] = cluster_random(i, (uint64_t)t, 3);
      sum[i] += pow(g[i * SIDE + i], 2);
      expected[i] -= 0.1 * g[i * SIDE + i] / sqrt(sum[i] + 1e-4);
    }
    whole_step(row, &h, &layout, w, g, slot);
    for (int i = 0; i < N; i++)
      ck_assert_double_eq_tol(w[i], i % (SIDE + 1) ? 0 : expected[i / SIDE], 1e-5);
  }
}
END_TEST

/* The first step of Adam and its kin is lr in the direction of -g whatever g's size. */
START_TEST(first_step_has_the_length_of_lr) {
  const char *names[] = {"adam", "amsgrad", "adamw"};
  const float sizes[] = {1e-4f, 1, 1e6f, -3};
  for (int k = 0; k < 3; k++)
    for (int i = 0; i < 4; i++) {
      single s = single_of(names[k], 2);
      single_step(&s, sizes[i]);
      ck_assert_float_eq_tol(s.w, 2 - copysignf(0.1f, sizes[i]), 2e-5f);
    }
  single s = single_of("diffgrad", 2); /* damped by the sigmoid of |0 - g| */
  single_step(&s, 1);
  ck_assert_float_eq_tol(s.w, (float)(2 - 0.1 / (1 + exp(-1))), 1e-6f);
}
END_TEST

/* Decoupled decay does not touch the means: without a gradient weights shrink by lr wd alone. */
START_TEST(decoupled_decay) {
  const char *names[] = {"adamw", "ademamix"};
  for (int k = 0; k < 2; k++) {
    single s = single_of(names[k], 2);
    s.h.weight_decay = 0.5f;
    for (int t = 0; t < 3; t++) single_step(&s, 0);
    ck_assert_float_eq_tol(s.w, (float)(2 * pow(0.95, 3)), 1e-6f);
    ck_assert(s.state[0] == 0 && s.state[1] == 0);
  }
}
END_TEST

/* Biases and parameters of normalisations: the learning rate as it is, no decay. */
START_TEST(what_is_no_weight_is_not_scaled) {
  const char *names[] = {"lars", "lamb"};
  for (int k = 0; k < 2; k++)
    for (int weight = 0; weight < 2; weight++) {
      const tg_part part = {0, 2, 2, 1, weight};
      const tg_layout layout = {.part = &part, .count = 1};
      const tg_optimizer *row = made(names[k], NULL);
      float w[2] = {3, 4}, g[2] = {0.6f, -0.8f}, a[2] = {0}, b[2] = {0};
      float *slot[TG_MAX_SLOTS] = {a, b};
      tg_hyper h = {.lr = 0.5f, .weight_decay = 0.2f, .keys = default_keys(row)};
      tg_optimizer_prepare(row, &h);
      whole_step(row, &h, &layout, w, g, slot);
      /* |w| = 5, |g| = 1: lars' rate is lr 0.001 5 / (1 + 0.2 5); lamb's r is (1.6, -0.2). */
      double rate = !weight ? 0.5 : k == 0 ? 0.5 * 0.001 * 5 / 2 : 0.5 * 5 / sqrt(1.6 * 1.6 + 0.04);
      double r0 = k == 0 ? 0.6 : 1, r1 = k == 0 ? -0.8 : -1;
      if (weight) r0 += 0.6, r1 += 0.8;
      ck_assert_float_eq_tol(w[0], (float)(3 - rate * r0), 1e-5f);
      ck_assert_float_eq_tol(w[1], (float)(4 - rate * r1), 1e-5f);
    }
}
END_TEST

/* A weight that is zero has no size to go by: the learning rate as it is. */
START_TEST(a_zero_weight_moves) {
  const char *names[] = {"lars", "lamb"};
  for (int k = 0; k < 2; k++) {
    single s = single_of(names[k], 0);
    single_step(&s, 2);
    ck_assert_float_eq_tol(s.w, k == 0 ? -0.2f : -0.1f, 1e-5f);
    s = single_of(names[k], 3);
    single_step(&s, 0);
    ck_assert(s.w == 3);
  }
}
END_TEST

/* ---- what must not go wrong ---- */

START_TEST(dead_state_ends_at_zero) {
  const char *names[] = {"adam", "amsgrad", "adamw", "ademamix", "diffgrad", "lars", "lamb"};
  for (int k = 0; k < 7; k++) {
    single s = single_of(names[k], 1);
    if (strcmp(names[k], "lamb") == 0) s.h.lr = 1e-4f; /* its steps are as long as w, whatever r */
    s.h.keys.beta2 = 0.99;
    s.h.keys.beta3 = 0.95;
    for (int t = 0; t < 20; t++) single_step(&s, -1e-3f);
    for (int t = 0; t < 12000; t++) {
      single_step(&s, 0);
      for (int i = 0; i < s.row->slots; i++)
        ck_assert(s.state[i] == 0 || fabsf(s.state[i]) >= FLT_MIN);
    }
    ck_assert(s.state[0] == 0 && isfinite(s.w));
    if (s.row->slots > 1) ck_assert(s.state[1] == 0);
  }
}
END_TEST

/* A square that overflows must not silence its coordinate for good, nor make a NaN. */
START_TEST(huge_gradients_are_survived) {
  for (size_t k = 0; k < tg_optimizer_count; k++) {
    single s = single_of(tg_optimizers[k]->name, 1);
    if (s.row->slots < 2 && !s.row->whole) continue; /* their weights follow the gradient's size */
    s.h.keys.beta2 = 0.9;
    for (int t = 0; t < 10; t++) single_step(&s, t == 3 ? 3e25f : 1);
    for (int i = 0; i < s.row->slots; i++) ck_assert(isfinite(s.state[i]));
    ck_assert_msg(isfinite(s.w), "%s: %g", s.row->name, s.w);
  }
}
END_TEST

START_TEST(schedules_of_ademamix) {
  single s = single_of("ademamix", 1);
  s.h.keys.alpha_updates = 60;
  s.h.keys.beta3_updates = 90;
  ref_optim r = {
      .beta1 = 0.9, .beta3 = 0.9999, .alpha = 5, .alpha_updates = 60, .beta3_updates = 90};
  for (int t = 1; t <= 200; t++) {
    s.h.update = (uint64_t)t - 1;
    tg_optimizer_prepare(s.row, &s.h);
    double beta3 = ref_beta3(&r, t), alpha = ref_alpha(&r, t);
    ck_assert(fabs(s.h.factors.keep3 - beta3) <= 1e-7);
    ck_assert(fabs(s.h.factors.take3 - (1 - beta3)) <= 1e-7 * (1 - beta3));
    ck_assert(fabs(s.h.factors.mix - alpha) <= 1e-6 * alpha);
  }
  ck_assert(s.h.factors.keep3 == 0.9999f && s.h.factors.mix == 5);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("optimizers' papers");
  TCase *tc = tcase_create("optimizers' papers");
  tcase_set_timeout(tc, 120);
  tcase_add_test(tc, amsgrad_where_adam_fails);
  tcase_add_test(tc, largest_moment_never_falls);
  tcase_add_test(tc, shampoo_of_one_element_is_adagrad);
  tcase_add_test(tc, shampoo_of_a_diagonal_is_adagrad);
  tcase_add_test(tc, first_step_has_the_length_of_lr);
  tcase_add_test(tc, decoupled_decay);
  tcase_add_test(tc, what_is_no_weight_is_not_scaled);
  tcase_add_test(tc, a_zero_weight_moves);
  tcase_add_test(tc, dead_state_ends_at_zero);
  tcase_add_test(tc, huge_gradients_are_survived);
  tcase_add_test(tc, schedules_of_ademamix);
  suite_add_tcase(suite, tc);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
