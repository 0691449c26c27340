/* server_mpi.c - rank 0's side: gradients in, weights out, piece by piece.
 *
 * Each worker that owes an answer has one receive posted for its header. Headers that have come
 * stand in `order`; the first `settled` of them will be taken in just this order. The bodies of
 * settled messages are received ahead of time into a ring of piece buffers, across message
 * boundaries, so that something is on its way while a piece is being applied. Weights are sent from
 * w_bak itself. A worker that shares memory with the server has its gradient read where it is. */
#include <mpi.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dist/comm_mpi.h"
#include "tardigrad/arena.h"

/* Pieces received ahead, the one in hand included: one is applied while the next is on its way. In
 * shared memory the receiver copies, and more of them leave the cache before they are applied: with
 * 2 bench/bench_comm.c is a tenth (dc-asgd-a) to a third (asgd) faster than with 3 to 8. */
enum { RING = 2 };

typedef struct peer {
  tg_msg in, out;    /* headers */
  MPI_Request *send; /* header, pieces, statistics */
  size_t sends, sent;
  bool asked; /* owes an answer that has not come */
  bool held;  /* its answer was taken, and it has not been answered */
  double since;
} peer;

struct tg_mpi_server {
  peer *peer;
  MPI_Request *header; /* [workers] persistent receives */
  int *tested;         /* [workers] */
  uint32_t *order;     /* workers whose headers have come */
  size_t count, settled;
  uint32_t turn; /* who comes first among headers that are found together */

  float *ring[RING];
  MPI_Request ring_request[RING];
  size_t posted, handed; /* pieces so far */
  bool in_hand;          /* the last piece is still in use */

  uint32_t current; /* the message taken last */
  size_t current_pieces, current_next;
  float *stats; /* [ks] of the current message */
  MPI_Request stats_request;
  size_t ahead_message, ahead_piece; /* next to be posted; message 0 is the current one */
};

static size_t pieces_of(const tg_comm *c, const tg_msg *header) {
  return header->kind == TG_MSG_PUSH && !(header->flags & TG_FLAG_NONFINITE) ? c->pieces : 0;
}

/* Pieces that come by message. Encoded gradients come whole, beside the ring (coded_mpi.c). */
static size_t messages_of(tg_comm *c, uint32_t m, size_t pieces) {
  return c->o.worker.coder || tg_mpi_share_gradient(c, m) ? 0 : pieces;
}

/* ---- headers ---- */

/* Notes the headers that have come. Testsome lists low ranks first: those that came together are
 * taken from the worker after the last one on, round and round. */
static tg_status poll_headers(tg_comm *c) {
  tg_mpi_server *s = c->server;
  int found, workers = (int)c->o.workers, first = 0;
  TG_MPI(MPI_Testsome(workers, s->header, &found, s->tested, MPI_STATUSES_IGNORE));
  if (found == MPI_UNDEFINED || found == 0) return TG_OK;
  while (first < found && (uint32_t)s->tested[first] < s->turn) first++;
  for (int i = 0; i < found; i++) {
    uint32_t m = (uint32_t)s->tested[(first + i) % found];
    if (s->peer[m].in.worker != m)
      TG_FAIL(TG_ERUNTIME, "mpi: rank %u sent a message of worker %u", m + 1, s->peer[m].in.worker);
    s->peer[m].asked = false;
    s->order[s->count++] = m;
    s->turn = (m + 1) % c->o.workers;
  }
  return TG_OK;
}

/* Decides what will be taken next: everything that has come, or just what the trace prescribes. */
static void settle(tg_comm *c) {
  tg_mpi_server *s = c->server;
  int wanted = c->o.trace ? tg_trace_next(c->o.trace) : -1;
  if (wanted < 0) s->settled = s->count;
  if (s->settled > 0) return;
  for (size_t i = 0; i < s->count; i++)
    if (s->order[i] == (uint32_t)wanted) {
      memmove(s->order + 1, s->order, i * sizeof *s->order);
      s->order[0] = (uint32_t)wanted;
      s->settled = 1;
      return;
    }
}

/* Names everybody who owes an answer, or the one that the trace wants. */
static tg_status late(const tg_comm *c) {
  const tg_mpi_server *s = c->server;
  int wanted = c->o.trace ? tg_trace_next(c->o.trace) : -1;
  char names[512] = "";
  size_t at = 0;
  for (uint32_t m = 0; m < c->o.workers && at < sizeof names; m++)
    if (s->peer[m].asked && (wanted < 0 || m == (uint32_t)wanted))
      at += (size_t)snprintf(names + at, sizeof names - at, "%sworker %u (rank %u)", at ? ", " : "",
                             m, m + 1);
  if (at == 0) TG_FAIL(TG_ERUNTIME, "mpi: waiting for a message, but no worker owes one");
  TG_FAIL(TG_EUNAVAILABLE, "waited %g s for a message from %s", c->o.timeout_s, names);
}

