/* report_notes.c - what a reader must know before believing a number; spread over seeds. */
#include <math.h>
#include <string.h>

#include "run/report_parts.h"

/* Below this r the corrected gradient is the late gradient, for what a test error can tell. */
static const double NOTICEABLE = 1e-2;

static void begin(FILE *out, const tg_report_run *run) {
  fputs("<li><strong>", out);
  tg_html_text(out, run->name);
  fputs("</strong> ", out);
}

static void note_unfinished(FILE *out, const tg_report_run *r) {
  if (r->ended) return;
  begin(out, r);
  fputs("is unfinished: its metrics have no end line. The last line is of epoch ", out);
  tg_html_real(out, "%.4g", r->last.epoch);
  fprintf(out, " of %g, after ", r->config->train_epochs);
  tg_html_time(out, r->last.wall_s);
  fputs("; its final values are dashes.</li>\n", out);
}

static void note_final(FILE *out, const tg_report_run *r) {
  if (!r->ended || !isnan(r->error)) return;
  begin(out, r);
  if (isnan(r->end.error))
    fputs("ended without an evaluation: it has no final test error.</li>\n", out);
  else
    fputs("was trained on after its last evaluation: it has no final test error.</li>\n", out);
}

static void note_correction(FILE *out, const tg_report_run *r) {
  if (!tg_report_corrects(r) || isnan(r->ratio_mean) || r->ratio_mean >= NOTICEABLE) return;
  begin(out, r);
  if (r->ratio_mean == 0) {
    fputs("corrected nothing (r = 0 throughout): it is ASGD under another name.</li>\n", out);
    return;
  }
  fprintf(out,
          "has a mean correction ratio r = %.3g, below 1e-2: at this r a difference in test error "
          "from ASGD is chance, whichever way it points.</li>\n",
          r->ratio_mean);
}

static void note_nonfinite(FILE *out, const tg_report_run *r) {
  if (!(r->nonfinite > 0)) return;
  begin(out, r);
  fputs("dropped ", out);
  tg_html_count(out, r->nonfinite);
  fputs(r->nonfinite == 1 ? " gradient that was not finite.</li>\n"
                          : " gradients that were not finite.</li>\n",
        out);
}

static void note_data(FILE *out, const tg_report_run *r) {
  const tg_config *c = r->config;
  if (strcmp(c->data_name, "synthetic") == 0) {
    begin(out, r);
    fputs("learned synthetic data: its error says that training works, and no more.</li>\n", out);
  } else if (c->data_train_limit || c->data_test_limit) {
    begin(out, r);
    fputs("used a part of its data set", out);
    if (c->data_train_limit) fputs(" for training", out);
    if (c->data_train_limit && c->data_test_limit) fputs(" and", out);
    if (c->data_test_limit) fputs(" for tests", out);
    fputs(": do not compare it with published figures.</li>\n", out);
  }
}

static bool is_sim(const tg_report_run *r) {
  return strcmp(r->config->transport_name, "sim") == 0;
}

static void note_sim(FILE *out, const tg_report_run *r) {
  if (!is_sim(r)) return;
  begin(out, r);
  fputs("ran in the simulator: its wall time is that of one process computing for all workers, and "
        "says nothing about a cluster.",
        out);
  if (!isnan(r->last.sim_s)) fputs(" Compare its virtual time.", out);
  fputs("</li>\n", out);
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
    fprintf(out,
            "<li>%zu of %zu runs are alone with their configuration: for them no spread is "
            "known.</li>\n",
            single, count);
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
  static void (*const notes[])(FILE *, const tg_report_run *) = {
      note_unfinished, note_final, note_correction, note_nonfinite, note_data, note_sim};
  fputs("<section class=\"notes\"><h2>Before you compare</h2>\n<ul>\n", out);
  for (size_t k = 0; k < sizeof notes / sizeof *notes; k++)
    for (size_t i = 0; i < count; i++) notes[k](out, &runs[i]);
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
  tg_html_real(out, "%.2f", s->count ? s->sum / n : NAN);
  tg_html_real(out, " &#177; %.2f %%", s->count > 1 ? sqrt(s->squares / (n - 1)) : NAN);
  fputs("</td><td>", out);
  tg_html_real(out, "%.2f", s->count ? s->least : NAN);
  tg_html_real(out, " to %.2f %%", s->count ? s->most : NAN);
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
      fputs("<h2>Spread</h2>\n<p>Runs that differ in their seeds alone; mean and standard "
            "deviation of a single run.</p>\n<div class=\"wide\"><table>\n<thead><tr><td></td>"
            "<th scope=\"col\">Finished runs</th><th scope=\"col\">Test error, final</th>"
            "<th scope=\"col\">Range</th><th scope=\"col\">Wall time, mean</th></tr></thead>\n"
            "<tbody>\n",
            out);
    any = true;
    spread s = spread_of(runs, count, runs[i].group);
    spread_row(out, &runs[i], &s);
  }
  if (any) fputs("</tbody></table></div>\n", out);
}
