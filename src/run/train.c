/* train.c - a run: who does what, what is written down, how it ends. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "run/job.h"
#include "tardigrad/forecast.h"
#include "tardigrad/log.h"
#include "tardigrad/paths.h"
#include "tardigrad/report.h"

/* ---- what is written down ---- */

/* What a push cost on the wire, both ways, batch statistics included: as floats, or encoded, with
 * weights coming back in the asynchronous scheme and messages in the synchronous one. */
static uint64_t wire_bytes(const tg_job *job, const tg_msg *in, const tg_server_event *event) {
  const tg_graph *g = job->setup.outline->graph;
  uint64_t vector = g->n * sizeof(float), statistics = g->ks * sizeof(float);
  if (job->local || job->gossip) return event->bytes;
  if (!in->bytes) return 2 * vector + statistics;
  if (job->server) return in->bytes + vector + statistics;
  if (job->setup.rule->votes) return 2 * in->bytes + statistics;
  return tg_codec_exchanged(job->setup.workers, in->bytes) + statistics;
}

static tg_record record_of(const tg_job *job, const tg_msg *in, const tg_server_event *event) {
  /* Workers with weights of their own tell of several updates at once. */
  bool later = job->local && job->world->size > 1;
  double late = later ? job->setup.transport->clock(job->comm) - in->sent_s : 0;
  return (tg_record){.worker = in->worker,
                     .applied = event->counts,
                     .late = event->late,
                     .nonfinite = event->nonfinite,
                     .whole = job->gossip ||
                              (job->server ? event->applied : in->worker + 1 == job->setup.workers),
                     .update = event->update,
                     .samples = in->samples,
                     .staleness = event->staleness,
                     .epoch = event->epoch,
                     .lr = event->lr,
                     .loss_sum = in->loss_sum,
                     .correction_ratio = event->correction_ratio,
                     .bytes = wire_bytes(job, in, event),
                     .compute_s = in->compute_s,
                     .wait_s = in->wait_s,
                     .network_s = in->network_s,
                     .comm_s = in->comm_s,
                     .exposed_s = in->exposed_s,
                     .partner = job->gossip ? event->partner : in->worker,
                     .local_steps = event->local_steps,
                     .consensus = event->consensus,
                     .late_s = late,
                     .path_clamps = tg_paths_clamped(job->setup.outline->paths),
                     .sim_s = job->comm && job->world->size == 1 ? in->sent_s : -1};
}

static tg_status handled(void *self, const tg_msg *in, const tg_server_event *event,
                         bool *preempt) {
  tg_job *job = self;
  (void)preempt;
  if (event->evaluated) {
    /* The weights that were evaluated are those of the version that was sent. */
    double epoch = (double)in->version * job->setup.exchange * job->setup.gradients /
                   (double)job->setup.outline->train_count;
    TG_TRY(tg_recorder_evaluated(job->recorder, in->version, epoch, in->loss_sum, in->correct,
                                 in->samples));
  } else {
    tg_record record = record_of(job, in, event);
    TG_TRY(tg_recorder_push(job->recorder, &record));
  }
  return event->checkpoint_due && !event->finished ? tg_job_save(job) : TG_OK;
}

static tg_status cut(void *self, tg_status why) {
  (void)why;
  return tg_job_save(self);
}

static tg_status start_line(tg_job *job) {
  const tg_config *c = job->config;
  const tg_setup *s = &job->setup;
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  tg_job_weights now = tg_job_weights_of(job);
  tg_metrics *m = job->metrics;
  tg_server_options o = tg_setup_server(s);
  tg_metrics_begin(m, "start", tg_recorder_wall_s(job->recorder), now.update,
                   (double)now.samples / s->outline->train_count);
  tg_metrics_text(m, "tardigrad", TG_VERSION);
  tg_metrics_text(m, "mpi", job->world->version);
  tg_metrics_text(m, "host", host);
  tg_metrics_text(m, "device", job->device);
  tg_metrics_text(m, "precision", c->device_precision);
  tg_metrics_text(m, "rule", s->rule->name);
  tg_metrics_text(m, "codec", s->codec->name);
  tg_metrics_text(m, "model", c->model_name);
  tg_metrics_text(m, "data", c->data_name);
  tg_metrics_count(m, "ranks", (uint64_t)job->world->size);
  tg_metrics_count(m, "workers", s->workers);
  tg_metrics_count(m, "threads", (uint64_t)c->run_threads);
  tg_metrics_count(m, "batch", s->batch);
  tg_metrics_count(m, "gradients_per_update", s->gradients);
  tg_metrics_count(m, "train_samples", s->outline->train_count);
  tg_metrics_count(m, "parameters", s->outline->graph->n);
  tg_metrics_real(m, "lambda", o.hyper.lambda);
  tg_metrics_count(m, "memory_bytes", tg_resident_bytes(false));
  return tg_metrics_end(m);
}