/* Others may be heard all the time while one is silent. */
static tg_status check_silence(const tg_comm *c) {
  double now = tg_clock_s();
  for (uint32_t m = 0; m < c->o.workers; m++) {
    const peer *p = &c->server->peer[m];
    if (p->asked && now - p->since > c->o.timeout_s)
      return tg_mpi_late(&(tg_wait){c->o.timeout_s, "a message from", (int)m + 1, false});
  }
  return TG_OK;
}

static tg_status wait_header(tg_comm *c) {
  tg_patience patience = tg_patience_begin(c->o.timeout_s, false);
  for (;;) {
    TG_TRY(poll_headers(c));
    settle(c);
    if (c->server->settled > 0) return TG_OK;
    if (!tg_patience_pause(&patience)) return late(c);
  }
}

/* ---- bodies ---- */

static tg_status post_piece(tg_comm *c, uint32_t m, size_t piece) {
  tg_mpi_server *s = c->server;
  tg_span span = tg_piece_span(c, piece);
  size_t slot = s->posted++ % RING;
  TG_MPI(MPI_Irecv(s->ring[slot], (int)(span.hi - span.lo), MPI_FLOAT, (int)m + 1, TG_TAG_GRADIENT,
                   c->comm, &s->ring_request[slot]));
  return TG_OK;
}

/* Fills the ring with what will be wanted next. */
static tg_status post_ahead(tg_comm *c) {
  tg_mpi_server *s = c->server;
  while (s->posted - s->handed + s->in_hand < RING) {
    bool current = s->ahead_message == 0;
    if (!current && s->ahead_message > s->settled) return TG_OK;
    uint32_t m = current ? s->current : s->order[s->ahead_message - 1];
    size_t pieces = current ? s->current_pieces : pieces_of(c, &s->peer[m].in);
    if (s->ahead_piece < messages_of(c, m, pieces)) {
      TG_TRY(post_piece(c, m, s->ahead_piece++));
    } else {
      s->ahead_message++;
      s->ahead_piece = 0;
    }
  }
  return TG_OK;
}

/* The first settled message becomes the current one. */
static tg_status take(tg_comm *c) {
  tg_mpi_server *s = c->server;
  s->current = s->order[0];
  s->current_pieces = pieces_of(c, &s->peer[s->current].in);
  s->current_next = 0;
  s->peer[s->current].held = true;
  s->count--;
  s->settled--;
  memmove(s->order, s->order + 1, s->count * sizeof *s->order);
  if (s->ahead_message > 0)
    s->ahead_message--;
  else
    s->ahead_piece = 0;
  if (s->current_pieces > 0 && c->o.ks > 0)
    TG_MPI(MPI_Irecv(s->stats, (int)c->o.ks, MPI_FLOAT, (int)s->current + 1, TG_TAG_BATCH_STATS,
                     c->comm, &s->stats_request));
  if (s->current_pieces > 0 && c->o.worker.coder)
    TG_TRY(tg_mpi_coded_post(c, s->current, s->peer[s->current].in.bytes));
  return TG_OK;
}

static tg_status complete_sends(tg_comm *c, uint32_t m) {
  peer *p = &c->server->peer[m];
  const tg_wait wait = {c->o.timeout_s, "weights to reach", (int)m + 1, true};
  return tg_mpi_finish(&wait, p->send, p->sends, &p->sent);
}

tg_status tg_mpi_recv(tg_comm *c, tg_msg *out) {
  tg_mpi_server *s = c->server;
  if (!s) TG_FAIL(TG_ERUNTIME, "mpi: waiting for a message, but nothing was sent");
  if (s->current_next < s->current_pieces)
    TG_FAIL(TG_ERUNTIME, "mpi: piece %zu of %zu of worker %u's gradient was not taken",
            s->current_next, s->current_pieces, s->current);
  s->in_hand = false;
  TG_TRY(wait_header(c));
  TG_TRY(check_silence(c));
  TG_TRY(take(c));
  atomic_thread_fence(memory_order_acquire); /* of a gradient in shared memory */
  TG_TRY(complete_sends(c, s->current));
  *out = s->peer[s->current].in;
  if (c->o.trace) TG_TRY(tg_trace_append(c->o.trace, out->worker, out->kind, tg_trace_print(out)));
  return post_ahead(c);
}

