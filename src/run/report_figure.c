/* report_figure.c - a figure on the page: title, legend, panels, and what they show in words. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "run/report_chart.h"
#include "run/report_parts.h"

tg_status tg_series_create(size_t room, bool band, tg_series *out) {
  *out = (tg_series){.x = calloc(room + 1, sizeof *out->x), .y = calloc(room + 1, sizeof *out->y)};
  if (band) out->lo = calloc(room + 1, sizeof *out->lo);
  if (band) out->hi = calloc(room + 1, sizeof *out->hi);
  if (!out->x || !out->y || (band && (!out->lo || !out->hi)))
    TG_FAIL(TG_ERUNTIME, "no memory for %zu points of a figure", room);
  return TG_OK;
}

static void free_chart(tg_chart *c) {
  for (size_t i = 0; c->series && i < c->count; i++) {
    tg_series *s = &c->series[i];
    free(s->x);
    free(s->y);
    free(s->lo);
    free(s->hi);
  }
  free(c->series);
  free(c->bar);
  free(c->title);
  free(c->text);
  free(c->svg);
}

void tg_figure_drop(tg_figure *f) {
  free_chart(&f->chart[--f->charts]);
}

void tg_figure_free(tg_figure *f) {
  for (size_t i = 0; f->chart && i < f->charts; i++) free_chart(&f->chart[i]);
  free(f->chart);
  free(f->note);
  *f = (tg_figure){.id = NULL};
}

tg_status tg_figure_chart(tg_figure *f, const char *title, size_t series, tg_chart **out) {
  tg_chart *more = realloc(f->chart, (f->charts + 1) * sizeof *more);
  if (!more) TG_FAIL(TG_ERUNTIME, "no memory for %zu panels", f->charts + 1);
  f->chart = more;
  tg_chart *c = &f->chart[f->charts++];
  *c = (tg_chart){.limit = NAN, .title = strdup(title)};
  c->series = calloc(series + 1, sizeof *c->series);
  if (!c->title || !c->series) TG_FAIL(TG_ERUNTIME, "no memory for a figure");
  *out = c;
  return TG_OK;
}

/* ---- legend ---- */

static void line_item(FILE *out, const char *class, const char *text) {
  fprintf(out,
          "<li><svg class=\"key\" viewBox=\"0 0 30 12\" aria-hidden=\"true\"><path class=\"%s\" "
          "d=\"M1 6H29\"/></svg>",
          class);
  tg_html_text(out, text);
  fputs("</li>", out);
}

static void legend_item(FILE *out, const tg_chart *c, const tg_series *s) {
  if (s->guide) {
    line_item(out, "guide", s->name);
    return;
  }
  fputs("<li>", out);
  if (c->drawing == TG_DRAW_BARS)
    fprintf(out,
            "<svg class=\"key\" viewBox=\"0 0 30 12\" aria-hidden=\"true\"><path class=\"bar "
            "c%zu\" d=\"M8 1h14v10h-14z\"/></svg>",
            s->look % TG_COLOURS);
  else
    tg_chart_key(out, s->look);
  tg_html_text(out, s->name);
  fputs("</li>", out);
}

/* The first series of its name and look. */
static bool is_new(const tg_figure *f, size_t chart, size_t series) {
  const tg_series *s = &f->chart[chart].series[series];
  for (size_t i = 0; i <= chart; i++)
    for (size_t k = 0; k < (i < chart ? f->chart[i].count : series); k++) {
      const tg_series *o = &f->chart[i].series[k];
      if (o->look == s->look && o->guide == s->guide && strcmp(o->name, s->name) == 0) return false;
    }
  return true;
}

static void write_legend(FILE *out, const tg_figure *f) {
  fputs("<ul class=\"legend\">", out);
  for (size_t i = 0; i < f->charts; i++)
    for (size_t k = 0; k < f->chart[i].count; k++)
      if (is_new(f, i, k)) legend_item(out, &f->chart[i], &f->chart[i].series[k]);
  if (f->limit_text) line_item(out, "limit", f->limit_text);
  fputs("</ul>\n", out);
}

/* ---- panels ---- */

static void write_chart(FILE *out, const tg_figure *f, const tg_chart *c) {
  if (*c->title) {
    fputs("<h4>", out);
    tg_html_text(out, c->title);
    fputs("</h4>", out);
  }
  fprintf(out, "<svg class=\"chart\" viewBox=\"0 0 %d %.0f\" role=\"img\" aria-label=\"%s", //
          TG_CHART_WIDTH, tg_chart_height(c), f->title);
  if (*c->title) fputs(", ", out);
  tg_html_text(out, c->title);
  fputs("\"><desc>", out);
  tg_html_text(out, c->text);
  fputs("</desc>\n", out);
  if (c->svg)
    fputs(c->svg, out);
  else
    tg_chart_draw(out, c);
  fputs("</svg>\n<p>", out);
  tg_html_text(out, c->text);
  if (c->cut) fputs(" A curve that leaves the drawing is of a run that diverged.", out);
  fputs("</p>\n", out);
}

void tg_figure_write(FILE *out, const tg_figure *f) {
  bool many = f->charts > 1;
  bool even = f->charts == 2 || f->charts == 4;
  fprintf(out, "<figure id=\"%s\"%s><h3>%s</h3>\n", f->id,
          even   ? " class=\"many even\""
          : many ? " class=\"many\""
                 : "",
          f->title);
  write_legend(out, f);
  fputs(many ? "<div class=\"panels\">\n" : "", out);
  for (size_t i = 0; i < f->charts; i++) {
    fputs("<div class=\"panel\">", out);
    write_chart(out, f, &f->chart[i]);
    fputs("</div>\n", out);
  }
  fprintf(out, "%s<figcaption>%s</figcaption></figure>\n", many ? "</div>" : "",
          f->note ? f->note : "");
}