/* ---- beginning ---- */

static tg_status open_records(tg_job *job) {
  const tg_config *c = job->config;
  const tg_setup *s = &job->setup;
  const tg_ckpt_content *from = &job->from;
  bool async = tg_rule_is_recorded(s->rule);
  if (async && job->resumed)
    TG_TRY(tg_trace_open(job->folder.trace, s->workers, (uint64_t)c->run_seed, from->trace_records,
                         &job->trace));
  else if (async)
    TG_TRY(tg_trace_create(job->folder.trace, s->workers, (uint64_t)c->run_seed, &job->trace));
  /* What came after the checkpoint goes when it is known to fit: see continue_files. */
  uint64_t keep = job->resumed ? TG_METRICS_ALL : UINT64_MAX;
  TG_TRY(tg_metrics_open(job->folder.run, keep, c->metrics_tensorboard, &job->metrics));
  tg_recorder_options options = {.metrics = job->metrics,
                                 .split = tg_split_name(tg_net_eval_split(c)),
                                 .workers = s->workers,
                                 .every = (uint64_t)c->metrics_every,
                                 .epochs = c->train_epochs,
                                 .own_weights = tg_rule_owns_weights(s->rule),
                                 .in_paths = s->optimizer.path_step != NULL};
  return tg_recorder_create(&options, &job->recorder);
}

/* A run to be continued has a whole checkpoint; without one it starts. */
static tg_status prepare_folder(tg_job *job) {
  TG_TRY(tg_folder_of(job->config, &job->folder));
  TG_TRY(tg_folder_lock(&job->folder, &job->lock));
  if (strcmp(job->config->resume, "auto") == 0) {
    tg_status status = tg_job_peek(job);
    if (status != TG_OK && status != TG_ENOINPUT) return status;
    job->resumed = status == TG_OK;
    if (!job->resumed) tg_info("nothing to resume in %s: starting", job->folder.run);
  }
  return job->resumed ? TG_OK : tg_folder_prepare(&job->folder, job->config, false, &job->lock);
}

/* A run that is refused keeps its files. */
static tg_status continue_files(tg_job *job) {
  TG_TRY(tg_folder_prepare(&job->folder, job->config, true, &job->lock));
  return tg_metrics_cut(job->metrics, job->from.metrics_bytes);
}

static tg_status prepare_server(tg_job *job) {
  tg_server_options options = tg_setup_server(&job->setup);
  const tg_transport *transport = job->setup.transport;
  float **bak = calloc(options.workers, sizeof *bak);
  if (!bak) TG_FAIL(TG_ERUNTIME, "no memory for %u workers", options.workers);
  for (uint32_t m = 0; transport->weights && m < options.workers; m++)
    bak[m] = transport->weights(job->comm, m);
  options.bak = bak;
  options.device = job->updates;
  options.device_workers = job->updates && job->updates != job->server_device;
  tg_status status = tg_server_create(&options, job->setup.w0, job->setup.b0, &job->server);
  free(bak);
  return status;
}

/* All workers in one process, or one on each rank but 0. */
static void who_computes(const tg_job *job, tg_sync_options *options) {
  const tg_world *world = job->world;
  if (world->size == 1) options->count = options->workers;
  if (world->rank > 0) {
    options->first = (uint32_t)world->rank - 1;
    options->count = 1;
  }
  options->compute = job->net ? tg_net_compute(job->net) : NULL;
}

static tg_status prepare_sync(tg_job *job) {
  tg_sync_options options = tg_setup_sync(&job->setup);
  who_computes(job, &options);
  options.device = job->updates;
  options.group = job->group;
  return tg_sync_create(&options, job->setup.w0, job->setup.b0, &job->sync);
}

static tg_status prepare_local(tg_job *job) {
  tg_local_options options = tg_setup_local(&job->setup);
  who_computes(job, &options.step);
  return tg_local_create(&options, job->setup.w0, job->setup.b0, &job->local);
}

static tg_status prepare_gossip(tg_job *job) {
  tg_gossip_options options = tg_setup_gossip(&job->setup, job->trace);
  who_computes(job, &options.step);
  return tg_gossip_create(&options, job->setup.w0, job->setup.b0, &job->gossip);
}

