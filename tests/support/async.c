#include "async.h"

#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "optimizers.h"
#include "tardigrad/arena.h"

async_options async_defaults(const char *rule, const char *optimizer, uint32_t workers, size_t n,
                             double updates) {
  bool moves = strcmp(rule, "easgd") == 0;
  return (async_options){
      .rule = rule,
      .optimizer = optimizer,
      .workers = workers,
      .updates = updates,
      .max_nonfinite = 1000,
      .staleness_bound = 2,
      .delay_threshold = workers,
      .backup_workers = workers > 1,
      .problem = {.n = n, .k = 5, .batch = ASYNC_BATCH, .noise = 0.5f},
      .comm = {.timeout_s = 60,
               .worker = {.local_steps = moves ? 3 : 0, .weight_decay = 1e-3},
               .sim = {.seed = 3, .compute_s = 1, .sigma = 0.3, .slow_factor = 1}},
  };
}

tg_status async_server_options(const async_options *o, tg_server_options *out) {
  static const tg_fold folds[] = {{.b_lo = 0, .s_lo = 0, .count = 2, .momentum = 0.1f},
                                  {.b_lo = 2, .s_lo = 2, .count = 3, .momentum = 0.3f}};
  static const tg_schedule_step steps[] = {{.epoch = 5, .factor = 0.5}};
  /* Small enough that dc-asgd-a with momentum stays stable when a busy machine starves a worker: a
   * gradient a hundred updates late is repaired by the whole way that the weights have gone. */
  const double lr = o->workers > 4 ? 0.02 / o->workers : 0.005;
  *out = (tg_server_options){
      .schedule = {.lr = o->lr > 0 ? o->lr : lr, .steps = steps, .count = 1, .warmup_epochs = 1},
      .hyper = {.mean_square_decay = 0.95f,
                .epsilon = 1e-7f,
                .momentum = 0.9f,
                .weight_decay = o->no_decay ? 0 : 1e-3f,
                .step_decay = 0.99f,
                .prediction_steps = (float)(o->workers - 1),
                .elasticity = 0.9f / (float)o->workers},
      .workers = o->workers,
      .global_state = o->global_state,
      .n = o->problem.n,
      .k = o->problem.k,
      .ks = o->problem.k,
      .folds = folds,
      .fold_count = o->problem.k == 5 ? 2 : 0,
      .batch = ASYNC_BATCH,
      .train_count = ASYNC_BATCH * ASYNC_EPOCH,
      .epochs = o->updates / ASYNC_EPOCH,
      .eval_every = o->eval_every / ASYNC_EPOCH,
      .checkpoint_every = o->checkpoint_every / ASYNC_EPOCH,
      .max_nonfinite = o->max_nonfinite};
  if (o->comm.worker.local_steps) {
    out->batch *= o->comm.worker.local_steps;
    out->train_count *= o->comm.worker.local_steps;
  }
  TG_TRY(tg_rule_find(o->rule, &out->rule));
  TG_TRY(tg_optimizer_find(o->optimizer, &out->optimizer));
  out->hyper.lambda = out->rule->default_lambda;
  out->hyper.keys = default_keys(out->optimizer);
  out->layout = any_layout(out->n);
  out->hyper.staleness_bound = o->staleness_bound;
  out->hyper.delay_threshold = o->delay_threshold;
  out->hyper.backup_workers = o->backup_workers;
  if (o->constant_lr > 0) {
    out->schedule = (tg_schedule){.lr = o->constant_lr};
    out->hyper.weight_decay = 0;
  }
  return TG_OK;
}

static tg_status open_server(const async_run *run, tg_server **out) {
  const async_options *o = &run->o;
  tg_server_options options;
  float *bak[64] = {NULL};
  TG_TRY(async_server_options(o, &options));
  for (uint32_t m = 0; run->transport->weights && m < o->workers; m++)
    bak[m] = run->transport->weights(run->comm, m);
  if (run->transport->weights) options.bak = bak;
  float *w0 = tg_alloc_aligned(options.n * sizeof(float));
  float *b0 = tg_alloc_aligned(options.k * sizeof(float));
  if (!w0 || !b0) TG_FAIL(TG_ERUNTIME, "no memory");
  quadratic_initial(options.n, w0);
  tg_status status = tg_server_create(&options, w0, b0, out);
  free(w0);
  free(b0);
  return status;
}

