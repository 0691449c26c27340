/* test_device_vectors.c - what devices do to flat vectors: updates by every rule and optimiser,
 * sums, scaling. Equal to the host's to the bit, whatever the span. DEVICE: yes */
#include <float.h>

#include "../ops/tools.h"
#include "tardigrad/update.h"

enum { N = 5003 };

enum { W, BAK, STATE, SLOT0, SLOT1, SLOT2, SLOT3, G, VECTORS };

/* Numbers of all magnitudes, some equal to w_bak's, some subnormal, some zero. */
static void fill(float *v, size_t n, int which) {
  for (size_t i = 0; i < n; i++) {
    float x = random_number() * powf(10, (float)(i % 9) - 5);
    if (which == STATE || which == SLOT1) x = x * x; /* means of squares */
    if (i % 17 == 3) x = 0;
    if (i % 97 == 5) x = FLT_MIN / 8;
    if (i % 101 == 7 && which == G) x = 1e18f; /* its square fits a float */
    v[i] = x;
  }
}

typedef struct variant {
  const tg_rule *rule;
  const tg_optimizer *optimizer;
  tg_hyper hyper;
  bool first_pull; /* w_bak equals w */
  bool serves, as_it_is;
} variant;

static tg_update update_of(const variant *v, float *const vector[VECTORS]) {
  tg_update u = {.rule = v->rule,
                 .optimizer = v->optimizer,
                 .hyper = v->hyper,
                 .w = vector[W],
                 .w_bak = vector[BAK],
                 .bak_out = v->serves ? vector[BAK] : NULL,
                 .as_it_is = v->as_it_is,
                 .rule_state = v->rule->has_state ? vector[STATE] : NULL};
  for (int i = 0; i < v->optimizer->slots; i++) u.slot[i] = vector[SLOT0 + i];
  return u;
}

static void near(const char *what, double have, double want) {
  ck_assert_msg(isnan(want)   ? isnan(have)
                : isinf(want) ? have == want
                              : fabs(have - want) <= 1e-5 * fabs(want),
                "%s: %.9g, must be %.9g", what, have, want);
}

static const tg_span spans[] = {{0, N}, {0, 1}, {1, 4}, {3, 1027}, {1027, 4096}, {4097, N}};

/* Every vector but the gradient is as the host's. */
static void same(tg_device *d, float *const on[VECTORS], float *const host[VECTORS],
                 const char *what) {
  for (int k = 0; k < G; k++) {
    float *back = to_host(d, on[k], N);
    size_t j = 0;
    while (j < N && memcmp(&back[j], &host[k][j], sizeof *back) == 0) j++;
    ck_assert_msg(j == N, "%s: vector %d, [%zu] is %.9g, must be %.9g", what, k, j,
                  (double)back[j % N], (double)host[k][j % N]);
    free(back);
  }
}

static void check(tg_device *d, const variant *v) {
  char what[96];
  float *host[VECTORS], *on[VECTORS];
  tg_update_sums sums = {0}, have = {0};
  random_state = 88172645463325252u;
  for (int i = 0; i < VECTORS; i++) {
    host[i] = malloc(N * sizeof(float));
    fill(host[i], N, i);
    if (i == BAK && v->first_pull) memcpy(host[BAK], host[W], N * sizeof(float));
    on[i] = on_device(d, host[i], N * sizeof(float));
  }
  tg_update_sums *device_sums = on_device(d, &sums, sizeof sums);
  tg_update here = update_of(v, host), there = update_of(v, on);
  for (size_t i = 0; i < sizeof spans / sizeof *spans; i++) {
    snprintf(what, sizeof what, "%s, %s, [%zu,%zu)", v->rule->name, v->optimizer->name, spans[i].lo,
             spans[i].hi);
    MUST(d->backend->update(d, &there, spans[i], on[G] + spans[i].lo, device_sums));
    float *g = malloc(N * sizeof *g);
    memcpy(g, host[G], N * sizeof *g);
    tg_update_apply(&here, spans[i], g + spans[i].lo, &sums);
    free(g);
    same(d, on, host, what);
    /* A gradient is restored where the device overwrote it. */
    MUST(d->backend->to_device(d, on[G], host[G], N * sizeof(float)));
    if (!v->serves) continue;
    /* What is sent without a gradient. */
    here.as_it_is = there.as_it_is = i % 2 == 1;
    MUST(d->backend->update(d, &there, spans[i], NULL, NULL));
    tg_update_apply(&here, spans[i], NULL, &sums);
    here.as_it_is = there.as_it_is = v->as_it_is;
    same(d, on, host, what);
  }
  MUST(d->backend->to_host(d, &have, device_sums, sizeof have));
  near("correction", have.correction_square, sums.correction_square);
  near("gradient", have.gradient_square, sums.gradient_square);
  near("gap", have.gap_square, sums.gap_square);
  for (int i = 0; i < VECTORS; i++) {
    free(host[i]);
    d->backend->free(d, on[i]);
  }
  d->backend->free(d, device_sums);
}

/* The first update, two on the way, and (k = 5) one that pulls weights back to the slow ones. */
static const uint64_t updates[] = {0, 4, 5, 12345};

