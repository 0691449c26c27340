/* The report's figures by gnuplot, and by the program itself where gnuplot is missing or fails. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "run/report_chart.h"
#include "support/fixture.h"
#include "support/page.h"

#define COUNT(list) (sizeof(list) / sizeof *(list))

static const page_plan grid[] = {
    {"a1", "asgd", NULL, 2, 1, false, 40, 20, 0},
    {"a2", "asgd", NULL, 2, 2, false, 42, 22, 0},
    {"d1", "dc-asgd-a", NULL, 2, 1, false, 38, 18, 0.2},
    {"d2", "dc-asgd-a", NULL, 2, 2, false, 39, 17, 0.2},
    {"l1", "dc-asgd-a", "optimizer: {lr: 0.5}\n", 2, 1, false, 38, 24, 0.2}};

static const char plain_words[] = "Drawn without gnuplot, by tardigrad itself";

/* A gnuplot of our own on the PATH. */
static void put_gnuplot(const char *script) {
  char path[128];
  snprintf(path, sizeof path, "%s/gnuplot", page_folder);
  FILE *file = fopen(path, "w");
  ck_assert_ptr_nonnull(file);
  fprintf(file, "#!/bin/sh\n%s", script);
  fclose(file);
  ck_assert_int_eq(chmod(path, 0777), 0);
  ck_assert_int_eq(setenv("PATH", page_folder, 1), 0);
}

START_TEST(without_gnuplot_there_are_figures_all_the_same) {
  static const struct {
    const char *script, *words;
  } cases[] = {
      {NULL, "gnuplot is not here (Debian: gnuplot-nox)"},
      {"exit 3\n", "gnuplot failed (exit 3)"},
      {"kill -9 $$\n", "gnuplot failed (signal 9)"},
      {"echo hello\n", "gnuplot did not draw all figures"},
      {"for i in 1 2 3 4 5 6 7 8 9; do echo '<svg><g></svg>'; done\n", "does not understand"},
      {"for i in 1 2 3 4 5 6 7 8 9; do echo \"<svg><path stroke='rgb(1,254,0)' "
       "d='M1,1 L2,2 x'/></svg>\"; done\n",
       "does not understand"}};
  ck_assert_int_eq(setenv("PATH", page_folder, 1), 0);
  for (size_t i = 0; i < COUNT(cases); i++) {
    if (cases[i].script) put_gnuplot(cases[i].script);
    char *page = page_with(grid, COUNT(grid));
    page_has(page, plain_words);
    page_has(page, cases[i].words);
    page_has(page, "<path class=\"line\"");
    page_has(page, "<path class=\"band\"");
    page_has(page, "<path class=\"bar c0\"");
    page_has(page, "<path class=\"steps");
    page_has(page, "<figure id=\"time\">");
    free(page);
  }
}
END_TEST

/* Points at the very ends of an axis too. */
START_TEST(gnuplot_draws_what_we_draw) {
  static const char *const classes[] = {"\"line c0\"", "\"band c0\"",  "\"steps c1\"",
                                        "\"bar c1\"",  "class=\"tick", "class=\"label mid\""};
  if (system("command -v gnuplot >/dev/null") != 0) return; /* the lines above have checked that */
  char *page = page_with(grid, COUNT(grid));
  page_has_not(page, plain_words);
  for (size_t i = 0; i < COUNT(classes); i++) page_has(page, classes[i]);
  /* asgd: two evaluations over epochs and over time; one train line in two figures. */
  int marks = 0;
  for (const char *at = page; (at = strstr(at, "class=\"mark c0\"")); at++) marks++;
  ck_assert_int_eq(marks, 6);
  free(page);
}
END_TEST

START_TEST(of_a_drawing_only_ours_is_taken) {
  const char *names[] = {"<b>&\"'@1@", "two"};
  tg_series one = {.count = 2};
  tg_chart c = {.series = &one, .count = 1, .bar = names};
  static const char drawing[] =
      "<svg><defs><path stroke='rgb(1,254,0)' d='M9,9'/></defs><script>alert(1)</script>"
      "<path stroke='rgb( 1, 254, 8)' stroke-dasharray='1' d='M1.04,2 L3,4.06\n L5,6 Z'/>"
      "<path stroke='black' d='M7,7'/><rect fill='rgb(1,254,0)' onload='x()'/>"
      "<polygon fill = 'rgb(5,254,1)' points = '1,2 3,4 5,6'/>"
      "<use xlink:href='#gpPt6' transform='translate(10.00,20.00) scale(2)' color='rgb(3,254,1)'/>"
      "<g transform=\"translate(5.00,6.00)\" stroke=\"none\" fill=\"rgb(12,254,0)\" "
      "text-anchor=\"start\"><text>@0@</text></g>"
      "<g transform=\"translate(5.00,6.00) rotate(270)\" fill=\"rgb(11,254,0)\" "
      "text-anchor=\"middle\"><text>loss</text></g>";
  char *out;
  ck_ok(tg_svg_inline(&c, drawing, drawing + sizeof drawing - 1, &out));
  ck_assert_str_eq(
      out, "<path class=\"line c1\" stroke-dasharray=\"7 3\" d=\"M1 2L3 4.1L5 6z\"/>\n"
           "<path class=\"bar c1\" d=\"M1 2L3 4L5 6z\"/>\n"
           "<path class=\"mark c1\" d=\"M10.0 20.0m-3 -3h6v6h-6z\"/>\n"
           "<text class=\"name\" x=\"5.0\" y=\"6.0\">&lt;b&gt;&amp;&quot;&#39;@1@</text>\n"
           "<text class=\"label mid\" x=\"5.0\" y=\"6.0\" transform=\"rotate(-90 5.0 6.0)\">loss"
           "</text>\n");
  free(out);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("report drawing");
  TCase *all = tcase_create("all");
  tcase_add_checked_fixture(all, page_folder_make, page_folder_remove);
  tcase_set_timeout(all, 120);
  tcase_add_test(all, without_gnuplot_there_are_figures_all_the_same);
  tcase_add_test(all, gnuplot_draws_what_we_draw);
  tcase_add_test(all, of_a_drawing_only_ours_is_taken);
  suite_add_tcase(suite, all);
  return fixture_run(suite, 0) ? 1 : 0;
}
