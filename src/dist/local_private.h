/* local_private.h - what the parts of the local loop share. */
#ifndef DIST_LOCAL_PRIVATE_H
#define DIST_LOCAL_PRIVATE_H

#include "dist/in_step.h"
#include "tardigrad/local.h"

/* What is summed at the end of a stretch: requests to stop, the square of the distance from the
 * mean over all workers, then one row per update and worker. Each row has one writer. */
enum { SUM_STOP, SUM_DIVERGED, SUM_DISTANCE, SUM_ROWS };
enum {
  ROW_LOSS,
  ROW_CORRECT,
  ROW_NORM,
  ROW_COMPUTE_S,
  ROW_WAIT_S,
  ROW_COMM_S,
  ROW_EXPOSED_S,
  ROW_SENT_S,
  ROW_BAD,  /* gradients that were skipped before ... */
  ROW_MADE, /* ... the one that was applied: 1, or 0 of a worker that gave up */
  ROW_FIELDS
};
enum { MOST_UPDATES = 64, MOST_ROWS = 4096 /* of a stretch */ };

struct tg_local {
  tg_in_step in;
  tg_local_options o;
  tg_local_state state;         /* update, samples, nonfinite: those of `in` */
  float **mixed;                /* [held][n] where neighbours mix: the next x */
  float **inbox;                /* [neighbours elsewhere][n], on worker ranks */
  const float **member;         /* [most that are averaged] */
  tg_parcel *parcel;            /* [neighbours elsewhere] */
  size_t neighbours;            /* of a worker, without itself; 0 for average */
  double *clock_before;         /* [workers] */
  double *scalars;              /* [SUM_ROWS + MOST_UPDATES * workers * ROW_FIELDS] */
  uint64_t steps[MOST_UPDATES]; /* of each update of the stretch: H of its round, ... */
  bool ends[MOST_UPDATES];      /* ... and whether it is the last of it */
  uint64_t done;                /* updates of the stretch so far */
  uint64_t next;                /* updates of the next one */
  double posted_s;              /* when weights were sent to neighbours */
  double began_s, ended_s;      /* of the stretch, by the transport's clock */
  uint64_t mean_of;             /* update whose mean w is; UINT64_MAX: none */
  bool pinned;                  /* the compute object was told of x and mixed */
  bool measured;                /* SUM_DISTANCE was */
  double distance;              /* root of the mean square over workers, when last measured */
};

static inline double *tg_local_row(tg_local *y, uint64_t at, uint32_t worker) {
  return y->scalars + SUM_ROWS + (at * y->in.o.workers + worker) * ROW_FIELDS;
}

/* tg_local_simulated - whether time is virtual: then this process has all workers' clocks. */
static inline bool tg_local_simulated(const tg_local *y) {
  return y->in.transport && y->in.transport->compute_s;
}

/* tg_local_post, tg_local_collect - a worker rank's weights to its neighbours, and theirs.
 * tg_local_mix - mixed = the mean of held worker i's neighbourhood, in the order of workers.
 * tg_local_wait - in virtual time nobody goes on before its neighbours' weights are there, which is
 * when they have finished the update before (combine-adapt) or this one. */
TG_CHECKED tg_status tg_local_post(tg_local *y);
TG_CHECKED tg_status tg_local_collect(tg_local *y);
void tg_local_mix(tg_local *y, uint32_t i);
void tg_local_wait(tg_local *y);

/* tg_local_mean - w = the mean of all weights, tg_local_mean_statistics - b = that of running
 * statistics: on every rank, collective. */
TG_CHECKED tg_status tg_local_mean(tg_local *y);
TG_CHECKED tg_status tg_local_mean_statistics(tg_local *y);

/* tg_local_gather - collective: rank 0 gets every worker's vectors, before a checkpoint. */
TG_CHECKED tg_status tg_local_gather(tg_local *y);

#endif
