/* report_verdict.c - which differences the runs show, and which of them are chance, in words.
 *
 * Two rules: a difference between the mean errors of two configurations that is smaller than the
 * wider of their spreads over seeds (greatest less least) is called chance; and where the mean
 * correction ratio r is below 1e-2, so is any difference from ASGD, for then the corrected gradient
 * is the late gradient, as far as a test error can tell. */
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

typedef enum { CHANCE, ESTABLISHED, SINGLE, KINDS } kind;

/* b is the worse one. */
static kind judge(const tg_spread *a, const tg_spread *b) {
  double spread = fmax(a->most - a->least, b->most - b->least);
  bool one = a->n < 2 || b->n < 2;
  if (a->n < 2 && b->n < 2) return SINGLE;
  if (b->mean - a->mean <= spread) return CHANCE;
  return one ? SINGLE : ESTABLISHED;
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

static void tell_kind(FILE *out, const entry *list, size_t n, kind wanted) {
  static const char *const heads[KINDS] = {
      [CHANCE] = " No better than chance, within the spread over seeds of it: ",
      [ESTABLISHED] = " Worse by more than the spread over seeds: ",
      [SINGLE] = " Worse, but of single seeds, so nothing is established: "};
  const char *glue = heads[wanted];
  for (size_t i = 1; i < n; i++) {
    if (judge(&list[0].error, &list[i].error) != wanted) continue;
    fputs(glue, out);
    tg_html_text(out, list[i].group->line);
    fprintf(out, " (+%.2f)", list[i].error.mean - list[0].error.mean);
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
    const entry *asgd = r.n > 0 && r.mean < 1e-2 ? asgd_like(list, n, &list[i]) : NULL;
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
  for (kind k = 0; k < KINDS; k++) tell_kind(out, list, n, k);
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
  if (any) fputs("</ul></section>\n", out);
  free(list);
}
