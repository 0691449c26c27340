/* async.h - an asynchronous run on the quadratic of quadratic.h: ten updates are an epoch. */
#ifndef TESTS_ASYNC_H
#define TESTS_ASYNC_H

#include "quadratic.h"
#include "tardigrad/serve.h"

enum { ASYNC_BATCH = 4, ASYNC_EPOCH = 10 /* updates of one gradient each */ };

typedef struct async_options {
  const char *rule, *optimizer;
  uint32_t workers;
  double updates, eval_every, checkpoint_every; /* all in updates */
  double lr;                                    /* 0: one at which every rule is stable */
  uint64_t max_nonfinite;
  bool global_state, no_decay;
  uint64_t staleness_bound, delay_threshold; /* of rules that have them */
  uint32_t backup_workers;
  double
      constant_lr; /* a constant rate, and no weight decay; 0: a schedule that suits the workers */
  quadratic_options problem;
  tg_comm_options comm; /* sizes, workers and compute are filled in */
} async_options;

typedef struct async_run {
  tg_compute *compute;
  tg_server *server;
  const tg_transport *transport;
  tg_comm *comm;
  async_options o;
} async_run;

/* Options that a test then changes: rule, optimizer, workers, n parameters, updates. */
async_options async_defaults(const char *rule, const char *optimizer, uint32_t workers, size_t n,
                             double updates);
/* The server's part of them. */
tg_status async_server_options(const async_options *o, tg_server_options *out);

/* Opens a transport and whatever this side needs. Free with async_close, also after a failure. */
tg_status async_open(const async_options *o, const char *transport, bool server, bool worker,
                     async_run *out);
void async_close(async_run *run);
tg_status async_serve(async_run *run, const tg_observer *observer);
/* w of the server; and a copy to be freed. */
const float *async_weights(async_run *run);
float *async_keep(async_run *run);

/* ---- whole runs, for tests of Check: what must not fail is checked ---- */

/* On every rank of a run over MPI: the server on rank 0, workers on the others. Rank 0 gets the
 * final weights, to be freed; the others NULL. */
float *async_over_mpi(const async_options *o, int rank, const tg_observer *observer);
/* The run that was recorded at `path`, in one process; what codecs keep is o.comm.worker.coder's.
 * The final weights, to be freed. */
float *async_replay(async_options o, const char *path, const tg_observer *observer);
/* A run of sim that goes on in another process: server and clock move over, nothing else. Closes
 * the old one. */
async_run async_go_on(async_run *old);

#endif
