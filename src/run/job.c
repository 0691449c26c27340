/* job.c - what a checkpoint holds of a run, and how it comes back. */
#include "run/job.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run/weights.h"
#include "tardigrad/log.h"

tg_job_weights tg_job_weights_of(const tg_job *job) {
  if (job->server) {
    tg_server_state s = tg_server_state_of(job->server);
    return (tg_job_weights){.w = s.w, .b = s.b, .update = s.update, .samples = s.samples};
  }
  if (job->gossip) {
    tg_gossip_state s = tg_gossip_state_of(job->gossip);
    return (tg_job_weights){.w = s.w, .b = s.b, .update = s.update, .samples = s.samples};
  }
  if (job->local) {
    tg_local_state s = tg_local_state_of(job->local);
    return (tg_job_weights){.w = s.w, .b = s.b, .update = s.update, .samples = s.samples};
  }
  tg_sync_state s = tg_sync_state_of(job->sync);
  return (tg_job_weights){.w = s.w, .b = s.b, .update = s.update, .samples = s.samples};
}

static tg_status sync_arrays(tg_array_list *list, const tg_sync_state *s, uint64_t *counters) {
  const uint64_t now[] = {s->update, s->samples, s->step, s->nonfinite};
  memcpy(counters, now, sizeof now);
  TG_TRY(tg_array_add(list, TG_ST_U64, counters, 1, 4, 0, "sync.counters"));
  for (size_t i = 0; i < s->slot_count; i++)
    TG_TRY(tg_array_add(list, TG_ST_F32, s->slot[i], 1, s->slot_length[i], 0, "optimizer.%zu", i));
  return TG_OK;
}

/* What each worker's codec keeps. */
static tg_status coder_arrays(const tg_job *job, tg_array_list *list) {
  const tg_coder *c = job->setup.coder;
  for (uint32_t m = 0; c && m < job->setup.workers; m++)
    for (int i = 0; i < c->vectors; i++)
      TG_TRY(tg_array_add(list, TG_ST_F32, tg_coder_state(c, m, i), 1, c->o.n, 0, "codec.%u.%d", m,
                          i));
  return TG_OK;
}

static tg_status local_arrays(tg_array_list *list, const tg_local_state *s, uint32_t workers,
                              uint64_t *counters) {
  const uint64_t now[] = {s->update, s->samples, s->nonfinite, s->round_end, s->round_steps};
  memcpy(counters, now, sizeof now);
  TG_TRY(tg_array_add(list, TG_ST_U64, counters, 1, 5, 0, "local.counters"));
  TG_TRY(tg_array_add(list, TG_ST_U64, s->step, 1, workers, 0, "local.step"));
  TG_TRY(tg_array_add(list, TG_ST_F64, s->clock, 1, workers, 0, "local.clock"));
  return tg_holdings_arrays(list, &s->has, workers);
}

/* state.safetensors: of the loop, the recorder and the virtual clock. */
static tg_status state_arrays(tg_job *job, tg_array_list *list) {
  const tg_graph *g = job->setup.outline->graph;
  size_t count;
  if (job->server) {
    tg_server_state s = tg_server_state_of(job->server);
    TG_TRY(tg_server_arrays(list, &s, g->n, g->k, g->ks, job->setup.workers, job->counters));
  } else if (job->gossip) {
    tg_gossip_state s = tg_gossip_state_of(job->gossip);
    TG_TRY(tg_gossip_arrays(list, &s, job->setup.workers, job->counters));
  } else if (job->local) {
    tg_local_state s = tg_local_state_of(job->local);
    TG_TRY(local_arrays(list, &s, job->setup.workers, job->counters));
  } else {
    tg_sync_state s = tg_sync_state_of(job->sync);
    TG_TRY(sync_arrays(list, &s, job->counters));
  }
  TG_TRY(coder_arrays(job, list));
  uint64_t *counts = tg_recorder_counts(job->recorder, &count);
  TG_TRY(tg_array_add(list, TG_ST_U64, counts, 1, count, 0, "recorder.counts"));
  double *reals = tg_recorder_reals(job->recorder, &count);
  TG_TRY(tg_array_add(list, TG_ST_F64, reals, 1, count, 0, "recorder.reals"));
  if (!job->comm || job->world->size > 1) return TG_OK;
  double *times = tg_sim_times(job->comm, &count);
  return tg_array_add(list, TG_ST_F64, times, 1, count, 0, "sim.times");
}

/* Where vectors live on a device, what follows looks at copies. */
tg_status tg_job_fetch(tg_job *job) {
  if (job->local || job->gossip)
    return TG_OK; /* gathered by the loop before it says that a checkpoint is due */
  return job->server ? tg_server_fetch(job->server) : tg_sync_fetch(job->sync);
}

