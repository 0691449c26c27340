/* allreduce_mpi.c - the sum of all workers' vectors on every rank, the same to the bit whatever the
 * timing: each worker owns a shard, adds everybody's parts of it in the order of the workers, and
 * sends the sums to all. In pieces: while one is added the next are on their way. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dist/comm_mpi.h"
#include "tardigrad/arena.h"
#include "tardigrad/rule.h"

enum { WINDOW = 3 /* pieces under way per shard */, LEAST_PIECE = 16 << 10 /* floats */ };

/* A shard of somebody else: my part goes out, then its sum comes in to the same place. */
typedef struct foreign {
  MPI_Request part[WINDOW], sum[WINDOW];
  size_t pieces, begun, parted, summed; /* pieces: all; sent; sent wholly; received */
} foreign;

/* A piece of my shard: parts come in, the sum goes out. */
typedef struct slot {
  float **part;          /* [workers] parts in order; my own is x itself */
  MPI_Request *in, *out; /* [workers] */
  size_t ins, in_done, outs, out_done;
} slot;

struct tg_mpi_reduce {
  size_t piece; /* floats */
  float *x;
  size_t n;
  foreign *foreign; /* [workers] */
  slot slot[WINDOW];
  float *parts;                      /* memory of all slots */
  size_t pieces, begun, added, sent; /* of my shard */

  /* Scalars go through rank 0. */
  size_t scalar_room, scalar_count;
  double *scalars, *scalar_in, *scalar_sum; /* the caller's; [workers][room] on rank 0; [room] */
  MPI_Request *scalar_request;              /* [2 * workers + 2] */
  size_t scalar_requests, scalar_done;
  bool scalars_added;
};

static bool is_worker(const tg_comm *c) {
  return c->rank > 0;
}

static uint32_t myself(const tg_comm *c) {
  return (uint32_t)c->rank - 1;
}

/* Piece i of worker m's shard, as elements of x. */
static tg_span shard_piece(const tg_comm *c, uint32_t m, size_t i) {
  const tg_mpi_reduce *r = c->reduce;
  size_t lo = r->n * m / c->o.workers, hi = r->n * (m + 1) / c->o.workers;
  lo += i * r->piece;
  return (tg_span){lo, hi - lo < r->piece ? hi : lo + r->piece};
}

static size_t shard_pieces(const tg_comm *c, uint32_t m) {
  const tg_mpi_reduce *r = c->reduce;
  size_t lo = r->n * m / c->o.workers, hi = r->n * (m + 1) / c->o.workers;
  return (hi - lo + r->piece - 1) / r->piece;
}

/* ---- shards of others ---- */

static tg_status begin_foreign(tg_comm *c, uint32_t m, size_t piece) {
  tg_mpi_reduce *r = c->reduce;
  tg_span span = shard_piece(c, m, piece);
  foreign *f = &r->foreign[m];
  f->part[piece % WINDOW] = MPI_REQUEST_NULL;
  if (is_worker(c))
    TG_MPI(MPI_Isend(r->x + span.lo, (int)(span.hi - span.lo), MPI_FLOAT, (int)m + 1, TG_TAG_PART,
                     c->comm, &f->part[piece % WINDOW]));
  return TG_OK;
}

static tg_status expect_sum(tg_comm *c, uint32_t m, size_t piece) {
  tg_mpi_reduce *r = c->reduce;
  tg_span span = shard_piece(c, m, piece);
  TG_MPI(MPI_Irecv(r->x + span.lo, (int)(span.hi - span.lo), MPI_FLOAT, (int)m + 1, TG_TAG_SUM,
                   c->comm, &r->foreign[m].sum[piece % WINDOW]));
  return TG_OK;
}

static tg_status advance_foreign(tg_comm *c, uint32_t m, size_t *steps) {
  foreign *f = &c->reduce->foreign[m];
  int flag = 1;
  for (; f->begun < f->pieces && f->begun - f->summed < WINDOW; f->begun++, ++*steps)
    TG_TRY(begin_foreign(c, m, f->begun));
  /* Sums come to where the parts were: only once those have left. */
  while (f->parted < f->begun) {
    TG_MPI(MPI_Test(&f->part[f->parted % WINDOW], &flag, MPI_STATUS_IGNORE));
    if (!flag) break;
    TG_TRY(expect_sum(c, m, f->parted++));
    ++*steps;
  }
  while (f->summed < f->parted) {
    TG_MPI(MPI_Test(&f->sum[f->summed % WINDOW], &flag, MPI_STATUS_IGNORE));
    if (!flag) break;
    f->summed++;
    ++*steps;
  }
  return TG_OK;
}

