/* report_notes.c - what a reader must know before believing a number; spread over seeds. */
#include <math.h>
#include <string.h>

#include "run/report_parts.h"

/* Below this r the corrected gradient is the late gradient, for what a test error can tell. */
static const double NOTICEABLE = 1e-2;

/* ---- about single runs ---- */

static bool is_unfinished(const tg_report_run *r) {
  return !r->ended;
}

static void tell_how_far(FILE *out, const tg_report_run *r) {
  fputs("epoch ", out);
  tg_html_epoch(out, r->last.epoch);
  fprintf(out, " of %g, after ", r->config->train_epochs);
  tg_html_time(out, r->last.wall_s);
}

static bool lacks_final(const tg_report_run *r) {
  return r->ended && isnan(r->error);
}

static bool corrects_little(const tg_report_run *r) {
  return tg_report_corrects(r) && r->ratio_mean > 0 && r->ratio_mean < NOTICEABLE;
}

static void tell_ratio(FILE *out, const tg_report_run *r) {
  fprintf(out, "r = %.3g", r->ratio_mean);
}

static bool corrects_nothing(const tg_report_run *r) {
  return tg_report_corrects(r) && r->ratio_mean == 0;
}

static bool dropped_gradients(const tg_report_run *r) {
  return r->nonfinite > 0;
}

static void tell_dropped(FILE *out, const tg_report_run *r) {
  tg_html_count(out, r->nonfinite);
}

static bool is_synthetic(const tg_report_run *r) {
  return strcmp(r->config->data_name, "synthetic") == 0;
}

static bool is_limited(const tg_report_run *r) {
  return !is_synthetic(r) && (r->config->data_train_limit || r->config->data_test_limit);
}

static bool is_simulated(const tg_report_run *r) {
  return strcmp(r->config->transport_name, "sim") == 0;
}

typedef struct note {
  bool (*applies)(const tg_report_run *run);
  void (*tell)(FILE *out, const tg_report_run *run); /* in brackets after its name, or NULL */
  const char *text;
} note;

static const note notes[] = {
    {is_unfinished, tell_how_far, "not finished, there is no end line: final values are dashes."},
    {lacks_final, NULL, "not evaluated after the last update: there is no final test error."},
    {corrects_little, tell_ratio,
     "the mean correction ratio r is below 1e-2. At this r a difference in test error from ASGD is "
     "chance, whichever way it points."},
    {corrects_nothing, NULL, "r was 0 throughout: this is ASGD under another name."},
    {dropped_gradients, tell_dropped, "gradients that were not finite were dropped."},
    {is_synthetic, NULL, "synthetic data. The error says that training works, and no more."},
    {is_limited, NULL, "a part of the data set only: not comparable with published figures."},
    {is_simulated, NULL,
     "simulated. Wall time is that of one process computing for all workers and says nothing about "
     "a cluster; virtual time does, as far as the model of compute time holds."},
};
enum { NOTES = sizeof notes / sizeof *notes };

static void write_note(FILE *out, const note *n, const tg_report_run *runs, size_t count) {
  bool any = false;
  for (size_t i = 0; i < count; i++) {
    if (!n->applies(&runs[i])) continue;
    fputs(any ? ", <strong>" : "<li><strong>", out);
    tg_html_text(out, runs[i].name);
    fputs("</strong>", out);
    any = true;
    if (!n->tell) continue;
    fputs(" (", out);
    n->tell(out, &runs[i]);
    fputs(")", out);
  }
  if (any) fprintf(out, ": %s</li>\n", n->text);
}

/* ---- about all runs together ---- */

static bool same_text(const char *a, const char *b) {
  return (!a && !b) || (a && b && strcmp(a, b) == 0);
}

static void note_seeds(FILE *out, const tg_report_run *runs, size_t count) {
  size_t single = 0;
  for (size_t i = 0; i < count; i++) single += runs[i].group_size == 1;
  if (single == 0) return;
  if (count == 1)
    fputs("<li>One run, one seed: no spread is known, so no difference from another run is "
          "established by it.</li>\n",
          out);
  else if (single == count)
    fputs("<li>One seed per configuration: no spread is known. Small differences between these "
          "runs may be differences between seeds, or between orders of arrival.</li>\n",
          out);
  else
    fprintf(out, "<li>No other seed: for %zu of the %zu runs no spread is known.</li>\n", single,
            count);
}

