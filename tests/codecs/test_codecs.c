/* Codecs in general: found by name, decoded in pieces, and messages that no encoder made. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools.h"

static const char *const names[] = {"signsgd", "qsgd", "ecq", "topk"};
enum { NAMES = 4 };

START_TEST(are_found_by_name) {
  const tg_codec *codec;
  ck_ok(tg_codec_find("none", &codec));
  ck_assert_ptr_null(codec->encode);
  ck_assert_int_eq(tg_codec_find("sgnsgd", &codec), TG_ECONFIG);
  ck_assert_str_eq(tg_status_message(), "sync.codec: no codec 'sgnsgd'; did you mean 'signsgd'?");
  for (size_t i = 0; i < tg_codec_count; i++)
    for (size_t j = 0; j < i; j++) ck_assert_uint_ne(tg_codecs[i]->tag, tg_codecs[j]->tag);
}
END_TEST

START_TEST(refuse_what_cannot_be_sent) {
  const tg_codec *codec;
  tg_coder *c;
  tg_codec_options o = codec_defaults((size_t)1 << 33);
  ck_ok(tg_codec_find("signsgd", &codec));
  ck_assert_int_eq(tg_coder_create(codec, &o, 0, 1, &c), TG_ECONFIG);
  ck_assert_ptr_nonnull(strstr(tg_status_message(), "8589934592 parameters"));
  o = codec_defaults((size_t)1 << 30);
  o.fraction = 1;
  ck_ok(tg_codec_find("topk", &codec));
  ck_assert_int_eq(tg_coder_create(codec, &o, 0, 1, &c), TG_ECONFIG);
  ck_ok(tg_codec_find("none", &codec));
  ck_assert_int_eq(tg_coder_create(codec, &o, 0, 1, &c), TG_ECONFIG);
}
END_TEST

/* Any piece is decoded as the whole is; a message made twice with equal states is the same. */
START_TEST(are_decoded_in_pieces) {
  const size_t sizes[] = {1, 3, 31, 257, 5000, 70001};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    size_t n = sizes[i];
    tg_codec_options o = codec_defaults(n);
    o.bucket = 37;
    tg_coder *c = coder_open(names[_i], &o, 1), *again = coder_open(names[_i], &o, 1);
    float *g = numbers(n), *whole = numbers(n), *part = numbers(n);
    fill(g, n, 1, n);
    coder_pass(c, 0, 3, g, whole);
    tg_coder_encode(again, (tg_codec_origin){0, 3}, g);
    ck_assert_uint_eq(c->bytes, again->bytes);
    ck_assert_mem_eq(c->message, again->message, c->bytes);
    for (size_t lo = 0; lo < n;) {
      size_t hi = lo + 1 + lo * 7 % 100;
      if (hi > n) hi = n;
      tg_coder_decode(c, c->message, lo, hi, part);
      ck_assert_mem_eq(part, whole + lo, (hi - lo) * sizeof *part);
      lo = hi;
    }
    tg_coder_destroy(c);
    tg_coder_destroy(again);
    free(g);
    free(whole);
    free(part);
  }
}
END_TEST

/* What must be refused: a copy of a message, changed. */
typedef struct forged {
  unsigned char *message;
  size_t bytes;
} forged;

static void put_u32(forged *f, size_t at, uint32_t x) {
  memcpy(f->message + at, &x, sizeof x);
}

static void forge(forged *f, const tg_coder *c) {
  memcpy(f->message, c->message, c->bytes);
  f->bytes = c->bytes;
}

static void check_refused(const tg_coder *c, const forged *f, const char *why) {
  /* Exactly its bytes, so that a look behind them is seen. */
  unsigned char *exact = malloc(f->bytes ? f->bytes : 1);
  memcpy(exact, f->message, f->bytes);
  ck_assert_msg(tg_coder_check(c, exact, f->bytes) == TG_ERUNTIME, "%s: %s was accepted",
                c->codec->name, why);
  ck_assert_str_ne(tg_status_message(), "");
  free(exact);
}

START_TEST(refuse_malformed_messages) {
  enum { N = 203 };
  tg_codec_options o = codec_defaults(N);
  tg_coder *c = coder_open(names[_i], &o, 1);
  float g[N];
  forged f = {.message = malloc(2 * c->room)};
  fill(g, N, 1, 1);
  tg_coder_encode(c, (tg_codec_origin){0, 0}, g);
  for (size_t bytes = 0; bytes < c->bytes; bytes++) {
    forge(&f, c);
    f.bytes = bytes;
    check_refused(c, &f, "a message cut short");
  }
  forge(&f, c);
  f.bytes = c->bytes + 8;
  check_refused(c, &f, "a message that is too long");
  forge(&f, c);
  put_u32(&f, 0, 0x12345678);
  check_refused(c, &f, "another tag");
  forge(&f, c);
  put_u32(&f, 8, N + 1);
  check_refused(c, &f, "another number of coordinates");
  for (uint32_t count = 1; count; count *= 2) {
    forge(&f, c);
    uint32_t real;
    memcpy(&real, f.message + 4, sizeof real);
    if (real == count) continue;
    put_u32(&f, 4, count);
    check_refused(c, &f, "another count");
  }
  free(f.message);
  tg_coder_destroy(c);
}
END_TEST

