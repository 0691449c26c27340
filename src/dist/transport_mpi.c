/* transport_mpi.c - the mpi row: Open MPI, point-to-point. Rank 0 is the server, rank m+1 worker m.
 *
 * server_mpi.c and worker_mpi.c are the two sides of a push and a pull, share_mpi.c spares ranks of
 * one machine the copies, allreduce_mpi.c is the synchronous scheme, parcel_mpi.c and
 * word_mpi.c what ranks send each other otherwise, wait_mpi.c waits, world_mpi.c
 * starts and ends. */
#include <limits.h>
#include <mpi.h>
#include <stdlib.h>

#include "dist/comm_mpi.h"

enum {
  DEFAULT_PIECE = 256 << 10, /* floats */
  SMALLEST_SHARE = 64 << 10  /* floats; smaller ones are not split further ... */
};

/* ... but a body is worth some pieces, or nothing overlaps. */
static size_t piece_of(const tg_comm_options *o) {
  enum { PIECES = 4 };
  size_t most = o->piece > 0 ? o->piece : DEFAULT_PIECE;
  size_t share = o->n / PIECES > SMALLEST_SHARE ? o->n / PIECES : SMALLEST_SHARE;
  return share < most ? share : most;
}

tg_span tg_piece_span(const tg_comm *c, size_t i) {
  size_t lo = i * c->o.piece, left = c->o.n - lo;
  return (tg_span){lo, lo + (left < c->o.piece ? left : c->o.piece)};
}

static double mpi_clock(tg_comm *c) {
  return tg_clock_s() - c->began;
}

static tg_status check_options(const tg_comm *c) {
  const tg_comm_options *o = &c->o;
  int size;
  TG_MPI(MPI_Comm_size(c->comm, &size));
  if ((uint32_t)size != o->workers + 1)
    TG_FAIL(TG_ECONFIG, "mpi: %d ranks are a server and %d workers, not %u workers", size, size - 1,
            o->workers);
  if (o->piece > INT_MAX || o->k > INT_MAX || o->ks > INT_MAX)
    TG_FAIL(TG_ECONFIG, "mpi: a piece of %zu, statistics of %zu and %zu floats: at most %d",
            o->piece, o->k, o->ks, INT_MAX);
  if (c->rank > 0 && o->share && !(o->compute && o->compute->place_gradient))
    TG_FAIL(TG_ERUNTIME, "mpi: what computes cannot place its gradient in shared memory");
  if (c->rank > 0 &&
      (!o->compute || o->compute->n != o->n || o->compute->k != o->k || o->compute->ks != o->ks))
    TG_FAIL(TG_ECONFIG, "mpi: what computes has other sizes than the %zu parameters to be sent",
            o->n);
  return TG_OK;
}

static void mpi_close(tg_comm *c) {
  if (!c) return;
  tg_mpi_server_close(c);
  tg_mpi_worker_close(c);
  tg_mpi_reduce_close(c);
  tg_mpi_coded_close(c);
  tg_mpi_parcels_close(c);
  tg_mpi_words_close(c);
  tg_mpi_share_close(c);
  free(c);
}

static tg_status mpi_open(const tg_comm_options *options, tg_comm **out) {
  tg_world world;
  tg_status status = TG_OK;
  TG_TRY(tg_world_start(true, &world));
  tg_comm *c = calloc(1, sizeof *c);
  if (!c) TG_FAIL(TG_ERUNTIME, "no memory for a transport");
  c->o = *options;
  c->o.piece = piece_of(options);
  c->comm = tg_mpi_comm();
  c->rank = world.rank;
  c->began = tg_clock_s();
  c->pieces = (c->o.n + c->o.piece - 1) / c->o.piece;
  TG_DO(check_options(c));
  TG_DO(tg_mpi_share_make(c));
  *out = c;
  return TG_OK;
done:
  mpi_close(c);
  return status;
}

const tg_transport tg_transport_mpi = {
    .name = "mpi",
    .help = "Open MPI, point-to-point: rank 0 is the server, every other rank a worker",
    .open = mpi_open,
    .close = mpi_close,
    .weights = tg_mpi_share_weights,
    .recv = tg_mpi_recv,
    .recv_piece = tg_mpi_recv_piece,
    .recv_stats = tg_mpi_recv_stats,
    .send = tg_mpi_send,
    .send_piece = tg_mpi_send_piece,
    .send_stats = tg_mpi_send_stats,
    .drain = tg_mpi_drain,
    .clock = mpi_clock,
    .work = tg_mpi_work,
    .allreduce = tg_mpi_allreduce,
    .gather = tg_mpi_gather,
    .spread = tg_mpi_spread,
    .collect = tg_mpi_collect,
    .hand_out = tg_mpi_hand_out,
    .post = tg_mpi_post,
    .complete = tg_mpi_complete,
    .say = tg_mpi_say,
    .hear = tg_mpi_hear,
};
