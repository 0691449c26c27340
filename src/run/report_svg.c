/* report_svg.c - gnuplot's SVG as a part of the page.
 *
 * Of its elements only those are taken that draw something of ours: they carry one of our colours,
 * rgb(role, 254, look), which becomes a class (report_style.c), or are a text. The rest, such as
 * its definitions, its sizes and its fonts, would be the same ids in every figure, colours that
 * cannot follow the page from light to dark, and half of the bytes. */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "run/report_chart.h"
#include "run/report_parts.h"

/* An element's tag, from '<' to '>'. */
typedef struct tag {
  const char *at, *end;
} tag;

static bool next_tag(const char **text, const char *to, tag *out) {
  const char *at = memchr(*text, '<', (size_t)(to - *text));
  const char *end = at ? memchr(at, '>', (size_t)(to - at)) : NULL;
  if (!end) return false;
  *out = (tag){at, end};
  *text = end + 1;
  return true;
}

static bool is_element(const tag *t, const char *name) {
  size_t length = strlen(name);
  return (size_t)(t->end - t->at) > length && strncmp(t->at + 1, name, length) == 0 &&
         !isalnum((unsigned char)t->at[1 + length]);
}

/* The value of an attribute, which stands before the tag's end; NULL without it. gnuplot writes
 * name='value', name="value" and name = 'value'. */
static const char *value_of(const tag *t, const char *name, size_t *length) {
  size_t n = strlen(name);
  for (const char *c = t->at; c + n < t->end; c++) {
    if (!isspace((unsigned char)*c) || strncmp(c + 1, name, n) != 0) continue;
    const char *v = c + 1 + n;
    while (v < t->end && *v == ' ') v++;
    if (v == t->end || *v++ != '=') continue;
    while (v < t->end && *v == ' ') v++;
    const char *close = v < t->end && (*v == '\'' || *v == '"') ? strchr(v + 1, *v) : NULL;
    if (!close || close > t->end) return NULL;
    *length = (size_t)(close - v - 1);
    return v + 1;
  }
  return NULL;
}

typedef struct colour {
  tg_ink ink;
  size_t look;
} colour;

/* Whether an attribute is one of our colours. */
static bool colour_of(const tag *t, const char *name, colour *out) {
  size_t length;
  int role, mark, look;
  const char *v = value_of(t, name, &length);
  if (!v || sscanf(v, "rgb( %d , %d , %d", &role, &mark, &look) != 3 || mark != 254) return false;
  if (role < 1 || role >= TG_INKS || look < 0 || look >= TG_LOOKS) return false;
  *out = (colour){(tg_ink)role, (size_t)look};
  return true;
}

static bool is_of_series(tg_ink ink) {
  return ink <= TG_INK_GUIDE;
}

static void open_path(FILE *out, const tg_chart *c, const colour *k) {
  fprintf(out, "<path class=\"%s", tg_ink_class(k->ink));
  if (is_of_series(k->ink)) fprintf(out, " c%zu", k->look % TG_COLOURS);
  if (k->ink == TG_INK_STEPS && c->count == 1) fputs(" alone", out);
  fputc('"', out);
  if (k->ink == TG_INK_LINE || k->ink == TG_INK_STEPS || k->ink == TG_INK_GUIDE)
    fputs(tg_chart_dashes(k->look), out);
  fputs(" d=\"", out);
}

/* Commands and numbers, the latter to a tenth of a unit. Returns false where there is anything
 * else, for this is written into the page as it is. */
static bool copy_path(FILE *out, const char *v, size_t length, bool polygon) {
  const char *end = v + length;
  char before = polygon ? 'M' : 0;
  for (bool second = false; v < end;) {
    if (isspace((unsigned char)*v) || *v == ',') {
      v++;
    } else if (strchr("MLZz", *v)) {
      before = *v++;
      if (before == 'Z' || before == 'z') fputc('z', out);
    } else {
      char *after;
      double number = strtod(v, &after);
      if (after == v || after > end || !isfinite(number)) return false;
      if (second) fputc(' ', out);
      if (!second) fputc(before ? before : ' ', out);
      if (!second && before) before = polygon ? 'L' : 0;
      fprintf(out, "%.5g", round(10 * number) / 10);
      second = !second;
      v = after;
    }
  }
  if (polygon) fputc('z', out);
  return true;
}

