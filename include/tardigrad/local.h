/* local.h - the loop of schemes in which every worker trains weights of its own, all in step, and
 * weights travel instead of gradients.
 *
 *   average        every H updates all weights become their mean: local SGD (Stich, ICLR 2019;
 *                  McMahan et al., AISTATS 2017), post-local SGD (Lin et al., ICLR 2020: H = 1
 * until an epoch), the quadratic synchronisation rule (Gu et al., ICLR 2024) combine-adapt  after
 * each gradient x_i <- sum_j W_ij x_j - lr g_i(x_i): D-PSGD (Lian et al., NeurIPS 2017, Algorithm
 * 1) adapt-combine  x_i <- sum_j W_ij (x_j - lr g_j(x_j)): the other order, which with all workers
 *                  as neighbours is ssgd
 *
 * An update is one gradient of every worker, each applied to its own weights by its own optimiser,
 * whose state never travels: learning rates, epochs and the end of a run are ssgd's. Means are sums
 * in worker order times 1/count, so that mpi and sim agree bit for bit. A gradient that is not
 * finite is skipped by its worker alone, which goes on with its next batch. Every worker folds the
 * batch statistics of its gradients into running statistics of its own; those of the model are the
 * mean of them, which is what folding the mean would give.
 *
 * Weights live in host memory and updates are made there, whatever computes. */
#ifndef TARDIGRAD_LOCAL_H
#define TARDIGRAD_LOCAL_H

#include "tardigrad/holdings.h"
#include "tardigrad/sync.h"
#include "tardigrad/topology.h"

typedef enum { TG_MIX_AVERAGE, TG_MIX_COMBINE_ADAPT, TG_MIX_ADAPT_COMBINE } tg_mixing;

typedef struct tg_local_options {
  tg_sync_options step; /* as there, without device and group */
  tg_mixing mixing;
  tg_topology topology; /* of combine-adapt and adapt-combine */
  uint64_t local_steps; /* H of average, from 1 ... */
  double local_after;   /* ... once a round begins at this epoch or later; 1 before */
  double local_growth;  /* alpha of the quadratic rule; 0: H as it is */
} tg_local_options;

/* What a checkpoint saves, as views into tg_local: owned by it, host memory, valid until the next
 * update. Worker ranks hold their own worker's vectors, rank 0 room for everybody's. */
typedef struct tg_local_state {
  float *w, *b; /* [n], [k]: the means, where they are published */
  tg_holdings has;
  uint64_t *step; /* [workers] gradients computed, skipped ones included */
  double *clock;  /* [workers] sim: virtual time that each has reached */
  uint64_t update, samples, nonfinite;
  uint64_t round_end, round_steps; /* the round of updates under way, and its H */
} tg_local_state;

typedef struct tg_local tg_local;

/* tg_local_create - every worker begins at w0 [n], b0 [k], which are copied; optimiser state is
 * zero. Memory: for each worker held 1 + slots vectors, one more for neighbours' means, and one for
 * each neighbour elsewhere; and one for the mean. Not collective. */
TG_CHECKED tg_status tg_local_create(const tg_local_options *options, const float *w0,
                                     const float *b0, tg_local **out);
void tg_local_destroy(tg_local *local);

/* tg_local_round - H of a round that begins after `update` updates: local_steps or, with growth,
 * max(local_steps, floor((alpha / lr)^2)) with the learning rate of its first update (in a warm-up:
 * of the first one after it), 1 before local_after, and never beyond the end of the run. Source: Gu
 * et al. 2024, equation 2. */
uint64_t tg_local_round(const tg_local *local, uint64_t update);

/* tg_local_state_of - views for checkpoints: whole on rank 0 whenever the observer is told that one
 * is due. After restoring through them on rank 0 call tg_local_restored there with the counters,
 * then on every rank of several tg_local_share: the run continues bit for bit. */
tg_local_state tg_local_state_of(tg_local *local);
TG_CHECKED tg_status tg_local_restored(tg_local *local, const tg_local_state *counters);
/* tg_local_share - collective over all ranks: rank 0's state becomes everybody's. */
TG_CHECKED tg_status tg_local_share(tg_local *local, const tg_transport *transport, tg_comm *comm);

/* tg_local_run - collective over all ranks of the transport. The observer, on rank 0 only, is told
 * of pushes (a gradient that a worker applied to its own weights, or skipped) in updates' order,
 * somewhat late: ranks exchange what there is to tell about once a second. Evaluations are of the
 * mean weights, at just the updates at which ssgd makes them. A request to stop is heard within
 * that second; TG_EPREEMPTED on every rank, TG_EDIVERGED likewise. */
TG_CHECKED tg_status tg_local_run(tg_local *local, const tg_transport *transport, tg_comm *comm,
                                  const tg_observer *observer);

#endif
