/* Batches against a slow reference: the whole stream of a worker written out, a padded copy of
 * every image, and random numbers from an implementation of their own. */
#include "tardigrad/data.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- reference: Philox4x32-10 streams as rng.h and data.h describe them ---- */

typedef struct stream {
  uint64_t seed, a, b;
  uint32_t domain, drawn;
} stream;

static uint32_t next_number(stream *s) {
  uint32_t c[4] = {s->drawn / 4, (uint32_t)s->a, (uint32_t)s->b,
                   s->domain << 24 | (uint32_t)(s->a >> 32 & 0xffff) << 8 |
                       (uint32_t)(s->b >> 32 & 0xff)};
  uint32_t k0 = (uint32_t)s->seed, k1 = (uint32_t)(s->seed >> 32);
  for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
    uint64_t left = UINT64_C(0xD2511F53) * c[0], right = UINT64_C(0xCD9E8D57) * c[2];
    uint32_t next[4] = {(uint32_t)(right >> 32) ^ c[1] ^ k0, (uint32_t)right,
                        (uint32_t)(left >> 32) ^ c[3] ^ k1, (uint32_t)left};
    memcpy(c, next, sizeof c);
  }
  return c[s->drawn++ % 4];
}

static uint32_t next_below(stream *s, uint32_t n) {
  for (;;) {
    uint64_t product = (uint64_t)next_number(s) * n;
    if ((product & 0xffffffff) >= (UINT64_C(1) << 32) % n) return (uint32_t)(product >> 32);
  }
}

static uint32_t *reference_permutation(uint64_t seed, uint32_t epoch, uint32_t n) {
  stream s = {.seed = seed, .domain = 2, .a = epoch};
  uint32_t *p = malloc(n * sizeof *p);
  ck_assert_ptr_nonnull(p);
  for (uint32_t i = 0; i < n; i++) {
    uint32_t j = next_below(&s, i + 1);
    p[i] = p[j];
    p[j] = i;
  }
  return p;
}

/* ---- a small set ---- */

enum { MOST = 200, MOST_IMAGE = 2 * 12 * 12 };
static uint8_t pixels[MOST * MOST_IMAGE];
static int32_t labels[MOST];

static tg_dataset small_set(uint32_t count, int channels, int height, int width) {
  for (int i = 0; i < MOST * MOST_IMAGE; i++)
    pixels[i] = (uint8_t)(((uint32_t)i * 2654435761u) >> 21);
  for (int i = 0; i < MOST; i++) labels[i] = i * 13 % 10;
  return (tg_dataset){.name = "small",
                      .count = count,
                      .channels = channels,
                      .height = height,
                      .width = width,
                      .classes = 10,
                      .mean = {0.49f, 0.13f},
                      .std = {0.25f, 0.31f},
                      .pixels = pixels,
                      .labels = labels};
}

static tg_loader *make_loader(const tg_dataset *set, uint64_t seed, uint32_t workers,
                              uint32_t batch, tg_augment augment) {
  tg_loader_options options = {
      .seed = seed, .workers = workers, .batch = batch, .augment = augment};
  tg_loader *loader;
  ck_assert_int_eq(tg_loader_create(set, &options, &loader), TG_OK);
  return loader;
}

/* ---- which samples ---- */

START_TEST(every_sample_once_an_epoch) {
  enum { COUNT = 101, BATCH = 8, EPOCHS = 3 };
  static const uint32_t worker_counts[] = {1, 3, 4, 7, 100, 101};
  uint32_t workers = worker_counts[_i], sample[BATCH], epoch[BATCH];
  tg_dataset set = small_set(COUNT, 1, 2, 2);
  tg_loader *loader = make_loader(&set, 5, workers, BATCH, TG_AUGMENT_NONE);
  static int seen[EPOCHS][COUNT];
  memset(seen, 0, sizeof seen);
  for (uint32_t m = 0; m < workers; m++)
    for (uint64_t step = 0; step < (COUNT * EPOCHS) / BATCH + 1; step++) {
      ck_assert_int_eq(tg_loader_indices(loader, m, step, sample, epoch), TG_OK);
      for (int i = 0; i < BATCH; i++) {
        ck_assert_uint_lt(sample[i], COUNT);
        if (epoch[i] < EPOCHS) seen[epoch[i]][sample[i]]++;
      }
    }
  for (int e = 0; e < EPOCHS; e++)
    for (int i = 0; i < COUNT; i++)
      ck_assert_msg(seen[e][i] == 1, "epoch %d sample %d: %d times", e, i, seen[e][i]);
  tg_loader_destroy(loader);
}
END_TEST