static void check_optimizer(tg_device *d, const tg_rule *rule, const tg_optimizer *optimizer) {
  tg_optimizer_keys set = {.beta1 = 0.9,
                           .beta2 = 0.999,
                           .beta3 = 0.9999,
                           .alpha = NAN,
                           .epsilon = NAN,
                           .alpha_updates = 100,
                           .beta3_updates = 100,
                           .k = 5};
  if (tg_rule_check(rule, optimizer->name, optimizer->whole) != TG_OK) return;
  for (int setting = 0; setting < 4; setting++) {
    variant v = {.rule = rule,
                 .optimizer = optimizer,
                 .hyper = {.lr = 0.1f,
                           .lambda = setting == 3 ? 0 : 2,
                           .mean_square_decay = 0.95f,
                           .epsilon = 1e-7f,
                           .cap = setting == 1 ? 0.5f : 0,
                           .momentum = 0.9f,
                           .weight_decay = setting == 0 ? 0 : 1e-4f,
                           .step_decay = 0.99f,
                           .prediction_steps = setting == 3 ? 0 : 7,
                           .elasticity = 0.3f,
                           .workers = setting == 2 ? 3 : 8,
                           .update = updates[setting],
                           .keys = tg_optimizer_keys_of(optimizer, &set)},
                 .first_pull = setting == 2,
                 .serves = setting != 1,
                 .as_it_is = setting == 3};
    check(d, &v);
  }
}

/* Optimisers of whole tensors work in host memory, and some that wrap another do: a GPU says so. */
static void check_refusal(tg_device *d, const tg_rule *rule, const tg_optimizer *optimizer) {
  if (strcmp(d->backend->name, "cuda") != 0 ||
      tg_rule_check(rule, optimizer->name, optimizer->whole) != TG_OK)
    return;
  tg_update u = {.rule = rule, .optimizer = optimizer};
  ck_assert_int_eq(d->backend->update(d, &u, (tg_span){0, 1}, NULL, NULL), TG_ECONFIG);
  ck_assert(strstr(tg_status_message(), optimizer->name));
  ck_assert(strstr(tg_status_message(), "server.device=cpu"));
}

/* Rules whose updates are always made on the host. */
static bool stays_on_the_host(const tg_rule *rule) {
  return rule->votes || rule->scheme == TG_SCHEME_OWN || rule->scheme == TG_SCHEME_GOSSIP;
}

static void check_absence(tg_device *d, const tg_rule *rule, const tg_optimizer *optimizer) {
  if (strcmp(d->backend->name, "cuda") != 0) return;
  tg_update u = {.rule = rule, .optimizer = optimizer};
  ck_assert_int_eq(d->backend->update(d, &u, (tg_span){0, 1}, NULL, NULL), TG_ECONFIG);
  ck_assert(strstr(tg_status_message(), rule->name));
}

static void check_either(tg_device *d, const tg_rule *rule, const tg_optimizer *optimizer) {
  if (stays_on_the_host(rule))
    check_absence(d, rule, optimizer);
  else if (optimizer->whole || (optimizer->inner && (rule->settle || rule->serve)))
    check_refusal(d, rule, optimizer);
  else
    check_optimizer(d, rule, optimizer);
}

/* By rule; every optimiser, and four settings. */
START_TEST(updates_equal_the_hosts) {
  tg_device *d = NULL;
  MUST(tg_device_open(other_device(), &d));
  for (size_t o = 0; o < tg_optimizer_count; o++) {
    const tg_optimizer *row = tg_optimizers[o];
    tg_optimizer around;
    check_either(d, tg_rules[_i], row);
    if (row->inner || tg_optimizer_make("lookahead", row->name, &around) != TG_OK) continue;
    check_either(d, tg_rules[_i], &around);
  }
  tg_device_close(d);
}
END_TEST

static const size_t sizes[] = {0, 1, 15, 16, 17, 255, 4096, 5003, 70001};

START_TEST(sums_of_squares_equal_the_hosts) {
  tg_device *d = NULL;
  MUST(tg_device_open(other_device(), &d));
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    size_t n = sizes[i];
    float *x = random_numbers(n), *on;
    double have = -1, want = tg_square_sum(n, x);
    on = on_device(d, x, n * sizeof *x);
    MUST(d->backend->square_sum(d, n, on, &have));
    ck_assert_msg(memcmp(&have, &want, sizeof have) == 0, "%zu: %.17g, must be %.17g", n, have,
                  want);
    tg_scale(n, x, 0.3f);
    MUST(d->backend->scale(d, n, on, 0.3f));
    float *back = to_host(d, on, n);
    ck_assert_int_eq(memcmp(back, x, n * sizeof *x), 0);
    free(back);
    free(x);
    d->backend->free(d, on);
  }
  tg_device_close(d);
}
END_TEST

START_TEST(moves_within_the_device) {
  tg_device *d = NULL;
  float x[100], *on[2];
  for (int i = 0; i < 100; i++) x[i] = (float)i;
  MUST(tg_device_open(other_device(), &d));
  on[0] = on_device(d, x, sizeof x);
  on[1] = on_device(d, NULL, sizeof x);
  MUST(d->backend->copy(d, on[1] + 1, on[0], 99 * sizeof *x));
  MUST(d->backend->zero(d, on[1], sizeof *x));
  MUST(d->backend->add_f32(d, 50, on[1], on[0]));
  float *back = to_host(d, on[1], 100);
  ck_assert_float_eq(back[0], 0);
  for (int i = 1; i < 100; i++) ck_assert_float_eq(back[i], (float)(i < 50 ? 2 * i - 1 : i - 1));
  free(back);
  d->backend->free(d, on[0]);
  d->backend->free(d, on[1]);
  tg_device_close(d);
}
END_TEST

int main(void) {
  Suite *s = suite_create("device vectors");
  TCase *tc = tcase_create("device vectors");
  tcase_add_loop_test(tc, updates_equal_the_hosts, 0, (int)tg_rule_count);
  tcase_add_test(tc, sums_of_squares_equal_the_hosts);
  tcase_add_test(tc, moves_within_the_device);
  suite_add_tcase(s, tc);
  return run_suite(s);
}
