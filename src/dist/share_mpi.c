/* share_mpi.c - workers on the server's machine: nothing is copied between two processes that can
 * see the same memory.
 *
 * For each of them the server makes one piece of memory with w_bak(m) and the worker's gradient.
 * The weights that worker m computes with are then w_bak(m) itself, which is what w_bak(m) means:
 * they stay unchanged from one answer to the next push. Headers and an empty message after the last
 * parameter are what is left to be sent. */
#include <mpi.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dist/comm_mpi.h"
#include "tardigrad/log.h"

enum { PAGE = 2 << 20 }; /* each vector on pages of its own */

typedef struct verdict {
  int32_t status;
  char message[256];
} verdict;

/* From one vector to the next. */
static size_t stride(const tg_comm *c) {
  size_t bytes = c->o.n * sizeof(float), page = bytes < PAGE ? 4096 : PAGE;
  return (bytes + page - 1) / page * page / sizeof(float);
}

float *tg_mpi_share_weights(tg_comm *c, uint32_t m) {
  return c->share ? c->share[m].memory.data : NULL;
}

float *tg_mpi_share_gradient(tg_comm *c, uint32_t m) {
  if (!c->share || !c->share[m].used) return NULL;
  return tg_mpi_share_weights(c, m) + stride(c);
}

static tg_status make(tg_comm *c, uint32_t m) {
  int rank = (int)m + 1;
  bool near;
  TG_TRY(tg_mpi_neighbour(rank, &near));
  if (!near) return TG_OK;
  tg_status status =
      tg_shared_create(2 * stride(c) * sizeof(float), &c->share[m].memory, &c->share[m].key);
  if (status != TG_OK) tg_warn("worker %u: %s: messages carry everything", m, tg_status_message());
  return TG_OK;
}

tg_status tg_mpi_share_make(tg_comm *c) {
  bool server = c->rank == 0;
  if (!c->o.share) return TG_OK;
  c->share_count = server ? c->o.workers : 1;
  c->share = calloc(c->share_count, sizeof *c->share);
  if (!c->share) TG_FAIL(TG_ERUNTIME, "no memory to share memory with %u workers", c->o.workers);
  for (uint32_t m = 0; m < c->share_count; m++) c->share[m].memory.fd = -1;
  for (uint32_t m = 0; server && m < c->o.workers; m++) TG_TRY(make(c, m));
  return TG_OK;
}

void tg_mpi_share_close(tg_comm *c) {
  if (c->rank > 0 && tg_mpi_share_gradient(c, 0))
    (void)c->o.compute->place_gradient(c->o.compute, NULL); /* giving up memory cannot fail */
  for (uint32_t m = 0; m < c->share_count; m++) tg_shared_close(&c->share[m].memory);
  free(c->share);
}

/* ---- the server offers, the worker says whether it can ---- */

static tg_status carry(tg_comm *c, void *data, size_t bytes, int rank, bool sends) {
  MPI_Request request;
  size_t done = 0;
  const tg_wait wait = {c->o.timeout_s, "word of shared memory from", rank, true};
  if (sends)
    TG_MPI(MPI_Isend(data, (int)bytes, MPI_BYTE, rank, TG_TAG_SHARED, c->comm, &request));
  else
    TG_MPI(MPI_Irecv(data, (int)bytes, MPI_BYTE, rank, TG_TAG_SHARED, c->comm, &request));
  return tg_mpi_finish(&wait, &request, 1, &done);
}

static tg_status offer(tg_comm *c, uint32_t m) {
  tg_mpi_share *share = &c->share[m];
  verdict v;
  bool near;
  TG_TRY(tg_mpi_neighbour((int)m + 1, &near));
  if (!near) return TG_OK;
  TG_TRY(carry(c, &share->key, sizeof share->key, (int)m + 1, true));
  if (!share->memory.data) return TG_OK;
  TG_TRY(carry(c, &v, sizeof v, (int)m + 1, false));
  share->used = v.status == TG_OK;
  if (!share->used) tg_warn("worker %u: %s: messages carry everything", m, v.message);
  return TG_OK;
}

tg_status tg_mpi_share_offer(tg_comm *c) {
  uint32_t used = 0;
  for (uint32_t m = 0; m < c->share_count; m++) {
    TG_TRY(offer(c, m));
    used += c->share[m].used;
  }
  if (used > 0)
    tg_info("%u of %u workers share memory with the server: their %s are not copied", used,
            c->o.workers, c->o.worker.coder ? "weights" : "gradients and weights");
  return TG_OK;
}

tg_status tg_mpi_share_accept(tg_comm *c) {
  tg_compute *compute = c->o.compute;
  bool near = false;
  verdict v = {.status = TG_OK};
  if (c->share_count) TG_TRY(tg_mpi_neighbour(0, &near));
  if (!near) return TG_OK;
  tg_mpi_share *share = &c->share[0];
  TG_TRY(carry(c, &share->key, sizeof share->key, 0, false));
  if (share->key.bytes == 0) return TG_OK;
  v.status = tg_shared_open(&share->key, &share->memory);
  share->used = v.status == TG_OK;
  if (share->used)
    TG_TRY(compute->place_gradient(compute, tg_mpi_share_gradient(c, 0)));
  else
    snprintf(v.message, sizeof v.message, "%.255s", tg_status_message());
  return carry(c, &v, sizeof v, 0, true);
}
