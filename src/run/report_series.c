/* report_series.c - curves of runs, and of groups of runs: the mean over seeds and its band. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "run/report_series.h"

enum { MAX_POINTS = 160 };

/* What a run recorded when it diverged would leave the axis nothing to show of the rest. */
static bool is_shown(double x, double y) {
  return isfinite(x) && fabs(y) < 1e30;
}

/* Many points become means of as many neighbours as it takes. */
static void thin_out(const tg_curve *f, const tg_report_run *run, tg_series *s) {
  const tg_report_points *points = f->train ? &run->train : &run->eval;
  size_t each = (points->count + MAX_POINTS - 1) / MAX_POINTS;
  for (size_t lo = 0; lo < points->count; lo += each) {
    size_t hi = lo + each < points->count ? lo + each : points->count;
    double x = 0, y = 0, n = 0;
    for (size_t i = lo; i < hi; i++) {
      const tg_report_point *p = &points->item[i];
      if (!is_shown(f->x(p), f->y(p))) continue;
      x += f->x(p);
      y += f->y(p);
      n++;
    }
    if (n == 0) continue;
    s->x[s->count] = x / n;
    s->y[s->count++] = y / n;
  }
}

/* A curve's height at x, between its points; NAN outside of it. */
static double height_at(const tg_series *s, double x) {
  size_t lo = 0, hi = s->count;
  if (!s->count || x < s->x[0] * (1 - 1e-3) - 1e-12 || x > s->x[s->count - 1] * (1 + 1e-3) + 1e-12)
    return NAN;
  while (hi - lo > 1) {
    size_t middle = lo + (hi - lo) / 2;
    if (s->x[middle] <= x)
      lo = middle;
    else
      hi = middle;
  }
  if (lo + 1 >= s->count || x <= s->x[lo] || !(s->x[lo + 1] > s->x[lo])) return s->y[lo];
  return s->y[lo] + (s->y[lo + 1] - s->y[lo]) * (x - s->x[lo]) / (s->x[lo + 1] - s->x[lo]);
}

/* At the points of the member that goes furthest, over all members that are there. */
static void average(const tg_series *member, size_t members, tg_series *out) {
  const tg_series *far = &member[0];
  for (size_t i = 1; i < members; i++) {
    const tg_series *m = &member[i];
    if (m->count && (!far->count || m->x[m->count - 1] > far->x[far->count - 1])) far = m;
  }
  for (size_t i = 0; i < far->count; i++) {
    double n = 0, sum = 0, lo = INFINITY, hi = -INFINITY;
    for (size_t k = 0; k < members; k++) {
      double y = height_at(&member[k], far->x[i]);
      if (isnan(y)) continue;
      n++;
      sum += y;
      lo = fmin(lo, y);
      hi = fmax(hi, y);
    }
    /* Where most seeds have ended, or not begun, a mean would jump. */
    if (2 * n <= (double)members && n < (double)members) continue;
    out->x[out->count] = far->x[i];
    out->y[out->count] = sum / n;
    out->lo[out->count] = lo;
    out->hi[out->count++] = hi;
  }
}

static void free_members(tg_series *member, size_t count) {
  for (size_t i = 0; member && i < count; i++) {
    free(member[i].x);
    free(member[i].y);
  }
  free(member);
}