tg_status async_open(const async_options *o, const char *transport, bool server, bool worker,
                     async_run *run) {
  *run = (async_run){.o = *o};
  run->o.comm.workers = o->workers;
  run->o.comm.n = o->problem.n;
  run->o.comm.k = run->o.comm.ks = o->problem.k;
  TG_TRY(tg_transport_find(transport, &run->transport));
  if (worker) {
    run->compute = run->o.comm.compute = quadratic_create(&o->problem);
    if (!run->compute) TG_FAIL(TG_ERUNTIME, "no memory");
  }
  TG_TRY(run->transport->open(&run->o.comm, &run->comm));
  return server ? open_server(run, &run->server) : TG_OK;
}

void async_close(async_run *run) {
  if (run->comm) run->transport->close(run->comm);
  tg_server_destroy(run->server);
  quadratic_destroy(run->compute);
  *run = (async_run){0};
}

tg_status async_serve(async_run *run, const tg_observer *observer) {
  tg_serve_options options = {.server = run->server,
                              .transport = run->transport,
                              .comm = run->comm,
                              .workers = run->o.workers,
                              .n = run->o.problem.n,
                              .observer = observer};
  return tg_serve(&options);
}

const float *async_weights(async_run *run) {
  return tg_server_state_of(run->server).w;
}

float *async_keep(async_run *run) {
  size_t bytes = run->o.problem.n * sizeof(float);
  float *copy = malloc(bytes);
  return copy ? memcpy(copy, async_weights(run), bytes) : NULL;
}

float *async_over_mpi(const async_options *o, int rank, const tg_observer *observer) {
  async_run run;
  float *w = NULL;
  uint32_t flags;
  ck_ok(async_open(o, "mpi", rank == 0, rank > 0, &run));
  if (rank == 0) {
    ck_ok(async_serve(&run, observer));
    w = async_keep(&run);
  } else {
    ck_ok(run.transport->work(run.comm, &flags));
    ck_assert_uint_eq(flags, 0);
    if (!o->comm.share) ck_assert_uint_gt(quadratic_taken(run.compute), 0);
  }
  async_close(&run);
  return w;
}

float *async_replay(async_options o, const char *path, const tg_observer *observer) {
  uint32_t workers, *records;
  uint64_t seed;
  async_run run;
  ck_ok(tg_trace_read(path, &workers, &seed, &records, NULL, &o.comm.sim.record_count));
  o.comm.sim.records = records;
  o.comm.sim.order = TG_ORDER_TRACE;
  o.comm.trace = NULL;
  o.comm.worker.skip_evaluation = true;
  o.problem.busy_s = o.problem.slow_busy_s = 0;
  ck_ok(async_open(&o, "sim", true, true, &run));
  ck_ok(async_serve(&run, observer));
  float *w = async_keep(&run);
  async_close(&run);
  free(records);
  return w;
}

static void copy_state(const tg_server_state *from, const tg_server_state *to, const async_run *r) {
  size_t n = r->o.problem.n, k = r->o.problem.k, workers = r->o.workers;
  memcpy(to->w, from->w, n * sizeof(float));
  memcpy(to->b, from->b, k * sizeof(float));
  for (size_t m = 0; m < workers; m++) {
    memcpy(to->bak[m], from->bak[m], n * sizeof(float));
    memcpy(to->b_bak[m], from->b_bak[m], k * sizeof(float));
  }
  for (size_t i = 0; i < from->rule_state_count; i++)
    memcpy(to->rule_state[i], from->rule_state[i], n * sizeof(float));
  for (size_t i = 0; i < from->slot_count; i++)
    memcpy(to->slot[i], from->slot[i], from->slot_length[i] * sizeof(float));
  if (from->sum) memcpy(to->sum, from->sum, n * sizeof(float));
  if (from->sum) memcpy(to->sum_stats, from->sum_stats, k * sizeof(float));
  memcpy(to->version, from->version, workers * sizeof *to->version);
  memcpy(to->step, from->step, workers * sizeof *to->step);
  memcpy(to->pending, from->pending, workers * sizeof *to->pending);
  memcpy(to->clock, from->clock, workers * sizeof *to->clock);
}

async_run async_go_on(async_run *old) {
  async_run run;
  size_t count, again;
  ck_ok(async_open(&old->o, "sim", true, true, &run));
  tg_server_state from = tg_server_state_of(old->server), to = tg_server_state_of(run.server);
  copy_state(&from, &to, old);
  ck_ok(tg_server_restored(run.server, &from));
  double *times = tg_sim_times(old->comm, &count);
  memcpy(tg_sim_times(run.comm, &again), times, count * sizeof *times);
  ck_assert_uint_eq(count, again);
  tg_sim_restored(run.comm);
  async_close(old);
  return run;
}
