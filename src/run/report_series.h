/* report_series.h - from groups of runs to the curves and axes of a figure. */
#ifndef RUN_REPORT_SERIES_H
#define RUN_REPORT_SERIES_H

#include "run/report_chart.h"
#include "run/report_parts.h"

/* What a figure shows of a point. */
typedef double (*tg_value_of)(const tg_report_point *p);

/* A kind of curve. */
typedef struct tg_curve {
  const char *id, *title, *note, *none;
  const char *x_label, *y_label;
  const char *ends; /* words for a curve's last value: "final error" */
  const char *unit; /* of y in words, "" or " %" */
  tg_value_of x, y;
  bool train;     /* of train lines, not of evaluations */
  bool from_zero; /* y begins at 0 */
  bool time;      /* x is seconds */
  double limit;   /* on a logarithmic axis that always holds it; NAN: as the data are */
  const char *limit_text;
  bool (*wanted)(const tg_report_run *run); /* NULL: every run */
} tg_curve;

/* tg_series_of_group - the curve of a group: of its one run, or the mean over its runs with a band
 * from the least to the most. Without points where no run has any. */
TG_CHECKED tg_status tg_series_of_group(const tg_curve *f, const tg_report_group *g,
                                        tg_series *out);

typedef struct tg_range {
  double lo, hi, least_positive;
} tg_range;
tg_range tg_range_of(const tg_chart *chart, size_t charts, bool of_y);
/* tg_choose_unit - divides x, in seconds, by what leaves readable numbers: "s", "min" or "h". */
const char *tg_choose_unit(tg_chart *chart, size_t charts);
/* tg_fit_axes - one pair of axes for all panels of a figure. */
void tg_fit_axes(const tg_curve *f, double epochs, tg_chart *chart, size_t charts);

/* tg_figure_scaling - images/s, or time to the target, over workers; tg_figure_staleness,
 * tg_figure_time - histograms, and where time went. No charts where there is nothing to draw. */
TG_CHECKED tg_status tg_figure_scaling(const tg_report_set *set, bool simulated, bool to_target,
                                       tg_figure *out);
TG_CHECKED tg_status tg_figure_staleness(const tg_report_set *set, tg_figure *out);
TG_CHECKED tg_status tg_figure_time(const tg_report_set *set, tg_figure *out);

#endif
