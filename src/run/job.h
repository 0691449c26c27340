/* job.h - one training run while it runs: what rank 0 (or the only process) holds. */
#ifndef TARDIGRAD_RUN_JOB_H
#define TARDIGRAD_RUN_JOB_H

#include "run/setup.h"
#include "run/state.h"
#include "tardigrad/run.h"

enum { TG_JOB_COUNTERS = TG_SERVER_COUNTERS };

typedef struct tg_job {
  const tg_config *config;
  const tg_world *world;
  tg_setup setup;
  tg_folder folder;
  int lock; /* of the folder, or -1 */
  bool resumed;
  tg_ckpt_content from; /* counters of the checkpoint that is continued */
  tg_net *net;          /* where gradients are computed */
  tg_device *updates;   /* where updates are made: the net's, or server_device; NULL: the host */
  tg_device *server_device; /* opened for updates alone, or NULL */
  tg_comm *comm;            /* NULL for sgd */
  tg_trace *trace;          /* asynchronous runs, rank 0 */
  tg_server *server;        /* asynchronous runs, rank 0 */
  tg_sync *sync;            /* synchronous runs, every rank */
  tg_gossip *gossip;        /* the same out of step, every rank */
  tg_local *local;          /* runs of weights of their own, every rank */
  tg_metrics *metrics;
  tg_recorder *recorder;
  char device[256]; /* what computes, in words */
  double idle_s;    /* of the server */
  bool group;       /* the workers' devices sum gradients themselves */
  uint64_t counters[TG_JOB_COUNTERS];
} tg_job;

/* tg_job_meet - collective: fills job->device and says what computes; synchronous workers with a
 * GPU each join a group (job->group, job->updates). */
TG_CHECKED tg_status tg_job_meet(tg_job *job);
/* tg_job_fetch - brings what is looked at from the device where updates are made. */
TG_CHECKED tg_status tg_job_fetch(tg_job *job);
/* tg_job_save - a checkpoint of the state as it is. */
TG_CHECKED tg_status tg_job_save(tg_job *job);
/* tg_job_peek - fills job->from with the counters of the newest whole checkpoint; TG_ENOINPUT if
 * there is none. tg_job_restore - after it: the whole state of that checkpoint. */
TG_CHECKED tg_status tg_job_peek(tg_job *job);
TG_CHECKED tg_status tg_job_restore(tg_job *job);

/* Weights, running statistics and counters of whichever loop runs. */
typedef struct tg_job_weights {
  float *w, *b;
  uint64_t update, samples;
} tg_job_weights;
tg_job_weights tg_job_weights_of(const tg_job *job);

#endif
