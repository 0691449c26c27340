/* holdings.h - what workers with weights of their own hold: of one worker, or of all. */
#ifndef TARDIGRAD_HOLDINGS_H
#define TARDIGRAD_HOLDINGS_H

#include "tardigrad/transport.h"

typedef struct tg_holdings {
  size_t n, k;
  uint32_t first, held;       /* workers [first,first+held) */
  float **x;                  /* [held][n] weights */
  float **snapshot;           /* [held][n] weights that a gradient is computed at; NULL: x */
  float **bx;                 /* [held][k] running statistics */
  float **slot[TG_MAX_SLOTS]; /* [slot_count][held][n] optimiser state */
  size_t slot_count;
  tg_compute *pinned; /* was told of x and snapshot */
} tg_holdings;

/* tg_holdings_open - all workers begin at w0 [n], b0 [k]; optimiser state is zero. Host memory.
 * compute: what will read x (or the snapshots), or NULL. Free with tg_holdings_close, also after a
 * failure. */
TG_CHECKED tg_status tg_holdings_open(tg_holdings *h, size_t n, size_t k, const float *w0,
                                      const float *b0, size_t slots, bool snapshots,
                                      tg_compute *compute);
void tg_holdings_close(tg_holdings *h);
/* tg_holdings_gather - between a worker rank, which holds one worker's, and rank 0, which holds
 * everybody's: of all workers in order. all: every vector, not weights and running statistics
 * alone. _scatter is the way back. */
TG_CHECKED tg_status tg_holdings_gather(tg_holdings *h, const tg_transport *transport,
                                        tg_comm *comm, bool server, bool all);
TG_CHECKED tg_status tg_holdings_scatter(tg_holdings *h, const tg_transport *transport,
                                         tg_comm *comm, bool server);

/* tg_vectors_create - count vectors of n floats, zero; NULL without memory. The list ends with
 * NULL. */
float **tg_vectors_create(size_t count, size_t n);
void tg_vectors_free(float **list);

#endif
