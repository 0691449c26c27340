/* report_figures.c - which figures there are, and what is drawn in each. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "run/report_parts.h"

enum { MAX_POINTS = 200, MAX_BARS = 60 };

/* What a figure shows of a point. */
typedef double (*value_of)(const tg_report_point *p);

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
  return strcmp(run->config->transport_name, "sim") == 0;
}
static bool was_late(const tg_report_run *run) {
  return run->staleness_max > 0;
}

typedef struct figure {
  const char *id, *title, *note, *none;
  const char *x_label, *y_label;
  value_of x, y;
  bool train;     /* of train lines, not of evaluations */
  bool from_zero; /* y begins at 0 */
  bool time;      /* x is seconds */
  double limit;   /* on a logarithmic axis that always holds it; NAN: as the data are */
  const char *limit_text;
  bool (*wanted)(const tg_report_run *run); /* NULL: every run */
} figure;

static const figure figures[] = {
    {.id = "error-epochs",
     .title = "Test error over epochs",
     .none = "no run has been evaluated",
     .x_label = "effective epochs",
     .y_label = "test error (%)",
     .x = epoch_of,
     .y = error_of,
     .limit = NAN},
    {.id = "error-wall",
     .title = "Test error over wall time",
     .note = "Time of the whole job, evaluations included.",
     .none = "no run has been evaluated",
     .x_label = "wall time",
     .y_label = "test error (%)",
     .x = wall_of,
     .y = error_of,
     .time = true,
     .limit = NAN},
    {.id = "error-virtual",
     .title = "Test error over virtual time",
     .note = "The simulator&#39;s clock: what the workers would have taken side by side.",
     .none = "no run in the simulator has been evaluated",
     .x_label = "virtual time",
     .y_label = "test error (%)",
     .x = virtual_of,
     .y = error_of,
     .time = true,
     .limit = NAN,
     .wanted = runs_in_simulator},
    {.id = "loss-epochs",
     .title = "Training loss over epochs",
     .note = "Mean over the batches of each train line, at the weights they were computed with.",
     .none = "no run has recorded a training loss",
     .x_label = "effective epochs",
     .y_label = "training loss",
     .x = epoch_of,
     .y = loss_of,
     .train = true,
     .limit = NAN},
    {.id = "images-wall",
     .title = "Throughput over wall time",
     .note = "All workers together, mean of each train line, evaluations included.",
     .none = "no run has recorded its throughput",
     .x_label = "wall time",
     .y_label = "images per second",
     .x = wall_of,
     .y = images_of,
     .train = true,
     .time = true,
     .from_zero = true,
     .limit = NAN},
    {.id = "ratio-epochs",
     .title = "Size of the correction",
     .note = "r = |correction| / |gradient|, mean of each train line, of runs whose rule corrects "
             "late gradients.",
     .none = "no run corrects late gradients and has recorded by how much",
     .x_label = "effective epochs",
     .y_label = "correction ratio r",
     .x = epoch_of,
     .y = ratio_of,
     .train = true,
     .limit = 1e-2,
     .limit_text = "r = 0.01: below, no different from ASGD but by chance",
     .wanted = tg_report_corrects},
};

enum { FIGURES = sizeof figures / sizeof *figures };

/* ---- series ---- */

static tg_status series_create(const tg_report_run *run, size_t room, tg_series *out) {
  *out = (tg_series){.name = run->name,
                     .look = run->group,
                     .x = calloc(room + 1, sizeof *out->x),
                     .y = calloc(room + 1, sizeof *out->y)};
  if (!out->x || !out->y) TG_FAIL(TG_ERUNTIME, "no memory for %zu points of a figure", room);
  return TG_OK;
}

static void series_free(tg_series *series, size_t count) {
  for (size_t i = 0; series && i < count; i++) {
    free(series[i].x);
    free(series[i].y);
  }
  free(series);
}

/* What a run recorded when it diverged would leave the axis nothing to show of the rest. */
static bool is_shown(const figure *f, const tg_report_point *p) {
  return isfinite(f->x(p)) && fabs(f->y(p)) < 1e30;
}

/* Many points become means of as many neighbours as it takes. */
static void fill_series(const figure *f, const tg_report_points *points, tg_series *s) {
  size_t each = (points->count + MAX_POINTS - 1) / MAX_POINTS;
  for (size_t lo = 0; lo < points->count; lo += each) {
    size_t hi = lo + each < points->count ? lo + each : points->count;
    double x = 0, y = 0, n = 0;
    for (size_t i = lo; i < hi; i++) {
      const tg_report_point *p = &points->item[i];
      if (!is_shown(f, p)) continue;
      x += f->x(p);
      y += f->y(p);
      n++;
    }
    s->x[s->count] = n > 0 ? x / n : NAN;
    s->y[s->count++] = n > 0 ? y / n : NAN;
  }
}