/* One worker's stream, written out sample by sample over its epochs. */
static void write_stream(uint64_t seed, uint32_t count, uint32_t workers, uint32_t m,
                         uint32_t length, uint32_t *sample, uint32_t *epoch) {
  uint32_t at = 0;
  for (uint32_t e = 0; at < length; e++) {
    uint32_t *order = reference_permutation(seed, e, count);
    for (uint32_t i = 0; i < count && at < length; i++) {
      bool mine = i >= (uint64_t)count * m / workers && i < (uint64_t)count * (m + 1) / workers;
      if (!mine) continue;
      sample[at] = order[i];
      epoch[at++] = e;
    }
    free(order);
  }
}

START_TEST(stream_without_gaps) {
  enum { LENGTH = 1500 };
  static const uint32_t cases[][3] = {/* samples, workers, batch */
                                      {101, 1, 1},  {101, 1, 8},   {101, 3, 8},
                                      {101, 4, 30}, {101, 7, 250}, {100, 4, 25},
                                      {7, 7, 3},    {200, 3, 128}, {1, 1, 4}};
  uint32_t count = cases[_i][0], workers = cases[_i][1], batch = cases[_i][2];
  uint32_t sample[LENGTH], epoch[LENGTH], got[250], got_epoch[250];
  uint64_t seed = UINT64_C(0x123456789abcdef);
  tg_dataset set = small_set(count, 1, 2, 2);
  tg_loader *loader = make_loader(&set, seed, workers, batch, TG_AUGMENT_NONE);
  for (uint32_t m = 0; m < workers; m++) {
    write_stream(seed, count, workers, m, LENGTH, sample, epoch);
    for (uint32_t step = 0; (step + 1) * batch <= LENGTH; step++) {
      ck_assert_int_eq(tg_loader_indices(loader, m, step, got, got_epoch), TG_OK);
      ck_assert_mem_eq(got, sample + step * batch, batch * sizeof *got);
      ck_assert_mem_eq(got_epoch, epoch + step * batch, batch * sizeof *got);
    }
  }
  tg_loader_destroy(loader);
}
END_TEST

START_TEST(order_of_calls_does_not_matter) {
  enum { COUNT = 60, WORKERS = 4, BATCH = 7, STEPS = 40, IMAGE = 2 * 6 * 5 };
  tg_dataset set = small_set(COUNT, 2, 6, 5);
  tg_loader *a = make_loader(&set, 3, WORKERS, BATCH, TG_AUGMENT_CROP_FLIP);
  tg_loader *b = make_loader(&set, 3, WORKERS, BATCH, TG_AUGMENT_CROP_FLIP);
  static float x[WORKERS * STEPS][BATCH * IMAGE], again[BATCH * IMAGE];
  static int32_t y[WORKERS * STEPS][BATCH], y_again[BATCH];
  for (uint32_t i = 0; i < WORKERS * STEPS; i++)
    ck_assert_int_eq(tg_loader_fill(a, i % WORKERS, i / WORKERS, x[i], y[i]), TG_OK);
  /* 59 is coprime to 160: every (worker, step) once, epochs all mixed up. */
  for (uint32_t k = 0; k < WORKERS * STEPS; k++) {
    uint32_t i = k * 59 % (WORKERS * STEPS);
    ck_assert_int_eq(tg_loader_fill(b, i % WORKERS, i / WORKERS, again, y_again), TG_OK);
    ck_assert_int_eq(memcmp(again, x[i], sizeof again), 0);
    ck_assert_int_eq(memcmp(y_again, y[i], sizeof y_again), 0);
    ck_assert_int_eq(tg_loader_fill(a, i % WORKERS, i / WORKERS, again, y_again), TG_OK);
    ck_assert_int_eq(memcmp(again, x[i], sizeof again), 0);
  }
  tg_loader_destroy(a);
  tg_loader_destroy(b);
}
END_TEST

