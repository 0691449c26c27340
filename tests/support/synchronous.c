#include "synchronous.h"

#include <stdlib.h>

#include "tardigrad/arena.h"

tg_status sync_options_of(const async_options *o, uint32_t first, uint32_t count,
                          tg_compute *compute, tg_sync_options *out) {
  tg_server_options s;
  TG_TRY(async_server_options(o, &s));
  *out = (tg_sync_options){.rule = s.rule,
                           .optimizer = s.optimizer,
                           .schedule = s.schedule,
                           .hyper = s.hyper,
                           .layout = s.layout,
                           .workers = s.workers,
                           .n = s.n,
                           .k = s.k,
                           .ks = s.ks,
                           .folds = s.folds,
                           .fold_count = s.fold_count,
                           .batch = s.batch,
                           .train_count = s.train_count,
                           .epochs = s.epochs,
                           .eval_every = s.eval_every,
                           .checkpoint_every = s.checkpoint_every,
                           .max_nonfinite = s.max_nonfinite,
                           .first = first,
                           .count = count,
                           .compute = compute,
                           .worker = o->comm.worker};
  return TG_OK;
}

static tg_status open_comm(const async_options *o, const char *transport, sync_run *run) {
  tg_comm_options options = o->comm;
  options.workers = o->workers;
  options.n = o->problem.n;
  options.k = options.ks = o->problem.k;
  options.compute = run->compute;
  TG_TRY(tg_transport_find(transport, &run->transport));
  return run->transport->open(&options, &run->comm);
}

tg_status sync_open(const async_options *o, const char *transport, uint32_t first, uint32_t count,
                    sync_run *run) {
  tg_sync_options options;
  *run = (sync_run){0};
  if (count > 0 && !(run->compute = quadratic_create(&o->problem)))
    TG_FAIL(TG_ERUNTIME, "no memory");
  TG_TRY(sync_options_of(o, first, count, run->compute, &options));
  float *w0 = tg_alloc_aligned(options.n * sizeof(float));
  float *b0 = tg_alloc_aligned(options.k * sizeof(float));
  if (!w0 || !b0) TG_FAIL(TG_ERUNTIME, "no memory");
  quadratic_initial(options.n, w0);
  tg_status status = tg_sync_create(&options, w0, b0, &run->sync);
  free(w0);
  free(b0);
  TG_TRY(status);
  return transport ? open_comm(o, transport, run) : TG_OK;
}

tg_status sync_go(sync_run *run, const tg_observer *observer) {
  return tg_sync_run(run->sync, run->transport, run->comm, observer);
}

void sync_close(sync_run *run) {
  if (run->comm) run->transport->close(run->comm);
  tg_sync_destroy(run->sync);
  quadratic_destroy(run->compute);
  *run = (sync_run){0};
}
