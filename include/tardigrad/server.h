/* server.h - the parameter server as a state machine: Algorithm 2 of Zheng et al. (ICML 2017).
 *
 * It owns w, w_bak(m) for every worker, the rule's and the optimiser's state, the batch-norm
 * running statistics, versions, staleness, the schedule and every counter. It does no I/O and has
 * no clock: a transport carries its messages, and tests drive it by hand.
 *
 * One message is handled by tg_server_begin (decides what happens and what is answered), then
 * tg_server_apply over all spans of [0,n) (push and pull in one pass over memory: the update, and
 * w_bak(m) = w, or what the rule serves in its place, which is itself the send buffer), then
 * tg_server_end. tg_server_step is the three in one call.
 *
 * A rule may let a worker wait (tg_rule: gathers, runs): its message is not answered then, and it
 * is held. After each message tg_server_release gives the answers to those who need wait no longer,
 * with the weights of that moment. Who is held and who is released follows from the order of the
 * messages alone. */
#ifndef TARDIGRAD_SERVER_H
#define TARDIGRAD_SERVER_H

#include "tardigrad/backend.h"
#include "tardigrad/message.h"
#include "tardigrad/optim.h"
#include "tardigrad/update.h"

/* How a batch-norm statistic of the batch is folded into the running one:
 * b[b_lo+i] = (1-momentum) b[b_lo+i] + momentum s[s_lo+i], i < count. */
typedef struct tg_fold {
  size_t b_lo, s_lo, count;
  float momentum;
} tg_fold;

/* tg_fold_apply - folds the batch statistics s into the running statistics b. */
void tg_fold_apply(const tg_fold *folds, size_t count, const float *s, float *b);

/* tg_progress_updates - the updates of `samples` samples each in a run of so many effective epochs:
 * ceil(epochs * train_count / samples), less a rounding error's worth, since 1.1 * 10 is more than
 * 11 in binary. */
uint64_t tg_progress_updates(double epochs, uint64_t train_count, uint64_t samples);
/* tg_progress_boundaries - how many multiples of `every` epochs lie within the first `samples`
 * samples; 0 for every = 0. Something is due when an update raises it. */
uint64_t tg_progress_boundaries(double every, uint64_t train_count, uint64_t samples);

typedef struct tg_server_options {
  const tg_rule *rule;
  const tg_optimizer *optimizer;
  tg_schedule schedule;
  tg_hyper hyper;   /* lambda, decay, epsilon, cap, momentum, weight_decay, keys; lr is filled in */
  tg_layout layout; /* of the n parameters; only read for optimisers of whole tensors */
  uint32_t workers;
  bool global_state;    /* one rule state for all workers (sync.mean_square=global) */
  size_t n, k, ks;      /* parameters, running statistics, batch statistics in a push */
  tg_device *device;    /* where updates are made, and the vectors live; NULL: the host */
  bool device_workers;  /* workers of this process read w_bak and leave g in the device's memory */
  float *const *bak;    /* [workers] memory [n] for w_bak(m), owned by the caller; an entry of NULL,
                           or NULL: the server's own */
  const tg_fold *folds; /* how ks folds into k */
  size_t fold_count;
  uint32_t batch;          /* samples per gradient; with rule->local_steps: per exchange */
  uint64_t train_count;    /* samples in the training set */
  double epochs;           /* effective passes: the run ends after ceil(epochs*train_count/batch)
                              gradients, rounded up to whole updates */
  double eval_every;       /* epochs between evaluations; 0 = at the end only */
  double checkpoint_every; /* epochs; 0 = at the end only */
  uint64_t max_nonfinite;  /* dropped gradients after which the run has diverged */
} tg_server_options;

