/* report_chart.c - a chart as SVG by ourselves: what a page shows where gnuplot is not here. A run
 * ends on a compute node, which often has none, and its report must not be without figures. */
#include <math.h>
#include <string.h>

#include "run/report_chart.h"
#include "run/report_parts.h"

double tg_chart_height(const tg_chart *c) {
  if (c->drawing != TG_DRAW_BARS) return 270;
  size_t bars = c->count ? c->series[0].count : 0;
  return TG_CHART_TOP + TG_CHART_BOTTOM + (double)(TG_CHART_BAR * bars);
}

static double left_of(const tg_chart *c) {
  return c->drawing == TG_DRAW_BARS ? TG_CHART_RIGHT : TG_CHART_LEFT;
}

static double position(const tg_axis *axis, double value) {
  if (axis->log) return (log10(value) - log10(axis->lo)) / (log10(axis->hi) - log10(axis->lo));
  return (value - axis->lo) / (axis->hi - axis->lo);
}

static double across(const tg_chart *c, double x) {
  double left = left_of(c);
  return left + (TG_CHART_WIDTH - left - TG_CHART_RIGHT) * position(&c->x, x);
}

/* Far beyond the axes is as good as just beyond. */
static double down(const tg_chart *c, double y) {
  double bottom = tg_chart_height(c) - TG_CHART_BOTTOM;
  double where = fmin(fmax(position(&c->y, y), -9), 9);
  return bottom - (bottom - TG_CHART_TOP) * where;
}

const char *tg_ink_class(tg_ink ink) {
  static const char *const names[TG_INKS] = {
      [TG_INK_LINE] = "line",   [TG_INK_BAND] = "band",      [TG_INK_MARK] = "mark",
      [TG_INK_STEPS] = "steps", [TG_INK_BAR] = "bar",        [TG_INK_GUIDE] = "guide",
      [TG_INK_AXIS] = "axis",   [TG_INK_GRID] = "grid",      [TG_INK_LIMIT] = "limit",
      [TG_INK_LABEL] = "label", [TG_INK_TICK_TEXT] = "tick", [TG_INK_NAME] = "name",
  };
  return names[ink];
}

const char *tg_chart_dashes(size_t look) {
  static const char *const patterns[] = {"", " stroke-dasharray=\"7 3\"",
                                         " stroke-dasharray=\"2 3\"",
                                         " stroke-dasharray=\"9 3 2 3\""};
  return patterns[look / TG_COLOURS % (sizeof patterns / sizeof *patterns)];
}

void tg_chart_marker(FILE *out, size_t look, double x, double y) {
  switch (look % TG_MARKERS) {
  case 0:
    fprintf(out, "M%.1f %.1fm-3.2 0a3.2 3.2 0 1 0 6.4 0a3.2 3.2 0 1 0 -6.4 0z", x, y);
    break;
  case 1:
    fprintf(out, "M%.1f %.1fm-3 -3h6v6h-6z", x, y);
    break;
  case 2:
    fprintf(out, "M%.1f %.1fm0 -4l3.8 6.6h-7.6z", x, y);
    break;
  default:
    fprintf(out, "M%.1f %.1fm0 -4.2l4.2 4.2l-4.2 4.2l-4.2 -4.2z", x, y);
  }
}

void tg_chart_key(FILE *out, size_t look) {
  fprintf(out,
          "<svg class=\"key c%zu\" viewBox=\"0 0 30 12\" aria-hidden=\"true\"><path class=\"line\""
          "%s d=\"M1 6H29\"/><path class=\"mark\" d=\"",
          look % TG_COLOURS, tg_chart_dashes(look));
  tg_chart_marker(out, look, 15, 6);
  fputs("\"/></svg>", out);
}

bool tg_series_marked(const tg_series *s, size_t i) {
  size_t each = s->count <= 12 ? 1 : s->count / 8;
  return !s->guide && (i + s->look * each / 3) % each == 0;
}

/* ---- axes ---- */

