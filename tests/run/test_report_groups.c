/* What the report makes of several runs: groups and their names, spread, curves of groups, what is
 * equal, what is chance. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "run/report_chart.h"
#include "run/report_series.h"
#include "support/fixture.h"
#include "support/page.h"
#include "tardigrad/report.h"

#define COUNT(list) (sizeof(list) / sizeof *(list))

static tg_report_set gather(const page_plan *plans, size_t count) {
  page_runs r = page_make_all(plans, count);
  tg_report_set s = {.runs = count, .run = calloc(count, sizeof *s.run), .target = 25};
  ck_ok(tg_report_open((const char *const *)r.path, count, s.run));
  ck_ok(tg_report_gather(&s));
  for (int i = 0; i < r.count; i++) free(r.path[i]);
  return s;
}

static void let_go(tg_report_set *s) {
  tg_report_scatter(s);
  tg_report_close(s->run, s->runs);
}

/* ---- groups ---- */

static const page_plan grid[] = {
    {"a1", "asgd", NULL, 2, 1, false, 40, 20, 0},
    {"a2", "asgd", NULL, 2, 2, false, 42, 22, 0},
    {"d1", "dc-asgd-a", NULL, 2, 1, false, 38, 18, 0.2},
    {"d2", "dc-asgd-a", NULL, 2, 2, false, 39, 17, 0.2},
    {"l1", "dc-asgd-a", "optimizer: {lr: 0.5}\n", 2, 1, false, 38, 24, 0.2}};

START_TEST(seeds_are_grouped_and_named_by_what_tells_them_apart) {
  tg_report_set s = gather(grid, COUNT(grid));
  ck_assert_uint_eq(s.groups, 3);
  ck_assert_uint_eq(s.panels, 1);
  ck_assert_str_eq(s.group[0].label, "asgd");
  ck_assert_str_eq(s.group[1].label, "dc-asgd-a, lr 0.1");
  ck_assert_str_eq(s.group[2].label, "dc-asgd-a, lr 0.5");
  ck_assert_uint_eq(s.group[0].count, 2);
  ck_assert_uint_eq(s.group[2].count, 1);
  tg_spread e = tg_report_spread(&s, &s.group[0], tg_value_error);
  ck_assert_uint_eq(e.n, 2);
  ck_assert_double_eq(e.mean, 21);
  ck_assert_double_eq(e.least, 20);
  ck_assert_double_eq(e.most, 22);
  e = tg_report_spread(&s, &s.group[2], tg_value_target_epochs);
  ck_assert_double_eq(e.mean, 2); /* 24 is at most 25 */
  s.target = 5;
  e = tg_report_spread(&s, &s.group[2], tg_value_target_epochs);
  ck_assert(e.n == 0 && isnan(e.mean));
  let_go(&s);
}
END_TEST

START_TEST(many_groups_are_shown_by_workers) {
  static const int workers[] = {8, 2, 4};
  page_plan plans[12];
  char names[12][16];
  for (int i = 0; i < 12; i++) {
    snprintf(names[i], sizeof names[i], "p%d", i);
    plans[i] = (page_plan){
        names[i], i % 2 ? "asgd" : "ssgd", NULL, workers[i / 4], i / 2 % 2, false, 40, 20 + i, 0};
  }
  plans[1].more = plans[3].more = plans[5].more = "optimizer: {lr: 0.5}\n";
  tg_report_set s = gather(plans, 12);
  ck_assert_uint_eq(s.groups, 7); /* asgd of 2 workers has two learning rates, of one seed each */
  ck_assert_uint_eq(s.panels, 3);
  ck_assert_str_eq(s.panel[0].title, "2 workers");
  ck_assert_str_eq(s.panel[2].title, "8 workers");
  for (size_t i = 1; i < s.groups; i++) ck_assert(s.group[i - 1].panel <= s.group[i].panel);
  for (size_t i = 0; i < s.runs; i++) ck_assert(s.run[i].group < s.groups);
  /* The same words, the same colour, whatever the number of workers. */
  for (size_t i = 0; i < s.groups; i++)
    for (size_t k = 0; k < s.groups; k++)
      ck_assert_int_eq(strcmp(s.group[i].line, s.group[k].line) == 0,
                       s.group[i].look == s.group[k].look);
  let_go(&s);
}
END_TEST

