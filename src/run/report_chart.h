/* report_chart.h - figures: what is drawn, apart from who draws it.
 *
 * A chart is drawn by gnuplot (report_gnuplot.c, report_svg.c) or, where that is not here, by
 * report_chart.c. Scales, ticks and classes of the marks are common to both; colours are the page's
 * (report_style.c), so that they follow light, dark and print. */
#ifndef RUN_REPORT_CHART_H
#define RUN_REPORT_CHART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "tardigrad/status.h"

typedef struct tg_axis {
  const char *label;
  double lo, hi;
  double step; /* between ticks; logarithmic: decades, or 0 for ticks at 1, 2, 5 */
  bool log;
  double at[16]; /* ticks where the data are, or none: ats = 0 */
  size_t ats;
} tg_axis;

typedef struct tg_series {
  const char *name;
  size_t look; /* colour, marker and dashes */
  bool guide;  /* no data, a line to compare with */
  size_t count;
  double *x, *y; /* [count]; NAN: a gap. Steps: x[i] is the left edge of bar i, the last x closes */
  double *lo, *hi; /* the band around y, or NULL */
} tg_series;

typedef enum {
  TG_DRAW_LINES,
  TG_DRAW_STEPS, /* outlines of a histogram */
  TG_DRAW_BARS   /* bar i, named bar[i], is made of y[i] of every series; across, from 0 to 100 */
} tg_drawing;

typedef struct tg_chart {
  char *title; /* of a panel, or "" */
  char *text;  /* what it shows, in numbers */
  tg_drawing drawing;
  tg_axis x, y;
  tg_series *series;
  size_t count;
  const char **bar; /* TG_DRAW_BARS: names [series[0].count] */
  bool cut;         /* values lie above the y axis */
  double limit;     /* a horizontal line, or NAN */
  char *svg;        /* as drawn by gnuplot, or NULL */
} tg_chart;

typedef struct tg_figure {
  const char *id, *title;
  char *note;             /* HTML, or NULL */
  const char *limit_text; /* what the charts' limit is, or NULL */
  tg_chart *chart;
  size_t charts;
} tg_figure;

/* User units of the drawing, which the page scales to its column: near to pixels, so that text is
 * as large as it should be on a telephone and on a screen. */
enum { TG_CHART_WIDTH = 400, TG_CHART_LEFT = 62, TG_CHART_RIGHT = 12, TG_CHART_TOP = 10 };
enum { TG_CHART_BOTTOM = 46, TG_CHART_BAR = 36, TG_COLOURS = 7, TG_MARKERS = 4, TG_LOOKS = 28 };
double tg_chart_height(const tg_chart *chart);

/* tg_axis_fit - ends on ticks that hold [lo, hi]. tg_axis_span - ends where the data end. */
void tg_axis_fit(tg_axis *axis, double lo, double hi);
void tg_axis_span(tg_axis *axis, double lo, double hi);
enum { TG_MAX_TICKS = 24, TG_TICK_CHARS = 40 };
size_t tg_axis_ticks(const tg_axis *axis, double tick[TG_MAX_TICKS]);
void tg_axis_tick_text(const tg_axis *axis, double tick, char text[TG_TICK_CHARS]);
/* tg_axis_shows - whether a value has a place on the axis. */
bool tg_axis_shows(const tg_axis *axis, double value);
/* tg_series_marked - whether point i of a line has a marker: about eight of them have. */
bool tg_series_marked(const tg_series *series, size_t i);

/* tg_series_create - room for `room` points, and for a band. Memory: tg_figure_free. */
TG_CHECKED tg_status tg_series_create(size_t room, bool band, tg_series *out);
void tg_figure_free(tg_figure *figure);
/* tg_figure_chart - one more chart, without series, with room for `series` of them. tg_figure_drop
 * - takes the last one away again. */
TG_CHECKED tg_status tg_figure_chart(tg_figure *figure, const char *title, size_t series,
                                     tg_chart **out);
void tg_figure_drop(tg_figure *figure);
/* tg_figure_write - the figure as HTML. */
void tg_figure_write(FILE *out, const tg_figure *figure);
/* tg_chart_draw - the inside of an svg element, by ourselves. */
void tg_chart_draw(FILE *out, const tg_chart *chart);
void tg_chart_marker(FILE *out, size_t look, double x, double y);
const char *tg_chart_dashes(size_t look);
/* tg_chart_key - the sample of line and marker for legends and tables. */
void tg_chart_key(FILE *out, size_t look);

/* tg_gnuplot_draw - fills svg of every chart, with one process for all. TG_EUNAVAILABLE without
 * gnuplot, TG_ERUNTIME where it fails or takes longer than a minute: then no chart has one.
 * No shell, no files, no memory copied (posix_spawn): safe in an MPI process. */
TG_CHECKED tg_status tg_gnuplot_draw(tg_figure *figure, size_t figures);
/* tg_svg_inline - what gnuplot drew for a chart, as the inside of an svg element of the page: its
 * colours become classes, @3@ in a text the name of bar 3; everything that is not a line, an area,
 * a marker or a text is left out. TG_EDATA where it is no drawing. The caller frees *out. */
TG_CHECKED tg_status tg_svg_inline(const tg_chart *chart, const char *from, const char *to,
                                   char **out);
/* The colour rgb(role, 254, look) in a script of ours stands for one class of the page. */
typedef enum {
  TG_INK_LINE = 1,
  TG_INK_BAND,
  TG_INK_MARK,
  TG_INK_STEPS,
  TG_INK_BAR,
  TG_INK_GUIDE,
  TG_INK_AXIS,
  TG_INK_GRID,
  TG_INK_LIMIT,
  TG_INK_TICK_TEXT,
  TG_INK_LABEL,
  TG_INK_NAME,
  TG_INKS
} tg_ink;
const char *tg_ink_class(tg_ink ink);

#endif