/* The loop copies the initial weights; nobody else needs them. */
static tg_status prepare_loop(tg_job *job) {
  tg_scheme scheme = job->setup.rule->scheme;
  TG_TRY(tg_setup_weights(&job->setup));
  TG_TRY(scheme == TG_SCHEME_ASYNC    ? prepare_server(job)
         : scheme == TG_SCHEME_GOSSIP ? prepare_gossip(job)
         : scheme == TG_SCHEME_OWN    ? prepare_local(job)
                                      : prepare_sync(job));
  tg_setup_forget(&job->setup);
  return TG_OK;
}

/* A worker keeps its own residuals; rank 0 has room for all of them, for checkpoints. */
static tg_status prepare_coder(tg_job *job) {
  int rank = job->world->rank;
  return rank > 0 ? tg_setup_coder(&job->setup, (uint32_t)rank - 1, 1)
                  : tg_setup_coder(&job->setup, 0, job->setup.workers);
}

static tg_status prepare_comm(tg_job *job) {
  if (job->setup.rule->scheme == TG_SCHEME_LOCAL) return TG_OK;
  tg_compute *compute = job->net ? tg_net_compute(job->net) : NULL;
  tg_comm_options options = tg_setup_comm(&job->setup, job->trace, compute);
  return job->setup.transport->open(&options, &job->comm);
}

/* Updates are made where this process computes, or on a device that the server opens for them, or
 * on the host. */
static tg_status open_updates(tg_job *job) {
  const char *name = job->config->server_device;
  if (tg_setup_shares_device(&job->setup)) {
    job->updates = tg_net_compute(job->net)->device;
    return TG_OK;
  }
  TG_TRY(tg_setup_check_server(&job->setup));
  if (!tg_setup_opens_device(&job->setup) || job->world->rank != 0) return TG_OK;
  TG_TRY(tg_device_open(name, &job->server_device));
  if (!job->server_device->backend->host_memory) job->updates = job->server_device;
  tg_info("updates on %s", tg_device_describe(job->server_device));
  return TG_OK;
}

static tg_status choose_updates(tg_job *job) {
  TG_TRY(open_updates(job));
  return tg_setup_check_updates(&job->setup, job->updates != NULL);
}

/* Everything that can fail before training, on every rank alike; first what each does by itself. */
static tg_status prepare_alone(tg_job *job) {
  const tg_world *world = job->world;
  bool leads = world->rank == 0;
  TG_TRY(tg_setup_create(job->config, world->size, &job->setup));
  if (world->size == 1 || !leads) {
    tg_net_options options = tg_setup_net(&job->setup);
    options.device_index = world->local_worker;
    TG_TRY(tg_net_create(job->config, &options, &job->net));
  }
  TG_TRY(choose_updates(job));
  if (leads) TG_TRY(prepare_folder(job));
  return leads ? open_records(job) : TG_OK;
}

static tg_status prepare(tg_job *job) {
  bool leads = job->world->rank == 0, async = job->setup.rule->scheme == TG_SCHEME_ASYNC;
  TG_TRY(tg_job_meet(job));
  TG_TRY(prepare_coder(job));
  TG_TRY(prepare_comm(job));
  if (leads || !async) TG_TRY(prepare_loop(job));
  if (!leads || !job->resumed) return TG_OK;
  TG_TRY(tg_job_restore(job));
  return continue_files(job);
}

/* Rank 0 has read the checkpoint; in the synchronous schemes every rank holds state. */
static tg_status share_state(tg_job *job) {
  if (job->gossip) return tg_gossip_share(job->gossip, job->setup.transport, job->comm);
  if (job->local) return tg_local_share(job->local, job->setup.transport, job->comm);
  tg_sync_state s = tg_sync_state_of(job->sync);
  const tg_graph *g = job->setup.outline->graph;
  uint64_t counters[] = {s.update, s.samples, s.step, s.nonfinite};
  TG_TRY(tg_world_broadcast(counters, sizeof counters));
  TG_TRY(tg_world_broadcast(s.w, g->n * sizeof(float)));
  if (g->k) TG_TRY(tg_world_broadcast(s.b, g->k * sizeof(float)));
  for (size_t i = 0; i < s.slot_count; i++)
    TG_TRY(tg_world_broadcast(s.slot[i], s.slot_length[i] * sizeof(float)));
  s.update = counters[0];
  s.samples = counters[1];
  s.step = counters[2];
  s.nonfinite = counters[3];
  if (job->setup.coder) TG_TRY(job->setup.transport->hand_out(job->comm));
  return tg_sync_restored(job->sync, &s);
}

/* ---- the run ---- */

