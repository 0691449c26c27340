/* report_table.c - runs in columns, what is known of them in rows. */
#include <math.h>
#include <string.h>

#include "run/report_chart.h"
#include "run/report_parts.h"
#include "tardigrad/run.h"

enum { COLUMNS = 6, OPEN = 6 }; /* runs per table: what fits a printed page; shown at once */

typedef struct sheet {
  FILE *out;
  const tg_report_set *set;
} sheet;

typedef void (*cell)(const sheet *s, const tg_report_run *r);

static void text_or_dash(FILE *out, const char *text) {
  if (text && *text)
    tg_html_text(out, text);
  else
    fputs(TG_DASH, out);
}

/* ---- what ran ---- */

static void cell_rule(const sheet *s, const tg_report_run *r) {
  tg_html_text(s->out, r->config->sync_rule);
}

static void cell_workers(const sheet *s, const tg_report_run *r) {
  tg_html_count(s->out, r->workers);
}

static void cell_model(const sheet *s, const tg_report_run *r) {
  tg_html_text(s->out, r->config->model_name);
  const tg_int_list *hidden = &r->config->model_hidden;
  if (strcmp(r->config->model_name, "mlp") == 0)
    for (uint32_t i = 0; i < hidden->count; i++)
      fprintf(s->out, "%s%lld", i ? "-" : " ", (long long)hidden->item[i]);
}

static void cell_parameters(const sheet *s, const tg_report_run *r) {
  tg_html_count(s->out, r->parameters);
}

static void cell_data(const sheet *s, const tg_report_run *r) {
  const tg_config *c = r->config;
  tg_html_text(s->out, c->data_name);
  if (strcmp(c->data_augment, "none") != 0) {
    fputs(", ", s->out);
    tg_html_text(s->out, c->data_augment);
  }
  if (c->data_train_limit) {
    fputs(", first ", s->out);
    tg_html_count(s->out, (double)c->data_train_limit);
  }
}

static void cell_lambda(const sheet *s, const tg_report_run *r) {
  tg_html_real(s->out, "%g", r->lambda);
}

static bool has_momentum(const tg_config *c) {
  const char *name =
      strcmp(c->optimizer_name, "lookahead") == 0 ? c->optimizer_inner : c->optimizer_name;
  return strcmp(name, "momentum") == 0 || strcmp(name, "nesterov") == 0 ||
         strcmp(name, "lars") == 0 || strcmp(c->sync_rule, "dana-slim") == 0;
}

static void cell_lr(const sheet *s, const tg_report_run *r) {
  const tg_config *c = r->config;
  fprintf(s->out, "%g, ", c->optimizer_lr);
  tg_html_text(s->out, c->optimizer_name);
  if (has_momentum(c)) fprintf(s->out, " %g", c->optimizer_momentum);
  if (strncmp(c->optimizer_name, "gsgd", 4) == 0) fprintf(s->out, " (%s)", c->optimizer_gsgd_norm);
  if (c->optimizer_weight_decay > 0) fprintf(s->out, ", decay %g", c->optimizer_weight_decay);
  for (uint32_t i = 0; i < c->optimizer_schedule.count; i++)
    fprintf(s->out, "%s%g", i ? ", " : "; steps at ", c->optimizer_schedule.item[i].epoch);
}

static void cell_batch(const sheet *s, const tg_report_run *r) {
  tg_html_count(s->out, (double)r->config->train_batch);
}

static void cell_epochs(const sheet *s, const tg_report_run *r) {
  tg_html_epoch(s->out, r->last.epoch);
  fprintf(s->out, " of %g", r->config->train_epochs);
}

static void cell_transport(const sheet *s, const tg_report_run *r) {
  bool sim = strcmp(r->config->transport_name, "sim") == 0;
  tg_html_text(s->out, r->config->transport_name);
  if (sim) fputs(", ", s->out);
  if (sim) tg_html_text(s->out, r->config->sim_order);
}

static void cell_device(const sheet *s, const tg_report_run *r) {
  tg_html_text(s->out, r->device ? r->device : r->config->device_name);
  fputs(", ", s->out);
  tg_html_text(s->out, r->config->device_precision);
}

