/* metrics.jsonl and TensorBoard events, read back by parsers that share no code with src/. With a
 * folder as argument: writes samples into it for test_peers_read.py. */
#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <float.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tardigrad/log.h"
#include "tardigrad/metrics.h"

static char run[64], path[96];

static void make_run(void) {
  const char *base = getenv("TMPDIR");
  snprintf(run, sizeof run, "%.30s/metrics-XXXXXX", base ? base : "/tmp");
  ck_assert_ptr_nonnull(mkdtemp(run));
  snprintf(path, sizeof path, "%s/metrics.jsonl", run);
  tg_log_setup(0, TG_LOG_ERROR);
}

static const char *event_file(const char *folder) {
  static char name[400];
  DIR *d = opendir(folder);
  name[0] = 0;
  for (struct dirent *e; d && (e = readdir(d));)
    if (strncmp(e->d_name, "events.out.tfevents.", 20) == 0)
      snprintf(name, sizeof name, "%.90s/%.250s", folder, e->d_name);
  if (d) closedir(d);
  return name;
}

static void remove_run(void) {
  for (const char *name; *(name = event_file(run));) unlink(name);
  unlink(path);
  ck_assert_int_eq(rmdir(run), 0);
}

static char *read_all(const char *name, size_t *length) {
  FILE *file = fopen(name, "rb");
  ck_assert_ptr_nonnull(file);
  char *text = calloc(1, 1 << 20);
  *length = fread(text, 1, (1 << 20) - 1, file);
  fclose(file);
  return text;
}

static tg_metrics *open_ok(uint64_t keep, bool tensorboard) {
  tg_metrics *m = NULL;
  tg_status status = tg_metrics_open(run, keep, tensorboard, &m);
  ck_assert_msg(status == TG_OK, "%s", tg_status_message());
  return m;
}

static void line(tg_metrics *m, uint64_t update) {
  tg_metrics_begin(m, "train", 1.5, update, 0.1);
  tg_metrics_real(m, "loss", 1.0 / 3.0);
  ck_assert_int_eq(tg_metrics_end(m), TG_OK);
}

/* ---- metrics.jsonl ---- */

START_TEST(a_line_is_one_json_object) {
  const uint64_t histogram[3] = {5, 0, UINT64_MAX / 2};
  tg_metrics *m = open_ok(UINT64_MAX, false);
  tg_metrics_begin(m, "end", 12.25, 9007199254740993u, 1e-7);
  tg_metrics_text(m, "host", "quote \" back \\ line \n tab \t bell \a caf\u00e9 \xff broken");
  tg_metrics_real(m, "error", NAN);
  tg_metrics_real(m, "loss", -INFINITY);
  tg_metrics_real(m, "lr", 0.1);
  tg_metrics_real(m, "tiny", 4.9406564584124654e-324);
  tg_metrics_real(m, "big", 1.7976931348623157e308);
  tg_metrics_count(m, "samples", 18446744073709551615u / 2);
  tg_metrics_counts(m, "staleness_histogram", histogram, 3);
  tg_metrics_counts(m, "none", histogram, 0);
  ck_assert_int_eq(tg_metrics_end(m), TG_OK);
  size_t length;
  char *text = read_all(path, &length);
  ck_assert_uint_eq(tg_metrics_bytes(m), length);
  ck_assert_str_eq(text, "{\"kind\":\"end\",\"wall_s\":12.25,\"update\":9007199254740993,"
                         "\"epoch\":1.0e-07,\"host\":\"quote \\\" back \\\\ line \\n tab \\t bell "
                         "\\u0007 caf\u00e9 ? broken\",\"error\":null,\"loss\":null,\"lr\":0.1,"
                         "\"tiny\":4.94065645841247e-324,\"big\":1.7976931348623157e+308,"
                         "\"samples\":9223372036854775807,\"staleness_histogram\":[5,0,"
                         "9223372036854775807],\"none\":[]}\n");
  json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
  ck_assert_ptr_nonnull(root);
  ck_assert_double_eq(json_real_value(json_object_get(root, "tiny")), 4.9406564584124654e-324);
  json_decref(root);
  free(text);
  tg_metrics_close(m);
}
END_TEST