START_TEST(halves_of_the_answer) {
  enum { BATCH = 16 };
  uint32_t sample[BATCH], epoch[BATCH], alone[BATCH], other[BATCH];
  tg_dataset set = small_set(50, 1, 2, 2);
  tg_loader *loader = make_loader(&set, 1, 3, BATCH, TG_AUGMENT_NONE);
  tg_loader *changed = make_loader(&set, 2, 3, BATCH, TG_AUGMENT_NONE);
  for (uint64_t step = 0; step < 20; step++) {
    ck_assert_int_eq(tg_loader_indices(loader, 1, step, sample, epoch), TG_OK);
    ck_assert_int_eq(tg_loader_indices(loader, 1, step, alone, NULL), TG_OK);
    ck_assert_mem_eq(alone, sample, sizeof alone);
    ck_assert_int_eq(tg_loader_indices(loader, 1, step, NULL, alone), TG_OK);
    ck_assert_mem_eq(alone, epoch, sizeof alone);
    ck_assert_int_eq(tg_loader_indices(changed, 1, step, other, NULL), TG_OK);
    ck_assert_mem_ne(other, sample, sizeof other);
  }
  tg_loader_destroy(loader);
  tg_loader_destroy(changed);
}
END_TEST

/* ---- what is in a batch ---- */

/* The augmented image [C,H,W] of one sample, by way of a padded and mirrored copy. */
static void reference_image(const tg_dataset *d, uint64_t seed, uint32_t epoch, uint32_t sample,
                            bool augment, int seen[3][9], double *out) {
  enum { PAD = 4 };
  static uint8_t padded[2][12 + 2 * PAD][12 + 2 * PAD], cut[2][12][12];
  int top = PAD, left = PAD, flip = 0;
  stream s = {.seed = seed, .domain = 3, .a = epoch, .b = sample};
  if (augment) {
    top = (int)next_below(&s, 9);
    left = (int)next_below(&s, 9);
    flip = (int)next_below(&s, 2);
  }
  seen[0][top]++;
  seen[1][left]++;
  seen[2][flip]++;
  memset(padded, 0, sizeof padded);
  const uint8_t *from = d->pixels + (size_t)sample * (size_t)(d->channels * d->height * d->width);
  for (int c = 0; c < d->channels; c++)
    for (int y = 0; y < d->height; y++)
      for (int x = 0; x < d->width; x++) padded[c][y + PAD][x + PAD] = *from++;
  for (int c = 0; c < d->channels; c++)
    for (int y = 0; y < d->height; y++)
      for (int x = 0; x < d->width; x++)
        cut[c][y][flip ? d->width - 1 - x : x] = padded[c][y + top][x + left];
  for (int c = 0; c < d->channels; c++)
    for (int y = 0; y < d->height; y++)
      for (int x = 0; x < d->width; x++)
        *out++ = (cut[c][y][x] / 255.0 - (double)d->mean[c]) / (double)d->std[c];
}

START_TEST(batches_as_the_reference) {
  enum { COUNT = 150, WORKERS = 3, BATCH = 20, STEPS = 12 };
  static const int shapes[][3] = {{1, 12, 12}, {2, 12, 7}, {2, 3, 5}, {1, 1, 1}, {2, 5, 12}};
  const int *shape = shapes[_i % 5];
  bool augment = _i >= 5;
  int image = shape[0] * shape[1] * shape[2], seen[3][9] = {{0}};
  tg_dataset set = small_set(COUNT, shape[0], shape[1], shape[2]);
  tg_loader *loader =
      make_loader(&set, 77, WORKERS, BATCH, augment ? TG_AUGMENT_CROP_FLIP : TG_AUGMENT_NONE);
  static float x[BATCH * MOST_IMAGE + 8];
  static double wanted[MOST_IMAGE];
  int32_t y[BATCH];
  uint32_t sample[BATCH * STEPS], epoch[BATCH * STEPS];
  for (uint32_t m = 0; m < WORKERS; m++) {
    write_stream(77, COUNT, WORKERS, m, BATCH * STEPS, sample, epoch);
    for (uint32_t step = 0; step < STEPS; step++) {
      for (int i = 0; i < 8; i++) x[BATCH * image + i] = NAN;
      ck_assert_int_eq(tg_loader_fill(loader, m, step, x, y), TG_OK);
      for (int i = 0; i < 8; i++) ck_assert(isnan(x[BATCH * image + i]));
      for (uint32_t i = 0; i < BATCH; i++) {
        uint32_t at = step * BATCH + i;
        ck_assert_int_eq(y[i], labels[sample[at]]);
        reference_image(&set, 77, epoch[at], sample[at], augment, seen, wanted);
        for (int j = 0; j < image; j++)
          ck_assert_double_eq_tol(x[(int)i * image + j], wanted[j],
                                  1e-6 * fmax(1, fabs(wanted[j])));
      }
    }
  }
  for (int i = 0; augment && i < 9; i++) ck_assert(seen[0][i] > 0 && seen[1][i] > 0);
  /* 720 fair draws: the bounds are five standard deviations away. */
  if (augment) ck_assert(seen[2][0] > 293 && seen[2][1] > 293);
  tg_loader_destroy(loader);
}
END_TEST

