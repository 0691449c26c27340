/* report_counts.c - figures that are not curves over a run: scaling over workers, staleness
 * histograms, where time went. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "run/report_series.h"

enum { MAX_BARS = 60 };

/* ---- scaling ---- */

/* One family of one task: its groups by workers. */
static tg_status family(const tg_report_set *s, size_t first, tg_report_value of, bool simulated,
                        tg_series *out) {
  const tg_report_group *g = &s->group[first];
  TG_TRY(tg_series_create(s->groups, true, out));
  out->name = g->family;
  out->look = g->look;
  for (size_t i = 0; i < s->groups; i++) {
    const tg_report_group *o = &s->group[i];
    tg_spread y = tg_report_spread(s, o, of);
    if (o->look != g->look || o->task != g->task || o->run[0]->simulated != simulated) continue;
    if (y.n == 0 || !(o->run[0]->workers > 0) || y.n < o->count) continue; /* not all reach it */
    size_t at = out->count++;
    for (; at > 0 && out->x[at - 1] > o->run[0]->workers; at--) {
      out->x[at] = out->x[at - 1];
      out->y[at] = out->y[at - 1];
      out->lo[at] = out->lo[at - 1];
      out->hi[at] = out->hi[at - 1];
    }
    out->x[at] = o->run[0]->workers;
    out->y[at] = y.mean;
    out->lo[at] = y.least;
    out->hi[at] = y.most;
  }
  return TG_OK;
}

static bool leads_family(const tg_report_set *s, size_t i, bool simulated) {
  if (s->group[i].run[0]->simulated != simulated) return false;
  for (size_t k = 0; k < i; k++)
    if (s->group[k].look == s->group[i].look && s->group[k].task == s->group[i].task &&
        s->group[k].run[0]->simulated == simulated)
      return false;
  return true;
}

/* From the best of the fewest workers, in proportion to workers, or the inverse of it. */
static tg_status add_ideal(tg_chart *c, bool inverse) {
  double x0 = INFINITY, x1 = 0, y0 = NAN;
  for (size_t i = 0; i < c->count; i++)
    for (size_t k = 0; k < c->series[i].count; k++) {
      const tg_series *s = &c->series[i];
      bool fewer = s->x[k] < x0;
      bool better = s->x[k] == x0 && (inverse ? s->y[k] < y0 : s->y[k] > y0);
      x1 = fmax(x1, s->x[k]);
      x0 = fmin(x0, s->x[k]);
      if (fewer || better) y0 = s->y[k];
    }
  tg_series *ideal = &c->series[c->count];
  enum { POINTS = 25 }; /* the inverse is a curve on a linear axis */
  TG_TRY(tg_series_create(POINTS, false, ideal));
  c->count++;
  ideal->name = inverse ? "ideal: workers times time stays" : "ideal: in proportion to workers";
  ideal->guide = true;
  ideal->look = TG_COLOURS - 1;
  ideal->count = POINTS;
  for (int i = 0; i < POINTS; i++) {
    double x = i + 1 < POINTS ? x0 * pow(x1 / x0, i / (POINTS - 1.0)) : x1;
    ideal->x[i] = x;
    ideal->y[i] = inverse ? y0 * x0 / x : y0 * x / x0;
  }
  return TG_OK;
}

static void mark_workers(tg_chart *c) {
  for (size_t i = 0; i < c->count; i++)
    for (size_t k = 0; k < c->series[i].count; k++) {
      double x = c->series[i].x[k];
      size_t at = 0;
      while (at < c->x.ats && c->x.at[at] != x) at++;
      if (at == c->x.ats && at < sizeof c->x.at / sizeof *c->x.at) c->x.at[c->x.ats++] = x;
    }
}

static double gain_of(const tg_series *s, bool inverse) {
  size_t n = s->count - 1;
  return inverse ? s->y[0] / s->y[n] : s->y[n] / s->y[0];
}

