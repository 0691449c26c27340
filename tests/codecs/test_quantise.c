/* qsgd and ecq: unbiased, within a level, and what remembering errors is good for. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools.h"

static const struct {
  size_t n, bucket;
  uint32_t levels;
} shapes[] = {{1, 1, 1},         {3, 512, 1},       {31, 8, 3},     {257, 100, 7},
              {257, 257, 15},    {1000, 64, 127},   {1000, 7, 100}, {300, 1000, 4},
              {70001, 511, 255}, {2000, 13, 32767}, {513, 512, 2},  {4099, 1024, 31}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static tg_codec_options options_of(int i) {
  tg_codec_options o = codec_defaults(shapes[i].n);
  o.bucket = shapes[i].bucket;
  o.levels = shapes[i].levels;
  return o;
}

static double norm_of(const double *v, size_t n, size_t bucket, size_t i) {
  double square = 0;
  for (size_t j = i / bucket * bucket; j < n && j < (i / bucket + 1) * bucket; j++)
    square += v[j] * v[j];
  return sqrt(square);
}

/* Bytes as documented, and every number one of the two levels around it. */
START_TEST(rounds_to_a_neighbour) {
  tg_codec_options o = options_of(_i);
  tg_coder *c = coder_open("qsgd", &o, 1);
  float *g = numbers(o.n), *q = numbers(o.n);
  double *v = calloc(o.n, sizeof *v);
  size_t width = 1 + (size_t)ceil(log2(o.levels + 1.0)), bytes = 16;
  for (size_t at = 0; at < o.n; at += o.bucket) {
    size_t count = o.n - at < o.bucket ? o.n - at : o.bucket;
    bytes += 4 + (count * width + 7) / 8;
  }
  fill(g, o.n, 4, 4);
  for (size_t i = 0; i < o.n; i++) v[i] = g[i];
  coder_pass(c, 0, 7, g, q);
  ck_assert_uint_eq(c->bytes, bytes);
  ck_assert_uint_eq(tg_codec_bytes(c->codec, &o), bytes);
  for (size_t i = 0; i < o.n; i++) {
    double step = norm_of(v, o.n, o.bucket, i) / o.levels;
    ck_assert_double_le(fabs((double)q[i] - v[i]), step * (1 + 1e-5));
    ck_assert_double_eq_tol(fabs(q[i]) / step, round(fabs(q[i]) / step), 1e-2);
    ck_assert(q[i] == 0 || (q[i] < 0) == (g[i] < 0));
  }
  tg_coder_destroy(c);
  free(g);
  free(q);
  free(v);
}
END_TEST

/* The mean of many roundings lies within four standard deviations. */
START_TEST(is_unbiased) {
  enum { N = 200, TIMES = 5000 };
  const uint32_t levels[] = {1, 7, 100};
  tg_codec_options o = codec_defaults(N);
  o.levels = levels[_i];
  o.bucket = 64;
  tg_coder *c = coder_open("qsgd", &o, 1);
  float g[N], q[N];
  double v[N], mean[N] = {0};
  fill(g, N, 1, 1);
  for (size_t i = 0; i < N; i++) v[i] = g[i];
  for (uint64_t t = 0; t < TIMES; t++) {
    coder_pass(c, 0, t, g, q);
    for (size_t i = 0; i < N; i++) mean[i] += q[i] / (double)TIMES;
  }
  for (size_t i = 0; i < N; i++) {
    double step = norm_of(v, N, o.bucket, i) / o.levels, x = fabs(v[i]) / step;
    double up = x - floor(x), sigma = step * sqrt(up * (1 - up) / TIMES);
    ck_assert_msg(fabs(mean[i] - v[i]) <= 4 * sigma + 1e-6 * step,
                  "coordinate %zu: %g is the mean of %g, off by %g sigma", i, mean[i], v[i],
                  (mean[i] - v[i]) / sigma);
  }
  tg_coder_destroy(c);
}
END_TEST

/* A message is a function of what it is made of, and of nothing else. */
START_TEST(is_a_pure_function) {
  tg_codec_options o = codec_defaults(300), other = o;
  other.seed++;
  tg_coder *a = coder_open("qsgd", &o, 4), *b = coder_open("qsgd", &o, 4);
  tg_coder *c = coder_open("qsgd", &other, 4);
  float g[300];
  fill(g, 300, 2, 3);
  tg_coder_encode(a, (tg_codec_origin){2, 1000}, g);
  tg_coder_encode(b, (tg_codec_origin){1, 999}, g);
  ck_assert_mem_ne(a->message, b->message, a->bytes);
  tg_coder_encode(b, (tg_codec_origin){2, 1001}, g);
  ck_assert_mem_ne(a->message, b->message, a->bytes);
  tg_coder_encode(b, (tg_codec_origin){2, 1000}, g);
  ck_assert_mem_eq(a->message, b->message, a->bytes);
  tg_coder_encode(c, (tg_codec_origin){2, 1000}, g);
  ck_assert_mem_ne(a->message, c->message, a->bytes);
  tg_coder_destroy(a);
  tg_coder_destroy(b);
  tg_coder_destroy(c);
}
END_TEST

START_TEST(survives_odd_numbers) {
  tg_codec_options o = codec_defaults(6);
  o.bucket = 2;
  tg_coder *c = coder_open("ecq", &o, 1);
  const float g[] = {3e38f, -3e38f, 1e-42f, -1e-45f, 0, -0.0f};
  float q[6];
  for (uint64_t step = 0; step < 50; step++) {
    coder_pass(c, 0, step, g, q);
    for (int i = 0; i < 6; i++) ck_assert(isfinite(q[i]));
    ck_assert_float_eq(q[4], 0);
    ck_assert_float_eq(q[5], 0);
  }
  tg_coder_destroy(c);
}
END_TEST

