#include "data/files.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

/* IDX: a magic number (0, 0, type 8 = unsigned byte, number of dimensions), the dimensions as
 * 32-bit big-endian numbers, the bytes. http://yann.lecun.com/exdb/mnist/ */
enum { MAGIC_LABELS = 0x0801, MAGIC_IMAGES = 0x0803 };

static const char *const image_file[] = {
    [TG_TRAIN] = "train-images-idx3-ubyte", [TG_TEST] = "t10k-images-idx3-ubyte"};
static const char *const label_file[] = {
    [TG_TRAIN] = "train-labels-idx1-ubyte", [TG_TEST] = "t10k-labels-idx1-ubyte"};
static const char *const suffixes[] = {"", ".gz"};

bool tg_idx_present(const char *folder) {
  for (int split = TG_TRAIN; split <= TG_TEST; split++)
    for (size_t i = 0; i < 2; i++)
      if (tg_file_exists(folder, image_file[split], suffixes[i]) ||
          tg_file_exists(folder, label_file[split], suffixes[i]))
        return true;
  return false;
}

static tg_status open_file(const char *folder, const char *name, tg_reader **out) {
  char path[PATH_MAX];
  for (size_t i = 0; i < 2; i++) {
    if (!tg_file_exists(folder, name, suffixes[i])) continue;
    snprintf(path, sizeof path, "%s/%s%s", folder, name, suffixes[i]);
    return tg_reader_open(path, out);
  }
  TG_FAIL(TG_ENOINPUT, "%s/%s: no such file, nor with .gz", folder, name);
}

static tg_status read_number(tg_reader *r, const char *what, uint32_t *out) {
  uint8_t b[4];
  TG_TRY(tg_reader_read(r, sizeof b, what, b));
  *out = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
  return TG_OK;
}

static tg_status expect_number(tg_reader *r, const char *what, uint32_t expected) {
  uint64_t offset = tg_reader_offset(r);
  uint32_t found;
  TG_TRY(read_number(r, what, &found));
  if (found != expected)
    TG_FAIL(TG_EDATA, "%s: offset %" PRIu64 ": expected %s %" PRIu32 ", found %" PRIu32,
            tg_reader_path(r), offset, what, expected, found);
  return TG_OK;
}

static tg_status expect_magic(tg_reader *r, uint32_t expected) {
  uint32_t found;
  TG_TRY(read_number(r, "magic number", &found));
  if (found != expected)
    TG_FAIL(TG_EDATA, "%s: offset 0: expected magic number 0x%08" PRIx32 ", found 0x%08" PRIx32,
            tg_reader_path(r), expected, found);
  return TG_OK;
}

/* `official` is the row's count: others plan with it, so that a file must agree; 0 = any. */
static tg_status read_count(tg_reader *r, uint32_t official, uint32_t *count) {
  if (official > 0) {
    *count = official;
    return expect_number(r, "number of images", official);
  }
  TG_TRY(read_number(r, "number of images", count));
  if (*count == 0)
    TG_FAIL(TG_EDATA, "%s: offset 4: expected at least one image, found none", tg_reader_path(r));
  return TG_OK;
}

static tg_status read_images(const tg_dataset_source *self, tg_split split, tg_reader *r,
                             uint32_t *count, uint8_t **pixels) {
  TG_TRY(expect_magic(r, MAGIC_IMAGES));
  TG_TRY(read_count(r, split == TG_TRAIN ? self->train_count : self->test_count, count));
  TG_TRY(expect_number(r, "image height", (uint32_t)self->height));
  TG_TRY(expect_number(r, "image width", (uint32_t)self->width));
  char what[64];
  snprintf(what, sizeof what, "the pixels of %" PRIu32 " images", *count);
  uint64_t bytes = (uint64_t)*count * (uint32_t)(self->height * self->width);
  TG_TRY(tg_reader_expect(r, bytes, what));
  *pixels = malloc(bytes);
  if (!*pixels) TG_FAIL(TG_ERUNTIME, "%s: no memory for %s", tg_reader_path(r), what);
  TG_TRY(tg_reader_read(r, bytes, what, *pixels));
  return tg_reader_end(r);
}

static tg_status read_labels(const tg_dataset_source *self, tg_reader *r, uint32_t count,
                             int32_t **labels) {
  enum { HEADER = 8, PART = 4096 };
  TG_TRY(expect_magic(r, MAGIC_LABELS));
  TG_TRY(expect_number(r, "as many labels as images,", count));
  char what[64];
  snprintf(what, sizeof what, "%" PRIu32 " labels", count);
  TG_TRY(tg_reader_expect(r, count, what));
  *labels = malloc((size_t)count * sizeof **labels);
  if (!*labels) TG_FAIL(TG_ERUNTIME, "%s: no memory for %s", tg_reader_path(r), what);
  uint8_t part[PART];
  for (uint32_t i = 0; i < count; i++) {
    if (i % PART == 0) TG_TRY(tg_reader_read(r, count - i < PART ? count - i : PART, what, part));
    int32_t label = part[i % PART];
    if (label >= self->classes)
      TG_FAIL(TG_EDATA, "%s: offset %" PRIu64 ": expected a label of 0 to %d, found %" PRId32,
              tg_reader_path(r), (uint64_t)i + HEADER, self->classes - 1, label);
    (*labels)[i] = label;
  }
  return tg_reader_end(r);
}

tg_status tg_idx_load(const tg_dataset_source *self, const tg_data_options *options,
                      const char *folder, tg_split split, uint32_t *count, uint8_t **pixels,
                      int32_t **labels) {
  (void)options;
  tg_status status = TG_OK;
  tg_reader *images = NULL, *names = NULL;
  TG_DO(open_file(folder, image_file[split], &images));
  TG_DO(open_file(folder, label_file[split], &names));
  TG_DO(read_images(self, split, images, count, pixels));
  TG_DO(read_labels(self, names, *count, labels));
done:
  tg_reader_close(images);
  tg_reader_close(names);
  return status;
}
