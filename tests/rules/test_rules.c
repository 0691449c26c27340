/* Rules by hand: single coordinates worked out on paper, identities bit for bit, and numbers that
 * no gradient should have. */
#include <check.h>
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tardigrad/rule.h"

static const tg_rule *rule(const char *name) {
  const tg_rule *r;
  ck_assert_msg(tg_rule_find(name, &r) == TG_OK, "%s", tg_status_message());
  return r;
}

static tg_hyper hyper(float lambda) {
  return (tg_hyper){.lambda = lambda, .mean_square_decay = 0.95f, .epsilon = 1e-7f};
}

/* One coordinate. */
static float compensated(const char *name, const tg_hyper *h, float w, float w_bak, float *state,
                         float g) {
  double corrections = 0, gradients = 0;
  rule(name)->compensate(h, 1, &w, &w_bak, state, &g, &corrections, &gradients);
  return g;
}

static float random_float(uint32_t *seed) {
  *seed = *seed * 1664525u + 1013904223u;
  return (float)(int32_t)*seed * 0x1p-31f;
}

START_TEST(rules_by_name) {
  struct {
    const char *name;
    tg_scheme scheme;
    float lambda;
    bool state, compensates;
  } rows[] = {{"sgd", TG_SCHEME_LOCAL, 0, false, false},
              {"ssgd", TG_SCHEME_SYNC, 0, false, false},
              {"asgd", TG_SCHEME_ASYNC, 0, false, false},
              {"dc-asgd-c", TG_SCHEME_ASYNC, 0.04f, false, true},
              {"dc-asgd-a", TG_SCHEME_ASYNC, 2, true, true},
              {"staleness-lr", TG_SCHEME_ASYNC, 0, false, false},
              {"gap-aware", TG_SCHEME_ASYNC, 0, true, true},
              {"dana-slim", TG_SCHEME_ASYNC, 0, true, false},
              {"xgrad", TG_SCHEME_ASYNC, 0, true, false},
              {"dave-rpg", TG_SCHEME_ASYNC, 0, true, false},
              {"easgd", TG_SCHEME_ASYNC, 0, true, false},
              {"ssp", TG_SCHEME_ASYNC, 0, false, false},
              {"ssgd-backup", TG_SCHEME_ASYNC, 0, false, false},
              {"ringmaster", TG_SCHEME_ASYNC, 0, false, false},
              {"signsgd", TG_SCHEME_SYNC, 0, false, false},
              {"local-sgd", TG_SCHEME_OWN, 0, false, false},
              {"post-local-sgd", TG_SCHEME_OWN, 0, false, false},
              {"d-psgd", TG_SCHEME_OWN, 0, false, false},
              {"ad-psgd", TG_SCHEME_GOSSIP, 0, false, false}};
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    const tg_rule *r = rule(rows[i].name);
    ck_assert_str_eq(r->name, rows[i].name);
    ck_assert_int_eq(r->scheme, rows[i].scheme);
    ck_assert(r->default_lambda == rows[i].lambda);
    ck_assert(r->has_state == rows[i].state);
    ck_assert((r->compensate != NULL) == rows[i].compensates);
  }
  for (size_t i = 0; i < tg_rule_count; i++) {
    const tg_rule *r = tg_rules[i];
    ck_assert_ptr_eq(rule(r->name), r);
    ck_assert(r->help && *r->help);
    /* A step takes the place of what comes before and after an optimiser. */
    ck_assert(!r->step || (r->optimizer && !r->compensate && !r->settle));
    ck_assert(r->has_state || (!r->settle && !r->starts_at_w0));
  }
}
END_TEST

/* Which gradients count, and who waits. */
START_TEST(paces) {
  const tg_rule *ssp = rule("ssp"), *backup = rule("ssgd-backup"), *ring = rule("ringmaster");
  tg_hyper h = {.staleness_bound = 3, .delay_threshold = 4, .backup_workers = 2};
  ck_assert(!ssp->takes && !ssp->gathers && !backup->runs && !ring->gathers && !ring->runs);
  ck_assert(ssp->runs(&h, 5, 5) && ssp->runs(&h, 8, 5) && !ssp->runs(&h, 9, 5));
  ck_assert(ssp->runs(&h, 4, 5)); /* nobody is behind the slowest, but nothing may go wrong */
  ck_assert(ring->takes(&h, 0) && ring->takes(&h, 3) && !ring->takes(&h, 4));
  ck_assert(backup->takes(&h, 0) && !backup->takes(&h, 1));
  ck_assert_uint_eq(backup->gathers(&h, 7), 5);
  ck_assert_uint_eq(backup->gathers(&h, 3), 1);
  ck_assert_uint_eq(backup->gathers(&h, 2), 0);
  h.staleness_bound = h.delay_threshold = UINT64_MAX;
  ck_assert(ssp->runs(&h, UINT64_MAX - 1, 0) && ring->takes(&h, UINT64_MAX - 1));
  for (size_t i = 0; i < tg_rule_count; i++)
    if (tg_rules[i]->scheme != TG_SCHEME_ASYNC)
      ck_assert(!tg_rules[i]->takes && !tg_rules[i]->gathers && !tg_rules[i]->runs);
}
END_TEST

