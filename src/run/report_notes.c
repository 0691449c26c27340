/* report_notes.c - what a reader must know before believing a number. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "run/report_parts.h"

/* Below this r the corrected gradient is the late gradient, for what a test error can tell. */

/* ---- about single runs ---- */

static bool is_unfinished(const tg_report_run *r) {
  return !r->ended;
}

static void tell_how_far(FILE *out, const tg_report_run *r) {
  fputs("epoch ", out);
  tg_html_epoch(out, r->last.epoch);
  fprintf(out, " of %g, after ", r->config->train_epochs);
  tg_html_time(out, r->last.wall_s);
}

static bool lacks_final(const tg_report_run *r) {
  return r->ended && isnan(r->error);
}

static bool corrects_little(const tg_report_run *r) {
  return tg_report_corrects(r) && r->ratio_mean > 0 && r->ratio_mean < TG_NOTICEABLE;
}

static void tell_ratio(FILE *out, const tg_report_run *r) {
  fprintf(out, "r = %.3g", r->ratio_mean);
}

static bool corrects_nothing(const tg_report_run *r) {
  return tg_report_corrects(r) && r->ratio_mean == 0;
}

static bool had_nonfinite(const tg_report_run *r) {
  return r->nonfinite > 0;
}

static void tell_nonfinite(FILE *out, const tg_report_run *r) {
  tg_html_count(out, r->nonfinite);
}

static bool dropped_gradients(const tg_report_run *r) {
  return r->dropped > 0;
}

static void tell_dropped(FILE *out, const tg_report_run *r) {
  tg_html_count(out, r->dropped);
}

static bool clamped_paths(const tg_report_run *r) {
  return r->path_clamps > 0;
}

static void tell_clamps(FILE *out, const tg_report_run *r) {
  tg_html_count(out, r->path_clamps);
}

static bool normalises_paths(const tg_report_run *r) {
  return strncmp(r->config->optimizer_name, "gsgd", 4) == 0 &&
         strcmp(r->config->optimizer_gsgd_norm, "published") == 0;
}

static bool is_synthetic(const tg_report_run *r) {
  return strcmp(r->config->data_name, "synthetic") == 0;
}

static bool is_limited(const tg_report_run *r) {
  return !is_synthetic(r) && (r->config->data_train_limit || r->config->data_test_limit);
}

static bool is_held_out(const tg_report_run *r) {
  return r->config->data_validation > 0;
}

static bool is_simulated(const tg_report_run *r) {
  return r->simulated;
}

typedef struct note {
  bool (*applies)(const tg_report_run *run);
  void (*tell)(FILE *out, const tg_report_run *run); /* of a single run, in brackets; or NULL */
  const char *text;
} note;

static const note notes[] = {
    {is_unfinished, tell_how_far, "not finished, there is no end line: final values are dashes."},
    {lacks_final, NULL, "not evaluated after the last update: there is no final test error."},
    {corrects_little, tell_ratio,
     "the mean correction ratio r is below 1e-2. At this r a difference in test error from ASGD is "
     "chance, whichever way it points."},
    {corrects_nothing, NULL, "r was 0 throughout: this is ASGD under another name."},
    {had_nonfinite, tell_nonfinite, "gradients that were not finite were not applied."},
    {dropped_gradients, tell_dropped, "gradients were dropped, as the rule says."},
    {clamped_paths, tell_clamps,
     "skeletons' ratios or denominators were kept in limits (optimizer.gsgd.clamp): those updates "
     "are not what path gradients ask for."},
    {normalises_paths, NULL,
     "optimizer.gsgd.norm=published: path gradients times norms of weights. This is not exact "
     "G-SGD, and rescaled units do matter."},
    {is_synthetic, NULL, "synthetic data. The error says that training works, and no more."},
    {is_limited, NULL, "a part of the data set only: not comparable with published figures."},
    {is_held_out, NULL,
     "evaluated on held-out training samples (data.validation): where this page says test error, "
     "it "
     "is the error on those."},
    {is_simulated, NULL,
     "simulated. Wall time is that of one process computing for all workers and says nothing about "
     "a cluster; virtual time does, as far as the model of compute time holds."},
};
enum { NOTES = sizeof notes / sizeof *notes };

