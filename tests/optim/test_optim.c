/* Optimisers by hand and against PyTorch; schedules, warm-up, clipping. */
#include <check.h>
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../support/optimizers.h"

static const tg_optimizer *optimizer(const char *name) {
  const tg_optimizer *o;
  ck_assert_msg(tg_optimizer_find(name, &o) == TG_OK, "%s", tg_status_message());
  return o;
}

START_TEST(optimizers_by_name) {
  const char *names[] = {"sgd",       "momentum",      "nesterov",     "adam",
                         "amsgrad",   "adamw",         "ademamix",     "diffgrad",
                         "lookahead", "lars",          "lamb",         "shampoo",
                         "gsgd",      "gsgd-momentum", "gsgd-rmsprop", "gsgd-adam"};
  const int slots[] = {0, 1, 1, 2, 3, 2, 3, 3, 1, 1, 2, 1, 0, 1, 1, 2};
  enum { NAMES = sizeof names / sizeof *names };
  ck_assert_uint_eq(tg_optimizer_count, NAMES);
  for (int i = 0; i < NAMES; i++) {
    ck_assert_str_eq(optimizer(names[i])->name, names[i]);
    ck_assert_int_eq(optimizer(names[i])->slots, slots[i]);
    ck_assert(*optimizer(names[i])->help);
  }
  const tg_optimizer *o;
  ck_assert_int_eq(tg_optimizer_find("nestorov", &o), TG_ECONFIG);
  ck_assert_str_eq(tg_status_message(), "no optimizer 'nestorov'; did you mean 'nesterov'?");
  ck_assert_ptr_null(o);
  ck_assert_int_eq(tg_optimizer_find("levenberg-marquardt", &o), TG_ECONFIG);
  ck_assert_str_eq(tg_status_message(),
                   "no optimizer 'levenberg-marquardt'; `list optimizers` shows what there is");
}
END_TEST

static void near(float value, double expected) {
  ck_assert_msg(fabs(value - expected) <= 1e-6 * fabs(expected), "%.9g, not %.9g", value, expected);
}

/* One step of one coordinate. */
static float stepped(const char *name, const tg_hyper *h, float w, float g, float *velocity) {
  float *slot[TG_MAX_SLOTS] = {velocity};
  optimizer(name)->apply(h, 1, &w, &g, slot);
  return w;
}

START_TEST(by_hand) {
  tg_hyper h = {.lr = 0.5f, .momentum = 0.75f, .weight_decay = 0.125f};
  float v = 0;
  near(stepped("sgd", &h, 2, 1, NULL), 2 - 0.5 * (1 + 0.25));
  near(stepped("momentum", &h, 2, 1, &v), 2 - 0.5 * 1.25);
  near(v, 1.25);
  near(stepped("momentum", &h, 2, -1, &v), 2 - 0.5 * (0.75 * 1.25 - 0.75));
  near(v, 0.1875);
  v = 0;
  near(stepped("nesterov", &h, 2, 1, &v), 2 - 0.5 * (1.25 + 0.75 * 1.25));
  near(v, 1.25);
  near(stepped("nesterov", &h, 4, 1, &v), 4 - 0.5 * (1.5 + 0.75 * (0.75 * 1.25 + 1.5)));
}
END_TEST

/* torch.optim.SGD (PyTorch 2.15, CPU): momentum 0.9, weight decay 0.01, lr 0.1, 0.1, 0.01. */
START_TEST(against_pytorch) {
  const float w0[4] = {0.5f, -1.25f, 2.0f, 0.03125f};
  const float g[3][4] = {{0.25f, -0.5f, 1, 2}, {0.125f, 0.75f, -3, 0}, {-1, 0.1f, 0.2f, 0.3f}};
  const float lr[3] = {0.1f, 0.1f, 0.01f};
  const double expected[2][3][4] = {{{0.4745, -1.19875002, 1.898, -0.168781266},
                                     {0.438575506, -1.22642624, 2.10430193, -0.348640621},
                                     {0.445298433, -1.2297945, 2.12065864, -0.367793083}},
                                    {{0.451550007, -1.15262496, 1.80620003, -0.348809391},
                                     {0.406287074, -1.25142252, 2.29014826, -0.51017195},
                                     {0.422301859, -1.25533032, 2.30263114, -0.530329049}}};
  for (int nesterov = 0; nesterov < 2; nesterov++) {
    float w[4], v[4] = {0}, *slot[TG_MAX_SLOTS] = {v};
    memcpy(w, w0, sizeof w);
    for (int step = 0; step < 3; step++) {
      tg_hyper h = {.lr = lr[step], .momentum = 0.9f, .weight_decay = 0.01f};
      optimizer(nesterov ? "nesterov" : "momentum")->apply(&h, 4, w, g[step], slot);
      for (int i = 0; i < 4; i++) near(w[i], expected[nesterov][step][i]);
    }
  }
}
END_TEST

