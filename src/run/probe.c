/* probe.c - from a run's checkpoints through an asynchronous server, measuring late gradients. */
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "run/checkpoint_parts.h"
#include "run/setup.h"
#include "run/weights.h"
#include "tardigrad/arena.h"
#include "tardigrad/log.h"
#include "tardigrad/probe.h"
#include "tardigrad/run.h"

/* Rounds before the first measurement, so that delays and the mean square are what they stay. */
enum { ROUNDS_BEFORE = 4, POWER_ITERATIONS = 12, DEFAULT_WORKERS = 8, SMALL_WITH_STATISTICS = 8 };

/* What the gradients of one checkpoint came to: means over pushes. */
typedef struct summary {
  uint64_t update;
  double epoch, lr, delay, sharpness;
  tg_fidelity mean;
} summary;

typedef struct probing {
  tg_folder folder;
  tg_config *config;
  tg_setup setup;
  tg_net *net, *small;
  tg_fidelity_options fidelity;
  float *w, *b, *g, *mean_square; /* mean_square [workers][n]: dc-asgd-a's */
  uint64_t *updates;
  size_t count; /* checkpoints, the newest first */
} probing;

/* ---- beginning ---- */

static tg_status replace(char **text, const char *with) {
  char *copy = strdup(with);
  if (!copy) TG_FAIL(TG_ERUNTIME, "no memory");
  free(*text);
  *text = copy;
  return TG_OK;
}

/* The run as one process of virtual workers, under its own rule where that repairs gradients. */
static tg_status read_run(probing *p, const char *run, const char *const *assignments, int count) {
  const tg_rule *rule;
  uint32_t workers, *records;
  uint64_t seed;
  size_t count_of;
  TG_TRY(tg_folder_named(run, &p->folder));
  TG_TRY(tg_config_load(p->folder.config, assignments, count, &p->config));
  tg_config *c = p->config;
  TG_TRY(tg_rule_find(c->sync_rule, &rule));
  if (c->probe_workers > 0) {
    workers = (uint32_t)c->probe_workers;
  } else if (rule->scheme == TG_SCHEME_ASYNC) {
    TG_TRY(tg_trace_read(p->folder.trace, &workers, &seed, &records, NULL, &count_of));
    free(records);
    if (workers < 2) workers = DEFAULT_WORKERS;
  } else {
    workers = DEFAULT_WORKERS;
  }
  c->sim_workers = workers;
  TG_TRY(replace(&c->transport_name, "sim"));
  TG_TRY(replace(&c->sim_order, "round_robin"));
  return rule->compensate ? TG_OK : replace(&c->sync_rule, "asgd");
}

/* sync.lambda belongs to the run's rule; the other one gets its own default. */
static double lambda_of(const probing *p, const char *name) {
  const tg_rule *rule = NULL;
  if (strcmp(p->config->sync_rule, name) == 0 && !isnan(p->config->sync_lambda))
    return p->config->sync_lambda;
  return tg_rule_find(name, &rule) == TG_OK ? rule->default_lambda : 0;
}

static tg_status make_nets(probing *p) {
  tg_net_options options = tg_setup_net(&p->setup);
  options.evaluate = options.device_vectors = false;
  TG_TRY(tg_net_create(p->config, &options, &p->net));
  options.workers = 1;
  /* One sample has no batch statistics. */
  options.batch = p->setup.outline->graph->k ? SMALL_WITH_STATISTICS : 1;
  return tg_net_create(p->config, &options, &p->small);
}

