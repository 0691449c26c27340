/* report_compare.c - a row per group of runs, by panels, the best first; and where they ran. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "run/report_chart.h"
#include "run/report_parts.h"
#include "tardigrad/run.h"

/* ---- values ---- */

static double equal_epoch(const tg_report_set *s, const tg_report_run *r) {
  (void)s;
  return r->equal_epoch_error;
}
static double equal_time(const tg_report_set *s, const tg_report_run *r) {
  (void)s;
  return r->equal_time_error;
}
static double late_mean(const tg_report_set *s, const tg_report_run *r) {
  (void)s;
  return r->staleness_mean;
}
static double busy(const tg_report_set *s, const tg_report_run *r) {
  (void)s;
  return 100 * r->server_busy;
}
static double bytes(const tg_report_set *s, const tg_report_run *r) {
  (void)s;
  return r->bytes_per_sample;
}
static double nonfinite(const tg_report_set *s, const tg_report_run *r) {
  (void)s;
  return r->nonfinite;
}
static double job_time(const tg_report_set *s, const tg_report_run *r) {
  (void)s;
  return r->simulated ? r->end.sim_s : r->end.wall_s;
}

static void put_percent(FILE *out, double v) {
  tg_html_real(out, "%.2f", v);
}
static void put_short(FILE *out, double v) {
  tg_html_real(out, "%.1f", v);
}
static void put_small(FILE *out, double v) {
  tg_html_real(out, "%.3g", v);
}
/* Shorter than tg_html_time: it stands three times in a cell. */
static void put_time(FILE *out, double s) {
  double unit = s >= 4 * 3600 ? 3600 : s >= 600 ? 60 : 1;
  tg_html_real(out, unit == 1 && s < 100 ? "%.2f" : "%.1f", s / unit);
  if (isfinite(s)) fputs(unit == 1 ? " s" : unit == 60 ? " min" : " h", out);
}

static void put_late(FILE *out, double v) {
  tg_html_real(out, v == floor(v) ? "%.0f" : "%.2f", v);
}

typedef struct column {
  const char *label, *unit;
  tg_report_value of;
  void (*put)(FILE *out, double value);
  bool to_target; /* a run may fail to get there */
} column;

static const column columns[] = {
    {"Final test error", "%", tg_value_error, put_percent, false},
    {"Error at equal epochs", "%", equal_epoch, put_percent, false},
    {"Error at equal time", "%", equal_time, put_percent, false},
    {"Epochs to", NULL, tg_value_target_epochs, tg_html_epoch, true},
    {"Time to", NULL, tg_value_target_time, put_time, true},
    {"Whole time", NULL, job_time, put_time, false},
    {"Images/s", NULL, tg_value_images, tg_html_count, false},
    {"Staleness", "mean; 99th percentile; largest", late_mean, put_late, false},
    {"r", "|correction| / |gradient|", tg_value_ratio, put_small, false},
    {"Server busy", "%", busy, put_short, false},
    {"Bytes per sample", NULL, bytes, tg_html_bytes, false},
    {"Lost gradients", "not finite; dropped by the rule", nonfinite, tg_html_count, false},
};
enum { COLUMNS = sizeof columns / sizeof *columns };

/* A column that no run has anything for says nothing. */
static bool is_shown(const tg_report_set *s, const column *c) {
  if (c->to_target) return !isnan(s->target);
  for (size_t i = 0; i < s->runs; i++)
    if (isfinite(c->of(s, &s->run[i]))) return true;
  return false;
}

/* ---- cells ---- */

static size_t evaluated(const tg_report_group *g) {
  size_t n = 0;
  for (size_t i = 0; i < g->count; i++) n += g->run[i]->eval.count > 0;
  return n;
}

/* Of all seeds; the last bin of a full histogram holds everything from there on. */
static void put_tail(FILE *out, const tg_report_group *g) {
  double p99 = NAN, most = NAN;
  for (size_t i = 0; i < g->count; i++) {
    p99 = fmax(p99, g->run[i]->staleness_p99);
    most = fmax(most, g->run[i]->staleness_max);
  }
  if (isnan(most)) return;
  fprintf(out, " <small>%s%.0f; ", p99 >= TG_STALENESS_BINS - 1 ? "\xE2\x89\xA5 " : "", p99);
  fprintf(out, "%s%.0f</small>", most >= TG_STALENESS_BINS - 1 ? "\xE2\x89\xA5 " : "", most);
}

