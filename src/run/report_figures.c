/* report_figures.c - which figures there are, and what each says in words. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "run/report_series.h"
#include "tardigrad/log.h"

static double epoch_of(const tg_report_point *p) {
  return p->epoch;
}
static double wall_of(const tg_report_point *p) {
  return p->wall_s;
}
static double virtual_of(const tg_report_point *p) {
  return p->sim_s;
}
static double loss_of(const tg_report_point *p) {
  return p->loss;
}
static double error_of(const tg_report_point *p) {
  return p->error;
}
static double images_of(const tg_report_point *p) {
  return p->images_per_s;
}
static double ratio_of(const tg_report_point *p) {
  return p->ratio;
}

static bool runs_in_simulator(const tg_report_run *run) {
  return run->simulated;
}
static bool runs_for_real(const tg_report_run *run) {
  return !run->simulated;
}

static const tg_curve curves[] = {
    {.id = "error-epochs",
     .title = "Test error over effective passes",
     .note = "An effective pass is as many samples as the training set has, all workers together.",
     .none = "no run has been evaluated",
     .x_label = "effective passes (epochs)",
     .y_label = "test error (%)",
     .ends = "Last test error",
     .unit = " %",
     .x = epoch_of,
     .y = error_of,
     .limit = NAN},
    {.id = "error-wall",
     .title = "Test error over wall time",
     .note = "Time of the whole job, evaluations included.",
     .none = "no run on real ranks has been evaluated",
     .x_label = "wall time",
     .y_label = "test error (%)",
     .ends = "Last test error",
     .unit = " %",
     .x = wall_of,
     .y = error_of,
     .time = true,
     .limit = NAN,
     .wanted = runs_for_real},
    {.id = "error-wall",
     .title = "Test error over wall time, simulated",
     .note = "Time of one process that computes for all workers: what the simulation takes, not "
             "what a cluster would.",
     .none = "no run has been evaluated",
     .x_label = "wall time",
     .y_label = "test error (%)",
     .ends = "Last test error",
     .unit = " %",
     .x = wall_of,
     .y = error_of,
     .time = true,
     .limit = NAN,
     .wanted = runs_in_simulator},
    {.id = "error-virtual",
     .title = "Test error over virtual time",
     .note = "The simulator&#39;s clock: what the workers would have taken side by side. Runs on "
             "real ranks are not in this figure, nor simulated ones in that of wall time.",
     .none = "no run in the simulator has been evaluated",
     .x_label = "virtual time",
     .y_label = "test error (%)",
     .ends = "Last test error",
     .unit = " %",
     .x = virtual_of,
     .y = error_of,
     .time = true,
     .limit = NAN,
     .wanted = runs_in_simulator},
    {.id = "loss-epochs",
     .title = "Training loss over effective passes",
     .note = "Mean over the batches of each train line, at the weights they were computed with.",
     .none = "no run has recorded a training loss",
     .x_label = "effective passes (epochs)",
     .y_label = "training loss",
     .ends = "Last training loss",
     .unit = "",
     .x = epoch_of,
     .y = loss_of,
     .train = true,
     .limit = NAN},
    {.id = "images-wall",
     .title = "Throughput over wall time",
     .note = "All workers together, mean of each train line, evaluations included.",
     .none = "no run on real ranks has recorded its throughput",
     .x_label = "wall time",
     .y_label = "images per second",
     .ends = "Last",
     .unit = " images/s",
     .x = wall_of,
     .y = images_of,
     .train = true,
     .time = true,
     .from_zero = true,
     .limit = NAN,
     .wanted = runs_for_real},
    {.id = "ratio-epochs",
     .title = "Size of the correction",
     .note = "r = |correction| / |gradient|, mean of each train line, of runs whose rule corrects "
             "late gradients.",
     .none = "no run corrects late gradients and has recorded by how much",
     .x_label = "effective passes (epochs)",
     .y_label = "correction ratio r",
     .ends = "Last r",
     .unit = "",
     .x = epoch_of,
     .y = ratio_of,
     .train = true,
     .limit = 1e-2,
     .limit_text = "r = 0.01: below, no different from ASGD but by chance",
     .wanted = tg_report_corrects},
};
enum { CURVES = sizeof curves / sizeof *curves };

/* ---- in words ---- */

static double last_of(const tg_series *s) {
  return s->count ? s->y[s->count - 1] : NAN;
}

