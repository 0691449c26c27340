/* page.c - runs of a report's tests, and the pages made of them. */
#include "page.h"

#include <check.h>
#include <errno.h>
#include <ftw.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tardigrad/report.h"

char page_folder[64], page_path[96];

void page_folder_make(void) {
  const char *base = getenv("TMPDIR");
  snprintf(page_folder, sizeof page_folder, "%.30s/report-XXXXXX", base ? base : "/tmp");
  ck_assert_ptr_nonnull(mkdtemp(page_folder));
  snprintf(page_path, sizeof page_path, "%s/page.html", page_folder);
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *walk) {
  (void)info;
  (void)kind;
  (void)walk;
  return remove(path);
}

void page_folder_remove(void) {
  nftw(page_folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void put(const char *run, const char *name, const char *text) {
  char path[256];
  snprintf(path, sizeof path, "%s/%s/%s", page_folder, run, name);
  FILE *file = fopen(path, "wb");
  ck_assert_ptr_nonnull(file);
  ck_assert_uint_eq(fwrite(text, 1, strlen(text), file), strlen(text));
  fclose(file);
}

/* The path of a new run; the caller's to free. */
char *page_run(const char *run, const char *config, const char *metrics) {
  char path[256];
  snprintf(path, sizeof path, "%s/%s", page_folder, run);
  ck_assert(mkdir(path, 0777) == 0 || errno == EEXIST);
  put(run, "config.yaml", config);
  put(run, "metrics.jsonl", metrics);
  return strdup(path);
}

char *page_read(void) {
  FILE *file = fopen(page_path, "rb");
  ck_assert_ptr_nonnull(file);
  ck_assert_int_eq(fseek(file, 0, SEEK_END), 0);
  size_t size = (size_t)ftell(file);
  rewind(file);
  char *text = calloc(size + 1, 1);
  ck_assert_uint_eq(fread(text, 1, size, file), size);
  fclose(file);
  return text;
}

/* ---- is it a page? ---- */

static void check_text(const char *from, const char *to) {
  static const char *const entities[] = {"&lt;",  "&gt;",    "&amp;",   "&quot;",
                                         "&#39;", "&#8220;", "&#8221;", "&#177;"};
  for (const char *c = from; c < to; c++) {
    ck_assert_msg(*c != '>', "a bare > in %.40s", c - (c - from < 20 ? c - from : 20));
    if (*c != '&') continue;
    bool known = false;
    for (size_t i = 0; i < sizeof entities / sizeof *entities; i++)
      known |= strncmp(c, entities[i], strlen(entities[i])) == 0;
    ck_assert_msg(known, "no entity: %.20s", c);
  }
}

/* Every tag closed in its order, every value quoted, nothing bare in text or values. */
static void check_well_formed(const char *page) {
  const char *open[64];
  size_t depth = 0, lengths[64];
  const char *doctype = "<!DOCTYPE html>\n";
  ck_assert_int_eq(strncmp(page, doctype, strlen(doctype)), 0);
  const char *text = page + strlen(doctype);
  for (const char *tag; (tag = strchr(text, '<'));) {
    bool styled = depth && strncmp(open[depth - 1], "style", 5) == 0;
    if (!styled) check_text(text, tag);
    const char *name = tag + 1 + (tag[1] == '/'), *end = name;
    size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789");
    ck_assert_msg(length > 0, "a bare < in %.40s", tag);
    for (bool quoted = false; quoted || *end != '>'; end++) {
      ck_assert_msg(*end && *end != '<', "unfinished tag %.40s", tag);
      if (*end == '"') quoted = !quoted;
      ck_assert_msg(quoted || *end != '=' || end[1] == '"', "unquoted: %.60s", tag);
    }
    if (tag[1] == '/') {
      ck_assert_msg(depth > 0 && lengths[depth - 1] == length &&
                        memcmp(open[depth - 1], name, length) == 0,
                    "%.20s closes %.20s", tag, depth ? open[depth - 1] : "nothing");
      depth--;
    } else if (end[-1] != '/') {
      ck_assert_uint_lt(depth, 64);
      open[depth] = name;
      lengths[depth++] = length;
    }
    text = end + 1;
  }
  ck_assert_uint_eq(depth, 0);
  ck_assert_str_eq(text, "\n");
}

/* No number that is none has reached a drawing or a cell, and nothing is fetched from elsewhere. */
static void check_contained(const char *page) {
  static const char *const banned[] = {"<script", "http:", "https:", "src=", "@import",
                                       "url(",    ">nan",  ">-nan",  ">inf", ">-inf"};
  static const char *const drawn[] = {" d=\"", " x=\"", " y=\""};
  for (size_t i = 0; i < sizeof banned / sizeof *banned; i++)
    ck_assert_msg(!strstr(page, banned[i]), "%s is on the page", banned[i]);
  for (size_t i = 0; i < sizeof drawn / sizeof *drawn; i++)
    for (const char *at = page; (at = strstr(at, drawn[i]));) {
      at += strlen(drawn[i]);
      size_t length = strspn(at, "MmLlHhVvaz0123456789.- ");
      ck_assert_msg(at[length] == '"', "not drawable: %.*s", (int)length + 12, at);
    }
}

char *page_of(const char *const *runs, int count) {
  tg_status status = tg_report_write(runs, count, NAN, page_path);
  ck_assert_msg(status == TG_OK, "%s", tg_status_message());
  char *page = page_read();
  check_well_formed(page);
  check_contained(page);
  return page;
}

static const char *row_of(const char *page, const char *label) {
  char head[128];
  snprintf(head, sizeof head, "<th scope=\"row\">%s", label);
  for (const char *at = page; (at = strstr(at, head)); at++) {
    const char *after = at + strlen(head);
    if (strncmp(after, "</th>", 5) == 0 || strncmp(after, " <small>", 8) == 0) return after;
  }
  ck_abort_msg("no row %s", label);
}

/* The cell of the column-th run in the row of that label, in the large table. */
static const char *cell(const char *page, const char *label, int column) {
  static char out[256];
  const char *at = row_of(page, label);
  for (int i = 0; i <= column; i++) {
    at = strstr(at, "<td>");
    ck_assert_ptr_nonnull(at);
    at += 4;
  }
  const char *end = strstr(at, "</td>");
  ck_assert_ptr_nonnull(end);
  snprintf(out, sizeof out, "%.*s", (int)(end - at), at);
  return out;
}

void page_expect(const char *page, const char *label, int column, const char *expected) {
  const char *found = cell(page, label, column);
  ck_assert_msg(strcmp(found, expected) == 0, "%s, run %d: '%s', expected '%s'", label, column,
                found, expected);
}

void page_has(const char *page, const char *text) {
  ck_assert_msg(strstr(page, text), "not on the page: %s", text);
}

void page_has_not(const char *page, const char *text) {
  ck_assert_msg(!strstr(page, text), "on the page: %s", text);
}

/* ---- runs of which all is known ---- */

char *page_make(const page_plan *p) {
  char config[512], metrics[2048];
  snprintf(config, sizeof config,
           "run: {seed: %d}\ntransport: {name: %s}\nsim: {workers: %d, seed: %d}\n"
           "sync: {rule: %s}\n%s",
           p->seed, p->simulated ? "sim" : "mpi", p->workers, p->seed, p->rule,
           p->more ? p->more : "");
  snprintf(metrics, sizeof metrics,
           "{\"kind\": \"start\", \"workers\": %d, \"ranks\": %d, \"train_samples\": 1000}\n"
           "{\"kind\": \"train\", \"wall_s\": 5, \"sim_s\": 50, \"update\": 5, \"epoch\": 1, "
           "\"loss\": 1, \"images_per_s\": %d, \"correction_ratio\": %g}\n"
           "{\"kind\": \"eval\", \"wall_s\": 5, \"sim_s\": 50, \"update\": 5, \"epoch\": 1, "
           "\"error\": %g}\n"
           "{\"kind\": \"eval\", \"wall_s\": 10, \"sim_s\": 100, \"update\": 10, \"epoch\": 2, "
           "\"error\": %g}\n"
           "{\"kind\": \"worker\", \"worker\": 0, \"pushes\": 10, \"compute_s\": 6, \"wait_s\": 3, "
           "\"network_s\": 1, \"bytes\": 256000}\n"
           "{\"kind\": \"end\", \"wall_s\": 10, \"sim_s\": 100, \"update\": 10, \"epoch\": 2, "
           "\"staleness_histogram\": [1, 9], \"nonfinite\": 0, \"dropped\": 3, "
           "\"later\": {\"unknown\": []}}\n",
           p->workers, p->workers + 1, 100 * p->workers, p->r, p->first, p->last);
  return page_run(p->name, config, metrics);
}

page_runs page_make_all(const page_plan *plans, size_t count) {
  page_runs r = {.count = (int)count};
  for (size_t i = 0; i < count; i++) r.path[i] = page_make(&plans[i]);
  return r;
}

char *page_with(const page_plan *plans, size_t count) {
  page_runs r = page_make_all(plans, count);
  char *page = page_of((const char *const *)r.path, r.count);
  for (int i = 0; i < r.count; i++) free(r.path[i]);
  return page;
}