static bool has_points(const figure *f, const tg_report_points *points) {
  for (size_t i = 0; i < points->count; i++)
    if (is_shown(f, &points->item[i]) && (isnan(f->limit) || f->y(&points->item[i]) > 0))
      return true;
  return false;
}

/* One legend entry per group: with the first of its runs that are drawn. */
static void count_members(tg_series *series, size_t count) {
  for (size_t i = 0; i < count; i++) {
    size_t first = 0;
    while (series[first].look != series[i].look) first++;
    series[first].members++;
  }
}

/* ---- axes ---- */

typedef struct range {
  double lo, hi, least_positive;
} range;

static range range_of(const tg_series *series, size_t count, bool of_y) {
  range r = {INFINITY, -INFINITY, INFINITY};
  for (size_t i = 0; i < count; i++)
    for (size_t k = 0; k < series[i].count; k++) {
      double v = of_y ? series[i].y[k] : series[i].x[k];
      if (!isfinite(v)) continue;
      r.lo = fmin(r.lo, v);
      r.hi = fmax(r.hi, v);
      if (v > 0) r.least_positive = fmin(r.least_positive, v);
    }
  return r;
}

/* Seconds, minutes or hours, whichever leaves readable numbers. */
static void choose_unit(tg_chart *c, char label[64]) {
  double most = range_of(c->series, c->count, false).hi;
  double unit = most > 4 * 3600 ? 3600 : most > 600 ? 60 : 1;
  const char *name = unit == 3600 ? "h" : unit == 60 ? "min" : "s";
  snprintf(label, 64, "%s (%s)", c->x.label, name);
  c->x.label = label;
  for (size_t i = 0; i < c->count; i++)
    for (size_t k = 0; k < c->series[i].count; k++) c->series[i].x[k] /= unit;
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Of all values drawn; NAN without any, or without memory for them. */
static double median_of(const tg_series *series, size_t count) {
  size_t n = 0;
  double *value = calloc(count * MAX_POINTS + 1, sizeof *value);
  for (size_t i = 0; value && i < count; i++)
    for (size_t k = 0; k < series[i].count; k++)
      if (isfinite(series[i].y[k])) value[n++] = series[i].y[k];
  if (n) qsort(value, n, sizeof *value, ascending);
  double median = n ? value[n / 2] : NAN;
  free(value);
  return median;
}

static void fit_axes(tg_chart *c, const figure *f, double epochs) {
  range x = range_of(c->series, c->count, false), y = range_of(c->series, c->count, true);
  /* One run that diverged must not flatten the curves of those that did not. Losses and ratios
   * up to 100 are a matter of course. */
  double most = 100 * fmax(1, median_of(c->series, c->count));
  c->cut = y.lo >= 0 && y.hi > most;
  if (c->cut) y.hi = most;
  tg_axis_span(&c->x, 0, f->time ? x.hi : fmax(x.hi, epochs));
  if (!isnan(c->limit)) {
    c->y.log = true;
    tg_axis_fit(&c->y, fmin(y.least_positive, c->limit / 10), fmax(y.hi, c->limit));
  } else if (f->from_zero) {
    tg_axis_fit(&c->y, 0, y.hi);
  } else {
    /* Where the beginning dwarfs the end, a linear axis would hide the end. */
    c->y.log = y.lo > 0 && y.hi > 5 * y.lo;
    tg_axis_fit(&c->y, y.lo, y.hi);
  }
}

static const tg_report_points *points_of(const figure *f, const tg_report_run *run) {
  const tg_report_points *points = f->train ? &run->train : &run->eval;
  bool wanted = (!f->wanted || f->wanted(run)) && has_points(f, points);
  return wanted ? points : NULL;
}

static bool is_empty(const figure *f, const tg_report_run *runs, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (points_of(f, &runs[i])) return false;
  return true;
}

static tg_status draw(FILE *out, const figure *f, const tg_report_run *runs, size_t count) {
  tg_status status = TG_OK;
  char label[64];
  double epochs = 0;
  tg_chart c = {.id = f->id,
                .title = f->title,
                .note = f->note,
                .limit = f->limit,
                .limit_text = f->limit_text,
                .x.label = f->x_label,
                .y.label = f->y_label};
  c.series = calloc(count, sizeof *c.series);
  if (!c.series) TG_FAIL(TG_ERUNTIME, "no memory for a figure of %zu runs", count);
  for (size_t i = 0; i < count; i++) {
    const tg_report_points *points = points_of(f, &runs[i]);
    if (!points) continue;
    TG_DO(series_create(&runs[i], MAX_POINTS, &c.series[c.count++]));
    fill_series(f, points, &c.series[c.count - 1]);
    epochs = fmax(epochs, runs[i].last.epoch);
  }
  count_members(c.series, c.count);
  if (f->time) choose_unit(&c, label);
  fit_axes(&c, f, epochs);
  tg_chart_draw(out, &c);
done:
  series_free(c.series, count);
  return status;
}

/* ---- staleness ---- */

/* Bars up to where all but a hundredth of every run's updates lie. */
static size_t bars_of(const tg_report_run *runs, size_t count, size_t *width, bool *cut) {
  double most = 0;
  for (size_t i = 0; i < count; i++)
    if (was_late(&runs[i])) most = fmax(most, tg_report_quantile(&runs[i], 0.99));
  *cut = false;
  for (size_t i = 0; i < count; i++) *cut |= was_late(&runs[i]) && runs[i].staleness_max > most;
  *width = ((size_t)most + MAX_BARS) / MAX_BARS;
  return ((size_t)most + *width) / *width;
}

static void fill_bars(const tg_report_run *run, size_t bars, size_t width, tg_series *s) {
  for (size_t i = 0; i < bars; i++) {
    double pushes = 0;
    for (size_t k = i * width; k < (i + 1) * width && k < run->bins; k++)
      pushes += (double)run->histogram[k];
    s->x[i] = (double)(i * width) - 0.5;
    s->y[i] = 100 * pushes / run->pushes_seen;
  }
  s->x[bars] = (double)(bars * width) - 0.5;
  s->count = bars + 1;
}

static tg_status draw_staleness(FILE *out, const tg_report_run *runs, size_t count) {
  tg_status status = TG_OK;
  char label[64];
  size_t width;
  bool cut;
  size_t bars = bars_of(runs, count, &width, &cut);
  tg_chart c = {.id = "staleness",
                .title = "Staleness",
                .steps = true,
                .limit = NAN,
                .x.label = "updates applied between pull and push",
                .y.label = "share of updates (%)"};
  c.note = cut ? "The latest hundredth of a run&#39;s updates may lie further right; the table "
                 "has the largest staleness. Runs without late gradients are left out."
               : "Runs without late gradients are left out.";
  c.series = calloc(count, sizeof *c.series);
  if (!c.series) TG_FAIL(TG_ERUNTIME, "no memory for a figure of %zu runs", count);
  for (size_t i = 0; i < count; i++) {
    if (!was_late(&runs[i])) continue;
    TG_DO(series_create(&runs[i], bars, &c.series[c.count++]));
    fill_bars(&runs[i], bars, width, &c.series[c.count - 1]);
  }
  count_members(c.series, c.count);
  snprintf(label, sizeof label, "share of updates (%%), %zu to a bar", width);
  if (width > 1) c.y.label = label;
  tg_axis_span(&c.x, -0.5, (double)(bars * width) - 0.5);
  c.x.step = bars * width <= 16 ? 1 : c.x.step;
  tg_axis_fit(&c.y, 0, range_of(c.series, c.count, true).hi);
  tg_chart_draw(out, &c);
done:
  series_free(c.series, count);
  return status;
}

/* ---- all of them ---- */

tg_status tg_report_figures(FILE *out, const tg_report_run *runs, size_t count) {
  bool simulated = false, late = false;
  for (size_t i = 0; i < count; i++) {
    simulated |= runs_in_simulator(&runs[i]);
    late |= was_late(&runs[i]);
  }
  fputs("<h2>Figures</h2>\n<div class=\"figures\">\n", out);
  for (size_t i = 0; i < FIGURES; i++) {
    const figure *f = &figures[i];
    /* Staleness stands beside what corrects it. */
    if (f->wanted == tg_report_corrects && late) TG_TRY(draw_staleness(out, runs, count));
    if (!is_empty(f, runs, count)) TG_TRY(draw(out, f, runs, count));
  }
  fputs("</div>\n<p class=\"none\">", out);
  for (size_t i = 0; i < FIGURES; i++) {
    const figure *f = &figures[i];
    if (f->wanted == runs_in_simulator && !simulated) continue;
    if (is_empty(f, runs, count)) fprintf(out, "%s: not drawn, %s.<br/>\n", f->title, f->none);
  }
  if (!late) fputs("Staleness: not drawn, no finished run has applied a late gradient.\n", out);
  fputs("</p>\n", out);
  return TG_OK;
}
