/* report_parts.h - what the files of the report share: runs as read, groups of them, text as HTML.
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

/* A worker line. */
typedef struct tg_report_worker {
  double compute_s, wait_s, network_s;
} tg_report_worker;

typedef struct tg_report_run {
  char *path, *place;   /* as it was named; absolute */
  const char *name;     /* shown: the folder's name, or the path where two folders share a name */
  tg_config *config;    /* as written in the run's folder */
  char **setting;       /* every option's value as text, in the order of options.def */
  const tg_rule *rule;  /* NULL: a rule that this program does not know */
  size_t group;         /* in the set; runs of one group differ in their seeds alone */
  tg_report_point last; /* place and clocks of the last line read */
  tg_report_points train, eval; /* eval: of the test split, in the order of updates */
  /* The start line. */
  char *version, *mpi, *host, *device;
  double ranks, workers, threads, parameters, memory, train_samples;
  /* Worker lines, as they are and summed. */
  tg_report_worker *worker;
  size_t worker_lines;
  double pushes, compute_s, wait_s, network_s, bytes, pushes_least, pushes_most;
  /* The end line; ended is false, and the rest is missing, where there is none. */
  bool ended;
  tg_report_point end;
  double server_busy, nonfinite, dropped, path_clamps;
  char *weights_hash;
  uint64_t *histogram; /* [bins] pushes of each staleness */
  size_t bins;
  /* Derived. */
  bool simulated; /* its clock is virtual: sim_s */
  double lambda, error, loss, ratio_mean, best_error, best_epoch;
  double images_per_s; /* on the run's clock */
  double bytes_per_sample;
  double equal_epoch_error, equal_time_error; /* at what all of the panel reach */
  double pushes_seen, staleness_mean, staleness_p99, staleness_max; /* of the histogram */
} tg_report_run;

/* tg_report_read_metrics - the lines of metrics.jsonl. TG_ENOINPUT, TG_EDATA "file:line: ...". */
TG_CHECKED tg_status tg_report_read_metrics(const char *path, tg_report_run *run);
void tg_report_forget_end(tg_report_run *run);

/* tg_report_open - reads `count` runs into runs[count] (zeroed) and names them.
 * Memory: free with tg_report_close, also after a failure. */
TG_CHECKED tg_status tg_report_open(const char *const *paths, size_t count, tg_report_run *runs);
void tg_report_close(tg_report_run *runs, size_t count);

/* tg_report_derive - fills what follows from the lines. */
void tg_report_derive(tg_report_run *run);
/* tg_report_quantile - the smallest staleness that at least `share` of the updates do not exceed.
 */
double tg_report_quantile(const tg_report_run *run, double share);
/* tg_report_split - what the run was evaluated on: "test" or "validation". */
const char *tg_report_split(const tg_report_run *run);
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

/* tg_report_target - the test error that runs are timed to where the user names none: the lowest
 * that every run with evaluations reaches, rounded up; but of runs whose lowest error is more than
 * twice the median run's, and at least 5 points above it, nothing is asked: they failed. NAN for
 * fewer than two runs. tg_report_reached - the first evaluation at or below it, or NULL. */
double tg_report_target(const tg_report_run *runs, size_t count);
const tg_report_point *tg_report_reached(const tg_report_run *run, double target);
/* tg_report_clock - the time of a point on the run's own clock: wall, or virtual. */
double tg_report_clock(const tg_report_run *run, const tg_report_point *point);

/* ---- groups ---- */

/* Runs that differ in their seeds alone. */
typedef struct tg_report_group {
  tg_report_run **run; /* in the order they were named */
  size_t count;
  size_t look;  /* colour, marker, dashes: groups that differ in their workers alone share one */
  size_t panel; /* figures and tables show a panel's groups together */
  size_t task;  /* the same for groups of one model and data set */
  bool drawn;   /* in figures: not where many others of its panel have a lower error */
  char *label;  /* what tells this group from the others, and within its panel: */
  char *line;
  char *family; /* and whatever its number of workers */
} tg_report_group;

/* Groups of one problem, and where there are many, of one number of workers. */
typedef struct tg_report_panel {
  char *title; /* "" where there is one only */
  const tg_report_group *first;
  double equal_epoch, equal_wall, equal_virtual; /* what all its finished runs reach; NAN: none */
} tg_report_panel;

typedef struct tg_report_set {
  tg_report_run *run;
  size_t runs;
  tg_report_group *group; /* sorted: by panel, then as they were named */
  size_t groups;
  tg_report_panel *panel;
  size_t panels;
  double target; /* test error, or NAN */
  bool target_given;
} tg_report_set;
enum { TG_DRAWN = 12 }; /* groups in one drawing: more cannot be told apart */

/* tg_report_gather - groups the runs of a set and compares them. Memory: tg_report_scatter, also
 * after a failure; the runs stay. */
TG_CHECKED tg_status tg_report_gather(tg_report_set *set);
void tg_report_scatter(tg_report_set *set);

typedef double (*tg_report_value)(const tg_report_set *set, const tg_report_run *run);
/* Of the members that have a value. */
typedef struct tg_spread {
  size_t n;
  double mean, least, most; /* NAN for n = 0 */
} tg_spread;
tg_spread tg_report_spread(const tg_report_set *set, const tg_report_group *g, tg_report_value of);
double tg_value_error(const tg_report_set *set, const tg_report_run *run);
double tg_value_ratio(const tg_report_set *set, const tg_report_run *run);
double tg_value_images(const tg_report_set *set, const tg_report_run *run);
double tg_value_target_time(const tg_report_set *set, const tg_report_run *run);
double tg_value_target_epochs(const tg_report_set *set, const tg_report_run *run);

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

/* tg_words_open - a stream that becomes the text *words, the caller's to free, once
 * tg_words_close has closed it. */
TG_CHECKED tg_status tg_words_open(char **words, FILE **out);
TG_CHECKED tg_status tg_words_close(FILE *out);

/* ---- parts of the page ---- */

void tg_report_style(FILE *out);
/* What is chance: the test of bench/scaling.sh, told in include/tardigrad/report.h.
 * tg_report_paired - of n differences, seed by seed. */
typedef enum { TG_CHANCE, TG_NOT_CHANCE, TG_UNKNOWN } tg_chance;
typedef struct tg_paired {
  size_t n;
  double mean, half; /* and half of the interval's width */
  tg_chance chance;  /* unknown for less than two seeds */
} tg_paired;
tg_paired tg_report_paired(const double *difference, size_t n);
#define TG_NOTICEABLE 1e-2 /* below this mean r a corrected gradient is the late gradient */

/* tg_report_verdict - in words: which differences there are, and which of them are chance. */
void tg_report_verdict(FILE *out, const tg_report_set *set);
TG_CHECKED tg_status tg_report_notes(FILE *out, const tg_report_set *set);
/* tg_report_compare - a row per group: what a comparison begins with, with spread over seeds. */
void tg_report_compare(FILE *out, const tg_report_set *set);
/* tg_report_tables - a column per run: everything. tg_report_places - where they ran. */
void tg_report_tables(FILE *out, const tg_report_set *set);
void tg_report_places(FILE *out, const tg_report_set *set);
TG_CHECKED tg_status tg_report_figures(FILE *out, const tg_report_set *set);

#endif
