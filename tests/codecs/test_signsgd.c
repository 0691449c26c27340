/* Signs: what a bit says, how many bytes they take, whom a majority follows. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools.h"

static const size_t sizes[] = {1, 3, 7, 8, 31, 63, 64, 65, 257, 70001};
enum { SIZES = sizeof sizes / sizeof *sizes };

/* Of a zero, and of a tie. */
static float alternating(size_t i, uint64_t step) {
  return (i + step) % 2 ? -1.0f : 1.0f;
}

START_TEST(sends_one_bit_a_coordinate) {
  size_t n = sizes[_i];
  tg_codec_options o = codec_defaults(n);
  tg_coder *c = coder_open("signsgd", &o, 1);
  float *g = numbers(n), *out = numbers(n);
  ck_assert_int_eq(c->vectors, 0);
  for (uint64_t step = 0; step < 4; step++) {
    fill(g, n, n, step);
    for (size_t i = step; i < n; i += 5) g[i] = i % 2 ? 0.0f : -0.0f;
    coder_pass(c, 0, step, g, out);
    ck_assert_uint_eq(c->bytes, 16 + (n + 7) / 8);
    for (size_t i = 0; i < n; i++)
      ck_assert_float_eq(out[i], g[i] < 0 ? -1 : g[i] > 0 ? 1 : alternating(i, step));
  }
  tg_coder_destroy(c);
  free(g);
  free(out);
}
END_TEST

/* Signum: the sign of the momentum, in double. */
START_TEST(signs_the_momentum) {
  enum { N = 257, STEPS = 120, WORKERS = 2 };
  tg_codec_options o = codec_defaults(N);
  o.momentum = 0.9f;
  tg_coder *c = coder_open("signsgd", &o, WORKERS);
  float g[N], out[N];
  double m[WORKERS][N] = {{0}};
  size_t compared = 0;
  for (uint64_t step = 0; step < STEPS; step++)
    for (uint32_t worker = 0; worker < WORKERS; worker++) {
      fill(g, N, worker, step);
      coder_pass(c, worker, step, g, out);
      for (size_t i = 0; i < N; i++) {
        m[worker][i] = (double)o.momentum * m[worker][i] + (1 - (double)o.momentum) * g[i];
        ck_assert_double_eq_tol(tg_coder_state(c, worker, 0)[i], m[worker][i], 1e-5);
        if (fabs(m[worker][i]) < 1e-6) continue;
        ck_assert_float_eq(out[i], m[worker][i] < 0 ? -1 : 1);
        compared++;
      }
    }
  ck_assert_uint_gt(compared, (size_t)N * STEPS * WORKERS * 99 / 100);
  tg_coder_destroy(c);
}
END_TEST

/* ---- majority ---- */

/* Messages of all workers, one after the other. */
typedef struct ballots {
  tg_coder *coder;
  void *message[40];
  uint32_t workers;
  float *sum, *out;
} ballots;

static ballots ballots_open(size_t n, uint32_t workers) {
  tg_codec_options o = codec_defaults(n);
  ballots b = {.coder = coder_open("signsgd", &o, 1), .workers = workers};
  for (uint32_t m = 0; m < workers; m++)
    ck_assert_ptr_nonnull(b.message[m] = aligned_alloc(64, (b.coder->room + 63) / 64 * 64));
  b.sum = numbers(n);
  b.out = numbers(n);
  return b;
}

static void ballots_close(ballots *b) {
  for (uint32_t m = 0; m < b->workers; m++) free(b->message[m]);
  tg_coder_destroy(b->coder);
  free(b->sum);
  free(b->out);
}

static void cast_vote(ballots *b, uint32_t m, uint64_t step, const float *g) {
  coder_pass(b->coder, 0, step, g, b->out);
  memcpy(b->message[m], b->coder->message, b->coder->bytes);
  for (size_t i = 0; i < b->coder->o.n; i++) b->sum[i] = (m ? b->sum[i] : 0) + b->out[i];
}

static void count(ballots *b, uint64_t step) {
  tg_coder_vote(b->coder, step, (const void *const *)b->message, b->workers);
  ck_assert_uint_eq(b->coder->bytes, 16 + (b->coder->o.n + 7) / 8);
  ck_ok(tg_coder_check(b->coder, b->coder->message, b->coder->bytes));
  tg_coder_decode(b->coder, b->coder->message, 0, b->coder->o.n, b->out);
}

/* Against a sum of +1 and -1; ties as documented. */
START_TEST(counts_votes) {
  const uint32_t workers[] = {1, 2, 3, 4, 5, 7, 8, 15, 16, 31, 32, 33};
  size_t n = sizes[_i], ties = 0;
  for (size_t w = 0; w < sizeof workers / sizeof *workers; w++) {
    ballots b = ballots_open(n, workers[w]);
    float *g = numbers(n);
    uint64_t step = w;
    for (uint32_t m = 0; m < workers[w]; m++) {
      fill(g, n, m, w);
      cast_vote(&b, m, step, g);
    }
    count(&b, step);
    for (size_t i = 0; i < n; i++) {
      float expected = b.sum[i] < 0 ? -1 : b.sum[i] > 0 ? 1 : alternating(i, step);
      ties += b.sum[i] == 0;
      ck_assert_msg(b.out[i] == expected, "%u workers, coordinate %zu: %g of a sum of %g",
                    workers[w], i, b.out[i], b.sum[i]);
    }
    ballots_close(&b);
    free(g);
  }
  ck_assert(n < 31 || ties > 0);
}
END_TEST

/* Without noise three of seven that send the opposite change no vote; four would. */
START_TEST(outvotes_three_of_seven) {
  enum { N = 1000, WORKERS = 7 };
  float g[N], flipped[N];
  fill(g, N, 1, 2);
  for (size_t i = 0; i < N; i++) {
    g[i] += g[i] == 0;
    flipped[i] = -g[i];
  }
  for (uint32_t liars = 3; liars <= 4; liars++) {
    ballots b = ballots_open(N, WORKERS);
    for (uint32_t m = 0; m < WORKERS; m++) cast_vote(&b, m, 0, m * 3 % 7 < liars ? flipped : g);
    count(&b, 0);
    for (size_t i = 0; i < N; i++)
      ck_assert_float_eq(b.out[i], (g[i] < 0) == (liars == 3) ? -1 : 1);
    ballots_close(&b);
  }
}
END_TEST

/* Where nobody has a gradient nothing goes away. */
START_TEST(zeros_stay_where_they_are) {
  enum { N = 130, STEPS = 101 };
  tg_codec_options o = codec_defaults(N);
  tg_coder *c = coder_open("signsgd", &o, 1);
  float g[N] = {0}, out[N], place[N] = {0};
  for (uint64_t step = 0; step < STEPS; step++) {
    coder_pass(c, 0, step, g, out);
    for (size_t i = 0; i < N; i++) {
      place[i] += out[i];
      ck_assert_float_le(fabsf(place[i]), 1);
    }
  }
  tg_coder_destroy(c);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("signsgd");
  TCase *tc = tcase_create("signs");
  tcase_add_loop_test(tc, sends_one_bit_a_coordinate, 0, SIZES);
  tcase_add_test(tc, signs_the_momentum);
  tcase_add_loop_test(tc, counts_votes, 0, SIZES);
  tcase_add_test(tc, outvotes_three_of_seven);
  tcase_add_test(tc, zeros_stay_where_they_are);
  suite_add_tcase(suite, tc);
  return fixture_run(suite, 0) != 0;
}