static tg_status prepare(probing *p) {
  if (strcmp(p->config->sync_compensation, "paths") == 0)
    TG_FAIL(TG_ECONFIG,
            "probe: sync.compensation=paths: what is measured is compensations of weights: add "
            "sync.compensation=weights");
  TG_TRY(tg_setup_create(p->config, 1, &p->setup));
  const tg_graph *graph = p->setup.outline->graph;
  const tg_config *c = p->config;
  size_t n = graph->n;
  TG_TRY(make_nets(p));
  p->w = tg_alloc_aligned(n * sizeof(float));
  p->b = tg_alloc_aligned(graph->k * sizeof(float));
  p->g = tg_alloc_aligned(n * sizeof(float));
  p->mean_square = tg_alloc_aligned(n * p->setup.workers * sizeof(float));
  if (!p->w || !p->b || !p->g || !p->mean_square)
    TG_FAIL(TG_ERUNTIME, "no memory for %u workers of %zu parameters", p->setup.workers, n);
  p->fidelity = (tg_fidelity_options){.compute = tg_net_compute(p->net),
                                      .small = tg_net_compute(p->small),
                                      .samples = (uint32_t)c->probe_samples,
                                      .vectors = (uint32_t)c->probe_vectors,
                                      .lambda = lambda_of(p, "dc-asgd-c"),
                                      .adaptive_lambda = lambda_of(p, "dc-asgd-a"),
                                      .epsilon = c->sync_epsilon,
                                      .seed = (uint64_t)c->run_seed};
  return tg_updates_list(p->folder.run, &p->updates, &p->count);
}

static tg_status load(probing *p, uint64_t update, summary *s) {
  char path[TG_CKPT_PATH];
  tg_ckpt_content content = {0};
  snprintf(path, sizeof path, "%s/checkpoints/%llu", p->folder.run, (unsigned long long)update);
  TG_TRY(tg_weight_arrays(p->setup.outline->graph, p->w, p->b, &content.weights,
                          &content.weight_count));
  tg_status status = tg_checkpoint_load(path, &content);
  free(content.weights);
  *s = (summary){.update = update, .epoch = content.epoch};
  return status;
}

/* ---- one checkpoint ---- */

static void add(tg_fidelity *mean, const tg_fidelity *x, double share) {
  mean->distance += share * x->distance;
  mean->gradient += share * x->gradient;
  mean->change += share * x->change;
  for (int i = 0; i < TG_CURVES; i++) {
    mean->of[i].scale += share * x->of[i].scale;
    mean->of[i].residual += share * x->of[i].residual;
    mean->of[i].ratio += share * x->of[i].ratio;
    mean->of[i].best_scale += share * x->of[i].best_scale;
    mean->of[i].best_residual += share * x->of[i].best_residual;
  }
}

/* One gradient, measured if it is its turn, and applied. */
static tg_status push(probing *p, tg_server *server, uint32_t m, uint64_t first_step, bool measures,
                      summary *s) {
  tg_compute *c = p->fidelity.compute;
  tg_server_state now = tg_server_state_of(server);
  const float *w_bak = tg_server_weights(server, m);
  float *mean_square = p->mean_square + m * c->n;
  const float keep = (float)p->config->sync_mean_square_decay;
  uint64_t step = first_step + now.step[m];
  tg_msg in = {.kind = TG_MSG_PUSH, .worker = m, .samples = c->batch, .version = now.version[m]};
  tg_msg reply;
  tg_server_event event;
  in.step = now.step[m] - 1;
  TG_TRY(c->gradient(c, m, step, w_bak, &in.loss_sum, &in.correct));
  memcpy(p->g, c->g, c->n * sizeof *c->g);
  for (size_t i = 0; i < c->n; i++)
    mean_square[i] = keep * mean_square[i] + (1 - keep) * p->g[i] * p->g[i];
  if (measures) {
    tg_fidelity f;
    TG_TRY(tg_fidelity_measure(&p->fidelity, m, step, w_bak, now.w, p->g, mean_square, &f));
    double share = 1.0 / (double)p->config->probe_pushes;
    add(&s->mean, &f, share);
    s->delay += share * (double)(now.update - now.version[m]);
  }
  return tg_server_step(server, &in, p->g, NULL, &reply, &event);
}

static tg_server_options server_options(const probing *p, summary *s) {
  tg_server_options o = tg_setup_server(&p->setup);
  double share = (double)p->setup.batch / p->setup.outline->train_count;
  s->lr = tg_schedule_lr(&o.schedule, s->epoch, s->epoch + share);
  o.schedule = (tg_schedule){.lr = s->lr};
  o.epochs = 1e6;
  o.eval_every = o.checkpoint_every = 0;
  return o;
}

