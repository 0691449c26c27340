/* pause_mpi.c - between two looks that found nothing. Over SMPI, where looks are simulated,
 * bench/simulate_smpi.c stands in its place. */
#include <mpi.h>
#include <sched.h>

#include "dist/comm_mpi.h"

bool tg_patience_pause(tg_patience *p) {
  double nap_s = tg_patience_step(p);
  /* The processor is offered to others even then: ranks may be more than cores. */
  if (nap_s > 0)
    tg_nap(nap_s);
  else
    sched_yield();
  p->now = tg_clock_s();
  return p->now - p->began < p->timeout_s;
}
