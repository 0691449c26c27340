/* carry.c - a loop's state into another loop. */
#include "run/carry.h"

#include <string.h>

#include "run/state.h"

static void copy_weights(const tg_setup *setup, const float *w, const float *b, float *to_w,
                         float *to_b) {
  const tg_graph *g = setup->outline->graph;
  memcpy(to_w, w, g->n * sizeof *w);
  if (g->k) memcpy(to_b, b, g->k * sizeof *b);
}

tg_status tg_carry_server(const tg_setup *setup, tg_server *from, tg_server *to) {
  const tg_graph *g = setup->outline->graph;
  uint64_t counters[TG_SERVER_COUNTERS], fresh[TG_SERVER_COUNTERS];
  tg_array_list old = {0}, new = {0};
  tg_status status = TG_OK;
  TG_TRY(tg_server_fetch(from));
  tg_server_state a = tg_server_state_of(from), b = tg_server_state_of(to);
  TG_DO(tg_server_arrays(&old, &a, g->n, g->k, g->ks, setup->workers, counters));
  TG_DO(tg_server_arrays(&new, &b, g->n, g->k, g->ks, setup->workers, fresh));
  tg_arrays_copy(&old, &new);
  copy_weights(setup, a.w, a.b, b.w, b.b);
  tg_server_counters_back(&b, counters);
  TG_DO(tg_server_restored(to, &b));
done:
  tg_array_list_free(&old);
  tg_array_list_free(&new);
  return status;
}

tg_status tg_carry_gossip(const tg_setup *setup, tg_gossip *from, tg_gossip *to) {
  uint64_t counters[TG_SERVER_COUNTERS], fresh[TG_SERVER_COUNTERS];
  tg_array_list old = {0}, new = {0};
  tg_status status = TG_OK;
  tg_gossip_state a = tg_gossip_state_of(from), b = tg_gossip_state_of(to);
  TG_DO(tg_gossip_arrays(&old, &a, setup->workers, counters));
  TG_DO(tg_gossip_arrays(&new, &b, setup->workers, fresh));
  tg_arrays_copy(&old, &new);
  copy_weights(setup, a.w, a.b, b.w, b.b);
  tg_gossip_counters_back(&b, counters);
  TG_DO(tg_gossip_restored(to, &b));
done:
  tg_array_list_free(&old);
  tg_array_list_free(&new);
  return status;
}