static void put_dropped(FILE *out, const tg_report_group *g) {
  double dropped = 0;
  for (size_t i = 0; i < g->count; i++)
    dropped += isfinite(g->run[i]->dropped) ? g->run[i]->dropped / (double)g->count : 0;
  fputs("; ", out);
  tg_html_count(out, dropped);
}

static void write_cell(FILE *out, const tg_report_set *s, const column *c,
                       const tg_report_group *g) {
  tg_spread x = tg_report_spread(s, g, c->of);
  size_t due = c->to_target ? evaluated(g) : 0;
  fputs("<td>", out);
  if (due > 0 && x.n == 0)
    fputs("not reached", out);
  else
    c->put(out, x.mean);
  if (c->of == late_mean) {
    put_tail(out, g);
  } else if (c->of == nonfinite) {
    put_dropped(out, g);
  } else if (x.n > 1 && x.most > x.least) {
    fputs(" <small>", out);
    c->put(out, x.least);
    fputs("\xE2\x80\x93", out); /* an en dash */
    c->put(out, x.most);
    fputs("</small>", out);
  }
  if (x.n > 0 && x.n < due) fprintf(out, " <em>%zu of %zu seeds</em>", x.n, due);
  fputs("</td>", out);
}

static bool is_mixed(const tg_report_set *s) {
  for (size_t i = 1; i < s->runs; i++)
    if (s->run[i].simulated != s->run[0].simulated) return true;
  return false;
}

static void write_row(FILE *out, const tg_report_set *s, const tg_report_group *g) {
  size_t open = 0;
  for (size_t i = 0; i < g->count; i++) open += !g->run[i]->ended;
  fputs("<tr><th scope=\"row\">", out);
  tg_chart_key(out, g->look);
  tg_html_text(out, g->line);
  fprintf(out, " <small>%zu seed%s</small>", g->count, g->count == 1 ? "" : "s");
  if (is_mixed(s))
    fputs(g->run[0]->simulated ? " <small>virtual time</small>" : " <small>wall time</small>", out);
  if (open == g->count)
    fputs(" <em>unfinished</em>", out);
  else if (open)
    fprintf(out, " <em>%zu unfinished</em>", open);
  fputs("</th>", out);
  for (size_t k = 0; k < COLUMNS; k++)
    if (is_shown(s, &columns[k])) write_cell(out, s, &columns[k], g);
  fputs("</tr>\n", out);
}

/* ---- the table ---- */

static void write_head(FILE *out, const tg_report_set *s) {
  fputs("<thead><tr><th scope=\"col\">Configuration</th>", out);
  for (size_t k = 0; k < COLUMNS; k++) {
    const column *c = &columns[k];
    if (!is_shown(s, c)) continue;
    fprintf(out, "<th scope=\"col\">%s", c->label);
    if (c->to_target) fprintf(out, " %g %%", s->target);
    if (c->unit) fprintf(out, " <small>%s</small>", c->unit);
    fputs("</th>", out);
  }
  fputs("</tr></thead>\n<tbody>\n", out);
}

/* What "equal" means here. */
static void write_panel(FILE *out, const tg_report_set *s, const tg_report_panel *p) {
  size_t shown = 1;
  for (size_t k = 0; k < COLUMNS; k++) shown += is_shown(s, &columns[k]);
  fprintf(out, "<tr class=\"part\"><th colspan=\"%zu\"><span>", shown);
  tg_html_text(out, p->title);
  if (!isnan(p->equal_epoch)) {
    fputs(*p->title ? " <small>equal epochs: " : "<small>equal epochs: ", out);
    tg_html_epoch(out, p->equal_epoch);
    if (!isnan(p->equal_wall)) fputs("; equal wall time: ", out);
    if (!isnan(p->equal_wall)) tg_html_time(out, p->equal_wall);
    if (!isnan(p->equal_virtual)) fputs("; equal virtual time: ", out);
    if (!isnan(p->equal_virtual)) tg_html_time(out, p->equal_virtual);
    fputs("</small>", out);
  }
  fputs("</span></th></tr>\n", out);
}

typedef struct ranked {
  const tg_report_group *group;
  double error;
  size_t place;
} ranked;

static int best_first(const void *a, const void *b) {
  const ranked *x = a, *y = b;
  if (isnan(x->error) != isnan(y->error)) return isnan(x->error) ? 1 : -1;
  if (x->error != y->error && !isnan(x->error)) return x->error < y->error ? -1 : 1;
  return x->place < y->place ? -1 : 1;
}

