/* Status, random numbers, arena, registry. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tardigrad/arena.h"
#include "tardigrad/registry.h"
#include "tardigrad/rng.h"
#include "tardigrad/status.h"

static tg_status fails(int which) {
  if (which == 0) return TG_OK;
  TG_FAIL(TG_EDATA, "file %s, offset %d", "x.idx", which);
}

static tg_status passes_up(int which) {
  TG_TRY(fails(which));
  return TG_OK;
}

START_TEST(status_carries_code_and_message) {
  ck_assert_int_eq(passes_up(0), TG_OK);
  ck_assert_int_eq(passes_up(7), TG_EDATA);
  ck_assert_str_eq(tg_status_message(), "file x.idx, offset 7");
  /* The old message may be part of the new one. */
  tg_status_set(TG_ERUNTIME, "outer: %s", tg_status_message());
  ck_assert_str_eq(tg_status_message(), "outer: file x.idx, offset 7");
}
END_TEST

/* Known answers of the authors' Random123 distribution (kat_vectors, philox4x32 10). */
static const struct {
  uint32_t counter[4], key[2], out[4];
} known[] = {
    {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
    {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
    {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
     {0xa4093822, 0x299f31d0},
     {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
};

START_TEST(philox_known_answers) {
  uint32_t out[4];
  tg_philox(known[_i].key, known[_i].counter, out);
  ck_assert_mem_eq(out, known[_i].out, sizeof out);
}
END_TEST

START_TEST(streams_are_functions_of_their_names) {
  tg_rng a = tg_rng_open(7, TG_RNG_TEST, 3, 4), b = tg_rng_open(7, TG_RNG_TEST, 3, 4);
  for (int i = 0; i < 100; i++) ck_assert_uint_eq(tg_rng_u32(&a), tg_rng_u32(&b));
  const tg_rng others[] = {tg_rng_open(8, TG_RNG_TEST, 3, 4),
                           tg_rng_open(7, TG_RNG_SIM, 3, 4),
                           tg_rng_open(7, TG_RNG_TEST, 2, 4),
                           tg_rng_open(7, TG_RNG_TEST, 3, 5),
                           tg_rng_open(7, TG_RNG_TEST, 3 + (1ull << 32), 4),
                           tg_rng_open(7, TG_RNG_TEST, 3, 4 + (1ull << 32))};
  a = tg_rng_open(7, TG_RNG_TEST, 3, 4);
  uint32_t first = tg_rng_u32(&a);
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
    tg_rng r = others[i];
    ck_assert_uint_ne(tg_rng_u32(&r), first);
  }
}
END_TEST

/* Many at once, from anywhere, are what one by one would give. */
START_TEST(numbers_come_many_at_once) {
  enum { ALL = 1000 };
  uint32_t expected[ALL], got[ALL];
  tg_rng one = tg_rng_open(3, TG_RNG_TEST, 11, 12), stream = one;
  for (int i = 0; i < ALL; i++) expected[i] = tg_rng_u32(&one);
  for (size_t first = 0; first < 70; first++)
    for (size_t count = 0; first + count <= ALL; count = 2 * count + 1) {
      memset(got, 0, sizeof got);
      tg_rng_numbers(&stream, first, count, got);
      ck_assert_mem_eq(got, expected + first, count * sizeof *got);
      if (first + count < ALL) ck_assert_uint_eq(got[count], 0);
    }
}
END_TEST

START_TEST(numbers_have_their_distributions) {
  enum { N = 200000 };
  tg_rng r = tg_rng_open(1, TG_RNG_TEST, 0, 0);
  double sum = 0, square = 0, uniform = 0, least = 1, most = 0;
  int below[7] = {0};
  for (int i = 0; i < N; i++) {
    double x = tg_rng_normal(&r), u = tg_rng_double(&r);
    float f = tg_rng_float(&r);
    ck_assert(f >= 0 && f < 1 && isfinite(x));
    sum += x;
    square += x * x;
    uniform += u;
    least = u < least ? u : least;
    most = u > most ? u : most;
    below[tg_rng_below(&r, 7)]++;
  }
  /* Five standard errors. */
  ck_assert_double_lt(fabs(sum / N), 5 / sqrt(N));
  ck_assert_double_lt(fabs(square / N - 1), 5 * sqrt(2.0 / N));
  ck_assert_double_lt(fabs(uniform / N - 0.5), 5 * sqrt(1.0 / 12 / N));
  ck_assert(least >= 0 && most < 1 && least < 1e-3 && most > 1 - 1e-3);
  for (int i = 0; i < 7; i++) ck_assert_double_lt(fabs(below[i] - N / 7.0), 5 * sqrt(N / 7.0));
}
END_TEST

START_TEST(permutations_hold_every_index_once) {
  static const size_t sizes[] = {0, 1, 2, 31, 257, 60000};
  size_t n = sizes[_i];
  uint32_t *p = malloc((n + 1) * sizeof *p);
  char *seen = calloc(n + 1, 1);
  tg_rng r = tg_rng_open(1, TG_RNG_PERMUTE, 5, 0);
  tg_rng_permutation(&r, n, p);
  for (size_t i = 0; i < n; i++) {
    ck_assert_uint_lt(p[i], n);
    ck_assert_int_eq(seen[p[i]]++, 0);
  }
  free(p);
  free(seen);
}
END_TEST

START_TEST(arena_gives_zeroed_aligned_memory) {
  tg_arena *a = tg_arena_create();
  ck_assert_ptr_nonnull(a);
  for (size_t bytes = 0; bytes < 300000; bytes = bytes * 3 + 1) {
    unsigned char *p = tg_arena_alloc(a, bytes);
    ck_assert_ptr_nonnull(p);
    ck_assert_uint_eq((uintptr_t)p % 16, 0);
    for (size_t i = 0; i < bytes; i++) ck_assert_int_eq(p[i], 0);
    memset(p, 255, bytes);
  }
  ck_assert_str_eq(tg_arena_printf(a, "layer%d.%s", 3, "conv1"), "layer3.conv1");
  ck_assert_ptr_null(tg_arena_alloc(a, SIZE_MAX));
  tg_arena_destroy(a);
  tg_arena_destroy(NULL);
  void *p = tg_alloc_aligned(5);
  ck_assert_uint_eq((uintptr_t)p % TG_ALIGNMENT, 0);
  free(p);
  ck_assert_ptr_null(tg_alloc_aligned(SIZE_MAX));
}
END_TEST

START_TEST(names_are_found_and_suggested) {
  static const tg_named rows[] = {{"sgd", ""}, {"asgd", ""}, {"dc-asgd-a", ""}, {"resnet20", ""}};
  const void *const list[] = {&rows[0], &rows[1], &rows[2], &rows[3]};
  const char *near = NULL;
  ck_assert_ptr_eq(tg_registry_find("asgd", list, 4, &near), &rows[1]);
  ck_assert_ptr_null(tg_registry_find("dc-asgd-b", list, 4, &near));
  ck_assert_str_eq(near, "dc-asgd-a");
  ck_assert_ptr_null(tg_registry_find("resnet2", list, 4, &near));
  ck_assert_str_eq(near, "resnet20");
  ck_assert_ptr_null(tg_registry_find("something quite different", list, 4, &near));
  ck_assert_ptr_null(near);
}
END_TEST

int main(void) {
  Suite *s = suite_create("core");
  TCase *t = tcase_create("core");
  tcase_add_test(t, status_carries_code_and_message);
  tcase_add_loop_test(t, philox_known_answers, 0, 3);
  tcase_add_test(t, streams_are_functions_of_their_names);
  tcase_add_test(t, numbers_come_many_at_once);
  tcase_add_test(t, numbers_have_their_distributions);
  tcase_add_loop_test(t, permutations_hold_every_index_once, 0, 6);
  tcase_add_test(t, arena_gives_zeroed_aligned_memory);
  tcase_add_test(t, names_are_found_and_suggested);
  suite_add_tcase(s, t);
  SRunner *r = srunner_create(s);
  srunner_run_all(r, CK_ENV);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed != 0;
}