static void draw_x_axis(FILE *out, const tg_chart *c) {
  double tick[TG_MAX_TICKS], bottom = tg_chart_height(c) - TG_CHART_BOTTOM;
  size_t ticks = tg_axis_ticks(&c->x, tick);
  for (size_t i = 0; i < ticks; i++) {
    char text[TG_TICK_CHARS];
    double x = across(c, tick[i]);
    tg_axis_tick_text(&c->x, tick[i], text);
    fprintf(out,
            "<path class=\"axis\" d=\"M%.1f %.1fv4\"/><text class=\"tick mid\" x=\"%.1f\" "
            "y=\"%.1f\">%s</text>\n",
            x, bottom, x, bottom + 18, text);
  }
  fprintf(out, "<text class=\"label mid\" x=\"%.1f\" y=\"%.1f\">%s</text>\n",
          (left_of(c) + TG_CHART_WIDTH - TG_CHART_RIGHT) / 2, bottom + 39, c->x.label);
}

static void draw_y_axis(FILE *out, const tg_chart *c) {
  double tick[TG_MAX_TICKS];
  double middle = (TG_CHART_TOP + tg_chart_height(c) - TG_CHART_BOTTOM) / 2;
  size_t ticks = tg_axis_ticks(&c->y, tick);
  for (size_t i = 0; i < ticks; i++) {
    char text[TG_TICK_CHARS];
    double y = down(c, tick[i]);
    tg_axis_tick_text(&c->y, tick[i], text);
    fprintf(out,
            "<path class=\"grid\" d=\"M%d %.1fH%d\"/><text class=\"tick end\" x=\"%d\" "
            "y=\"%.1f\">%s</text>\n",
            TG_CHART_LEFT, y, TG_CHART_WIDTH - TG_CHART_RIGHT, TG_CHART_LEFT - 7, y + 4, text);
  }
  fprintf(out,
          "<text class=\"label mid\" x=\"12\" y=\"%.1f\" transform=\"rotate(-90 12 %.1f)\">"
          "%s</text>\n",
          middle, middle, c->y.label);
  if (isnan(c->limit)) return;
  fprintf(out, "<path class=\"limit\" d=\"M%d %.1fH%d\"/>\n", TG_CHART_LEFT, down(c, c->limit),
          TG_CHART_WIDTH - TG_CHART_RIGHT);
}

/* ---- data ---- */

static bool is_drawn(const tg_chart *c, const tg_series *s, size_t i) {
  return tg_axis_shows(&c->x, s->x[i]) && tg_axis_shows(&c->y, s->y[i]);
}

static bool has_band(const tg_chart *c, const tg_series *s, size_t i) {
  return is_drawn(c, s, i) && tg_axis_shows(&c->y, s->lo[i]) && tg_axis_shows(&c->y, s->hi[i]);
}

/* One polygon for every stretch without a gap. */
static void draw_band(FILE *out, const tg_chart *c, const tg_series *s) {
  for (size_t from = 0, to; from < s->count; from = to + 1) {
    for (to = from; to < s->count && has_band(c, s, to); to++) continue;
    if (to - from < 2) continue;
    fputs("<path class=\"band\" d=\"", out);
    for (size_t i = from; i < to; i++)
      fprintf(out, "%c%.1f %.1f", i == from ? 'M' : 'L', across(c, s->x[i]), down(c, s->hi[i]));
    for (size_t i = to; i-- > from;)
      fprintf(out, "L%.1f %.1f", across(c, s->x[i]), down(c, s->lo[i]));
    fputs("z\"/>\n", out);
  }
}

static void draw_line(FILE *out, const tg_chart *c, const tg_series *s) {
  bool pen = false;
  fprintf(out, "<path class=\"%s\"%s d=\"M0 0", s->guide ? "guide" : "line",
          tg_chart_dashes(s->look));
  for (size_t i = 0; i < s->count; i++) {
    bool there = is_drawn(c, s, i);
    if (there) fprintf(out, "%c%.1f %.1f", pen ? 'L' : 'M', across(c, s->x[i]), down(c, s->y[i]));
    pen = there;
  }
  fputs("\"/>\n", out);
  if (s->guide) return;
  fputs("<path class=\"mark\" d=\"M0 0", out);
  for (size_t i = 0; i < s->count; i++)
    if (tg_series_marked(s, i) && is_drawn(c, s, i))
      tg_chart_marker(out, s->look, across(c, s->x[i]), down(c, s->y[i]));
  fputs("\"/>\n", out);
}

