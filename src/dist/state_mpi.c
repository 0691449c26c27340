/* state_mpi.c - what codecs keep on worker ranks (residuals, momenta), for checkpoints.
 *
 * A checkpoint of an asynchronous run notes that a gradient of worker m is outstanding, and after
 * resuming it is computed again at w_bak(m). So the state to save is that from before this gradient
 * was encoded, which every worker keeps beside the present one. A worker that a rule makes wait has
 * none outstanding: its last message was handled, so the present state is asked for. The server
 * asks for it by a header between two answers; a worker reads it once its outstanding message is on
 * its way: so all of them have sent that message, and none has begun another. The server takes no
 * message meanwhile: a checkpoint with such a codec waits for the slowest outstanding gradient. */
#include <mpi.h>

#include "dist/comm_mpi.h"

static int vectors_of(const tg_comm *c) {
  return c->o.worker.coder ? c->o.worker.coder->vectors : 0;
}

/* All vectors of a worker, between it and rank 0. */
static tg_status carry_all(tg_comm *c, uint32_t m, bool sends, bool before) {
  const tg_coder *coder = c->o.worker.coder;
  tg_parcel parcel = {.peer = c->rank == 0 ? m : TG_PEER_SERVER, .n = c->o.n};
  for (int i = 0; i < coder->vectors; i++) {
    float *x = before && coder->before ? coder->before[i] : tg_coder_state(coder, m, i);
    parcel.out = sends ? x : NULL;
    parcel.in = sends ? NULL : x;
    TG_TRY(tg_mpi_post(c, &parcel, 1));
  }
  return tg_mpi_complete(c);
}

/* What samples say in the header. */
enum { WANT_BEFORE, FOLLOWS, WANT_PRESENT };

static tg_status send_header(tg_comm *c, uint32_t m, uint32_t what) {
  tg_msg header = {.kind = TG_MSG_STATE, .worker = m, .samples = what};
  const tg_wait wait = {c->o.timeout_s, "word to reach", (int)m + 1, false};
  MPI_Request request;
  size_t done = 0;
  TG_MPI(MPI_Isend(&header, sizeof header, MPI_BYTE, (int)m + 1, TG_TAG_HEADER, c->comm, &request));
  return tg_mpi_finish(&wait, &request, 1, &done);
}

tg_status tg_mpi_collect(tg_comm *c, bool ask) {
  if (vectors_of(c) == 0) return TG_OK;
  if (c->rank > 0) return carry_all(c, (uint32_t)c->rank - 1, true, false);
  for (uint32_t m = 0; ask && m < c->o.workers; m++)
    if (tg_mpi_server_expects(c, m))
      TG_TRY(send_header(c, m, tg_mpi_server_holds(c, m) ? WANT_PRESENT : WANT_BEFORE));
  for (uint32_t m = 0; m < c->o.workers; m++)
    if (!ask || tg_mpi_server_expects(c, m)) TG_TRY(carry_all(c, m, false, false));
  return TG_OK;
}

tg_status tg_mpi_state_take(tg_comm *c, uint32_t m) {
  if (vectors_of(c) == 0) return TG_OK;
  TG_TRY(send_header(c, m, WANT_PRESENT));
  return carry_all(c, m, false, false);
}

tg_status tg_mpi_hand_out(tg_comm *c) {
  if (vectors_of(c) == 0) return TG_OK;
  if (c->rank > 0) return carry_all(c, (uint32_t)c->rank - 1, false, false);
  for (uint32_t m = 0; m < c->o.workers; m++) TG_TRY(carry_all(c, m, true, false));
  return TG_OK;
}

tg_status tg_mpi_state_give(tg_comm *c, uint32_t m) {
  if (vectors_of(c) == 0 || !c->o.worker.coder->restored) return TG_OK;
  TG_TRY(send_header(c, m, FOLLOWS));
  return carry_all(c, m, true, false);
}

tg_status tg_mpi_state_answer(tg_comm *c, const tg_msg *in, bool pushed) {
  if (vectors_of(c) == 0)
    TG_FAIL(TG_ERUNTIME, "worker %u: the server asked for residuals, the codec keeps none",
            in->worker);
  return carry_all(c, (uint32_t)c->rank - 1, in->samples != FOLLOWS,
                   in->samples == WANT_BEFORE && pushed);
}
