/* The report of any input: numbers that are derived, axes that hold them, runs of random content,
 * and inputs that are wrong. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "run/report_chart.h"
#include "run/report_parts.h"
#include "support/fixture.h"
#include "support/page.h"
#include "tardigrad/report.h"
#include "tardigrad/rng.h"

static const char late_config[] =
    "run: {name: late, seed: 7, threads: 2}\n"
    "data: {name: cifar10, augment: crop_flip}\n"
    "model: {name: resnet20}\n"
    "train: {batch: 32, epochs: 1}\n"
    "optimizer: {name: momentum, lr: 0.05, momentum: 0.8, weight_decay: 0.0001,\n"
    "  schedule: [{epoch: 80, factor: 0.1}, {epoch: 120, factor: 0.1}]}\n"
    "sync: {rule: dc-asgd-a}\n";

static const char plain_metrics[] =
    "{\"kind\": \"eval\", \"wall_s\": 30, \"update\": 5, \"epoch\": 1, \"error\": 40.5}\n"
    "{\"kind\": \"eval\", \"wall_s\": 60, \"update\": 9, \"epoch\": 2, \"error\": 12.75}\n"
    "{\"kind\": \"end\", \"wall_s\": 61.04, \"update\": 9, \"epoch\": 2, \"error\": 12.75, "
    "\"loss\": null, \"staleness_histogram\": [9]}\n";

/* ---- numbers that are derived ---- */

