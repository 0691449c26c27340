/* test_trace.c - trace.bin: what is written, what is read back, what is refused. */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../support/fixture.h"
#include "tardigrad/message.h"
#include "tardigrad/trace.h"

enum { WORKERS = 7, SEED = 42 };

static char path[256];

static void set_up(void) {
  fixture_path("trace.bin", path, sizeof path);
}

static void tear_down(void) {
  fixture_end();
}

/* count records: worker i*i mod WORKERS, every fifth an evaluation. */
static uint32_t kind_at(size_t i) {
  return i % 5 == 4 ? TG_MSG_EVALUATED : TG_MSG_PUSH;
}

static uint32_t worker_at(size_t i) {
  return (uint32_t)(i * i % WORKERS);
}

static void append(tg_trace *t, size_t from, size_t to) {
  for (size_t i = from; i < to; i++) ck_ok(tg_trace_append(t, worker_at(i), kind_at(i), 0));
}

static void write_file(const void *data, size_t bytes) {
  FILE *f = fopen(path, "wb");
  ck_assert_ptr_nonnull(f);
  ck_assert_uint_eq(fwrite(data, 1, bytes, f), bytes);
  fclose(f);
}

static off_t file_size(void) {
  struct stat info;
  ck_assert_int_eq(stat(path, &info), 0);
  return info.st_size;
}

static void check_file(size_t count) {
  uint32_t workers, *records;
  uint64_t seed;
  size_t found;
  ck_ok(tg_trace_read(path, &workers, &seed, &records, NULL, &found));
  ck_assert_uint_eq(workers, WORKERS);
  ck_assert_uint_eq(seed, SEED);
  ck_assert_uint_eq(found, count);
  for (size_t i = 0; i < count; i++) ck_assert_uint_eq(records[i], worker_at(i) | kind_at(i) << 24);
  free(records);
}

START_TEST(reads_back_what_was_written) {
  tg_trace *t;
  ck_ok(tg_trace_create(path, WORKERS, SEED, &t));
  ck_assert_int_eq(tg_trace_next(t), -1);
  append(t, 0, 1000);
  ck_assert_uint_eq(tg_trace_count(t), 1000);
  ck_ok(tg_trace_sync(t));
  tg_trace_close(t);
  check_file(1000);
}
END_TEST

/* Every record is in the file when append returns: nothing is lost with the process. */
START_TEST(keeps_nothing_back) {
  tg_trace *t;
  ck_ok(tg_trace_create(path, WORKERS, SEED, &t));
  for (size_t i = 0; i < 10; i++) {
    append(t, i, i + 1);
    ck_assert_int_eq(file_size(), 32 + 8 * ((off_t)i + 1));
  }
  tg_trace_close(t);
}
END_TEST

START_TEST(has_the_documented_bytes) {
  const unsigned char expected[] = {
      'T',  'G',  'T',  'R',  'A',  'C',  'E',  '1', 1, 0, 0, 0, 7, 0, 0, 0,
      0xEF, 0xCD, 0xAB, 0x89, 0x67, 0x45, 0x23, 1,   0, 0, 0, 0, 0, 0, 0, 0,
      5,    0,    0,    1,    1,    2,    3,    4,   6, 0, 0, 2, 0, 0, 0, 0};
  unsigned char found[sizeof expected];
  tg_trace *t;
  ck_ok(tg_trace_create(path, 7, 0x0123456789ABCDEF, &t));
  ck_ok(tg_trace_append(t, 5, TG_MSG_PUSH, 0x04030201));
  ck_ok(tg_trace_append(t, 6, TG_MSG_EVALUATED, 0));
  tg_trace_close(t);
  ck_assert_int_eq(file_size(), sizeof expected);
  FILE *f = fopen(path, "rb");
  ck_assert_uint_eq(fread(found, 1, sizeof found, f), sizeof found);
  fclose(f);
  ck_assert_mem_eq(found, expected, sizeof expected);
}
END_TEST

/* A record cut off by a crash is dropped, whatever is left of it; then the file goes on. */
START_TEST(drops_a_torn_record) {
  tg_trace *t;
  ck_ok(tg_trace_create(path, WORKERS, SEED, &t));
  append(t, 0, 20);
  tg_trace_close(t);
  ck_assert_int_eq(truncate(path, 32 + 8 * 17 + _i), 0);
  check_file(17);
  ck_ok(tg_trace_open(path, WORKERS, SEED, 17, &t));
  ck_assert_int_eq(file_size(), 32 + 8 * 17);
  ck_assert_int_eq(tg_trace_next(t), -1);
  append(t, 17, 30);
  tg_trace_close(t);
  check_file(30);
}
END_TEST

START_TEST(prescribes_what_came_after_the_checkpoint) {
  tg_trace *t;
  ck_ok(tg_trace_create(path, WORKERS, SEED, &t));
  append(t, 0, 20);
  tg_trace_close(t);
  ck_ok(tg_trace_open(path, WORKERS, SEED, 12, &t));
  ck_assert_uint_eq(tg_trace_count(t), 12);
  for (size_t i = 12; i < 20; i++) {
    ck_assert_int_eq(tg_trace_next(t), (int)worker_at(i));
    append(t, i, i + 1);
    ck_assert_int_eq(file_size(), 32 + 8 * 20);
  }
  ck_assert_int_eq(tg_trace_next(t), -1);
  append(t, 20, 25);
  ck_assert_uint_eq(tg_trace_count(t), 25);
  tg_trace_close(t);
  check_file(25);
}
END_TEST