static const char *format_of(double value) {
  return fabs(value) >= 1000 && fabs(value) < 1e9 ? "%.0f" : "%.3g";
}

static void tell_one(FILE *out, const tg_curve *f, const tg_series *s) {
  fprintf(out, format_of(last_of(s)), last_of(s));
  fputs(f->unit, out);
  if (!s->lo) return;
  fputs(" (", out);
  fprintf(out, format_of(last_of(s)), s->lo[s->count - 1]);
  fputs(" to ", out);
  fprintf(out, format_of(last_of(s)), s->hi[s->count - 1]);
  fputs(")", out);
}

static tg_status tell_chart(const tg_curve *f, tg_chart *c) {
  size_t least = 0, most = 0;
  FILE *out;
  TG_TRY(tg_words_open(&c->text, &out));
  for (size_t i = 0; i < c->count; i++) {
    if (last_of(&c->series[i]) < last_of(&c->series[least])) least = i;
    if (last_of(&c->series[i]) > last_of(&c->series[most])) most = i;
  }
  fprintf(out, "%s: ", f->ends);
  if (c->count > 3) {
    fprintf(out, "of %zu curves the lowest is %s with ", c->count, c->series[least].name);
    tell_one(out, f, &c->series[least]);
    fprintf(out, ", the highest %s with ", c->series[most].name);
    tell_one(out, f, &c->series[most]);
  }
  for (size_t i = 0; c->count <= 3 && i < c->count; i++) {
    fprintf(out, "%s%s ", i ? "; " : "", c->series[i].name);
    tell_one(out, f, &c->series[i]);
  }
  fputs(".", out);
  return tg_words_close(out);
}

/* What the lines and bands of a figure are. */
static tg_status tell_figure(const tg_report_set *s, const char *note, tg_figure *f) {
  bool banded = false;
  size_t hidden = 0;
  for (size_t i = 0; i < s->groups; i++) {
    banded |= s->group[i].count > 1;
    hidden += !s->group[i].drawn;
  }
  FILE *out;
  TG_TRY(tg_words_open(&f->note, &out));
  fputs(note, out);
  if (banded) fputs(" Lines are means over seeds, bands reach from the least to the most.", out);
  if (hidden)
    fprintf(out, " Not drawn: %zu configurations with a higher error; the table has them.", hidden);
  return tg_words_close(out);
}

/* ---- curves ---- */

/* A correction of 0 has no place on a logarithmic axis. */
static bool is_empty(const tg_curve *f, const tg_series *s) {
  for (size_t i = 0; i < s->count; i++)
    if (isnan(f->limit) || s->y[i] > 0) return false;
  return true;
}

static void drop_empty(const tg_curve *f, tg_chart *c) {
  size_t kept = 0;
  for (size_t i = 0; i < c->count; i++) {
    tg_series *s = &c->series[i];
    if (!is_empty(f, s)) {
      c->series[kept++] = *s;
      continue;
    }
    free(s->x);
    free(s->y);
    free(s->lo);
    free(s->hi);
  }
  c->count = kept;
}

static tg_status draw_panel(const tg_report_set *s, size_t panel, const tg_curve *f,
                            tg_figure *to) {
  tg_chart *c;
  TG_TRY(tg_figure_chart(to, s->panel[panel].title, s->groups, &c));
  c->x.label = f->x_label;
  c->y.label = f->y_label;
  c->limit = f->limit;
  for (size_t i = 0; i < s->groups; i++)
    if (s->group[i].panel == panel && s->group[i].drawn)
      TG_TRY(tg_series_of_group(f, &s->group[i], &c->series[c->count++]));
  drop_empty(f, c);
  if (c->count) return tell_chart(f, c);
  tg_figure_drop(to);
  return TG_OK;
}

/* Real and simulated runs never share a clock, and the simulation's own wall time is of interest
 * only where nothing else is; over several numbers of workers scaling says more than throughput. */
static bool is_redundant(const tg_report_set *s, const tg_curve *f) {
  bool real = false;
  for (size_t i = 0; i < s->runs; i++) real |= !s->run[i].simulated;
  if (f->x == wall_of && f->wanted == runs_in_simulator) return real;
  return f->y == images_of && s->panels > 1;
}

