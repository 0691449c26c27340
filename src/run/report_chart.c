/* report_chart.c - a chart as inline SVG: scales, ticks, lines, bars, a legend of HTML beside it.
 */
#include <math.h>
#include <string.h>

#include "run/report_parts.h"

/* User units of the drawing, which the page scales to its column. */
enum { WIDTH = 560, HEIGHT = 320, LEFT = 62, RIGHT = 14, TOP = 12, BOTTOM = 46 };
enum { COLOURS = 7, MARKERS = 4, FEW = 60, MAX_TICKS = 24 };

/* ---- scales ---- */

static double position(const tg_axis *axis, double value) {
  if (axis->log) return (log10(value) - log10(axis->lo)) / (log10(axis->hi) - log10(axis->lo));
  return (value - axis->lo) / (axis->hi - axis->lo);
}

static bool is_drawable(const tg_axis *axis, double value) {
  return isfinite(value) && (!axis->log || value > 0);
}

static double across(const tg_chart *c, double x) {
  return LEFT + (WIDTH - LEFT - RIGHT) * position(&c->x, x);
}

static double down(const tg_chart *c, double y) {
  return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * position(&c->y, y);
}

/* 1, 2 or 5 times a power of ten, so that about `parts` steps span the range. */
static double nice_step(double span, double parts) {
  double raw = span / parts, power = pow(10, floor(log10(raw)));
  double mantissa = raw / power;
  return power * (mantissa <= 1 ? 1 : mantissa <= 2 ? 2 : mantissa <= 5 ? 5 : 10);
}

/* Ends on whole multiples of powers of ten; on the powers themselves where there are several. */
static void fit_log(tg_axis *axis, double lo, double hi) {
  double low = pow(10, floor(log10(lo) + 1e-9)), high = pow(10, floor(log10(hi) - 1e-9));
  double decades = log10(hi / lo);
  axis->step = decades > 2 ? ceil(decades / 7) : 0;
  axis->lo = axis->step > 0 ? low : low * floor(lo / low + 1e-9);
  axis->hi = axis->step > 0 ? high * 10 : high * ceil(hi / high - 1e-9);
}

void tg_axis_fit(tg_axis *axis, double lo, double hi) {
  if (hi - lo <= 1e-6 * fmax(fabs(lo), fabs(hi))) {
    lo -= 0.1 * fabs(lo);
    hi += hi != 0 ? 0.1 * fabs(hi) : 1;
  }
  if (axis->log) {
    fit_log(axis, lo, hi);
    return;
  }
  axis->step = nice_step(hi - lo, 6);
  axis->lo = axis->step * floor(lo / axis->step + 1e-9);
  axis->hi = axis->step * ceil(hi / axis->step - 1e-9);
}

void tg_axis_span(tg_axis *axis, double lo, double hi) {
  axis->lo = lo;
  axis->hi = hi > lo ? hi : lo + 1;
  axis->step = nice_step(axis->hi - axis->lo, 7);
}

static size_t linear_ticks(const tg_axis *axis, double tick[MAX_TICKS]) {
  size_t count = 0;
  double first = ceil(axis->lo / axis->step - 1e-6), last = floor(axis->hi / axis->step + 1e-6);
  for (double k = first; k <= last && count < MAX_TICKS; k++)
    tick[count++] = k * axis->step + 0.0; /* no minus zero */
  return count;
}

static size_t log_ticks(const tg_axis *axis, double tick[MAX_TICKS]) {
  static const char sparse[] = {1, 2, 5, 0}, dense[] = {1, 2, 3, 4, 5, 6, 8, 0};
  const char *within = axis->step > 0 ? "\1" : axis->hi > 10 * axis->lo ? sparse : dense;
  size_t count = 0;
  double power = floor(log10(axis->lo) + 1e-9), last = log10(axis->hi) + 1e-9;
  for (; power <= last; power += fmax(axis->step, 1))
    for (const char *m = within; *m && count < MAX_TICKS; m++) {
      double t = *m * pow(10, power);
      if (t > axis->lo * (1 - 1e-9) && t < axis->hi * (1 + 1e-9)) tick[count++] = t;
    }
  return count;
}

static size_t ticks_of(const tg_axis *axis, double tick[MAX_TICKS]) {
  return axis->log ? log_ticks(axis, tick) : linear_ticks(axis, tick);
}

/* ---- axes ---- */

