/* Finding data sets, their limits, the synthetic one, and plain batches of them. */
#include "tardigrad/data.h"

#include "tardigrad/log.h"

#include <check.h>
#include <ftw.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[64]; /* the current folder of each test, too */

static void set_up(void) {
  const char *base = getenv("TMPDIR");
  snprintf(root, sizeof root, "%.40s/tg_dataset_XXXXXX", base && *base ? base : "/tmp");
  ck_assert_ptr_nonnull(mkdtemp(root));
  ck_assert_int_eq(chdir(root), 0);
  unsetenv("TARDIGRAD_DATA");
  tg_log_setup(0, TG_LOG_WARN);
}

static int remove_entry(const char *path, const struct stat *about, int kind, struct FTW *walk) {
  (void)about;
  (void)kind;
  (void)walk;
  return remove(path);
}

static void tear_down(void) {
  ck_assert_int_eq(chdir("/"), 0);
  nftw(root, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static tg_status open_set(const char *name, const char *path, tg_split split, uint32_t limit,
                          tg_dataset **out) {
  tg_data_options options = {
      .name = name, .path = path, .train_limit = limit, .test_limit = limit, .seed = 1};
  return tg_dataset_open(&options, split, out);
}

/* ---- rows ---- */

START_TEST(rows) {
  static const char *const names[] = {"fashion_mnist", "mnist", "cifar10", "cifar100", "synthetic"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    const tg_dataset_source *row;
    ck_assert_int_eq(tg_dataset_find(names[i], &row), TG_OK);
    ck_assert_str_eq(row->name, names[i]);
    ck_assert_int_gt((int)strlen(row->help), 10);
    ck_assert_uint_gt(row->train_count, 0);
    ck_assert_uint_gt(row->test_count, 0);
    for (int c = 0; c < row->channels; c++) ck_assert(row->mean[c] > 0 && row->std[c] > 0);
    bool listed = false;
    for (size_t j = 0; j < tg_dataset_source_count; j++) listed |= tg_dataset_sources[j] == row;
    ck_assert(listed);
  }
}
END_TEST

START_TEST(unknown_name) {
  const tg_dataset_source *row;
  tg_dataset *set;
  ck_assert_int_eq(tg_dataset_find("cifar-10", &row), TG_ECONFIG);
  ck_assert_str_eq(tg_status_message(),
                   "data.name: there is no data set 'cifar-10' (nearest: cifar10)");
  ck_assert_int_eq(open_set("imagenet", "", TG_TRAIN, 0, &set), TG_ECONFIG);
  ck_assert_ptr_nonnull(strstr(tg_status_message(), "'imagenet'"));
  ck_assert_ptr_null(set);
}
END_TEST

/* ---- searching ---- */

static void make_folder(const char *name) {
  ck_assert_msg(mkdir(name, 0700) == 0, "%s", name);
}

/* Files that are found, and then refused: the message says which ones were. */
static void make_decoy(const char *place) {
  static const char *const names[] = {"t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"};
  for (size_t i = 0; i < 2; i++) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", place, names[i]);
    FILE *f = fopen(path, "wb");
    ck_assert_ptr_nonnull(f);
    fclose(f);
  }
}

static void remove_decoy(const char *place) {
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/t10k-images-idx3-ubyte", place);
  unlink(path);
  snprintf(path, sizeof path, "%s/t10k-labels-idx1-ubyte", place);
  unlink(path);
}

static void expect_found_in(const char *name, const char *path, const char *place) {
  tg_dataset *set;
  char begins[PATH_MAX];
  snprintf(begins, sizeof begins, "%s/t10k-images-idx3-ubyte: offset 0: expected magic", place);
  tg_status status = open_set(name, path, TG_TEST, 0, &set);
  ck_assert_msg(status == TG_EDATA && strncmp(tg_status_message(), begins, strlen(begins)) == 0,
                "wanted '%s', got %d '%s'", begins, status, tg_status_message());
  ck_assert_ptr_null(set);
}

START_TEST(search_in_path) {
  char path[128], below[256];
  snprintf(path, sizeof path, "%s/sets", root);
  make_folder(path);
  static const char *const spelling[] = {"fashion-mnist", "fashion_mnist"};
  /* The later one hides the earlier one, and the folder itself hides both. */
  for (size_t i = 0; i < 2; i++) {
    snprintf(below, sizeof below, "%s/%s", path, spelling[i]);
    make_folder(below);
    make_decoy(below);
    expect_found_in("fashion_mnist", path, below);
  }
  make_decoy(path);
  expect_found_in("fashion_mnist", path, path);
}
END_TEST

START_TEST(search_without_path) {
  const tg_dataset_source *row;
  ck_assert_int_eq(tg_dataset_find("mnist", &row), TG_OK);
  if (row->present(row->folders)) return; /* a package's files come first */
  char base[128], below[256];
  snprintf(base, sizeof base, "%s/elsewhere", root);
  snprintf(below, sizeof below, "%s/mnist", base);
  make_folder("data");
  make_folder("data/mnist");
  make_folder(base);
  make_folder(below);
  setenv("TARDIGRAD_DATA", base, 1);
  make_decoy("data/mnist");
  make_decoy(base);
  make_decoy(below);
  expect_found_in("mnist", "", below);
  remove_decoy(below);
  expect_found_in("mnist", "", base);
  remove_decoy(base);
  expect_found_in("mnist", "", "data/mnist");
  expect_found_in("mnist", NULL, "data/mnist");
}
END_TEST

static void expect_message(tg_status status, const char *const *parts) {
  ck_assert_int_eq(status, TG_ENOINPUT);
  for (; *parts; parts++)
    ck_assert_msg(strstr(tg_status_message(), *parts), "wanted '%s' in '%s'", *parts,
                  tg_status_message());
}

START_TEST(places_are_named) {
  tg_dataset *set;
  expect_message(open_set("fashion_mnist", "/nowhere", TG_TRAIN, 0, &set),
                 (const char *[]){"fashion_mnist",
                                  "/nowhere, /nowhere/fashion_mnist, "
                                  "/nowhere/fashion-mnist",
                                  "Debian package dataset-fashion-mnist", NULL});
  expect_message(open_set("cifar100", "", TG_TRAIN, 0, &set),
                 (const char *[]){"/usr/share/datasets/cifar100, data/cifar100",
                                  "data.path and $TARDIGRAD_DATA name others", NULL});
  setenv("TARDIGRAD_DATA", "/nowhere", 1);
  expect_message(
      open_set("cifar100", "", TG_TRAIN, 0, &set),
      (const char *[]){"/usr/share/datasets/cifar100, /nowhere/cifar100, /nowhere, data/cifar100",
                       NULL});
  /* A path that no buffer holds is a place like any other. */
  static char long_path[3 * PATH_MAX];
  memset(long_path, 'x', sizeof long_path - 1);
  ck_assert_int_eq(open_set("mnist", long_path, TG_TRAIN, 0, &set), TG_ENOINPUT);
  setenv("TARDIGRAD_DATA", long_path, 1);
  ck_assert_int_eq(open_set("cifar10", "", TG_TRAIN, 0, &set), TG_ENOINPUT);
}
END_TEST

/* ---- files of the official size ---- */

static void make_hollow(const char *name, const unsigned char *header, size_t header_bytes,
                        long bytes) {
  FILE *f = fopen(name, "wb");
  ck_assert_ptr_nonnull(f);
  ck_assert_uint_eq(fwrite(header, 1, header_bytes, f), header_bytes);
  fclose(f);
  ck_assert_int_eq(truncate(name, bytes), 0);
}

START_TEST(limits_of_files) {
  tg_dataset *set;
  make_hollow("t10k-images-idx3-ubyte",
              (unsigned char[]){0, 0, 8, 3, 0, 0, 0x27, 0x10, 0, 0, 0, 28, 0, 0, 0, 28, 77}, 17,
              16 + 10000 * 784);
  make_hollow("t10k-labels-idx1-ubyte", (unsigned char[]){0, 0, 8, 1, 0, 0, 0x27, 0x10, 9}, 9,
              8 + 10000);
  static const uint32_t limit[] = {0, 1, 9999, 10000};
  for (size_t i = 0; i < 4; i++) {
    uint32_t count = limit[i] ? limit[i] : 10000;
    ck_assert_int_eq(open_set("mnist", root, TG_TEST, limit[i], &set), TG_OK);
    ck_assert_str_eq(set->name, "mnist");
    ck_assert_uint_eq(set->count, count);
    ck_assert_uint_eq(set->bytes, count * (784u + 4u));
    ck_assert_uint_eq(set->pixels[0], 77);
    ck_assert_int_eq(set->labels[0], 9);
    tg_dataset_close(set);
  }
  ck_assert_int_eq(open_set("mnist", root, TG_TEST, 10001, &set), TG_ECONFIG);
  ck_assert_str_eq(tg_status_message(),
                   "data.test_limit: 10001 is beyond the 10000 samples of mnist");
}
END_TEST

START_TEST(files_of_another_set) {
  tg_dataset *set;
  make_hollow("train-images-idx3-ubyte",
              (unsigned char[]){0, 0, 8, 3, 0, 0, 0xea, 0x60, 0, 0, 0, 28, 0, 0, 0, 28}, 16,
              16 + 60000 * 784);
  make_hollow("train-labels-idx1-ubyte", (unsigned char[]){0, 0, 8, 1, 0, 0, 0xea, 0x60}, 8,
              8 + 60000);
  fflush(stderr);
  int words = dup(STDERR_FILENO);
  ck_assert_ptr_nonnull(freopen("words", "w", stderr));
  tg_status status = open_set("mnist", root, TG_TRAIN, 0, &set);
  fflush(stderr);
  dup2(words, STDERR_FILENO);
  ck_assert_int_eq(status, TG_OK);
  tg_dataset_close(set);
  char line[512] = "";
  FILE *f = fopen("words", "r");
  ck_assert_ptr_nonnull(fgets(line, sizeof line, f));
  fclose(f);
  ck_assert_msg(strstr(line, "the mean of channel 0 is 0.0000, that of mnist 0.1307"), "%s", line);
}
END_TEST

/* ---- the synthetic set ---- */

START_TEST(synthetic_is_a_function_of_the_seed) {
  tg_data_options options = {.name = "synthetic", .path = "", .seed = 7};
  tg_dataset *a, *b, *c, *few;
  for (int split = TG_TRAIN; split <= TG_TEST; split++) {
    options.seed = 7;
    options.train_limit = options.test_limit = 0;
    ck_assert_int_eq(tg_dataset_open(&options, (tg_split)split, &a), TG_OK);
    ck_assert_int_eq(tg_dataset_open(&options, (tg_split)split, &b), TG_OK);
    options.train_limit = options.test_limit = 123;
    ck_assert_int_eq(tg_dataset_open(&options, (tg_split)split, &few), TG_OK);
    options.seed = 8;
    ck_assert_int_eq(tg_dataset_open(&options, (tg_split)split, &c), TG_OK);
    ck_assert_uint_eq(a->count, split == TG_TRAIN ? 10000 : 2000);
    ck_assert_uint_eq(few->count, 123);
    ck_assert_int_eq(memcmp(a->pixels, b->pixels, (size_t)a->count * 3072), 0);
    ck_assert_int_eq(memcmp(a->labels, b->labels, (size_t)a->count * 4), 0);
    ck_assert_int_eq(memcmp(a->pixels, few->pixels, (size_t)123 * 3072), 0);
    ck_assert_int_ne(memcmp(c->pixels, few->pixels, (size_t)123 * 3072), 0);
    tg_dataset_close(a);
    tg_dataset_close(b);
    tg_dataset_close(c);
    tg_dataset_close(few);
  }
  options.train_limit = 10001;
  ck_assert_int_eq(tg_dataset_open(&options, TG_TRAIN, &a), TG_ECONFIG);
  ck_assert_str_eq(tg_status_message(),
                   "data.train_limit: 10001 is beyond the 10000 samples of synthetic");
}
END_TEST

/* What is held out is the end of the training set, whatever else is left out of it. */
START_TEST(validation_is_held_out) {
  tg_data_options options = {.name = "synthetic", .path = "", .seed = 3};
  tg_dataset *all, *train, *held, *test;
  ck_assert_int_eq(tg_dataset_open(&options, TG_TRAIN, &all), TG_OK);
  ck_assert_int_eq(tg_dataset_open(&options, TG_VALIDATION, &held), TG_ECONFIG);
  ck_assert_str_eq(tg_status_message(),
                   "data.validation is 0: no samples of synthetic are held out to validate on");
  options.validation = 1001;
  for (uint32_t limit = 0; limit <= 8999; limit += 8999) {
    options.train_limit = limit;
    ck_assert_int_eq(tg_dataset_open(&options, TG_TRAIN, &train), TG_OK);
    ck_assert_int_eq(tg_dataset_open(&options, TG_VALIDATION, &held), TG_OK);
    ck_assert_int_eq(tg_dataset_open(&options, TG_TEST, &test), TG_OK);
    ck_assert_uint_eq(train->count, 8999);
    ck_assert_uint_eq(held->count, 1001);
    ck_assert_uint_eq(held->bytes, 1001u * (3072 + 4));
    ck_assert_uint_eq(test->count, 2000);
    ck_assert_int_eq(memcmp(train->pixels, all->pixels, (size_t)8999 * 3072), 0);
    ck_assert_int_eq(memcmp(held->pixels, all->pixels + (size_t)8999 * 3072, 1001u * 3072), 0);
    ck_assert_int_eq(memcmp(held->labels, all->labels + 8999, 1001u * 4), 0);
    tg_dataset_close(train);
    tg_dataset_close(held);
    tg_dataset_close(test);
  }
  options.train_limit = 9000;
  ck_assert_int_eq(tg_dataset_open(&options, TG_TRAIN, &train), TG_ECONFIG);
  ck_assert_str_eq(tg_status_message(),
                   "data.train_limit: 9000 is beyond the 8999 samples of synthetic");
  for (int split = TG_TRAIN; split <= TG_VALIDATION; split += TG_VALIDATION) {
    options.validation = 10000;
    ck_assert_int_eq(tg_dataset_open(&options, (tg_split)split, &train), TG_ECONFIG);
    ck_assert_str_eq(tg_status_message(), "data.validation: 10000 leaves nothing of the 10000 "
                                          "training samples of synthetic");
  }
  tg_dataset_close(all);
}
END_TEST

static void mean_and_deviation(const tg_dataset *d, int channel, double *mean, double *deviation) {
  double sum = 0, square = 0, n = d->count * 1024.0;
  for (uint32_t i = 0; i < d->count; i++)
    for (int j = 0; j < 1024; j++) {
      double v = d->pixels[((size_t)i * 3 + (size_t)channel) * 1024 + (size_t)j] / 255.0;
      sum += v;
      square += v * v;
    }
  *mean = sum / n;
  *deviation = sqrt(square / n - *mean * *mean);
}

/* The mean image of each class already tells most samples apart, so a network can learn the rest.
 * No image is in both splits. */
START_TEST(synthetic_can_be_learnt) {
  static double centre[10][3072];
  tg_dataset *train, *test;
  ck_assert_int_eq(open_set("synthetic", "", TG_TRAIN, 0, &train), TG_OK);
  ck_assert_int_eq(open_set("synthetic", "", TG_TEST, 0, &test), TG_OK);
  for (int c = 0; c < 3; c++) {
    double mean, deviation;
    mean_and_deviation(train, c, &mean, &deviation);
    ck_assert_double_eq_tol(mean, train->mean[c], 0.06);
    ck_assert_double_eq_tol(deviation, train->std[c], 0.03);
  }
  int of_class[10] = {0};
  for (uint32_t i = 0; i < train->count; i++) {
    of_class[train->labels[i]]++;
    for (int j = 0; j < 3072; j++)
      centre[train->labels[i]][j] += train->pixels[(size_t)i * 3072 + (size_t)j] / 1000.0;
  }
  for (int k = 0; k < 10; k++) ck_assert_int_eq(of_class[k], 1000);
  uint32_t wrong = 0;
  for (uint32_t i = 0; i < test->count; i++) {
    ck_assert_mem_ne(test->pixels + (size_t)i * 3072, train->pixels + (size_t)i * 3072, 3072);
    double best = INFINITY;
    int nearest = -1;
    for (int k = 0; k < 10; k++) {
      double distance = 0;
      for (int j = 0; j < 3072; j++) {
        double gap = centre[k][j] - test->pixels[(size_t)i * 3072 + (size_t)j];
        distance += gap * gap;
      }
      if (distance < best) nearest = k;
      if (distance < best) best = distance;
    }
    wrong += nearest != test->labels[i];
  }
  double error = 100.0 * wrong / test->count;
  ck_assert_msg(error > 1 && error < 30, "nearest class mean: %.1f %% error", error);
  tg_dataset_close(train);
  tg_dataset_close(test);
}
END_TEST

/* ---- plain batches ---- */

START_TEST(plain_batches) {
  enum { COUNT = 10, CHANNELS = 2, HEIGHT = 3, WIDTH = 5, IMAGE = CHANNELS * HEIGHT * WIDTH };
  uint8_t pixels[COUNT * IMAGE];
  int32_t labels[COUNT];
  for (int i = 0; i < COUNT * IMAGE; i++) pixels[i] = (uint8_t)(i * 37 + i / 256);
  for (int i = 0; i < COUNT; i++) labels[i] = i % 4;
  tg_dataset set = {.count = COUNT,
                    .channels = CHANNELS,
                    .height = HEIGHT,
                    .width = WIDTH,
                    .classes = 4,
                    .mean = {0.25f, 0.6f},
                    .std = {0.3f, 0.11f},
                    .pixels = pixels,
                    .labels = labels};
  static const uint32_t range[][2] = {{0, 10}, {0, 1}, {9, 1}, {3, 4}, {8, 5}, {10, 3}, {500, 2}};
  for (size_t r = 0; r < sizeof range / sizeof *range; r++) {
    float x[COUNT * IMAGE + 1];
    int32_t y[COUNT + 1];
    uint32_t first = range[r][0], count = range[r][1];
    for (int i = 0; i <= COUNT * IMAGE; i++) x[i] = NAN;
    y[count] = 99;
    tg_dataset_fill(&set, first, count, x, y);
    for (uint32_t i = 0; i < count; i++) {
      bool there = first + i < COUNT;
      ck_assert_int_eq(y[i], there ? labels[first + i] : -1);
      for (uint32_t j = 0; j < IMAGE; j++) {
        int c = j >= HEIGHT * WIDTH;
        double pixel = there ? pixels[(first + i) * IMAGE + j] / 255.0 : 0;
        double wanted = there ? (pixel - set.mean[c]) / set.std[c] : 0;
        ck_assert_double_eq_tol(x[i * IMAGE + j], wanted, 1e-6 * fmax(1, fabs(wanted)));
      }
    }
    ck_assert(isnan(x[count * IMAGE]));
    ck_assert_int_eq(y[count], 99);
  }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("data sets");
  TCase *all = tcase_create("all");
  tcase_set_timeout(all, 120);
  tcase_add_checked_fixture(all, set_up, tear_down);
  tcase_add_test(all, rows);
  tcase_add_test(all, unknown_name);
  tcase_add_test(all, search_in_path);
  tcase_add_test(all, search_without_path);
  tcase_add_test(all, places_are_named);
  tcase_add_test(all, limits_of_files);
  tcase_add_test(all, files_of_another_set);
  tcase_add_test(all, synthetic_is_a_function_of_the_seed);
  tcase_add_test(all, validation_is_held_out);
  tcase_add_test(all, synthetic_can_be_learnt);
  tcase_add_test(all, plain_batches);
  suite_add_tcase(suite, all);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