static void note_comparison(FILE *out, const tg_report_run *runs, size_t count) {
  bool epochs = false, problem = false, place = false;
  for (size_t i = 1; i < count; i++) {
    const tg_config *a = runs[0].config, *b = runs[i].config;
    epochs |= a->train_epochs != b->train_epochs;
    problem |= strcmp(a->model_name, b->model_name) != 0 || strcmp(a->data_name, b->data_name) != 0;
    place |= !same_text(runs[0].host, runs[i].host) || !same_text(runs[0].device, runs[i].device);
  }
  if (problem)
    fputs("<li>These runs are not of one model and data set: their errors do not compare.</li>\n",
          out);
  if (epochs)
    fputs("<li>These runs do not have the same number of epochs: compare them where their curves "
          "overlap.</li>\n",
          out);
  if (place)
    fputs("<li>These runs are not of one host and device: their times do not compare.</li>\n", out);
  if (!isnan(tg_report_target(runs, count)))
    fputs("<li>The test error for &#8220;epochs to&#8221; and &#8220;wall time to&#8221; is the "
          "lowest that all runs reach. It is seen at evaluations only.</li>\n",
          out);
}

void tg_report_notes(FILE *out, const tg_report_run *runs, size_t count) {
  fputs("<section class=\"notes\"><h2>Before you compare</h2>\n<ul>\n", out);
  for (size_t i = 0; i < NOTES; i++) write_note(out, &notes[i], runs, count);
  note_seeds(out, runs, count);
  if (count > 1) note_comparison(out, runs, count);
  fputs("</ul></section>\n", out);
}

/* ---- spread ---- */

typedef struct spread {
  size_t count;
  double sum, squares, least, most, wall;
} spread;

static spread spread_of(const tg_report_run *runs, size_t count, size_t group) {
  spread s = {.least = INFINITY, .most = -INFINITY};
  for (size_t i = 0; i < count; i++) {
    if (runs[i].group != group || isnan(runs[i].error)) continue;
    s.count++;
    s.sum += runs[i].error;
    s.wall += runs[i].end.wall_s;
    s.least = fmin(s.least, runs[i].error);
    s.most = fmax(s.most, runs[i].error);
  }
  for (size_t i = 0; i < count; i++) {
    if (runs[i].group != group || isnan(runs[i].error)) continue;
    double d = runs[i].error - s.sum / (double)s.count;
    s.squares += d * d;
  }
  return s;
}

static void spread_row(FILE *out, const tg_report_run *first, const spread *s) {
  double n = (double)s->count;
  fputs("<tr><th scope=\"row\">", out);
  tg_chart_key(out, first->group);
  tg_html_text(out, first->name);
  fprintf(out, " <small>and %zu more</small></th><td>%zu</td><td>", first->group_size - 1,
          s->count);
  tg_html_real(out, "%.2f %%", s->count ? s->sum / n : NAN);
  fputs("</td><td>", out);
  tg_html_real(out, "%.2f", s->count > 1 ? sqrt(s->squares / (n - 1)) : NAN);
  fputs("</td><td>", out);
  tg_html_real(out, "%.2f %%", s->least);
  fputs("</td><td>", out);
  tg_html_real(out, "%.2f %%", s->most);
  fputs("</td><td>", out);
  tg_html_time(out, s->count ? s->wall / n : NAN);
  fputs("</td></tr>\n", out);
}

void tg_report_spread(FILE *out, const tg_report_run *runs, size_t count) {
  size_t seen = 0;
  bool any = false;
  for (size_t i = 0; i < count; i++) {
    if (runs[i].group < seen) continue;
    seen = runs[i].group + 1;
    if (runs[i].group_size < 2) continue;
    if (!any)
      fputs("<h2>Spread</h2>\n<p>Test error, final, of runs that differ in their seeds alone and "
            "have finished.</p>\n<div class=\"wide\"><table class=\"num\">\n<thead><tr><td></td>"
            "<th scope=\"col\">Runs</th><th scope=\"col\">Mean</th>"
            "<th scope=\"col\">Standard deviation</th><th scope=\"col\">Lowest</th>"
            "<th scope=\"col\">Highest</th><th scope=\"col\">Wall time, mean</th></tr></thead>\n"
            "<tbody>\n",
            out);
    any = true;
    spread s = spread_of(runs, count, runs[i].group);
    spread_row(out, &runs[i], &s);
  }
  if (any) fputs("</tbody></table></div>\n", out);
}
