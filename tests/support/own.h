/* own.h - the runs of async.h by workers with weights of their own, in step. */
#ifndef TESTS_OWN_H
#define TESTS_OWN_H

#include "async.h"
#include "tardigrad/local.h"

typedef struct own_options {
  async_options base; /* `updates` counts gradients: base.workers of them are one update */
  tg_mixing mixing;
  tg_topology topology;
  uint64_t local_steps;
  double local_after, local_growth;
} own_options;

typedef struct own_run {
  tg_compute *compute;
  tg_local *local;
  const tg_transport *transport;
  tg_comm *comm;
} own_run;

/* What a test then changes: rounds of `local_steps` updates, a ring. */
own_options own_defaults(const char *optimizer, uint32_t workers, size_t n, double updates,
                         uint64_t local_steps);
/* This process computes for workers [first,first+count). Free with own_close. */
tg_status own_open(const own_options *o, const char *transport, uint32_t first, uint32_t count,
                   own_run *out);
tg_status own_go(own_run *run, const tg_observer *observer);
void own_close(own_run *run);

#endif