static tg_status draw_curves(const tg_report_set *s, const tg_curve *f, tg_figure *to) {
  static const char *const labels[][4] = {
      {"wall time", "wall time (s)", "wall time (min)", "wall time (h)"},
      {"virtual time", "virtual time (s)", "virtual time (min)", "virtual time (h)"}};
  double epochs = 0;
  *to = (tg_figure){.id = f->id, .title = f->title, .limit_text = f->limit_text};
  if (is_redundant(s, f)) return TG_OK;
  for (size_t i = 0; i < s->panels; i++) TG_TRY(draw_panel(s, i, f, to));
  if (!to->charts) return TG_OK;
  for (size_t i = 0; i < s->runs; i++)
    if (!f->wanted || f->wanted(&s->run[i])) epochs = fmax(epochs, s->run[i].last.epoch);
  if (f->time) {
    char unit = *tg_choose_unit(to->chart, to->charts);
    for (size_t i = 0; i < to->charts; i++)
      to->chart[i].x.label = labels[f->x == virtual_of][unit == 's' ? 1 : unit == 'm' ? 2 : 3];
  }
  tg_fit_axes(f, epochs, to->chart, to->charts);
  return tell_figure(s, f->note, to);
}

/* ---- all of them ---- */

typedef enum { SCALING, TO_TARGET, SCALING_SIM, TO_TARGET_SIM, STALENESS, TIME, OTHERS } other;

static tg_status draw_all(const tg_report_set *s, tg_figure figure[CURVES + OTHERS]) {
  for (size_t i = 0; i < CURVES; i++) TG_TRY(draw_curves(s, &curves[i], &figure[i]));
  tg_figure *rest = figure + CURVES;
  TG_TRY(tg_figure_scaling(s, false, false, &rest[SCALING]));
  TG_TRY(tg_figure_scaling(s, false, true, &rest[TO_TARGET]));
  TG_TRY(tg_figure_scaling(s, true, false, &rest[SCALING_SIM]));
  TG_TRY(tg_figure_scaling(s, true, true, &rest[TO_TARGET_SIM]));
  TG_TRY(tg_figure_staleness(s, &rest[STALENESS]));
  return tg_figure_time(s, &rest[TIME]);
}

static void write_missing(FILE *out, const tg_report_set *s, const tg_figure *figure) {
  bool simulated = false, real = false;
  for (size_t i = 0; i < s->runs; i++) {
    simulated |= s->run[i].simulated;
    real |= !s->run[i].simulated;
  }
  fputs("<p class=\"none\">", out);
  for (size_t i = 0; i < CURVES; i++) {
    const tg_curve *f = &curves[i];
    bool due = f->wanted == runs_in_simulator ? simulated : f->wanted != runs_for_real || real;
    due &= !is_redundant(s, f);
    if (due && !figure[i].charts) fprintf(out, "%s: not drawn, %s.<br/>\n", f->title, f->none);
  }
  if (!figure[CURVES + STALENESS].charts)
    fputs("Staleness: not drawn, no finished run has applied a late gradient.<br/>\n", out);
  fputs("</p>\n", out);
}

static void write_all(FILE *out, const tg_report_set *s, const tg_figure *figure, tg_status drawn) {
  fputs("<h2>Figures</h2>\n", out);
  if (drawn != TG_OK) {
    fputs("<p class=\"none\">Drawn without gnuplot, by tardigrad itself: ", out);
    tg_html_text(out, tg_status_message());
    fputs(".</p>\n", out);
  }
  fputs("<div class=\"figures\">\n", out);
  for (size_t i = 0; i < CURVES + OTHERS; i++)
    if (figure[i].charts) tg_figure_write(out, &figure[i]);
  fputs("</div>\n", out);
  write_missing(out, s, figure);
}

tg_status tg_report_figures(FILE *out, const tg_report_set *s) {
  tg_figure figure[CURVES + OTHERS] = {{.id = NULL}};
  tg_status status = draw_all(s, figure);
  if (status == TG_OK) {
    size_t charts = 0;
    for (size_t i = 0; i < CURVES + OTHERS; i++) charts += figure[i].charts;
    tg_status drawn = charts ? tg_gnuplot_draw(figure, CURVES + OTHERS) : TG_OK;
    if (drawn != TG_OK) tg_warn("figures are drawn without gnuplot: %s", tg_status_message());
    write_all(out, s, figure, drawn);
  }
  for (size_t i = 0; i < CURVES + OTHERS; i++) tg_figure_free(&figure[i]);
  return status;
}