/* What one handled message meant; filled by tg_server_begin, completed by tg_server_end. */
typedef struct tg_server_event {
  bool counts;         /* the gradient counts: hand it to tg_server_apply, and its statistics on */
  bool applied;        /* an update was made, with this gradient or with it and those gathered */
  bool serves;         /* weights are sent: send w_bak(m) span by span */
  bool held;           /* nothing is sent: the worker waits for tg_server_release */
  bool nonfinite;      /* a push was dropped: it was not finite */
  bool late;           /* a push was dropped: it came too late */
  bool evaluated;      /* an evaluation came back */
  bool checkpoint_due; /* after tg_server_end: save */
  bool finished;       /* every worker has been told to stop */
  uint64_t update;     /* updates applied, after this message */
  uint64_t staleness;  /* of the gradient, in updates */
  double epoch;        /* effective, after this message */
  double lr;           /* of the update that the gradient is part of */
  double correction_ratio; /* r = |correction| / |gradient| of this push */
  double gap;              /* |w - w_bak(m)| / sqrt(n) before the update */
  /* Where workers hold weights of their own: */
  double consensus;     /* root mean square of |x_m - mean| over workers m, when last measured */
  uint64_t local_steps; /* updates in the round between two exchanges */
  uint64_t bytes;       /* weights sent and received by the worker for this gradient ... */
  uint32_t partner;     /* ... and as many by this one, if it is another (ad-psgd) */
} tg_server_event;

/* What a worker may owe besides answers to messages: nothing, and it waits for weights. */
enum { TG_SERVER_HELD = 64 };

/* Everything that a checkpoint saves, as views into the server: owned by it, host memory. */
typedef struct tg_server_state {
  float *w;           /* [n] */
  float *b;           /* [k] running statistics */
  float **bak;        /* [workers][n] */
  float **rule_state; /* [rule_state_count][n]: tg_rule_states */
  size_t rule_state_count;
  float *slot[TG_MAX_SLOTS]; /* [slot_count][slot_length[i]] optimiser state */
  size_t slot_count, slot_length[TG_MAX_SLOTS];
  uint64_t *version; /* [workers] updates applied when m last pulled */
  uint64_t *step;    /* [workers] gradients issued to m so far, the outstanding one included */
  uint64_t *pending; /* [workers] what m owes an answer to: TG_MSG_WEIGHTS, TG_MSG_EVALUATE, or 0;
                        TG_SERVER_HELD: nothing, it waits itself */
  uint64_t *clock;   /* [workers] gradients of m that counted */
  float **b_bak;    /* [workers][k] b as it was when m was last served TG_MSG_EVALUATE: what to send
                       with it, since b itself moves on while the message travels */
  float *sum;       /* [n] of the gradients gathered for the next update */
  float *sum_stats; /* [ks] of their statistics; both NULL where an update
                       takes one gradient */
  uint64_t update, samples, nonfinite, late; /* counters */
  uint64_t gathered;                         /* gradients in sum */
  uint64_t issued;                           /* gradients that counted or are outstanding */
} tg_server_state;

typedef struct tg_server tg_server;

/* tg_server_create - w_bak(m) = w = w0 for all m (Algorithm 2), rule and optimiser state zero.
 * w0 [n], b0 [k] are copied. Memory: (1 + workers) n floats + state; owned by the server. */
TG_CHECKED tg_status tg_server_create(const tg_server_options *options, const float *w0,
                                      const float *b0, tg_server **out);
void tg_server_destroy(tg_server *server);

/* tg_server_start - the first message for worker m, at the start of a run or after a restored
 * state: the request that it owes an answer to. TG_MSG_WEIGHTS with w_bak(m), its version and its
 * step; TG_MSG_EVALUATE with w_bak(m) and b_bak(m); or TG_MSG_STOP when every gradient of the run
 * is already spoken for. A message of kind 0 is not to be sent: the worker is held; when all have
 * been started call tg_server_release. Does not change w_bak. (A run of no updates evaluates once,
 * on worker 0.) */
void tg_server_start(tg_server *server, uint32_t worker, tg_msg *out);