START_TEST(augmentation_changes_with_the_epoch) {
  tg_dataset set = small_set(1, 1, 12, 12);
  tg_loader *loader = make_loader(&set, 1, 1, 1, TG_AUGMENT_CROP_FLIP);
  static float first[144], other[144];
  int32_t y;
  int same = 0;
  ck_assert_int_eq(tg_loader_fill(loader, 0, 0, first, &y), TG_OK);
  for (uint64_t step = 1; step <= 50; step++) {
    ck_assert_int_eq(tg_loader_fill(loader, 0, step, other, &y), TG_OK);
    same += memcmp(first, other, sizeof first) == 0;
  }
  ck_assert_int_lt(same, 5);
  tg_loader_destroy(loader);
}
END_TEST

/* ---- refusals ---- */

START_TEST(impossible_loaders) {
  tg_dataset set = small_set(10, 1, 2, 2);
  tg_loader *loader;
  static const struct {
    tg_loader_options options;
    const char *says;
  } bad[] = {{{.workers = 1, .batch = 0}, "train.batch"},
             {{.workers = 0, .batch = 1}, "no workers"},
             {{.workers = 11, .batch = 1}, "10 training samples: too few for 11 workers"}};
  for (size_t i = 0; i < 3; i++) {
    ck_assert_int_eq(tg_loader_create(&set, &bad[i].options, &loader), TG_ECONFIG);
    ck_assert_ptr_nonnull(strstr(tg_status_message(), bad[i].says));
    ck_assert_ptr_null(loader);
  }
  tg_loader_destroy(NULL);
  tg_dataset_close(NULL);
}
END_TEST

START_TEST(impossible_batches) {
  uint32_t sample[4], epoch[4];
  float x[16];
  int32_t y[4];
  tg_dataset set = small_set(10, 1, 2, 2);
  tg_loader *loader = make_loader(&set, 1, 2, 4, TG_AUGMENT_NONE);
  ck_assert_int_eq(tg_loader_indices(loader, 2, 0, sample, epoch), TG_ERUNTIME);
  ck_assert_int_eq(tg_loader_fill(loader, 2, 0, x, y), TG_ERUNTIME);
  ck_assert_ptr_nonnull(strstr(tg_status_message(), "worker 2: there are 2"));
  /* Five samples an epoch: the last epoch that 32 bits can name ends within step 5 * 2^30 - 1. */
  uint64_t last = UINT64_C(5) * UINT32_MAX / 4 - 1;
  ck_assert_int_eq(tg_loader_indices(loader, 1, last, sample, epoch), TG_OK);
  ck_assert_uint_eq(epoch[3], UINT32_MAX - 1);
  ck_assert_int_eq(tg_loader_indices(loader, 1, last + 1, sample, epoch), TG_ERUNTIME);
  ck_assert_int_eq(tg_loader_indices(loader, 1, UINT64_MAX, sample, epoch), TG_ERUNTIME);
  ck_assert_ptr_nonnull(strstr(tg_status_message(), "too far"));
  tg_loader_destroy(loader);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("loader");
  TCase *all = tcase_create("all");
  tcase_set_timeout(all, 120);
  tcase_add_loop_test(all, every_sample_once_an_epoch, 0, 6);
  tcase_add_loop_test(all, stream_without_gaps, 0, 9);
  tcase_add_test(all, order_of_calls_does_not_matter);
  tcase_add_test(all, halves_of_the_answer);
  tcase_add_loop_test(all, batches_as_the_reference, 0, 10);
  tcase_add_test(all, augmentation_changes_with_the_epoch);
  tcase_add_test(all, impossible_loaders);
  tcase_add_test(all, impossible_batches);
  suite_add_tcase(suite, all);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
