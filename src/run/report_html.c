/* report_html.c - text and numbers as HTML. */
#include <math.h>
#include <string.h>

#include "run/report_parts.h"
#include "run/text.h"

static const char *entity(char c) {
  switch (c) {
  case '<':
    return "&lt;";
  case '>':
    return "&gt;";
  case '&':
    return "&amp;";
  case '"':
    return "&quot;";
  case '\'':
    return "&#39;";
  }
  return NULL;
}

void tg_html_text(FILE *out, const char *text) {
  while (*text) {
    size_t bytes = tg_text_utf8(text);
    bool control = ((unsigned char)*text < 0x20 && !strchr("\t\n", *text)) || *text == 0x7F;
    const char *escaped = entity(*text);
    if (bytes == 0 || control)
      fputs("\xEF\xBF\xBD", out);
    else if (escaped)
      fputs(escaped, out);
    else
      fwrite(text, 1, bytes, out);
    text += bytes ? bytes : 1;
  }
}

void tg_html_real(FILE *out, const char *format, double value) {
  if (isfinite(value))
    fprintf(out, format, value);
  else
    fputs(TG_DASH, out);
}

void tg_html_count(FILE *out, double value) {
  if (!(fabs(value) < 1e15)) { /* no count, or none that a double holds */
    tg_html_real(out, "%.3g", value);
    return;
  }
  char digits[40];
  int length = snprintf(digits, sizeof digits, "%.0f", value);
  for (int i = 0; i < length; i++) {
    if (i > 0 && (length - i) % 3 == 0 && digits[i - 1] != '-') fputc(',', out);
    fputc(digits[i], out);
  }
}

void tg_html_time(FILE *out, double s) {
  if (!isfinite(s))
    fputs(TG_DASH, out);
  else if (s < 599.95)
    fprintf(out, s < 10 ? "%.2f s" : "%.1f s", s);
  else if (s < 3599.5)
    fprintf(out, "%.0f min %02.0f s", floor(round(s) / 60), fmod(round(s), 60));
  else
    fprintf(out, "%.0f h %02.0f min", floor(round(s / 60) / 60), fmod(round(s / 60), 60));
}

void tg_html_bytes(FILE *out, double bytes) {
  static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
  if (!isfinite(bytes)) {
    fputs(TG_DASH, out);
    return;
  }
  size_t unit = 0;
  for (; bytes >= 999.5 && unit + 1 < sizeof units / sizeof *units; unit++) bytes /= 1000;
  fprintf(out, unit == 0 ? "%.0f %s" : "%.3g %s", bytes, units[unit]);
}

void tg_html_epoch(FILE *out, double epoch) {
  tg_html_real(out, "%g", round(100 * epoch) / 100);
}

tg_status tg_words_open(char **words, FILE **out) {
  static size_t nobody_asks; /* the C library writes the length here */
  *out = open_memstream(words, &nobody_asks);
  if (!*out) TG_FAIL(TG_ERUNTIME, "no memory for words");
  return TG_OK;
}

tg_status tg_words_close(FILE *out) {
  if (fclose(out) != 0) TG_FAIL(TG_ERUNTIME, "no memory for words");
  return TG_OK;
}
