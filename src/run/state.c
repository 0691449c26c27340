/* state.c - a run's state as named arrays. */
#include "run/state.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

tg_status tg_array_add(tg_array_list *list, tg_st_dtype dtype, void *data, int nd, size_t dim0,
                       size_t dim1, const char *name, ...) {
  if (list->count == list->room) {
    size_t room = list->room ? 2 * list->room : 64;
    tg_ckpt_array *more = realloc(list->item, room * sizeof *more);
    if (!more) TG_FAIL(TG_ERUNTIME, "no memory for the names of %zu arrays", room);
    list->item = more;
    list->room = room;
  }
  tg_ckpt_array *a = &list->item[list->count++];
  *a = (tg_ckpt_array){
      .dtype = dtype, .nd = nd, .dim = {(int64_t)dim0, (int64_t)dim1}, .data = data};
  va_list args;
  va_start(args, name);
  vsnprintf(a->name, sizeof a->name, name, args);
  va_end(args);
  return TG_OK;
}

void tg_array_list_free(tg_array_list *list) {
  free(list->item);
  *list = (tg_array_list){0};
}

tg_status tg_server_arrays(tg_array_list *list, const tg_server_state *s, size_t n, size_t k,
                           size_t ks, uint32_t workers, uint64_t *counters) {
  /* Two places are free: what older checkpoints have there follows from the samples. */
  const uint64_t now[TG_SERVER_COUNTERS] = {s->update, s->samples, s->issued, s->nonfinite,
                                            0,         0,          s->late,   s->gathered};
  for (int i = 0; i < TG_SERVER_COUNTERS; i++) counters[i] = now[i];
  TG_TRY(tg_array_add(list, TG_ST_U64, counters, 1, TG_SERVER_COUNTERS, 0, "server.counters"));
  TG_TRY(tg_array_add(list, TG_ST_U64, s->version, 1, workers, 0, "server.version"));
  TG_TRY(tg_array_add(list, TG_ST_U64, s->step, 1, workers, 0, "server.step"));
  TG_TRY(tg_array_add(list, TG_ST_U64, s->pending, 1, workers, 0, "server.pending"));
  TG_TRY(tg_array_add(list, TG_ST_U64, s->clock, 1, workers, 0, "server.clock"));
  if (s->sum) TG_TRY(tg_array_add(list, TG_ST_F32, s->sum, 1, n, 0, "server.sum"));
  if (s->sum && ks)
    TG_TRY(tg_array_add(list, TG_ST_F32, s->sum_stats, 1, ks, 0, "server.sum_stats"));
  for (size_t i = 0; i < s->rule_state_count; i++)
    TG_TRY(tg_array_add(list, TG_ST_F32, s->rule_state[i], 1, n, 0, "rule_state.%zu", i));
  for (size_t i = 0; i < s->slot_count; i++)
    TG_TRY(tg_array_add(list, TG_ST_F32, s->slot[i], 1, s->slot_length[i], 0, "optimizer.%zu", i));
  for (uint32_t m = 0; m < workers; m++) {
    TG_TRY(tg_array_add(list, TG_ST_F32, s->bak[m], 1, n, 0, "w_bak.%u", m));
    if (k) TG_TRY(tg_array_add(list, TG_ST_F32, s->b_bak[m], 1, k, 0, "b_bak.%u", m));
  }
  return TG_OK;
}

void tg_server_counters_back(tg_server_state *s, const uint64_t *counters) {
  s->update = counters[0];
  s->samples = counters[1];
  s->issued = counters[2];
  s->nonfinite = counters[3];
  s->late = counters[6];
  s->gathered = counters[7];
}

/* Of workers with weights of their own. */
tg_status tg_holdings_arrays(tg_array_list *list, const tg_holdings *h, uint32_t workers) {
  for (uint32_t m = 0; m < workers; m++) {
    TG_TRY(tg_array_add(list, TG_ST_F32, h->x[m], 1, h->n, 0, "worker.%u.w", m));
    if (h->snapshot)
      TG_TRY(tg_array_add(list, TG_ST_F32, h->snapshot[m], 1, h->n, 0, "worker.%u.snapshot", m));
    if (h->k) TG_TRY(tg_array_add(list, TG_ST_F32, h->bx[m], 1, h->k, 0, "worker.%u.b", m));
    for (size_t i = 0; i < h->slot_count; i++)
      TG_TRY(tg_array_add(list, TG_ST_F32, h->slot[i][m], 1, h->n, 0, "worker.%u.optimizer.%zu", m,
                          i));
  }
  return TG_OK;
}

tg_status tg_gossip_arrays(tg_array_list *list, const tg_gossip_state *s, uint32_t workers,
                           uint64_t *counters) {
  const uint64_t now[] = {s->update, s->samples, s->nonfinite, s->issued};
  memcpy(counters, now, sizeof now);
  TG_TRY(tg_array_add(list, TG_ST_U64, counters, 1, 4, 0, "gossip.counters"));
  TG_TRY(tg_array_add(list, TG_ST_U64, s->step, 1, workers, 0, "gossip.step"));
  TG_TRY(tg_array_add(list, TG_ST_U64, s->made, 1, workers, 0, "gossip.made"));
  TG_TRY(tg_array_add(list, TG_ST_U64, s->ops, 1, workers, 0, "gossip.ops"));
  TG_TRY(tg_array_add(list, TG_ST_U64, s->taken_at, 1, workers, 0, "gossip.taken_at"));
  TG_TRY(tg_array_add(list, TG_ST_U64, s->pending, 1, workers, 0, "gossip.pending"));
  TG_TRY(tg_array_add(list, TG_ST_F64, s->ready, 1, (size_t)workers + 1, 0, "gossip.ready"));
  return tg_holdings_arrays(list, &s->has, workers);
}

void tg_gossip_counters_back(tg_gossip_state *s, const uint64_t *counters) {
  s->update = counters[0];
  s->samples = counters[1];
  s->nonfinite = counters[2];
  s->issued = counters[3];
}

void tg_arrays_copy(const tg_array_list *from, const tg_array_list *to) {
  for (size_t i = 0; i < from->count; i++) {
    const tg_ckpt_array *a = &from->item[i];
    size_t bytes = a->dtype == TG_ST_F32 ? sizeof(float) : sizeof(uint64_t);
    for (int d = 0; d < a->nd; d++) bytes *= (size_t)a->dim[d];
    if (bytes) memcpy(to->item[i].data, a->data, bytes);
  }
}