static void tick_text(FILE *out, const tg_axis *axis, double tick) {
  bool powers = axis->log && axis->step > 0 && (axis->lo < 0.005 || axis->hi > 20000);
  double unit = !axis->log && axis->hi >= 1e4 ? axis->hi >= 1e8 ? 1e6 : 1e3 : 1;
  int decimals = (int)fmax(0, -floor(log10(axis->step / unit) + 1e-9));
  if (powers)
    fprintf(out, "10<tspan dy=\"-4\" font-size=\"9\">%s%.0f</tspan>",
            tick < 0.5 ? "\xE2\x88\x92" : "", fabs(round(log10(tick))));
  else if (axis->log)
    fprintf(out, "%.6g", tick);
  else
    fprintf(out, "%.*f%s", decimals, tick / unit,
            unit == 1 || tick == 0 ? ""
            : unit == 1e3          ? "k"
                                   : "M");
}

static void draw_x_axis(FILE *out, const tg_chart *c) {
  double tick[MAX_TICKS];
  size_t ticks = ticks_of(&c->x, tick);
  for (size_t i = 0; i < ticks; i++) {
    double x = across(c, tick[i]);
    fprintf(out, "<path class=\"tick\" d=\"M%.1f %dv5\"/><text x=\"%.1f\" y=\"%d\" class=\"mid\">",
            x, HEIGHT - BOTTOM, x, HEIGHT - BOTTOM + 18);
    tick_text(out, &c->x, tick[i]);
    fputs("</text>\n", out);
  }
  fprintf(out, "<text x=\"%.1f\" y=\"%d\" class=\"mid label\">", (LEFT + WIDTH - RIGHT) / 2.0,
          HEIGHT - 8);
  tg_html_text(out, c->x.label);
  fputs("</text>\n", out);
}

static void draw_y_axis(FILE *out, const tg_chart *c) {
  double tick[MAX_TICKS], middle = (TOP + HEIGHT - BOTTOM) / 2.0;
  size_t ticks = ticks_of(&c->y, tick);
  for (size_t i = 0; i < ticks; i++) {
    double y = down(c, tick[i]);
    fprintf(out, "<path class=\"grid\" d=\"M%d %.1fH%d\"/><text x=\"%d\" y=\"%.1f\" class=\"end\">",
            LEFT, y, WIDTH - RIGHT, LEFT - 7, y + 4);
    tick_text(out, &c->y, tick[i]);
    fputs("</text>\n", out);
  }
  fprintf(out, "<text x=\"14\" y=\"%.1f\" class=\"mid label\" transform=\"rotate(-90 14 %.1f)\">",
          middle, middle);
  tg_html_text(out, c->y.label);
  fputs("</text>\n", out);
  if (isnan(c->limit)) return;
  fprintf(out, "<path class=\"limit\" d=\"M%d %.1fH%d\"/>\n", LEFT, down(c, c->limit),
          WIDTH - RIGHT);
}

/* ---- data ---- */

static const char *dashes(size_t look) {
  static const char *const patterns[] = {"", " stroke-dasharray=\"7 3\"",
                                         " stroke-dasharray=\"2 3\"",
                                         " stroke-dasharray=\"9 3 2 3\""};
  return patterns[look / COLOURS % (sizeof patterns / sizeof *patterns)];
}