/* The first member that a note is for, and how many there are. */
static const tg_report_run *concerned(const note *n, const tg_report_group *g, size_t *count) {
  const tg_report_run *first = NULL;
  *count = 0;
  for (size_t i = 0; i < g->count; i++) {
    if (!n->applies(g->run[i])) continue;
    if (!first) first = g->run[i];
    ++*count;
  }
  return first;
}

static void name_group(FILE *out, const note *n, const tg_report_group *g, size_t count,
                       const tg_report_run *first) {
  fputs("<strong>", out);
  tg_html_text(out, g->count == 1 ? first->name : g->label);
  fputs("</strong>", out);
  if (count < g->count) fprintf(out, ", %zu of %zu", count, g->count);
  if (!n->tell || g->count > 1) return;
  fputs(" (", out);
  n->tell(out, first);
  fputs(")", out);
}

static void write_note(FILE *out, const note *n, const tg_report_set *s) {
  size_t all = 0, count;
  for (size_t i = 0; i < s->runs; i++) all += n->applies(&s->run[i]);
  if (all == 0) return;
  if (all == s->runs && s->runs > 1) {
    fprintf(out, "<li><strong>All runs</strong>: %s</li>\n", n->text);
    return;
  }
  const char *glue = "<li>";
  for (size_t i = 0; i < s->groups; i++) {
    const tg_report_run *first = concerned(n, &s->group[i], &count);
    if (!first) continue;
    fputs(glue, out);
    name_group(out, n, &s->group[i], count, first);
    glue = ", ";
  }
  fprintf(out, ": %s</li>\n", n->text);
}

/* ---- about all runs together ---- */

static bool same_text(const char *a, const char *b) {
  return (!a && !b) || (a && b && strcmp(a, b) == 0);
}

static void note_seeds(FILE *out, const tg_report_set *s) {
  size_t single = 0, count = s->runs;
  for (size_t i = 0; i < s->groups; i++) single += s->group[i].count == 1;
  if (single == 0) return;
  if (count == 1)
    fputs("<li>One run, one seed: no spread is known, so no difference from another run is "
          "established by it.</li>\n",
          out);
  else if (single == count)
    fputs("<li>One seed per configuration: no spread is known. Small differences between these "
          "runs may be differences between seeds, or between orders of arrival.</li>\n",
          out);
  else
    fprintf(out, "<li>No other seed: for %zu of the %zu runs no spread is known.</li>\n", single,
            count);
}

static void note_comparison(FILE *out, const tg_report_run *runs, size_t count) {
  bool epochs = false, problem = false, place = false;
  for (size_t i = 1; i < count; i++) {
    const tg_config *a = runs[0].config, *b = runs[i].config;
    epochs |= a->train_epochs != b->train_epochs;
    problem |= strcmp(a->model_name, b->model_name) != 0 || strcmp(a->data_name, b->data_name) != 0;
    place |= !same_text(runs[0].host, runs[i].host) || !same_text(runs[0].device, runs[i].device);
  }
  if (problem)
    fputs("<li>These runs are not of one model and data set: their errors do not compare.</li>\n",
          out);
  if (epochs)
    fputs("<li>These runs do not have the same number of epochs: compare them where their curves "
          "overlap.</li>\n",
          out);
  if (place)
    fputs("<li>These runs are not of one host and device: their times do not compare.</li>\n", out);
}

tg_status tg_report_notes(FILE *page, const tg_report_set *s) {
  char *items = NULL;
  FILE *out;
  TG_TRY(tg_words_open(&items, &out));
  for (size_t i = 0; i < NOTES; i++) write_note(out, &notes[i], s);
  note_seeds(out, s);
  if (s->runs > 1) note_comparison(out, s->run, s->runs);
  tg_status status = tg_words_close(out);
  if (status == TG_OK && *items)
    fprintf(page, "<section class=\"notes\"><h2>Before you compare</h2>\n<ul>\n%s</ul></section>\n",
            items);
  free(items);
  return status;
}
