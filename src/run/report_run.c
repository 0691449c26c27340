/* report_run.c - runs as the report sees them: read, named, grouped, summed up. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "run/report_parts.h"
#include "tardigrad/run.h"

/* ---- summaries ---- */

const char *tg_report_split(const tg_report_run *run) {
  return run->config->data_validation > 0 ? "validation" : "test";
}

bool tg_report_corrects(const tg_report_run *run) {
  return run->rule && run->rule->compensate;
}

double tg_report_quantile(const tg_report_run *run, double share) {
  double all = 0, seen = 0;
  for (size_t i = 0; i < run->bins; i++) all += (double)run->histogram[i];
  for (size_t i = 0; i < run->bins; i++) {
    seen += (double)run->histogram[i];
    if (all > 0 && seen >= share * all) return (double)i;
  }
  return NAN;
}

static void sum_histogram(tg_report_run *run) {
  double all = 0, mass = 0;
  run->staleness_max = NAN;
  for (size_t i = 0; i < run->bins; i++) {
    all += (double)run->histogram[i];
    mass += (double)run->histogram[i] * (double)i;
    if (run->histogram[i]) run->staleness_max = (double)i;
  }
  run->pushes_seen = all;
  run->staleness_mean = all > 0 ? mass / all : NAN;
  run->staleness_p99 = tg_report_quantile(run, 0.99);
}

/* A train line speaks for the updates and the seconds since the one before. */
static void sum_train(tg_report_run *run) {
  double updates = 0, ratios = 0, seconds = 0, images = 0;
  const tg_report_point *before = NULL;
  for (size_t i = 0; i < run->train.count; i++) {
    const tg_report_point *p = &run->train.item[i];
    double span = p->update - (before ? before->update : 0);
    double s = p->wall_s - (before ? before->wall_s : 0);
    if (isfinite(p->ratio) && span > 0) {
      updates += span;
      ratios += span * p->ratio;
    }
    if (isfinite(p->images_per_s) && s > 0) {
      seconds += s;
      images += s * p->images_per_s;
    }
    before = p;
  }
  run->ratio_mean = updates > 0 ? ratios / updates : NAN;
  run->images_per_s = seconds > 0 ? images / seconds : NAN;
}

/* Evaluations are written as they come in; two may be under way at once. */
static int by_update(const void *a, const void *b) {
  double x = ((const tg_report_point *)a)->update, y = ((const tg_report_point *)b)->update;
  return (x > y) - (x < y);
}

/* The lowest error; and the final one, which is that of the weights that the run left behind. */
static void sum_evaluations(tg_report_run *run) {
  run->best_error = run->best_epoch = run->error = run->loss = NAN;
  if (run->eval.count) qsort(run->eval.item, run->eval.count, sizeof *run->eval.item, by_update);
  for (size_t i = 0; i < run->eval.count; i++) {
    const tg_report_point *p = &run->eval.item[i];
    if (run->ended && p->update == run->end.update) {
      run->error = p->error;
      run->loss = p->loss;
    }
    if (isnan(p->error) || p->error >= run->best_error) continue;
    run->best_error = p->error;
    run->best_epoch = p->epoch;
  }
}

static double count_workers(const tg_report_run *run) {
  if (run->rule && run->rule->scheme == TG_SCHEME_LOCAL) return 1;
  if (strcmp(run->config->transport_name, "sim") == 0) return (double)run->config->sim_workers;
  return run->worker_lines > 0 ? run->worker_lines : NAN;
}

