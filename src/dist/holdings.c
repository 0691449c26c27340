/* holdings.c - vectors of workers that hold weights of their own. */
#include "tardigrad/holdings.h"

#include <stdlib.h>
#include <string.h>

#include "tardigrad/arena.h"

void tg_vectors_free(float **list) {
  for (size_t i = 0; list && list[i]; i++) free(list[i]);
  free(list);
}

float **tg_vectors_create(size_t count, size_t n) {
  float **list = calloc(count + 1, sizeof *list);
  for (size_t i = 0; list && i < count; i++)
    if (!(list[i] = tg_alloc_aligned(n * sizeof(float)))) {
      tg_vectors_free(list);
      return NULL;
    }
  return list;
}

static void pin(tg_holdings *h, tg_compute *c, bool pins) {
  float **read = h->snapshot ? h->snapshot : h->x;
  if (!c || !c->pin) return;
  for (uint32_t i = 0; i < h->held; i++) (pins ? c->pin : c->unpin)(c, read[i]);
  h->pinned = pins ? c : NULL;
}

tg_status tg_holdings_open(tg_holdings *h, size_t n, size_t k, const float *w0, const float *b0,
                           size_t slots, bool snapshots, tg_compute *compute) {
  h->n = n;
  h->k = k;
  bool enough = (h->x = tg_vectors_create(h->held, n)) && (h->bx = tg_vectors_create(h->held, k)) &&
                (!snapshots || (h->snapshot = tg_vectors_create(h->held, n)));
  while (enough && h->slot_count < slots)
    enough = (h->slot[h->slot_count++] = tg_vectors_create(h->held, n)) != NULL;
  if (!enough)
    TG_FAIL(TG_ERUNTIME, "no memory for weights of %zu parameters by %u workers", n, h->held);
  for (uint32_t i = 0; i < h->held; i++) {
    memcpy(h->x[i], w0, n * sizeof *w0);
    if (snapshots) memcpy(h->snapshot[i], w0, n * sizeof *w0);
    if (k) memcpy(h->bx[i], b0, k * sizeof *b0);
  }
  pin(h, compute, true);
  return TG_OK;
}

void tg_holdings_close(tg_holdings *h) {
  if (h->pinned) pin(h, h->pinned, false);
  tg_vectors_free(h->x);
  tg_vectors_free(h->snapshot);
  tg_vectors_free(h->bx);
  for (size_t i = 0; i < h->slot_count; i++) tg_vectors_free(h->slot[i]);
}

/* Vectors of held worker i. */
static tg_status carry(tg_holdings *h, uint32_t i, const tg_transport *transport, tg_comm *comm,
                       uint32_t peer, bool sends, bool all) {
  tg_parcel parcel[TG_MAX_SLOTS + 3];
  size_t count = 0;
  parcel[count++] = (tg_parcel){.n = h->n, .in = h->x[i]};
  parcel[count++] = (tg_parcel){.n = h->k, .in = h->bx[i]};
  if (all && h->snapshot) parcel[count++] = (tg_parcel){.n = h->n, .in = h->snapshot[i]};
  for (size_t s = 0; all && s < h->slot_count; s++)
    parcel[count++] = (tg_parcel){.n = h->n, .in = h->slot[s][i]};
  for (size_t p = 0; p < count; p++) {
    parcel[p].peer = peer;
    if (!sends) continue;
    parcel[p].out = parcel[p].in;
    parcel[p].in = NULL;
  }
  TG_TRY(transport->post(comm, parcel, count));
  return transport->complete(comm);
}

static tg_status carry_all(tg_holdings *h, const tg_transport *transport, tg_comm *comm,
                           bool server, bool to_server, bool all) {
  if (!server) return carry(h, 0, transport, comm, TG_PEER_SERVER, to_server, all);
  for (uint32_t m = 0; m < h->held; m++) TG_TRY(carry(h, m, transport, comm, m, !to_server, all));
  return TG_OK;
}

tg_status tg_holdings_gather(tg_holdings *h, const tg_transport *transport, tg_comm *comm,
                             bool server, bool all) {
  return carry_all(h, transport, comm, server, true, all);
}

tg_status tg_holdings_scatter(tg_holdings *h, const tg_transport *transport, tg_comm *comm,
                              bool server) {
  return carry_all(h, transport, comm, server, false, true);
}