static void draw_steps(FILE *out, const tg_chart *c, const tg_series *s) {
  fprintf(out, "<path class=\"steps%s\"%s d=\"M%.1f %.1f", c->count == 1 ? " alone" : "",
          tg_chart_dashes(s->look), across(c, s->x[0]), down(c, 0));
  for (size_t i = 0; i + 1 < s->count; i++)
    fprintf(out, "V%.1fH%.1f", down(c, s->y[i]), across(c, s->x[i + 1]));
  fprintf(out, "V%.1f\"/>\n", down(c, 0));
}

static void draw_series(FILE *out, const tg_chart *c, const tg_series *s) {
  if (s->count == 0) return;
  fprintf(out, "<g class=\"c%zu\">", s->look % TG_COLOURS);
  if (c->drawing == TG_DRAW_STEPS) {
    draw_steps(out, c, s);
  } else {
    if (s->lo) draw_band(out, c, s);
    draw_line(out, c, s);
  }
  fputs("</g>\n", out);
}

/* What lies beyond the axes is not seen; a marker on them is. */
static void draw_data(FILE *out, const tg_chart *c) {
  enum {
    ROOM = 6,
    LEFT = TG_CHART_LEFT - ROOM,
    TOP = TG_CHART_TOP - ROOM,
    WIDE = TG_CHART_WIDTH - TG_CHART_RIGHT + ROOM - LEFT
  };
  double high = tg_chart_height(c) - TG_CHART_BOTTOM + ROOM - TOP;
  fprintf(out,
          "<svg x=\"%d\" y=\"%d\" width=\"%d\" height=\"%.0f\" viewBox=\"%d %d %d %.0f\" "
          "overflow=\"hidden\">\n",
          LEFT, TOP, WIDE, high, LEFT, TOP, WIDE, high);
  for (size_t i = 0; i < c->count; i++) draw_series(out, c, &c->series[i]);
  fputs("</svg>\n", out);
}

static void draw_bars(FILE *out, const tg_chart *c) {
  for (size_t i = 0; c->count && i < c->series[0].count; i++) {
    double top = TG_CHART_TOP + (double)(i * TG_CHART_BAR), sum = 0;
    fprintf(out, "<text class=\"name\" x=\"%.1f\" y=\"%.1f\">", left_of(c), top + 12);
    tg_html_text(out, c->bar[i]);
    fputs("</text>\n", out);
    for (size_t k = 0; k < c->count; k++) {
      const tg_series *s = &c->series[k];
      if (!(s->y[i] > 0)) continue;
      fprintf(out, "<path class=\"bar c%zu\" d=\"M%.1f %.1fH%.1fv13H%.1fz\"/>\n",
              s->look % TG_COLOURS, across(c, sum), top + 17, across(c, sum + s->y[i]),
              across(c, sum));
      sum += s->y[i];
    }
  }
}

void tg_chart_draw(FILE *out, const tg_chart *c) {
  double bottom = tg_chart_height(c) - TG_CHART_BOTTOM;
  draw_x_axis(out, c);
  if (c->drawing == TG_DRAW_BARS) {
    draw_bars(out, c);
    fprintf(out, "<path class=\"axis\" d=\"M%.1f %.1fH%d\"/>\n", left_of(c), bottom,
            TG_CHART_WIDTH - TG_CHART_RIGHT);
    return;
  }
  draw_y_axis(out, c);
  draw_data(out, c);
  fprintf(out, "<path class=\"axis\" d=\"M%d %dV%.1fH%d\"/>\n", TG_CHART_LEFT, TG_CHART_TOP, bottom,
          TG_CHART_WIDTH - TG_CHART_RIGHT);
}
