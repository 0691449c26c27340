/* topk: exactly the largest, nothing lost, and the identities of momentum correction. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tardigrad/update.h"
#include "tools.h"

/* ---- which ---- */

typedef struct chosen {
  size_t count;
  uint32_t index[4096];
  float value[4096];
} chosen;

static chosen read_message(const tg_coder *c) {
  chosen s;
  tg_codec_header header;
  memcpy(&header, c->message, sizeof header);
  s.count = header.count;
  ck_assert_uint_le(s.count, 4096);
  ck_assert_uint_eq(c->bytes, 16 + 8 * s.count);
  memcpy(s.index, c->message + 16, s.count * 4);
  memcpy(s.value, c->message + 16 + s.count * 4, s.count * 4);
  return s;
}

static const double *sorted_by;

/* Larger first; of equals the first. */
static int larger(const void *a, const void *b) {
  uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
  double x = fabs(sorted_by[i]), y = fabs(sorted_by[j]);
  return x != y ? (x < y ? 1 : -1) : i < j ? -1 : i > j;
}

static int ascending(const void *a, const void *b) {
  uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
  return i < j ? -1 : i > j;
}

/* The indices of the k largest of v, ascending, by sorting all. */
static void ref_largest(const double *v, size_t n, size_t k, uint32_t *index) {
  uint32_t *all = malloc(n * sizeof *all);
  for (size_t i = 0; i < n; i++) all[i] = (uint32_t)i;
  sorted_by = v;
  qsort(all, n, sizeof *all, larger);
  memcpy(index, all, k * sizeof *all);
  qsort(index, k, sizeof *index, ascending);
  free(all);
}

static const struct {
  size_t n, k;
} sizes[] = {{1, 1},     {3, 1},      {3, 3},       {31, 4},        {257, 1},
             {257, 256}, {1000, 100}, {70001, 700}, {200003, 4000}, {100000, 1}};
enum { SIZES = sizeof sizes / sizeof *sizes };

/* Few different numbers, so that most cuts go through equals; and very different ones. */
START_TEST(sends_the_largest) {
  size_t n = sizes[_i].n, k = sizes[_i].k;
  tg_codec_options o = codec_defaults(n);
  o.fraction = (double)k / (double)n;
  for (int kind = 0; kind < 3; kind++) {
    tg_coder *c = coder_open("topk", &o, 1);
    float *g = numbers(n);
    double *v = calloc(n, sizeof *v);
    uint32_t *expected = malloc(k * sizeof *expected);
    fill(g, n, (uint64_t)kind, n);
    for (size_t i = 0; kind == 0 && i < n; i++) g[i] = roundf(3 * g[i]);
    for (size_t i = 0; kind == 2 && i < n; i++) g[i] = i % 50 ? 0 : g[i] * 1e-40f;
    for (size_t i = 0; i < n; i++) v[i] = g[i];
    tg_coder_encode(c, (tg_codec_origin){0, 0}, g);
    ck_ok(tg_coder_check(c, c->message, c->bytes));
    chosen s = read_message(c);
    ref_largest(v, n, k, expected);
    ck_assert_uint_eq(s.count, k);
    ck_assert_mem_eq(s.index, expected, k * sizeof *expected);
    for (size_t j = 0; j < k; j++) ck_assert(s.value[j] == g[s.index[j]]);
    tg_coder_destroy(c);
    free(g);
    free(v);
    free(expected);
  }
}
END_TEST

/* ---- what is kept ---- */

/* Without momentum: what was sent and what is kept are all gradients. */
START_TEST(loses_nothing) {
  enum { N = 1000, STEPS = 200 };
  tg_codec_options o = codec_defaults(N);
  o.fraction = 0.03;
  tg_coder *c = coder_open("topk", &o, 1);
  ck_assert_int_eq(c->vectors, 1);
  float g[N], out[N];
  double sent[N] = {0}, all[N] = {0};
  for (uint64_t step = 0; step < STEPS; step++) {
    fill(g, N, 3, step);
    coder_pass(c, 0, step, g, out);
    for (size_t i = 0; i < N; i++) {
      all[i] += g[i];
      sent[i] += out[i];
    }
  }
  for (size_t i = 0; i < N; i++)
    ck_assert_double_eq_tol(sent[i] + tg_coder_state(c, 0, 0)[i], all[i], 1e-6);
  tg_coder_destroy(c);
}
END_TEST

static void ref_step(const tg_codec_options *o, const float *g, double *u, double *v, double *out,
                     size_t k) {
  uint32_t *index = malloc(k * sizeof *index);
  for (size_t i = 0; i < o->n; i++) {
    u[i] = (double)o->momentum * u[i] + g[i];
    v[i] += u[i];
    out[i] = 0;
  }
  ref_largest(v, o->n, k, index);
  for (size_t j = 0; j < k; j++) {
    out[index[j]] = v[index[j]];
    v[index[j]] = 0;
    if (o->masking) u[index[j]] = 0;
  }
  free(index);
}

