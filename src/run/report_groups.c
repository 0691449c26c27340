/* report_groups.c - runs that differ in their seeds alone: groups, their names, their spread. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "run/report_parts.h"

enum { FEW_GROUPS = 6 }; /* in one panel, whatever their numbers of workers */

static bool same(const char *a, const char *b) {
  return strcmp(a, b) == 0;
}

static const tg_report_run *first_of(const tg_report_group *g) {
  return g->run[0];
}

/* ---- groups ---- */

static tg_status add_member(tg_report_group *g, tg_report_run *run) {
  tg_report_run **more = realloc(g->run, (g->count + 1) * sizeof *more);
  if (!more) TG_FAIL(TG_ERUNTIME, "no memory for a group of %zu runs", g->count + 1);
  g->run = more;
  g->run[g->count++] = run;
  return TG_OK;
}

static tg_status make_groups(tg_report_set *s) {
  s->group = calloc(s->runs, sizeof *s->group);
  if (!s->group) TG_FAIL(TG_ERUNTIME, "no memory for groups of %zu runs", s->runs);
  for (size_t i = 0; i < s->runs; i++) {
    size_t like = 0;
    while (like < s->groups && !tg_report_same_problem(first_of(&s->group[like]), &s->run[i]))
      like++;
    if (like == s->groups) s->groups++;
    TG_TRY(add_member(&s->group[like], &s->run[i]));
  }
  return TG_OK;
}

/* ---- names ---- */

static bool same_task(const tg_report_run *a, const tg_report_run *b) {
  for (size_t i = 0; i < tg_report_setting_count(); i++) {
    const char *name = tg_report_setting_name(i);
    bool task = strncmp(name, "data.", 5) == 0 || strncmp(name, "model.", 6) == 0;
    if (task && tg_report_matters(a, i) && !same(a->setting[i], b->setting[i])) return false;
  }
  return true;
}

/* What tells groups apart. */
typedef struct contrast {
  bool workers, model, data;
  bool *told; /* [groups][settings] */
} contrast;

static bool has_own_word(const char *name) {
  return same(name, "sync.rule") || same(name, "model.name") || same(name, "data.name") ||
         same(name, "sim.workers");
}

static bool same_workers(const tg_report_run *a, const tg_report_run *b) {
  return a->workers == b->workers || (isnan(a->workers) && isnan(b->workers));
}

static contrast contrast_of(const tg_report_set *s) {
  contrast c = {.told = NULL};
  const tg_report_run *a = first_of(&s->group[0]);
  for (size_t i = 1; i < s->groups; i++) {
    const tg_report_run *b = first_of(&s->group[i]);
    c.workers |= !same_workers(a, b);
    c.model |= !same(a->config->model_name, b->config->model_name);
    c.data |= !same(a->config->data_name, b->config->data_name);
  }
  return c;
}

static bool same_rule(const tg_report_run *a, const tg_report_run *b) {
  return same(a->config->sync_rule, b->config->sync_rule);
}

/* Settings that differ between two groups of one rule and number of workers, noted in both. */
static void note_differences(const tg_report_set *s, size_t i, size_t k, bool *told) {
  const tg_report_run *a = first_of(&s->group[i]), *b = first_of(&s->group[k]);
  size_t settings = tg_report_setting_count();
  if (!same_workers(a, b) || !same_rule(a, b)) return;
  for (size_t o = 0; o < settings; o++) {
    bool matters = tg_report_matters(a, o) || tg_report_matters(b, o);
    if (!matters || has_own_word(tg_report_setting_name(o)) || same(a->setting[o], b->setting[o]))
      continue;
    told[i * settings + o] = told[k * settings + o] = true;
  }
}

/* A rule's groups are named alike, whatever their number of workers: told[groups][settings]. */
static tg_status choose_settings(const tg_report_set *s, bool **out) {
  size_t settings = tg_report_setting_count();
  bool *told = calloc(s->groups * settings + 1, sizeof *told);
  if (!told) TG_FAIL(TG_ERUNTIME, "no memory for the names of %zu groups", s->groups);
  for (size_t i = 0; i < s->groups; i++)
    for (size_t k = 0; k < i; k++) note_differences(s, i, k, told);
  for (size_t i = 0; i < s->groups; i++)
    for (size_t k = 0; k < s->groups; k++)
      for (size_t o = 0; same_rule(first_of(&s->group[i]), first_of(&s->group[k])) && o < settings;
           o++)
        told[i * settings + o] |= told[k * settings + o];
  *out = told;
  return TG_OK;
}

static void put_workers(FILE *out, double workers) {
  if (isnan(workers))
    fputs("? workers", out);
  else
    fprintf(out, "%.0f worker%s", workers, workers == 1 ? "" : "s");
}

