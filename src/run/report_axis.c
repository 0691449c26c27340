/* report_axis.c - scales and ticks of charts, whoever draws them. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "run/report_chart.h"

bool tg_axis_shows(const tg_axis *axis, double value) {
  return isfinite(value) && (!axis->log || value > 0);
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
  axis->step = nice_step(hi - lo, 5);
  axis->lo = axis->step * floor(lo / axis->step + 1e-9);
  axis->hi = axis->step * ceil(hi / axis->step - 1e-9);
}

void tg_axis_span(tg_axis *axis, double lo, double hi) {
  axis->lo = lo;
  axis->hi = hi > lo ? hi : lo + 1;
  axis->step = nice_step(axis->hi - axis->lo, 6);
}

static size_t linear_ticks(const tg_axis *axis, double tick[TG_MAX_TICKS]) {
  size_t count = 0;
  double first = ceil(axis->lo / axis->step - 1e-6), last = floor(axis->hi / axis->step + 1e-6);
  for (double k = first; k <= last && count < TG_MAX_TICKS; k++)
    tick[count++] = k * axis->step + 0.0; /* no minus zero */
  return count;
}

static size_t log_ticks(const tg_axis *axis, double tick[TG_MAX_TICKS]) {
  static const char sparse[] = {1, 2, 5, 0}, dense[] = {1, 2, 3, 4, 5, 6, 8, 0};
  const char *within = axis->step > 0 ? "\1" : axis->hi > 10 * axis->lo ? sparse : dense;
  size_t count = 0;
  double power = floor(log10(axis->lo) + 1e-9), last = log10(axis->hi) + 1e-9;
  for (; power <= last; power += fmax(axis->step, 1))
    for (const char *m = within; *m && count < TG_MAX_TICKS; m++) {
      double t = *m * pow(10, power);
      if (t > axis->lo * (1 - 1e-9) && t < axis->hi * (1 + 1e-9)) tick[count++] = t;
    }
  return count;
}

size_t tg_axis_ticks(const tg_axis *axis, double tick[TG_MAX_TICKS]) {
  if (axis->ats) {
    memcpy(tick, axis->at, axis->ats * sizeof *tick);
    return axis->ats;
  }
  return axis->log ? log_ticks(axis, tick) : linear_ticks(axis, tick);
}

/* Ten to the power of a whole number, its digits raised. */
static void power_text(int power, char text[TG_TICK_CHARS]) {
  static const char *const raised[] = {
      "\xE2\x81\xB0", "\xC2\xB9",     "\xC2\xB2",     "\xC2\xB3",     "\xE2\x81\xB4",
      "\xE2\x81\xB5", "\xE2\x81\xB6", "\xE2\x81\xB7", "\xE2\x81\xB8", "\xE2\x81\xB9"};
  char digits[12];
  snprintf(digits, sizeof digits, "%d", power < 0 ? -power : power);
  int used = snprintf(text, TG_TICK_CHARS, "10%s", power < 0 ? "\xE2\x81\xBB" : "");
  for (const char *d = digits; *d; d++)
    used += snprintf(text + used, (size_t)(TG_TICK_CHARS - used), "%s", raised[*d - '0']);
}

void tg_axis_tick_text(const tg_axis *axis, double tick, char text[TG_TICK_CHARS]) {
  bool powers = axis->log && axis->step > 0 && (axis->lo < 0.005 || axis->hi > 20000);
  double unit = !axis->log && axis->hi >= 1e4 ? axis->hi >= 1e8 ? 1e6 : 1e3 : 1;
  int decimals = (int)fmax(0, -floor(log10(axis->step / unit) + 1e-9));
  if (powers)
    power_text((int)round(log10(tick)), text);
  else if (axis->log || axis->ats)
    snprintf(text, TG_TICK_CHARS, "%.6g", tick);
  else if (tick != 0 && (axis->hi >= 1e12 || fabs(tick) < 1e-6))
    snprintf(text, TG_TICK_CHARS, "%.2g", tick);
  else
    snprintf(text, TG_TICK_CHARS, "%.*f%s", decimals < 9 ? decimals : 9, tick / unit,
             unit == 1 || tick == 0 ? ""
             : unit == 1e3          ? "k"
                                    : "M");
}
