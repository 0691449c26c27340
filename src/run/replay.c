/* replay.c - a recorded run again, in one process, compared with what it left. */
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run/carry.h"
#include "run/setup.h"
#include "run/weights.h"
#include "tardigrad/arena.h"
#include "tardigrad/log.h"
#include "tardigrad/run.h"
#include "tardigrad/serve.h"

/* One checkpoint of the recorded run, to be met on the way. */
typedef struct tg_milestone {
  uint64_t update, records;
} tg_milestone;

typedef struct tg_replaying {
  tg_folder folder;
  tg_setup setup;
  tg_net *net;
  tg_comm *comm;
  tg_server *server;
  tg_gossip *gossip; /* or this */
  tg_observer observer;
  uint32_t *records, *prints;
  size_t record_count;
  tg_milestone *milestone; /* in the order of the run */
  size_t milestones, met;
  uint64_t handled, agreed; /* messages; last update that was compared */
  tg_config *config;
  tg_leg leg[TG_MOST_LEGS + 1]; /* of the run; the last one goes on for ever */
  size_t legs, at;              /* ... which one it is */
  float *w, *b;                 /* of the milestone */
  uint32_t *sample;             /* one batch, for the dump */
  FILE *dump;
} tg_replaying;

static void checkpoint_path(const tg_replaying *r, uint64_t update, char *path, size_t size) {
  snprintf(path, size, "%s/checkpoints/%llu", r->folder.run, (unsigned long long)update);
}

/* ---- milestones ---- */

static int by_records(const void *a, const void *b) {
  const tg_milestone *x = a, *y = b;
  if (x->records != y->records) return x->records < y->records ? -1 : 1;
  return x->update < y->update ? -1 : x->update > y->update;
}

static tg_status add_milestone(tg_replaying *r, const char *name) {
  char *end, path[900];
  uint64_t update = strtoull(name, &end, 10);
  if (*end || end == name || update == 0) return TG_OK;
  tg_ckpt_content content = {0};
  checkpoint_path(r, update, path, sizeof path);
  TG_TRY(tg_checkpoint_load(path, &content));
  tg_milestone *more = realloc(r->milestone, (r->milestones + 1) * sizeof *more);
  if (!more) TG_FAIL(TG_ERUNTIME, "no memory for checkpoints");
  r->milestone = more;
  r->milestone[r->milestones++] = (tg_milestone){update, content.trace_records};
  return TG_OK;
}

/* The legs of the run, as its newest checkpoint tells them. */
static tg_status find_legs(tg_replaying *r) {
  char path[900];
  tg_ckpt_content newest = {0};
  checkpoint_path(r, r->milestone[r->milestones - 1].update, path, sizeof path);
  TG_TRY(tg_checkpoint_load(path, &newest));
  memcpy(r->leg, newest.leg, sizeof newest.leg);
  bool told = !isnan(newest.epochs);
  r->legs = newest.legs + 1;
  r->leg[newest.legs] = (tg_leg){UINT64_MAX, told ? newest.epochs : r->config->train_epochs};
  return TG_OK;
}

static tg_status find_milestones(tg_replaying *r) {
  char path[900];
  snprintf(path, sizeof path, "%s/checkpoints", r->folder.run);
  DIR *folder = opendir(path);
  if (!folder) TG_FAIL(TG_ENOINPUT, "%s cannot be read: %s", path, strerror(errno));
  tg_status status = TG_OK;
  for (struct dirent *entry; status == TG_OK && (entry = readdir(folder));)
    status = add_milestone(r, entry->d_name);
  closedir(folder);
  TG_TRY(status);
  if (r->milestones == 0)
    TG_FAIL(TG_ENOINPUT, "%s: no checkpoint after the first to compare with", r->folder.run);
  qsort(r->milestone, r->milestones, sizeof *r->milestone, by_records);
  if (r->milestone[r->milestones - 1].records > r->record_count)
    TG_FAIL(TG_EDATA,
            "%s: %zu messages recorded, the checkpoint of update %llu was made after %llu",
            r->folder.trace, r->record_count,
            (unsigned long long)r->milestone[r->milestones - 1].update,
            (unsigned long long)r->milestone[r->milestones - 1].records);
  return find_legs(r);
}