static tg_status content_of(tg_job *job, tg_array_list *state, tg_ckpt_content *content) {
  tg_job_weights now = tg_job_weights_of(job);
  TG_TRY(tg_weight_arrays(job->setup.outline->graph, now.w, now.b, &content->weights,
                          &content->weight_count));
  TG_TRY(state_arrays(job, state));
  content->state = state->item;
  content->state_count = state->count;
  content->update = now.update;
  content->samples = now.samples;
  content->epoch = (double)now.samples / job->setup.outline->train_count;
  content->trace_records = job->trace ? tg_trace_count(job->trace) : 0;
  content->metrics_bytes = tg_metrics_bytes(job->metrics);
  content->epochs = job->config->train_epochs;
  content->legs = job->from.legs;
  memcpy(content->leg, job->from.leg, sizeof content->leg);
  content->model = job->setup.outline->model_name;
  return TG_OK;
}

tg_status tg_job_save(tg_job *job) {
  tg_array_list state = {0};
  tg_ckpt_content content = {0};
  const tg_transport *transport = job->setup.transport;
  TG_TRY(tg_job_fetch(job));
  tg_recorder_clamps(job->recorder, tg_paths_clamped(job->setup.outline->paths));
  if (job->server && job->setup.coder && transport->collect)
    TG_TRY(transport->collect(job->comm, true));
  tg_status status = content_of(job, &state, &content);
  if (status == TG_OK && job->trace) status = tg_trace_sync(job->trace);
  if (status == TG_OK)
    status = tg_checkpoint_save(job->folder.run, &content, (int)job->config->checkpoint_keep);
  tg_array_list_free(&state);
  free(content.weights);
  return status;
}

static void checkpoint_path(const tg_job *job, uint64_t update, char *path, size_t size) {
  snprintf(path, size, "%s/checkpoints/%llu", job->folder.run, (unsigned long long)update);
}

tg_status tg_job_peek(tg_job *job) {
  char folder[900];
  uint64_t update;
  TG_TRY(tg_checkpoint_newest(job->folder.run, &update));
  checkpoint_path(job, update, folder, sizeof folder);
  return tg_checkpoint_load(folder, &job->from);
}

static tg_status counters_back(tg_job *job) {
  if (job->server) {
    tg_server_state s = tg_server_state_of(job->server);
    tg_server_counters_back(&s, job->counters);
    TG_TRY(tg_server_restored(job->server, &s));
  } else if (job->gossip) {
    tg_gossip_state s = tg_gossip_state_of(job->gossip);
    tg_gossip_counters_back(&s, job->counters);
    TG_TRY(tg_gossip_restored(job->gossip, &s));
  } else if (job->local) {
    tg_local_state s = tg_local_state_of(job->local);
    s.update = job->counters[0];
    s.samples = job->counters[1];
    s.nonfinite = job->counters[2];
    s.round_end = job->counters[3];
    s.round_steps = job->counters[4];
    TG_TRY(tg_local_restored(job->local, &s));
  } else {
    tg_sync_state s = tg_sync_state_of(job->sync);
    s.update = job->counters[0];
    s.samples = job->counters[1];
    s.step = job->counters[2];
    s.nonfinite = job->counters[3];
    TG_TRY(tg_sync_restored(job->sync, &s));
  }
  if (job->comm && job->world->size == 1) tg_sim_restored(job->comm);
  return TG_OK;
}

/* train.epochs may have been changed. */
static tg_status note_leg(tg_job *job) {
  tg_ckpt_content *from = &job->from;
  if (!job->trace || isnan(from->epochs) || from->epochs == job->config->train_epochs) return TG_OK;
  if (from->legs == TG_MOST_LEGS)
    TG_FAIL(TG_ECONFIG, "train.epochs=%g: it was changed %d times, more is not recorded",
            job->config->train_epochs, TG_MOST_LEGS);
  from->leg[from->legs++] = (tg_leg){from->trace_records, from->epochs};
  return TG_OK;
}

tg_status tg_job_restore(tg_job *job) {
  char folder[900];
  tg_array_list state = {0};
  tg_ckpt_content content = {0};
  tg_status status = TG_OK;
  checkpoint_path(job, job->from.update, folder, sizeof folder);
  TG_DO(content_of(job, &state, &content));
  TG_DO(tg_checkpoint_load(folder, &content));
  tg_recorder_restored(job->recorder);
  if (job->setup.coder) job->setup.coder->restored = true;
  TG_DO(counters_back(job));
  TG_DO(note_leg(job));
  tg_info("resuming %s at update %llu, epoch %.2f", job->folder.run,
          (unsigned long long)content.update, content.epoch);
done:
  tg_array_list_free(&state);
  free(content.weights);
  return status;
}