START_TEST(refuse_impossible_bodies) {
  enum { N = 203 };
  tg_codec_options o = codec_defaults(N);
  tg_coder *c = coder_open(names[_i], &o, 1);
  float g[N];
  forged f = {.message = malloc(2 * c->room)};
  const uint32_t bad_norms[] = {0x7FC00000u, 0x7F800000u, 0xBF800000u, 0xFFC00000u};
  fill(g, N, 1, 1);
  tg_coder_encode(c, (tg_codec_origin){0, 0}, g);
  forge(&f, c);
  switch (_i) {
  case 0:
    f.message[f.bytes - 1] |= 0x08; /* N % 8 is 3 */
    check_refused(c, &f, "a sign after the last");
    break;
  case 1:
  case 2:
    for (size_t i = 0; i < sizeof bad_norms / sizeof *bad_norms; i++) {
      put_u32(&f, 16 + 4, bad_norms[i]);
      check_refused(c, &f, "an impossible norm");
    }
    break;
  default:
    put_u32(&f, 16 + 4 * 19, N);
    check_refused(c, &f, "an index behind the last");
    put_u32(&f, 16 + 4 * 19, UINT32_MAX);
    check_refused(c, &f, "a huge index");
    put_u32(&f, 16 + 4 * 19, 0);
    check_refused(c, &f, "indices that do not ascend");
    forge(&f, c);
    memcpy(f.message + 16 + 4, f.message + 16, 4);
    check_refused(c, &f, "an index twice");
  }
  free(f.message);
  tg_coder_destroy(c);
}
END_TEST

/* Whatever passes the check is decoded without leaving the message or the gradient. */
START_TEST(survive_noise) {
  enum { N = 203, TIMES = 20000 };
  tg_codec_options o = codec_defaults(N);
  tg_coder *c = coder_open(names[_i], &o, 1);
  float g[N];
  tg_rng r = tg_rng_open(4, TG_RNG_TEST, (uint64_t)_i, 0);
  size_t passed = 0;
  fill(g, N, 1, 1);
  tg_coder_encode(c, (tg_codec_origin){0, 0}, g);
  for (int t = 0; t < TIMES; t++) {
    unsigned char *exact = aligned_alloc(16, (c->bytes + 15) / 16 * 16);
    float *out = malloc(N * sizeof *out);
    memcpy(exact, c->message, c->bytes);
    for (uint32_t flips = 1 + tg_rng_below(&r, 3); flips > 0; flips--)
      exact[tg_rng_below(&r, (uint32_t)c->bytes)] ^= (unsigned char)(1u << tg_rng_below(&r, 8));
    if (tg_coder_check(c, exact, c->bytes) == TG_OK) {
      tg_coder_decode(c, exact, 0, N, out);
      passed++;
    }
    free(exact);
    free(out);
  }
  ck_assert_uint_gt(passed, 0);
  tg_coder_destroy(c);
}
END_TEST

/* A state that was kept is that from before the next gradient. */
START_TEST(remember) {
  enum { N = 100 };
  tg_codec_options o = codec_defaults(N);
  tg_coder *c = coder_open(names[_i], &o, 1);
  float g[N], before[N];
  for (uint64_t step = 0; step < 5; step++) {
    fill(g, N, 1, step);
    if (c->vectors) memcpy(before, tg_coder_state(c, 0, 0), sizeof before);
    ck_ok(tg_coder_remember(c));
    tg_coder_encode(c, (tg_codec_origin){0, step}, g);
    if (c->vectors) ck_assert_mem_eq(c->before[0], before, sizeof before);
    if (c->vectors) ck_assert_mem_ne(tg_coder_state(c, 0, 0), before, sizeof before);
  }
  tg_coder_destroy(c);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("codecs");
  TCase *tc = tcase_create("codecs");
  tcase_add_test(tc, are_found_by_name);
  tcase_add_test(tc, refuse_what_cannot_be_sent);
  tcase_add_loop_test(tc, are_decoded_in_pieces, 0, NAMES);
  tcase_add_loop_test(tc, refuse_malformed_messages, 0, NAMES);
  tcase_add_loop_test(tc, refuse_impossible_bodies, 0, NAMES);
  tcase_add_loop_test(tc, survive_noise, 0, NAMES);
  tcase_add_loop_test(tc, remember, 0, NAMES);
  suite_add_tcase(suite, tc);
  return fixture_run(suite, 0) != 0;
}
