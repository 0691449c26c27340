/* The report: known numbers on the page, markup that closes and is escaped, notes that are due.
 */
#include <check.h>
#include <errno.h>
#include <ftw.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/page.h"
#include "run/report_chart.h"
#include "run/report_parts.h"
#include "tardigrad/report.h"
#include "tardigrad/rng.h"

/* ---- runs with known numbers ---- */

static const char late_config[] =
    "run: {name: late, seed: 7, threads: 2}\n"
    "data: {name: cifar10, augment: crop_flip}\n"
    "model: {name: resnet20}\n"
    "train: {batch: 32, epochs: 1}\n"
    "optimizer: {name: momentum, lr: 0.05, momentum: 0.8, weight_decay: 0.0001,\n"
    "  schedule: [{epoch: 80, factor: 0.1}, {epoch: 120, factor: 0.1}]}\n"
    "sync: {rule: dc-asgd-a}\n";

#define START                                                                                      \
  "{\"kind\": \"start\", \"wall_s\": 0.1, \"update\": 0, \"epoch\": 0, \"tardigrad\": \"9.8.7\", " \
  "\"mpi\": \"Some MPI 1.2\", \"host\": \"node\", \"device\": \"a device\", \"workers\": 4, "      \
  "\"threads\": 3, \"parameters\": 269722, \"memory_bytes\": 123456789, \"lambda\": 2.0}\n"
#define TRAIN                                                                                      \
  "{\"kind\": \"train\", \"wall_s\": 1, \"update\": 5, \"epoch\": 0.25, \"loss\": 0.9, "           \
  "\"images_per_s\": 640, \"correction_ratio\": 0.004, \"nonfinite\": 2}\n"                        \
  "{\"kind\": \"train\", \"wall_s\": 4, \"update\": 20, \"epoch\": 1, \"loss\": 0.512345, "        \
  "\"images_per_s\": 320, \"correction_ratio\": 0.002, \"nonfinite\": 7}\n"
/* The evaluation of the last update comes in before that of an earlier one. */
#define EVAL                                                                                       \
  "{\"kind\": \"eval\", \"wall_s\": 4.1, \"update\": 20, \"epoch\": 1, \"split\": \"test\", "      \
  "\"loss\": 0.43214, \"error\": 12.5}\n"                                                          \
  "{\"kind\": \"eval\", \"wall_s\": 4.15, \"update\": 10, \"epoch\": 0.5, \"split\": \"test\", "   \
  "\"loss\": 0.9, \"error\": 11.25}\n"                                                             \
  "{\"kind\": \"eval\", \"wall_s\": 4.15, \"update\": 20, \"epoch\": 1, \"split\": \"train\", "    \
  "\"loss\": 0.1, \"error\": 1.0}\n"
#define WORKERS                                                                                    \
  "{\"kind\": \"worker\", \"worker\": 0, \"pushes\": 12, \"compute_s\": 3, \"wait_s\": 1, "        \
  "\"bytes\": 1200000}\n"                                                                          \
  "{\"kind\": \"worker\", \"worker\": 1, \"pushes\": 8, \"compute_s\": 3, \"wait_s\": 1, "         \
  "\"bytes\": 800000}\n"
#define END                                                                                        \
  "{\"kind\": \"end\", \"wall_s\": 754.2, \"update\": 20, \"epoch\": 1, \"error\": 11.25, "        \
  "\"loss\": 0.9, \"weights_hash\": \"0123456789abcdef0123456789abcdef\", "                        \
  "\"staleness_histogram\": [1, 2, 14, 3], \"nonfinite\": 7, \"server_busy\": 0.2561}\n"

static const char plain_metrics[] =
    "{\"kind\": \"eval\", \"wall_s\": 30, \"update\": 5, \"epoch\": 1, \"error\": 40.5}\n"
    "{\"kind\": \"eval\", \"wall_s\": 60, \"update\": 9, \"epoch\": 2, \"error\": 12.75}\n"
    "{\"kind\": \"end\", \"wall_s\": 61.04, \"update\": 9, \"epoch\": 2, \"error\": 12.75, "
    "\"loss\": null, \"staleness_histogram\": [9]}\n";