/* torch.optim.Adam, Adam(amsgrad=True) and AdamW (PyTorch 2.15, CPU, float64): weight decay 0.01,
 * their defaults, lr 0.1, 0.1, 0.01, 0.01, made by
 *   w = torch.tensor(w0, dtype=torch.float64, requires_grad=True); o = torch.optim.Adam([w], ...)
 *   o.param_groups[0]["lr"] = lr[s]; w.grad = torch.tensor(g[s], dtype=torch.float64); o.step() */
START_TEST(adam_and_its_kin_against_pytorch) {
  const float w0[4] = {0.5f, -1.25f, 2.0f, 0.03125f};
  const float g[4][4] = {{0.25f, -0.5f, 1, 2},
                         {0.125f, 0.75f, -3, 0},
                         {-1, 0.1f, 0.2f, 0.3f},
                         {0.01f, -0.02f, 0.03f, -0.04f}};
  const float lr[4] = {0.1f, 0.1f, 0.01f, 0.01f};
  const char *names[] = {"adam", "amsgrad", "adamw"};
  const double expected[3][4][4] = {{{0.400000004, -1.15, 1.9, -0.0687499995},
                                     {0.306611319, -1.17295509, 1.94872715, -0.135730232},
                                     {0.310764995, -1.17534572, 1.95204047, -0.141795159},
                                     {0.314093677, -1.17709836, 1.954663, -0.146642975}},
                                    {{0.400000004, -1.15, 1.9, -0.0687499995},
                                     {0.306611319, -1.17295509, 1.94872715, -0.135696737},
                                     {0.310764995, -1.17534572, 1.95204047, -0.141761666},
                                     {0.314092278, -1.17709836, 1.95466201, -0.146608078}},
                                    {{0.399500004, -1.14875, 1.898, -0.0687812495},
                                     {0.305882545, -1.17237143, 1.94552098, -0.135718293},
                                     {0.310066577, -1.17486208, 1.94873547, -0.14177542},
                                     {0.313431774, -1.17675203, 1.95127787, -0.146617927}}};
  for (int k = 0; k < 3; k++) {
    const tg_optimizer *o = optimizer(names[k]);
    float w[4], v[3][4] = {{0}}, *slot[TG_MAX_SLOTS] = {v[0], v[1], v[2]};
    memcpy(w, w0, sizeof w);
    for (uint64_t step = 0; step < 4; step++) {
      tg_hyper h = {.lr = lr[step], .weight_decay = 0.01f, .update = step, .keys = default_keys(o)};
      tg_optimizer_prepare(o, &h);
      o->apply(&h, 4, w, g[step], slot);
      for (int i = 0; i < 4; i++) near(w[i], expected[k][step][i]);
    }
  }
}
END_TEST

START_TEST(no_momentum_is_sgd) {
  tg_hyper h = {.lr = 0.3f, .weight_decay = 0.01f};
  for (int i = 0; i < 200; i++) {
    float w = (float)(i - 100) * 0.0137f, g = sinf((float)i), v = 0.5f;
    float sgd = stepped("sgd", &h, w, g, NULL);
    ck_assert(stepped("momentum", &h, w, g, &v) == sgd);
    v = 0.5f;
    ck_assert(stepped("nesterov", &h, w, g, &v) == sgd);
  }
}
END_TEST

START_TEST(every_length_gives_the_same_bits) {
  enum { MOST = 133 };
  for (size_t k = 0; k < tg_optimizer_count; k++) {
    const tg_optimizer *o = tg_optimizers[k];
    tg_hyper h = {.lr = 0.1f, .momentum = 0.9f, .weight_decay = 1e-4f, .keys = default_keys(o)};
    h.update = 4;
    tg_optimizer_prepare(o, &h);
    for (size_t n = 1; o->apply && n <= MOST; n++) {
      float w[MOST], g[MOST], v[TG_MAX_SLOTS][MOST], alone[MOST];
      float *slot[TG_MAX_SLOTS] = {v[0], v[1], v[2], v[3]};
      for (size_t i = 0; i < n; i++) {
        w[i] = alone[i] = cosf((float)(i * n));
        g[i] = sinf((float)(3 * i + n));
        float state[TG_MAX_SLOTS], *one[TG_MAX_SLOTS];
        for (size_t s = 0; s < TG_MAX_SLOTS; s++) {
          state[s] = v[s][i] = fabsf(sinf((float)(7 * i + n + s)));
          one[s] = &state[s];
        }
        o->apply(&h, 1, &alone[i], &g[i], one);
      }
      o->apply(&h, n, w, g, slot);
      ck_assert_mem_eq(w, alone, n * sizeof *w);
    }
  }
}
END_TEST