START_TEST(long_lines_are_whole) {
  enum { COUNT = 20000 };
  uint64_t *values = malloc(COUNT * sizeof *values);
  for (uint64_t i = 0; i < COUNT; i++) values[i] = i * i;
  tg_metrics *m = open_ok(UINT64_MAX, false);
  tg_metrics_begin(m, "end", 0, 0, 0);
  tg_metrics_counts(m, "h", values, COUNT);
  ck_assert_int_eq(tg_metrics_end(m), TG_OK);
  tg_metrics_close(m);
  size_t length;
  char *text = read_all(path, &length);
  json_t *root = json_loads(text, 0, NULL), *h = json_object_get(root, "h");
  ck_assert_uint_eq(json_array_size(h), COUNT);
  for (uint64_t i = 0; i < COUNT; i++)
    ck_assert_uint_eq((uint64_t)json_integer_value(json_array_get(h, i)), values[i]);
  json_decref(root);
  free(text);
  free(values);
}
END_TEST

START_TEST(a_new_run_begins_anew_and_a_resumed_one_is_cut_back) {
  size_t length;
  tg_metrics *m = open_ok(UINT64_MAX, false);
  line(m, 1);
  uint64_t kept = tg_metrics_bytes(m);
  line(m, 2);
  tg_metrics_close(m);
  m = open_ok(kept, false);
  ck_assert_uint_eq(tg_metrics_bytes(m), kept);
  line(m, 3);
  tg_metrics_close(m);
  char *text = read_all(path, &length);
  ck_assert_ptr_nonnull(strstr(text, "\"update\":1,"));
  ck_assert_ptr_null(strstr(text, "\"update\":2,"));
  ck_assert_ptr_nonnull(strstr(text, "\"update\":3,"));
  free(text);
  m = open_ok(UINT64_MAX, false);
  ck_assert_uint_eq(tg_metrics_bytes(m), 0);
  tg_metrics_close(m);
  struct stat info;
  ck_assert_int_eq(stat(path, &info), 0);
  ck_assert_int_eq(info.st_size, 0);
}
END_TEST

START_TEST(resuming_never_leaves_half_a_line) {
  tg_metrics *m = open_ok(UINT64_MAX, false);
  line(m, 1);
  uint64_t first = tg_metrics_bytes(m);
  line(m, 2);
  uint64_t both = tg_metrics_bytes(m);
  tg_metrics_close(m);
  /* The checkpoint's figure is beyond the file, and the file ends within a line. */
  ck_assert_int_eq(truncate(path, (off_t)both - 3), 0);
  m = open_ok(both, false);
  ck_assert_uint_eq(tg_metrics_bytes(m), first);
  tg_metrics_close(m);
  m = open_ok(first - 1, false);
  ck_assert_uint_eq(tg_metrics_bytes(m), 0);
  tg_metrics_close(m);
  m = open_ok(0, false);
  ck_assert_uint_eq(tg_metrics_bytes(m), 0);
  tg_metrics_close(m);
}
END_TEST

/* While the limit holds, Check cannot write down its own results either: nothing is asserted. */
static void limit_files(rlim_t bytes) {
  struct rlimit limit = {bytes, RLIM_INFINITY};
  signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &limit);
}

START_TEST(a_full_disk_is_reported_once_and_leaves_whole_lines) {
  tg_metrics *m = open_ok(UINT64_MAX, false);
  line(m, 1);
  uint64_t kept = tg_metrics_bytes(m);
  limit_files(kept + 10);
  tg_metrics_begin(m, "train", 1, 2, 0);
  tg_status first = tg_metrics_end(m);
  tg_metrics_begin(m, "train", 1, 3, 0);
  tg_status second = tg_metrics_end(m);
  limit_files(RLIM_INFINITY);
  ck_assert_int_eq(first, TG_ERUNTIME);
  ck_assert_ptr_nonnull(strstr(tg_status_message(), "metrics.jsonl: cannot write: "));
  ck_assert_int_eq(second, TG_OK);
  ck_assert_uint_eq(tg_metrics_bytes(m), kept);
  struct stat info;
  ck_assert_int_eq(stat(path, &info), 0);
  ck_assert_uint_eq((uint64_t)info.st_size, kept);
  line(m, 4);
  tg_metrics_close(m);
}
END_TEST

START_TEST(a_missing_run_is_a_failure) {
  tg_metrics *m = NULL;
  ck_assert_int_eq(tg_metrics_open("/nowhere", UINT64_MAX, true, &m), TG_ERUNTIME);
  ck_assert_str_eq(tg_status_message(),
                   "/nowhere/metrics.jsonl: cannot open: No such file or directory");
  tg_events *e = NULL;
  ck_assert_int_eq(tg_events_open("/nowhere/e", &e), TG_ERUNTIME);
}
END_TEST

/* ---- events, read bit by bit ---- */

/* CRC-32C as the polynomial division that it is: one bit at a time, most significant first, of
 * reflected input and output. */
