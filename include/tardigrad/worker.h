/* worker.h - computes gradients and evaluations: a pure function of the message and the weights. */
#ifndef TARDIGRAD_WORKER_H
#define TARDIGRAD_WORKER_H

#include <stdbool.h>

#include "tardigrad/backend.h"
#include "tardigrad/codec.h"
#include "tardigrad/message.h"
#include "tardigrad/status.h"

/* What a worker needs from the floors above it in knowledge and below it in the house: something
 * that turns (weights, worker, step) into a gradient. dist/ never sees a network, so that its tests
 * can use a quadratic. Memory is the host's unless said, and owned by the compute object. */
typedef struct tg_compute {
  size_t n, k, ks; /* parameters, running statistics, batch statistics */
  uint32_t batch;
  tg_device *device; /* whose memory g and every w are in; NULL: the host's */
  float *g;          /* [n] the gradient of the last call; after steps of its own: the weights */
  float *x;          /* [n] weights that move meanwhile: see tg_worker_prepare */
  float *s;          /* [ks] its batch statistics */
  double square_sum; /* with `device`: of g, left by gradient(), in the order of tg_square_sum */
  void *self;
  float *sum; /* [n] device memory where the gradient's sum over a group of devices is left by
                 gradient(), which is collective then; NULL: there is no group */
  /* Host memory that weights will come from, and that may be prepared for it. NULL rows: nothing to
   * be done. */
  void (*pin)(struct tg_compute *c, const float *w);
  void (*unpin)(struct tg_compute *c, const float *w);
  /* The weights [span) of the next request are at w + span.lo and stay there until it is answered:
   * the other weights are still on their way. Spans come from 0 on, without a gap; whoever is given
   * them up to n is asked at that same w. NULL row: nothing to be done. */
  tg_status (*take)(struct tg_compute *c, const float *w, tg_span span);
  /* From now on gradients go to g [n], memory of the caller. g NULL: that memory is about to go,
   * and no gradient will be asked for any more. NULL row: they stay where they are. */
  tg_status (*place_gradient)(struct tg_compute *c, float *g);
  /* Gradient of worker `worker`'s batch `step` at w [n]: fills g, s and the result. */
  tg_status (*gradient)(struct tg_compute *c, uint32_t worker, uint64_t step, const float *w,
                        double *loss_sum, uint64_t *correct);
  /* Loss and correct predictions of the whole test split at (w, b). */
  tg_status (*evaluate)(struct tg_compute *c, const float *w, const float *b, double *loss_sum,
                        uint64_t *correct, uint32_t *samples);
} tg_compute;

typedef struct tg_worker_options {
  double clip_norm;      /* sync.clip_norm: 0 = no clipping; applied before the rule squares g */
  bool skip_evaluation;  /* replay: answer TG_MSG_EVALUATE with zeros */
  uint32_t local_steps;  /* steps of SGD that a worker makes by itself before it pushes where they
                            led (rule->local_steps); 0: it pushes one gradient */
  double weight_decay;   /* of those steps; their learning rate comes with the weights */
  uint64_t chaos_nan_at; /* chaos.nan_gradient_at: gradients (any worker) with this step + 1 are
                            made NaN; 0 = never */
  tg_coder *coder;       /* encodes gradients, after clipping: the message is coder->message; on a
                            server it decodes. NULL: gradients travel as they are */
} tg_worker_options;

/* tg_worker_prepare - makes what a worker needs for steps of its own, if it makes any (c->x, where
 * g is); whoever called it calls tg_worker_release, which also takes what was not prepared. */
TG_CHECKED tg_status tg_worker_prepare(tg_compute *c, const tg_worker_options *options);
void tg_worker_release(tg_compute *c);

/* tg_worker_step - does what *in asks (TG_MSG_WEIGHTS or TG_MSG_EVALUATE) at the weights w [n] and
 * running statistics b [k] (evaluation only) and fills the header *out; the body is c->g (with a
 * coder: its message) and c->s.
 * With local_steps H the gradients of steps in->step * H .. + H - 1 are computed at weights that
 * move by w -= lr (g + weight_decay w), each clipped by itself; c->g is the weights after the last,
 * loss, samples and correct predictions are sums, c->s is the last gradient's.
 * Times are left 0: the transport knows them.
 * A gradient, loss or statistic that is not finite is reported with TG_FLAG_NONFINITE, not as a
 * failure. The norm does not depend on the number of threads. */
TG_CHECKED tg_status tg_worker_step(tg_compute *c, const tg_worker_options *options,
                                    const tg_msg *in, const float *w, const float *b, tg_msg *out);

#endif