void tg_report_derive(tg_report_run *run) {
  const tg_config *c = run->config;
  sum_histogram(run);
  sum_train(run);
  sum_evaluations(run);
  if (isnan(run->workers)) run->workers = count_workers(run);
  run->simulated = strcmp(c->transport_name, "sim") == 0;
  if (run->simulated)
    run->images_per_s =
        run->end.sim_s > 0 ? run->train_samples * run->end.epoch / run->end.sim_s : NAN;
  double samples = run->train_samples * run->end.epoch;
  if (isnan(samples)) samples = run->pushes * (double)c->train_batch;
  run->bytes_per_sample = samples > 0 ? run->bytes / samples : NAN;
  run->equal_epoch_error = run->equal_time_error = NAN;
  run->lambda = !run->rule || !(run->rule->default_lambda > 0) ? NAN
                : isnan(c->sync_lambda)                        ? (double)run->rule->default_lambda
                                                               : c->sync_lambda;
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

double tg_report_target(const tg_report_run *runs, size_t count) {
  double *best = calloc(count + 1, sizeof *best), worst = NAN;
  size_t n = 0;
  for (size_t i = 0; best && i < count; i++)
    if (!isnan(runs[i].best_error)) best[n++] = runs[i].best_error;
  if (n >= 2) {
    qsort(best, n, sizeof *best, ascending);
    double median = best[(n - 1) / 2];
    while (best[n - 1] > fmax(2 * median, median + 5)) n--;
    double step = best[n - 1] >= 5 ? 1 : 0.1;
    worst = ceil(best[n - 1] / step - 1e-9) * step;
  }
  free(best);
  return worst;
}

const tg_report_point *tg_report_reached(const tg_report_run *run, double target) {
  for (size_t i = 0; i < run->eval.count; i++)
    if (run->eval.item[i].error <= target + 1e-9) return &run->eval.item[i];
  return NULL;
}

double tg_report_clock(const tg_report_run *run, const tg_report_point *point) {
  return run->simulated ? point->sim_s : point->wall_s;
}

/* ---- reading ---- */

static const tg_rule *known_rule(const char *name) {
  for (size_t i = 0; i < tg_rule_count; i++)
    if (strcmp(tg_rules[i]->name, name) == 0) return tg_rules[i];
  return NULL;
}

static tg_status open_run(const char *path, tg_report_run *run) {
  tg_folder folder;
  run->ranks = run->workers = run->threads = run->parameters = run->memory = NAN;
  run->train_samples = NAN;
  run->last = (tg_report_point){NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
  tg_report_forget_end(run);
  TG_TRY(tg_folder_named(path, &folder));
  run->path = strdup(path);
  run->place = realpath(path, NULL);
  if (!run->path || !run->place) TG_FAIL(TG_ERUNTIME, "no memory for the run %s", path);
  TG_TRY(tg_config_load(folder.config, NULL, 0, &run->config));
  TG_TRY(tg_report_settings(run->config, &run->setting));
  TG_TRY(tg_report_read_metrics(folder.metrics, run));
  run->rule = known_rule(run->config->sync_rule);
  tg_report_derive(run);
  return TG_OK;
}

static const char *folder_name(const tg_report_run *run) {
  const char *slash = strrchr(run->place, '/');
  return slash && slash[1] ? slash + 1 : run->place;
}

static void name_runs(tg_report_run *runs, size_t count) {
  for (size_t i = 0; i < count; i++) {
    runs[i].name = folder_name(&runs[i]);
    for (size_t k = 0; k < count; k++)
      if (k != i && strcmp(folder_name(&runs[k]), folder_name(&runs[i])) == 0)
        runs[i].name = runs[i].path;
  }
}

tg_status tg_report_open(const char *const *paths, size_t count, tg_report_run *runs) {
  for (size_t i = 0; i < count; i++) {
    TG_TRY(open_run(paths[i], &runs[i]));
    for (size_t k = 0; k < i; k++)
      if (strcmp(runs[k].place, runs[i].place) == 0)
        TG_FAIL(TG_EUSAGE, "report: %s and %s are the same run", runs[k].path, runs[i].path);
  }
  name_runs(runs, count);
  return TG_OK;
}

void tg_report_close(tg_report_run *runs, size_t count) {
  for (size_t i = 0; i < count; i++) {
    tg_report_run *r = &runs[i];
    tg_report_forget_end(r);
    tg_report_settings_free(r->setting);
    tg_config_free(r->config);
    free(r->path);
    free(r->place);
    free(r->version);
    free(r->mpi);
    free(r->host);
    free(r->device);
    free(r->train.item);
    free(r->eval.item);
  }
  free(runs);
}
