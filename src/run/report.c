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
    fputs("No final test error", out);
  } else {
    fprintf(out, "<strong>%.2f %%</strong> test error", r->error);
  }
  fputs(" after ", out);
  tg_html_epoch(out, r->last.epoch);
  fputs(" epochs in ", out);
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

static void title(FILE *out, const tg_report_run *runs, size_t count) {
  if (count == 1)
    tg_html_text(out, runs[0].name);
  else
    fprintf(out, "%zu runs compared", count);
}

static void configurations(FILE *out, const tg_report_run *runs, size_t count) {
  fputs("<h2>Configurations</h2>\n", out);
  for (size_t i = 0; i < count; i++) {
    char *text = NULL;
    if (tg_config_text(runs[i].config, &text) != TG_OK) continue;
    fputs("<details><summary>", out);
    tg_html_text(out, runs[i].name);
    fputs(" <small>", out);
    tg_html_text(out, runs[i].path);
    fputs("</small></summary><pre>", out);
    tg_html_text(out, text);
    fputs("</pre></details>\n", out);
    free(text);
  }
}

static tg_status write_page(FILE *out, const tg_report_run *runs, size_t count) {
  fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>",
        out);
  title(out, runs, count);
  fputs(" - TardiGrad</title>\n", out);
  tg_report_style(out);
  fputs("</head><body><main>\n<header><h1>", out);
  title(out, runs, count);
  fputs("</h1>\n", out);
  if (count == 1) headline(out, &runs[0]);
  fputs("</header>\n", out);
  if (count > 1) tg_report_summary(out, runs, count);
  tg_report_notes(out, runs, count);
  tg_report_spread(out, runs, count);
  TG_TRY(tg_report_figures(out, runs, count));
  fputs("<h2>Numbers</h2>\n", out);
  tg_report_tables(out, runs, count);
  configurations(out, runs, count);
  fputs("<footer>tardigrad " TG_VERSION ": tardigrad report", out);
  for (size_t i = 0; i < count; i++) {
    fputc(' ', out);
    tg_html_text(out, runs[i].path);
  }
  fputs("</footer>\n</main></body></html>\n", out);
  return TG_OK;
}

static tg_status write_beside(const char *path, const tg_report_run *runs, size_t count) {
  char part[4200];
  if ((size_t)snprintf(part, sizeof part, "%s.part", path) >= sizeof part)
    TG_FAIL(TG_ERUNTIME, "the report's path is longer than %zu bytes", sizeof part - 6);
  FILE *out = fopen(part, "w");
  if (!out) TG_FAIL(TG_ERUNTIME, "%s cannot be written: %s", part, strerror(errno));
  tg_status status = write_page(out, runs, count);
  bool whole = !ferror(out) && fflush(out) == 0;
  if ((fclose(out) != 0 || !whole) && status == TG_OK)
    status = tg_status_set(TG_ERUNTIME, "%s cannot be written: %s", part, strerror(errno));
  if (status == TG_OK && rename(part, path) != 0)
    status = tg_status_set(TG_ERUNTIME, "%s cannot be written: %s", path, strerror(errno));
  if (status != TG_OK) unlink(part);
  return status;
}

tg_status tg_report_write(const char *const *paths, int count, const char *path) {
  if (count < 1) TG_FAIL(TG_EUSAGE, "report: no run is named");
  size_t n = (size_t)count;
  tg_report_run *runs = calloc(n, sizeof *runs);
  if (!runs) TG_FAIL(TG_ERUNTIME, "no memory for %d runs", count);
  tg_status status = tg_report_open(paths, n, runs);
  if (status == TG_OK) status = write_beside(path, runs, n);
  tg_report_close(runs, n);
  return status;
}
