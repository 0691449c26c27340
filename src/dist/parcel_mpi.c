/* parcel_mpi.c - vectors that two ranks send each other, in pieces. */
#include <mpi.h>
#include <stdlib.h>

#include "dist/comm_mpi.h"

/* The pieces of one parcel, one way. */
typedef struct bundle {
  int rank;
  size_t first, count; /* requests */
} bundle;

struct tg_mpi_parcels {
  bundle *bundle;
  size_t bundles, bundle_room, collected;
  MPI_Request *request;
  size_t requests, request_room, done; /* done: of the bundle being waited for */
};

static tg_status make_room(tg_comm *c, size_t bundles, size_t requests) {
  tg_mpi_parcels *p = c->parcels;
  if (p->bundles + bundles > p->bundle_room) {
    size_t room = 2 * (p->bundles + bundles);
    bundle *more = realloc(p->bundle, room * sizeof *more);
    if (!more) TG_FAIL(TG_ERUNTIME, "no memory for %zu parcels", room);
    p->bundle = more;
    p->bundle_room = room;
  }
  if (p->requests + requests > p->request_room) {
    size_t room = 2 * (p->requests + requests);
    MPI_Request *more = realloc(p->request, room * sizeof *more);
    if (!more) TG_FAIL(TG_ERUNTIME, "no memory for %zu requests", room);
    p->request = more;
    p->request_room = room;
  }
  return TG_OK;
}

/* Exactly one of out and in. */
static tg_status carry(tg_comm *c, const tg_parcel *parcel, const float *out, float *in) {
  tg_mpi_parcels *p = c->parcels;
  size_t pieces = (parcel->n + c->o.piece - 1) / c->o.piece;
  TG_TRY(make_room(c, 1, pieces));
  bundle *b = &p->bundle[p->bundles];
  *b = (bundle){.rank = parcel->peer == TG_PEER_SERVER ? 0 : (int)parcel->peer + 1,
                .first = p->requests};
  if (b->rank > (int)c->o.workers || b->rank == c->rank)
    TG_FAIL(TG_ERUNTIME, "mpi: a parcel for rank %d from rank %d of %u", b->rank, c->rank,
            c->o.workers + 1);
  p->bundles++;
  for (size_t i = 0; i < pieces; i++) {
    size_t lo = i * c->o.piece, left = parcel->n - lo;
    int count = (int)(left < c->o.piece ? left : c->o.piece);
    MPI_Request *request = &p->request[p->requests];
    if (in)
      TG_MPI(MPI_Irecv(in + lo, count, MPI_FLOAT, b->rank, TG_TAG_PARCEL, c->comm, request));
    else
      TG_MPI(MPI_Isend(out + lo, count, MPI_FLOAT, b->rank, TG_TAG_PARCEL, c->comm, request));
    p->requests++;
    b->count++;
  }
  return TG_OK;
}

tg_status tg_mpi_post(tg_comm *c, const tg_parcel *parcels, size_t count) {
  if (!c->parcels && !(c->parcels = calloc(1, sizeof *c->parcels)))
    TG_FAIL(TG_ERUNTIME, "no memory for parcels");
  /* Receives first: what comes then has where to go. */
  for (size_t i = 0; i < count; i++)
    if (parcels[i].in) TG_TRY(carry(c, &parcels[i], NULL, parcels[i].in));
  for (size_t i = 0; i < count; i++)
    if (parcels[i].out) TG_TRY(carry(c, &parcels[i], parcels[i].out, NULL));
  return TG_OK;
}

tg_status tg_mpi_complete(tg_comm *c) {
  tg_mpi_parcels *p = c->parcels;
  if (!p) return TG_OK;
  for (; p->collected < p->bundles; p->collected++) {
    const bundle *b = &p->bundle[p->collected];
    const tg_wait wait = {c->o.timeout_s, b->rank ? "a vector of" : "a vector of the server",
                          b->rank, false};
    p->done = 0;
    TG_TRY(tg_mpi_finish(&wait, p->request + b->first, b->count, &p->done));
  }
  p->bundles = p->collected = p->requests = 0;
  return TG_OK;
}

void tg_mpi_parcels_close(tg_comm *c) {
  tg_mpi_parcels *p = c->parcels;
  /* After a failure vectors may still arrive: the memory stays. */
  if (!p || p->bundles > 0) return;
  free(p->bundle);
  free(p->request);
  free(p);
}