static tg_status next_of_ring(tg_comm *c, float **g) {
  tg_mpi_server *s = c->server;
  size_t slot = s->handed % RING, done = 0;
  const tg_wait wait = {c->o.timeout_s, "a gradient from", (int)s->current + 1, true};
  TG_TRY(tg_mpi_finish(&wait, &s->ring_request[slot], 1, &done));
  s->handed++;
  s->in_hand = true;
  *g = s->ring[slot];
  return TG_OK;
}

tg_status tg_mpi_recv_piece(tg_comm *c, tg_span *span, float **g) {
  tg_mpi_server *s = c->server;
  if (s->current_next == s->current_pieces)
    TG_FAIL(TG_ERUNTIME, "mpi: a piece was asked for after the last one of worker %u's message",
            s->current);
  s->in_hand = false;
  TG_TRY(poll_headers(c));
  settle(c);
  TG_TRY(post_ahead(c));
  if (c->o.whole && !c->o.worker.coder && (*g = tg_mpi_share_gradient(c, s->current))) {
    *span = (tg_span){0, c->o.n};
    s->current_next = s->current_pieces;
    return TG_OK;
  }
  *span = tg_piece_span(c, s->current_next++);
  if (c->o.worker.coder) {
    *g = s->ring[0];
    return tg_mpi_coded_piece(c, s->current, *span, *g);
  }
  *g = tg_mpi_share_gradient(c, s->current);
  if (!*g) return next_of_ring(c, g);
  *g += span->lo;
  return TG_OK;
}

tg_status tg_mpi_recv_stats(tg_comm *c, const float **stats) {
  tg_mpi_server *s = c->server;
  size_t done = 0;
  const tg_wait wait = {c->o.timeout_s, "statistics from", (int)s->current + 1, true};
  TG_TRY(tg_mpi_finish(&wait, &s->stats_request, 1, &done));
  *stats = s->stats;
  return TG_OK;
}

/* ---- beginning and end ---- */

static tg_status open_peer(tg_comm *c, uint32_t m) {
  peer *p = &c->server->peer[m];
  c->server->header[m] = MPI_REQUEST_NULL;
  p->send = calloc(c->pieces + 2, sizeof(MPI_Request));
  if (!p->send) TG_FAIL(TG_ERUNTIME, "no memory for messages of worker %u", m);
  TG_MPI(MPI_Recv_init(&p->in, sizeof p->in, MPI_BYTE, (int)m + 1, TG_TAG_HEADER, c->comm,
                       &c->server->header[m]));
  return TG_OK;
}

static tg_status open_server(tg_comm *c) {
  tg_mpi_server *s = c->server = calloc(1, sizeof *s);
  uint32_t workers = c->o.workers;
  if (!s) TG_FAIL(TG_ERUNTIME, "no memory for a server");
  s->stats_request = MPI_REQUEST_NULL;
  s->stats = tg_alloc_aligned(c->o.ks * sizeof(float));
  s->peer = calloc(workers, sizeof *s->peer);
  s->header = calloc(workers, sizeof(MPI_Request));
  s->tested = calloc(workers, sizeof *s->tested);
  s->order = calloc(workers, sizeof *s->order);
  bool enough = s->stats && s->peer && s->header && s->tested && s->order;
  size_t longest = c->o.n < c->o.piece ? c->o.n : c->o.piece;
  for (int i = 0; enough && i < RING; i++)
    enough = (s->ring[i] = tg_alloc_aligned(longest * sizeof(float)));
  if (!enough) TG_FAIL(TG_ERUNTIME, "no memory for messages of %u workers", workers);
  for (uint32_t m = 0; m < workers; m++) TG_TRY(open_peer(c, m));
  return tg_mpi_share_offer(c);
}

static bool busy(const tg_comm *c) {
  const tg_mpi_server *s = c->server;
  bool any = s->posted > s->handed || s->stats_request != MPI_REQUEST_NULL;
  for (uint32_t m = 0; s->peer && m < c->o.workers; m++)
    any = any || s->peer[m].asked || s->peer[m].sent < s->peer[m].sends;
  return any;
}