START_TEST(quantiles_of_a_histogram) {
  uint64_t counts[] = {1, 2, 14, 3}, none[] = {0, 0};
  tg_report_run run = {.histogram = counts, .bins = 4};
  static const struct {
    double share, expected;
  } cases[] = {{0, 0}, {0.05, 0}, {0.1, 1}, {0.15, 1}, {0.16, 2}, {0.85, 2}, {0.86, 3}, {1, 3}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    ck_assert_double_eq(tg_report_quantile(&run, cases[i].share), cases[i].expected);
  run = (tg_report_run){.histogram = none, .bins = 2};
  ck_assert(isnan(tg_report_quantile(&run, 0.5)));
}
END_TEST

START_TEST(the_target_is_what_all_runs_reach) {
  tg_report_run runs[] = {{.best_error = 11.2}, {.best_error = NAN}, {.best_error = 13}};
  ck_assert(isnan(tg_report_target(runs, 2)));
  ck_assert_double_eq(tg_report_target(runs, 3), 13);
  runs[0].best_error = 13.0001;
  ck_assert_double_eq(tg_report_target(runs, 3), 14);
  runs[0].best_error = 1.23;
  runs[2].best_error = 1.11;
  ck_assert_double_eq_tol(tg_report_target(runs, 3), 1.3, 1e-12);
}
END_TEST

START_TEST(a_full_last_bin_is_a_bound) {
  char metrics[8192] = "{\"kind\": \"end\", \"update\": 2, \"staleness_histogram\": [";
  for (int i = 0; i < 1024; i++) strcat(metrics, "0,");
  strcat(metrics, "2]}\n");
  char *run = page_run("late", late_config, metrics);
  char *page = page_of((const char *const *)&run, 1);
  page_expect(page, "Staleness, mean", 0, "\xE2\x89\xA5 1024.00");
  page_expect(page, "Staleness, 99th percentile", 0, "\xE2\x89\xA5 1,024");
  free(page);
  free(run);
}
END_TEST

/* What an axis must do, for any data. */
static void check_axis(const tg_axis *axis, double lo, double hi) {
  double slack = 1e-6 * fmax(fabs(lo), fabs(hi));
  ck_assert_msg(isfinite(axis->lo) && isfinite(axis->hi) && axis->lo < axis->hi, "%g %g", lo, hi);
  ck_assert_msg(axis->lo <= lo + slack && axis->hi >= hi - slack, "[%g, %g] does not hold [%g, %g]",
                axis->lo, axis->hi, lo, hi);
  ck_assert(!axis->log || axis->lo > 0);
}

START_TEST(axes_hold_their_data) {
  for (uint32_t i = 0; i < 5000; i++) {
    tg_rng rng = tg_rng_open(1, TG_RNG_TEST, i, 0);
    double scale = pow(10, 24 * tg_rng_double(&rng) - 12);
    double lo = scale * (i % 3 ? tg_rng_double(&rng) : 2 * tg_rng_double(&rng) - 1);
    double hi = lo + (i % 5 ? scale * tg_rng_double(&rng) : 0);
    tg_axis axis = {.log = i % 3 && lo > 0 && i % 2};
    tg_axis_fit(&axis, lo, hi);
    check_axis(&axis, lo, hi);
  }
}
END_TEST

START_TEST(a_run_that_diverged_does_not_flatten_the_others) {
  static const char diverged[] = "A curve that leaves the drawing is of a run that diverged.";
  char fine[8192] = "", wild[256];
  for (int i = 1; i <= 40; i++)
    snprintf(fine + strlen(fine), 200,
             "{\"kind\": \"train\", \"update\": %d, \"epoch\": %d, \"loss\": %g, "
             "\"correction_ratio\": %g}\n",
             i, i, 50 * exp(-0.3 * i), exp(-0.5 * i));
  snprintf(wild, sizeof wild, "{\"kind\": \"train\", \"epoch\": 1, \"loss\": 1e20}\n");
  char *runs[] = {page_run("fine", late_config, fine), page_run("wild", late_config, wild)};
  char *page = page_of((const char *const *)runs, 1);
  page_has_not(page, diverged); /* falling a millionfold is what a loss should do */
  free(page);
  page = page_of((const char *const *)runs, 2);
  page_has(page, diverged);
  page_has_not(page, "<tspan dy=\"-4\" font-size=\"9\">20</tspan>");
  free(page);
  free(runs[0]);
  free(runs[1]);
}
END_TEST

/* ---- any run at all ---- */

static void put_value(FILE *out, const char *key, tg_rng *rng) {
  static const double values[] = {0, 1, 1e-12, 1e12, 1e308, 5, 12.5, 0.01, 100, 3e-5};
  uint32_t way = tg_rng_below(rng, 6);
  double value = values[tg_rng_below(rng, 10)] * (1 - 0.5 * tg_rng_double(rng));
  if (way == 0) fprintf(out, ", \"%s\": null", key);
  if (way > 1) fprintf(out, ", \"%s\": %g", key, value);
}

static void put_lines(FILE *out, tg_rng *rng) {
  static const char *const kinds[] = {"start", "train", "eval", "worker", "later"};
  static const char *const keys[] = {"wall_s", "epoch",        "sim_s",     "loss",
                                     "error",  "images_per_s", "compute_s", "correction_ratio",
                                     "wait_s"};
  uint32_t lines = tg_rng_below(rng, 300);
  for (uint32_t line = 0; line < lines; line++) {
    fprintf(out, "{\"kind\": \"%s\", \"update\": %u", kinds[tg_rng_below(rng, 5)], line);
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) put_value(out, keys[k], rng);
    fputs("}\n", out);
  }
  if (tg_rng_below(rng, 3) == 0) return;
  fputs("{\"kind\": \"end\", \"update\": 9, \"staleness_histogram\": [", out);
  for (uint32_t i = 0, bins = tg_rng_below(rng, 1030); i < bins; i++)
    fprintf(out, "%s%u", i ? "," : "", tg_rng_below(rng, 5) ? 0 : tg_rng_u32(rng));
  fputs("]}\n", out);
}

static char *random_run(uint32_t seed, uint32_t number) {
  static const char *const rules[] = {"sgd", "ssgd", "asgd", "dc-asgd-c", "dc-asgd-a", "ssp"};
  tg_rng rng = tg_rng_open(seed, TG_RNG_TEST, number, 1);
  char name[16], config[128], *metrics = NULL;
  size_t size;
  FILE *out = open_memstream(&metrics, &size);
  put_lines(out, &rng);
  fclose(out);
  snprintf(name, sizeof name, "r%u", number);
  snprintf(config, sizeof config, "sync: {rule: %s}\ntransport: {name: %s}\nrun: {seed: %u}\n",
           rules[(seed + number) % 6], seed % 2 ? "sim" : "mpi", number);
  char *path = page_run(name, config, metrics);
  free(metrics);
  return path;
}