START_TEST(the_page_holds_the_numbers) {
  char *runs[] = {page_run("late", late_config, START TRAIN EVAL WORKERS END),
                  page_run("plain", "train: {epochs: 2}\nsync: {rule: sgd}\n", plain_metrics)};
  char *page = page_of((const char *const *)runs, 2);
  page_has(page, "<title>2 runs compared - TardiGrad</title>");
  page_expect(page, "Rule", 0, "dc-asgd-a");
  page_expect(page, "Workers", 0, "4");
  page_expect(page, "Model", 0, "resnet20");
  page_expect(page, "Parameters", 0, "269,722");
  page_expect(page, "Data", 0, "cifar10, crop_flip");
  page_expect(page, "Lambda", 0, "2");
  page_expect(page, "Learning rate, optimiser", 0,
              "0.05, momentum 0.8, decay 0.0001; steps at 80, 120");
  page_expect(page, "Batch", 0, "32");
  page_expect(page, "Epochs", 0, "1 of 1");
  page_expect(page, "Transport", 0, "mpi");
  page_expect(page, "Device, precision", 0, "a device, fp32");
  page_expect(page, "Threads per rank", 0, "3");
  page_expect(page, "Host", 0, "node");
  page_expect(page, "Seed", 0, "7");
  page_expect(page, "Test error, final", 0, "12.50 %");
  page_expect(page, "Test loss, final", 0, "0.4321");
  page_expect(page, "Test error, lowest", 0, "11.25 % at epoch 0.5");
  page_expect(page, "Training loss, last", 0, "0.5123");
  page_expect(page, "Epochs to 13 % test error", 0, "0.5");
  page_expect(page, "Time to 13 % test error", 0, "4.15 s");
  page_expect(page, "Weights", 0, "<code>0123456789abcdef0123456789abcdef</code>");
  page_expect(page, "Wall time", 0, "12 min 34 s");
  page_expect(page, "Images per second", 0, "400");
  page_expect(page, "Updates", 0, "20");
  page_expect(page, "Bytes per update", 0, "100 kB");
  page_expect(page, "Server busy", 0, "25.6 %");
  page_expect(page, "Workers waiting", 0, "25.0 %");
  page_expect(page, "Gradients per worker", 0, "8 to 12");
  page_expect(page, "Memory", 0, "123 MB");
  page_expect(page, "Staleness, mean", 0, "1.95");
  page_expect(page, "Staleness, 99th percentile", 0, "3");
  page_expect(page, "Staleness, largest", 0, "3");
  page_expect(page, "Correction ratio r, mean", 0, "0.0025");
  page_expect(page, "Gradients not finite", 0, "7");
  page_expect(page, "Program, MPI", 0, "9.8.7, Some MPI 1.2");
  free(page);
  free(runs[0]);
  free(runs[1]);
}
END_TEST

START_TEST(what_is_missing_is_a_dash) {
  char *runs[] = {page_run("late", late_config, START TRAIN EVAL WORKERS END),
                  page_run("plain", "train: {epochs: 2}\nsync: {rule: sgd}\n", plain_metrics)};
  char *page = page_of((const char *const *)runs, 2);
  page_expect(page, "Test error, final", 1, "12.75 %");
  page_expect(page, "Workers", 1, "1");
  page_expect(page, "Staleness, mean", 1, "0.00");
  page_expect(page, "Epochs to 13 % test error", 1, "2");
  page_expect(page, "Wall time", 1, "61.0 s");
  static const char *const missing[] = {"Parameters",
                                        "Lambda",
                                        "Host",
                                        "Test loss, final",
                                        "Memory",
                                        "Training loss, last",
                                        "Images per second",
                                        "Server busy",
                                        "Bytes per update",
                                        "Workers waiting",
                                        "Program, MPI",
                                        "Gradients per worker",
                                        "Threads per rank",
                                        "Gradients not finite",
                                        "Gradients dropped",
                                        "Correction ratio r, mean"};
  for (size_t i = 0; i < sizeof missing / sizeof *missing; i++)
    page_expect(page, missing[i], 1, TG_DASH);
  page_expect(page, "Weights", 1, "<code>" TG_DASH "</code>");
  free(page);
  free(runs[0]);
  free(runs[1]);
}
END_TEST

START_TEST(settings_that_differ_are_listed) {
  char *runs[] = {page_run("late", late_config, START TRAIN EVAL WORKERS END),
                  page_run("plain", "train: {epochs: 2}\nsync: {rule: sgd}\n", plain_metrics)};
  char *page = page_of((const char *const *)runs, 2);
  page_expect(page, "<code>sync.rule</code>", 1, "sgd");
  page_expect(page, "<code>optimizer.schedule</code>", 0, "80:0.1, 120:0.1");
  page_expect(page, "<code>optimizer.schedule</code>", 1, TG_DASH);
  page_has_not(page, "<code>sync.epsilon</code>"); /* the same in both */
  page_has_not(page, "<code>run.name</code>");     /* changes nothing */
  page_has_not(page, "<code>run.seed</code>");
  free(page);
  free(runs[0]);
  free(runs[1]);
}
END_TEST

