/* local_state.c - what workers with weights of their own hold, and how it is saved. */
#include <stdlib.h>
#include <string.h>

#include "dist/local_private.h"
#include "tardigrad/arena.h"

/* ---- memory ---- */

static float *vector(size_t n) {
  return tg_alloc_aligned(n * sizeof(float));
}

static bool vectors(size_t count, size_t n, float ***out) {
  bool enough = (*out = calloc(count + 1, sizeof **out)) != NULL;
  for (size_t i = 0; enough && i < count; i++) enough = ((*out)[i] = vector(n)) != NULL;
  return enough;
}

static void free_vectors(float **list) {
  for (size_t i = 0; list && list[i]; i++) free(list[i]); /* a NULL ends it */
  free(list);
}

static void pin(tg_local *y, bool pins) {
  tg_compute *c = y->in.o.compute;
  if (!c || !c->pin || pins == y->pinned) return;
  y->pinned = pins;
  for (uint32_t i = 0; i < y->in.o.count; i++) {
    (pins ? c->pin : c->unpin)(c, y->state.x[i]);
    if (y->mixed) (pins ? c->pin : c->unpin)(c, y->mixed[i]);
  }
}

static bool allocate_own(tg_local *y) {
  const tg_sync_options *o = &y->in.o;
  tg_local_state *t = &y->state;
  bool enough = (t->w = vector(o->n)) && (t->b = vector(o->k)) && vectors(t->held, o->n, &t->x) &&
                vectors(t->held, o->k, &t->bx);
  for (int i = 0; enough && i < o->optimizer->slots; i++)
    enough = vectors(t->held, o->n, &t->slot[t->slot_count++]);
  return enough;
}

static tg_status allocate(tg_local *y) {
  const tg_sync_options *o = &y->in.o;
  tg_local_state *t = &y->state;
  size_t elsewhere = o->count == o->workers ? 0 : y->neighbours;
  t->first = o->count ? o->first : 0;
  t->held = o->count ? o->count : o->workers;
  y->scalars =
      calloc(SUM_ROWS + (size_t)MOST_UPDATES * o->workers * ROW_FIELDS, sizeof *y->scalars);
  y->member = calloc(o->workers, sizeof *y->member);
  y->parcel = calloc(elsewhere + 1, sizeof *y->parcel);
  y->clock_before = calloc(o->workers, sizeof *y->clock_before);
  t->step = calloc(o->workers, sizeof *t->step);
  t->clock = calloc(o->workers, sizeof *t->clock);
  bool enough = y->scalars && y->member && y->parcel && y->clock_before && t->step && t->clock &&
                allocate_own(y);
  if (enough && y->o.mixing != TG_MIX_AVERAGE && o->count)
    enough = vectors(o->count, o->n, &y->mixed) && vectors(elsewhere, o->n, &y->inbox);
  if (!enough)
    TG_FAIL(TG_ERUNTIME, "no memory for weights of %zu parameters by %u workers", o->n, t->held);
  return TG_OK;
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
  for (uint32_t i = 0; i < y->state.held; i++) {
    memcpy(y->state.x[i], w0, o->step.n * sizeof *w0);
    if (o->step.k) memcpy(y->state.bx[i], b0, o->step.k * sizeof *b0);
  }
  pin(y, true);
  *out = y;
  return TG_OK;
done:
  tg_local_destroy(y);
  return status;
}

void tg_local_destroy(tg_local *y) {
  if (!y) return;
  pin(y, false);
  free(y->state.w);
  free(y->state.b);
  free_vectors(y->state.x);
  free_vectors(y->state.bx);
  for (size_t i = 0; i < y->state.slot_count; i++) free_vectors(y->state.slot[i]);
  free_vectors(y->mixed);
  free_vectors(y->inbox);
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
  return TG_OK;
}

/* One worker's vectors, between it and rank 0, one after the other. */
static tg_status carry(tg_local *y, uint32_t worker, uint32_t peer, bool sends) {
  const tg_local_state *t = &y->state;
  uint32_t i = worker - t->first;
  tg_parcel parcel[TG_MAX_SLOTS + 2] = {{.n = y->in.o.n, .in = t->x[i]},
                                        {.n = y->in.o.k, .in = t->bx[i]}};
  size_t count = 2;
  for (size_t s = 0; s < t->slot_count; s++)
    parcel[count++] = (tg_parcel){.n = y->in.o.n, .in = t->slot[s][i]};
  for (size_t p = 0; p < count; p++) {
    parcel[p].peer = peer;
    if (!sends) continue;
    parcel[p].out = parcel[p].in;
    parcel[p].in = NULL;
  }
  TG_TRY(y->in.transport->post(y->in.comm, parcel, count));
  return y->in.transport->collect(y->in.comm);
}

/* Rank 0 is the one that computes for nobody. */
static tg_status carry_all(tg_local *y, bool to_server) {
  if (!tg_in_step_shared(&y->in)) return TG_OK;
  if (y->in.o.count > 0) return carry(y, y->in.o.first, TG_PEER_SERVER, to_server);
  for (uint32_t m = 0; m < y->in.o.workers; m++) TG_TRY(carry(y, m, m, !to_server));
  return TG_OK;
}

tg_status tg_local_gather(tg_local *y) {
  return carry_all(y, true);
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
  TG_TRY(carry_all(y, false));
  return tg_local_restored(y, &t);
}