static tg_status load_weights(tg_replaying *r, uint64_t update, float *w, float *b) {
  char path[900];
  tg_ckpt_content content = {0};
  checkpoint_path(r, update, path, sizeof path);
  TG_TRY(tg_weight_arrays(r->setup.outline->graph, w, b, &content.weights, &content.weight_count));
  tg_status status = tg_checkpoint_load(path, &content);
  free(content.weights);
  return status;
}

static size_t first_difference(const float *a, const float *b, size_t n) {
  size_t i = 0;
  while (i < n && memcmp(&a[i], &b[i], sizeof *a) == 0) i++;
  return i;
}

typedef struct replica {
  const float *w, *b;
  uint64_t update;
} replica;

/* Where the replay is. */
static tg_status look(tg_replaying *r, replica *out) {
  if (r->gossip) {
    TG_TRY(tg_gossip_fetch(r->gossip));
    tg_gossip_state s = tg_gossip_state_of(r->gossip);
    *out = (replica){.w = s.w, .b = s.b, .update = s.update};
    return TG_OK;
  }
  TG_TRY(tg_server_fetch(r->server));
  tg_server_state s = tg_server_state_of(r->server);
  *out = (replica){.w = s.w, .b = s.b, .update = s.update};
  return TG_OK;
}

static tg_status compare(tg_replaying *r, const tg_milestone *m) {
  const tg_graph *g = r->setup.outline->graph;
  replica now;
  TG_TRY(look(r, &now));
  TG_TRY(load_weights(r, m->update, r->w, r->b));
  if (now.update != m->update)
    TG_FAIL(TG_ERUNTIME, "replay differs: update %llu where the run was at %llu",
            (unsigned long long)now.update, (unsigned long long)m->update);
  size_t i = first_difference(now.w, r->w, g->n);
  if (i < g->n)
    TG_FAIL(
        TG_ERUNTIME,
        "replay differs: weight %zu is %.9g, the run has %.9g, at the checkpoint of update %llu; "
        "equal at update %llu",
        i, now.w[i], r->w[i], (unsigned long long)m->update, (unsigned long long)r->agreed);
  i = first_difference(now.b, r->b, g->k);
  if (i < g->k)
    TG_FAIL(TG_ERUNTIME, "replay differs: running statistic %zu, at the checkpoint of update %llu",
            i, (unsigned long long)m->update);
  r->agreed = m->update;
  return TG_OK;
}

/* ---- on the way ---- */

/* One line per gradient that counts: those of one update, where it takes several, one by one, as
 * they are added. */
static tg_status dump_gradient(tg_replaying *r, const tg_msg *in, const tg_server_event *event) {
  const uint32_t batch = r->setup.batch, gradients = r->setup.exchange / batch;
  char partner[32] = "";
  if (r->gossip) snprintf(partner, sizeof partner, "\"partner\": %u, ", event->partner);
  for (uint32_t i = 0; i < gradients; i++)
    TG_TRY(tg_loader_indices(tg_net_loader(r->net), in->worker, in->step * gradients + i,
                             r->sample + (size_t)i * batch, NULL));
  fprintf(r->dump, "{\"update\": %llu, \"worker\": %u, \"pulled\": %llu, \"samples\": [",
          (unsigned long long)event->update + !event->applied, in->worker,
          (unsigned long long)in->version);
  for (uint32_t i = 0; i < r->setup.exchange; i++)
    fprintf(r->dump, i ? ", %u" : "%u", r->sample[i]);
  fprintf(
      r->dump,
      "], %s\"lr\": %.9g, \"loss\": %.9g, \"gradient_norm\": %.9g, \"correction_ratio\": %.9g}\n",
      partner, event->lr, in->loss_sum / in->samples, in->gradient_norm, event->correction_ratio);
  if (ferror(r->dump)) TG_FAIL(TG_ERUNTIME, "the dump cannot be written: %s", strerror(errno));
  return TG_OK;
}

