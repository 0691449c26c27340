/* setup.c - from a configuration to the options of the floors below. */
#include "run/setup.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tardigrad/arena.h"

static bool is(const char *a, const char *b) {
  return strcmp(a, b) == 0;
}

static bool owns_weights(const tg_setup *s) {
  return s->rule->scheme == TG_SCHEME_OWN || s->rule->scheme == TG_SCHEME_GOSSIP;
}

bool tg_setup_records(const tg_setup *s) {
  return s->rule->scheme == TG_SCHEME_ASYNC || s->rule->scheme == TG_SCHEME_GOSSIP;
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

static tg_status count_batch(tg_setup *s) {
  const tg_config *c = s->config;
  s->batch = (uint32_t)c->train_batch;
  if (s->rule->scheme != TG_SCHEME_SYNC || !is(c->sync_average, "fixed")) return TG_OK;
  if (s->batch % s->workers != 0)
    TG_FAIL(TG_ECONFIG, "sync.average=fixed: train.batch=%u is not a multiple of %u workers",
            s->batch, s->workers);
  s->batch /= s->workers;
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
  if (!owns_weights(s)) return TG_OK;
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

static tg_status read_order(tg_setup *s) {
  const tg_config *c = s->config;
  bool sim = is(c->transport_name, "sim") && tg_setup_records(s);
  if (!sim || !is(c->sim_order, "trace")) return TG_OK;
  uint32_t workers;
  uint64_t seed;
  TG_TRY(tg_trace_read(c->sim_trace, &workers, &seed, &s->records, NULL, &s->record_count));
  if (workers != s->workers)
    TG_FAIL(TG_ECONFIG, "sim.trace=%s is of %u workers, sim.workers is %u", c->sim_trace, workers,
            s->workers);
  return TG_OK;
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
}

tg_status tg_setup_create(const tg_config *c, int ranks, tg_setup *s) {
  *s = (tg_setup){.config = c, .processes = ranks};
  TG_TRY(tg_rule_find(c->sync_rule, &s->rule));
  TG_TRY(tg_optimizer_find(c->optimizer_name, &s->optimizer));
  TG_TRY(tg_transport_find(c->transport_name, &s->transport));
  TG_TRY(check_own(s));
  TG_TRY(count_workers(s, ranks));
  TG_TRY(count_batch(s));
  TG_TRY(read_order(s));
  TG_TRY(tg_outline_create(c, s->batch, &s->outline));
  if (s->batch > s->outline->train_count / s->workers)
    TG_FAIL(TG_ECONFIG, "train.batch=%u is more than a worker's part of %u samples by %u workers",
            s->batch, s->outline->train_count, s->workers);
  return TG_OK;
}

/* ---- options ---- */

static tg_schedule schedule_of(const tg_setup *s) {
  const tg_config *c = s->config;
  bool scaled = s->rule->scheme == TG_SCHEME_SYNC && is(c->sync_average, "scaled");
  /* Scaled by the number of workers, the rate starts where one worker's would (Goyal et al. 2017).
   */
  double start = scaled ? 1.0 / s->workers : 0.0;
  return (tg_schedule){.lr = scaled ? c->optimizer_lr * s->workers : c->optimizer_lr,
                       .steps = c->optimizer_schedule.item,
                       .count = c->optimizer_schedule.count,
                       .warmup_epochs = c->optimizer_warmup_epochs,
                       .warmup_start =
                           isnan(c->optimizer_warmup_start) ? start : c->optimizer_warmup_start};
}

static tg_hyper hyper_of(const tg_setup *s) {
  const tg_config *c = s->config;
  return (tg_hyper){.lambda =
                        isnan(c->sync_lambda) ? s->rule->default_lambda : (float)c->sync_lambda,
                    .mean_square_decay = (float)c->sync_mean_square_decay,
                    .epsilon = (float)c->sync_epsilon,
                    .cap = (float)c->sync_cap,
                    .momentum = (float)c->optimizer_momentum,
                    .weight_decay = (float)c->optimizer_weight_decay};
}

tg_server_options tg_setup_server(const tg_setup *s) {
  const tg_config *c = s->config;
  const tg_graph *g = s->outline->graph;
  return (tg_server_options){.rule = s->rule,
                             .optimizer = s->optimizer,
                             .schedule = schedule_of(s),
                             .hyper = hyper_of(s),
                             .workers = s->workers,
                             .global_state = is(c->sync_mean_square, "global"),
                             .n = g->n,
                             .k = g->k,
                             .ks = g->ks,
                             .folds = s->outline->folds,
                             .fold_count = s->outline->fold_count,
                             .batch = s->batch,
                             .train_count = s->outline->train_count,
                             .epochs = c->train_epochs,
                             .eval_every = c->train_eval_every,
                             .checkpoint_every = c->checkpoint_every,
                             .max_nonfinite = (uint64_t)c->train_max_nonfinite};
}

tg_worker_options tg_setup_worker(const tg_setup *s) {
  return (tg_worker_options){.clip_norm = s->config->sync_clip_norm,
                             .chaos_nan_at = (uint64_t)s->config->chaos_nan_gradient_at};
}

tg_sync_options tg_setup_sync(const tg_setup *s) {
  const tg_config *c = s->config;
  const tg_graph *g = s->outline->graph;
  return (tg_sync_options){.rule = s->rule,
                           .optimizer = s->optimizer,
                           .schedule = schedule_of(s),
                           .hyper = hyper_of(s),
                           .workers = s->workers,
                           .n = g->n,
                           .k = g->k,
                           .ks = g->ks,
                           .folds = s->outline->folds,
                           .fold_count = s->outline->fold_count,
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
  return s->processes == 1 && !owns_weights(s) &&
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
                          .split = TG_TEST,
                          .piece = (size_t)s->config->run_piece_bytes / sizeof(float),
                          .device_vectors = tg_setup_shares_device(s)};
}
