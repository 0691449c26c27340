/* safetensors: written, read back, and every way to be malformed. With a folder as argument: writes
 * samples into it for test_peers_read.py. */
#include <check.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tardigrad/checkpoint.h"
#include "tardigrad/rng.h"

static char folder[64], path[96];

static void make_folder(void) {
  const char *base = getenv("TMPDIR");
  snprintf(folder, sizeof folder, "%.30s/tensors-XXXXXX", base ? base : "/tmp");
  ck_assert_ptr_nonnull(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/a.safetensors", folder);
}

static void remove_folder(void) {
  unlink(path);
  ck_assert_int_eq(rmdir(folder), 0); /* nothing else was left */
}

static void put(const void *data, size_t length) {
  FILE *file = fopen(path, "wb");
  ck_assert_ptr_nonnull(file);
  ck_assert_uint_eq(fwrite(data, 1, length, file), length);
  fclose(file);
}

static size_t get(unsigned char *out, size_t room) {
  FILE *file = fopen(path, "rb");
  ck_assert_ptr_nonnull(file);
  size_t length = fread(out, 1, room, file);
  fclose(file);
  return length;
}

/* ---- writing and reading back ---- */

static float f32[6] = {0.1f, -0.0f, 1e-45f, 3.4028234e38f, -1.5f, 7.0f};
static const uint64_t u64[2] = {UINT64_MAX, 1};
static const int64_t i64[1] = {INT64_MIN};
static const double f64[3] = {0.1, -1e300, 4.9e-324};
static const uint16_t bf16[2] = {0x3F80, 0xC049};
static const uint8_t u8[5] = {0, 1, 127, 128, 255};

static const tg_st_tensor samples[] = {
    {.name = "bytes", .dtype = TG_ST_U8, .nd = 1, .dim = {5}, .data = u8},
    {.name = "layer1.0.weight", .dtype = TG_ST_F32, .nd = 4, .dim = {1, 2, 3, 1}, .data = f32},
    {.name = "halves", .dtype = TG_ST_BF16, .nd = 2, .dim = {2, 1}, .data = bf16},
    {.name = "num_batches_tracked", .dtype = TG_ST_I64, .nd = 0, .data = i64},
    {.name = "empty", .dtype = TG_ST_F32, .nd = 2, .dim = {0, 7}, .data = NULL},
    {.name = "counters", .dtype = TG_ST_U64, .nd = 1, .dim = {2}, .data = u64},
    {.name = "caf\u00e9 \"quoted\"", .dtype = TG_ST_F64, .nd = 1, .dim = {3}, .data = f64}};
enum { SAMPLES = sizeof samples / sizeof *samples };
static const size_t sample_bytes[SAMPLES] = {5, 24, 4, 8, 0, 16, 24};
static const char *const metadata[][2] = {{"format", "pt"}, {"model", "mlp"}};

static tg_status write_samples(const char *where, size_t *bytes, char *hash) {
  return tg_safetensors_write(where, samples, SAMPLES, metadata, 2, bytes, hash);
}

START_TEST(what_is_written_is_read_back) {
  char hash[33], again[33];
  unsigned char raw[4096];
  size_t bytes = 0;
  ck_assert_int_eq(write_samples(path, &bytes, hash), TG_OK);
  ck_assert_uint_eq(get(raw, sizeof raw), bytes);
  tg_hash_hex(raw, bytes, again);
  ck_assert_str_eq(hash, again);
  tg_safetensors *f = NULL;
  ck_assert_int_eq(tg_safetensors_open(path, &f), TG_OK);
  ck_assert_str_eq(tg_safetensors_hash(f), hash);
  ck_assert_uint_eq(tg_safetensors_count(f), SAMPLES);
  ck_assert_ptr_null(tg_safetensors_find(f, "nothing"));
  for (size_t i = 0; i < SAMPLES; i++) {
    const tg_st_tensor *t = tg_safetensors_find(f, samples[i].name);
    ck_assert_ptr_nonnull(t);
    ck_assert_int_eq(t->dtype, samples[i].dtype);
    ck_assert_int_eq(t->nd, samples[i].nd);
    for (int d = 0; d < t->nd; d++) ck_assert_int_eq(t->dim[d], samples[i].dim[d]);
    ck_assert_uint_eq(t->bytes, sample_bytes[i]);
    if (t->bytes) ck_assert_mem_eq(t->data, samples[i].data, t->bytes);
  }
  for (size_t i = 1; i < SAMPLES; i++)
    ck_assert((const char *)tg_safetensors_at(f, i)->data >=
              (const char *)tg_safetensors_at(f, i - 1)->data);
  tg_safetensors_close(f);
}
END_TEST

START_TEST(data_are_aligned) {
  unsigned char raw[8];
  ck_assert_int_eq(write_samples(path, NULL, NULL), TG_OK);
  get(raw, sizeof raw);
  ck_assert_int_eq(raw[0] % 8, 0);
  tg_safetensors *f = NULL;
  ck_assert_int_eq(tg_safetensors_open(path, &f), TG_OK);
  static const size_t width[] = {[TG_ST_F32] = 4, [TG_ST_U64] = 8,  [TG_ST_I64] = 8,
                                 [TG_ST_F64] = 8, [TG_ST_BF16] = 2, [TG_ST_U8] = 1};
  for (size_t i = 0; i < SAMPLES; i++) {
    const tg_st_tensor *t = tg_safetensors_at(f, i);
    ck_assert_uint_eq((uintptr_t)t->data % width[t->dtype], 0);
  }
  tg_safetensors_close(f);
}
END_TEST

START_TEST(no_tensors_at_all) {
  tg_safetensors *f = NULL;
  ck_assert_int_eq(tg_safetensors_write(path, NULL, 0, NULL, 0, NULL, NULL), TG_OK);
  ck_assert_int_eq(tg_safetensors_open(path, &f), TG_OK);
  ck_assert_uint_eq(tg_safetensors_count(f), 0);
  tg_safetensors_close(f);
}
END_TEST

START_TEST(the_known_hash) {
  char hash[33];
  tg_hash_hex("", 0, hash); /* as xxhsum -H2 prints it for an empty file */
  ck_assert_str_eq(hash, "99aa06d3014798d86001c324468d497f");
}
END_TEST

START_TEST(impossible_tensors_are_not_written) {
  tg_st_tensor twice[2] = {samples[0], samples[0]}, negative = samples[0], huge = samples[0],
               reserved = samples[0];
  negative.dim[0] = -1;
  huge.nd = 2;
  huge.dim[0] = huge.dim[1] = INT64_MAX;
  reserved.name = "__metadata__";
  ck_assert_int_eq(tg_safetensors_write(path, twice, 2, NULL, 0, NULL, NULL), TG_ERUNTIME);
  ck_assert_int_eq(tg_safetensors_write(path, &negative, 1, NULL, 0, NULL, NULL), TG_ERUNTIME);
  ck_assert_int_eq(tg_safetensors_write(path, &huge, 1, NULL, 0, NULL, NULL), TG_ERUNTIME);
  ck_assert_int_eq(tg_safetensors_write(path, &reserved, 1, NULL, 0, NULL, NULL), TG_ERUNTIME);
  ck_assert_int_eq(tg_safetensors_write("/nowhere/x", samples, 1, NULL, 0, NULL, NULL),
                   TG_ERUNTIME);
  ck_assert_str_eq(tg_status_message(), "/nowhere/x: cannot create: No such file or directory");
}
END_TEST

/* While the limit holds, Check cannot write down its own results either: nothing is asserted. */
static void limit_files(rlim_t bytes) {
  struct rlimit limit = {bytes, RLIM_INFINITY};
  signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &limit);
}