/* ---- ecq ---- */

START_TEST(without_alpha_is_qsgd) {
  tg_codec_options o = options_of(_i);
  o.alpha = 0;
  tg_coder *ecq = coder_open("ecq", &o, 2), *qsgd = coder_open("qsgd", &o, 2);
  float *g = numbers(o.n), *a = numbers(o.n), *b = numbers(o.n);
  for (uint64_t step = 0; step < (o.n > 10000 ? 3 : 100); step++) {
    uint32_t worker = step % 3 == 0;
    fill(g, o.n, 6, step);
    coder_pass(ecq, worker, step, g, a);
    coder_pass(qsgd, worker, step, g, b);
    ck_assert_uint_eq(ecq->bytes, qsgd->bytes);
    ck_assert_mem_eq(ecq->message + 16, qsgd->message + 16, ecq->bytes - 16);
    ck_assert_mem_eq(a, b, o.n * sizeof *a);
  }
  tg_coder_destroy(ecq);
  tg_coder_destroy(qsgd);
  free(g);
  free(a);
  free(b);
}
END_TEST

/* The same in double: number i of the stream decides coordinate i. */
static void ref_ecq(const tg_codec_options *o, uint32_t worker, uint64_t step, const float *g,
                    double *h, double *q) {
  tg_rng r = tg_rng_open(o->seed, TG_RNG_CODEC, step, worker);
  double *v = calloc(o->n, sizeof *v);
  for (size_t i = 0; i < o->n; i++) v[i] = g[i] + (double)o->alpha * h[i];
  for (size_t i = 0; i < o->n; i++) {
    double unit = norm_of(v, o->n, o->bucket, i) / o->levels, u = tg_rng_float(&r);
    double x = unit > 0 ? fabs(v[i]) / unit : 0, level = floor(x) + (u < x - floor(x));
    q[i] = v[i] < 0 ? -level * unit : level * unit;
  }
  for (size_t i = 0; i < o->n; i++) h[i] = (double)o->beta * h[i] + (g[i] - q[i]);
  free(v);
}

START_TEST(follows_its_definition) {
  enum { N = 257, STEPS = 120, WORKERS = 2 };
  tg_codec_options o = codec_defaults(N);
  tg_coder *c = coder_open("ecq", &o, WORKERS);
  float g[N], q[N];
  double h[WORKERS][N] = {{0}}, expected[N];
  for (uint64_t step = 0; step < STEPS; step++)
    for (uint32_t worker = 0; worker < WORKERS; worker++) {
      fill(g, N, worker, step);
      coder_pass(c, worker, step, g, q);
      ref_ecq(&o, worker, step, g, h[worker], expected);
      for (size_t i = 0; i < N; i++) {
        ck_assert_double_eq_tol(q[i], expected[i], 1e-5);
        ck_assert_double_eq_tol(tg_coder_state(c, worker, 0)[i], h[worker][i], 1e-5);
      }
    }
  tg_coder_destroy(c);
}
END_TEST

/* Mean excess loss of the second half of a noisy descent on a quadratic of rather different
 * curvatures. codec NULL: float32 gradients. */
static double excess(const char *codec, float alpha, float beta, uint64_t seed) {
  enum { N = 64, STEPS = 2000 };
  tg_codec_options o = codec_defaults(N);
  o.levels = 1;
  o.bucket = N;
  o.alpha = alpha;
  o.beta = beta;
  o.seed = seed;
  tg_coder *c = codec ? coder_open(codec, &o, 1) : NULL;
  tg_rng r = tg_rng_open(seed, TG_RNG_TEST, 0, 0);
  float w[N], g[N];
  double sum = 0;
  for (int i = 0; i < N; i++) w[i] = 1;
  for (uint64_t t = 0; t < STEPS; t++) {
    double loss = 0;
    for (int i = 0; i < N; i++) {
      float curvature = 0.02f + (float)i / N;
      loss += 0.5 * curvature * w[i] * w[i];
      g[i] = curvature * w[i] + 0.1f * (float)tg_rng_normal(&r);
    }
    if (t >= STEPS / 2) sum += loss / (STEPS / 2);
    if (c) coder_pass(c, 0, t, g, g);
    for (int i = 0; i < N; i++) w[i] -= 0.03f * g[i];
  }
  tg_coder_destroy(c);
  return sum;
}

START_TEST(loses_less_than_qsgd) {
  enum { SEEDS = 10 };
  double exact = 0, ecq = 0, qsgd = 0;
  for (uint64_t seed = 1; seed <= SEEDS; seed++) {
    exact += excess(NULL, 0, 0, seed) / SEEDS;
    ecq += excess("ecq", 0.2f, 0.9f, seed) / SEEDS;
    qsgd += excess("qsgd", 0, 0, seed) / SEEDS;
  }
  printf("excess loss: float32 %.4f, ecq %.4f, qsgd %.4f\n", exact, ecq, qsgd);
  ck_assert_double_lt(exact, ecq);
  ck_assert_double_lt(ecq, 0.9 * qsgd);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("qsgd and ecq");
  TCase *tc = tcase_create("quantise");
  tcase_add_loop_test(tc, rounds_to_a_neighbour, 0, SHAPES);
  tcase_add_loop_test(tc, is_unbiased, 0, 3);
  tcase_add_test(tc, is_a_pure_function);
  tcase_add_test(tc, survives_odd_numbers);
  tcase_add_loop_test(tc, without_alpha_is_qsgd, 0, SHAPES);
  tcase_add_test(tc, follows_its_definition);
  tcase_add_test(tc, loses_less_than_qsgd);
  suite_add_tcase(suite, tc);
  return fixture_run(suite, 0) != 0;
}
