/* local_mix.c - how weights are mixed in step: with neighbours, and all of them. */
#include <math.h>
#include <string.h>

#include "dist/local_private.h"
#include "dist/mix.h"

/* ---- neighbours ---- */

tg_status tg_local_post(tg_local *y) {
  uint32_t me = y->in.o.first;
  size_t count = 0;
  y->posted_s = tg_clock_s();
  if (!tg_in_step_shared(&y->in) || y->in.o.count == 0 || y->neighbours == 0) return TG_OK;
  for (size_t at = 0; at <= y->neighbours; at++) {
    uint32_t m = tg_topology_member(y->o.topology, y->in.o.workers, me, at);
    if (m == me) continue;
    y->parcel[count] =
        (tg_parcel){.peer = m, .n = y->in.o.n, .out = y->state.has.x[0], .in = y->inbox[count]};
    count++;
  }
  return y->in.transport->post(y->in.comm, y->parcel, count);
}

tg_status tg_local_collect(tg_local *y) {
  /* Nothing is computed between posting and collecting, unless neighbours are combined first. */
  double began = y->o.mixing == TG_MIX_COMBINE_ADAPT ? tg_clock_s() : y->posted_s;
  if (!tg_in_step_shared(&y->in) || y->in.o.count == 0) return TG_OK;
  TG_TRY(y->in.transport->complete(y->in.comm));
  double now = tg_clock_s(), *mine = tg_local_row(y, y->done, y->in.o.first);
  mine[ROW_WAIT_S] += now - began;
  if (y->neighbours == 0) return TG_OK;
  mine[ROW_COMM_S] += now - y->posted_s;
  mine[ROW_EXPOSED_S] += now - began;
  return TG_OK;
}

void tg_local_mix(tg_local *y, uint32_t i) {
  uint32_t me = y->state.has.first + i;
  size_t elsewhere = 0;
  for (size_t at = 0; at <= y->neighbours; at++) {
    uint32_t m = tg_topology_member(y->o.topology, y->in.o.workers, me, at);
    bool here = tg_in_step_computes(&y->in, m);
    y->member[at] = here ? y->state.has.x[m - y->state.has.first] : y->inbox[elsewhere++];
  }
  tg_mix_mean(y->in.o.n, y->member, y->neighbours + 1, y->mixed[i]);
}

void tg_local_wait(tg_local *y) {
  uint32_t workers = y->in.o.workers;
  double *now = y->state.clock, *before = y->clock_before, slowest;
  if (!tg_local_simulated(y)) return;
  if (y->o.mixing == TG_MIX_ADAPT_COMBINE) memcpy(before, now, workers * sizeof *before);
  for (uint32_t m = 0; m < workers; m++) {
    slowest = now[m];
    for (size_t at = 0; at <= y->neighbours; at++)
      slowest = fmax(slowest, before[tg_topology_member(y->o.topology, workers, m, at)]);
    tg_local_row(y, y->done, m)[ROW_WAIT_S] += slowest - now[m];
    now[m] = slowest;
  }
}

/* ---- the mean of all ---- */

tg_status tg_local_mean(tg_local *y) {
  const tg_sync_options *o = &y->in.o;
  tg_local_state *t = &y->state;
  if (tg_in_step_shared(&y->in)) {
    if (o->count > 0) memcpy(t->w, t->has.x[0], o->n * sizeof *t->w);
    TG_TRY(tg_in_step_reduce(&y->in, t->w, o->n, NULL, 0));
    tg_mix_part(o->n, t->w, o->workers);
  } else {
    tg_mix_mean(o->n, (const float *const *)t->has.x, o->workers, t->w);
  }
  y->mean_of = y->in.update;
  return TG_OK;
}

tg_status tg_local_mean_statistics(tg_local *y) {
  const tg_sync_options *o = &y->in.o;
  tg_local_state *t = &y->state;
  if (o->k == 0) return TG_OK;
  if (!tg_in_step_shared(&y->in)) {
    tg_mix_mean(o->k, (const float *const *)t->has.bx, o->workers, t->b);
    return TG_OK;
  }
  if (o->count > 0) memcpy(t->b, t->has.bx[0], o->k * sizeof *t->b);
  TG_TRY(tg_in_step_reduce(&y->in, t->b, o->k, NULL, 0));
  tg_mix_part(o->k, t->b, o->workers);
  return TG_OK;
}