static tg_status lead_async(tg_job *job, const tg_observer *observer) {
  tg_serve_options options = {.server = job->server,
                              .transport = job->setup.transport,
                              .comm = job->comm,
                              .workers = job->setup.workers,
                              .n = job->setup.outline->graph->n,
                              .observer = observer,
                              .idle_s = &job->idle_s};
  return tg_serve(&options);
}

static tg_status run_loop(tg_job *job) {
  tg_observer observer = {.self = job, .handled = handled, .cut = cut};
  bool leads = job->world->rank == 0;
  uint32_t flags;
  if (job->gossip)
    return tg_gossip_run(job->gossip, job->setup.transport, job->comm, leads ? &observer : NULL);
  if (job->local)
    return tg_local_run(job->local, job->setup.transport, job->comm, leads ? &observer : NULL);
  if (!job->sync)
    return leads ? lead_async(job, &observer) : job->setup.transport->work(job->comm, &flags);
  return tg_sync_run(job->sync, job->comm ? job->setup.transport : NULL, job->comm,
                     leads ? &observer : NULL);
}

static tg_status begin(tg_job *job) {
  if (!job->resumed) TG_TRY(tg_job_save(job));
  return start_line(job);
}

/* After the last update: the final checkpoint, the end line, the report. */
static tg_status finish(tg_job *job, double began) {
  tg_job_weights now = tg_job_weights_of(job);
  char hash[33];
  TG_TRY(tg_job_fetch(job));
  double busy = -1, wall = tg_clock_s() - began;
  if (job->server && job->world->size > 1 && wall > 0) busy = 1 - job->idle_s / wall;
  tg_hash_hex(now.w, job->setup.outline->graph->n * sizeof(float), hash);
  TG_TRY(tg_job_save(job));
  TG_TRY(tg_recorder_end(job->recorder, now.update,
                         (double)now.samples / job->setup.outline->train_count, hash, busy));
  tg_evaluation last = tg_recorder_last(job->recorder);
  tg_info("done: %llu updates in %.1f s, %s error %.2f %%, weights %s",
          (unsigned long long)now.update, tg_recorder_wall_s(job->recorder),
          tg_split_name(tg_net_eval_split(job->config)), last.error, hash);
  const char *const runs[] = {job->folder.run};
  char path[840];
  snprintf(path, sizeof path, "%s/report.html", job->folder.run);
  /* The run is whole without its page, which can be made at any time. */
  if (tg_report_write(runs, 1, NAN, path) != TG_OK)
    tg_warn("no report: %s; tardigrad report %s makes one", tg_status_message(), job->folder.run);
  return TG_OK;
}

static tg_status lead(tg_job *job) {
  double began = tg_clock_s();
  TG_TRY(begin(job));
  tg_status status = run_loop(job);
  tg_log_progress_end();
  return status == TG_OK ? finish(job, began) : status;
}

static void close_job(tg_job *job) {
  if (job->comm) job->setup.transport->close(job->comm);
  tg_trace_close(job->trace);
  tg_server_destroy(job->server);
  tg_sync_destroy(job->sync);
  tg_local_destroy(job->local);
  tg_gossip_destroy(job->gossip);
  tg_device_close(job->server_device);
  tg_recorder_destroy(job->recorder);
  tg_metrics_close(job->metrics);
  tg_net_destroy(job->net);
  tg_setup_destroy(&job->setup);
  if (job->lock >= 0) close(job->lock);
}

/* Ends that every rank learns of through the protocol; anything else is one rank's own failure, and
 * the others must not wait for it. */
static bool agreed(tg_status status) {
  return status == TG_OK || status == TG_EPREEMPTED || status == TG_EDIVERGED;
}

static tg_status run(tg_job *job) {
  TG_TRY(tg_world_agree(prepare_alone(job)));
  TG_TRY(tg_world_agree(prepare(job)));
  if ((job->sync || job->local || job->gossip) && job->world->size > 1)
    TG_TRY(tg_world_agree(share_state(job)));
  tg_status status = job->world->rank == 0 ? lead(job) : run_loop(job);
  if (status == TG_EPREEMPTED && job->world->rank == 0)
    status = tg_status_set(TG_EPREEMPTED, "%s: resume=auto continues it", tg_status_message());
  if (job->world->size == 1) return status;
  if (!agreed(status)) {
    tg_error("%s", tg_status_message());
    tg_world_abort(status);
  }
  return tg_world_agree(status);
}

tg_status tg_train(const tg_config *config, const tg_world *world) {
  tg_job job = {.config = config, .world = world, .lock = -1};
  omp_set_num_threads((int)config->run_threads);
  tg_world_timeout(config->run_timeout_s);
  tg_status status = run(&job);
  close_job(&job);
  return status;
}
