/* report_parts.h - what the files of the report share: runs as read, text as HTML, charts as SVG.
 *
 * Numbers are doubles, NAN where a run has not recorded them: they are shown as a dash. */
#ifndef RUN_REPORT_PARTS_H
#define RUN_REPORT_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "tardigrad/config.h"
#include "tardigrad/rule.h"

/* ---- runs ---- */

/* A train or an eval line. */
typedef struct tg_report_point {
  double wall_s, sim_s, epoch, update, loss, error, images_per_s, ratio;
} tg_report_point;

typedef struct tg_report_points {
  tg_report_point *item;
  size_t count, room;
} tg_report_points;

typedef struct tg_report_run {
  char *path, *place;   /* as it was named; absolute */
  const char *name;     /* shown: the folder's name, or the path where two folders share a name */
  tg_config *config;    /* as written in the run's folder */
  char **setting;       /* every option's value as text, in the order of options.def */
  const tg_rule *rule;  /* NULL: a rule that this program does not know */
  size_t group;         /* runs of one group differ in their seeds alone */
  size_t group_size;    /* runs in that group */
  tg_report_point last; /* place and clocks of the last line read */
  tg_report_points train, eval; /* eval: of the test split, in the order of updates */
  /* The start line. */
  char *version, *mpi, *host, *device;
  double workers, threads, parameters, memory;
  /* Worker lines, summed. */
  double worker_lines, pushes, compute_s, wait_s, bytes, pushes_least, pushes_most;
  /* The end line; ended is false, and the rest is missing, where there is none. */
  bool ended;
  tg_report_point end;
  double server_busy, nonfinite;
  char *weights_hash;
  uint64_t *histogram; /* [bins] pushes of each staleness */
  size_t bins;
  /* Derived. */
  double lambda, error, loss, ratio_mean, images_per_s, best_error, best_epoch;
  double pushes_seen, staleness_mean, staleness_p99, staleness_max; /* of the histogram */
} tg_report_run;

/* tg_report_read_metrics - the lines of metrics.jsonl. TG_ENOINPUT, TG_EDATA "file:line: ...". */
TG_CHECKED tg_status tg_report_read_metrics(const char *path, tg_report_run *run);
void tg_report_forget_end(tg_report_run *run);

/* tg_report_open - reads `count` runs into runs[count] (zeroed), names and groups them.
 * Memory: free with tg_report_close, also after a failure. */
TG_CHECKED tg_status tg_report_open(const char *const *paths, size_t count, tg_report_run *runs);
void tg_report_close(tg_report_run *runs, size_t count);

/* tg_report_derive - fills what follows from the lines. */
void tg_report_derive(tg_report_run *run);
/* tg_report_quantile - the smallest staleness that at least `share` of the updates do not exceed.
 */
double tg_report_quantile(const tg_report_run *run, double share);
/* tg_report_corrects - whether the run's rule changes late gradients. */
bool tg_report_corrects(const tg_report_run *run);

/* Settings by number, as in tg_report_run.setting. */
size_t tg_report_setting_count(void);
const char *tg_report_setting_name(size_t i);
TG_CHECKED tg_status tg_report_settings(const tg_config *config, char ***out);
void tg_report_settings_free(char **setting);
/* tg_report_same_problem - whether two runs differ at most in seeds, names and what is written
 * down. tg_report_matters - whether a setting can change the course of a run like this one. */
bool tg_report_same_problem(const tg_report_run *a, const tg_report_run *b);
bool tg_report_matters(const tg_report_run *run, size_t setting);

/* tg_report_target - the lowest test error that every run with evaluations has reached, rounded up;
 * NAN for fewer than two such runs. tg_report_reached - the first evaluation at or below it, or
 * NULL. */
double tg_report_target(const tg_report_run *runs, size_t count);
const tg_report_point *tg_report_reached(const tg_report_run *run, double target);

/* ---- HTML ---- */

#define TG_DASH "\xE2\x80\x94"

/* tg_html_text - anybody's text: markup is escaped, what is no UTF-8 or a control becomes U+FFFD.
 */
void tg_html_text(FILE *out, const char *text);
/* The number with a printf format, or a dash. */
void tg_html_real(FILE *out, const char *format, double value);
void tg_html_epoch(FILE *out, double epoch);  /* 9.25 */
void tg_html_count(FILE *out, double value);  /* 269,722 */
void tg_html_time(FILE *out, double seconds); /* 83.4 s, 12 min 05 s, 3 h 20 min */
void tg_html_bytes(FILE *out, double bytes);  /* 2.16 MB */

/* ---- charts ---- */

typedef struct tg_axis {
  const char *label;
  double lo, hi;
  double step; /* between ticks; logarithmic: decades, or 0 for ticks at 1, 2, 5 */
  bool log;
} tg_axis;

typedef struct tg_series {
  const char *name;
  size_t look;    /* colour, marker and dashes */
  size_t members; /* runs that the legend's entry stands for; 0: no entry */
  size_t count;
  double *x, *y; /* NAN: a gap */
} tg_series;

typedef struct tg_chart {
  const char *id, *title, *note;
  tg_axis x, y;
  tg_series *series;
  size_t count;
  bool cut;               /* values lie above the y axis */
  bool steps;             /* outlines of bars, filled; otherwise lines, marked where they are few */
  double limit;           /* a horizontal line, or NAN */
  const char *limit_text; /* and its label */
} tg_chart;

/* tg_axis_fit - ends on ticks that hold [lo, hi]. tg_axis_span - ends where the data end. */
void tg_axis_fit(tg_axis *axis, double lo, double hi);
void tg_axis_span(tg_axis *axis, double lo, double hi);
void tg_chart_draw(FILE *out, const tg_chart *chart);
/* tg_chart_key - the sample of line and marker for legends and tables. */
void tg_chart_key(FILE *out, size_t look);

/* ---- parts of the page ---- */

void tg_report_style(FILE *out);
/* tg_report_summary - a row per run: what a comparison begins with. */
void tg_report_summary(FILE *out, const tg_report_run *runs, size_t count);
void tg_report_tables(FILE *out, const tg_report_run *runs, size_t count);
void tg_report_spread(FILE *out, const tg_report_run *runs, size_t count);
void tg_report_notes(FILE *out, const tg_report_run *runs, size_t count);
TG_CHECKED tg_status tg_report_figures(FILE *out, const tg_report_run *runs, size_t count);

#endif