/* Of many the best and the worst. */
static tg_status tell_scaling(tg_chart *c, bool inverse) {
  size_t told = 0, best = SIZE_MAX, worst = SIZE_MAX;
  FILE *out;
  TG_TRY(tg_words_open(&c->text, &out));
  for (size_t i = 0; i < c->count; i++) {
    if (c->series[i].guide || c->series[i].count < 2) continue;
    double gain = gain_of(&c->series[i], inverse);
    told++;
    if (best == SIZE_MAX || gain > gain_of(&c->series[best], inverse)) best = i;
    if (worst == SIZE_MAX || gain < gain_of(&c->series[worst], inverse)) worst = i;
  }
  if (told > 3) fprintf(out, "Of %zu curves the best and the worst: ", told);
  const char *glue = "";
  for (size_t i = 0; i < c->count; i++) {
    const tg_series *s = &c->series[i];
    if (s->guide || s->count < 2 || (told > 3 && i != best && i != worst)) continue;
    fprintf(out, "%s%s: %.3g times as fast with %.0f workers as with %.0f (ideal: %.3g)", glue,
            s->name, gain_of(s, inverse), s->x[s->count - 1], s->x[0],
            s->x[s->count - 1] / s->x[0]);
    glue = "; ";
  }
  fputs(".", out);
  return tg_words_close(out);
}

static tg_status scale_task(const tg_report_set *s, size_t first, bool simulated, bool inverse,
                            tg_figure *f) {
  const tg_report_run *r = s->group[first].run[0];
  char title[200] = "";
  bool several = false, scales = false;
  tg_chart *c;
  for (size_t i = 0; i < s->groups; i++) several |= s->group[i].task != s->group[first].task;
  if (several)
    snprintf(title, sizeof title, "%s on %s", r->config->model_name, r->config->data_name);
  TG_TRY(tg_figure_chart(f, title, s->groups + 1, &c));
  tg_report_value of = inverse ? tg_value_target_time : tg_value_images;
  for (size_t i = first; i < s->groups && c->count < TG_DRAWN; i++) {
    if (s->group[i].task != s->group[first].task || !leads_family(s, i, simulated)) continue;
    TG_TRY(family(s, i, of, simulated, &c->series[c->count++]));
    scales |= c->series[c->count - 1].count > 1;
  }
  if (!scales) {
    tg_figure_drop(f);
    return TG_OK;
  }
  mark_workers(c);
  TG_TRY(add_ideal(c, inverse));
  tg_range x = tg_range_of(c, 1, false), y = tg_range_of(c, 1, true);
  c->x.label = "workers";
  c->y.label = inverse     ? simulated ? "virtual time to target (s)" : "wall time to target (s)"
               : simulated ? "images per virtual second"
                           : "images per second";
  c->x.log = x.hi > 8 * x.lo;
  c->y.log = y.lo > 0 && (c->x.log || y.hi > 20 * y.lo);
  tg_axis_span(&c->x, x.lo, x.hi);
  tg_axis_fit(&c->y, c->y.log ? y.least_positive : 0, y.hi);
  return tell_scaling(c, inverse);
}

tg_status tg_figure_scaling(const tg_report_set *s, bool simulated, bool to_target, tg_figure *f) {
  static const char *const ids[] = {"scaling", "target", "scaling-virtual", "target-virtual"};
  static const char *const titles[] = {"Throughput over workers", "Time to target over workers",
                                       "Throughput over workers, virtual time",
                                       "Virtual time to target over workers"};
  size_t which = 2 * simulated + to_target;
  *f = (tg_figure){.id = ids[which], .title = titles[which]};
  if (to_target && isnan(s->target)) return TG_OK;
  for (size_t i = 0; i < s->groups; i++) {
    bool new_task = true;
    for (size_t k = 0; k < i; k++) new_task &= s->group[k].task != s->group[i].task;
    if (new_task) TG_TRY(scale_task(s, i, simulated, to_target, f));
  }
  if (!f->charts) return TG_OK;
  FILE *out;
  TG_TRY(tg_words_open(&f->note, &out));
  if (to_target)
    fprintf(out, "First evaluation at or below %g %% test error; only where all seeds reach it. ",
            s->target);
  fputs(simulated ? "On the simulator&#39;s clock."
                  : "On the wall clock: runs in the simulator are left out.",
        out);
  return tg_words_close(out);
}

/* ---- staleness ---- */

static bool was_late(const tg_report_group *g) {
  for (size_t i = 0; i < g->count; i++)
    if (g->run[i]->staleness_max > 0) return true;
  return false;
}

/* Bars up to where all but a hundredth of every run's updates lie. */
static size_t bars_of(const tg_report_set *s, size_t *width, bool *cut) {
  double most = 0;
  *cut = false;
  for (size_t i = 0; i < s->runs; i++)
    if (s->run[i].staleness_max > 0) most = fmax(most, s->run[i].staleness_p99);
  for (size_t i = 0; i < s->runs; i++) *cut |= s->run[i].staleness_max > most;
  *width = ((size_t)most + MAX_BARS) / MAX_BARS;
  return ((size_t)most + *width) / *width;
}

