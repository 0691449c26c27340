/* sync.h - the synchronous loop: sgd in one process, ssgd over the workers of a transport.
 *
 * Every rank holds the weights and the optimiser's state and makes the same update from the mean of
 * all gradients, so nothing but gradients travels. Weights change through tg_update_apply, as the
 * server's do: one worker here, and one asynchronous worker, are the same to the bit. */
#ifndef TARDIGRAD_SYNC_H
#define TARDIGRAD_SYNC_H

#include "tardigrad/serve.h"

typedef struct tg_sync_options {
  const tg_rule *rule; /* of scheme local or sync */
  const tg_optimizer *optimizer;
  tg_schedule schedule;
  tg_hyper hyper;   /* momentum, weight_decay, keys; lr is filled in */
  tg_layout layout; /* of the n parameters; only read for optimisers of whole tensors */
  uint32_t workers; /* M; an update uses M * batch samples */
  size_t n, k, ks;  /* parameters, running statistics, batch statistics */
  const tg_fold *folds;
  size_t fold_count;
  uint32_t batch; /* samples per worker and gradient */
  uint64_t train_count;
  double
      epochs; /* effective passes: the run ends after ceil(epochs*train_count/(M*batch)) updates */
  double eval_every, checkpoint_every; /* epochs; 0 = at the end only */
  uint64_t max_nonfinite;              /* gradients that are not finite before it has diverged */
  uint32_t first, count; /* this process computes for workers [first,first+count): all of them where
                            there is one process, its own on a worker rank, none on rank 0 */
  tg_compute *compute;   /* NULL where count = 0 */
  tg_device *device;     /* where updates are made; compute's own, or NULL: the host */
  bool group;            /* devices of the workers sum their gradients themselves, and rank 0, which
                            has none, gets weights for checkpoints only; the same on every rank */
  tg_worker_options worker; /* with a coder gradients are encoded: compute's g is host memory */
} tg_sync_options;

/* What a checkpoint saves, as views into tg_sync: owned by it, host memory. The same on every rank.
 */
typedef struct tg_sync_state {
  float *w;                  /* [n] */
  float *b;                  /* [k] */
  float *slot[TG_MAX_SLOTS]; /* [slot_count][slot_length[i]] */
  size_t slot_count, slot_length[TG_MAX_SLOTS];
  uint64_t update, samples; /* applied */
  uint64_t step;            /* gradients computed by each worker, skipped ones included */
  uint64_t nonfinite;       /* gradients that were not finite */
} tg_sync_state;

typedef struct tg_sync tg_sync;

/* tg_sync_create - w0 [n], b0 [k] are copied; optimiser state is zero. Memory: 1 + slots vectors,
 * and one more where this process computes for several workers or for none. Not collective. */
TG_CHECKED tg_status tg_sync_create(const tg_sync_options *options, const float *w0,
                                    const float *b0, tg_sync **out);
void tg_sync_destroy(tg_sync *sync);

/* tg_sync_fetch - brings the views up to date where the vectors live on a device. */
TG_CHECKED tg_status tg_sync_fetch(tg_sync *sync);
/* tg_sync_state_of - views for checkpoints. After restoring w, b and slots through them on every
 * rank, call tg_sync_restored with the counters: the run then continues bit for bit. */
tg_sync_state tg_sync_state_of(tg_sync *sync);
TG_CHECKED tg_status tg_sync_restored(tg_sync *sync, const tg_sync_state *counters);

/* tg_sync_run - collective over all ranks of the transport (NULL: one process, no clock but the
 * wall's). The observer, on rank 0 only, sees one push per worker and update, then the evaluation
 * if there is one; the last message of an update carries checkpoint_due. An update with a gradient
 * that is not finite is skipped by all. Any rank's request to stop stops all after the same update:
 * TG_EPREEMPTED on every rank; TG_EDIVERGED likewise. */
TG_CHECKED tg_status tg_sync_run(tg_sync *sync, const tg_transport *transport, tg_comm *comm,
                                 const tg_observer *observer);

#endif