/* Against the definition in double, of two workers in turn. */
START_TEST(follows_its_definition) {
  enum { N = 257, K = 26, STEPS = 120, WORKERS = 2 };
  tg_codec_options o = codec_defaults(N);
  o.momentum = 0.9f;
  o.masking = _i == 1;
  tg_coder *c = coder_open("topk", &o, WORKERS);
  float g[N], out[N];
  double u[WORKERS][N] = {{0}}, v[WORKERS][N] = {{0}}, expected[N];
  for (uint64_t step = 0; step < STEPS; step++)
    for (uint32_t m = 0; m < WORKERS; m++) {
      fill(g, N, m, step);
      coder_pass(c, m, step, g, out);
      ref_step(&o, g, u[m], v[m], expected, K);
      for (size_t i = 0; i < N; i++) ck_assert_double_eq_tol(out[i], expected[i], 1e-5);
    }
  tg_coder_destroy(c);
}
END_TEST

/* ---- all of it ---- */

/* One worker on a quadratic, by a rule that applies gradients as they are. */
static void train(tg_coder *c, const char *optimizer, float momentum, size_t n, float *w) {
  const tg_rule *rule;
  const tg_optimizer *found;
  ck_ok(tg_rule_find("asgd", &rule));
  ck_ok(tg_optimizer_find(optimizer, &found));
  float *g = numbers(n), *velocity = numbers(n);
  tg_update u = {.rule = rule,
                 .optimizer = found,
                 .hyper = {.lr = 0.03f, .momentum = momentum},
                 .w = w,
                 .slot = {velocity}};
  tg_update_sums sums = {0};
  fill(w, n, 7, 7);
  for (uint64_t step = 0; step < 150; step++) {
    fill(g, n, 8, step);
    for (size_t i = 0; i < n; i++) g[i] += (0.1f + (float)(i % 10) / 10) * w[i];
    if (c) coder_pass(c, 0, step, g, g);
    tg_update_apply(&u, (tg_span){0, n}, g, &sums);
  }
  free(g);
  free(velocity);
}

/* k = n: with masking off momentum SGD, with masking on plain SGD, to the bit. */
START_TEST(of_everything_is_sgd) {
  enum { N = 1000 };
  tg_codec_options o = codec_defaults(N);
  o.fraction = 1;
  o.momentum = 0.9f;
  o.masking = _i == 1;
  tg_coder *c = coder_open("topk", &o, 1);
  float w[N], expected[N];
  train(c, "sgd", 0, N, w);
  train(NULL, o.masking ? "sgd" : "momentum", 0.9f, N, expected);
  ck_assert_mem_eq(w, expected, sizeof w);
  tg_coder_destroy(c);
}
END_TEST

/* The paper's ramp: 25 %, 6.3 %, 1.6 %, 0.4 %, then 0.1 %. */
START_TEST(warms_up) {
  enum { N = 100000 };
  const size_t expected[] = {25119, 6310, 1585, 398, 100, 100};
  tg_codec_options o = codec_defaults(N);
  o.fraction = 0.001;
  o.warmup_epochs = 4;
  o.epochs_per_step = 0.25;
  tg_coder *c = coder_open("topk", &o, 1);
  float *g = numbers(N);
  fill(g, N, 1, 1);
  ck_assert_uint_eq(c->room, 16 + 8 * expected[0]);
  for (uint64_t step = 0; step < 24; step++) {
    tg_coder_encode(c, (tg_codec_origin){0, step}, g);
    ck_assert_uint_eq(c->bytes, 16 + 8 * expected[step / 4]);
    ck_ok(tg_coder_check(c, c->message, c->bytes));
  }
  tg_coder_destroy(c);
  free(g);
}
END_TEST

START_TEST(sends_one_at_least) {
  tg_codec_options o = codec_defaults(10);
  o.fraction = 1e-6;
  tg_coder *c = coder_open("topk", &o, 1);
  const float g[10] = {0, 0, 0, -2, 0, 1, 2, 0, 0, 0};
  tg_coder_encode(c, (tg_codec_origin){0, 0}, g);
  chosen s = read_message(c);
  ck_assert_uint_eq(s.count, 1);
  ck_assert_uint_eq(s.index[0], 3);
  ck_assert_float_eq(s.value[0], -2);
  tg_coder_destroy(c);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("topk");
  TCase *tc = tcase_create("topk");
  tcase_add_loop_test(tc, sends_the_largest, 0, SIZES);
  tcase_add_test(tc, loses_nothing);
  tcase_add_loop_test(tc, follows_its_definition, 0, 2);
  tcase_add_loop_test(tc, of_everything_is_sgd, 0, 2);
  tcase_add_test(tc, warms_up);
  tcase_add_test(tc, sends_one_at_least);
  suite_add_tcase(suite, tc);
  return fixture_run(suite, 0) != 0;
}
