/* gossip_private.h - what the parts of AD-PSGD share. */
#ifndef DIST_GOSSIP_PRIVATE_H
#define DIST_GOSSIP_PRIVATE_H

#include "dist/in_step.h"
#include "tardigrad/gossip.h"

/* What rank 0 tells a worker to do, in this order. */
typedef enum {
  TG_GOSSIP_COMPUTE = 1, /* gradient `step` at the snapshot as it is */
  TG_GOSSIP_AGAIN,       /* a new snapshot; then gradient `step`, unless there is none */
  TG_GOSSIP_MIX,      /* average with `partner`; if worker is you, apply your gradient and AGAIN */
  TG_GOSSIP_SHOW,     /* send weights and running statistics to rank 0 */
  TG_GOSSIP_SAVE,     /* send everything to rank 0 */
  TG_GOSSIP_EVALUATE, /* receive the means and evaluate them */
  TG_GOSSIP_STOP      /* say that you heard it, and end with `status` */
} tg_order_kind;

typedef struct tg_order {
  uint32_t kind, worker, partner;
  int32_t status;
  uint64_t update, step;
  double lr;
  bool more; /* there is a next gradient */
} tg_order;

struct tg_gossip {
  tg_in_step in;
  tg_gossip_options o;
  tg_gossip_state state;
  float *inbox;  /* [n] a worker rank: the partner's weights */
  size_t record; /* of o.records: used */
  double consensus;
  /* Rank 0 of several: headers that have come, waiting for their turn. */
  tg_msg *waiting; /* [workers] */
  uint32_t waiting_count;
  uint32_t stopped; /* workers that have heard of the end */
};

/* tg_gossip_snapshot - held worker i's weights, to compute at. */
void tg_gossip_snapshot(tg_gossip *y, uint32_t i);

/* tg_gossip_lead - where decisions are made: rank 0, or the one process there is.
 * tg_gossip_work - a worker rank. */
TG_CHECKED tg_status tg_gossip_lead(tg_gossip *y);
TG_CHECKED tg_status tg_gossip_work(tg_gossip *y);

#endif
