/* report.c - the page: head, style, parts; written beside and renamed. */
#include "tardigrad/report.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "run/report_parts.h"

static void headline(FILE *out, const tg_report_run *r) {
  const tg_config *c = r->config;
  fputs("<p class=\"lead\">", out);
  if (!r->ended) {
    fputs("Unfinished", out);
  } else if (isnan(r->error)) {
    fprintf(out, "No final %s error", tg_report_split(r));
  } else {
    fprintf(out, "<strong>%.2f %%</strong> %s error", r->error, tg_report_split(r));
  }
  fputs(" after ", out);
  tg_html_epoch(out, r->last.epoch);
  fputs(r->last.epoch == 1 ? " epoch in " : " epochs in ", out);
  tg_html_time(out, r->last.wall_s);
  fputs(": ", out);
  tg_html_text(out, c->model_name);
  fputs(" on ", out);
  tg_html_text(out, c->data_name);
  fputs(", ", out);
  tg_html_text(out, c->sync_rule);
  fputs(", ", out);
  tg_html_count(out, r->workers);
  fputs(r->workers == 1 ? " worker.</p>\n" : " workers.</p>\n", out);
}

static void title(FILE *out, const tg_report_set *s) {
  if (s->runs == 1)
    tg_html_text(out, s->run->name);
  else
    fprintf(out, "%zu runs compared", s->runs);
}

static void overview(FILE *out, const tg_report_set *s) {
  size_t seeds = 1;
  for (size_t i = 0; i < s->groups; i++)
    seeds = s->group[i].count > seeds ? s->group[i].count : seeds;
  fprintf(out, "<p class=\"lead\"><strong>%zu</strong> configuration%s", s->groups,
          s->groups == 1 ? "" : "s");
  if (seeds > 1) fprintf(out, ", up to <strong>%zu</strong> seeds each", seeds);
  fputs(".</p>\n", out);
}

static void configurations(FILE *out, const tg_report_set *s) {
  fputs("<h2>Configurations</h2>\n", out);
  bool many = s->runs > 12;
  if (many) fprintf(out, "<details><summary>All %zu</summary>\n", s->runs);
  for (size_t i = 0; i < s->runs; i++) {
    const tg_report_run *r = &s->run[i];
    char *text = NULL;
    if (tg_config_text(r->config, &text) != TG_OK) continue;
    fputs("<details><summary>", out);
    tg_html_text(out, r->name);
    fputs(" <small>", out);
    tg_html_text(out, r->path);
    fputs("</small></summary><pre>", out);
    tg_html_text(out, text);
    fputs("</pre></details>\n", out);
    free(text);
  }
  if (many) fputs("</details>\n", out);
}

static void footer(FILE *out, const tg_report_set *s) {
  fputs("<footer>tardigrad " TG_VERSION ": tardigrad report", out);
  if (s->target_given) fprintf(out, " --target %g", s->target);
  for (size_t i = 0; i < s->runs; i++) {
    fputc(' ', out);
    tg_html_text(out, s->run[i].path);
  }
  fputs("</footer>\n", out);
}

static tg_status write_page(FILE *out, const tg_report_set *s) {
  fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
        "<link rel=\"icon\" href=\"data:,\"/>\n<title>",
        out);
  title(out, s);
  fputs(" - TardiGrad</title>\n", out);
  tg_report_style(out);
  fputs("</head><body><main>\n<header><h1>", out);
  title(out, s);
  fputs("</h1>\n", out);
  if (s->runs == 1)
    headline(out, s->run);
  else
    overview(out, s);
  fputs("</header>\n", out);
  tg_report_verdict(out, s);
  TG_TRY(tg_report_notes(out, s));
  if (s->runs > 1) tg_report_compare(out, s);
  TG_TRY(tg_report_figures(out, s));
  fputs("<h2>Every number</h2>\n", out);
  tg_report_tables(out, s);
  tg_report_places(out, s);
  configurations(out, s);
  footer(out, s);
  fputs("</main></body></html>\n", out);
  return TG_OK;
}

static tg_status write_beside(const char *path, const tg_report_set *set) {
  char part[4200];
  if ((size_t)snprintf(part, sizeof part, "%s.part", path) >= sizeof part)
    TG_FAIL(TG_ERUNTIME, "the report's path is longer than %zu bytes", sizeof part - 6);
  FILE *out = fopen(part, "we");
  if (!out) TG_FAIL(TG_ERUNTIME, "%s cannot be written: %s", part, strerror(errno));
  tg_status status = write_page(out, set);
  bool whole = !ferror(out) && fflush(out) == 0;
  if ((fclose(out) != 0 || !whole) && status == TG_OK)
    status = tg_status_set(TG_ERUNTIME, "%s cannot be written: %s", part, strerror(errno));
  if (status == TG_OK && rename(part, path) != 0)
    status = tg_status_set(TG_ERUNTIME, "%s cannot be written: %s", path, strerror(errno));
  if (status != TG_OK) unlink(part);
  return status;
}

tg_status tg_report_write(const char *const *paths, int count, double target, const char *path) {
  if (count < 1) TG_FAIL(TG_EUSAGE, "report: no run is named");
  tg_status status = TG_OK;
  tg_report_set set = {.runs = (size_t)count, .run = calloc((size_t)count, sizeof *set.run)};
  if (!set.run) TG_FAIL(TG_ERUNTIME, "no memory for %d runs", count);
  TG_DO(tg_report_open(paths, set.runs, set.run));
  set.target_given = !isnan(target);
  set.target = set.target_given ? target : tg_report_target(set.run, set.runs);
  TG_DO(tg_report_gather(&set));
  TG_DO(write_beside(path, &set));
done:
  tg_report_scatter(&set);
  tg_report_close(set.run, set.runs);
  return status;
}
