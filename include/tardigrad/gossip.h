/* gossip.h - AD-PSGD (Lian, Zhang, Zhang, Liu, ICML 2018, Algorithm 1): every worker trains weights
 * of its own, out of step with the others, and averages them with one neighbour's at a time.
 *
 * Worker i computes a gradient at a snapshot of x_i. When it is ready, an operation follows:
 *   x_i, x_j <- (x_i + x_j) / 2 for a random neighbour j;   x_i <- x_i - lr g_i;   snapshot <- x_i
 * and the next gradient is computed at the snapshot while others' operations go on changing x_i:
 * how many did is the gradient's staleness.
 *
 * Rank 0 is a coordinator, which gets no gradients and no weights (but for evaluations and
 * checkpoints): it takes workers' headers in the order in which they arrive, draws the partner from
 * (seed, worker, step), and tells both. Every worker does its operations in the order in which rank
 * 0 issued them. The operation issued first among those not yet done can always be done: there is
 * no deadlock, whatever the graph. And the order of the headers is all that chance decides: it is
 * recorded in trace.bin, and a run in one process that follows it does the same, bit for bit.
 *
 * Updates are gradients applied, as with a server. A gradient that is not finite is dropped: its
 * worker takes a new snapshot and goes on with its next batch. Weights live in host memory. */
#ifndef TARDIGRAD_GOSSIP_H
#define TARDIGRAD_GOSSIP_H

#include "tardigrad/holdings.h"
#include "tardigrad/sync.h"
#include "tardigrad/topology.h"

typedef struct tg_gossip_options {
  tg_sync_options step; /* as there, without device and group; an update is one gradient */
  tg_topology topology;
  uint64_t seed;           /* of partners */
  double timeout_s;        /* of a wait for a message */
  tg_trace *trace;         /* rank 0: order recorded into, and prescribed by; or NULL */
  const uint32_t *records; /* one process: the order prescribed, as in trace.bin; or NULL */
  size_t record_count;
  bool one_thread; /* orders wait for gradients, as where MPI allows no second thread */
} tg_gossip_options;

/* What a checkpoint saves, as views into tg_gossip: owned by it, host memory. Rank 0 has everything
 * whenever the observer is told that a checkpoint is due. */
typedef struct tg_gossip_state {
  float *w, *b; /* [n], [k]: the means of all workers, where they are published */
  tg_holdings has;
  uint64_t *step;     /* [workers] gradients issued to each */
  uint64_t *made;     /* [workers] gradients that m applied: the age of its optimiser */
  uint64_t *ops;      /* [workers] operations on x_m so far */
  uint64_t *taken_at; /* [workers] operations on x_m when its snapshot was taken */
  uint64_t *pending;  /* [workers] 1: a gradient is under way */
  double *ready;      /* [workers + 1] sim: when it will be there; last: the time now */
  uint64_t update, samples, nonfinite;
  uint64_t issued; /* gradients applied or under way */
} tg_gossip_state;

typedef struct tg_gossip tg_gossip;

/* tg_gossip_create - every worker begins at w0 [n], b0 [k], which are copied. Memory: for each
 * worker held 2 + slots vectors, and two more. Not collective. */
TG_CHECKED tg_status tg_gossip_create(const tg_gossip_options *options, const float *w0,
                                      const float *b0, tg_gossip **out);
void tg_gossip_destroy(tg_gossip *gossip);

/* tg_gossip_partner - with whom worker i averages when gradient `step` is ready; itself if it has
 * no neighbour. Uniform among neighbours. */
uint32_t tg_gossip_partner(tg_topology t, uint32_t workers, uint64_t seed, uint32_t i,
                           uint64_t step);

/* tg_gossip_state_of - views for checkpoints. After restoring through them on rank 0 call
 * tg_gossip_restored there with the counters, then on every rank of several tg_gossip_share. */
tg_gossip_state tg_gossip_state_of(tg_gossip *gossip);
TG_CHECKED tg_status tg_gossip_restored(tg_gossip *gossip, const tg_gossip_state *counters);
TG_CHECKED tg_status tg_gossip_share(tg_gossip *gossip, const tg_transport *transport,
                                     tg_comm *comm);

/* tg_gossip_fetch - in one process: w and b become the means of this moment. Over several ranks
 * they are so whenever a checkpoint is due. */
TG_CHECKED tg_status tg_gossip_fetch(tg_gossip *gossip);

/* tg_gossip_run - collective over all ranks of the transport. The observer, on rank 0 only, sees
 * every gradient as it is applied or dropped, and evaluations of the mean weights, during which no
 * operation is issued. TG_EPREEMPTED and TG_EDIVERGED on every rank, after the observer saved. On a
 * worker rank operations are done by a second thread while the first computes, if MPI allows;
 * between two gradients if not, which a warning says. */
TG_CHECKED tg_status tg_gossip_run(tg_gossip *gossip, const tg_transport *transport, tg_comm *comm,
                                   const tg_observer *observer);

#endif