START_TEST(a_full_disk_leaves_the_old_file) {
  char hash[33];
  ck_assert_int_eq(write_samples(path, NULL, hash), TG_OK);
  limit_files(100);
  tg_status status = tg_safetensors_write(path, samples, 2, NULL, 0, NULL, NULL);
  limit_files(RLIM_INFINITY);
  ck_assert_int_eq(status, TG_ERUNTIME);
  ck_assert_msg(strstr(tg_status_message(), "cannot write: File too large"), "%s",
                tg_status_message());
  tg_safetensors *f = NULL;
  ck_assert_int_eq(tg_safetensors_open(path, &f), TG_OK);
  ck_assert_str_eq(tg_safetensors_hash(f), hash);
  tg_safetensors_close(f);
}
END_TEST

/* ---- malformed files ---- */

typedef struct malformed {
  const char *header;  /* JSON; ' stands for " */
  size_t data;         /* bytes behind it */
  int64_t length;      /* announced instead of the real one, if not 0 */
  const char *message; /* behind "PATH: " */
} malformed;

#define T(name, dtype, shape, offsets)                                                             \
  "'" name "':{'dtype':'" dtype "','shape':" shape ",'data_offsets':" offsets "}"
static const malformed table[] = {
    {"{}", 0, 100000001, "offset 0: the header has 100000001 bytes: expected at most 2"},
    {"{}", 0, 3, "offset 0: the header has 3 bytes: expected at most 2"},
    {"{}", 0, -1, "offset 0: the header has 18446744073709551615 bytes: expected at most 2"},
    {"{}", 7, 9, "offset 11: expected a header in JSON: end of file expected near end of file"},
    {" {}", 0, 0, "offset 8: expected '{'"},
    {"", 0, 0, "offset 8: expected '{'"},
    {"[]", 0, 0, "offset 8: expected '{'"},
    {"{'a':", 0, 0, NULL},
    {"{'a':1} x", 0, 0, NULL},
    {"{'a':\x01}", 0, 0, NULL},
    {"{'\xff':1}", 0, 0, NULL},
    {"{" T("a", "F32", "[1]", "[0,4]") "," T("a", "F32", "[1]", "[4,8]") "}", 8, 0, NULL},
    {"{'a':{'dtype':'F32','dtype':'F32','shape':[1],'data_offsets':[0,4]}}", 4, 0, NULL},
    {"{'a':1}", 0, 0, "offset 8: tensor 'a': expected dtype, shape and data_offsets"},
    {"{'a':{'dtype':'F32','shape':[1]}}", 4, 0,
     "offset 8: tensor 'a': expected dtype, shape and data_offsets"},
    {"{'a':{'dtype':'F32','shape':[1],'data_offsets':[0,4],'x':1}}", 4, 0,
     "offset 8: tensor 'a': expected dtype, shape and data_offsets"},
    {"{" T("a", "F31", "[1]", "[0,4]") "}", 4, 0,
     "offset 8: tensor 'a': expected dtype F32, U64, I64, F64, BF16 or U8"},
    {"{'a':{'dtype':7,'shape':[1],'data_offsets':[0,4]}}", 4, 0,
     "offset 8: tensor 'a': expected dtype F32, U64, I64, F64, BF16 or U8"},
    {"{" T("a", "F32", "[-1]", "[0,4]") "}", 4, 0,
     "offset 8: tensor 'a': dimension 0: expected an integer from 0"},
    {"{" T("a", "F32", "[1.0]", "[0,4]") "}", 4, 0,
     "offset 8: tensor 'a': dimension 0: expected an integer from 0"},
    {"{" T("a", "F32", "[1,1,1,1,1,1]", "[0,4]") "}", 4, 0,
     "offset 8: tensor 'a': expected a shape of at most 5 dimensions"},
    {"{" T("a", "F32", "1", "[0,4]") "}", 4, 0,
     "offset 8: tensor 'a': expected a shape of at most 5 dimensions"},
    {"{" T("a", "F32", "[4611686018427387904,4]", "[0,0]") "}", 0, 0,
     "offset 8: tensor 'a': the product of its dimensions is too large"},
    {"{" T("a", "F32", "[4294967296,4294967296]", "[0,4]") "}", 4, 0,
     "offset 8: tensor 'a': the product of its dimensions is too large"},
    {"{" T("a", "F32", "[99999999999999999999]", "[0,4]") "}", 4, 0, NULL},
    {"{" T("a", "F32", "[1]", "[0]") "}", 4, 0,
     "offset 8: tensor 'a': expected two integers as data_offsets"},
    {"{" T("a", "F32", "[1]", "{}") "}", 4, 0,
     "offset 8: tensor 'a': expected two integers as data_offsets"},
    {"{" T("a", "F32", "[1]", "[-4,0]") "}", 4, 0,
     "offset 8: tensor 'a': data_offsets [-4, 0]: expected a range within 0 to 4"},
    {"{" T("a", "F32", "[1]", "[4,0]") "}", 4, 0,
     "offset 8: tensor 'a': data_offsets [4, 0]: expected a range within 0 to 4"},
    {"{" T("a", "F32", "[1]", "[0,5]") "}", 4, 0,
     "offset 8: tensor 'a': data_offsets [0, 5]: expected a range within 0 to 4"},
    {"{" T("a", "F32", "[1]", "[0,9223372036854775807]") "}", 4, 0,
     "offset 8: tensor 'a': data_offsets [0, 9223372036854775807]: expected a range within 0 to "
     "4"},
    {"{" T("a", "F32", "[2]", "[0,4]") "}", 4, 0,
     "offset 62: tensor 'a': expected 8 bytes, found 4"},
    {"{" T("a", "BF16", "[2]", "[0,8]") "}", 8, 0,
     "offset 63: tensor 'a': expected 4 bytes, found 8"},
    {"{" T("a", "F32", "[2]", "[0,8]") "," T("b", "F32", "[1]", "[4,8]") "}", 8, 0,
     "offset 119: tensor 'b' overlaps another: expected it at offset 123"},
    {"{" T("a", "F32", "[1]", "[0,4]") "," T("b", "F32", "[1]", "[0,4]") "}", 4, 0,
     "offset 115: tensor 'b' overlaps another: expected it at offset 119"},
    {"{" T("a", "F32", "[1]", "[0,4]") "," T("b", "F32", "[1]", "[8,12]") "}", 12, 0,
     "offset 124: tensor 'b' leaves a hole: expected it at offset 120"},
    {"{" T("a", "F32", "[1]", "[4,8]") "}", 8, 0,
     "offset 66: tensor 'a' leaves a hole: expected it at offset 62"},
    {"{" T("a", "F32", "[1]", "[0,4]") "}", 5, 0,
     "offset 66: expected the end of the file, found 1 more bytes"},
    {"{}", 1, 0, "offset 10: expected the end of the file, found 1 more bytes"},
    {"{'__metadata__':1}", 0, 0, "offset 8: __metadata__: expected an object"},
    {"{'__metadata__':{'a':1}}", 0, 0, "offset 8: __metadata__: expected texts only"},
};