/* ---- my own shard ---- */

static tg_status begin_own(tg_comm *c, size_t piece) {
  tg_mpi_reduce *r = c->reduce;
  slot *s = &r->slot[piece % WINDOW];
  tg_span span = shard_piece(c, myself(c), piece);
  s->ins = s->in_done = s->outs = s->out_done = 0;
  s->part[myself(c)] = r->x + span.lo;
  for (uint32_t m = 0; m < c->o.workers; m++)
    if (m != myself(c))
      TG_MPI(MPI_Irecv(s->part[m], (int)(span.hi - span.lo), MPI_FLOAT, (int)m + 1, TG_TAG_PART,
                       c->comm, &s->in[s->ins++]));
  return TG_OK;
}

/* x = part[0] + part[1] + ..., in this order for every element. x may be one of the parts. */
static void add_parts(float *x, float *const *part, uint32_t workers, size_t n) {
  size_t blocks = (n + TG_BLOCK - 1) / TG_BLOCK;
#pragma omp parallel for schedule(static) if (n > 1 << 16)
  for (size_t i = 0; i < blocks; i++) {
    float sum[TG_BLOCK];
    size_t at = i * TG_BLOCK, count = n - at < TG_BLOCK ? n - at : TG_BLOCK;
    memcpy(sum, part[0] + at, count * sizeof *sum);
    for (uint32_t m = 1; m < workers; m++)
      for (size_t j = 0; j < count; j++) sum[j] += part[m][at + j];
    memcpy(x + at, sum, count * sizeof *sum);
  }
}

static tg_status send_sum(tg_comm *c, size_t piece) {
  tg_mpi_reduce *r = c->reduce;
  slot *s = &r->slot[piece % WINDOW];
  tg_span span = shard_piece(c, myself(c), piece);
  float *x = r->x + span.lo;
  add_parts(x, s->part, c->o.workers, span.hi - span.lo);
  for (int rank = 0; rank <= (int)c->o.workers; rank++)
    if (rank != c->rank)
      TG_MPI(MPI_Isend(x, (int)(span.hi - span.lo), MPI_FLOAT, rank, TG_TAG_SUM, c->comm,
                       &s->out[s->outs++]));
  return TG_OK;
}

static tg_status advance_own(tg_comm *c, size_t *steps) {
  tg_mpi_reduce *r = c->reduce;
  for (; r->begun < r->pieces && r->begun - r->sent < WINDOW; r->begun++, ++*steps)
    TG_TRY(begin_own(c, r->begun));
  while (r->added < r->begun) {
    slot *s = &r->slot[r->added % WINDOW];
    TG_TRY(tg_mpi_advance(s->in, s->ins, &s->in_done));
    if (s->in_done < s->ins) break;
    TG_TRY(send_sum(c, r->added++));
    ++*steps;
  }
  while (r->sent < r->added) {
    slot *s = &r->slot[r->sent % WINDOW];
    TG_TRY(tg_mpi_advance(s->out, s->outs, &s->out_done));
    if (s->out_done < s->outs) break;
    r->sent++;
    ++*steps;
  }
  return TG_OK;
}

/* ---- scalars ---- */

static tg_status begin_scalars(tg_comm *c) {
  tg_mpi_reduce *r = c->reduce;
  int count = (int)r->scalar_count;
  r->scalar_requests = r->scalar_done = 0;
  r->scalars_added = false;
  if (count == 0) return TG_OK;
  MPI_Request *request = r->scalar_request;
  if (is_worker(c)) {
    TG_MPI(MPI_Isend(r->scalars, count, MPI_DOUBLE, 0, TG_TAG_SCALAR, c->comm,
                     &request[r->scalar_requests++]));
    TG_MPI(MPI_Irecv(r->scalar_sum, count, MPI_DOUBLE, 0, TG_TAG_SCALAR, c->comm,
                     &request[r->scalar_requests++]));
    return TG_OK;
  }
  for (uint32_t m = 0; m < c->o.workers; m++)
    TG_MPI(MPI_Irecv(r->scalar_in + m * r->scalar_room, count, MPI_DOUBLE, (int)m + 1,
                     TG_TAG_SCALAR, c->comm, &request[r->scalar_requests++]));
  return TG_OK;
}