/* The gradient is compared before anything that follows from it. */
static tg_status compare_print(const tg_replaying *r, const tg_msg *in,
                               const tg_server_event *event) {
  if (tg_trace_print(in) == r->prints[r->handled]) return TG_OK;
  TG_FAIL(TG_ERUNTIME,
          "replay differs first at update %llu: worker %u's gradient at the weights of update %llu "
          "is another than the run's (here loss %.9g, norm %.9g)",
          (unsigned long long)event->update, in->worker, (unsigned long long)in->version,
          in->loss_sum / in->samples, in->gradient_norm);
}

static tg_status handled(void *self, const tg_msg *in, const tg_server_event *event,
                         bool *preempt) {
  tg_replaying *r = self;
  if (r->gossip && event->evaluated) return TG_OK; /* not recorded: it changes nothing */
  TG_TRY(compare_print(r, in, event));
  r->handled++;
  if (event->counts && r->dump) TG_TRY(dump_gradient(r, in, event));
  if (event->applied)
    tg_log_progress("replaying: epoch %.2f, update %llu", event->epoch,
                    (unsigned long long)event->update);
  while (r->met < r->milestones && r->milestone[r->met].records == r->handled)
    TG_TRY(compare(r, &r->milestone[r->met++]));
  /* What was recorded after the last checkpoint has nothing to be compared with. */
  *preempt = r->met == r->milestones || r->handled >= r->leg[r->at].records;
  return TG_OK;
}

/* A run that was followed as far as there was something to compare with. */
static tg_status ended(tg_replaying *r, tg_status status) {
  tg_log_progress_end();
  if (status == TG_OK || status == TG_EPREEMPTED)
    status = r->met == r->milestones
                 ? TG_OK
                 : tg_status_set(TG_ERUNTIME,
                                 "replay ended at update %llu, before the run's "
                                 "last checkpoint",
                                 (unsigned long long)r->agreed);
  return status;
}

/* The run diverged wherever it did, and went on from there when it was told to. */
static const uint64_t ANY_NUMBER = UINT64_MAX;

static tg_status serve_leg(tg_replaying *r) {
  tg_comm_options comm = tg_setup_comm(&r->setup, NULL, tg_net_compute(r->net));
  comm.sim.order = TG_ORDER_TRACE;
  comm.sim.records = r->records + r->handled;
  comm.sim.record_count = r->record_count - r->handled;
  comm.worker.skip_evaluation = true;
  if (r->comm) r->setup.transport->close(r->comm);
  r->comm = NULL;
  TG_TRY(r->setup.transport->open(&comm, &r->comm));
  tg_serve_options options = {.server = r->server,
                              .transport = r->setup.transport,
                              .comm = r->comm,
                              .workers = r->setup.workers,
                              .n = r->setup.outline->graph->n,
                              .observer = &r->observer};
  return tg_serve(&options);
}

/* What resuming does: another server, of this leg's length, with the state of the last one. */
static tg_status run_server(tg_replaying *r) {
  tg_server_options options = tg_setup_server(&r->setup);
  tg_server *next;
  options.device = tg_net_compute(r->net)->device;
  options.device_workers = options.device != NULL;
  options.max_nonfinite = ANY_NUMBER;
  TG_TRY(tg_server_create(&options, r->w, r->b, &next));
  tg_server *before = r->server;
  r->server = next;
  tg_status status = before ? tg_carry_server(&r->setup, before, next) : TG_OK;
  tg_server_destroy(before);
  TG_TRY(status);
  return serve_leg(r);
}

static tg_status run_gossip(tg_replaying *r) {
  tg_gossip_options options = tg_setup_gossip(&r->setup, NULL);
  tg_gossip *next;
  options.step.compute = tg_net_compute(r->net);
  options.step.count = r->setup.workers;
  options.step.worker.skip_evaluation = true;
  options.step.max_nonfinite = ANY_NUMBER;
  options.records = r->records + r->handled;
  options.record_count = r->record_count - r->handled;
  TG_TRY(tg_gossip_create(&options, r->w, r->b, &next));
  tg_gossip *before = r->gossip;
  r->gossip = next;
  tg_status status = before ? tg_carry_gossip(&r->setup, before, next) : TG_OK;
  tg_gossip_destroy(before);
  TG_TRY(status);
  return tg_gossip_run(r->gossip, NULL, NULL, &r->observer);
}

