/* worker_mpi.c - a worker rank's life: weights in, gradient out. */
#include <mpi.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "dist/comm_mpi.h"
#include "tardigrad/arena.h"

struct tg_mpi_worker {
  tg_msg in, out;
  float *own_w, *b;
  const float *w; /* own_w, or what the server shares */
  MPI_Request header;
  bool header_posted;
  double network_s;         /* the last weights were so long under way */
  double sent_s, push_s;    /* when the last answer left, and how long it was under way */
  MPI_Request *recv, *send; /* [pieces + 2] */
  size_t recvs, received, sends, sent;
};

/* ---- one message each way ---- */

/* What is being sent is looked at too, to know how long it was under way. Nobody computes now. */
static tg_status await_header(tg_comm *c) {
  tg_mpi_worker *k = c->worker;
  const tg_wait wait = {c->o.timeout_s, "an answer of the server", 0, false};
  tg_patience patience = tg_patience_begin(wait.timeout_s, wait.soon);
  for (size_t done = 0;;) {
    TG_TRY(tg_mpi_advance(&k->header, 1, &done));
    if (k->sent < k->sends) {
      TG_TRY(tg_mpi_advance(k->send, k->sends, &k->sent));
      k->push_s = tg_clock_s() - k->sent_s;
    }
    if (done) return TG_OK;
    if (!tg_patience_pause(&patience)) return tg_mpi_late(&wait);
  }
}

static tg_status wait_header(tg_comm *c) {
  tg_mpi_worker *k = c->worker;
  if (!k->header_posted)
    TG_MPI(MPI_Irecv(&k->in, sizeof k->in, MPI_BYTE, 0, TG_TAG_HEADER, c->comm, &k->header));
  k->header_posted = true;
  TG_TRY(await_header(c));
  k->header_posted = false;
  if (k->in.kind != TG_MSG_STATE) return TG_OK;
  TG_TRY(tg_mpi_state_answer(c, &k->in, k->out.kind == TG_MSG_PUSH));
  return wait_header(c);
}

static tg_status post_body(tg_comm *c) {
  tg_mpi_worker *k = c->worker;
  k->recvs = k->received = 0;
  if (k->in.kind == TG_MSG_STOP) return TG_OK;
  for (size_t i = 0; k->own_w && i < c->pieces; i++) {
    tg_span span = tg_piece_span(c, i);
    TG_MPI(MPI_Irecv(k->own_w + span.lo, (int)(span.hi - span.lo), MPI_FLOAT, 0, TG_TAG_WEIGHTS,
                     c->comm, &k->recv[k->recvs++]));
  }
  if (!k->own_w)
    TG_MPI(MPI_Irecv(NULL, 0, MPI_FLOAT, 0, TG_TAG_WEIGHTS, c->comm, &k->recv[k->recvs++]));
  if (k->in.kind == TG_MSG_EVALUATE && c->o.k > 0)
    TG_MPI(MPI_Irecv(k->b, (int)c->o.k, MPI_FLOAT, 0, TG_TAG_STATS, c->comm, &k->recv[k->recvs++]));
  return TG_OK;
}

/* Weights that have come are handed on while the others are on their way. */
static tg_status receive_weights(tg_comm *c, const tg_wait *wait) {
  tg_mpi_worker *k = c->worker;
  tg_compute *compute = c->o.compute;
  if (!k->own_w || !compute->take || k->recvs == 0) return TG_OK;
  for (size_t i = 0; i < c->pieces; i++) {
    TG_TRY(tg_mpi_finish(wait, k->recv, i + 1, &k->received));
    TG_TRY(compute->take(compute, k->own_w, tg_piece_span(c, i)));
  }
  return TG_OK;
}

static tg_status receive(tg_comm *c) {
  tg_mpi_worker *k = c->worker;
  const tg_wait wait = {c->o.timeout_s, "weights of the server", 0, true};
  TG_TRY(wait_header(c));
  double heard = tg_clock_s();
  TG_TRY(post_body(c));
  TG_TRY(receive_weights(c, &wait));
  TG_TRY(tg_mpi_finish(&wait, k->recv, k->recvs, &k->received));
  k->network_s = tg_clock_s() - heard;
  atomic_thread_fence(memory_order_acquire); /* of weights in shared memory */
  /* What the server answered, it has read: this only tells MPI so. */
  return tg_mpi_finish(&wait, k->send, k->sends, &k->sent);
}

