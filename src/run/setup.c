/* setup.c - from a configuration to the options of the floors below. */
#include "run/setup.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tardigrad/arena.h"

static bool is(const char *a, const char *b) {
  return strcmp(a, b) == 0;
}

/* ---- who takes part ---- */

static tg_status count_workers(tg_setup *s, int ranks) {
  const tg_config *c = s->config;
  const char *rule = s->rule->name;
  if (s->rule->scheme == TG_SCHEME_LOCAL) {
    if (ranks > 1)
      TG_FAIL(TG_ECONFIG, "sync.rule=%s trains in one process, not in %d: choose ssgd or asgd",
              rule, ranks);
    s->workers = 1;
  } else if (is(c->transport_name, "sim")) {
    if (ranks > 1)
      TG_FAIL(
          TG_ECONFIG,
          "transport.name=sim simulates its workers in one process, not in %d: start it without "
          "mpirun",
          ranks);
    s->workers = (uint32_t)c->sim_workers;
  } else {
    if (ranks < 2)
      TG_FAIL(TG_ECONFIG,
              "sync.rule=%s needs a server and workers: start it with mpirun -n WORKERS+1, or set "
              "transport.name=sim",
              rule);
    s->workers = (uint32_t)ranks - 1;
  }
  if (s->workers >= 1u << 24)
    TG_FAIL(TG_ECONFIG, "%u workers: more than a trace holds", s->workers);
  return TG_OK;
}

static bool averages(const tg_setup *s) {
  return s->rule->scheme == TG_SCHEME_SYNC || s->rule->gathers;
}

static tg_status count_gradients(tg_setup *s) {
  const tg_config *c = s->config;
  bool in_step = s->rule->scheme == TG_SCHEME_SYNC || s->rule->scheme == TG_SCHEME_OWN;
  s->gradients = in_step ? s->workers : 1;
  if (!s->rule->gathers) return TG_OK;
  const tg_hyper h = {.backup_workers = (uint32_t)c->sync_backup_workers};
  s->gradients = s->rule->gathers(&h, s->workers);
  if (s->gradients == 0)
    TG_FAIL(TG_ECONFIG,
            "sync.backup_workers=%lld: of %u workers at least one must not be a backup: choose 0 "
            "to %u",
            (long long)c->sync_backup_workers, s->workers, s->workers - 1);
  return TG_OK;
}

static tg_status count_batch(tg_setup *s) {
  const tg_config *c = s->config;
  s->batch = (uint32_t)c->train_batch;
  if (!averages(s) || !is(c->sync_average, "fixed")) return TG_OK;
  if (s->batch % s->gradients != 0)
    TG_FAIL(TG_ECONFIG, "sync.average=fixed: train.batch=%u is not a multiple of %u %s", s->batch,
            s->gradients, s->rule->gathers ? "gradients of an update" : "workers");
  s->batch /= s->gradients;
  return TG_OK;
}

static tg_status count_exchange(tg_setup *s) {
  const tg_config *c = s->config;
  uint64_t samples = s->batch * (s->rule->local_steps ? (uint64_t)c->sync_local_steps : 1);
  if (samples > UINT32_MAX)
    TG_FAIL(TG_ECONFIG, "sync.local_steps=%lld of train.batch=%u are %llu samples: more than %u",
            (long long)c->sync_local_steps, s->batch, (unsigned long long)samples, UINT32_MAX);
  s->exchange = (uint32_t)samples;
  return TG_OK;
}

/* post-local-sgd: the epoch from which on rounds are longer than one update. */
static double local_after(const tg_config *c) {
  bool scheduled = isnan(c->sync_local_after) && c->optimizer_schedule.count > 0;
  return scheduled ? c->optimizer_schedule.item[0].epoch : c->sync_local_after;
}

