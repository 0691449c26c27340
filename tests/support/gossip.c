#include "gossip.h"

#include <stdlib.h>

#include "synchronous.h"
#include "tardigrad/arena.h"

static tg_status create(const tg_gossip_options *options, gossip_run *run) {
  float *w0 = tg_alloc_aligned(options->step.n * sizeof(float));
  float *b0 = tg_alloc_aligned(options->step.k * sizeof(float));
  if (!w0 || !b0) TG_FAIL(TG_ERUNTIME, "no memory");
  quadratic_initial(options->step.n, w0);
  tg_status status = tg_gossip_create(options, w0, b0, &run->gossip);
  free(w0);
  free(b0);
  return status;
}

tg_status gossip_open(const async_options *o, const tg_gossip_options *more, const char *transport,
                      uint32_t first, uint32_t count, gossip_run *run) {
  tg_gossip_options options = *more;
  tg_comm_options comm = o->comm;
  *run = (gossip_run){0};
  if (count > 0 && !(run->compute = quadratic_create(&o->problem)))
    TG_FAIL(TG_ERUNTIME, "no memory");
  TG_TRY(sync_options_of(o, first, count, run->compute, &options.step));
  options.timeout_s = comm.timeout_s;
  TG_TRY(create(&options, run));
  if (!transport) return TG_OK;
  comm.workers = o->workers;
  comm.n = o->problem.n;
  comm.k = comm.ks = o->problem.k;
  comm.compute = run->compute;
  TG_TRY(tg_transport_find(transport, &run->transport));
  return run->transport->open(&comm, &run->comm);
}

tg_status gossip_go(gossip_run *run, const tg_observer *observer) {
  return tg_gossip_run(run->gossip, run->transport, run->comm, observer);
}

void gossip_close(gossip_run *run) {
  if (run->comm) run->transport->close(run->comm);
  tg_gossip_destroy(run->gossip);
  quadratic_destroy(run->compute);
  *run = (gossip_run){0};
}