void tg_mpi_server_close(tg_comm *c) {
  tg_mpi_server *s = c->server;
  /* After a failure messages may still be under way, and write where they were told to: a cancelled
   * receive is not to be waited for, so its memory stays. */
  if (!s || busy(c)) return;
  for (uint32_t m = 0; s->peer && s->header && m < c->o.workers; m++) {
    if (s->header[m] != MPI_REQUEST_NULL) MPI_Request_free(&s->header[m]);
    free(s->peer[m].send);
  }
  for (int i = 0; i < RING; i++) free(s->ring[i]);
  free(s->stats);
  free(s->peer);
  free(s->header);
  free(s->tested);
  free(s->order);
  free(s);
}

/* ---- answers ---- */

bool tg_mpi_server_expects(const tg_comm *c, uint32_t m) {
  const tg_msg *last = c->server ? &c->server->peer[m].out : NULL;
  return last && last->kind != 0 && last->kind != TG_MSG_STOP;
}

bool tg_mpi_server_holds(const tg_comm *c, uint32_t m) {
  return c->server && c->server->peer[m].held;
}

/* Posts the receive for m's next message before m can send it. */
static tg_status expect(tg_comm *c, uint32_t m) {
  peer *p = &c->server->peer[m];
  p->asked = true;
  p->since = tg_clock_s();
  TG_MPI(MPI_Start(&c->server->header[m]));
  return TG_OK;
}

static tg_status send_floats(tg_comm *c, uint32_t m, const float *x, size_t n, int tag) {
  peer *p = &c->server->peer[m];
  if (p->sends == c->pieces + 2)
    TG_FAIL(TG_ERUNTIME, "mpi: worker %u is sent more than one answer", m);
  TG_MPI(MPI_Isend(x, (int)n, MPI_FLOAT, (int)m + 1, tag, c->comm, &p->send[p->sends++]));
  return TG_OK;
}

tg_status tg_mpi_send(tg_comm *c, const tg_msg *reply) {
  uint32_t m = reply->worker;
  if (m >= c->o.workers)
    TG_FAIL(TG_ERUNTIME, "mpi: a message to worker %u, there are %u workers", m, c->o.workers);
  if (!c->server) TG_TRY(open_server(c));
  peer *p = &c->server->peer[m];
  if (p->asked || p->sent < p->sends)
    TG_FAIL(TG_ERUNTIME, "mpi: a message to worker %u, which has not answered the last one", m);
  p->sends = p->sent = 0;
  if (p->out.kind == 0 && reply->kind != TG_MSG_STOP) TG_TRY(tg_mpi_state_give(c, m));
  bool over = reply->kind == TG_MSG_STOP && !(reply->flags & TG_FLAG_PREEMPT);
  if (over && p->out.kind != 0) TG_TRY(tg_mpi_state_take(c, m));
  p->out = *reply;
  p->held = false;
  if (reply->kind != TG_MSG_STOP) TG_TRY(expect(c, m));
  TG_MPI(MPI_Isend(&p->out, sizeof p->out, MPI_BYTE, (int)m + 1, TG_TAG_HEADER, c->comm,
                   &p->send[p->sends++]));
  return TG_OK;
}

/* The worker looks at w itself: it only has to know that all of it is there. */
static tg_status share_piece(tg_comm *c, uint32_t m, tg_span span, const float *w) {
  if (w - span.lo != tg_mpi_share_weights(c, m))
    TG_FAIL(TG_ERUNTIME, "mpi: the weights for worker %u are not those that it shares", m);
  if (span.hi < c->o.n) return TG_OK;
  atomic_thread_fence(memory_order_release);
  return send_floats(c, m, w, 0, TG_TAG_WEIGHTS);
}

tg_status tg_mpi_send_piece(tg_comm *c, uint32_t m, tg_span span, const float *w) {
  if (tg_mpi_share_gradient(c, m)) return share_piece(c, m, span, w);
  for (size_t at = span.lo; at < span.hi;) {
    tg_span piece = tg_piece_span(c, at / c->o.piece);
    if (piece.lo != at || piece.hi > span.hi)
      TG_FAIL(TG_ERUNTIME, "mpi: parameters [%zu,%zu) are not whole pieces of %zu", span.lo,
              span.hi, c->o.piece);
    TG_TRY(send_floats(c, m, w + (at - span.lo), piece.hi - piece.lo, TG_TAG_WEIGHTS));
    at = piece.hi;
  }
  return TG_OK;
}

tg_status tg_mpi_send_stats(tg_comm *c, uint32_t m, const float *b) {
  return c->o.k ? send_floats(c, m, b, c->o.k, TG_TAG_STATS) : TG_OK;
}

tg_status tg_mpi_drain(tg_comm *c) {
  for (uint32_t m = 0; c->server && m < c->o.workers; m++) TG_TRY(complete_sends(c, m));
  return TG_OK;
}
