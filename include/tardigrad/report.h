/* report.h - one page that says how runs went and how they compare. */
#ifndef TARDIGRAD_REPORT_H
#define TARDIGRAD_REPORT_H

#include "tardigrad/status.h"

/* tg_report_write - reads config.yaml and metrics.jsonl of `count` run folders and writes a
 * self-contained HTML page (inline style and SVG, no scripts, nothing from outside) to `path`,
 * beside it first and then renamed. The same input gives the same bytes. Runs need not be finished:
 * what is missing is a dash, and a torn last line is passed over. Runs that differ in their seeds
 * alone share a colour, and their spread is stated.
 * Errors: TG_EUSAGE (no run, one named twice), TG_ENOINPUT (no such run, no metrics), TG_ECONFIG
 * (config.yaml), TG_EDATA (metrics.jsonl: file and line), TG_ERUNTIME (the page cannot be written;
 * an earlier page is then as it was). */
TG_CHECKED tg_status tg_report_write(const char *const *runs, int count, const char *path);

#endif
