/* The real MNIST, CIFAR-10 and CIFAR-100, as far as $TARDIGRAD_DATA has them.
 * VALGRIND: no: reads 400 MB */
#include "tardigrad/data.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Decided before the tests run: a set that is not there is named at the end, not failed. */
static bool is_here(const char *name) {
  tg_data_options options = {.name = name, .path = "", .test_limit = 1};
  tg_dataset *set = NULL;
  tg_status status = tg_dataset_open(&options, TG_TEST, &set);
  tg_dataset_close(set);
  return status != TG_ENOINPUT;
}

static tg_dataset *open_split(const char *name, tg_split split) {
  tg_data_options options = {.name = name, .path = ""};
  tg_dataset *set;
  ck_assert_msg(tg_dataset_open(&options, split, &set) == TG_OK, "%s", tg_status_message());
  return set;
}

static void expect_classes(const tg_dataset *set, const uint32_t *wanted) {
  uint32_t of_class[100] = {0};
  for (uint32_t i = 0; i < set->count; i++) of_class[set->labels[i]]++;
  for (int k = 0; k < set->classes; k++)
    ck_assert_msg(of_class[k] == wanted[k], "%s class %d: %u", set->name, k, of_class[k]);
}

static void expect_moments(const tg_dataset *set, double tolerance) {
  size_t plane = (size_t)(set->height * set->width);
  for (int c = 0; c < set->channels; c++) {
    uint64_t sum = 0, square = 0;
    for (uint32_t i = 0; i < set->count; i++) {
      const uint8_t *p = set->pixels + (i * (size_t)set->channels + (size_t)c) * plane;
      for (size_t j = 0; j < plane; j++) sum += p[j];
      for (size_t j = 0; j < plane; j++) square += (uint64_t)(p[j] * p[j]);
    }
    double n = (double)plane * set->count, mean = (double)sum / n;
    double deviation = sqrt((double)square / n - mean * mean);
    ck_assert_double_eq_tol(set->mean[c], mean / 255, tolerance);
    ck_assert_double_eq_tol(set->std[c], deviation / 255, tolerance);
  }
}

START_TEST(mnist) {
  static const uint32_t train[] = {5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949};
  static const uint32_t test[] = {980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009};
  tg_dataset *set = open_split("mnist", TG_TRAIN);
  ck_assert_uint_eq(set->count, 60000);
  expect_classes(set, train);
  expect_moments(set, 1e-7);
  tg_dataset_close(set);
  set = open_split("mnist", TG_TEST);
  ck_assert_uint_eq(set->count, 10000);
  expect_classes(set, test);
  tg_dataset_close(set);
}
END_TEST

static void expect_cifar(const char *name, int classes) {
  for (int split = TG_TRAIN; split <= TG_TEST; split++) {
    tg_dataset *set = open_split(name, (tg_split)split);
    uint32_t samples = split == TG_TRAIN ? 50000 : 10000, wanted[100];
    ck_assert_uint_eq(set->count, samples);
    for (int k = 0; k < classes; k++) wanted[k] = samples / (uint32_t)classes;
    expect_classes(set, wanted);
    /* Copies of CIFAR-10 exist in which a few images are decodes of JPEG copies: the moments are
     * those of the official files, which such copies miss by less than this. */
    if (split == TG_TRAIN) expect_moments(set, 1e-5);
    tg_dataset_close(set);
  }
}

START_TEST(cifar10) {
  expect_cifar("cifar10", 10);
}
END_TEST

START_TEST(cifar100) {
  expect_cifar("cifar100", 100);
}
END_TEST

int main(void) {
  const char *base = getenv("TARDIGRAD_DATA");
  if (!base || !*base) {
    puts("data sets: TARDIGRAD_DATA is not set");
    return 77;
  }
  Suite *suite = suite_create("real data sets");
  TCase *all = tcase_create("all");
  tcase_set_timeout(all, 120);
  bool here[] = {is_here("mnist"), is_here("cifar10"), is_here("cifar100")};
  if (here[0]) tcase_add_test(all, mnist);
  if (here[1]) tcase_add_test(all, cifar10);
  if (here[2]) tcase_add_test(all, cifar100);
  suite_add_tcase(suite, all);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  if (here[0] || here[1] || here[2]) return failed != 0;
  puts("data sets: none of mnist, cifar10, cifar100 is in TARDIGRAD_DATA");
  return 77;
}
