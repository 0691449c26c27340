/* local_state.c - what workers with weights of their own hold, and how it is saved. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "dist/local_private.h"
#include "tardigrad/arena.h"

/* ---- memory ---- */

static tg_status allocate(tg_local *y) {
  const tg_sync_options *o = &y->in.o;
  tg_local_state *t = &y->state;
  size_t elsewhere = o->count == o->workers ? 0 : y->neighbours;
  t->has.first = o->count ? o->first : 0;
  t->has.held = o->count ? o->count : o->workers;
  y->scalars =
      calloc(SUM_ROWS + (size_t)MOST_UPDATES * o->workers * ROW_FIELDS, sizeof *y->scalars);
  y->member = calloc(o->workers, sizeof *y->member);
  y->parcel = calloc(elsewhere + 1, sizeof *y->parcel);
  y->clock_before = calloc(o->workers, sizeof *y->clock_before);
  t->step = calloc(o->workers, sizeof *t->step);
  t->clock = calloc(o->workers, sizeof *t->clock);
  t->w = tg_alloc_aligned(o->n * sizeof(float));
  t->b = tg_alloc_aligned(o->k * sizeof(float));
  bool enough = y->scalars && y->member && y->parcel && y->clock_before && t->step && t->clock &&
                t->w && t->b;
  if (enough && y->o.mixing != TG_MIX_AVERAGE && o->count)
    enough = (y->mixed = tg_vectors_create(o->count, o->n)) &&
             (y->inbox = tg_vectors_create(elsewhere, o->n));
  if (!enough)
    TG_FAIL(TG_ERUNTIME, "no memory for weights of %zu parameters by %u workers", o->n,
            t->has.held);
  return TG_OK;
}

/* x and mixed change places: what computes reads both. Of x the holdings see to it. */
static void pin_mixed(tg_local *y, bool pins) {
  tg_compute *c = y->in.o.compute;
  if (!c || !c->pin || !y->mixed || pins == y->pinned) return;
  y->pinned = pins;
  for (uint32_t i = 0; i < y->in.o.count; i++) (pins ? c->pin : c->unpin)(c, y->mixed[i]);
}

static tg_status check_options(const tg_local_options *o) {
  if (o->step.device || o->step.group)
    TG_FAIL(TG_ECONFIG, "sync.rule=%s keeps weights in host memory", o->step.rule->name);
  if (o->mixing == TG_MIX_AVERAGE && o->local_steps < 1)
    TG_FAIL(TG_ECONFIG, "sync.local_steps: 0 updates between two exchanges");
  if (o->step.count > 1 && o->step.count < o->step.workers)
    TG_FAIL(TG_ECONFIG, "workers %u to %u cannot be computed in one process: all of %u, or one",
            o->step.first, o->step.first + o->step.count, o->step.workers);
  return TG_OK;
}

tg_status tg_local_create(const tg_local_options *o, const float *w0, const float *b0,
                          tg_local **out) {
  tg_status status = TG_OK;
  TG_TRY(check_options(o));
  tg_local *y = calloc(1, sizeof *y);
  if (!y) TG_FAIL(TG_ERUNTIME, "no memory for a run");
  y->o = *o;
  y->next = 1;
  y->mean_of = UINT64_MAX;
  if (o->mixing != TG_MIX_AVERAGE)
    y->neighbours = tg_topology_count(o->topology, o->step.workers) - 1;
  TG_DO(tg_in_step_open(&y->in, &o->step, o->step.workers));
  TG_DO(allocate(y));
  memcpy(y->state.w, w0, o->step.n * sizeof *w0);
  if (o->step.k) memcpy(y->state.b, b0, o->step.k * sizeof *b0);
  TG_DO(tg_holdings_open(&y->state.has, o->step.n, o->step.k, w0, b0,
                         (size_t)o->step.optimizer->slots, false, o->step.compute));
  pin_mixed(y, true);
  *out = y;
  return TG_OK;
done:
  tg_local_destroy(y);
  return status;
}

void tg_local_destroy(tg_local *y) {
  if (!y) return;
  pin_mixed(y, false);
  free(y->state.w);
  free(y->state.b);
  tg_holdings_close(&y->state.has);
  tg_vectors_free(y->mixed);
  tg_vectors_free(y->inbox);
  free(y->state.step);
  free(y->state.clock);
  free(y->clock_before);
  free(y->member);
  free(y->parcel);
  free(y->scalars);
  tg_in_step_close(&y->in);
  free(y);
}

/* ---- checkpoints ---- */

tg_local_state tg_local_state_of(tg_local *y) {
  tg_local_state t = y->state;
  t.update = y->in.update;
  t.samples = y->in.samples;
  t.nonfinite = y->in.nonfinite;
  return t;
}

tg_status tg_local_restored(tg_local *y, const tg_local_state *t) {
  TG_TRY(tg_in_step_restored(&y->in, t->update, t->samples, t->nonfinite));
  if (t->round_end < t->update)
    TG_FAIL(TG_EDATA, "a checkpoint of update %llu in a round that ended at %llu",
            (unsigned long long)t->update, (unsigned long long)t->round_end);
  y->state.round_end = t->round_end;
  y->state.round_steps = t->round_steps;
  y->mean_of = UINT64_MAX;
  if (t->update > 0) y->distance = NAN; /* until it is measured again */
  return TG_OK;
}

/* Rank 0 is the one that computes for nobody. */
tg_status tg_local_gather(tg_local *y) {
  const tg_in_step *in = &y->in;
  if (!tg_in_step_shared(in)) return TG_OK;
  return tg_holdings_gather(&y->state.has, in->transport, in->comm, in->o.count == 0, true);
}

tg_status tg_local_share(tg_local *y, const tg_transport *transport, tg_comm *comm) {
  tg_local_state t = tg_local_state_of(y);
  uint64_t counters[] = {t.update, t.samples, t.nonfinite, t.round_end, t.round_steps};
  y->in.transport = transport;
  y->in.comm = comm;
  TG_TRY(tg_world_broadcast(counters, sizeof counters));
  TG_TRY(tg_world_broadcast(t.step, y->in.o.workers * sizeof *t.step));
  t.update = counters[0];
  t.samples = counters[1];
  t.nonfinite = counters[2];
  t.round_end = counters[3];
  t.round_steps = counters[4];
  /* Before the first update all are at w0, wherever they were made. */
  if (t.update > 0) TG_TRY(tg_holdings_scatter(&y->state.has, transport, comm, y->in.o.count == 0));
  return tg_local_restored(y, &t);
}