static void marker_path(FILE *out, size_t look, double x, double y) {
  switch (look % MARKERS) {
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

static void draw_line(FILE *out, const tg_chart *c, const tg_series *s) {
  bool pen = false;
  fprintf(out, "<path class=\"line\"%s d=\"M%d %d", dashes(s->look), LEFT, HEIGHT - BOTTOM);
  for (size_t i = 0; i < s->count; i++) {
    bool there = is_drawable(&c->x, s->x[i]) && is_drawable(&c->y, s->y[i]);
    if (there) fprintf(out, "%c%.1f %.1f", pen ? 'L' : 'M', across(c, s->x[i]), down(c, s->y[i]));
    pen = there;
  }
  fputs("\"/>\n", out);
}

static void draw_markers(FILE *out, const tg_chart *c, const tg_series *s) {
  if (s->count > FEW) return;
  for (size_t i = 0; i < s->count; i++) {
    if (!is_drawable(&c->x, s->x[i]) || !is_drawable(&c->y, s->y[i])) continue;
    fputs("<path class=\"mark\" d=\"", out);
    marker_path(out, s->look, across(c, s->x[i]), down(c, s->y[i]));
    fputs("\"><title>", out);
    tg_html_text(out, s->name);
    fprintf(out, ": %.4g, %.4g</title></path>\n", s->x[i], s->y[i]);
  }
}

/* x[i] is the left edge of bar i; the last x closes the last bar. */
static void draw_steps(FILE *out, const tg_chart *c, const tg_series *s) {
  /* Under outlines that agree, the earlier ones show as broader lines. */
  double under = (double)(c->series + c->count - 1 - s);
  fprintf(out, "<path class=\"bars%s\" stroke-width=\"%.1f\"%s d=\"M%.1f %.1f",
          c->count == 1 ? " alone" : "", 1.8 + fmin(3.6, 1.2 * under), dashes(s->look),
          across(c, s->x[0]), down(c, 0));
  for (size_t i = 0; i + 1 < s->count; i++)
    fprintf(out, "V%.1fH%.1f", down(c, s->y[i]), across(c, s->x[i + 1]));
  fprintf(out, "V%.1f\"><title>", down(c, 0));
  tg_html_text(out, s->name);
  fputs("</title></path>\n", out);
}

static void draw_series(FILE *out, const tg_chart *c, const tg_series *s) {
  if (s->count == 0) return;
  fprintf(out, "<g class=\"c%zu\">", s->look % COLOURS);
  if (c->steps) {
    draw_steps(out, c, s);
  } else {
    draw_line(out, c, s);
    draw_markers(out, c, s);
  }
  fputs("</g>\n", out);
}

/* What lies beyond the axes is not seen; a marker on them is. */
static void draw_all(FILE *out, const tg_chart *c) {
  enum {
    ROOM = 6,
    WIDE = WIDTH - LEFT - RIGHT + 2 * ROOM,
    HIGH = HEIGHT - TOP - BOTTOM + 2 * ROOM
  };
  fprintf(out, "<svg x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" viewBox=\"%d %d %d %d\">\n",
          LEFT - ROOM, TOP - ROOM, WIDE, HIGH, LEFT - ROOM, TOP - ROOM, WIDE, HIGH);
  for (size_t i = 0; i < c->count; i++) draw_series(out, c, &c->series[i]);
  fputs("</svg>\n", out);
}

/* ---- the figure ---- */

void tg_chart_key(FILE *out, size_t look) {
  fprintf(out,
          "<svg class=\"key c%zu\" viewBox=\"0 0 30 12\" aria-hidden=\"true\"><path class=\"line\""
          "%s d=\"M1 6H29\"/><path class=\"mark\" d=\"",
          look % COLOURS, dashes(look));
  marker_path(out, look, 15, 6);
  fputs("\"/></svg>", out);
}

static void draw_legend(FILE *out, const tg_chart *c) {
  fputs("<ul class=\"legend\">", out);
  for (size_t i = 0; i < c->count; i++) {
    const tg_series *s = &c->series[i];
    if (s->members == 0) continue;
    fputs("<li>", out);
    tg_chart_key(out, s->look);
    tg_html_text(out, s->name);
    if (s->members > 1) fprintf(out, " <small>and %zu more</small>", s->members - 1);
    fputs("</li>", out);
  }
  if (!isnan(c->limit)) {
    fputs("<li><svg class=\"key\" viewBox=\"0 0 30 12\" aria-hidden=\"true\"><path class=\"limit\" "
          "d=\"M1 6H29\"/></svg>",
          out);
    tg_html_text(out, c->limit_text);
    fputs("</li>", out);
  }
  fputs("</ul>\n", out);
}

void tg_chart_draw(FILE *out, const tg_chart *c) {
  fprintf(out, "<figure id=\"%s\"><h3>%s</h3>\n", c->id, c->title);
  draw_legend(out, c);
  fprintf(out, "<svg class=\"chart\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">\n",
          WIDTH, HEIGHT, c->title);
  draw_y_axis(out, c);
  draw_x_axis(out, c);
  draw_all(out, c);
  fprintf(out, "<path class=\"axis\" d=\"M%d %dV%dH%d\"/>\n</svg>\n", LEFT, TOP, HEIGHT - BOTTOM,
          WIDTH - RIGHT);
  if (c->note || c->cut)
    fprintf(out, "<figcaption>%s%s</figcaption>\n", c->note ? c->note : "",
            c->cut ? " A curve that leaves the drawing is of a run that diverged." : "");
  fputs("</figure>\n", out);
}