START_TEST(of_very_many_the_best_are_drawn) {
  page_plan plans[20];
  char names[20][16], more[20][40];
  for (int i = 0; i < 20; i++) {
    snprintf(names[i], sizeof names[i], "p%d", i);
    snprintf(more[i], sizeof more[i], "optimizer: {lr: 0.%d}\n", 11 + i);
    plans[i] = (page_plan){names[i], "asgd", more[i], 4, 1, false, 60, 50 - i, 0};
  }
  tg_report_set s = gather(plans, 20);
  for (size_t i = 0; i < 20; i++) ck_assert_int_eq(s.group[i].drawn, i >= 8);
  let_go(&s);
  char *page = page_with(plans, 20);
  page_has(page, "Not drawn: 8 configurations with a higher error; the table has them.");
  free(page);
}
END_TEST

/* ---- curves ---- */

static double epoch_of(const tg_report_point *p) {
  return p->epoch;
}
static double error_of(const tg_report_point *p) {
  return p->error;
}

static const tg_curve error_curve = {.x = epoch_of, .y = error_of, .limit = NAN};

static void free_series(tg_series *s) {
  free(s->x);
  free(s->y);
  free(s->lo);
  free(s->hi);
}

START_TEST(a_group_is_the_mean_of_its_seeds_in_a_band) {
  tg_report_point even[] = {{.epoch = 1, .error = 40}, {.epoch = 2, .error = 20}};
  tg_report_point odd[] = {{.epoch = 1, .error = 60},
                           {.epoch = 1.5, .error = 55},
                           {.epoch = 2, .error = 30},
                           {.epoch = 3, .error = 10}};
  tg_report_run one = {.eval = {even, 2, 2}}, two = {.eval = {odd, 4, 4}};
  tg_report_run *members[] = {&one, &two};
  tg_report_group g = {.run = members, .count = 2, .line = "g", .look = 3};
  tg_series s;
  ck_ok(tg_series_of_group(&error_curve, &g, &s));
  /* At epochs 1, 1.5 and 2 of the longer; the shorter is 30 between its points. At 3 there is one
   * of two seeds, which is no mean. */
  static const double x[] = {1, 1.5, 2}, y[] = {50, 42.5, 25}, lo[] = {40, 30, 20},
                      hi[] = {60, 55, 30};
  ck_assert_uint_eq(s.count, 3);
  for (int i = 0; i < 3; i++) {
    ck_assert_double_eq_tol(s.x[i], x[i], 1e-12);
    ck_assert_double_eq_tol(s.y[i], y[i], 1e-12);
    ck_assert_double_eq_tol(s.lo[i], lo[i], 1e-12);
    ck_assert_double_eq_tol(s.hi[i], hi[i], 1e-12);
  }
  free_series(&s);
  g.count = 1;
  ck_ok(tg_series_of_group(&error_curve, &g, &s));
  ck_assert(s.count == 2 && !s.lo && s.y[1] == 20);
  free_series(&s);
}
END_TEST

