/* coded.h - encoded gradients of the synchronous scheme: one message per worker and update, and
 * what they are together. */
#ifndef DIST_CODED_H
#define DIST_CODED_H

#include "tardigrad/transport.h"

typedef struct tg_coded {
  tg_coder *coder; /* NULL: gradients are summed as floats */
  bool votes;      /* the majority is wanted, not the sum */
  uint32_t workers;
  unsigned char **message; /* [workers], each with room for coder->room bytes, or NULL: not here */
  uint64_t *bytes;         /* [workers] */
} tg_coded;

/* tg_coded_open - on a rank that computes for workers [first,first+count); count 0 is rank 0, which
 * counts votes. coder NULL: nothing. TG_ECONFIG where votes are wanted and the codec has none.
 * Memory: the messages of all workers; where others count the votes, those of its own. Free with
 * tg_coded_close, also after a failure. */
TG_CHECKED tg_status tg_coded_open(tg_coded *d, tg_coder *coder, bool votes, uint32_t workers,
                                   uint32_t first, uint32_t count);
void tg_coded_close(tg_coded *d);
/* tg_coded_keep - the coder's message is this worker's. */
void tg_coded_keep(tg_coded *d, uint32_t worker);
/* tg_coded_combine - x [n] becomes the sum of all workers' gradients, added in their order, or the
 * majority's signs. Collective; transport NULL or without gather: all messages are here. */
TG_CHECKED tg_status tg_coded_combine(tg_coded *d, const tg_transport *transport, tg_comm *comm,
                                      bool leads, uint64_t step, float *x);

#endif
