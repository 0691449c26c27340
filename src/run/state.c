/* state.c - a run's state as named arrays. */
#include "run/state.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

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