START_TEST(scaling_is_held_against_the_ideal) {
  static const page_plan plans[] = {{"w8", "asgd", NULL, 8, 1, false, 40, 20, 0},
                                    {"w2", "asgd", NULL, 2, 1, false, 40, 20, 0},
                                    {"w4", "asgd", NULL, 4, 1, false, 40, 20, 0}};
  tg_report_set s = gather(plans, COUNT(plans));
  for (int inverse = 0; inverse < 2; inverse++) {
    tg_figure f;
    ck_ok(tg_figure_scaling(&s, false, inverse, &f));
    ck_assert_uint_eq(f.charts, 1);
    ck_assert_uint_eq(f.chart[0].count, 2);
    const tg_series *own = &f.chart[0].series[0], *ideal = &f.chart[0].series[1];
    ck_assert(own->count == 3 && own->x[0] == 2 && own->x[2] == 8 &&
              own->name == s.group[0].family);
    ck_assert(ideal->guide && ideal->x[0] == 2 && ideal->x[ideal->count - 1] == 8);
    /* 100 images/s for each worker; the target after 10 s, however many there are. */
    for (size_t i = 0; i < ideal->count; i++)
      ck_assert_double_eq_tol(inverse ? ideal->y[i] * ideal->x[i] : ideal->y[i] / ideal->x[i],
                              inverse ? 20 : 100, 1e-9);
    tg_figure_free(&f);
    ck_ok(tg_figure_scaling(&s, true, inverse, &f));
    ck_assert_uint_eq(f.charts, 0); /* none is simulated */
    tg_figure_free(&f);
  }
  let_go(&s);
}
END_TEST

/* ---- what is equal ---- */

START_TEST(equal_is_what_every_finished_run_reaches) {
  tg_report_set s = gather(grid, COUNT(grid));
  ck_assert_double_eq(s.panel[0].equal_epoch, 2);
  ck_assert_double_eq(s.panel[0].equal_wall, 10);
  ck_assert(isnan(s.panel[0].equal_virtual));
  ck_assert_double_eq(s.run[1].equal_epoch_error, 22);
  let_go(&s);
  char *slow = page_run("slow", "sync: {rule: ssgd}\n",
                        "{\"kind\": \"start\", \"workers\": 2}\n"
                        "{\"kind\": \"eval\", \"wall_s\": 7, \"update\": 4, \"epoch\": 1, "
                        "\"error\": 30}\n"
                        "{\"kind\": \"end\", \"wall_s\": 8, \"update\": 4, \"epoch\": 1}\n");
  char *quick = page_make(&grid[0]), *young = page_run("young", "sync: {rule: sgd}\n", "");
  const char *paths[] = {slow, quick, young};
  tg_report_set t = {.runs = 3, .run = calloc(3, sizeof *t.run), .target = NAN};
  ck_ok(tg_report_open(paths, 3, t.run));
  ck_ok(tg_report_gather(&t));
  ck_assert_double_eq(t.panel[0].equal_epoch, 1);
  ck_assert_double_eq(t.panel[0].equal_wall, 7);
  ck_assert_double_eq(t.run[1].equal_epoch_error, 40);
  ck_assert_double_eq(t.run[1].equal_time_error, 40); /* evaluated at 5 s and at 10 s */
  ck_assert(isnan(t.run[2].equal_time_error));
  let_go(&t);
  free(slow);
  free(quick);
  free(young);
}
END_TEST

START_TEST(wall_time_and_virtual_time_are_never_mixed) {
  static const page_plan both[] = {{"r", "asgd", NULL, 2, 1, false, 40, 20, 0},
                                   {"s", "asgd", NULL, 2, 1, true, 40, 21, 0}};
  tg_report_set s = gather(both, 2);
  ck_assert_double_eq(s.panel[0].equal_wall, 10);
  ck_assert_double_eq(s.panel[0].equal_virtual, 100);
  ck_assert_double_eq(tg_value_images(&s, &s.run[0]), 200);
  ck_assert_double_eq(tg_value_images(&s, &s.run[1]), 20); /* 2 epochs of 1,000 in 100 s */
  ck_assert_double_eq(tg_value_target_time(&s, &s.run[1]), 100);
  let_go(&s);
  char *page = page_with(both, 2);
  page_has(page, "<figure id=\"error-wall\"><h3>Test error over wall time</h3>");
  page_has(page, "<figure id=\"error-virtual\">");
  page_has(page, "equal wall time: 10.0 s; equal virtual time: 100.0 s");
  const char *wall = strstr(page, "id=\"error-wall\"");
  const char *end = strstr(wall, "</figure>"), *simulated = strstr(wall, "asgd, sim");
  ck_assert(simulated > end);
  free(page);
}
END_TEST

