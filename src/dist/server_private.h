/* server_private.h - what server.c and server_state.c share. */
#ifndef DIST_SERVER_PRIVATE_H
#define DIST_SERVER_PRIVATE_H

#include <stdbool.h>

#include "dist/kept.h"
#include "dist/live.h"
#include "tardigrad/server.h"

struct tg_server {
  tg_server_options options; /* pointers into the caller's memory replaced by the copies below */
  tg_kept kept;
  float *whole; /* [n] a gradient that came in pieces, for an optimiser of whole tensors; or NULL */
  uint64_t total;   /* updates of the whole run */
  uint32_t gathers; /* gradients that make one */
  uint64_t limit;   /* gradients that may be under way or have counted: those of the run, and those
                       that no update waits for */
  float **own_bak;  /* [workers] w_bak(m), or NULL where the caller lent memory for it */
  tg_server_state state;

  /* What updates work on: the vectors of `state`, or the device's. */
  tg_live live;
  float *w, **bak, **rule_state, *slot[TG_MAX_SLOTS], *sum;

  /* The message in hand, from tg_server_begin to tg_server_end. */
  uint32_t worker;
  uint64_t place; /* gradients gathered before its own */
  tg_server_event event;
  tg_hyper hyper;
  tg_update_sums sums;
  bool checkpoint_due;
  size_t collected; /* parameters of `whole` that are there */

  /* Of this process, not of the run: no checkpoint needs them. */
  bool preempted, *told_to_stop;
  uint64_t counted, staleness_sum;
};

/* tg_server_message - what worker m is sent to ask for `kind`; 0: TG_MSG_STOP. */
tg_msg tg_server_message(const tg_server *s, uint32_t m, uint64_t kind);
/* tg_server_show - the weights in w_bak(m) are looked at on the host. */
TG_CHECKED tg_status tg_server_show(tg_server *s, uint32_t m, tg_span span);

/* ---- server_pace.c: who may go on ---- */

/* tg_server_request - from now on worker m owes the answer to `kind` (or nothing, 0) at the weights
 * of the current version. Whoever calls it sees to it that w_bak(m) holds them. */
void tg_server_request(tg_server *s, uint32_t m, uint64_t kind);
/* tg_server_state_index - which of the rule's states is worker m's. */
size_t tg_server_state_index(const tg_server *s, uint32_t m);
/* tg_server_update - an update by worker m, and of what it is sent. tg_server_serve - w_bak(m)
 * becomes what the weights of this moment are sent as. */
tg_update tg_server_update(tg_server *s, uint32_t m);
TG_CHECKED tg_status tg_server_serve(tg_server *s, uint32_t m);
/* tg_server_go_on - worker m has nothing outstanding: its next request is a gradient; or it is
 * held; or no gradient is left for it. joined: its last one was gathered for an update to come. */
void tg_server_go_on(tg_server *s, uint32_t m, bool joined);
/* tg_server_holds - whether workers may have to wait. */
bool tg_server_holds(const tg_rule *rule);
/* tg_server_takes - whether the gradient that worker m owes would count now. */
bool tg_server_takes(const tg_server *s, uint32_t m);
/* tg_server_gather - of the message in hand: what lies in *g is added to the sum; with the gradient
 * that completes an update, *g becomes the mean. *g moves to the device where it is not there yet
 * (*on_device). */
TG_CHECKED tg_status tg_server_gather(tg_server *s, tg_span span, float **g, bool *on_device);
/* tg_server_fold - its batch statistics likewise, into b with the update. */
void tg_server_fold(tg_server *s, const float *stats);

#endif