/* What a scheme in which workers hold weights of their own cannot do with the keys. */
static tg_status check_own(const tg_setup *s) {
  const tg_config *c = s->config;
  const char *rule = s->rule->name;
  if (!tg_rule_owns_weights(s->rule)) return TG_OK;
  if (s->optimizer.whole)
    TG_FAIL(TG_ECONFIG,
            "sync.rule=%s does not go with optimizer.name=%s, which looks at whole tensors", rule,
            s->optimizer.name);
  if (!is(c->sync_average, "mean"))
    TG_FAIL(TG_ECONFIG,
            "sync.average=%s: sync.rule=%s averages weights, not gradients: mean is what it does",
            c->sync_average, rule);
  if (is(rule, "post-local-sgd") && isnan(local_after(c)))
    TG_FAIL(TG_ECONFIG,
            "sync.local_after is not set and optimizer.schedule is empty: post-local-sgd needs the "
            "epoch from which on workers make sync.local_steps updates between exchanges");
  if (s->processes == 1 && !is(c->server_device, "auto") && !is(c->server_device, "cpu"))
    TG_FAIL(TG_ECONFIG, "server.device=%s: sync.rule=%s keeps weights in host memory: auto or cpu",
            c->server_device, rule);
  return TG_OK;
}

static tg_status check_paths(const tg_setup *s) {
  const tg_config *c = s->config;
  if (s->optimizer.path_step) return tg_paths_check(s->outline->paths, c->model_name);
  if (is(c->sync_compensation, "paths"))
    TG_FAIL(TG_ECONFIG,
            "sync.compensation=paths: optimizer.name=%s works on weights: gsgd and its kin work on "
            "paths",
            s->optimizer.name);
  return TG_OK;
}

/* Skeletons of Path-BN are 0 as long as weights without a gradient stay where they are. */
static tg_status check_norm(const tg_setup *s) {
  if (s->outline->model.norm != TG_NORM_PATH) return TG_OK;
  if (s->optimizer.mixes)
    TG_FAIL(TG_ECONFIG,
            "model.norm=path: optimizer.name=%s moves weights that have no gradient: any other "
            "leaves them 0",
            s->optimizer.name);
  if (s->codec->vote)
    TG_FAIL(TG_ECONFIG,
            "model.norm=path: sync.codec=%s has no sign for weights that have no gradient, and "
            "moves them: any other codec leaves them 0",
            s->codec->name);
  return TG_OK;
}

static tg_status read_order(tg_setup *s) {
  const tg_config *c = s->config;
  bool sim = is(c->transport_name, "sim") && tg_rule_is_recorded(s->rule);
  if (!is(c->transport_name, "sim") || !is(c->sim_order, "trace")) return TG_OK;
  if (!sim)
    TG_FAIL(TG_ECONFIG, "sim.order=trace: sync.rule=%s leaves no order to chance", s->rule->name);
  uint32_t workers;
  uint64_t seed;
  TG_TRY(tg_trace_read(c->sim_trace, &workers, &seed, &s->records, NULL, &s->record_count));
  if (workers != s->workers)
    TG_FAIL(TG_ECONFIG, "sim.trace=%s is of %u workers, sim.workers is %u", c->sim_trace, workers,
            s->workers);
  return TG_OK;
}

tg_status tg_setup_codec(const tg_config *c, const tg_rule *rule, const tg_codec **out) {
  const char *name = c->sync_codec;
  if (is(name, "auto")) name = rule->votes ? "signsgd" : "none";
  TG_TRY(tg_codec_find(name, out));
  if (rule->votes && !(*out)->vote)
    TG_FAIL(TG_ECONFIG, "sync.codec=%s: sync.rule=%s counts signs: sync.codec=signsgd, or auto",
            name, rule->name);
  bool weights = rule->local_steps || tg_rule_owns_weights(rule);
  if ((*out)->encode && weights)
    TG_FAIL(TG_ECONFIG,
            "sync.codec=%s: workers of sync.rule=%s send weights: codecs are for gradients", name,
            rule->name);
  /* A worker's last gradient is the place of its iterate: what is sent later is no part of it. */
  if ((*out)->vectors && rule->starts_at_w0)
    TG_FAIL(TG_ECONFIG, "sync.codec=%s: sync.rule=%s wants whole gradients: none or qsgd", name,
            rule->name);
  if ((*out)->encode && rule->scheme == TG_SCHEME_LOCAL)
    TG_FAIL(TG_ECONFIG, "sync.codec=%s: sync.rule=%s sends nothing that could be encoded", name,
            rule->name);
  return TG_OK;
}

