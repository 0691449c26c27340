/* coded_mpi.c - encoded gradients: whole messages of bytes, since they are short and only their
 * codec knows where a coordinate is in them. */
#include <mpi.h>
#include <stdlib.h>

#include "dist/comm_mpi.h"
#include "tardigrad/arena.h"

struct tg_mpi_coded {
  MPI_Request *in, *out; /* [ranks] of a gather */
  size_t ins, outs, in_done, out_done;
  unsigned char *body; /* the server's: the message in hand */
  MPI_Request body_request;
  uint64_t body_bytes;
};

static tg_status open_coded(tg_comm *c) {
  if (c->coded) return TG_OK;
  tg_mpi_coded *d = c->coded = calloc(1, sizeof *d);
  if (!d) TG_FAIL(TG_ERUNTIME, "no memory for encoded gradients");
  size_t ranks = (size_t)c->o.workers + 1;
  d->body_request = MPI_REQUEST_NULL;
  d->in = calloc(ranks, sizeof(MPI_Request));
  d->out = calloc(ranks, sizeof(MPI_Request));
  d->body = tg_alloc_aligned(c->o.worker.coder->room);
  if (!d->in || !d->out || !d->body)
    TG_FAIL(TG_ERUNTIME, "no memory for encoded gradients of %zu bytes", c->o.worker.coder->room);
  return TG_OK;
}

void tg_mpi_coded_close(tg_comm *c) {
  tg_mpi_coded *d = c->coded;
  /* After a failure messages may still arrive: the memory stays. */
  if (!d || d->in_done < d->ins || d->out_done < d->outs || d->body_request != MPI_REQUEST_NULL)
    return;
  free(d->in);
  free(d->out);
  free(d->body);
  free(d);
}

/* Waits for a message from `rank` and says how long it was. */
static tg_status finish_sized(const tg_wait *wait, MPI_Request *request, uint64_t *bytes) {
  tg_patience patience = tg_patience_begin(wait->timeout_s, wait->soon);
  for (;;) {
    MPI_Status status;
    int flag, count;
    TG_MPI(MPI_Test(request, &flag, &status));
    if (flag) {
      TG_MPI(MPI_Get_count(&status, MPI_BYTE, &count));
      *bytes = (uint64_t)count;
      return TG_OK;
    }
    if (!tg_patience_pause(&patience)) return tg_mpi_late(wait);
  }
}

/* ---- the server of the asynchronous scheme ---- */

tg_status tg_mpi_coded_post(tg_comm *c, uint32_t m, uint64_t bytes) {
  const tg_coder *coder = c->o.worker.coder;
  TG_TRY(open_coded(c));
  tg_mpi_coded *d = c->coded;
  if (bytes == 0 || bytes > coder->room)
    TG_FAIL(TG_ERUNTIME,
            "mpi: worker %u announced a gradient of %llu bytes, codec %s makes at most %zu", m,
            (unsigned long long)bytes, coder->codec->name, coder->room);
  d->body_bytes = bytes;
  TG_MPI(MPI_Irecv(d->body, (int)bytes, MPI_BYTE, (int)m + 1, TG_TAG_GRADIENT, c->comm,
                   &d->body_request));
  return TG_OK;
}

tg_status tg_mpi_coded_piece(tg_comm *c, uint32_t m, tg_span span, float *g) {
  tg_mpi_coded *d = c->coded;
  const tg_coder *coder = c->o.worker.coder;
  const tg_wait wait = {c->o.timeout_s, "a gradient from", (int)m + 1, true};
  if (span.lo == 0) {
    uint64_t came;
    TG_TRY(finish_sized(&wait, &d->body_request, &came));
    if (came != d->body_bytes)
      TG_FAIL(TG_ERUNTIME, "mpi: worker %u announced a gradient of %llu bytes and sent %llu", m,
              (unsigned long long)d->body_bytes, (unsigned long long)came);
    TG_TRY(tg_coder_check(coder, d->body, came));
  }
  tg_coder_decode(coder, d->body, span.lo, span.hi, g);
  return TG_OK;
}

/* ---- the synchronous scheme ---- */

static bool is_worker(const tg_comm *c) {
  return c->rank > 0;
}

static tg_status begin_gather(tg_comm *c, unsigned char *const *message, const uint64_t *bytes,
                              size_t room, bool everybody) {
  tg_mpi_coded *d = c->coded;
  int mine = c->rank - 1;
  d->ins = d->outs = d->in_done = d->out_done = 0;
  for (int m = 0; (everybody || !is_worker(c)) && m < (int)c->o.workers; m++)
    if (m != mine)
      TG_MPI(MPI_Irecv(message[m], (int)room, MPI_BYTE, m + 1, TG_TAG_CODED, c->comm,
                       &d->in[d->ins++]));
  /* Everybody begins with another rank, so that nobody is sent everything at once. */
  for (int i = 1; is_worker(c) && i <= (int)c->o.workers; i++) {
    int rank = (c->rank + i) % ((int)c->o.workers + 1);
    if (rank == 0 || everybody)
      TG_MPI(MPI_Isend(message[mine], (int)bytes[mine], MPI_BYTE, rank, TG_TAG_CODED, c->comm,
                       &d->out[d->outs++]));
  }
  return TG_OK;
}

tg_status tg_mpi_gather(tg_comm *c, unsigned char *const *message, uint64_t *bytes, size_t room,
                        bool everybody) {
  TG_TRY(open_coded(c));
  tg_mpi_coded *d = c->coded;
  TG_TRY(begin_gather(c, message, bytes, room, everybody));
  while (d->in_done < d->ins) {
    /* Receives are in the order of the workers, without myself. */
    int m = (int)d->in_done + (is_worker(c) && (int)d->in_done >= c->rank - 1);
    const tg_wait wait = {c->o.timeout_s, "the gradient of", m + 1, true};
    TG_TRY(finish_sized(&wait, &d->in[d->in_done], &bytes[m]));
    d->in_done++;
  }
  const tg_wait wait = {c->o.timeout_s, "a gradient to reach", 0, true};
  return tg_mpi_finish(&wait, d->out, d->outs, &d->out_done);
}

tg_status tg_mpi_spread(tg_comm *c, unsigned char *message, uint64_t *bytes, size_t room) {
  TG_TRY(open_coded(c));
  tg_mpi_coded *d = c->coded;
  d->ins = d->outs = d->in_done = d->out_done = 0;
  if (is_worker(c)) {
    TG_MPI(MPI_Irecv(message, (int)room, MPI_BYTE, 0, TG_TAG_CODED, c->comm, &d->in[d->ins++]));
    const tg_wait wait = {c->o.timeout_s, "the vote of the server", 0, false};
    TG_TRY(finish_sized(&wait, &d->in[0], bytes));
    d->in_done++;
    return TG_OK;
  }
  for (uint32_t m = 0; m < c->o.workers; m++)
    TG_MPI(MPI_Isend(message, (int)*bytes, MPI_BYTE, (int)m + 1, TG_TAG_CODED, c->comm,
                     &d->out[d->outs++]));
  for (uint32_t m = 0; m < c->o.workers; m++) {
    const tg_wait wait = {c->o.timeout_s, "a vote to reach", (int)m + 1, true};
    TG_TRY(tg_mpi_finish(&wait, d->out, m + 1, &d->out_done));
  }
  return TG_OK;
}
