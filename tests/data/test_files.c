/* Readers of data files: whole ones give back what was written, damaged ones are refused with the
 * file, the offset, what was expected and what was found. */
#include "tardigrad/data.h"

#include <check.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

static char folder[64];

static void make_folder(void) {
  const char *base = getenv("TMPDIR");
  snprintf(folder, sizeof folder, "%.40s/tg_files_XXXXXX", base && *base ? base : "/tmp");
  ck_assert_ptr_nonnull(mkdtemp(folder));
}

static int remove_entry(const char *path, const struct stat *about, int kind, struct FTW *walk) {
  (void)about;
  (void)kind;
  (void)walk;
  return remove(path);
}

static void remove_folder(void) {
  nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

/* ---- files, made in memory ---- */

typedef struct bytes {
  unsigned char at[1 << 17];
  size_t count;
} bytes;

static void add(bytes *b, const void *from, size_t count) {
  memcpy(b->at + b->count, from, count);
  b->count += count;
}

static void write_file(const char *name, const bytes *b) {
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *f = fopen(path, "wb");
  ck_assert_ptr_nonnull(f);
  ck_assert_uint_eq(fwrite(b->at, 1, b->count, f), b->count);
  fclose(f);
}

static void compress_to(bytes *out, const void *from, size_t count) {
  z_stream z = {0};
  ck_assert_int_eq(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  z.next_in = (unsigned char *)from;
  z.avail_in = (uInt)count;
  z.next_out = out->at + out->count;
  z.avail_out = (uInt)(sizeof out->at - out->count);
  ck_assert_int_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
  out->count += z.total_out;
  deflateEnd(&z);
}

/* What sample i of any made set holds, without any generator: a hash of the place. */
static unsigned char pixel(uint32_t sample, uint32_t place) {
  uint32_t h = (sample * 4099u + place) * 2654435761u;
  return (unsigned char)(h >> 23);
}

static int label(uint32_t sample) {
  return (int)(sample * 7 % 10);
}

enum { IMAGES = 5, RECORDS = 2, IDX_PIXELS = 784, CIFAR_PIXELS = 3072 };

static void make_idx_images(bytes *b) {
  b->count = 0;
  add(b, (unsigned char[]){0, 0, 8, 3, 0, 0, 0, IMAGES, 0, 0, 0, 28, 0, 0, 0, 28}, 16);
  for (uint32_t i = 0; i < IMAGES; i++)
    for (uint32_t j = 0; j < IDX_PIXELS; j++) b->at[b->count++] = pixel(i, j);
}

static void make_idx_labels(bytes *b) {
  b->count = 0;
  add(b, (unsigned char[]){0, 0, 8, 1, 0, 0, 0, IMAGES}, 8);
  for (uint32_t i = 0; i < IMAGES; i++) b->at[b->count++] = (unsigned char)label(i);
}

/* The records of file `file` of a set; with a coarse label before the label where wanted. */
static void make_cifar(bytes *b, uint32_t file, bool coarse) {
  b->count = 0;
  for (uint32_t i = file * RECORDS; i < (file + 1) * RECORDS; i++) {
    if (coarse) b->at[b->count++] = (unsigned char)(i + 11);
    b->at[b->count++] = (unsigned char)label(i);
    for (uint32_t j = 0; j < CIFAR_PIXELS; j++) b->at[b->count++] = pixel(i, j);
  }
}

/* ---- sets of a few samples ---- */

typedef enum { IDX, IDX_ANY_COUNT, CIFAR10, CIFAR100 } set;

static tg_dataset_source row_of(set s) {
  static const char *const name[] = {"mnist", "mnist", "cifar10", "cifar100"};
  const tg_dataset_source *official;
  ck_assert_int_eq(tg_dataset_find(name[s], &official), TG_OK);
  tg_dataset_source row = *official;
  row.train_count = s == IDX             ? IMAGES
                    : s == IDX_ANY_COUNT ? 0
                    : s == CIFAR10       ? 5 * RECORDS
                                         : RECORDS;
  row.test_count = row.train_count;
  return row;
}

static const char *const cifar10_files[] = {"data_batch_1.bin", "data_batch_2.bin",
                                            "data_batch_3.bin", "data_batch_4.bin",
                                            "data_batch_5.bin"};

static void write_set(set s) {
  static bytes b;
  if (s == IDX || s == IDX_ANY_COUNT) {
    make_idx_images(&b);
    write_file("train-images-idx3-ubyte", &b);
    make_idx_labels(&b);
    write_file("train-labels-idx1-ubyte", &b);
  }
  for (uint32_t i = 0; s == CIFAR10 && i < 5; i++) {
    make_cifar(&b, i, false);
    write_file(cifar10_files[i], &b);
  }
  if (s == CIFAR100) {
    make_cifar(&b, 0, true);
    write_file("train.bin", &b);
  }
}

static tg_status load(set s, const char *from) {
  tg_dataset_source row = row_of(s);
  tg_data_options options = {.name = row.name, .path = from};
  uint32_t count = 0;
  uint8_t *pixels = NULL;
  int32_t *labels = NULL;
  tg_status status = row.load(&row, &options, from, TG_TRAIN, &count, &pixels, &labels);
  uint32_t size = (uint32_t)(row.channels * row.height * row.width);
  for (uint32_t i = 0; status == TG_OK && i < count; i++) {
    ck_assert_int_ge(labels[i], 0);
    ck_assert_int_lt(labels[i], row.classes);
  }
  /* Every byte is looked at, for address checkers. */
  uint32_t different = 0;
  for (uint32_t i = 0; status == TG_OK && i < count * size; i++)
    different += pixels[i] != pixel(i / size, i % size);
  for (uint32_t i = 0; status == TG_OK && i < count; i++) different += labels[i] != label(i);
  free(pixels);
  free(labels);
  return status == TG_OK && different ? tg_status_set(TG_ERUNTIME, "content") : status;
}

static void expect_whole(set s, const char *from) {
  tg_status status = load(s, from);
  ck_assert_msg(status == TG_OK, "set %d: %d %s", s, status, tg_status_message());
}

/* ---- whole files ---- */

START_TEST(plain_files) {
  make_folder();
  for (int s = IDX; s <= CIFAR100; s++) {
    write_set((set)s);
    expect_whole((set)s, folder);
  }
  remove_folder();
}
END_TEST

START_TEST(gzip_files) {
  static bytes plain, packed;
  make_folder();
  make_idx_images(&plain);
  packed.count = 0;
  compress_to(&packed, plain.at, plain.count);
  write_file("train-images-idx3-ubyte.gz", &packed);
  make_idx_labels(&plain);
  write_file("train-labels-idx1-ubyte", &plain);
  expect_whole(IDX, folder);
  expect_whole(IDX_ANY_COUNT, folder);
  remove_folder();
}
END_TEST

START_TEST(gzip_in_members) {
  static bytes plain, packed;
  make_folder();
  write_set(IDX);
  make_idx_images(&plain);
  packed.count = 0;
  compress_to(&packed, plain.at, 1000);
  compress_to(&packed, plain.at, 0);
  compress_to(&packed, plain.at + 1000, plain.count - 1000);
  /* Told apart by content: the plain name may hold gzip. */
  write_file("train-images-idx3-ubyte", &packed);
  expect_whole(IDX, folder);
  remove_folder();
}
END_TEST

START_TEST(official_subfolders) {
  char path[128];
  make_folder();
  char parent[64];
  memcpy(parent, folder, sizeof parent);
  snprintf(path, sizeof path, "%s/cifar-10-batches-bin", parent);
  ck_assert_int_eq(mkdir(path, 0700), 0);
  memcpy(folder, path, sizeof folder);
  write_set(CIFAR10);
  expect_whole(CIFAR10, parent);
  ck_assert(row_of(CIFAR10).present(parent));
  ck_assert(!row_of(CIFAR100).present(parent));
  snprintf(path, sizeof path, "%s/cifar-100-binary", parent);
  ck_assert_int_eq(mkdir(path, 0700), 0);
  memcpy(folder, path, sizeof folder);
  write_set(CIFAR100);
  expect_whole(CIFAR100, parent);
  ck_assert(row_of(CIFAR100).present(parent));
  ck_assert(!row_of(IDX).present(parent));
  memcpy(folder, parent, sizeof folder);
  remove_folder();
}
END_TEST

/* ---- damaged files ---- */

typedef enum { SET, CUT, ADD } edit;
#define IMAGE_FILE "train-images-idx3-ubyte"
#define LABEL_FILE "train-labels-idx1-ubyte"
#define PACKED     true
#define END        (-1000000)

/* One byte or the length of one file is changed. For gzip the content is changed before it is
 * packed, or (PACKED) the packed file afterwards. Offsets from END count from the end. */
typedef struct damage {
  set set;
  const char *file;
  bool gzip, packed;
  edit edit;
  long offset;
  int value; /* SET: of the byte; ADD: how many bytes */
  const char *says;
} damage;

static const damage damages[] = {
    {IDX, IMAGE_FILE, 0, 0, CUT, 0, 0, "offset 0: expected magic number (4 more bytes), found the"},
    {IDX, IMAGE_FILE, 0, 0, CUT, 3, 0, "offset 3: expected magic number (1 more bytes), found the"},
    {IDX, IMAGE_FILE, 0, 0, CUT, 6, 0, "offset 6: expected number of images (2 more bytes)"},
    {IDX, IMAGE_FILE, 0, 0, CUT, 10, 0, "offset 10: expected image height (2 more bytes)"},
    {IDX, IMAGE_FILE, 0, 0, CUT, 12, 0, "offset 12: expected image width (4 more bytes)"},
    {IDX, IMAGE_FILE, 0, 0, CUT, 16, 0,
     "offset 16: expected the pixels of 5 images (3920 bytes), found a file of 16 bytes"},
    {IDX, IMAGE_FILE, 0, 0, CUT, END + 1, 0,
     "offset 16: expected the pixels of 5 images (3920 bytes), found a file of 3935 bytes"},
    {IDX, IMAGE_FILE, 0, 0, ADD, 0, 1, "offset 3936: expected the file's end, found more bytes"},
    {IDX, IMAGE_FILE, 0, 0, ADD, 0, 70000, "offset 3936: expected the file's end, found more"},
    {IDX, IMAGE_FILE, 0, 0, SET, 3, 1,
     "offset 0: expected magic number 0x00000803, found 0x00000801"},
    {IDX, IMAGE_FILE, 0, 0, SET, 2, 13, "expected magic number 0x00000803, found 0x00000d03"},
    {IDX, IMAGE_FILE, 0, 0, SET, 0, 255, "expected magic number 0x00000803, found 0xff000803"},
    {IDX, IMAGE_FILE, 0, 0, SET, 7, 6, "offset 4: expected number of images 5, found 6"},
    {IDX, IMAGE_FILE, 0, 0, SET, 4, 128, "offset 4: expected number of images 5, found 2147483653"},
    {IDX, IMAGE_FILE, 0, 0, SET, 11, 27, "offset 8: expected image height 28, found 27"},
    {IDX, IMAGE_FILE, 0, 0, SET, 15, 32, "offset 12: expected image width 28, found 32"},
    {IDX_ANY_COUNT, IMAGE_FILE, 0, 0, SET, 7, 0, "offset 4: expected at least one image"},
    {IDX_ANY_COUNT, IMAGE_FILE, 0, 0, SET, 4, 255,
     "offset 16: expected the pixels of 4278190085 images (3354101026640 bytes), found a file of"},
    {IDX_ANY_COUNT, IMAGE_FILE, 0, 0, SET, 7, 4, "offset 3152: expected the file's end"},
    {IDX, LABEL_FILE, 0, 0, SET, 3, 3, "expected magic number 0x00000801, found 0x00000803"},
    {IDX, LABEL_FILE, 0, 0, SET, 7, 4, "offset 4: expected as many labels as images, 5, found 4"},
    {IDX_ANY_COUNT, LABEL_FILE, 0, 0, SET, 7, 6, "expected as many labels as images, 5, found 6"},
    {IDX, LABEL_FILE, 0, 0, CUT, END + 2, 0,
     "offset 8: expected 5 labels (5 bytes), found a file of 11 bytes"},
    {IDX, LABEL_FILE, 0, 0, ADD, 0, 1, "offset 13: expected the file's end"},
    {IDX, LABEL_FILE, 0, 0, SET, 11, 10, "offset 11: expected a label of 0 to 9, found 10"},
    {IDX, LABEL_FILE, 0, 0, SET, 12, 255, "offset 12: expected a label of 0 to 9, found 255"},
    {IDX, IMAGE_FILE, 1, PACKED, CUT, 2, 0, "offset 2 of the compressed file: expected more gzip"},
    {IDX, IMAGE_FILE, 1, PACKED, CUT, 500, 0, "offset 500 of the compressed file: expected more"},
    {IDX, IMAGE_FILE, 1, PACKED, CUT, END + 1, 0,
     "of the compressed file: expected more gzip data"},
    {IDX, IMAGE_FILE, 1, PACKED, SET, 2, 9, "found corrupt data (unknown compression method)"},
    {IDX, IMAGE_FILE, 1, PACKED, SET, 10, 7, "found corrupt data (invalid block type)"},
    {IDX, IMAGE_FILE, 1, PACKED, SET, END + 5, 1, "found corrupt data (incorrect data check)"},
    {IDX, IMAGE_FILE, 1, PACKED, SET, END + 1, 1, "found corrupt data (incorrect length check)"},
    {IDX, IMAGE_FILE, 1, PACKED, ADD, 0, 3, "of the compressed file: expected its end, found 3"},
    {IDX, IMAGE_FILE, 1, 0, ADD, 0, 1, "offset 3936: expected the file's end, found more bytes"},
    {IDX, IMAGE_FILE, 1, 0, CUT, 3000, 0,
     "offset 3000: expected the pixels of 5 images (936 more bytes), found the file's end"},
    {IDX, IMAGE_FILE, 1, 0, SET, 3, 1, "offset 0: expected magic number 0x00000803, found"},
    {IDX_ANY_COUNT, IMAGE_FILE, 1, 0, SET, 4, 255, "offset 16: expected the pixels of 4278190085"},
    {IDX, LABEL_FILE, 1, 0, SET, 9, 99, "offset 9: expected a label of 0 to 9, found 99"},
    {CIFAR10, "data_batch_1.bin", 0, 0, CUT, 0, 0,
     "offset 0: expected record 1 of 2 (1 more bytes), found the file's end"},
    {CIFAR10, "data_batch_2.bin", 0, 0, CUT, 3073, 0, "offset 3073: expected record 2 of 2"},
    {CIFAR10, "data_batch_3.bin", 0, 0, CUT, 4000, 0,
     "offset 4000: expected record 2 of 2 (2146 more bytes), found the file's end"},
    {CIFAR10, "data_batch_4.bin", 0, 0, ADD, 0, 1, "offset 6146: expected the file's end"},
    {CIFAR10, "data_batch_5.bin", 0, 0, ADD, 0, 3073, "offset 6146: expected the file's end"},
    {CIFAR10, "data_batch_5.bin", 0, 0, SET, 3073, 10,
     "offset 3073: expected a label of 0 to 9, found 10"},
    {CIFAR10, "data_batch_1.bin", 0, 0, SET, 0, 200, "offset 0: expected a label of 0 to 9"},
    {CIFAR100, "train.bin", 0, 0, SET, 0, 20, "offset 0: expected a label of 0 to 19, found 20"},
    {CIFAR100, "train.bin", 0, 0, SET, 3075, 100,
     "offset 3075: expected a label of 0 to 99, found 100"},
    {CIFAR100, "train.bin", 0, 0, CUT, 3075, 0, "offset 3075: expected record 2 of 2"},
    {CIFAR100, "train.bin", 0, 0, ADD, 0, 2, "offset 6148: expected the file's end"},
};

static void make_file(const char *name, bytes *b) {
  int file;
  if (strcmp(name, IMAGE_FILE) == 0) make_idx_images(b);
  if (strcmp(name, LABEL_FILE) == 0) make_idx_labels(b);
  if (sscanf(name, "data_batch_%d.bin", &file) == 1) make_cifar(b, (uint32_t)file - 1, false);
  if (strcmp(name, "train.bin") == 0) make_cifar(b, 0, true);
}

static void change(const damage *d, bytes *b) {
  size_t at = d->offset < 0 ? b->count - (size_t)(d->offset - END) : (size_t)d->offset;
  ck_assert_uint_le(at, b->count);
  if (d->edit == CUT) b->count = at;
  if (d->edit == SET && b->at[at] == d->value) b->at[at] ^= 0x40; /* a check sum may be anything */
  if (d->edit == SET) b->at[at] = (unsigned char)d->value;
  if (d->edit == ADD) memset(b->at + b->count, 0, (size_t)d->value);
  if (d->edit == ADD) b->count += (size_t)d->value;
}

START_TEST(damaged_file) {
  static bytes plain, packed;
  const damage *d = &damages[_i];
  char name[64];
  make_folder();
  write_set(d->set);
  snprintf(name, sizeof name, "%s%s", d->file, d->gzip ? ".gz" : "");
  make_file(d->file, &plain);
  if (!d->packed) change(d, &plain);
  packed.count = 0;
  if (d->gzip) {
    char old[PATH_MAX];
    snprintf(old, sizeof old, "%s/%s", folder, d->file);
    unlink(old);
    compress_to(&packed, plain.at, plain.count);
  }
  if (d->packed) change(d, &packed);
  write_file(name, d->gzip ? &packed : &plain);
  tg_status status = load(d->set, folder);
  const char *message = tg_status_message();
  ck_assert_msg(status == TG_EDATA, "%s: status %d (%s), wanted: %s", name, status, message,
                d->says);
  ck_assert_msg(strstr(message, d->says), "wanted '%s', got '%s'", d->says, message);
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/%s: offset ", folder, name);
  ck_assert_msg(strncmp(message, path, strlen(path)) == 0, "wanted '%s', got '%s'", path, message);
  ck_assert_msg(strstr(message, ", found "), "nothing found in '%s'", message);
  remove_folder();
}
END_TEST

/* ---- files that are not there, or are no files ---- */

static void expect_no_input(set s, const char *file, const char *says) {
  tg_status status = load(s, folder);
  ck_assert_msg(status == TG_ENOINPUT, "%s: %d %s", file, status, tg_status_message());
  ck_assert_msg(strstr(tg_status_message(), file) && strstr(tg_status_message(), says),
                "wanted '%s' and '%s', got '%s'", file, says, tg_status_message());
}

START_TEST(missing_files) {
  static const struct {
    set set;
    const char *file, *says;
  } missing[] = {
      {IDX, IMAGE_FILE, "no such file, nor with .gz"},
      {IDX, LABEL_FILE, "no such file, nor with .gz"},
      {CIFAR10, "data_batch_4.bin", "no such file, nor in cifar-10-batches-bin"},
      {CIFAR100, "train.bin", "no such file, nor in cifar-100-binary"},
  };
  make_folder();
  for (size_t i = 0; i < sizeof missing / sizeof *missing; i++) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", folder, missing[i].file);
    write_set(missing[i].set);
    unlink(path);
    expect_no_input(missing[i].set, missing[i].file, missing[i].says);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    expect_no_input(missing[i].set, missing[i].file, "not a regular file");
    ck_assert_int_eq(rmdir(path), 0);
    ck_assert_int_eq(mkfifo(path, 0600), 0); /* must not be waited for */
    expect_no_input(missing[i].set, missing[i].file, "not a regular file");
    unlink(path);
  }
  remove_folder();
}
END_TEST

/* ---- random damage ---- */

static uint32_t draw(uint64_t *state, uint32_t below) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)((*state >> 33) % below);
}