tg_codec_options tg_setup_codec_options(const tg_config *c, size_t n, double epochs_per_step) {
  return (tg_codec_options){.n = n,
                            .seed = (uint64_t)c->run_seed,
                            .momentum = (float)c->sync_codec_momentum,
                            .levels = (uint32_t)c->sync_codec_levels,
                            .bucket = (size_t)c->sync_codec_bucket,
                            .alpha = (float)c->sync_codec_alpha,
                            .beta = (float)c->sync_codec_beta,
                            .fraction = c->sync_codec_fraction,
                            .masking = c->sync_codec_masking,
                            .warmup_epochs = c->sync_codec_warmup_epochs,
                            .epochs_per_step = epochs_per_step};
}

tg_status tg_setup_coder(tg_setup *s, uint32_t first, uint32_t count) {
  if (!s->codec->encode) return TG_OK;
  double samples = (double)s->batch * s->workers;
  tg_codec_options options =
      tg_setup_codec_options(s->config, s->outline->graph->n, samples / s->outline->train_count);
  return tg_coder_create(s->codec, &options, first, count, &s->coder);
}

tg_status tg_setup_weights(tg_setup *s) {
  const tg_graph *g = s->outline->graph;
  s->w0 = tg_alloc_aligned(g->n * sizeof(float));
  s->b0 = tg_alloc_aligned(g->k * sizeof(float));
  if (!s->w0 || !s->b0) TG_FAIL(TG_ERUNTIME, "no memory for %zu parameters", g->n);
  return tg_outline_initial(s->outline, s->config, s->w0, s->b0);
}

void tg_setup_forget(tg_setup *s) {
  free(s->w0);
  free(s->b0);
  s->w0 = s->b0 = NULL;
}

void tg_setup_destroy(tg_setup *s) {
  tg_outline_destroy(s->outline);
  tg_setup_forget(s);
  free(s->records);
  tg_coder_destroy(s->coder);
}

tg_status tg_setup_create(const tg_config *c, int ranks, tg_setup *s) {
  *s = (tg_setup){.config = c, .processes = ranks};
  TG_TRY(tg_rule_find(c->sync_rule, &s->rule));
  TG_TRY(tg_optimizer_make(c->optimizer_name, c->optimizer_inner, &s->optimizer));
  if (s->optimizer.inner && c->optimizer_alpha > 1)
    TG_FAIL(TG_ECONFIG, "optimizer.alpha=%g: %s wants 0 to 1", c->optimizer_alpha,
            s->optimizer.name);
  TG_TRY(tg_transport_find(c->transport_name, &s->transport));
  TG_TRY(tg_rule_check(s->rule, s->optimizer.name, s->optimizer.whole));
  TG_TRY(tg_setup_codec(c, s->rule, &s->codec));
  TG_TRY(check_own(s));
  TG_TRY(count_workers(s, ranks));
  TG_TRY(count_gradients(s));
  TG_TRY(count_batch(s));
  TG_TRY(count_exchange(s));
  TG_TRY(read_order(s));
  TG_TRY(tg_outline_create(c, s->batch, &s->outline));
  TG_TRY(check_paths(s));
  TG_TRY(check_norm(s));
  if (s->batch > s->outline->train_count / s->workers)
    TG_FAIL(TG_ECONFIG, "train.batch=%u is more than a worker's part of %u samples by %u workers",
            s->batch, s->outline->train_count, s->workers);
  return TG_OK;
}

/* ---- options ---- */

static tg_schedule schedule_of(const tg_setup *s) {
  const tg_config *c = s->config;
  bool scaled = averages(s) && is(c->sync_average, "scaled");
  /* Scaled by the number of gradients, the rate starts where one worker's would (Goyal et al.
   * 2017). */
  double start = scaled ? 1.0 / s->gradients : 0.0;
  return (tg_schedule){.lr = scaled ? c->optimizer_lr * s->gradients : c->optimizer_lr,
                       .steps = c->optimizer_schedule.item,
                       .count = c->optimizer_schedule.count,
                       .warmup_epochs = c->optimizer_warmup_epochs,
                       .warmup_start =
                           isnan(c->optimizer_warmup_start) ? start : c->optimizer_warmup_start};
}