/* "lr 0.1" of optimizer.lr; "sim" of transport.name. */
static void put_setting(FILE *out, size_t i, const char *value) {
  const char *dot = strrchr(tg_report_setting_name(i), '.');
  const char *key = dot ? dot + 1 : tg_report_setting_name(i);
  fprintf(out, ", %s%s%s", same(key, "name") ? "" : key, same(key, "name") ? "" : " ",
          *value ? value : "default");
}

static tg_status make_name(const tg_report_set *s, const contrast *c, const tg_report_group *g,
                           bool workers, bool task, char **name) {
  const tg_report_run *r = first_of(g);
  const bool *told = c->told + (size_t)(g - s->group) * tg_report_setting_count();
  FILE *out;
  TG_TRY(tg_words_open(name, &out));
  fputs(r->config->sync_rule, out);
  if (workers && c->workers) fputs(", ", out);
  if (workers && c->workers) put_workers(out, r->workers);
  for (size_t i = 0; i < tg_report_setting_count(); i++) {
    const char *key = tg_report_setting_name(i);
    bool of_task = strncmp(key, "data.", 5) == 0 || strncmp(key, "model.", 6) == 0;
    if (told[i] && (task || !of_task)) put_setting(out, i, r->setting[i]);
  }
  if (task && c->model) fprintf(out, ", %s", r->config->model_name);
  if (task && c->data) fprintf(out, ", %s", r->config->data_name);
  return tg_words_close(out);
}

static tg_status name_groups(tg_report_set *s, const contrast *c, bool split) {
  for (size_t i = 0; i < s->groups; i++) {
    tg_report_group *g = &s->group[i];
    TG_TRY(make_name(s, c, g, true, true, &g->label));
    TG_TRY(make_name(s, c, g, !split, s->panels < 2, &g->line));
    TG_TRY(make_name(s, c, g, false, true, &g->family));
  }
  /* Looks without gaps: there are few that are easily told apart. */
  size_t looks = 0;
  for (size_t i = 0; i < s->groups; i++) {
    size_t like = 0;
    while (!same(s->group[like].family, s->group[i].family)) like++;
    s->group[i].look = like < i ? s->group[like].look : looks++;
  }
  return TG_OK;
}

/* ---- panels ---- */

static bool same_panel(const tg_report_group *a, const tg_report_group *b, bool split) {
  const tg_report_run *x = first_of(a), *y = first_of(b);
  return same_task(x, y) && (!split || same_workers(x, y));
}

static tg_status title_panel(const tg_report_set *s, tg_report_panel *p, bool split) {
  const tg_report_run *r = first_of(p->first);
  bool task = false;
  FILE *out;
  TG_TRY(tg_words_open(&p->title, &out));
  for (size_t i = 0; i < s->groups; i++) task |= !same_task(r, first_of(&s->group[i]));
  if (task) fprintf(out, "%s on %s", r->config->model_name, r->config->data_name);
  if (task && r->config->data_train_limit)
    fprintf(out, " (first %lld)", (long long)r->config->data_train_limit);
  if (task && split) fputs(", ", out);
  if (split) put_workers(out, r->workers);
  return tg_words_close(out);
}

static double workers_of(const tg_report_group *g) {
  return isnan(first_of(g)->workers) ? -1 : first_of(g)->workers;
}

/* By problem in the order they were named, then by workers; otherwise as they were named. */
static void sort_groups(tg_report_set *s, bool split) {
  for (size_t i = 0; i < s->groups; i++)
    while (!same_task(first_of(&s->group[s->group[i].task]), first_of(&s->group[i])))
      s->group[i].task++;
  for (size_t i = 1; i < s->groups; i++) {
    tg_report_group g = s->group[i];
    size_t at = i;
    for (; at > 0; at--) {
      const tg_report_group *o = &s->group[at - 1];
      bool fewer = split && o->task == g.task && workers_of(&g) < workers_of(o);
      if (!fewer && o->task <= g.task) break;
      s->group[at] = *o;
    }
    s->group[at] = g;
  }
}

static tg_status make_panels(tg_report_set *s, bool split) {
  s->panel = calloc(s->groups, sizeof *s->panel);
  if (!s->panel) TG_FAIL(TG_ERUNTIME, "no memory for %zu panels", s->groups);
  for (size_t i = 0; i < s->groups; i++) {
    if (i == 0 || !same_panel(&s->group[i - 1], &s->group[i], split))
      s->panel[s->panels++].first = &s->group[i];
    s->group[i].panel = s->panels - 1;
    for (size_t k = 0; k < s->group[i].count; k++) s->group[i].run[k]->group = i;
  }
  for (size_t i = 0; i < s->panels; i++) TG_TRY(title_panel(s, &s->panel[i], split));
  return TG_OK;
}