static tg_status run_legs(tg_replaying *r) {
  bool gossip = r->setup.rule->scheme == TG_SCHEME_GOSSIP;
  tg_status status = TG_OK;
  r->observer = (tg_observer){.self = r, .handled = handled};
  TG_TRY(load_weights(r, 0, r->w, r->b));
  TG_TRY(tg_setup_coder(&r->setup, 0, r->setup.workers));
  for (r->at = 0; r->at < r->legs; r->at++) {
    if (r->at + 1 < r->legs && r->leg[r->at].records <= r->handled) continue;
    r->config->train_epochs = r->leg[r->at].epochs;
    status = gossip ? run_gossip(r) : run_server(r);
    bool goes_on = status == TG_OK || status == TG_EPREEMPTED;
    if (!goes_on || r->met == r->milestones || r->handled < r->leg[r->at].records) break;
  }
  return ended(r, status);
}

/* ---- beginning and end ---- */

static tg_status read_run(tg_replaying *r, const char *run, tg_config **config) {
  uint32_t workers;
  uint64_t seed;
  TG_TRY(tg_folder_named(run, &r->folder));
  TG_TRY(tg_config_load(r->folder.config, NULL, 0, config));
  const tg_rule *rule;
  TG_TRY(tg_rule_find((*config)->sync_rule, &rule));
  if (!tg_rule_is_recorded(rule))
    TG_FAIL(TG_ECONFIG,
            "%s: sync.rule=%s is synchronous: nothing was left to chance, so nothing was recorded",
            run, rule->name);
  TG_TRY(
      tg_trace_read(r->folder.trace, &workers, &seed, &r->records, &r->prints, &r->record_count));
  /* The server of a run over MPI worked on the host unless it was told otherwise. */
  if (strcmp((*config)->transport_name, "mpi") == 0 &&
      strcmp((*config)->server_device, "auto") == 0) {
    free((*config)->server_device);
    (*config)->server_device = strdup("cpu");
    if (!(*config)->server_device) TG_FAIL(TG_ERUNTIME, "no memory");
  }
  /* The workers of the recorded run, whatever transport carried them. */
  (*config)->sim_workers = workers;
  free((*config)->transport_name);
  (*config)->transport_name = strdup("sim");
  free((*config)->sim_order);
  (*config)->sim_order = strdup("round_robin");
  if (!(*config)->transport_name || !(*config)->sim_order) TG_FAIL(TG_ERUNTIME, "no memory");
  return TG_OK;
}

static tg_status prepare(tg_replaying *r, const tg_config *config) {
  TG_TRY(tg_setup_create(config, 1, &r->setup));
  const tg_graph *g = r->setup.outline->graph;
  tg_net_options options = tg_setup_net(&r->setup);
  options.evaluate = false;
  TG_TRY(tg_net_create(config, &options, &r->net));
  r->w = tg_alloc_aligned(g->n * sizeof(float));
  r->b = tg_alloc_aligned(g->k * sizeof(float));
  r->sample = calloc(r->setup.exchange, sizeof *r->sample);
  if (!r->w || !r->b || !r->sample) TG_FAIL(TG_ERUNTIME, "no memory for %zu parameters", g->n);
  return find_milestones(r);
}

tg_status tg_replay(const char *run, FILE *dump) {
  tg_replaying r = {.dump = dump};
  tg_status status = TG_OK;
  TG_DO(read_run(&r, run, &r.config));
  omp_set_num_threads((int)r.config->run_threads);
  TG_DO(prepare(&r, r.config));
  TG_DO(run_legs(&r));
  tg_info("replay agrees: %llu updates, %zu checkpoints, weights identical to the bit",
          (unsigned long long)r.agreed, r.milestones);
done:
  if (r.comm) r.setup.transport->close(r.comm);
  tg_server_destroy(r.server);
  tg_gossip_destroy(r.gossip);
  tg_net_destroy(r.net);
  tg_setup_destroy(&r.setup);
  tg_config_free(r.config);
  free(r.records);
  free(r.prints);
  free(r.milestone);
  free(r.w);
  free(r.b);
  free(r.sample);
  return status;
}