START_TEST(any_run_makes_a_whole_page) {
  for (uint32_t seed = 0; seed < 12; seed++) {
    enum { RUNS = 9 };
    char *runs[RUNS];
    uint32_t count = 1 + seed % RUNS;
    for (uint32_t i = 0; i < count; i++) runs[i] = random_run(seed, i);
    free(page_of((const char *const *)runs, (int)count));
    for (uint32_t i = 0; i < count; i++) free(runs[i]);
  }
}
END_TEST

/* ---- what is wrong ---- */

START_TEST(malformed_metrics_are_told_with_file_and_line) {
  static const struct {
    const char *metrics, *message;
  } rows[] = {
      {"\n", ":1: expected one JSON object"},
      {"{}\n", ":1: kind: expected start, train, eval, worker or end"},
      {"{\"kind\": 3}\n", ":1: kind: expected a text"},
      {"{\"kind\": null}\n", ":1: kind: expected start"},
      {"[]\n", ":1: line: expected one JSON object"},
      {"3\n", ":1: expected one JSON object"},
      {"{\"kind\": \"eval\"} x\n", ":1: expected one JSON object"},
      {"{\"kind\": \"eval\", \"kind\": \"end\"}\n", ":1: expected one JSON object"},
      {"{\"kind\": \"eval\", \"loss\": 1e999}\n", ":1: expected one JSON object"},
      {"{\"kind\": \"eval\", \"loss\": NaN}\n", ":1: expected one JSON object"},
      {"{\"kind\": \"eval\"}\n{\"kind\": \"ev\n{\"kind\": \"eval\"}\n", ":2: expected one JSON"},
      {"{\"kind\": \"eval\", \"loss\": \"1\"}\n", ":1: loss: expected a number or null"},
      {"{\"kind\": \"eval\", \"error\": -1}\n", ":1: error: expected a number from 0 or null"},
      {"{\"kind\": \"eval\", \"epoch\": true}\n", ":1: epoch: expected a number from 0"},
      {"{\"kind\": \"eval\", \"update\": 1.5}\n", ":1: update: expected a whole number from 0"},
      {"{\"kind\": \"eval\", \"update\": -1}\n", ":1: update: expected a whole number from 0"},
      {"{\"kind\": \"eval\", \"update\": 99999999999999999999}\n", ":1: expected one JSON"},
      {"{\"kind\": \"start\", \"host\": 5}\n", ":1: host: expected a text"},
      {"{\"kind\": \"worker\", \"pushes\": \"x\"}\n", ":1: pushes: expected a whole number"},
      {"{\"kind\": \"end\", \"staleness_histogram\": 4}\n",
       ":1: staleness_histogram: expected a list of counts"},
      {"{\"kind\": \"end\", \"staleness_histogram\": [1, -2]}\n",
       ":1: staleness_histogram: expected a list of counts"},
      {"{\"kind\": \"end\", \"staleness_histogram\": [1, [2]]}\n",
       ":1: staleness_histogram: expected a list of counts"},
      {"{\"kind\": \"end\", \"weights_hash\": []}\n", ":1: weights_hash: expected a text"},
      {"\xff\xfe\n", ":1: expected one JSON object"},
      /* A torn line is forgiven to a run that has not ended. */
      {"{\"kind\": \"end\"}\n{\"kind\": \"sta", ":2: expected one JSON object"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char *run = page_run("bad", "", rows[i].metrics);
    char expected[128];
    ck_assert_int_eq(tg_report_write((const char *const *)&run, 1, NAN, page_path), TG_EDATA);
    snprintf(expected, sizeof expected, "/bad/metrics.jsonl%s", rows[i].message);
    ck_assert_msg(strstr(tg_status_message(), expected), "row %zu: %s", i, tg_status_message());
    ck_assert_int_ne(access(page_path, F_OK), 0);
    free(run);
  }
}
END_TEST

START_TEST(a_zero_byte_is_malformed) {
  char *run = page_run("bad", "", ""), path[256];
  snprintf(path, sizeof path, "%s/metrics.jsonl", run);
  FILE *file = fopen(path, "wb");
  static const char text[] = "{\"kind\": \"eval\0\"}\n";
  fwrite(text, 1, sizeof text - 1, file);
  fclose(file);
  ck_assert_int_eq(tg_report_write((const char *const *)&run, 1, NAN, page_path), TG_EDATA);
  free(run);
}
END_TEST

START_TEST(runs_that_are_none) {
  char *good = page_run("good", "", plain_metrics);
  char *misconfigured = page_run("misconfigured", "train: {batsh: 3}\n", "");
  char *unmeasured = page_run("unmeasured", "", ""), metrics[256], missing[256], again[256];
  snprintf(metrics, sizeof metrics, "%s/metrics.jsonl", unmeasured);
  unlink(metrics);
  snprintf(missing, sizeof missing, "%s/nowhere", page_folder);
  snprintf(again, sizeof again, "%s/./good", page_folder);
  const struct {
    const char *run;
    tg_status status;
    const char *message;
  } rows[] = {{missing, TG_ENOINPUT, "nowhere: no such run"},
              {page_folder, TG_ENOINPUT, "not the folder of a run"},
              {unmeasured, TG_ENOINPUT, "metrics.jsonl: No such file"},
              {misconfigured, TG_ECONFIG, "nearest: train.batch"},
              {again, TG_EUSAGE, "are the same run"}};
  free(page_of((const char *const *)&good, 1));
  char *before = page_read();
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    const char *const runs[] = {good, rows[i].run};
    ck_assert_int_eq(tg_report_write(runs, 2, NAN, page_path), rows[i].status);
    ck_assert_msg(strstr(tg_status_message(), rows[i].message), "%s", tg_status_message());
    char *after = page_read();
    ck_assert_str_eq(before, after); /* an earlier page is as it was */
    free(after);
  }
  ck_assert_int_eq(tg_report_write(NULL, 0, NAN, page_path), TG_EUSAGE);
  free(before);
  free(good);
  free(misconfigured);
  free(unmeasured);
}
END_TEST

