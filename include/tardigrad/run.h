/* run.h - a run from its configuration to its folder: train, replay, evaluate. */
#ifndef TARDIGRAD_RUN_H
#define TARDIGRAD_RUN_H

#include <stdio.h>

#include "tardigrad/checkpoint.h"
#include "tardigrad/config.h"
#include "tardigrad/metrics.h"
#include "tardigrad/net.h"
#include "tardigrad/transport.h"

/* ---- the folder of a run ---- */

typedef struct tg_folder {
  char run[768];    /* <run.dir>/<run.name> */
  char config[800]; /* its files */
  char trace[800];
  char metrics[800];
} tg_folder;

/* tg_folder_of - the paths of a run. tg_folder_named - of an existing folder (TG_ENOINPUT). */
TG_CHECKED tg_status tg_folder_of(const tg_config *config, tg_folder *out);
TG_CHECKED tg_status tg_folder_named(const char *run, tg_folder *out);
/* tg_folder_lock - makes the folder if there is none, and locks it (file .lock) until *fd is closed
 * or the process ends: two jobs never write one run. TG_EUNAVAILABLE if another holds it for 10 s.
 */
TG_CHECKED tg_status tg_folder_lock(const tg_folder *folder, int *fd);
/* tg_folder_prepare - writes config.yaml into the locked folder; an earlier run of that name is
 * moved to <name>.1, .2, ... and the log says so, unless it is to be continued (keep). *lock is
 * then the new folder's. */
TG_CHECKED tg_status tg_folder_prepare(const tg_folder *folder, const tg_config *config, bool keep,
                                       int *lock);

/* tg_source - what RUN|CHECKPOINT on the command line means: the run's configuration and the
 * checkpoint folder to read (the newest whole one of a run). */
typedef struct tg_source {
  tg_folder folder;
  char checkpoint[900];
  tg_config *config; /* free with tg_config_free */
} tg_source;
TG_CHECKED tg_status tg_source_open(const char *path, const char *const *assignments, int count,
                                    tg_source *out);

/* ---- threads ---- */

/* tg_threads_of - threads for this rank: run.threads, else OMP_NUM_THREADS, else the cores that
 * this process may use, shared with the other ranks of the machine (at least 1). */
TG_CHECKED tg_status tg_threads_of(const tg_config *config, const tg_world *world, int *out);
/* tg_cores - cores (not hardware threads) that this process may use. */
int tg_cores(void);

/* ---- commands ---- */

/* tg_train - collective over the world: the whole of `tardigrad train`. config is the same on every
 * rank. Result on every rank; rank 0's message is the job's.
 * TG_EPREEMPTED after a checkpoint asked for by a signal, TG_EDIVERGED after too many gradients
 * that were not finite or a loss that is not (a checkpoint is made first). */
TG_CHECKED tg_status tg_train(const tg_config *config, const tg_world *world);

/* tg_replay - re-runs a recorded asynchronous run in this process from checkpoints/0 along its
 * trace, and compares every checkpoint of the run that it passes, and the last. dump: a file that
 * receives one JSON object per update, or NULL. TG_ERUNTIME says at which update the first
 * difference was seen. */
TG_CHECKED tg_status tg_replay(const char *run, FILE *dump);

typedef struct tg_evaluation {
  double loss;  /* mean over samples */
  double error; /* percent */
  uint32_t samples;
} tg_evaluation;
/* tg_evaluate - loss and error of a source's weights on a split. */
TG_CHECKED tg_status tg_evaluate(const tg_source *source, tg_split split, tg_evaluation *out);

/* tg_export - weights for other programs: safetensors under PyTorch's names. */
TG_CHECKED tg_status tg_export(const tg_source *source, const char *path);

/* ---- what a run records ---- */

typedef struct tg_recorder tg_recorder;

typedef struct tg_recorder_options {
  tg_metrics *metrics;
  const char *split; /* evaluated on */
  uint32_t workers;
  uint64_t every;   /* updates per train line */
  double epochs;    /* of the run, for the progress line */
  bool own_weights; /* records say local_steps and consensus */
  bool in_paths;    /* records say path_clamps */
} tg_recorder_options;

TG_CHECKED tg_status tg_recorder_create(const tg_recorder_options *options, tg_recorder **out);
void tg_recorder_destroy(tg_recorder *r);

/* One gradient: applied (or gathered for an update to come), or dropped. sim_s: virtual time, or
 * negative. */
typedef struct tg_record {
  uint32_t worker;
  bool applied;   /* else it was not finite ... */
  bool late;      /* ... or came too late, */
  bool nonfinite; /* or another worker's of the same update was not finite */
  bool whole;     /* the last gradient of its update: ssgd has several */
  uint64_t update, samples, staleness;
  uint64_t bytes;       /* sent and received for it */
  uint64_t local_steps; /* with own_weights, as in tg_server_event */
  uint64_t path_clamps; /* with in_paths, tg_paths_clamped: what this process has had so far */
  uint32_t partner;     /* sent and received as many bytes; the worker itself: none did */
  double consensus;
  double late_s; /* how long ago it happened */
  double epoch, lr, loss_sum, correction_ratio, compute_s, wait_s, network_s, sim_s;
  double comm_s, exposed_s; /* as in tg_msg: overlap is 1 - exposed_s / comm_s, over sums */
} tg_record;
/* tg_recorder_clamps - tg_paths_clamped of this process, where it is known better than from the
 * last push. */
void tg_recorder_clamps(tg_recorder *r, uint64_t so_far);
TG_CHECKED tg_status tg_recorder_push(tg_recorder *r, const tg_record *record);
TG_CHECKED tg_status tg_recorder_evaluated(tg_recorder *r, uint64_t update, double epoch,
                                           double loss_sum, uint64_t correct, uint64_t samples);
/* The last evaluation so far; samples = 0 if there was none. */
tg_evaluation tg_recorder_last(const tg_recorder *r);
/* Worker lines and the end line. server_busy: fraction, or negative to leave it out. */
TG_CHECKED tg_status tg_recorder_end(tg_recorder *r, uint64_t update, double epoch,
                                     const char *weights_hash, double server_busy);
double tg_recorder_wall_s(const tg_recorder *r);
/* Counters as flat arrays, to be saved with a checkpoint and restored in place; after that,
 * tg_recorder_restored: the wall clock goes on from where it was. */
enum { TG_STALENESS_BINS = 1025 }; /* the last counts everything from 1024 on */
uint64_t *tg_recorder_counts(tg_recorder *r, size_t *count);
double *tg_recorder_reals(tg_recorder *r, size_t *count);
void tg_recorder_restored(tg_recorder *r);

#endif
