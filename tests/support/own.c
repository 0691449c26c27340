#include "own.h"

#include <stdlib.h>

#include "synchronous.h"
#include "tardigrad/arena.h"

own_options own_defaults(const char *optimizer, uint32_t workers, size_t n, double updates,
                         uint64_t local_steps) {
  return (own_options){.base = async_defaults("local-sgd", optimizer, workers, n, updates),
                       .local_steps = local_steps};
}

static tg_status create(const own_options *o, tg_local_options *options, own_run *run) {
  float *w0 = tg_alloc_aligned(options->step.n * sizeof(float));
  float *b0 = tg_alloc_aligned(options->step.k * sizeof(float));
  if (!w0 || !b0) TG_FAIL(TG_ERUNTIME, "no memory");
  quadratic_initial(o->base.problem.n, w0);
  tg_status status = tg_local_create(options, w0, b0, &run->local);
  free(w0);
  free(b0);
  return status;
}

tg_status own_open(const own_options *o, const char *transport, uint32_t first, uint32_t count,
                   own_run *run) {
  tg_local_options options = {.mixing = o->mixing,
                              .topology = o->topology,
                              .local_steps = o->local_steps,
                              .local_after = o->local_after,
                              .local_growth = o->local_growth};
  tg_comm_options comm = o->base.comm;
  *run = (own_run){0};
  if (count > 0 && !(run->compute = quadratic_create(&o->base.problem)))
    TG_FAIL(TG_ERUNTIME, "no memory");
  TG_TRY(sync_options_of(&o->base, first, count, run->compute, &options.step));
  TG_TRY(create(o, &options, run));
  comm.workers = o->base.workers;
  comm.n = o->base.problem.n;
  comm.k = comm.ks = o->base.problem.k;
  comm.compute = run->compute;
  TG_TRY(tg_transport_find(transport, &run->transport));
  return run->transport->open(&comm, &run->comm);
}

tg_status own_go(own_run *run, const tg_observer *observer) {
  return tg_local_run(run->local, run->transport, run->comm, observer);
}

void own_close(own_run *run) {
  if (run->comm) run->transport->close(run->comm);
  tg_local_destroy(run->local);
  quadratic_destroy(run->compute);
  *run = (own_run){0};
}