static void cell_host(const sheet *s, const tg_report_run *r) {
  text_or_dash(s->out, r->host);
}

static void cell_threads(const sheet *s, const tg_report_run *r) {
  double set = r->config->run_threads > 0 ? (double)r->config->run_threads : NAN;
  tg_html_count(s->out, isnan(r->threads) ? set : r->threads);
}

static void cell_seed(const sheet *s, const tg_report_run *r) {
  fprintf(s->out, "%lld", (long long)r->config->run_seed);
}

/* ---- what came of it ---- */

static void cell_error(const sheet *s, const tg_report_run *r) {
  tg_html_real(s->out, "%.2f %%", r->error);
}

static void cell_loss(const sheet *s, const tg_report_run *r) {
  tg_html_real(s->out, "%.4f", r->loss);
}

static void cell_best(const sheet *s, const tg_report_run *r) {
  tg_html_real(s->out, "%.2f %%", r->best_error);
  if (isnan(r->best_error)) return;
  fputs(" at epoch ", s->out);
  tg_html_epoch(s->out, r->best_epoch);
}

static void cell_train_loss(const sheet *s, const tg_report_run *r) {
  size_t n = r->train.count;
  tg_html_real(s->out, "%.4f", n ? r->train.item[n - 1].loss : NAN);
}

/* A run without evaluations has nothing to say about a target. */
static bool missed(const sheet *s, const tg_report_run *r) {
  if (r->eval.count == 0 || tg_report_reached(r, s->set->target)) return false;
  fputs("not reached", s->out);
  return true;
}

static void cell_target_epochs(const sheet *s, const tg_report_run *r) {
  if (!missed(s, r)) tg_html_epoch(s->out, tg_value_target_epochs(s->set, r));
}

static void cell_target_time(const sheet *s, const tg_report_run *r) {
  if (missed(s, r)) return;
  double time = tg_value_target_time(s->set, r);
  tg_html_time(s->out, time);
  if (r->simulated && isfinite(time)) fputs(" virtual", s->out);
}

/* ---- how fast ---- */

static void cell_wall(const sheet *s, const tg_report_run *r) {
  tg_html_time(s->out, r->end.wall_s);
}

static void cell_virtual(const sheet *s, const tg_report_run *r) {
  tg_html_time(s->out, r->end.sim_s);
}

static void cell_images(const sheet *s, const tg_report_run *r) {
  tg_html_count(s->out, r->images_per_s);
}

static void cell_updates(const sheet *s, const tg_report_run *r) {
  tg_html_count(s->out, r->end.update);
}

static void cell_bytes(const sheet *s, const tg_report_run *r) {
  bool known = r->worker_lines > 0 && r->end.update > 0;
  tg_html_bytes(s->out, known ? r->bytes / r->end.update : NAN);
}

static void cell_sample_bytes(const sheet *s, const tg_report_run *r) {
  tg_html_bytes(s->out, r->bytes_per_sample);
}

static void cell_busy(const sheet *s, const tg_report_run *r) {
  tg_html_real(s->out, "%.1f %%", 100 * r->server_busy);
}

static void cell_waiting(const sheet *s, const tg_report_run *r) {
  double all = r->compute_s + r->wait_s;
  tg_html_real(s->out, "%.1f %%", all > 0 ? 100 * r->wait_s / all : NAN);
}

static void cell_pushes(const sheet *s, const tg_report_run *r) {
  bool known = r->worker_lines > 0;
  tg_html_count(s->out, known ? r->pushes_least : NAN);
  if (known && r->pushes_most > r->pushes_least) {
    fputs(" to ", s->out);
    tg_html_count(s->out, r->pushes_most);
  }
}

static void cell_memory(const sheet *s, const tg_report_run *r) {
  tg_html_bytes(s->out, r->memory);
}

/* ---- how late ---- */

/* The last bin of a full histogram holds everything from there on. */
static const char *at_least(double value) {
  return value >= TG_STALENESS_BINS - 1 ? "\xE2\x89\xA5 " : "";
}

