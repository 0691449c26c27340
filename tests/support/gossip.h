/* gossip.h - the runs of async.h by workers that gossip. */
#ifndef TESTS_GOSSIP_H
#define TESTS_GOSSIP_H

#include "async.h"
#include "tardigrad/gossip.h"

typedef struct gossip_run {
  tg_compute *compute;
  tg_gossip *gossip;
  const tg_transport *transport; /* NULL: one process, time unknown */
  tg_comm *comm;
} gossip_run;

/* This process computes for workers [first,first+count). `more` says topology, seed, trace and
 * records. transport NULL: none. Free with gossip_close. */
tg_status gossip_open(const async_options *o, const tg_gossip_options *more, const char *transport,
                      uint32_t first, uint32_t count, gossip_run *out);
tg_status gossip_go(gossip_run *run, const tg_observer *observer);
void gossip_close(gossip_run *run);

#endif
