/* gossip_state.c - AD-PSGD: what is held, saved and restored. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "dist/gossip_private.h"
#include "tardigrad/arena.h"
#include "tardigrad/rng.h"

uint32_t tg_gossip_partner(tg_topology t, uint32_t workers, uint64_t seed, uint32_t i,
                           uint64_t step) {
  size_t others = tg_topology_count(t, workers) - 1;
  if (others == 0) return i;
  tg_rng r = tg_rng_open(seed, TG_RNG_GOSSIP, i, step);
  size_t at = tg_rng_below(&r, (uint32_t)others);
  /* The members before i are its neighbours; from i's own place on, the next ones are. */
  uint32_t member = tg_topology_member(t, workers, i, at);
  return member < i ? member : tg_topology_member(t, workers, i, at + 1);
}

void tg_gossip_snapshot(tg_gossip *y, uint32_t i) {
  const tg_holdings *h = &y->state.has;
  memcpy(h->snapshot[i], h->x[i], h->n * sizeof(float));
}

/* ---- beginning and end ---- */

static tg_status allocate(tg_gossip *y) {
  const tg_sync_options *o = &y->in.o;
  tg_gossip_state *t = &y->state;
  size_t workers = o->workers;
  t->has.first = o->count ? o->first : 0;
  t->has.held = o->count ? o->count : o->workers;
  t->w = tg_alloc_aligned(o->n * sizeof(float));
  t->b = tg_alloc_aligned(o->k * sizeof(float));
  y->inbox = tg_alloc_aligned((o->count == 1 ? o->n : 0) * sizeof(float));
  y->waiting = calloc(workers, sizeof *y->waiting);
  t->step = calloc(workers, sizeof *t->step);
  t->made = calloc(workers, sizeof *t->made);
  t->ops = calloc(workers, sizeof *t->ops);
  t->taken_at = calloc(workers, sizeof *t->taken_at);
  t->pending = calloc(workers, sizeof *t->pending);
  t->ready = calloc(workers + 1, sizeof *t->ready);
  if (!t->w || !t->b || !y->inbox || !y->waiting || !t->step || !t->made || !t->ops ||
      !t->taken_at || !t->pending || !t->ready)
    TG_FAIL(TG_ERUNTIME, "no memory for weights of %zu parameters", o->n);
  return TG_OK;
}

tg_status tg_gossip_create(const tg_gossip_options *o, const float *w0, const float *b0,
                           tg_gossip **out) {
  tg_status status = TG_OK;
  if (o->step.device || o->step.group)
    TG_FAIL(TG_ECONFIG, "sync.rule=%s keeps weights in host memory", o->step.rule->name);
  if (o->step.count > 1 && o->step.count < o->step.workers)
    TG_FAIL(TG_ECONFIG, "workers %u to %u cannot be computed in one process: all of %u, or one",
            o->step.first, o->step.first + o->step.count, o->step.workers);
  tg_gossip *y = calloc(1, sizeof *y);
  if (!y) TG_FAIL(TG_ERUNTIME, "no memory for a run");
  y->o = *o;
  TG_DO(tg_in_step_open(&y->in, &o->step, 1));
  TG_DO(allocate(y));
  TG_DO(tg_holdings_open(&y->state.has, o->step.n, o->step.k, w0, b0,
                         (size_t)o->step.optimizer->slots, true, o->step.compute));
  memcpy(y->state.w, w0, o->step.n * sizeof *w0);
  if (o->step.k) memcpy(y->state.b, b0, o->step.k * sizeof *b0);
  *out = y;
  return TG_OK;
done:
  tg_gossip_destroy(y);
  return status;
}

void tg_gossip_destroy(tg_gossip *y) {
  if (!y) return;
  tg_holdings_close(&y->state.has);
  free(y->state.w);
  free(y->state.b);
  free(y->state.step);
  free(y->state.made);
  free(y->state.ops);
  free(y->state.taken_at);
  free(y->state.pending);
  free(y->state.ready);
  free(y->inbox);
  free(y->waiting);
  tg_in_step_close(&y->in);
  free(y);
}

/* ---- checkpoints ---- */

tg_gossip_state tg_gossip_state_of(tg_gossip *y) {
  tg_gossip_state t = y->state;
  t.update = y->in.update;
  t.samples = y->in.samples;
  t.nonfinite = y->in.nonfinite;
  return t;
}

tg_status tg_gossip_restored(tg_gossip *y, const tg_gossip_state *t) {
  uint64_t pending = 0;
  TG_TRY(tg_in_step_restored(&y->in, t->update, t->samples, t->nonfinite));
  for (uint32_t m = 0; m < y->in.o.workers; m++) {
    if (t->pending[m] > 1 || t->taken_at[m] > t->ops[m] || (t->pending[m] && t->step[m] == 0))
      TG_FAIL(TG_EDATA, "a checkpoint in which the counters of worker %u contradict each other", m);
    pending += t->pending[m];
  }
  if (t->issued != t->update + pending)
    TG_FAIL(TG_EDATA, "a checkpoint of %llu updates, %llu gradients under way and %llu issued",
            (unsigned long long)t->update, (unsigned long long)pending,
            (unsigned long long)t->issued);
  if (t->issued > y->in.total)
    TG_FAIL(TG_ECONFIG, "%llu gradients were issued, the run has %llu: train.epochs is too small",
            (unsigned long long)t->issued, (unsigned long long)y->in.total);
  y->state.issued = t->issued;
  y->record = y->o.trace ? tg_trace_count(y->o.trace) : 0;
  y->consensus = NAN; /* until it is measured again */
  return TG_OK;
}

tg_status tg_gossip_share(tg_gossip *y, const tg_transport *transport, tg_comm *comm) {
  tg_gossip_state *t = &y->state;
  size_t bytes = y->in.o.workers * sizeof *t->ops;
  /* What else there is to know a worker is told with its orders. */
  TG_TRY(tg_world_broadcast(t->ops, bytes));
  TG_TRY(tg_world_broadcast(t->taken_at, bytes));
  return tg_holdings_scatter(&t->has, transport, comm, y->in.o.count == 0);
}

tg_status tg_gossip_run(tg_gossip *y, const tg_transport *transport, tg_comm *comm,
                        const tg_observer *observer) {
  y->in.transport = transport;
  y->in.comm = comm;
  y->in.observer = observer;
  bool works = tg_in_step_shared(&y->in) && y->in.o.count > 0;
  return works ? tg_gossip_work(y) : tg_gossip_lead(y);
}
