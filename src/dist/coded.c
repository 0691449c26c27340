#include "dist/coded.h"

#include <stdlib.h>
#include <string.h>

#include "tardigrad/arena.h"

/* Floats in hand: a multiple of every power of two that a codec may like, and small enough for the
 * second level of cache. */
enum { BLOCK = 16 << 10 };

void tg_coded_close(tg_coded *d) {
  for (uint32_t m = 0; d->message && m < d->workers; m++) free(d->message[m]);
  free(d->message);
  free(d->bytes);
  *d = (tg_coded){0};
}

tg_status tg_coded_open(tg_coded *d, tg_coder *coder, bool votes, uint32_t workers, uint32_t first,
                        uint32_t count) {
  *d = (tg_coded){.coder = coder, .votes = votes, .workers = workers};
  if (votes && !(coder && coder->codec->vote))
    TG_FAIL(TG_ECONFIG, "a vote needs a codec of signs, not %s",
            coder ? coder->codec->name : "none");
  if (!coder) return TG_OK;
  d->message = calloc(workers, sizeof *d->message);
  d->bytes = calloc(workers, sizeof *d->bytes);
  bool enough = d->message && d->bytes, own = votes && count > 0;
  for (uint32_t m = own ? first : 0; enough && m < (own ? first + count : workers); m++)
    enough = (d->message[m] = tg_alloc_aligned(coder->room));
  if (!enough) TG_FAIL(TG_ERUNTIME, "no memory for encoded gradients of %u workers", workers);
  return TG_OK;
}

void tg_coded_keep(tg_coded *d, uint32_t worker) {
  memcpy(d->message[worker], d->coder->message, d->coder->bytes);
  d->bytes[worker] = d->coder->bytes;
}

static tg_status check_all(const tg_coded *d) {
  for (uint32_t m = 0; m < d->workers; m++)
    TG_TRY(tg_coder_check(d->coder, d->message[m], d->bytes[m]));
  return TG_OK;
}

/* (g0 + g1) + ..., elementwise, as an all-reduce of floats adds. */
static void sum(const tg_coded *d, float *x) {
  size_t n = d->coder->o.n, blocks = (n + BLOCK - 1) / BLOCK;
#pragma omp parallel for schedule(static) if (blocks > 1)
  for (size_t i = 0; i < blocks; i++) {
    float part[BLOCK];
    size_t lo = i * BLOCK, hi = n - lo < BLOCK ? n : lo + BLOCK;
    tg_coder_decode(d->coder, d->message[0], lo, hi, x + lo);
    for (uint32_t m = 1; m < d->workers; m++) {
      tg_coder_decode(d->coder, d->message[m], lo, hi, part);
      for (size_t j = lo; j < hi; j++) x[j] += part[j - lo];
    }
  }
}

/* Rank 0 counts, so that what travels is one message each way. */
static tg_status majority(tg_coded *d, const tg_transport *transport, tg_comm *comm, bool leads,
                          uint64_t step, float *x) {
  tg_coder *coder = d->coder;
  if (leads) {
    TG_TRY(check_all(d));
    tg_coder_vote(coder, step, (const void *const *)d->message, d->workers);
  }
  uint64_t bytes = coder->bytes;
  if (transport) TG_TRY(transport->spread(comm, coder->message, &bytes, coder->room));
  TG_TRY(tg_coder_check(coder, coder->message, bytes));
  tg_coder_decode(coder, coder->message, 0, coder->o.n, x);
  return TG_OK;
}

tg_status tg_coded_combine(tg_coded *d, const tg_transport *transport, tg_comm *comm, bool leads,
                           uint64_t step, float *x) {
  if (transport && !transport->gather) transport = NULL;
  if (transport) TG_TRY(transport->gather(comm, d->message, d->bytes, d->coder->room, !d->votes));
  if (d->votes) return majority(d, transport, comm, leads || !transport, step, x);
  TG_TRY(check_all(d));
  sum(d, x);
  return TG_OK;
}