static bool write_shape(FILE *out, const tg_chart *c, const tag *t, bool polygon) {
  colour k;
  size_t length;
  const char *v = value_of(t, polygon ? "points" : "d", &length);
  if (!v || !colour_of(t, polygon ? "fill" : "stroke", &k)) return true;
  open_path(out, c, &k);
  bool good = copy_path(out, v, length, polygon);
  fputs("\"/>\n", out);
  return good;
}

/* gnuplot's marker becomes ours, so that legend and figure agree. */
static void write_marker(FILE *out, const tg_chart *c, const tag *t) {
  colour k;
  size_t length;
  double x, y;
  const char *v = value_of(t, "transform", &length);
  if (!v || sscanf(v, "translate(%lf,%lf)", &x, &y) != 2 || !colour_of(t, "color", &k)) return;
  open_path(out, c, &k);
  tg_chart_marker(out, k.look, x, y);
  fputs("\"/>\n", out);
}

/* What stands between tags is gnuplot's copy of a text of ours, or @n@ for the name of a bar. */
static void write_words(FILE *out, const tg_chart *c, const char *from, const char *to) {
  char words[128], *end;
  while (from < to && isspace((unsigned char)*from)) from++;
  snprintf(words, sizeof words, "%.*s", (int)(to - from < 120 ? to - from : 120), from);
  if (*words != '@') {
    fputs(words, out);
    return;
  }
  size_t bar = strtoul(words + 1, &end, 10);
  if (*end == '@' && c->count && bar < c->series[0].count) tg_html_text(out, c->bar[bar]);
}

/* A text lies in a group that says where, how turned, and in which colour. */
static bool write_text(FILE *out, const tg_chart *c, const tag *group, const char **text,
                       const char *to) {
  colour k;
  size_t length, anchor;
  double x, y, turn = 0;
  const char *v = value_of(group, "transform", &length);
  const char *a = value_of(group, "text-anchor", &anchor);
  tag t;
  if (!v || !a || !colour_of(group, "fill", &k)) return true;
  if (sscanf(v, "translate(%lf,%lf) rotate(%lf)", &x, &y, &turn) < 2) return false;
  if (!next_tag(text, to, &t) || !is_element(&t, "text")) return false;
  const char *words = t.end + 1;
  if (!next_tag(text, to, &t) || !is_element(&t, "/text")) return false;
  fprintf(out, "<text class=\"%s%s\" x=\"%.1f\" y=\"%.1f\"", tg_ink_class(k.ink),
          *a == 'm'   ? " mid"
          : *a == 'e' ? " end"
                      : "",
          x, y);
  if (turn != 0) fprintf(out, " transform=\"rotate(-90 %.1f %.1f)\"", x, y);
  fputs(">", out);
  write_words(out, c, words, t.at);
  fputs("</text>\n", out);
  return true;
}

static bool convert(FILE *out, const tg_chart *c, const char *text, const char *to) {
  tag t;
  bool good = true, drawn = false;
  while (good && next_tag(&text, to, &t)) {
    if (is_element(&t, "defs")) {
      while (next_tag(&text, to, &t) && !is_element(&t, "/defs")) continue;
    } else if (is_element(&t, "path")) {
      good = write_shape(out, c, &t, false);
      drawn = true;
    } else if (is_element(&t, "polygon")) {
      good = write_shape(out, c, &t, true);
    } else if (is_element(&t, "use")) {
      write_marker(out, c, &t);
    } else if (is_element(&t, "g") && value_of(&t, "transform", &(size_t){0})) {
      good = write_text(out, c, &t, &text, to);
    }
  }
  return good && drawn;
}

tg_status tg_svg_inline(const tg_chart *chart, const char *from, const char *to, char **out) {
  char *text = NULL;
  size_t size;
  FILE *page = open_memstream(&text, &size);
  if (!page) TG_FAIL(TG_ERUNTIME, "no memory for a figure");
  bool good = convert(page, chart, from, to);
  if (fclose(page) != 0 || !good) {
    free(text);
    TG_FAIL(TG_EDATA, "gnuplot drew what this program does not understand");
  }
  *out = text;
  return TG_OK;
}