START_TEST(dead_velocity_ends_at_zero) {
  /* No gradient any more: the velocity must not crawl among subnormal numbers for ever. */
  const char *names[] = {"momentum", "nesterov"};
  for (int k = 0; k < 2; k++) {
    tg_hyper h = {.lr = 0.1f, .momentum = 0.9f};
    float v = -1e-3f, w = 1;
    for (int i = 0; i < 2000; i++) {
      w = stepped(names[k], &h, w, 0, &v);
      ck_assert(v == 0 || fabsf(v) >= FLT_MIN);
    }
    ck_assert(v == 0);
  }
}
END_TEST

static void lr_is(const tg_schedule *s, double before, double after, double expected) {
  double lr = tg_schedule_lr(s, before, after);
  ck_assert_msg(fabs(lr - expected) <= 1e-12 * expected, "epoch %g to %g: %.15g, not %.15g", before,
                after, lr, expected);
}

START_TEST(steps_down) {
  tg_schedule_step drops[] = {{80, 0.1}, {120, 0.1}, {140.5, 0.5}};
  tg_schedule s = {.lr = 0.1, .steps = drops, .count = 3};
  lr_is(&s, 0, 0.01, 0.1);
  lr_is(&s, 79.99, 80, 0.1); /* the last gradient of epoch 80 */
  lr_is(&s, 80, 80.01, 0.01);
  lr_is(&s, 119.999, 120.001, 0.01);
  lr_is(&s, 120, 120.01, 0.001);
  lr_is(&s, 140.49, 140.51, 0.001);
  lr_is(&s, 140.5, 140.51, 0.0005);
  lr_is(&s, 1000, 1001, 0.0005);
  tg_schedule none = {.lr = 0.25};
  lr_is(&none, 3, 4, 0.25);
  /* Listed in any order. */
  tg_schedule_step backwards[] = {{2, 0.5}, {1, 0.1}};
  tg_schedule b = {.lr = 1, .steps = backwards, .count = 2};
  lr_is(&b, 1.5, 1.6, 0.1);
  lr_is(&b, 2, 2.1, 0.05);
  /* From the first update on. */
  tg_schedule_step zero[] = {{0, 0.5}};
  tg_schedule z = {.lr = 1, .steps = zero, .count = 1};
  lr_is(&z, 0, 0.1, 0.5);
}
END_TEST

START_TEST(warmup) {
  tg_schedule s = {.lr = 0.8, .warmup_epochs = 5, .warmup_start = 0.125};
  lr_is(&s, 0, 0.01, 0.8 * (0.125 + 0.875 * 0.002));
  lr_is(&s, 2.4, 2.5, 0.8 * (0.125 + 0.875 * 0.5));
  lr_is(&s, 4.9, 5, 0.8);
  lr_is(&s, 5, 5.1, 0.8);
  lr_is(&s, 50, 50.1, 0.8);
  s.warmup_start = 0;
  ck_assert(tg_schedule_lr(&s, 0, 0.001) > 0); /* the first update is never empty */
  lr_is(&s, 0, 0.001, 0.8 * 0.0002);
  /* Steps act inside the ramp as well. */
  tg_schedule_step drops[] = {{2, 0.5}};
  s.steps = drops;
  s.count = 1;
  lr_is(&s, 2, 2.5, 0.8 * 0.5 * 0.5);
}
END_TEST

START_TEST(clipping) {
  ck_assert(tg_clip_scale(5, 0) == 1);
  ck_assert(tg_clip_scale(5, 5) == 1);
  ck_assert(tg_clip_scale(4.999, 5) == 1);
  ck_assert(tg_clip_scale(0, 5) == 1);
  near(tg_clip_scale(10, 5), 0.5);
  near(tg_clip_scale(3, 1), 1 / 3.0);
  ck_assert(tg_clip_scale(NAN, 5) == 1);
  ck_assert(tg_clip_scale(1e300, 1) >= 0);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("optim");
  TCase *tc = tcase_create("optim");
  tcase_add_test(tc, optimizers_by_name);
  tcase_add_test(tc, by_hand);
  tcase_add_test(tc, against_pytorch);
  tcase_add_test(tc, adam_and_its_kin_against_pytorch);
  tcase_add_test(tc, no_momentum_is_sgd);
  tcase_add_test(tc, every_length_gives_the_same_bits);
  tcase_add_test(tc, dead_velocity_ends_at_zero);
  tcase_add_test(tc, steps_down);
  tcase_add_test(tc, warmup);
  tcase_add_test(tc, clipping);
  suite_add_tcase(suite, tc);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
