/* synchronous.h - the runs of async.h in step: the same problem, rates and schedule. */
#ifndef TESTS_SYNCHRONOUS_H
#define TESTS_SYNCHRONOUS_H

#include "async.h"
#include "tardigrad/sync.h"

typedef struct sync_run {
  tg_compute *compute;
  tg_sync *sync;
  const tg_transport *transport; /* NULL: one process */
  tg_comm *comm;
} sync_run;

/* The options of such a run; they point to static memory. */
tg_status sync_options_of(const async_options *o, uint32_t first, uint32_t count,
                          tg_compute *compute, tg_sync_options *out);
/* This process computes for workers [first,first+count). `updates` of o counts gradients:
 * o->workers of them are one update. transport NULL: none. Free with sync_close. */
tg_status sync_open(const async_options *o, const char *transport, uint32_t first, uint32_t count,
                    sync_run *out);
tg_status sync_go(sync_run *run, const tg_observer *observer);
void sync_close(sync_run *run);

#endif