static tg_status send_floats(tg_comm *c, const float *x, size_t n, int tag) {
  tg_mpi_worker *k = c->worker;
  TG_MPI(MPI_Isend(x, (int)n, MPI_FLOAT, 0, tag, c->comm, &k->send[k->sends++]));
  return TG_OK;
}

static tg_status send_gradient(tg_comm *c) {
  tg_mpi_worker *k = c->worker;
  const tg_coder *coder = c->o.worker.coder;
  if (coder)
    TG_MPI(MPI_Isend(coder->message, (int)k->out.bytes, MPI_BYTE, 0, TG_TAG_GRADIENT, c->comm,
                     &k->send[k->sends++]));
  for (size_t i = 0; !coder && k->own_w && i < c->pieces; i++) {
    tg_span span = tg_piece_span(c, i);
    TG_TRY(send_floats(c, c->o.compute->g + span.lo, span.hi - span.lo, TG_TAG_GRADIENT));
  }
  return TG_OK;
}

static tg_status answer(tg_comm *c) {
  tg_mpi_worker *k = c->worker;
  const tg_compute *compute = c->o.compute;
  k->sends = k->sent = 0;
  k->sent_s = tg_clock_s();
  k->push_s = 0;
  atomic_thread_fence(memory_order_release);
  TG_MPI(
      MPI_Isend(&k->out, sizeof k->out, MPI_BYTE, 0, TG_TAG_HEADER, c->comm, &k->send[k->sends++]));
  if (k->out.kind != TG_MSG_PUSH || k->out.flags & TG_FLAG_NONFINITE) return TG_OK;
  TG_TRY(send_gradient(c));
  return c->o.ks ? send_floats(c, compute->s, c->o.ks, TG_TAG_BATCH_STATS) : TG_OK;
}

/* ---- beginning and end ---- */

static tg_status open_worker(tg_comm *c) {
  tg_mpi_worker *k = c->worker = calloc(1, sizeof *k);
  if (!k) TG_FAIL(TG_ERUNTIME, "no memory for a worker");
  TG_TRY(tg_mpi_share_accept(c));
  if (tg_mpi_share_gradient(c, 0))
    k->w = tg_mpi_share_weights(c, 0);
  else
    k->w = k->own_w = tg_alloc_aligned(c->o.n * sizeof(float));
  if (k->w && c->o.compute->pin) c->o.compute->pin(c->o.compute, k->w);
  TG_TRY(tg_worker_prepare(c->o.compute, &c->o.worker));
  k->b = tg_alloc_aligned(c->o.k * sizeof(float));
  k->recv = calloc(c->pieces + 2, sizeof(MPI_Request));
  k->send = calloc(c->pieces + 2, sizeof(MPI_Request));
  if (!k->w || !k->b || !k->recv || !k->send)
    TG_FAIL(TG_ERUNTIME, "no memory for weights of %zu parameters", c->o.n);
  return TG_OK;
}

void tg_mpi_worker_close(tg_comm *c) {
  tg_mpi_worker *k = c->worker;
  /* After a failure the server may still write here: the memory stays. */
  if (!k || k->header_posted || k->received < k->recvs || k->sent < k->sends) return;
  if (k->w && c->o.compute->unpin) c->o.compute->unpin(c->o.compute, k->w);
  tg_worker_release(c->o.compute);
  free(k->own_w);
  free(k->b);
  free(k->recv);
  free(k->send);
  free(k);
}

tg_status tg_mpi_work(tg_comm *c, uint32_t *stop_flags) {
  if (!c->worker) TG_TRY(open_worker(c));
  tg_mpi_worker *k = c->worker;
  for (double waiting = tg_clock_s();;) {
    TG_TRY(receive(c));
    if (k->in.kind == TG_MSG_STOP) break;
    double computing = tg_clock_s();
    if (c->o.worker.coder && k->in.kind == TG_MSG_WEIGHTS)
      TG_TRY(tg_coder_remember(c->o.worker.coder));
    TG_TRY(tg_worker_step(c->o.compute, &c->o.worker, &k->in, k->w, k->b, &k->out));
    double computed = tg_clock_s();
    k->out.wait_s = computing - waiting;
    k->out.network_s = k->network_s;
    /* Between its answer and the next weights a worker does not compute: nothing is hidden. */
    k->out.comm_s = k->out.exposed_s = k->push_s + k->network_s;
    k->out.compute_s = computed - computing;
    k->out.sent_s = computed - c->began;
    if (tg_stop_requested()) k->out.flags |= TG_FLAG_PREEMPT;
    TG_TRY(answer(c));
    waiting = computed;
  }
  *stop_flags = k->in.flags;
  return TG_OK;
}