tg_optimizer_keys tg_setup_keys(const tg_config *c, const tg_optimizer *optimizer) {
  const tg_optimizer_keys set = {.beta1 = c->optimizer_beta1,
                                 .beta2 = c->optimizer_beta2,
                                 .beta3 = c->optimizer_beta3,
                                 .alpha = c->optimizer_alpha,
                                 .epsilon = c->optimizer_epsilon,
                                 .trust = c->optimizer_trust,
                                 .alpha_updates = (uint64_t)c->optimizer_alpha_warmup,
                                 .beta3_updates = (uint64_t)c->optimizer_beta3_warmup,
                                 .k = (uint64_t)c->optimizer_k,
                                 .path_clamp = c->optimizer_gsgd_clamp,
                                 .path_norm = is(c->optimizer_gsgd_norm, "published"),
                                 .path_compensate = is(c->sync_compensation, "paths"),
                                 .shampoo_every = (uint64_t)c->optimizer_shampoo_every,
                                 .shampoo_limit = (uint64_t)c->optimizer_shampoo_limit};
  return tg_optimizer_keys_of(optimizer, &set);
}

/* Updates of the run, for schedules that say nothing else. */
static uint64_t updates_of(const tg_setup *s) {
  /* In ad-psgd each worker's optimiser counts its own. */
  uint32_t apart = s->rule->scheme == TG_SCHEME_GOSSIP ? s->workers : 1;
  uint64_t samples = (uint64_t)s->exchange * s->gradients * apart;
  return tg_progress_updates(s->config->train_epochs, s->outline->train_count, samples);
}

static tg_optimizer_keys keys_of(const tg_setup *s) {
  tg_optimizer_keys keys = tg_setup_keys(s->config, &s->optimizer);
  if (!keys.alpha_updates) keys.alpha_updates = updates_of(s);
  if (!keys.beta3_updates) keys.beta3_updates = updates_of(s);
  return keys;
}

static tg_hyper hyper_of(const tg_setup *s) {
  const tg_config *c = s->config;
  int64_t bound = c->sync_staleness_bound, threshold = c->sync_delay_threshold;
  return (tg_hyper){
      .lambda = isnan(c->sync_lambda) ? s->rule->default_lambda : (float)c->sync_lambda,
      .mean_square_decay = (float)c->sync_mean_square_decay,
      .epsilon = (float)c->sync_epsilon,
      .cap = (float)c->sync_cap,
      .momentum = (float)c->optimizer_momentum,
      .weight_decay = (float)c->optimizer_weight_decay,
      .step_decay = (float)c->sync_step_decay,
      .prediction_steps = isnan(c->sync_prediction_steps) ? (float)(s->workers - 1)
                                                          : (float)c->sync_prediction_steps,
      .elasticity =
          isnan(c->sync_elasticity) ? 0.9f / (float)s->workers : (float)c->sync_elasticity,
      .workers = (float)s->workers,
      .staleness_bound = bound < 0 ? UINT64_MAX : (uint64_t)bound,
      .delay_threshold = threshold ? (uint64_t)threshold : 2 * (uint64_t)s->workers,
      .backup_workers = (uint32_t)c->sync_backup_workers,
      .keys = keys_of(s)};
}

tg_server_options tg_setup_server(const tg_setup *s) {
  const tg_config *c = s->config;
  const tg_graph *g = s->outline->graph;
  return (tg_server_options){.rule = s->rule,
                             .optimizer = &s->optimizer,
                             .schedule = schedule_of(s),
                             .hyper = hyper_of(s),
                             .workers = s->workers,
                             .global_state = is(c->sync_mean_square, "global"),
                             .n = g->n,
                             .k = g->k,
                             .ks = g->ks,
                             .folds = s->outline->folds,
                             .fold_count = s->outline->fold_count,
                             .layout = s->outline->layout,
                             .batch = s->exchange,
                             .train_count = s->outline->train_count,
                             .epochs = c->train_epochs,
                             .eval_every = c->train_eval_every,
                             .checkpoint_every = c->checkpoint_every,
                             .max_nonfinite = (uint64_t)c->train_max_nonfinite};
}

tg_worker_options tg_setup_worker(const tg_setup *s) {
  const tg_config *c = s->config;
  return (tg_worker_options){.clip_norm = c->sync_clip_norm,
                             .local_steps =
                                 s->rule->local_steps ? (uint32_t)c->sync_local_steps : 0,
                             .weight_decay = c->optimizer_weight_decay,
                             .chaos_nan_at = (uint64_t)c->chaos_nan_gradient_at,
                             .coder = s->coder};
}

