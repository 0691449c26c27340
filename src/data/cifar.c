#include "data/files.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

/* The binary version of CIFAR: records of label bytes and 3072 pixels (planes of red, green, blue)
 * without any header, so that only the official number of records can tell whether a file is whole.
 * Krizhevsky 2009; https://www.cs.toronto.edu/~kriz/cifar.html */
enum { MOST_FILES = 5, MOST_LABELS = 2 };

typedef struct format {
  const char *subfolder;           /* what the official archive unpacks to */
  const char *file[2][MOST_FILES]; /* by split */
  uint32_t file_count[2];          /* by split */
  int label_bytes;                 /* the last one is the label */
  int label_limit[MOST_LABELS];    /* of each label byte */
} format;

static const format cifar10 = {
    .subfolder = "cifar-10-batches-bin",
    .file = {[TG_TRAIN] = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                           "data_batch_4.bin", "data_batch_5.bin"},
             [TG_TEST] = {"test_batch.bin"}},
    .file_count = {[TG_TRAIN] = 5, [TG_TEST] = 1},
    .label_bytes = 1,
    .label_limit = {10},
};

static const format cifar100 = {
    .subfolder = "cifar-100-binary",
    .file = {[TG_TRAIN] = {"train.bin"}, [TG_TEST] = {"test.bin"}},
    .file_count = {[TG_TRAIN] = 1, [TG_TEST] = 1},
    .label_bytes = 2, /* 20 superclasses, then 100 classes */
    .label_limit = {20, 100},
};

static bool find_file(const format *f, const char *folder, const char *name, char path[PATH_MAX]) {
  char below[PATH_MAX];
  snprintf(below, sizeof below, "%s/%s", folder, f->subfolder);
  const char *places[] = {folder, below};
  for (size_t i = 0; i < 2; i++) {
    if (!tg_file_exists(places[i], name, "")) continue;
    return snprintf(path, PATH_MAX, "%s/%s", places[i], name) < PATH_MAX;
  }
  return false;
}

static bool present(const format *f, const char *folder) {
  char path[PATH_MAX];
  for (int split = TG_TRAIN; split <= TG_TEST; split++)
    for (uint32_t i = 0; i < f->file_count[split]; i++)
      if (find_file(f, folder, f->file[split][i], path)) return true;
  return false;
}

static tg_status read_record(const format *f, tg_reader *r, uint32_t record, uint32_t records,
                             size_t pixel_bytes, uint8_t *pixels, int32_t *label) {
  char what[64];
  snprintf(what, sizeof what, "record %" PRIu32 " of %" PRIu32, record + 1, records);
  uint64_t offset = tg_reader_offset(r);
  uint8_t byte[MOST_LABELS];
  TG_TRY(tg_reader_read(r, (size_t)f->label_bytes, what, byte));
  for (int i = 0; i < f->label_bytes; i++)
    if (byte[i] >= f->label_limit[i])
      TG_FAIL(TG_EDATA, "%s: offset %" PRIu64 ": expected a label of 0 to %d, found %d",
              tg_reader_path(r), offset + (uint64_t)i, f->label_limit[i] - 1, byte[i]);
  *label = byte[f->label_bytes - 1];
  return tg_reader_read(r, pixel_bytes, what, pixels);
}

static tg_status read_file(const format *f, const char *path, uint32_t records, size_t pixel_bytes,
                           uint8_t *pixels, int32_t *labels) {
  tg_status status = TG_OK;
  tg_reader *r;
  TG_TRY(tg_reader_open(path, &r));
  for (uint32_t i = 0; i < records; i++)
    TG_DO(read_record(f, r, i, records, pixel_bytes, pixels + i * pixel_bytes, labels + i));
  TG_DO(tg_reader_end(r));
done:
  tg_reader_close(r);
  return status;
}

static tg_status load(const format *f, const tg_dataset_source *self, const char *folder,
                      tg_split split, uint32_t *count, uint8_t **pixels, int32_t **labels) {
  size_t pixel_bytes = (size_t)(self->channels * self->height * self->width);
  *count = split == TG_TRAIN ? self->train_count : self->test_count;
  uint32_t records = *count / f->file_count[split];
  *pixels = malloc(*count * pixel_bytes);
  *labels = malloc(*count * sizeof **labels);
  if (!*pixels || !*labels)
    TG_FAIL(TG_ERUNTIME, "%s: no memory for %" PRIu32 " images", self->name, *count);
  for (uint32_t i = 0; i < f->file_count[split]; i++) {
    const char *name = f->file[split][i];
    char path[PATH_MAX];
    if (!find_file(f, folder, name, path))
      TG_FAIL(TG_ENOINPUT, "%s/%s: no such file, nor in %s", folder, name, f->subfolder);
    size_t first = (size_t)i * records;
    TG_TRY(
        read_file(f, path, records, pixel_bytes, *pixels + first * pixel_bytes, *labels + first));
  }
  return TG_OK;
}

static tg_status load_cifar10(const tg_dataset_source *self, const tg_data_options *options,
                              const char *folder, tg_split split, uint32_t *count, uint8_t **pixels,
                              int32_t **labels) {
  (void)options;
  return load(&cifar10, self, folder, split, count, pixels, labels);
}

static bool present_cifar10(const char *folder) {
  return present(&cifar10, folder);
}

static tg_status load_cifar100(const tg_dataset_source *self, const tg_data_options *options,
                               const char *folder, tg_split split, uint32_t *count,
                               uint8_t **pixels, int32_t **labels) {
  (void)options;
  return load(&cifar100, self, folder, split, count, pixels, labels);
}

static bool present_cifar100(const char *folder) {
  return present(&cifar100, folder);
}

const tg_dataset_source tg_dataset_cifar10 = {
    .name = "cifar10",
    .help = "colour photographs, 32x32, 10 classes (official binary files data_batch_1.bin, ...)",
    .channels = 3,
    .height = 32,
    .width = 32,
    .classes = 10,
    .mean = {0.491399679f, 0.482158408f, 0.446530914f},
    .std = {0.247032232f, 0.243485128f, 0.261587842f},
    .train_count = 50000,
    .test_count = 10000,
    .folders = "/usr/share/datasets/cifar10",
    .load = load_cifar10,
    .present = present_cifar10,
};

const tg_dataset_source tg_dataset_cifar100 = {
    .name = "cifar100",
    .help = "colour photographs, 32x32, 100 classes (official binary files train.bin, test.bin)",
    .channels = 3,
    .height = 32,
    .width = 32,
    .classes = 100,
    .mean = {0.507075159f, 0.486548873f, 0.440917843f},
    .std = {0.267334286f, 0.256438463f, 0.276150471f},
    .train_count = 50000,
    .test_count = 10000,
    .folders = "/usr/share/datasets/cifar100",
    .load = load_cifar100,
    .present = present_cifar100,
};