/* tg_server_release - the answer to one worker that was held and need wait no longer, the lowest
 * first: its header, with w_bak(worker) the weights of this moment; or TG_MSG_STOP when no gradient
 * is left for it, or after tg_server_preempt. Kind 0: there is none. Call it until then, after each
 * message and after tg_server_preempt. */
TG_CHECKED tg_status tg_server_release(tg_server *server, tg_msg *out);

/* tg_server_finished - whether no worker owes an answer. Already so after tg_server_start when a
 * finished run is resumed: then no message will come, and no event says it. */
bool tg_server_finished(const tg_server *server);

/* tg_server_begin - takes one header and decides. *reply is the answer's header, of kind 0 where
 * the worker is held. If event->counts or event->serves, call tg_server_apply over the whole of
 * [0,n), then tg_server_end. TG_EDIVERGED after too many gradients that were not finite.
 * TG_ERUNTIME for a message that no worker may send (unknown worker, kind, version, step, or one
 * without an outstanding request). */
TG_CHECKED tg_status tg_server_begin(tg_server *server, const tg_msg *in, tg_msg *reply,
                                     tg_server_event *event);

/* tg_server_apply - over [span.lo,span.hi): applies the gradient g (span.hi-span.lo floats in host
 * memory or, with device_workers, in the device's; overwritten; with rule->local_steps it is the
 * worker's weights) if the event says that it counts (else g is ignored), and writes w_bak(m) if it
 * serves. Spans come in any order, each parameter once. OpenMP threads share the span.
 * tg_server_waits: with an optimiser of whole tensors nothing of w_bak(m) is written before the
 * last span is there. */
TG_CHECKED tg_status tg_server_apply(tg_server *server, tg_span span, float *g);
bool tg_server_waits(const tg_server *server);

/* tg_server_end - folds the batch statistics [ks] (NULL when the gradient does not count), those of
 * an update of several gradients as their mean, with the update; completes the event. */
TG_CHECKED tg_status tg_server_end(tg_server *server, const float *stats, tg_server_event *event);

/* tg_server_step - begin, apply over [0,n), end; the releases are the caller's. */
TG_CHECKED tg_status tg_server_step(tg_server *server, const tg_msg *in, float *g,
                                    const float *stats, tg_msg *reply, tg_server_event *event);

/* tg_server_preempt - from now on every worker is answered TG_MSG_STOP with TG_FLAG_PREEMPT. Pushes
 * that still arrive are not applied and change nothing: the state saved now is whole, and each
 * worker's outstanding gradient is computed again from w_bak(m) after resuming. Call it between
 * messages. A message with TG_FLAG_PREEMPT does the same. The event that finishes says
 * checkpoint_due: for whoever did not save at once. */
void tg_server_preempt(tg_server *server);

/* tg_server_weights - w_bak(m) as it is sent: host memory or, with device_workers, the device's.
 * tg_server_statistics - b_bak(m), host memory. */
const float *tg_server_weights(const tg_server *server, uint32_t worker);
const float *tg_server_statistics(const tg_server *server, uint32_t worker);

/* tg_server_fetch - brings the views up to date where the vectors live on a device. */
TG_CHECKED tg_status tg_server_fetch(tg_server *server);
/* tg_server_state_of - views for checkpoints, to be read between messages. After restoring the
 * arrays (w, b, bak, rule_state, slot, version, step, pending, clock, b_bak, sum, sum_stats)
 * through these views, call tg_server_restored with the counters, before tg_server_start: the run
 * then continues bit for bit. Where the run was made longer, stopped workers are given weights
 * again. Errors of tg_server_restored: TG_EDATA where counters and arrays contradict each other,
 * TG_ECONFIG where more gradients were issued than the run has. */
tg_server_state tg_server_state_of(tg_server *server);
TG_CHECKED tg_status tg_server_restored(tg_server *server, const tg_server_state *counters);

#endif