static void cell_staleness_mean(const sheet *s, const tg_report_run *r) {
  if (!isnan(r->staleness_mean)) fputs(at_least(r->staleness_max), s->out);
  tg_html_real(s->out, "%.2f", r->staleness_mean);
}

static void cell_staleness_p99(const sheet *s, const tg_report_run *r) {
  fputs(at_least(r->staleness_p99), s->out);
  tg_html_count(s->out, r->staleness_p99);
}

static void cell_staleness_max(const sheet *s, const tg_report_run *r) {
  fputs(at_least(r->staleness_max), s->out);
  tg_html_count(s->out, r->staleness_max);
}

static void cell_ratio(const sheet *s, const tg_report_run *r) {
  tg_html_real(s->out, "%.3g", tg_report_corrects(r) ? r->ratio_mean : NAN);
}

static void cell_nonfinite(const sheet *s, const tg_report_run *r) {
  tg_html_count(s->out, r->nonfinite);
}

static void cell_dropped(const sheet *s, const tg_report_run *r) {
  tg_html_count(s->out, r->dropped);
}

static void cell_ranks(const sheet *s, const tg_report_run *r) {
  tg_html_count(s->out, r->ranks);
}

static void cell_hash(const sheet *s, const tg_report_run *r) {
  fputs("<code>", s->out);
  text_or_dash(s->out, r->weights_hash);
  fputs("</code>", s->out);
}

static void cell_version(const sheet *s, const tg_report_run *r) {
  text_or_dash(s->out, r->version);
  if (r->mpi && *r->mpi) fputs(", ", s->out);
  if (r->mpi) tg_html_text(s->out, r->mpi);
}

/* ---- the tables ---- */

typedef struct row {
  const char *label, *unit; /* a label without a cell heads a part of the table */
  cell cell;
} row;

static const row rows[] = {
    {"What ran", NULL, NULL},
    {"Rule", NULL, cell_rule},
    {"Workers", NULL, cell_workers},
    {"Model", NULL, cell_model},
    {"Parameters", NULL, cell_parameters},
    {"Data", NULL, cell_data},
    {"Lambda", NULL, cell_lambda},
    {"Learning rate, optimiser", NULL, cell_lr},
    {"Batch", "samples per gradient", cell_batch},
    {"Epochs", "effective passes", cell_epochs},
    {"Transport", NULL, cell_transport},
    {"Device, precision", NULL, cell_device},
    {"Ranks", NULL, cell_ranks},
    {"Threads per rank", NULL, cell_threads},
    {"Host", NULL, cell_host},
    {"Seed", NULL, cell_seed},
    {"What came of it", NULL, NULL},
    {"Test error, final", NULL, cell_error},
    {"Test loss, final", NULL, cell_loss},
    {"Test error, lowest", "of all evaluations", cell_best},
    {"Training loss, last", NULL, cell_train_loss},
    {"Epochs to", NULL, cell_target_epochs},
    {"Time to", NULL, cell_target_time},
    {"Weights", "XXH3-128", cell_hash},
    {"How fast", NULL, NULL},
    {"Wall time", NULL, cell_wall},
    {"Virtual time", "simulator", cell_virtual},
    {"Images per second", "mean, on the run&#39;s clock", cell_images},
    {"Updates", NULL, cell_updates},
    {"Bytes per update", "pushed and pulled", cell_bytes},
    {"Bytes per sample", "pushed and pulled", cell_sample_bytes},
    {"Server busy", "of wall time", cell_busy},
    {"Workers waiting", "of their time", cell_waiting},
    {"Gradients per worker", NULL, cell_pushes},
    {"Memory", NULL, cell_memory},
    {"How late", NULL, NULL},
    {"Staleness, mean", "updates", cell_staleness_mean},
    {"Staleness, 99th percentile", "updates", cell_staleness_p99},
    {"Staleness, largest", "updates", cell_staleness_max},
    {"Correction ratio r, mean", "|correction| / |gradient|", cell_ratio},
    {"Gradients not finite", "not applied", cell_nonfinite},
    {"Gradients dropped", "by the rule", cell_dropped},
    {"Program, MPI", NULL, cell_version},
};
enum { ROWS = sizeof rows / sizeof *rows };