/* Changes up to 4 bytes, most often in the header where they hurt; sometimes the length. */
static void mutate(uint64_t *state, bytes *b) {
  for (uint32_t n = 1 + draw(state, 4); n > 0; n--) {
    uint32_t most = draw(state, 3) ? 32 : (uint32_t)b->count;
    uint32_t at = draw(state, most < b->count ? most : (uint32_t)b->count);
    b->at[at] = draw(state, 2) ? (unsigned char)draw(state, 256)
                               : (unsigned char)(b->at[at] ^ (1u << draw(state, 8)));
  }
  uint32_t kind = draw(state, 4);
  if (kind == 0) b->count = draw(state, (uint32_t)b->count + 1);
  if (kind == 1) {
    uint32_t more = draw(state, 5000);
    memset(b->at + b->count, (int)draw(state, 256), more);
    b->count += more;
  }
}

START_TEST(random_damage) {
  static const struct {
    set set;
    const char *file;
    bool gzip;
  } target[] = {{IDX_ANY_COUNT, IMAGE_FILE, false},
                {IDX_ANY_COUNT, LABEL_FILE, false},
                {IDX, IMAGE_FILE, true},
                {IDX_ANY_COUNT, IMAGE_FILE, true},
                {CIFAR10, "data_batch_3.bin", false},
                {CIFAR100, "train.bin", false}};
  static bytes plain, packed;
  uint64_t state = 20240229u + (uint64_t)_i;
  make_folder();
  write_set(target[_i].set);
  for (int round = 0; round < 1000; round++) {
    make_file(target[_i].file, &plain);
    packed.count = 0;
    if (target[_i].gzip) compress_to(&packed, plain.at, plain.count);
    bytes *content = target[_i].gzip ? &packed : &plain;
    mutate(&state, content);
    write_file(target[_i].file, content);
    tg_status status = load(target[_i].set, folder);
    /* Changed pixels cannot be known from others: load() says "content" to that. */
    if (status == TG_OK || status == TG_ERUNTIME) {
      ck_assert(status == TG_OK || strcmp(tg_status_message(), "content") == 0);
      continue;
    }
    ck_assert_msg(status == TG_EDATA, "round %d: %d %s", round, status, tg_status_message());
    ck_assert_msg(strstr(tg_status_message(), ": offset "), "%s", tg_status_message());
  }
  remove_folder();
}
END_TEST

int main(void) {
  Suite *suite = suite_create("data files");
  TCase *whole = tcase_create("whole");
  tcase_add_test(whole, plain_files);
  tcase_add_test(whole, gzip_files);
  tcase_add_test(whole, gzip_in_members);
  tcase_add_test(whole, official_subfolders);
  suite_add_tcase(suite, whole);
  TCase *bad = tcase_create("bad");
  tcase_set_timeout(bad, 120);
  tcase_add_loop_test(bad, damaged_file, 0, (int)(sizeof damages / sizeof *damages));
  tcase_add_test(bad, missing_files);
  tcase_add_loop_test(bad, random_damage, 0, 6);
  suite_add_tcase(suite, bad);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