tg_sync_options tg_setup_sync(const tg_setup *s) {
  const tg_config *c = s->config;
  const tg_graph *g = s->outline->graph;
  return (tg_sync_options){.rule = s->rule,
                           .optimizer = &s->optimizer,
                           .schedule = schedule_of(s),
                           .hyper = hyper_of(s),
                           .workers = s->workers,
                           .n = g->n,
                           .k = g->k,
                           .ks = g->ks,
                           .folds = s->outline->folds,
                           .fold_count = s->outline->fold_count,
                           .layout = s->outline->layout,
                           .batch = s->batch,
                           .train_count = s->outline->train_count,
                           .epochs = c->train_epochs,
                           .eval_every = c->train_eval_every,
                           .checkpoint_every = c->checkpoint_every,
                           .max_nonfinite = (uint64_t)c->train_max_nonfinite,
                           .worker = tg_setup_worker(s)};
}

static tg_topology topology_of(const tg_setup *s) {
  return is(s->config->sync_topology, "complete") ? TG_TOPOLOGY_COMPLETE : TG_TOPOLOGY_RING;
}

tg_local_options tg_setup_local(const tg_setup *s) {
  const tg_config *c = s->config;
  bool post = is(s->rule->name, "post-local-sgd");
  tg_mixing order =
      is(c->sync_mixing, "adapt_combine") ? TG_MIX_ADAPT_COMBINE : TG_MIX_COMBINE_ADAPT;
  return (tg_local_options){.step = tg_setup_sync(s),
                            .mixing = is(s->rule->name, "d-psgd") ? order : TG_MIX_AVERAGE,
                            .topology = topology_of(s),
                            .local_steps = (uint64_t)c->sync_local_steps,
                            .local_after = post ? local_after(c) : 0,
                            .local_growth = c->sync_local_growth};
}

tg_gossip_options tg_setup_gossip(const tg_setup *s, tg_trace *trace) {
  return (tg_gossip_options){.step = tg_setup_sync(s),
                             .topology = topology_of(s),
                             .seed = (uint64_t)s->config->run_seed,
                             .timeout_s = s->config->run_timeout_s,
                             .trace = trace,
                             .records = s->records,
                             .record_count = s->record_count};
}

/* Workers with weights of their own keep them in host memory. */
bool tg_setup_shares_device(const tg_setup *s) {
  const tg_config *c = s->config;
  /* Codecs read gradients in host memory. */
  return s->processes == 1 && !s->codec->encode && !tg_rule_owns_weights(s->rule) &&
         (is(c->server_device, "auto") || is(c->server_device, c->device_name));
}

static tg_sim_order order_of(const char *name) {
  if (is(name, "exponential")) return TG_ORDER_EXPONENTIAL;
  if (is(name, "lognormal")) return TG_ORDER_LOGNORMAL;
  return is(name, "trace") ? TG_ORDER_TRACE : TG_ORDER_ROUND_ROBIN;
}

tg_comm_options tg_setup_comm(const tg_setup *s, tg_trace *trace, tg_compute *compute) {
  const tg_config *c = s->config;
  const tg_graph *g = s->outline->graph;
  return (tg_comm_options){.workers = s->workers,
                           .n = g->n,
                           .k = g->k,
                           .ks = g->ks,
                           .piece = (size_t)c->run_piece_bytes / sizeof(float),
                           .share =
                               c->transport_shared_memory && s->rule->scheme == TG_SCHEME_ASYNC,
                           .whole = s->optimizer.whole != NULL,
                           .timeout_s = c->run_timeout_s,
                           .trace = trace,
                           .sim = {.order = order_of(c->sim_order),
                                   .seed = (uint64_t)c->sim_seed,
                                   .slow_workers = (uint32_t)c->sim_slow_workers,
                                   .slow_factor = c->sim_slow_factor,
                                   .compute_s = c->sim_compute_s,
                                   .sigma = c->sim_sigma,
                                   .records = s->records,
                                   .record_count = s->record_count},
                           .compute = compute,
                           .worker = tg_setup_worker(s)};
}

tg_net_options tg_setup_net(const tg_setup *s) {
  return (tg_net_options){.workers = s->workers,
                          .batch = s->batch,
                          .train = true,
                          .evaluate = true,
                          .split = tg_net_eval_split(s->config),
                          .piece = (size_t)s->config->run_piece_bytes / sizeof(float),
                          .device_vectors = tg_setup_shares_device(s)};
}