static bool is_wanted(const sheet *s, const row *r) {
  if (r->cell == cell_target_epochs || r->cell == cell_target_time) return !isnan(s->set->target);
  if (r->cell != cell_virtual) return true;
  for (size_t i = 0; i < s->set->runs; i++)
    if (s->set->run[i].simulated) return true;
  return false;
}

static void name_cell(FILE *out, const tg_report_set *set, const tg_report_run *run) {
  tg_chart_key(out, set->group[run->group].look);
  tg_html_text(out, run->name);
  if (!run->ended) fputs(" <em>unfinished</em>", out);
}

static void head(FILE *out, const tg_report_set *set, const tg_report_run *runs, size_t count) {
  fputs("<thead><tr><td></td>", out);
  for (size_t i = 0; i < count; i++) {
    fputs("<th scope=\"col\">", out);
    name_cell(out, set, &runs[i]);
    fputs("</th>", out);
  }
  fputs("</tr></thead>\n", out);
}

static void write_row(const sheet *s, const row *r, const tg_report_run *runs, size_t count) {
  if (!r->cell) {
    fprintf(s->out, "<tr class=\"part\"><th colspan=\"%zu\">%s</th></tr>\n", count + 1, r->label);
    return;
  }
  fprintf(s->out, "<tr><th scope=\"row\">%s", r->label);
  if (r->cell == cell_target_epochs || r->cell == cell_target_time)
    fprintf(s->out, " %g %% test error", s->set->target);
  if (r->unit) fprintf(s->out, " <small>%s</small>", r->unit);
  fputs("</th>", s->out);
  for (size_t i = 0; i < count; i++) {
    fputs("<td>", s->out);
    r->cell(s, &runs[i]);
    fputs("</td>", s->out);
  }
  fputs("</tr>\n", s->out);
}

static bool differs(const tg_report_run *runs, size_t count, size_t setting) {
  bool matters = false, differ = false;
  for (size_t i = 0; i < count; i++) {
    matters |= tg_report_matters(&runs[i], setting);
    differ |= strcmp(runs[i].setting[setting], runs[0].setting[setting]) != 0;
  }
  return matters && differ;
}

/* Settings, by their names in the configuration, that are not the same in all runs. */
static void differing(const sheet *s, const tg_report_run *runs, size_t count) {
  fprintf(s->out, "<tr class=\"part\"><th colspan=\"%zu\">Settings that differ</th></tr>\n",
          count + 1);
  for (size_t k = 0; k < tg_report_setting_count(); k++) {
    if (!differs(s->set->run, s->set->runs, k)) continue;
    fprintf(s->out, "<tr><th scope=\"row\"><code>%s</code></th>", tg_report_setting_name(k));
    for (size_t i = 0; i < count; i++) {
      fputs("<td>", s->out);
      text_or_dash(s->out, runs[i].setting[k]);
      fputs("</td>", s->out);
    }
    fputs("</tr>\n", s->out);
  }
}

void tg_report_tables(FILE *out, const tg_report_set *set) {
  sheet s = {out, set};
  size_t count = set->runs;
  if (count > OPEN) fprintf(out, "<details><summary>All %zu runs</summary>\n", count);
  for (size_t lo = 0; lo < count; lo += COLUMNS) {
    const tg_report_run *runs = set->run + lo;
    size_t columns = count - lo < COLUMNS ? count - lo : COLUMNS;
    fprintf(
        out,
        "<div class=\"wide\"><table class=\"runs\" style=\"min-width:%zupx;max-width:%zupx\">\n",
        180 + 110 * columns, 260 + 300 * columns);
    head(out, set, runs, columns);
    fputs("<tbody>\n", out);
    for (size_t i = 0; i < ROWS; i++)
      if (is_wanted(&s, &rows[i])) write_row(&s, &rows[i], runs, columns);
    if (count > 1) differing(&s, runs, columns);
    fputs("</tbody></table></div>\n", out);
  }
  if (count > OPEN) fputs("</details>\n", out);
}