START_TEST(names_are_text_and_nothing_else) {
  static const char *const name = "<b>&\"x'\xff\x01";
  char *run = page_run(name,
                       "run: {name: '<i>&\"'}\ndata: {path: '</pre><script>'}\n"
                       "sync: {rule: asgd}\n",
                       "{\"kind\": \"start\", \"host\": \"</td><b>\", \"device\": \"&amp;\"}\n"
                       "{\"kind\": \"eval\", \"epoch\": 1, \"error\": 3}\n");
  char *page = page_of((const char *const *)&run, 1);
  page_has(page, "<h1>&lt;b&gt;&amp;&quot;x&#39;\xEF\xBF\xBD\xEF\xBF\xBD</h1>");
  page_expect(page, "Host", 0, "&lt;/td&gt;&lt;b&gt;");
  page_expect(page, "Device, precision", 0, "&amp;amp;, fp32");
  page_has(page, "&lt;/pre&gt;&lt;script&gt;");
  page_has_not(page, "<b>");
  page_has_not(page, "<i>");
  free(page);
  free(run);
}
END_TEST

START_TEST(an_unfinished_run_is_marked) {
  static const char *const tails[] = {"", "{\"kind\": \"end\", \"wall_s\": 4.2, \"upd", "{", "\xff",
                                      "{\"kind\": \"worker\", \"worker\": 0}"};
  for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
    char metrics[4096];
    snprintf(metrics, sizeof metrics, "%s%s", START TRAIN EVAL, tails[i]);
    char *run = page_run("late", late_config, metrics);
    char *page = page_of((const char *const *)&run, 1);
    page_has(page, "late <em>unfinished</em>");
    page_has(page, "not finished, there is no end line");
    page_expect(page, "Test error, final", 0, TG_DASH);
    page_expect(page, "Wall time", 0, TG_DASH);
    page_expect(page, "Staleness, mean", 0, TG_DASH);
    page_expect(page, "Test error, lowest", 0, "11.25 % at epoch 0.5");
    page_expect(page, "Gradients not finite", 0, "7");
    free(page);
    free(run);
  }
}
END_TEST

START_TEST(a_run_that_goes_on_after_its_end_is_unfinished) {
  char *run = page_run("late", late_config, START TRAIN EVAL WORKERS END START);
  char *page = page_of((const char *const *)&run, 1);
  page_has(page, "late <em>unfinished</em>");
  page_expect(page, "Weights", 0, "<code>" TG_DASH "</code>");
  page_expect(page, "Gradients per worker", 0, TG_DASH);
  free(page);
  free(run);
}
END_TEST

START_TEST(an_evaluation_before_the_end_is_not_final) {
  char *run = page_run("late", late_config,
                       "{\"kind\": \"eval\", \"update\": 19, \"epoch\": 1, \"error\": 9}\n" END);
  char *page = page_of((const char *const *)&run, 1);
  page_expect(page, "Test error, final", 0, TG_DASH);
  page_has(page, "not evaluated after the last update");
  free(page);
  free(run);
}
END_TEST

START_TEST(an_empty_run_is_a_page_too) {
  char *run = page_run("empty", "", "");
  char *page = page_of((const char *const *)&run, 1);
  page_has(page, "Test error over effective passes: not drawn, no run has been evaluated.");
  page_has(page, "Staleness: not drawn, no finished run has applied a late gradient.");
  page_has_not(page, "class=\"chart\"");
  free(page);
  free(run);
}
END_TEST

/* ---- notes ---- */

static const char small_ratio[] = "At this r a difference in test error from ASGD is chance";