START_TEST(unknown_rules) {
  const tg_rule *r;
  ck_assert_int_eq(tg_rule_find("dc-asgd-b", &r), TG_ECONFIG);
  ck_assert_str_eq(tg_status_message(), "no rule 'dc-asgd-b'; did you mean 'dc-asgd-c'?");
  ck_assert_ptr_null(r);
  ck_assert_int_eq(tg_rule_find("backpropagation", &r), TG_ECONFIG);
  ck_assert_str_eq(tg_status_message(),
                   "no rule 'backpropagation'; `list rules` shows what there is");
}
END_TEST

START_TEST(which_optimisers) {
  ck_assert_int_eq(tg_rule_check(rule("asgd"), "momentum", false), TG_OK);
  ck_assert_int_eq(tg_rule_check(rule("xgrad"), "momentum", false), TG_OK);
  ck_assert_int_eq(tg_rule_check(rule("dana-slim"), "sgd", false), TG_OK);
  ck_assert_int_eq(tg_rule_check(rule("gap-aware"), "lars", true), TG_ECONFIG);
  ck_assert_int_eq(tg_rule_check(rule("dana-slim"), "momentum", false), TG_ECONFIG);
  ck_assert_str_eq(tg_status_message(),
                   "sync.rule=dana-slim goes with optimizer.name=sgd only, not with momentum");
}
END_TEST

START_TEST(whose_state) {
  ck_assert_uint_eq(tg_rule_states(rule("asgd"), false, 5), 0);
  ck_assert_uint_eq(tg_rule_states(rule("dc-asgd-a"), false, 5), 5);
  ck_assert_uint_eq(tg_rule_states(rule("dc-asgd-a"), true, 5), 1);
  ck_assert_uint_eq(tg_rule_states(rule("gap-aware"), false, 5), 1);
  ck_assert_uint_eq(tg_rule_states(rule("dana-slim"), true, 5), 5);
}
END_TEST

static void near(float value, double expected) {
  ck_assert_msg(fabs(value - expected) <= 1e-6 * fabs(expected), "%.9g, not %.9g", value, expected);
}

START_TEST(constant_by_hand) {
  /* g + lambda g g (w - w_bak) */
  tg_hyper h = hyper(0.04f);
  near(compensated("dc-asgd-c", &h, 1.5f, 1.0f, NULL, 2.0f), 2.08);
  near(compensated("dc-asgd-c", &h, 1.0f, 1.5f, NULL, 2.0f), 1.92);
  near(compensated("dc-asgd-c", &h, 1.5f, 1.0f, NULL, -2.0f), -1.92);
  near(compensated("dc-asgd-c", &h, -3.0f, -2.0f, NULL, 10.0f), 6);
  h = hyper(100);
  near(compensated("dc-asgd-c", &h, 1.0f, 0.0f, NULL, -1.0f), 99);
}
END_TEST

START_TEST(adaptive_by_hand) {
  /* MS = .95 * 0 + .05 * 4 = .2; lambda_t = 2 / sqrt(.2 + 1e-7) */
  tg_hyper h = hyper(2);
  float ms = 0;
  near(compensated("dc-asgd-a", &h, 1.25f, 1.0f, &ms, 2.0f), 2 + 2 / sqrt(0.2 + 1e-7));
  near(ms, 0.2);
  /* MS = .95 * .2 + .05 * 9 = .64 */
  near(compensated("dc-asgd-a", &h, 1.0f, 1.25f, &ms, 3.0f), 3 - 4.5 / sqrt(0.64 + 1e-7));
  near(ms, 0.64);
  /* epsilon lies inside the root */
  ms = 0;
  h.epsilon = 0.05f;
  near(compensated("dc-asgd-a", &h, 1.25f, 1.0f, &ms, 2.0f), 2 + 2 / sqrt(0.25));
  /* decay 0: lambda_t g g = lambda |g| */
  ms = 123;
  h = hyper(2);
  h.mean_square_decay = 0;
  h.epsilon = 0;
  near(compensated("dc-asgd-a", &h, 1.25f, 1.0f, &ms, -3.0f), -3 + 2 * 3 * 0.25);
  near(ms, 9);
}
END_TEST