static tg_status probe_one(probing *p, uint64_t update, summary *s) {
  tg_server *server = NULL;
  TG_TRY(load(p, update, s));
  uint32_t workers = p->setup.workers, pushes = (uint32_t)p->config->probe_pushes;
  tg_server_options options = server_options(p, s);
  uint64_t first_step = update / workers;
  memset(p->mean_square, 0, p->setup.outline->graph->n * workers * sizeof(float));
  TG_TRY(tg_server_create(&options, p->w, p->b, &server));
  tg_status status = TG_OK;
  for (uint32_t i = 0; i < ROUNDS_BEFORE * workers + pushes; i++)
    TG_DO(push(p, server, i % workers, first_step, i >= ROUNDS_BEFORE * workers, s));
  TG_DO(tg_fidelity_sharpness(&p->fidelity, 0, first_step, tg_server_state_of(server).w,
                              POWER_ITERATIONS, &s->sharpness));
done:
  tg_server_destroy(server);
  return status;
}

/* ---- what is printed ---- */

static void print_json(const summary *s, FILE *out) {
  fprintf(out,
          "{\"update\": %llu, \"epoch\": %.9g, \"lr\": %.9g, \"delay\": %.9g, \"sharpness\": %.9g, "
          "\"distance\": %.9g, \"gradient\": %.9g, \"change\": %.9g, \"curvatures\": [",
          (unsigned long long)s->update, s->epoch, s->lr, s->delay, s->sharpness, s->mean.distance,
          s->mean.gradient, s->mean.change);
  for (tg_curve i = 0; i < TG_CURVES; i++)
    fprintf(out,
            "%s{\"curvature\": \"%s\", \"scale\": %.9g, \"residual\": %.9g, \"ratio\": %.9g, "
            "\"best_scale\": %.9g, \"best_residual\": %.9g}",
            i ? ", " : "", tg_curve_name(i), s->mean.of[i].scale, s->mean.of[i].residual,
            s->mean.of[i].ratio, s->mean.of[i].best_scale, s->mean.of[i].best_residual);
  fprintf(out, "]}\n");
}

static void print_text(const summary *s, FILE *out) {
  uint64_t delay = (uint64_t)llround(s->delay);
  fprintf(out,
          "\nupdate %llu, epoch %.2f: lr %g, delay %g; |w - w_bak| %.3g, |g| %.3g, |g' - g| %.3g "
          "(%.2g of |g|)\n",
          (unsigned long long)s->update, s->epoch, s->lr, s->delay, s->mean.distance,
          s->mean.gradient, s->mean.change, s->mean.change / s->mean.gradient);
  fprintf(out,
          "lr x sharpness %.3g; on a quadratic stable up to %.3g as it is, up to 2 with the exact "
          "Hessian\n",
          s->lr * s->sharpness, tg_stable_rate(delay, false));
  fprintf(out, "%-30s %10s %9s %9s   %10s %9s\n", "correction", "scale", "residual", "ratio r",
          "best scale", "residual");
  for (tg_curve i = 0; i < TG_CURVES; i++)
    fprintf(out, "%-30s %10.4g %9.4f %9.2g   %10.4g %9.4f\n", tg_curve_name(i), s->mean.of[i].scale,
            s->mean.of[i].residual, s->mean.of[i].ratio, s->mean.of[i].best_scale,
            s->mean.of[i].best_residual);
}