/* Rank 0: workers in order, itself last. */
static tg_status add_scalars(tg_comm *c) {
  tg_mpi_reduce *r = c->reduce;
  for (size_t i = 0; i < r->scalar_count; i++) {
    double sum = r->scalar_in[i];
    for (uint32_t m = 1; m < c->o.workers; m++) sum += r->scalar_in[m * r->scalar_room + i];
    r->scalar_sum[i] = sum + r->scalars[i];
  }
  for (uint32_t m = 0; m < c->o.workers; m++)
    TG_MPI(MPI_Isend(r->scalar_sum, (int)r->scalar_count, MPI_DOUBLE, (int)m + 1, TG_TAG_SCALAR,
                     c->comm, &r->scalar_request[r->scalar_requests++]));
  return TG_OK;
}

static tg_status advance_scalars(tg_comm *c, size_t *steps) {
  tg_mpi_reduce *r = c->reduce;
  size_t before = r->scalar_done;
  TG_TRY(tg_mpi_advance(r->scalar_request, r->scalar_requests, &r->scalar_done));
  *steps += r->scalar_done - before;
  if (r->scalar_done < r->scalar_requests || r->scalars_added) return TG_OK;
  r->scalars_added = true;
  return is_worker(c) || r->scalar_count == 0 ? TG_OK : add_scalars(c);
}

/* ---- all of it ---- */

static bool finished(const tg_comm *c) {
  const tg_mpi_reduce *r = c->reduce;
  bool all = r->sent == r->pieces && r->scalars_added && r->scalar_done == r->scalar_requests;
  for (uint32_t m = 0; all && m < c->o.workers; m++)
    all = r->foreign[m].summed == r->foreign[m].pieces;
  return all;
}

/* Names a rank that something is missing from. Rank 0 sees by the scalars who has not come; a sum
 * may be missing because its owner misses somebody else. */
static tg_status late(const tg_comm *c) {
  const tg_mpi_reduce *r = c->reduce;
  int rank = 0;
  if (!is_worker(c) && r->scalar_done < r->scalar_requests)
    rank = (int)(r->scalar_done % c->o.workers) + 1;
  if (rank == 0 && r->added < r->begun) {
    rank = (int)r->slot[r->added % WINDOW].in_done + 1;
    rank += rank >= c->rank;
  }
  for (uint32_t m = 0; rank == 0 && m < c->o.workers; m++)
    if (r->foreign[m].summed < r->foreign[m].pieces) rank = (int)m + 1;
  const tg_wait wait = {c->o.timeout_s, rank ? "the gradient of" : "sums of the server", rank,
                        true};
  return tg_mpi_late(&wait);
}

static tg_status run(tg_comm *c) {
  tg_patience patience = tg_patience_begin(c->o.timeout_s, false);
  for (;;) {
    size_t steps = 0;
    TG_TRY(advance_scalars(c, &steps));
    TG_TRY(advance_own(c, &steps));
    for (uint32_t m = 0; m < c->o.workers; m++) TG_TRY(advance_foreign(c, m, &steps));
    if (finished(c)) return TG_OK;
    /* After the first piece the others are on their way. */
    if (steps > 0)
      patience = tg_patience_begin(c->o.timeout_s, true);
    else if (!tg_patience_pause(&patience))
      return late(c);
  }
}

static tg_status begin(tg_comm *c, float *x, size_t n, double *scalars, size_t count) {
  tg_mpi_reduce *r = c->reduce;
  r->x = x;
  r->n = n;
  r->scalars = scalars;
  r->scalar_count = count;
  r->begun = r->added = r->sent = 0;
  r->pieces = is_worker(c) ? shard_pieces(c, myself(c)) : 0;
  for (uint32_t m = 0; m < c->o.workers; m++) {
    foreign *f = &r->foreign[m];
    f->begun = f->parted = f->summed = 0;
    f->pieces = is_worker(c) && m == myself(c) ? 0 : shard_pieces(c, m);
  }
  return begin_scalars(c);
}