static size_t assemble(const malformed *m, unsigned char *out) {
  size_t length = strlen(m->header);
  uint64_t announced = m->length ? (uint64_t)m->length : length;
  for (int i = 0; i < 8; i++) out[i] = (unsigned char)(announced >> 8 * i);
  for (size_t i = 0; i < length; i++)
    out[8 + i] = (unsigned char)(m->header[i] == '\'' ? '"' : m->header[i]);
  memset(out + 8 + length, 0, m->data);
  return 8 + length + m->data;
}

START_TEST(malformed_files_are_refused) {
  unsigned char raw[1024];
  put(raw, assemble(&table[_i], raw));
  tg_safetensors *f = NULL;
  char expected[512];
  tg_status status = tg_safetensors_open(path, &f);
  ck_assert_int_eq(status, TG_EDATA);
  ck_assert_ptr_null(f);
  /* What jansson says about its own subject is its own. */
  snprintf(expected, sizeof expected, "%s: %s", path, table[_i].message ? table[_i].message : "");
  if (table[_i].message) ck_assert_str_eq(tg_status_message(), expected);
  if (!table[_i].message)
    ck_assert_msg(strstr(tg_status_message(), ": expected a header in JSON: ") &&
                      strstr(tg_status_message(), ": offset "),
                  "%s", tg_status_message());
  ck_assert_ptr_null(strchr(tg_status_message(), '\n'));
}
END_TEST