static int by_x(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Clocks only go forward; a curve of two points at one place has no height there. */
static void sort_points(tg_series *s) {
  double *pair = calloc(2 * s->count + 1, sizeof *pair);
  for (size_t i = 0; pair && i < s->count; i++) {
    pair[2 * i] = s->x[i];
    pair[2 * i + 1] = s->y[i];
  }
  if (pair) qsort(pair, s->count, 2 * sizeof *pair, by_x);
  for (size_t i = 0; pair && i < s->count; i++) {
    s->x[i] = pair[2 * i];
    s->y[i] = pair[2 * i + 1];
  }
  free(pair);
}

tg_status tg_series_of_group(const tg_curve *f, const tg_report_group *g, tg_series *out) {
  tg_status status = TG_OK;
  size_t wanted = 0;
  TG_TRY(tg_series_create(MAX_POINTS, g->count > 1, out));
  out->name = g->line;
  out->look = g->look;
  tg_series *member = calloc(g->count, sizeof *member);
  if (!member) TG_FAIL(TG_ERUNTIME, "no memory for a figure of %zu runs", g->count);
  for (size_t i = 0; i < g->count; i++) {
    if (f->wanted && !f->wanted(g->run[i])) continue;
    TG_DO(tg_series_create(MAX_POINTS, false, &member[wanted++]));
    thin_out(f, g->run[i], &member[wanted - 1]);
    sort_points(&member[wanted - 1]);
    if (member[wanted - 1].count == 0) {
      wanted--;
      free(member[wanted].x);
      free(member[wanted].y);
    }
  }
  if (g->count > 1 && wanted) {
    average(member, wanted, out);
  } else if (wanted) {
    out->count = member[0].count;
    memcpy(out->x, member[0].x, out->count * sizeof *out->x);
    memcpy(out->y, member[0].y, out->count * sizeof *out->y);
  }
done:
  free_members(member, wanted);
  return status;
}

/* ---- axes ---- */

tg_range tg_range_of(const tg_chart *chart, size_t charts, bool of_y) {
  tg_range r = {INFINITY, -INFINITY, INFINITY};
  for (size_t c = 0; c < charts; c++)
    for (size_t i = 0; i < chart[c].count; i++) {
      const tg_series *s = &chart[c].series[i];
      const double *of[] = {of_y ? s->y : s->x, of_y ? s->lo : NULL, of_y ? s->hi : NULL};
      for (size_t k = 0; k < 3 * s->count; k++) {
        double v = of[k % 3] ? of[k % 3][k / 3] : NAN;
        if (!isfinite(v)) continue;
        r.lo = fmin(r.lo, v);
        r.hi = fmax(r.hi, v);
        if (v > 0) r.least_positive = fmin(r.least_positive, v);
      }
    }
  return r;
}

const char *tg_choose_unit(tg_chart *chart, size_t charts) {
  double most = tg_range_of(chart, charts, false).hi;
  double unit = most > 4 * 3600 ? 3600 : most > 600 ? 60 : 1;
  for (size_t c = 0; c < charts; c++)
    for (size_t i = 0; i < chart[c].count; i++)
      for (size_t k = 0; k < chart[c].series[i].count; k++) chart[c].series[i].x[k] /= unit;
  return unit == 3600 ? "h" : unit == 60 ? "min" : "s";
}

/* Of all values drawn; NAN without any, or without memory for them. */
static double median_of(const tg_chart *chart, size_t charts) {
  size_t n = 0, room = 1;
  for (size_t c = 0; c < charts; c++)
    for (size_t i = 0; i < chart[c].count; i++) room += chart[c].series[i].count;
  double *value = calloc(room, sizeof *value);
  for (size_t c = 0; value && c < charts; c++)
    for (size_t i = 0; i < chart[c].count; i++)
      for (size_t k = 0; k < chart[c].series[i].count; k++)
        if (isfinite(chart[c].series[i].y[k])) value[n++] = chart[c].series[i].y[k];
  if (n) qsort(value, n, sizeof *value, by_x);
  double median = n ? value[n / 2] : NAN;
  free(value);
  return median;
}

void tg_fit_axes(const tg_curve *f, double epochs, tg_chart *chart, size_t charts) {
  tg_range x = tg_range_of(chart, charts, false), y = tg_range_of(chart, charts, true);
  /* One run that diverged must not flatten the curves of those that did not. Losses and ratios
   * up to 100 are a matter of course. */
  double most = 100 * fmax(1, median_of(chart, charts));
  bool cut = y.lo >= 0 && y.hi > most;
  tg_axis across = {.label = chart[0].x.label}, up = {.label = chart[0].y.label};
  if (cut) y.hi = most;
  tg_axis_span(&across, 0, f->time ? x.hi : fmax(x.hi, epochs));
  if (!isnan(f->limit)) {
    up.log = true;
    tg_axis_fit(&up, fmin(y.least_positive, f->limit / 10), fmax(y.hi, f->limit));
  } else if (f->from_zero) {
    tg_axis_fit(&up, 0, y.hi);
  } else {
    /* Where the beginning dwarfs the end, a linear axis would hide the end. */
    up.log = y.lo > 0 && y.hi > 5 * y.lo;
    tg_axis_fit(&up, y.lo, y.hi);
  }
  for (size_t c = 0; c < charts; c++) {
    chart[c].x = across;
    /* Panels differ in workers, and so in how long they take. */
    if (f->time) tg_axis_span(&chart[c].x, 0, tg_range_of(&chart[c], 1, false).hi);
    chart[c].y = up;
    for (size_t i = 0; cut && i < chart[c].count; i++)
      for (size_t k = 0; k < chart[c].series[i].count; k++)
        chart[c].cut |= chart[c].series[i].y[k] > up.hi;
  }
}