START_TEST(a_small_correction_is_called_chance) {
  static const struct {
    const char *rule, *ratio;
    bool chance, nothing;
  } cases[] = {{"dc-asgd-a", "0.009", true, false},  {"dc-asgd-c", "1e-9", true, false},
               {"dc-asgd-a", "0.011", false, false}, {"dc-asgd-c", "0", false, true},
               {"asgd", "0", false, false},          {"dc-asgd-a", "null", false, false}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char config[64], metrics[256];
    snprintf(config, sizeof config, "sync: {rule: %s}\n", cases[i].rule);
    snprintf(metrics, sizeof metrics,
             "{\"kind\": \"train\", \"update\": 5, \"epoch\": 1, \"correction_ratio\": %s}\n",
             cases[i].ratio);
    char *run = page_run("r", config, metrics);
    char *page = page_of((const char *const *)&run, 1);
    ck_assert_msg(!!strstr(page, small_ratio) == cases[i].chance, "case %zu", i);
    ck_assert_msg(!!strstr(page, "ASGD under another name") == cases[i].nothing, "case %zu", i);
    free(page);
    free(run);
  }
}
END_TEST

START_TEST(one_seed_has_no_spread_and_several_have) {
  static const double errors[] = {10, 11, 12.5};
  char *runs[4];
  for (int i = 0; i < 4; i++) {
    char name[16], config[256], metrics[512];
    snprintf(name, sizeof name, "s%d", i);
    snprintf(config, sizeof config,
             "run: {name: s%d, seed: %d}\nsim: {seed: %d}\n"
             "transport: {name: sim}\nsync: {rule: %s}\n",
             i, i, i, i < 3 ? "asgd" : "ssgd");
    snprintf(metrics, sizeof metrics,
             "{\"kind\": \"start\", \"workers\": 4}\n"
             "{\"kind\": \"eval\", \"update\": 5, \"epoch\": 1, \"error\": %g}\n"
             "{\"kind\": \"end\", \"wall_s\": %d, \"update\": 5, \"epoch\": 1}\n",
             errors[i % 3], 10 * (i + 1));
    runs[i] = page_run(name, config, metrics);
  }
  char *page = page_of((const char *const *)runs, 1);
  page_has(page, "One run, one seed: no spread is known");
  free(page);
  page = page_of((const char *const *)runs + 2, 2);
  page_has(page, "One seed per configuration: no spread is known");
  free(page);
  page = page_of((const char *const *)runs, 4);
  page_has(page, "No other seed: for 1 of the 4 runs no spread is known.");
  page_has(page, "asgd <small>3 seeds</small></th><td>11.17 <small>10.00\xE2\x80\x93"
                 "12.50</small>");
  page_has(page, "ssgd <small>1 seed</small></th><td>10.00</td>");
  free(page);
  for (int i = 0; i < 4; i++) free(runs[i]);
}
END_TEST

START_TEST(what_spoils_a_comparison_is_said) {
  char *a = page_run("a", "train: {epochs: 1}\n", "{\"kind\": \"start\", \"host\": \"one\"}\n");
  char *b = page_run("b",
                     "train: {epochs: 2}\nmodel: {name: resnet20}\n"
                     "data: {train_limit: 100}\ntransport: {name: sim}\nsync: {rule: asgd}\n",
                     "{\"kind\": \"start\", \"host\": \"two\"}\n");
  char *c = page_run("c", "data: {name: synthetic}\n", "");
  const char *const runs[] = {a, b, c};
  char *page = page_of(runs, 3);
  page_has(page, "do not have the same number of epochs");
  page_has(page, "are not of one model and data set");
  page_has(page, "are not of one host and device");
  page_has(page, "<strong>b</strong>: a part of the data set only");
  page_has(page, "<strong>b</strong>: simulated.");
  page_has(page, "<strong>c</strong>: synthetic data.");
  free(page);
  free(a);
  free(b);
  free(c);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("report");
  TCase *pages = tcase_create("pages");
  tcase_add_checked_fixture(pages, page_folder_make, page_folder_remove);
  tcase_set_timeout(pages, 120);
  tcase_add_test(pages, the_page_holds_the_numbers);
  tcase_add_test(pages, what_is_missing_is_a_dash);
  tcase_add_test(pages, settings_that_differ_are_listed);
  tcase_add_test(pages, names_are_text_and_nothing_else);
  tcase_add_test(pages, an_unfinished_run_is_marked);
  tcase_add_test(pages, a_run_that_goes_on_after_its_end_is_unfinished);
  tcase_add_test(pages, an_evaluation_before_the_end_is_not_final);
  tcase_add_test(pages, an_empty_run_is_a_page_too);
  tcase_add_test(pages, a_small_correction_is_called_chance);
  tcase_add_test(pages, one_seed_has_no_spread_and_several_have);
  tcase_add_test(pages, what_spoils_a_comparison_is_said);
  suite_add_tcase(suite, pages);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed ? 1 : 0;
}