static void write_groups(FILE *out, const tg_report_set *s, size_t panel, ranked *order) {
  size_t n = 0;
  for (size_t i = 0; i < s->groups; i++)
    if (s->group[i].panel == panel)
      order[n++] =
          (ranked){&s->group[i], tg_report_spread(s, &s->group[i], tg_value_error).mean, i};
  qsort(order, n, sizeof *order, best_first);
  for (size_t i = 0; i < n; i++) write_row(out, s, order[i].group);
}

static void explain(FILE *out, const tg_report_set *s) {
  bool simulated = false;
  for (size_t i = 0; i < s->runs; i++) simulated |= s->run[i].simulated;
  fputs("<p class=\"none\">The mean over seeds, with the least and the greatest. Equal epochs and "
        "equal time are what every finished run of that part of the table has reached; the error "
        "is that of the last evaluation until then.",
        out);
  if (!isnan(s->target) && s->target_given)
    fprintf(out, " The target of %g %% test error was given with --target.", s->target);
  else if (!isnan(s->target))
    fprintf(out,
            " The target of %g %% test error is the lowest that all runs reach, rounded up, but "
            "for those that do more than twice as badly as the median run; --target sets another.",
            s->target);
  if (simulated)
    fputs(" Times and images per second of simulated runs are on the simulator&#39;s clock.", out);
  fputs("</p>\n", out);
}

void tg_report_compare(FILE *out, const tg_report_set *s) {
  ranked *order = calloc(s->groups, sizeof *order);
  if (!order) return;
  fputs("<h2>Comparison</h2>\n<div class=\"wide\"><table class=\"num\">\n", out);
  write_head(out, s);
  for (size_t i = 0; i < s->panels; i++) {
    write_panel(out, s, &s->panel[i]);
    write_groups(out, s, i, order);
  }
  fputs("</tbody></table></div>\n", out);
  explain(out, s);
  free(order);
}

/* ---- where they ran ---- */

static const char *or_empty(const char *text) {
  return text ? text : "";
}

static bool same_text(const char *a, const char *b) {
  return strcmp(or_empty(a), or_empty(b)) == 0;
}

static bool same_number(double a, double b) {
  return a == b || (isnan(a) && isnan(b));
}

static bool same_place(const tg_report_run *a, const tg_report_run *b) {
  return same_text(a->host, b->host) && same_text(a->device, b->device) &&
         same_text(a->version, b->version) && same_text(a->mpi, b->mpi) &&
         same_number(a->ranks, b->ranks) && same_number(a->threads, b->threads) &&
         same_text(a->config->device_precision, b->config->device_precision);
}

static void text_cell(FILE *out, const char *text) {
  fputs("<td>", out);
  if (text && *text)
    tg_html_text(out, text);
  else
    fputs(TG_DASH, out);
  fputs("</td>", out);
}

static void write_place(FILE *out, const tg_report_set *s, size_t first) {
  const tg_report_run *r = &s->run[first];
  size_t runs = 0;
  for (size_t i = first; i < s->runs; i++) runs += same_place(r, &s->run[i]);
  fprintf(out, "<tr><td>%zu</td>", runs);
  text_cell(out, r->host);
  text_cell(out, r->device);
  text_cell(out, r->config->device_precision);
  fputs("<td>", out);
  tg_html_count(out, r->ranks);
  fputs("</td><td>", out);
  tg_html_count(out, r->threads);
  fputs("</td>", out);
  text_cell(out, r->version);
  text_cell(out, r->mpi);
  fputs("</tr>\n", out);
}

void tg_report_places(FILE *out, const tg_report_set *s) {
  fputs("<h2>Where they ran</h2>\n<div class=\"wide\"><table>\n<thead><tr><th scope=\"col\">Runs"
        "</th><th scope=\"col\">Host of rank 0</th><th scope=\"col\">Device</th><th scope=\"col\">"
        "Precision</th><th scope=\"col\">Ranks</th><th scope=\"col\">Threads per rank</th>"
        "<th scope=\"col\">tardigrad</th><th scope=\"col\">MPI</th></tr></thead>\n<tbody>\n",
        out);
  for (size_t i = 0; i < s->runs; i++) {
    bool seen = false;
    for (size_t k = 0; k < i; k++) seen |= same_place(&s->run[k], &s->run[i]);
    if (!seen) write_place(out, s, i);
  }
  fputs("</tbody></table></div>\n", out);
}