START_TEST(a_page_that_cannot_be_written) {
  char *run = page_run("good", "", plain_metrics), path[256], part[300];
  snprintf(path, sizeof path, "%s/nowhere/page.html", page_folder);
  ck_assert_int_eq(tg_report_write((const char *const *)&run, 1, NAN, path), TG_ERUNTIME);
  ck_assert_ptr_nonnull(strstr(tg_status_message(), "nowhere/page.html"));
  snprintf(part, sizeof part, "%s.part", run);
  ck_assert_int_eq(tg_report_write((const char *const *)&run, 1, NAN, run), TG_ERUNTIME);
  ck_assert_int_ne(access(part, F_OK), 0); /* nothing half written is left */
  free(run);
}
END_TEST

START_TEST(two_folders_of_one_name_are_told_apart) {
  char first[128], second[128];
  snprintf(first, sizeof first, "%s/one", page_folder);
  snprintf(second, sizeof second, "%s/two", page_folder);
  ck_assert_int_eq(mkdir(first, 0777) | mkdir(second, 0777), 0);
  char *a = page_run("one/run", "", plain_metrics), *b = page_run("two/run", "", "");
  const char *const runs[] = {a, b};
  char *page = page_of(runs, 2), *again;
  char head[160];
  snprintf(head, sizeof head, "</svg>%s/two/run <em>unfinished</em>", page_folder);
  page_has(page, head);
  again = page_of(runs, 2);
  ck_assert_str_eq(page, again); /* the same input, the same bytes */
  free(page);
  free(again);
  free(a);
  free(b);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("report input");
  TCase *all = tcase_create("all");
  tcase_add_checked_fixture(all, page_folder_make, page_folder_remove);
  tcase_set_timeout(all, 120);
  tcase_add_test(all, quantiles_of_a_histogram);
  tcase_add_test(all, the_target_is_what_all_runs_reach);
  tcase_add_test(all, a_full_last_bin_is_a_bound);
  tcase_add_test(all, axes_hold_their_data);
  tcase_add_test(all, a_run_that_diverged_does_not_flatten_the_others);
  tcase_add_test(all, any_run_makes_a_whole_page);
  tcase_add_test(all, malformed_metrics_are_told_with_file_and_line);
  tcase_add_test(all, a_zero_byte_is_malformed);
  tcase_add_test(all, runs_that_are_none);
  tcase_add_test(all, a_page_that_cannot_be_written);
  tcase_add_test(all, two_folders_of_one_name_are_told_apart);
  suite_add_tcase(suite, all);
  return fixture_run(suite, 0) ? 1 : 0;
}