static uint32_t slow_crc(const unsigned char *data, size_t bytes) {
  uint32_t c = 0xFFFFFFFFu, reflected = 0;
  for (size_t i = 0; i < bytes; i++)
    for (int bit = 0; bit < 8; bit++) {
      uint32_t top = c >> 31 ^ (data[i] >> bit & 1u);
      c = c << 1 ^ (top ? 0x1EDC6F41u : 0);
    }
  for (int bit = 0; bit < 32; bit++) reflected |= (c >> bit & 1u) << (31 - bit);
  return ~reflected;
}

static uint32_t masked(uint32_t crc) {
  return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

static uint64_t little(const unsigned char *p, int width) {
  uint64_t value = 0;
  for (int i = width - 1; i >= 0; i--) value = value << 8 | p[i];
  return value;
}

typedef struct event {
  double wall_time;
  uint64_t step;
  char version[32], tag[300];
  float value;
} event;

/* One protobuf message; `depth` says which: 0 Event, 1 Summary, 2 Value. */
static void parse(const unsigned char *p, size_t length, int depth, event *out) {
  for (size_t at = 0; at < length;) {
    int field = p[at] >> 3, type = p[at] & 7;
    uint64_t value = 0;
    at++;
    if (type == 0 || type == 2) {
      for (int shift = 0;; shift += 7) {
        value |= (uint64_t)(p[at] & 127) << shift;
        if (!(p[at++] & 128)) break;
      }
    } else {
      int width = type == 1 ? 8 : 4;
      value = little(p + at, width);
      at += (size_t)width;
    }
    const char *block = (const char *)p + at;
    if (type == 2) at += value;
    ck_assert_uint_le(at, length);
    uint32_t low = (uint32_t)value;
    if (depth == 0 && field == 1 && type == 1)
      memcpy(&out->wall_time, &value, 8);
    else if (depth == 0 && field == 2 && type == 0)
      out->step = value;
    else if (depth == 0 && field == 3 && type == 2)
      snprintf(out->version, sizeof out->version, "%.*s", (int)value, block);
    else if ((depth == 0 && field == 5 && type == 2) || (depth == 1 && field == 1 && type == 2))
      parse((const unsigned char *)block, value, depth + 1, out);
    else if (depth == 2 && field == 1 && type == 2)
      snprintf(out->tag, sizeof out->tag, "%.*s", (int)value, block);
    else if (depth == 2 && field == 2 && type == 5)
      memcpy(&out->value, &low, 4);
    else
      ck_abort_msg("depth %d has no field %d of type %d", depth, field, type);
  }
}

static size_t read_events(const char *name, event *out, size_t most) {
  size_t length, count = 0;
  char *text = read_all(name, &length);
  const unsigned char *p = (const unsigned char *)text, *end = p + length;
  while (p < end) {
    ck_assert_uint_lt(count, most);
    uint64_t bytes = little(p, 8);
    ck_assert_uint_eq(little(p + 8, 4), masked(slow_crc(p, 8)));
    ck_assert_uint_eq(little(p + 12 + bytes, 4), masked(slow_crc(p + 12, bytes)));
    out[count] = (event){.step = 0};
    parse(p + 12, bytes, 0, &out[count++]);
    p += 16 + bytes;
  }
  ck_assert_ptr_eq(p, end);
  free(text);
  return count;
}

START_TEST(the_crc_of_the_test_is_the_right_one) {
  /* RFC 3720, B.4. */
  unsigned char zeros[32] = {0};
  ck_assert_uint_eq(slow_crc((const unsigned char *)"123456789", 9), 0xE3069283u);
  ck_assert_uint_eq(slow_crc(zeros, 32), 0x8A9136AAu);
}
END_TEST

static const struct {
  const char *tag;
  uint64_t step;
  double wall_time;
  float value;
} points[] = {{"train/loss", 0, 1700000000.125, 2.5f},
              {"train/loss", 127, 1700000001.0, 0.1f},
              {"train/loss", 128, 1700000002.0, -0.0f},
              {"eval/error", 300, 1700000003.5, 3.4028235e38f},
              {"eval/error", 4294967296, 1700000004.0, 1e-45f},
              {"eval/error", 9223372036854775807, 1700000005.0, -1.5f}};
enum { POINTS = sizeof points / sizeof *points };

static tg_status write_points(const char *name) {
  tg_events *e = NULL;
  TG_TRY(tg_events_open(name, &e));
  tg_status status = TG_OK;
  for (size_t i = 0; i < POINTS && status == TG_OK; i++)
    status =
        tg_events_scalar(e, points[i].tag, points[i].step, points[i].wall_time, points[i].value);
  tg_events_close(e);
  return status;
}

START_TEST(events_are_read_back) {
  char name[160];
  event e[POINTS + 1];
  snprintf(name, sizeof name, "%s/events.out.tfevents.1.x.2", run);
  ck_assert_int_eq(write_points(name), TG_OK);
  ck_assert_uint_eq(read_events(name, e, POINTS + 1), POINTS + 1);
  ck_assert_str_eq(e[0].version, "brain.Event:2");
  ck_assert_double_gt(e[0].wall_time, 1.7e9);
  for (size_t i = 0; i < POINTS; i++) {
    ck_assert_str_eq(e[i + 1].tag, points[i].tag);
    ck_assert_uint_eq(e[i + 1].step, points[i].step);
    ck_assert_double_eq(e[i + 1].wall_time, points[i].wall_time);
    ck_assert_mem_eq(&e[i + 1].value, &points[i].value, 4);
  }
}
END_TEST

START_TEST(long_tags) {
  char name[160], tag[258];
  event e[2];
  tg_events *events = NULL;
  memset(tag, 'x', sizeof tag);
  tag[257] = 0;
  snprintf(name, sizeof name, "%s/events.out.tfevents.1.x.2", run);
  ck_assert_int_eq(tg_events_open(name, &events), TG_OK);
  ck_assert_int_eq(tg_events_scalar(events, tag, UINT64_MAX, 1, 1), TG_ERUNTIME);
  tag[256] = 0;
  ck_assert_int_eq(tg_events_scalar(events, tag, UINT64_MAX, 1, 1), TG_OK);
  tg_events_close(events);
  ck_assert_uint_eq(read_events(name, e, 2), 2);
  ck_assert_str_eq(e[1].tag, tag);
}
END_TEST

START_TEST(train_and_eval_lines_become_scalars) {
  event e[8];
  tg_metrics *m = open_ok(UINT64_MAX, true);
  tg_metrics_begin(m, "start", 0, 0, 0);
  tg_metrics_count(m, "parameters", 5);
  ck_assert_int_eq(tg_metrics_end(m), TG_OK);
  tg_metrics_begin(m, "train", 1, 50, 0.5);
  tg_metrics_real(m, "loss", 0.25);
  tg_metrics_count(m, "staleness_max", 7);
  tg_metrics_text(m, "note", "not a number");
  ck_assert_int_eq(tg_metrics_end(m), TG_OK);
  tg_metrics_begin(m, "eval", 1, 60, 0.5);
  tg_metrics_real(m, "loss", NAN);
  ck_assert_int_eq(tg_metrics_end(m), TG_OK);
  tg_metrics_close(m);
  ck_assert_uint_eq(read_events(event_file(run), e, 8), 4);
  ck_assert_str_eq(e[1].tag, "train/loss");
  ck_assert_float_eq(e[1].value, 0.25f);
  ck_assert_uint_eq(e[1].step, 50);
  ck_assert_str_eq(e[2].tag, "train/staleness_max");
  ck_assert_float_eq(e[2].value, 7.0f);
  ck_assert_str_eq(e[3].tag, "eval/loss");
  ck_assert(isnan(e[3].value));
}
END_TEST

int main(int argc, char **argv) {
  if (argc > 1) {
    char name[256];
    snprintf(name, sizeof name, "%.200s/events.out.tfevents.1.sample.2", argv[1]);
    tg_status status = write_points(name);
    if (status != TG_OK) fprintf(stderr, "%s\n", tg_status_message());
    return status;
  }
  Suite *suite = suite_create("metrics");
  TCase *c = tcase_create("metrics");
  tcase_add_checked_fixture(c, make_run, remove_run);
  tcase_set_timeout(c, 60);
  tcase_add_test(c, a_line_is_one_json_object);
  tcase_add_test(c, long_lines_are_whole);
  tcase_add_test(c, a_new_run_begins_anew_and_a_resumed_one_is_cut_back);
  tcase_add_test(c, resuming_never_leaves_half_a_line);
  tcase_add_test(c, a_full_disk_is_reported_once_and_leaves_whole_lines);
  tcase_add_test(c, a_missing_run_is_a_failure);
  tcase_add_test(c, the_crc_of_the_test_is_the_right_one);
  tcase_add_test(c, events_are_read_back);
  tcase_add_test(c, long_tags);
  tcase_add_test(c, train_and_eval_lines_become_scalars);
  suite_add_tcase(suite, c);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