/* Of all members together. */
static void fill_bars(const tg_report_group *g, size_t bars, size_t width, tg_series *s) {
  double all = 0;
  for (size_t m = 0; m < g->count; m++) all += g->run[m]->pushes_seen;
  for (size_t i = 0; i < bars; i++) {
    double pushes = 0;
    for (size_t m = 0; m < g->count; m++)
      for (size_t k = i * width; k < (i + 1) * width && k < g->run[m]->bins; k++)
        pushes += (double)g->run[m]->histogram[k];
    s->x[i] = (double)(i * width) - 0.5;
    s->y[i] = 100 * pushes / all;
  }
  s->x[bars] = (double)(bars * width) - 0.5;
  s->count = bars + 1;
}

static double mean_of(const tg_report_set *s, const tg_report_run *r) {
  (void)s;
  return r->staleness_mean;
}
static double most_of(const tg_report_set *s, const tg_report_run *r) {
  (void)s;
  return r->staleness_max;
}

static tg_status tell_staleness(const tg_report_set *s, const tg_report_group *const *g, size_t n,
                                tg_chart *c) {
  FILE *out;
  double least = INFINITY, greatest = 0, most = 0;
  TG_TRY(tg_words_open(&c->text, &out));
  for (size_t i = 0; i < n; i++) {
    double mean = tg_report_spread(s, g[i], mean_of).mean;
    double top = tg_report_spread(s, g[i], most_of).most;
    least = fmin(least, mean);
    greatest = fmax(greatest, mean);
    most = fmax(most, top);
    if (n <= 3)
      fprintf(out, "%s%s: mean %.3g, largest %.0f", i ? "; " : "Staleness of ", g[i]->line, mean,
              top);
  }
  if (n > 3)
    fprintf(out, "Mean staleness %.3g to %.3g, largest %.0f, of %zu configurations", least,
            greatest, most, n);
  fputs(".", out);
  return tg_words_close(out);
}

static tg_status stale_panel(const tg_report_set *s, size_t panel, size_t bars, size_t width,
                             tg_figure *f) {
  const tg_report_group *drawn[TG_DRAWN];
  tg_chart *c;
  TG_TRY(tg_figure_chart(f, s->panel[panel].title, TG_DRAWN, &c));
  c->drawing = TG_DRAW_STEPS;
  c->x.label = "updates applied between pull and push";
  c->y.label = width > 1 ? "share of updates per bar (%)" : "share of updates (%)";
  for (size_t i = 0; i < s->groups; i++) {
    const tg_report_group *g = &s->group[i];
    if (g->panel != panel || !g->drawn || !was_late(g)) continue;
    drawn[c->count] = g;
    tg_series *one = &c->series[c->count++];
    TG_TRY(tg_series_create(bars, false, one));
    one->name = g->line;
    one->look = g->look;
    fill_bars(g, bars, width, one);
  }
  if (c->count) return tell_staleness(s, drawn, c->count, c);
  tg_figure_drop(f);
  return TG_OK;
}

tg_status tg_figure_staleness(const tg_report_set *s, tg_figure *f) {
  size_t width;
  bool cut;
  size_t bars = bars_of(s, &width, &cut);
  *f = (tg_figure){.id = "staleness", .title = "Staleness"};
  for (size_t i = 0; i < s->panels; i++) TG_TRY(stale_panel(s, i, bars, width, f));
  double most = tg_range_of(f->chart, f->charts, true).hi;
  for (size_t i = 0; i < f->charts; i++) {
    tg_chart *c = &f->chart[i];
    tg_axis_span(&c->x, -0.5, (double)(bars * width) - 0.5);
    c->x.step = bars * width <= 12 ? 1 : fmax(1, c->x.step);
    tg_axis_fit(&c->y, 0, most);
  }
  FILE *out;
  if (!f->charts) return TG_OK;
  TG_TRY(tg_words_open(&f->note, &out));
  if (width > 1) fprintf(out, "A bar is %zu updates wide. ", width);
  if (cut)
    fputs("The latest hundredth of a run&#39;s updates may lie further right; the table has the "
          "largest staleness. ",
          out);
  fputs("Runs without late gradients are left out.", out);
  return tg_words_close(out);
}