/* In words, of the rule that the run has or would have. */
static void print_verdict(const summary *s, tg_curve curve, const char *rule, FILE *out) {
  double left = s->mean.of[curve].residual, best = s->mean.of[curve].best_residual;
  if (!(s->mean.change > 0)) {
    fprintf(out, "%s: nothing was late\n", rule);
    return;
  }
  fprintf(out, "%s at lambda %g: ", rule, s->mean.of[curve].scale);
  if (left > 1.01)
    fprintf(out, "makes late gradients worse (%.2f of their error is left)", left);
  else if (left > 0.99)
    fprintf(out, "cannot help: %.1f %% of the delay's error is left", 100 * left);
  else
    fprintf(out, "takes %.1f %% of the delay's error away", 100 * (1 - left));
  fprintf(out, "; the best lambda would be %.3g and leave %.1f %%\n", s->mean.of[curve].best_scale,
          100 * best);
}

/* The updates on the way to the first measurement blew up: that is an answer too. */
static void print_diverged(const summary *s, bool json, FILE *out) {
  fprintf(out,
          json ? "{\"update\": %llu, \"epoch\": %.9g, \"lr\": %.9g, \"diverged\": true}\n"
               : "\nupdate %llu, epoch %.2f: training itself diverges from here at lr %g and this "
                 "delay\n",
          (unsigned long long)s->update, s->epoch, s->lr);
}

static tg_status print_stable(FILE *out) {
  static const uint64_t delays[] = {0, 1, 3, 7};
  fprintf(out, "\nlargest stable lr x curvature on a scalar quadratic, found with this server "
               "(expected)\n");
  for (size_t i = 0; i < sizeof delays / sizeof *delays; i++) {
    double plain, exact;
    TG_TRY(tg_stable_rate_found(delays[i], false, &plain));
    TG_TRY(tg_stable_rate_found(delays[i], true, &exact));
    fprintf(out, "delay %llu: %.4f (%.4f); with the exact Hessian %.4f (%.4f)\n",
            (unsigned long long)delays[i], plain, tg_stable_rate(delays[i], false), exact,
            tg_stable_rate(delays[i], true));
  }
  return TG_OK;
}

static void print_head(const probing *p, FILE *out) {
  const tg_config *c = p->config;
  fprintf(out,
          "%s: %s, %zu parameters, batch %u; %s with %u workers in turn, optimizer %s\n"
          "g was computed at w_bak and is applied at w, g' is the same batch's gradient at w.\n"
          "residual = |g + scale C (w - w_bak) - g'| / |g' - g|: 1 is no correction, 0 is g'.\n",
          p->folder.run, c->model_name, p->setup.outline->graph->n, p->setup.batch, c->sync_rule,
          p->setup.workers, c->optimizer_name);
}

static tg_status probe(probing *p, bool json, FILE *out) {
  summary s = {0};
  if (p->count == 0) TG_FAIL(TG_ENOINPUT, "%s: no checkpoint", p->folder.run);
  if (!json) print_head(p, out);
  for (size_t i = p->count; i-- > 0;) {
    tg_status status = probe_one(p, p->updates[i], &s);
    if (status == TG_EDIVERGED) {
      print_diverged(&s, json, out);
      continue;
    }
    TG_TRY(status);
    (json ? print_json : print_text)(&s, out);
    if (json) continue;
    print_verdict(&s, TG_CURVE_DIAGONAL, "dc-asgd-c", out);
    print_verdict(&s, TG_CURVE_ADAPTIVE, "dc-asgd-a", out);
  }
  return json ? TG_OK : print_stable(out);
}

tg_status tg_probe(const char *run, const char *const *assignments, int count, bool json,
                   FILE *out) {
  probing p = {0};
  tg_world alone = {.size = 1, .local_size = 1};
  int threads;
  tg_status status = TG_OK;
  TG_DO(read_run(&p, run, assignments, count));
  p.config->run_threads = 0; /* of that run's ranks; here the machine is ours */
  TG_DO(tg_threads_of(p.config, &alone, &threads));
  omp_set_num_threads(threads);
  TG_DO(prepare(&p));
  TG_DO(probe(&p, json, out));
done:
  tg_net_destroy(p.net);
  tg_net_destroy(p.small);
  if (p.setup.config) tg_setup_destroy(&p.setup);
  tg_config_free(p.config);
  free(p.updates);
  free(p.w);
  free(p.b);
  free(p.g);
  free(p.mean_square);
  return status;
}