START_TEST(refuses_another_order) {
  tg_trace *t;
  ck_ok(tg_trace_create(path, WORKERS, SEED, &t));
  append(t, 0, 3);
  tg_trace_close(t);
  ck_ok(tg_trace_open(path, WORKERS, SEED, 2, &t));
  ck_assert_int_eq(tg_trace_append(t, 5, TG_MSG_PUSH, 0), TG_ERUNTIME);
  ck_assert_ptr_nonnull(strstr(tg_status_message(),
                               "record 2 is a message of kind 1 from worker 4, "
                               "but one of kind 1 from worker 5 was taken"));
  ck_assert_int_eq(tg_trace_append(t, 4, TG_MSG_EVALUATED, 0), TG_ERUNTIME);
  ck_assert_uint_eq(tg_trace_count(t), 2);
  ck_ok(tg_trace_append(t, 4, TG_MSG_PUSH, 0));
  tg_trace_close(t);
}
END_TEST

static const struct {
  const char *bytes;
  size_t count;
  tg_status status;
  const char *says;
} broken[] = {
    {"", 0, TG_EDATA, "0 bytes, a trace begins with a header of 32"},
    {"TGTRACE1", 8, TG_EDATA, "8 bytes, a trace begins with a header of 32"},
    {"TGTRACE2\1\0\0\0\7\0\0\0\52\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 32, TG_EDATA,
     "byte 0: not a trace"},
    {"TGTRACE1\2\0\0\0\7\0\0\0\52\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 32, TG_EDATA,
     "byte 8: version 2, 1 expected"},
    {"TGTRACE1\1\0\0\0\0\0\0\0\52\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 32, TG_EDATA, "byte 12: 0 workers"},
    {"TGTRACE1\1\0\0\0\7\0\0\0\52\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\7\0\0\1\0\0\0\0", 40, TG_EDATA,
     "byte 32: a record of worker 7, there are 7 workers"},
    {"TGTRACE1\1\0\0\0\6\0\0\0\52\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 32, TG_EDATA,
     "byte 12: a trace of 6 workers, this run has 7"},
    {"TGTRACE1\1\0\0\0\7\0\0\0\53\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 32, TG_EDATA,
     "byte 16: a trace of seed 43, this run has 42"},
    {"TGTRACE1\1\0\0\0\7\0\0\0\52\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\1\0", 42, TG_EDATA,
     "1 records, the checkpoint was made after 2"},
};

START_TEST(says_what_is_wrong) {
  tg_trace *t;
  write_file(broken[_i].bytes, broken[_i].count);
  ck_assert_int_eq(tg_trace_open(path, WORKERS, SEED, 2, &t), broken[_i].status);
  ck_assert_msg(strstr(tg_status_message(), broken[_i].says), "%s", tg_status_message());
  ck_assert_ptr_nonnull(strstr(tg_status_message(), path));
}
END_TEST

START_TEST(says_what_is_missing) {
  uint32_t workers, *records;
  uint64_t seed;
  size_t count;
  tg_trace *t;
  unlink(path);
  ck_assert_int_eq(tg_trace_open(path, WORKERS, SEED, 0, &t), TG_ENOINPUT);
  ck_assert_int_eq(tg_trace_read(path, &workers, &seed, &records, NULL, &count), TG_ENOINPUT);
  ck_assert_ptr_nonnull(strstr(tg_status_message(), path));
  ck_assert_int_eq(tg_trace_create("/proc/none/trace.bin", WORKERS, SEED, &t), TG_ERUNTIME);
  tg_trace_close(NULL);
}
END_TEST

START_TEST(says_that_the_disk_is_full) {
  tg_trace *t;
  if (access("/dev/full", W_OK) != 0) return;
  ck_assert_int_eq(tg_trace_create("/dev/full", WORKERS, SEED, &t), TG_ERUNTIME);
  ck_assert_ptr_nonnull(strstr(tg_status_message(), "/dev/full: cannot write"));
}
END_TEST

int main(void) {
  Suite *suite = suite_create("trace");
  TCase *tc = tcase_create("trace");
  tcase_add_checked_fixture(tc, set_up, tear_down);
  tcase_add_test(tc, reads_back_what_was_written);
  tcase_add_test(tc, keeps_nothing_back);
  tcase_add_test(tc, has_the_documented_bytes);
  tcase_add_loop_test(tc, drops_a_torn_record, 0, 8);
  tcase_add_test(tc, prescribes_what_came_after_the_checkpoint);
  tcase_add_test(tc, refuses_another_order);
  tcase_add_loop_test(tc, says_what_is_wrong, 0, sizeof broken / sizeof *broken);
  tcase_add_test(tc, says_what_is_missing);
  tcase_add_test(tc, says_that_the_disk_is_full);
  suite_add_tcase(suite, tc);
  return fixture_run(suite, 0) != 0;
}