START_TEST(first_push_is_inflated) {
  /* MS starts at 0 and is not corrected for it: lambda_t |g| = lambda / sqrt(1 - m) at first. */
  tg_hyper h = hyper(2);
  float ms = 0, g = 4;
  near(compensated("dc-asgd-a", &h, 2, 1, &ms, g) - g, 2 * 4 / sqrt(0.05));
}
END_TEST

START_TEST(cap) {
  tg_hyper h = hyper(0.04f);
  h.cap = 0.25f;
  near(compensated("dc-asgd-c", &h, 1.5f, 1.0f, NULL, 2.0f), 2.08);   /* below: 4 % */
  near(compensated("dc-asgd-c", &h, 11.0f, 1.0f, NULL, 2.0f), 2.5);   /* 80 % */
  near(compensated("dc-asgd-c", &h, 1.0f, 11.0f, NULL, 2.0f), 1.5);   /* -80 % */
  near(compensated("dc-asgd-c", &h, 11.0f, 1.0f, NULL, -2.0f), -1.5); /* sign of g */
  near(compensated("dc-asgd-c", &h, 1.0f, 11.0f, NULL, -2.0f), -2.5);
  h = hyper(2);
  h.cap = 1;
  float ms = 0;
  near(compensated("dc-asgd-a", &h, 1.0625f, 1.0f, &ms, 2.0f), 2 + 0.5 / sqrt(0.2 + 1e-7));
  near(ms, 0.2);
  near(compensated("dc-asgd-a", &h, 9.0f, 1.0f, &ms, 2.0f), 4);
  near(ms, 0.39); /* the cap bounds the correction, not the mean square */
}
END_TEST

/* Gradients of every size, and weights that did not move. */
static const float sizes[] = {0,       -0.0f,  1e-45f,   -1e-45f, 1e-38f,   1e-30f,  1e-20f,
                              -1e-10f, 1e-3f,  -0.1234f, 1.0f,    7.5f,     -1e3f,   1e10f,
                              1e19f,   -2e19f, 1e25f,    1e30f,   -3.4e38f, FLT_MAX, -FLT_MAX};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

START_TEST(no_gap_no_correction) {
  const char *names[] = {"dc-asgd-c", "dc-asgd-a"};
  const float lambdas[] = {0, 0.04f, 2, 1e6f}, epsilons[] = {1e-7f, 0};
  for (int c = 0; c < 2 * 4 * 2 * 2; c++) {
    tg_hyper h = hyper(lambdas[c / 2 % 4]);
    h.epsilon = epsilons[c / 8 % 2];
    h.cap = c / 16 ? 0.5f : 0;
    float w[SIZES], bak[SIZES], ms[SIZES] = {0}, g[SIZES];
    for (int round = 0; round < 3; round++) {
      double corrections = 0, gradients = 0;
      for (int i = 0; i < SIZES; i++) w[i] = bak[i] = (float)(i - 7) * 0.37f;
      memcpy(g, sizes, sizeof g);
      rule(names[c % 2])->compensate(&h, SIZES, w, bak, ms, g, &corrections, &gradients);
      ck_assert(corrections == 0);
      for (int i = 0; i < SIZES; i++) {
        ck_assert_msg(g[i] == sizes[i], "%s: %g became %g", names[c % 2], sizes[i], g[i]);
        ck_assert(isfinite(ms[i]) && ms[i] >= 0);
      }
    }
  }
}
END_TEST

START_TEST(lambda_zero_is_asgd) {
  const char *names[] = {"dc-asgd-c", "dc-asgd-a"};
  for (int c = 0; c < 2; c++) {
    tg_hyper h = hyper(0);
    float w[300], bak[300], ms[300] = {0}, g[300], raw[300];
    uint32_t seed = 5;
    for (int i = 0; i < 300; i++) {
      w[i] = random_float(&seed);
      bak[i] = random_float(&seed);
      raw[i] = g[i] = random_float(&seed);
    }
    double corrections = 0, gradients = 0;
    rule(names[c])->compensate(&h, 300, w, bak, ms, g, &corrections, &gradients);
    ck_assert_mem_eq(g, raw, sizeof g);
    ck_assert(corrections == 0);
  }
}
END_TEST

