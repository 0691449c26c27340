/* in_step.h - what the loops share that have no server of weights (sync.c, local.c, gossip.c):
 * options, how far the run is, evaluations, what the observer is told, how a run ends. */
#ifndef DIST_IN_STEP_H
#define DIST_IN_STEP_H

#include "dist/kept.h"
#include "tardigrad/holdings.h"
#include "tardigrad/sync.h"

typedef struct tg_in_step {
  tg_sync_options o; /* folds, schedule, layout, optimiser: copies of our own */
  tg_kept kept;
  uint32_t gradients;       /* that make an update: one of each worker, or 1 */
  uint64_t total;           /* updates of the run */
  uint64_t update, samples; /* applied */
  uint64_t nonfinite;       /* gradients that were not finite */
  /* Of the run in hand: */
  const tg_transport *transport;
  tg_comm *comm;
  const tg_observer *observer;
  bool wanted;   /* the observer asked to stop */
  bool diverged; /* the observer said so, and why */
  char why[1024];
} tg_in_step;

/* tg_in_step_open - TG_ECONFIG where this process cannot compute for the workers named. Free with
 * tg_in_step_close, also after a failure. */
TG_CHECKED tg_status tg_in_step_open(tg_in_step *s, const tg_sync_options *o, uint32_t gradients);
void tg_in_step_close(tg_in_step *s);
/* tg_in_step_restored - counters of a checkpoint; TG_EDATA where they contradict each other. */
TG_CHECKED tg_status tg_in_step_restored(tg_in_step *s, uint64_t update, uint64_t samples,
                                         uint64_t nonfinite);

uint64_t tg_in_step_samples(const tg_in_step *s); /* per update */
double tg_in_step_epoch(const tg_in_step *s, uint64_t samples);
/* tg_in_step_crosses - whether update number `update` crosses a multiple of `every` epochs. */
bool tg_in_step_crosses(const tg_in_step *s, double every, uint64_t update);
/* tg_in_step_lr - the learning rate of the update after `update` others. */
double tg_in_step_lr(const tg_in_step *s, uint64_t update);
bool tg_in_step_computes(const tg_in_step *s, uint32_t worker);
/* tg_in_step_shared - whether other ranks compute too: a transport without work() runs its workers
 * here. */
bool tg_in_step_shared(const tg_in_step *s);
/* tg_in_step_reduce - the transport's all-reduce; nothing without a transport. */
TG_CHECKED tg_status tg_in_step_reduce(const tg_in_step *s, float *x, size_t n, double *scalars,
                                       size_t count);

/* tg_in_step_apply - the gradient and the statistics that the compute object has, by held worker
 * i's own optimiser, to weights w [n] of its own. update: how many it has made before. */
void tg_in_step_apply(const tg_in_step *s, const tg_holdings *h, uint32_t i, float *w, double lr,
                      uint64_t update);
/* tg_in_step_tell - hands an event to the observer. */
TG_CHECKED tg_status tg_in_step_tell(tg_in_step *s, const tg_msg *in, const tg_server_event *event);
/* tg_in_step_evaluate - worker 0 evaluates (w, b), everybody waits; *out, *event: what is to be
 * told, but for out->sent_s. Collective. w and b matter on worker 0 only. */
TG_CHECKED tg_status tg_in_step_evaluate(tg_in_step *s, const float *w, const float *b,
                                         uint64_t step, bool last, tg_msg *out,
                                         tg_server_event *event);
/* tg_in_step_evaluated - what the event of an evaluation says, but for the means' own figures. */
void tg_in_step_evaluated(const tg_in_step *s, bool last, tg_server_event *event);
/* tg_in_step_alike - collective, where every rank holds the same weights w [n], host memory:
 * compares prints of them. *out: they are the same; if not, s->diverged and s->why are set on every
 * rank. */
TG_CHECKED tg_status tg_in_step_alike(tg_in_step *s, const float *w, bool *out);
/* tg_in_step_cut - the run ends early: the observer saves, and why is said. Never TG_OK. */
tg_status tg_in_step_cut(tg_in_step *s, tg_status why);

#endif
