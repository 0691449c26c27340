/* server_private.h - what server.c and server_state.c share. */
#ifndef DIST_SERVER_PRIVATE_H
#define DIST_SERVER_PRIVATE_H

#include <stdbool.h>

#include "dist/live.h"
#include "tardigrad/server.h"

struct tg_server {
  tg_server_options options; /* pointers into the caller's memory replaced by the copies below */
  tg_fold *folds;
  tg_schedule_step *steps;
  tg_part *parts;
  tg_optimizer optimizer;
  float *whole;    /* [n] a gradient on its way to an optimiser of whole tensors, or NULL */
  uint64_t total;  /* updates of the whole run */
  float **own_bak; /* [workers] w_bak(m), or NULL where the caller lent memory for it */
  tg_server_state state;

  /* What updates work on: the vectors of `state`, or the device's. */
  tg_live live;
  float *w, **bak, **rule_state, *slot[TG_MAX_SLOTS];

  /* The message in hand, from tg_server_begin to tg_server_end. */
  uint32_t worker;
  tg_server_event event;
  tg_hyper hyper;
  tg_update_sums sums;
  bool checkpoint_due;
  size_t gathered; /* parameters of `whole` that are there */

  /* Of this process, not of the run: no checkpoint needs them. */
  bool preempted, *told_to_stop;
  uint64_t applied, staleness_sum;
};

/* tg_server_request - from now on worker m owes the answer to `kind` (or nothing, 0) at the weights
 * of the current version. Whoever calls it sees to it that w_bak(m) holds them. */
void tg_server_request(tg_server *s, uint32_t m, uint64_t kind);
/* tg_server_next_request - TG_MSG_WEIGHTS while gradients are left to be issued, else 0. */
uint64_t tg_server_next_request(const tg_server *s);

#endif