START_TEST(a_target_may_be_given_and_missed) {
  char *path = page_make(&grid[0]), *page;
  const char *const one[] = {path};
  ck_ok(tg_report_write(one, 1, 30, page_path));
  page = page_read();
  page_has(page, "Time to 30 % test error</th><td>10.0 s</td>");
  page_has(page, "report --target 30 ");
  free(page);
  ck_ok(tg_report_write(one, 1, 3, page_path));
  page = page_read();
  page_has(page, "Time to 3 % test error</th><td>not reached</td>");
  free(page);
  free(path);
  /* What failed is not asked to reach it. */
  tg_report_run runs_[] = {{.best_error = 9}, {.best_error = 9.5}, {.best_error = 90}};
  ck_assert_double_eq(tg_report_target(runs_, 3), 10);
}
END_TEST

/* ---- what is chance ---- */

START_TEST(chance_is_what_a_confidence_interval_says) {
  static const page_plan plans[] = {{"d1", "dc-asgd-a", NULL, 4, 1, false, 40, 10.0, 0.2},
                                    {"d2", "dc-asgd-a", NULL, 4, 2, false, 40, 11.0, 0.2},
                                    {"a1", "asgd", NULL, 4, 1, false, 40, 11.0, 0},
                                    {"a2", "asgd", NULL, 4, 2, false, 40, 11.2, 0},
                                    {"s1", "ssgd", NULL, 4, 1, false, 40, 14.0, 0},
                                    {"s2", "ssgd", NULL, 4, 2, false, 40, 15.1, 0},
                                    {"c1", "dc-asgd-c", NULL, 4, 1, false, 40, 15.0, 1e-5}};
  char *page = page_with(plans, COUNT(plans));
  page_has(page, "<strong>dc-asgd-a</strong> with 10.50 % (10.00 to 11.00 over 2 seeds).");
  /* 12.706 standard deviations over sqrt 2, of 1.0 and 0.2, and of 4.0 and 4.1. */
  page_has(page, "No better than chance: asgd (+0.60 \xC2\xB1 5.08).");
  page_has(page, "Worse, and not by chance: ssgd (+4.05 \xC2\xB1 0.64).");
  page_has(page, "Worse, but nothing is established on seeds in common: dc-asgd-c (+4.50).");
  page_has(page, "<strong>dc-asgd-c</strong> against asgd: +3.90, and chance whatever the seeds "
                 "say, for r = 1e-05.");
  page_has(page, "dc-asgd-a <small>2 seeds</small></th><td>10.50 "
                 "<small>10.00\xE2\x80\x93"
                 "11.00</small></td>");
  page_has(page, "<td>0; 3</td>"); /* lost: not finite, dropped */
  free(page);
}
END_TEST

int main(void) {
  const TTest *const tests[] = {seeds_are_grouped_and_named_by_what_tells_them_apart,
                                many_groups_are_shown_by_workers,
                                of_very_many_the_best_are_drawn,
                                a_group_is_the_mean_of_its_seeds_in_a_band,
                                scaling_is_held_against_the_ideal,
                                equal_is_what_every_finished_run_reaches,
                                wall_time_and_virtual_time_are_never_mixed,
                                a_target_may_be_given_and_missed,
                                chance_is_what_a_confidence_interval_says};
  Suite *suite = suite_create("report groups");
  TCase *all = tcase_create("all");
  tcase_add_checked_fixture(all, page_folder_make, page_folder_remove);
  for (size_t i = 0; i < COUNT(tests); i++) tcase_add_test(all, tests[i]);
  suite_add_tcase(suite, all);
  return fixture_run(suite, 0) ? 1 : 0;
}