/* ---- equal epochs, equal time ---- */

static double error_at(const tg_report_run *r, double limit, bool of_time) {
  double error = NAN;
  for (size_t i = 0; i < r->eval.count; i++) {
    const tg_report_point *p = &r->eval.item[i];
    double x = of_time ? tg_report_clock(r, p) : p->epoch;
    if (x <= limit * (1 + 1e-9)) error = p->error;
  }
  return error;
}

static void equalise(tg_report_set *s, tg_report_panel *p) {
  p->equal_epoch = p->equal_wall = p->equal_virtual = NAN;
  for (size_t i = 0; i < s->runs; i++) {
    const tg_report_run *r = &s->run[i];
    if (s->group[r->group].panel != (size_t)(p - s->panel) || !r->ended || !r->eval.count) continue;
    const tg_report_point *last = &r->eval.item[r->eval.count - 1];
    p->equal_epoch = fmin(p->equal_epoch, last->epoch);
    double *clock = r->simulated ? &p->equal_virtual : &p->equal_wall;
    *clock = fmin(*clock, tg_report_clock(r, last));
  }
  for (size_t i = 0; i < s->runs; i++) {
    tg_report_run *r = &s->run[i];
    if (s->group[r->group].panel != (size_t)(p - s->panel) || !r->ended) continue;
    r->equal_epoch_error = error_at(r, p->equal_epoch, false);
    r->equal_time_error = error_at(r, r->simulated ? p->equal_virtual : p->equal_wall, true);
  }
}

/* ---- the set ---- */

static void choose_drawn(tg_report_set *s) {
  for (size_t i = 0; i < s->groups; i++) {
    double own = tg_report_spread(s, &s->group[i], tg_value_error).mean;
    size_t before = 0;
    for (size_t k = 0; k < s->groups; k++) {
      if (k == i || s->group[k].panel != s->group[i].panel) continue;
      double other = tg_report_spread(s, &s->group[k], tg_value_error).mean;
      bool tie = other == own || (isnan(other) && isnan(own));
      before += other < own || (isnan(own) && !isnan(other)) || (tie && k < i);
    }
    s->group[i].drawn = before < TG_DRAWN;
  }
}

tg_status tg_report_gather(tg_report_set *s) {
  TG_TRY(make_groups(s));
  contrast c = contrast_of(s);
  bool split = c.workers && s->groups > FEW_GROUPS;
  sort_groups(s, split);
  TG_TRY(make_panels(s, split));
  TG_TRY(choose_settings(s, &c.told));
  tg_status status = name_groups(s, &c, split);
  free(c.told);
  for (size_t i = 0; i < s->panels; i++) equalise(s, &s->panel[i]);
  choose_drawn(s);
  return status;
}

void tg_report_scatter(tg_report_set *s) {
  for (size_t i = 0; s->group && i < s->groups; i++) {
    free(s->group[i].run);
    free(s->group[i].label);
    free(s->group[i].line);
    free(s->group[i].family);
  }
  for (size_t i = 0; s->panel && i < s->panels; i++) free(s->panel[i].title);
  free(s->group);
  free(s->panel);
}

tg_spread tg_report_spread(const tg_report_set *s, const tg_report_group *g, tg_report_value of) {
  tg_spread x = {0, 0, INFINITY, -INFINITY};
  for (size_t i = 0; i < g->count; i++) {
    double v = of(s, g->run[i]);
    if (!isfinite(v)) continue;
    x.n++;
    x.mean += (v - x.mean) / (double)x.n;
    x.least = fmin(x.least, v);
    x.most = fmax(x.most, v);
  }
  return x.n ? x : (tg_spread){0, NAN, NAN, NAN};
}

double tg_value_error(const tg_report_set *s, const tg_report_run *r) {
  (void)s;
  return r->error;
}

double tg_value_ratio(const tg_report_set *s, const tg_report_run *r) {
  (void)s;
  return tg_report_corrects(r) ? r->ratio_mean : NAN;
}

double tg_value_images(const tg_report_set *s, const tg_report_run *r) {
  (void)s;
  return r->images_per_s;
}

double tg_value_target_time(const tg_report_set *s, const tg_report_run *r) {
  const tg_report_point *p = tg_report_reached(r, s->target);
  return p ? tg_report_clock(r, p) : NAN;
}

double tg_value_target_epochs(const tg_report_set *s, const tg_report_run *r) {
  const tg_report_point *p = tg_report_reached(r, s->target);
  return p ? p->epoch : NAN;
}