/* ---- memory ---- */

static tg_status open_slot(tg_comm *c, slot *s, float *parts) {
  uint32_t workers = c->o.workers;
  s->part = calloc(workers, sizeof *s->part);
  s->in = calloc(workers, sizeof(MPI_Request));
  s->out = calloc(workers, sizeof(MPI_Request));
  if (!s->part || !s->in || !s->out) TG_FAIL(TG_ERUNTIME, "no memory for an all-reduce");
  for (uint32_t m = 0; m < workers; m++)
    if (m != myself(c)) s->part[m] = parts + (m < myself(c) ? m : m - 1) * c->reduce->piece;
  return TG_OK;
}

/* Pieces shrink as workers grow in number, so that all parts of a window stay near the cache. None
 * is longer than a shard: each has room for a part of every worker. */
static tg_status open_reduce(tg_comm *c) {
  tg_mpi_reduce *r = c->reduce = calloc(1, sizeof *r);
  size_t workers = c->o.workers;
  if (!r) TG_FAIL(TG_ERUNTIME, "no memory for an all-reduce");
  r->piece = 4 * c->o.piece / workers;
  if (r->piece < LEAST_PIECE) r->piece = LEAST_PIECE;
  if (r->piece > c->o.piece) r->piece = c->o.piece;
  if (r->piece > c->o.n / workers + 1) r->piece = c->o.n / workers + 1;
  r->foreign = calloc(workers, sizeof *r->foreign);
  if (!r->foreign) TG_FAIL(TG_ERUNTIME, "no memory for an all-reduce");
  if (!is_worker(c)) return TG_OK;
  r->parts = tg_alloc_aligned(WINDOW * (workers - 1) * r->piece * sizeof(float));
  if (!r->parts) TG_FAIL(TG_ERUNTIME, "no memory for parts of %zu workers", workers);
  for (int i = 0; i < WINDOW; i++)
    TG_TRY(open_slot(c, &r->slot[i], r->parts + (size_t)i * (workers - 1) * r->piece));
  return TG_OK;
}

static tg_status make_room(tg_comm *c, size_t count) {
  tg_mpi_reduce *r = c->reduce;
  if (count <= r->scalar_room) return TG_OK;
  size_t rows = is_worker(c) ? 0 : c->o.workers;
  free(r->scalar_in);
  free(r->scalar_sum);
  free(r->scalar_request);
  r->scalar_in = calloc(rows * count + 1, sizeof *r->scalar_in);
  r->scalar_sum = calloc(count, sizeof *r->scalar_sum);
  r->scalar_request = calloc(2 * (size_t)c->o.workers + 2, sizeof(MPI_Request));
  r->scalar_room = count;
  if (!r->scalar_in || !r->scalar_sum || !r->scalar_request)
    TG_FAIL(TG_ERUNTIME, "no memory for %zu sums", count);
  return TG_OK;
}

void tg_mpi_reduce_close(tg_comm *c) {
  tg_mpi_reduce *r = c->reduce;
  /* After a failure sums may still arrive: the memory stays. */
  if (!r || !finished(c)) return;
  for (int i = 0; i < WINDOW; i++) {
    free(r->slot[i].part);
    free(r->slot[i].in);
    free(r->slot[i].out);
  }
  free(r->parts);
  free(r->foreign);
  free(r->scalar_in);
  free(r->scalar_sum);
  free(r->scalar_request);
  free(r);
}

tg_status tg_mpi_allreduce(tg_comm *c, float *x, size_t n, double *scalars, size_t count) {
  if (!c->reduce) TG_TRY(open_reduce(c));
  TG_TRY(make_room(c, count));
  TG_TRY(begin(c, x, n, scalars, count));
  TG_TRY(run(c));
  if (count > 0) memcpy(scalars, c->reduce->scalar_sum, count * sizeof *scalars);
  return TG_OK;
}