START_TEST(files_that_are_none) {
  tg_safetensors *f = NULL;
  ck_assert_int_eq(tg_safetensors_open(path, &f), TG_ENOINPUT);
  ck_assert_int_eq(tg_safetensors_open(folder, &f), TG_EDATA);
  put("1234567", 7);
  ck_assert_int_eq(tg_safetensors_open(path, &f), TG_EDATA);
  ck_assert_msg(strstr(tg_status_message(), "offset 0: expected 8 bytes of header length, found 7"),
                "%s", tg_status_message());
  put("", 0);
  ck_assert_int_eq(tg_safetensors_open(path, &f), TG_EDATA);
}
END_TEST

START_TEST(every_truncation_is_refused) {
  unsigned char raw[4096];
  ck_assert_int_eq(write_samples(path, NULL, NULL), TG_OK);
  size_t length = get(raw, sizeof raw);
  for (size_t n = 0; n < length; n++) {
    tg_safetensors *f = NULL;
    put(raw, n);
    ck_assert_int_eq(tg_safetensors_open(path, &f), TG_EDATA);
  }
}
END_TEST

START_TEST(mutations_never_crash) {
  unsigned char raw[4096], mutated[4096];
  ck_assert_int_eq(write_samples(path, NULL, NULL), TG_OK);
  size_t length = get(raw, sizeof raw);
  tg_rng r = tg_rng_open(3, TG_RNG_TEST, 3, 0);
  for (int i = 0; i < 5000; i++) {
    memcpy(mutated, raw, length);
    for (uint32_t k = tg_rng_below(&r, 3) + 1; k > 0; k--) {
      size_t at = tg_rng_below(&r, (uint32_t)length);
      mutated[at] = tg_rng_below(&r, 2) ? (unsigned char)('0' + tg_rng_below(&r, 10))
                                        : (unsigned char)tg_rng_u32(&r);
    }
    put(mutated, length);
    tg_safetensors *f = NULL;
    tg_status status = tg_safetensors_open(path, &f);
    ck_assert(status == TG_OK || status == TG_EDATA);
    /* What was accepted can be read to the last byte. */
    unsigned sum = 0;
    for (size_t t = 0; f && t < tg_safetensors_count(f); t++)
      for (size_t b = 0; b < tg_safetensors_at(f, t)->bytes; b++)
        sum += ((const unsigned char *)tg_safetensors_at(f, t)->data)[b];
    ck_assert_uint_lt(sum, 1u << 20);
    tg_safetensors_close(f);
  }
}
END_TEST

int main(int argc, char **argv) {
  if (argc > 1) {
    snprintf(path, sizeof path, "%.80s/a.safetensors", argv[1]);
    tg_status status = write_samples(path, NULL, NULL);
    if (status != TG_OK) fprintf(stderr, "%s\n", tg_status_message());
    return status;
  }
  Suite *suite = suite_create("safetensors");
  TCase *c = tcase_create("safetensors");
  tcase_add_checked_fixture(c, make_folder, remove_folder);
  tcase_set_timeout(c, 60);
  tcase_add_test(c, what_is_written_is_read_back);
  tcase_add_test(c, data_are_aligned);
  tcase_add_test(c, no_tensors_at_all);
  tcase_add_test(c, the_known_hash);
  tcase_add_test(c, impossible_tensors_are_not_written);
  tcase_add_test(c, a_full_disk_leaves_the_old_file);
  tcase_add_loop_test(c, malformed_files_are_refused, 0, sizeof table / sizeof *table);
  tcase_add_test(c, files_that_are_none);
  tcase_add_test(c, every_truncation_is_refused);
  tcase_add_test(c, mutations_never_crash);
  suite_add_tcase(suite, c);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
