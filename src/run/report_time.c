/* report_time.c - the figure of where time went: compute, wait, network and the rest. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "run/report_series.h"

enum { RANKS_SHOWN = 16, PARTS = 4 };
typedef enum { COMPUTE, WAIT, NETWORK, REST } part;

static const char *const part_names[PARTS] = {"compute", "waiting for weights", "weights under way",
                                              "evaluations and the rest"};

/* Shares of a worker's time, in percent. */
typedef struct shares {
  double of[PARTS];
} shares;

static shares shares_of(const tg_report_run *r, double compute, double wait, double network) {
  double all = r->simulated ? r->end.sim_s : r->end.wall_s;
  double under_way = isfinite(network) ? fmin(network, wait) : 0;
  all = fmax(isfinite(all) ? all : 0, compute + wait);
  shares s = {{100 * compute / all, 100 * (wait - under_way) / all, 100 * under_way / all}};
  s.of[REST] = fmax(0, 100 - s.of[COMPUTE] - s.of[WAIT] - s.of[NETWORK]);
  return s;
}

/* In the simulator synchronous rules note real seconds, which are no part of virtual time. */
static bool is_known(const tg_report_run *r) {
  if (r->simulated && (!r->rule || r->rule->scheme != TG_SCHEME_ASYNC)) return false;
  return r->ended && r->worker_lines && isfinite(r->compute_s + r->wait_s) &&
         r->compute_s + r->wait_s > 0 && r->compute_s + r->wait_s < 1e30;
}

static bool knows_network(const tg_report_set *s) {
  for (size_t i = 0; i < s->runs; i++)
    if (is_known(&s->run[i]) && isfinite(s->run[i].network_s)) return true;
  return false;
}

/* A bar's name lies beside the chart's own memory: in the series' names' order. */
static tg_status open_chart(tg_figure *f, const char *title, size_t bars, bool network,
                            tg_chart **out) {
  tg_chart *c;
  TG_TRY(tg_figure_chart(f, title, PARTS, &c));
  c->drawing = TG_DRAW_BARS;
  c->x = (tg_axis){.label = "share of time (%)"};
  tg_axis_span(&c->x, 0, 100);
  c->x.step = 20;
  c->y = (tg_axis){.label = "", .lo = 0, .hi = 1, .step = 1};
  c->bar = calloc(bars + 1, sizeof *c->bar);
  if (!c->bar) TG_FAIL(TG_ERUNTIME, "no memory for %zu bars", bars);
  for (size_t k = 0; k < PARTS; k++) {
    if (k == NETWORK && !network) continue;
    TG_TRY(tg_series_create(bars, false, &c->series[c->count]));
    c->series[c->count].look = k == REST ? 5 : k;
    c->series[c->count++].name = part_names[k];
  }
  *out = c;
  return TG_OK;
}

static void add_bar(tg_chart *c, const char *name, const shares *s) {
  size_t bar = c->series[0].count;
  c->bar[bar] = name;
  for (size_t k = 0, i = 0; k < PARTS; k++) {
    if (k == NETWORK && c->count < PARTS) continue;
    c->series[i].x[bar] = (double)bar;
    c->series[i].count = bar + 1;
    c->series[i++].y[bar] = s->of[k];
  }
}

static tg_status tell(tg_chart *c) {
  size_t bars = c->series[0].count;
  FILE *out;
  TG_TRY(tg_words_open(&c->text, &out));
  double least = INFINITY, most = 0;
  for (size_t i = 0; i < bars; i++) {
    least = fmin(least, c->series[COMPUTE].y[i]);
    most = fmax(most, c->series[COMPUTE].y[i]);
  }
  if (bars > 1)
    fprintf(out, "Workers computed in %.0f %% to %.0f %% of their time.", least, most);
  else
    fprintf(out, "Workers computed in %.0f %% of their time and waited in %.0f %%.", most,
            c->series[WAIT].y[0]);
  return tg_words_close(out);
}

/* ---- one run: its ranks ---- */

