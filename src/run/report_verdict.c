/* report_verdict.c - which differences the runs show, and which of them are chance, in words.
 *
 * The test is that of include/tardigrad/report.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "run/report_parts.h"

typedef struct entry {
  const tg_report_group *group;
  tg_spread error;
} entry;

static int by_mean(const void *a, const void *b) {
  const entry *x = a, *y = b;
  if (x->error.mean != y->error.mean) return x->error.mean < y->error.mean ? -1 : 1;
  return x->group < y->group ? -1 : 1;
}

static size_t entries_of(const tg_report_set *s, size_t panel, entry *list) {
  size_t n = 0;
  for (size_t i = 0; i < s->groups; i++) {
    tg_spread e = tg_report_spread(s, &s->group[i], tg_value_error);
    if (s->group[i].panel == panel && e.n > 0) list[n++] = (entry){&s->group[i], e};
  }
  qsort(list, n, sizeof *list, by_mean);
  return n;
}

/* Whether b corrects too little to be anything else than a, which is asgd. */
static bool is_asgd_again(const tg_report_set *s, const tg_report_group *a,
                          const tg_report_group *b) {
  tg_spread r = tg_report_spread(s, b, tg_value_ratio);
  return strcmp(a->run[0]->config->sync_rule, "asgd") == 0 && r.n > 0 && r.mean < TG_NOTICEABLE;
}

/* Errors of b less those of a, seed by seed. */
static tg_paired pair(const tg_report_group *a, const tg_report_group *b) {
  double *difference = calloc(a->count + 1, sizeof *difference);
  size_t n = 0;
  for (size_t i = 0; difference && i < a->count; i++)
    for (size_t k = 0; k < b->count; k++) {
      const tg_report_run *x = a->run[i], *y = b->run[k];
      if (x->config->run_seed != y->config->run_seed || !isfinite(x->error - y->error)) continue;
      difference[n++] = y->error - x->error;
      break;
    }
  tg_paired p = tg_report_paired(difference, n);
  free(difference);
  return p;
}

static tg_chance judge(const tg_report_set *s, const entry *a, const entry *b) {
  bool again = is_asgd_again(s, a->group, b->group) || is_asgd_again(s, b->group, a->group);
  tg_paired p = pair(a->group, b->group);
  if (again) return TG_CHANCE;
  /* Groups are ordered by all their seeds: on those in common b may be the better one. */
  return p.chance == TG_NOT_CHANCE && p.mean < 0 ? TG_UNKNOWN : p.chance;
}

static void tell_error(FILE *out, const entry *e) {
  fputs("<strong>", out);
  tg_html_text(out, e->group->line);
  fprintf(out, "</strong> with %.2f %%", e->error.mean);
  if (e->error.n > 1)
    fprintf(out, " (%.2f to %.2f over %zu seeds)", e->error.least, e->error.most, e->error.n);
  else
    fputs(" (one seed)", out);
}

static void tell_kind(FILE *out, const tg_report_set *s, const entry *list, size_t n,
                      tg_chance wanted) {
  static const char *const heads[] = {
      [TG_CHANCE] = " No better than chance: ",
      [TG_NOT_CHANCE] = " Worse, and not by chance: ",
      [TG_UNKNOWN] = " Worse, but nothing is established on seeds in common: "};
  const char *glue = heads[wanted];
  for (size_t i = 1; i < n; i++) {
    if (judge(s, &list[0], &list[i]) != wanted) continue;
    fputs(glue, out);
    tg_html_text(out, list[i].group->line);
    tg_paired p = pair(list[0].group, list[i].group);
    fprintf(out, " (%+.2f", p.n > 1 ? p.mean : list[i].error.mean - list[0].error.mean);
    if (p.n > 1) fprintf(out, " \xC2\xB1 %.2f", p.half);
    fputs(")", out);
    glue = ", ";
  }
  if (glue != heads[wanted]) fputs(".", out);
}

/* Settings in which two runs differ. */
static size_t distance(const tg_report_run *a, const tg_report_run *b) {
  size_t count = 0;
  for (size_t i = 0; i < tg_report_setting_count(); i++)
    count += tg_report_matters(a, i) && strcmp(a->setting[i], b->setting[i]) != 0;
  return count;
}

/* The asgd to compare with: the one most like it in its settings. */
static const entry *asgd_like(const entry *list, size_t n, const entry *e) {
  const entry *found = NULL;
  size_t least = SIZE_MAX;
  for (size_t i = 0; i < n; i++) {
    const tg_report_run *r = list[i].group->run[0];
    size_t d = distance(r, e->group->run[0]);
    if (strcmp(r->config->sync_rule, "asgd") != 0 || d >= least) continue;
    found = &list[i];
    least = d;
  }
  return found;
}

/* Rules whose correction is too small to be seen, beside asgd. */
static void tell_ratios(FILE *out, const tg_report_set *s, const entry *list, size_t n) {
  for (size_t i = 0; i < n; i++) {
    tg_spread r = tg_report_spread(s, list[i].group, tg_value_ratio);
    const entry *asgd = r.n > 0 && r.mean < TG_NOTICEABLE ? asgd_like(list, n, &list[i]) : NULL;
    if (!asgd) continue;
    fputs(" <strong>", out);
    tg_html_text(out, list[i].group->line);
    fputs("</strong> against ", out);
    tg_html_text(out, asgd->group->line);
    fprintf(out, ": %+.2f, and chance whatever the seeds say, for r = %.2g.",
            list[i].error.mean - asgd->error.mean, r.mean);
  }
}

static void tell_panel(FILE *out, const tg_report_set *s, size_t panel, const entry *list,
                       size_t n) {
  fputs("<li>", out);
  if (*s->panel[panel].title) {
    tg_html_text(out, s->panel[panel].title);
    fputs(": ", out);
  }
  fprintf(out, "%s final test error: ", *s->panel[panel].title ? "lowest" : "Lowest");
  tell_error(out, &list[0]);
  fputs(".", out);
  for (tg_chance k = TG_CHANCE; k <= TG_UNKNOWN; k++) tell_kind(out, s, list, n, k);
  tell_ratios(out, s, list, n);
  fputs("</li>\n", out);
}

void tg_report_verdict(FILE *out, const tg_report_set *s) {
  entry *list = calloc(s->groups, sizeof *list);
  bool any = false;
  for (size_t i = 0; list && i < s->panels; i++) {
    size_t n = entries_of(s, i, list);
    if (n < 2) continue;
    if (!any)
      fputs("<section class=\"shows\"><h2>What these runs show, and what is chance</h2>\n<ul>\n",
            out);
    any = true;
    tell_panel(out, s, i, list, n);
  }
  if (any)
    fputs("</ul><p class=\"none\">Errors are compared seed by seed; behind \xC2\xB1 stands half of "
          "the 95 % confidence interval of their difference (Student's t). Chance is where it does "
          "not leave out 0, and every difference from asgd where r is below 1e-2. Nothing is "
          "adjusted for the number of comparisons.</p></section>\n",
          out);
  free(list);
}