START_TEST(mean_square_stays_normal) {
  /* A coordinate whose gradient died: its mean square ends at zero instead of crawling among
   * subnormal numbers, where some processors are a hundred times slower. */
  tg_hyper h = hyper(2);
  float ms = 1e-6f;
  for (int i = 0; i < 4000; i++) {
    ck_assert(compensated("dc-asgd-a", &h, 1, 2, &ms, 0.0f) == 0);
    ck_assert(ms == 0 || ms >= FLT_MIN);
  }
  ck_assert(ms == 0);
  /* And one that would overflow recovers. */
  (void)compensated("dc-asgd-a", &h, 1, 1, &ms, 1e30f);
  ck_assert(isfinite(ms));
  for (int i = 0; i < 4000; i++) (void)compensated("dc-asgd-a", &h, 1, 1, &ms, 1.0f);
  ck_assert(fabsf(ms - 1) < 1e-5f);
}
END_TEST

START_TEST(adaptive_does_not_see_the_scale) {
  /* g -> c g leaves correction/g as it is (without epsilon); exactly so for powers of two. */
  tg_hyper h = hyper(2);
  h.epsilon = 0;
  float ms[2] = {0, 0};
  uint32_t seed = 9;
  for (int i = 0; i < 200; i++) {
    float g = random_float(&seed), w = random_float(&seed), bak = random_float(&seed);
    float small = compensated("dc-asgd-a", &h, w, bak, &ms[0], g);
    float large = compensated("dc-asgd-a", &h, w, bak, &ms[1], 1024 * g);
    ck_assert(large == 1024 * small);
  }
}
END_TEST

/* The same operations one at a time, each rounded by itself: whatever the compiler made of the
 * loops, they must give these bits. */
static float one_by_one(const char *name, const tg_hyper *h, float w, float bak, float *ms,
                        float g) {
  volatile float d = w - bak, ld = h->lambda * d, gld = g * ld, factor = g;
  if (strcmp(name, "dc-asgd-a") == 0) {
    volatile float kept = h->mean_square_decay * *ms, take = 1 - h->mean_square_decay;
    volatile float taken = take * g;
    taken = taken * g;
    *ms = kept + taken;
    volatile float square = *ms + h->epsilon, root = sqrtf(square);
    factor = g / root;
  }
  volatile float c = factor * gld, sum = g + c;
  return sum;
}

START_TEST(every_length_gives_the_same_bits) {
  enum { MOST = 133 };
  const char *names[] = {"dc-asgd-c", "dc-asgd-a"};
  for (int c = 0; c < 2 * MOST; c++) {
    const char *name = names[c % 2];
    size_t n = (size_t)(c / 2 + 1);
    tg_hyper h = hyper(1.7f);
    uint32_t seed = (uint32_t)c;
    float w[MOST], bak[MOST], ms[MOST], g[MOST], raw[MOST], ms_alone[MOST];
    for (size_t i = 0; i < n; i++) {
      w[i] = random_float(&seed);
      bak[i] = random_float(&seed);
      raw[i] = g[i] = random_float(&seed);
      ms[i] = ms_alone[i] = fabsf(random_float(&seed));
    }
    double corrections = 0, gradients = 0, corrections_ref = 0, gradients_ref = 0;
    rule(name)->compensate(&h, n, w, bak, ms, g, &corrections, &gradients);
    for (size_t i = 0; i < n; i++) {
      float alone = one_by_one(name, &h, w[i], bak[i], &ms_alone[i], raw[i]);
      ck_assert_msg(memcmp(&alone, &g[i], 4) == 0, "%s, %zu of %zu: %a, not %a", name, i, n, g[i],
                    alone);
      ck_assert_int_eq(memcmp(&ms_alone[i], &ms[i], 4), 0);
      corrections_ref += pow((double)g[i] - raw[i], 2);
      gradients_ref += pow(raw[i], 2);
    }
    ck_assert(fabs(corrections / corrections_ref - 1) < 1e-5);
    ck_assert(fabs(gradients / gradients_ref - 1) < 1e-5);
  }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("rules");
  TCase *tc = tcase_create("rules");
  tcase_add_test(tc, rules_by_name);
  tcase_add_test(tc, paces);
  tcase_add_test(tc, unknown_rules);
  tcase_add_test(tc, which_optimisers);
  tcase_add_test(tc, whose_state);
  tcase_add_test(tc, constant_by_hand);
  tcase_add_test(tc, adaptive_by_hand);
  tcase_add_test(tc, first_push_is_inflated);
  tcase_add_test(tc, cap);
  tcase_add_test(tc, no_gap_no_correction);
  tcase_add_test(tc, lambda_zero_is_asgd);
  tcase_add_test(tc, mean_square_stays_normal);
  tcase_add_test(tc, adaptive_does_not_see_the_scale);
  tcase_add_test(tc, every_length_gives_the_same_bits);
  suite_add_tcase(suite, tc);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