/* Numbers as names: the page's own, for as many ranks as are shown. */
static const char *rank_name(size_t i) {
  static const char *const names[RANKS_SHOWN] = {
      "worker 0",  "worker 1",  "worker 2",  "worker 3", "worker 4",  "worker 5",
      "worker 6",  "worker 7",  "worker 8",  "worker 9", "worker 10", "worker 11",
      "worker 12", "worker 13", "worker 14", "worker 15"};
  return names[i];
}

static tg_status draw_ranks(const tg_report_run *r, bool network, tg_figure *f) {
  size_t busiest = 0, idlest = 0;
  tg_chart *c;
  TG_TRY(open_chart(f, "", RANKS_SHOWN + 1, network, &c));
  for (size_t i = 0; i < r->worker_lines; i++) {
    if (r->worker[i].compute_s > r->worker[busiest].compute_s) busiest = i;
    if (r->worker[i].compute_s < r->worker[idlest].compute_s) idlest = i;
  }
  bool all = r->worker_lines <= RANKS_SHOWN;
  double n = (double)r->worker_lines;
  for (size_t i = 0; i < (all ? r->worker_lines : 2); i++) {
    const tg_report_worker *w = &r->worker[all ? i : i == 0 ? idlest : busiest];
    shares s = shares_of(r, w->compute_s, w->wait_s, w->network_s);
    add_bar(c, all ? rank_name(i) : i == 0 ? "the worker that computed least" : "most", &s);
  }
  shares mean = shares_of(r, r->compute_s / n, r->wait_s / n, r->network_s / n);
  if (!all) add_bar(c, "mean of all workers", &mean);
  TG_TRY(tell(c));
  shares server = {{100 * r->server_busy, 100 - 100 * r->server_busy}};
  if (isfinite(r->server_busy))
    add_bar(c, "server (rank 0): computing, and waiting for gradients", &server);
  return TG_OK;
}

/* ---- several: the mean over workers and seeds ---- */

static tg_status draw_groups(const tg_report_set *s, size_t panel, bool network, tg_figure *f) {
  tg_chart *c;
  TG_TRY(open_chart(f, s->panel[panel].title, s->groups, network, &c));
  for (size_t i = 0; i < s->groups; i++) {
    const tg_report_group *g = &s->group[i];
    shares sum = {{0}};
    double n = 0;
    for (size_t k = 0; k < g->count; k++) {
      const tg_report_run *r = g->run[k];
      double w = (double)r->worker_lines;
      if (!is_known(r)) continue;
      shares one = shares_of(r, r->compute_s / w, r->wait_s / w, r->network_s / w);
      for (size_t p = 0; p < PARTS; p++) sum.of[p] += one.of[p];
      n++;
    }
    if (g->panel != panel || !g->drawn || n == 0) continue;
    for (size_t p = 0; p < PARTS; p++) sum.of[p] /= n;
    add_bar(c, g->line, &sum);
  }
  if (c->series[0].count) return tell(c);
  tg_figure_drop(f);
  return TG_OK;
}

tg_status tg_figure_time(const tg_report_set *s, tg_figure *f) {
  bool network = knows_network(s);
  *f = (tg_figure){.id = "time", .title = "Where time went"};
  if (s->runs == 1) {
    if (is_known(s->run)) TG_TRY(draw_ranks(s->run, network, f));
  } else {
    for (size_t i = 0; i < s->panels; i++) TG_TRY(draw_groups(s, i, network, f));
  }
  if (!f->charts) return TG_OK;
  FILE *out;
  TG_TRY(tg_words_open(&f->note, &out));
  fputs(s->runs == 1 ? "" : "Means over workers and seeds. ", out);
  fputs(network
            ? "Weights are under way from the server&#39;s answer to their last byte; where that "
              "is not measured, it is a part of waiting. "
            : "Waiting holds the network and the server: these runs do not tell them apart. ",
        out);
  fputs("Of simulated runs: virtual time, and asynchronous rules only.", out);
  return tg_words_close(out);
}
