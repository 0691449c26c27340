/* The real Fashion-MNIST, from Debian's package.
 * VALGRIND: no: uncompresses 60 MB */
#include "tardigrad/data.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static tg_dataset *open_split(tg_split split) {
  tg_data_options options = {.name = "fashion_mnist", .path = "/usr/share/datasets/fashion-mnist"};
  tg_dataset *set;
  ck_assert_msg(tg_dataset_open(&options, split, &set) == TG_OK, "%s", tg_status_message());
  return set;
}

START_TEST(counts) {
  static const uint32_t samples[] = {60000, 10000};
  for (int split = TG_TRAIN; split <= TG_TEST; split++) {
    uint32_t of_class[10] = {0};
    tg_dataset *set = open_split((tg_split)split);
    ck_assert_uint_eq(set->count, samples[split]);
    for (uint32_t i = 0; i < set->count; i++) of_class[set->labels[i]]++;
    for (int k = 0; k < 10; k++) ck_assert_uint_eq(of_class[k], samples[split] / 10);
    tg_dataset_close(set);
  }
}
END_TEST

START_TEST(normalised) {
  enum { BATCH = 1000, IMAGE = 784 };
  tg_dataset *set = open_split(TG_TRAIN);
  float *x = malloc(sizeof *x * BATCH * IMAGE);
  int32_t y[BATCH];
  double sum = 0, square = 0, n = (double)set->count * IMAGE;
  for (uint32_t first = 0; first < set->count; first += BATCH) {
    tg_dataset_fill(set, first, BATCH, x, y);
    ck_assert_mem_eq(y, set->labels + first, sizeof y);
    for (size_t i = 0; i < BATCH * IMAGE; i++) sum += x[i];
    for (size_t i = 0; i < BATCH * IMAGE; i++) square += (double)x[i] * x[i];
  }
  ck_assert_double_eq_tol(sum / n, 0, 1e-6);
  ck_assert_double_eq_tol(square / n, 1, 1e-6);
  free(x);
  tg_dataset_close(set);
}
END_TEST

int main(void) {
  const tg_dataset_source *row;
  if (tg_dataset_find("fashion_mnist", &row) != TG_OK) return 1;
  if (!row->present(row->folders)) {
    puts("fashion-mnist: package dataset-fashion-mnist is not installed");
    return 77;
  }
  Suite *suite = suite_create("Fashion-MNIST");
  TCase *all = tcase_create("all");
  tcase_set_timeout(all, 120);
  tcase_add_test(all, counts);
  tcase_add_test(all, normalised);
  suite_add_tcase(suite, all);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
