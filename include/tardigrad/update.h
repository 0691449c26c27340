/* update.h - what happens to a stretch of the flat vectors when a gradient is applied: rule,
 * optimiser and the copy into w_bak, in one pass over memory. */
#ifndef TARDIGRAD_UPDATE_H
#define TARDIGRAD_UPDATE_H

#include "tardigrad/optim.h"

typedef struct tg_span {
  size_t lo, hi;
} tg_span; /* parameters [lo,hi) */

/* Vectors [n], given by element 0. rule_state, w_bak and bak_out may be NULL. */
typedef struct tg_update {
  const tg_rule *rule; /* any of its functions may be NULL */
  const tg_optimizer *optimizer;
  tg_hyper hyper;
  float *w;
  const float *w_bak; /* weights the gradient was computed at, for the rule */
  float *bak_out;     /* where what is sent is written after the update; may equal w_bak */
  bool as_it_is;      /* what is sent is w, whatever the rule: for an evaluation */
  float *rule_state;
  float *slot[TG_MAX_SLOTS];
  float *whole; /* of optimisers that take the gradient as a whole: where it is gathered [n]; NULL:
                   it stays in g */
} tg_update;

typedef struct tg_update_sums {
  double correction_square, gradient_square, gap_square;
} tg_update_sums;

/* tg_update_apply - over [span.lo,span.hi), block by block (TG_BLOCK), parallel over blocks: the
 * one place where weights in host memory change, whatever the scheme. g points at element span.lo
 * and may be overwritten; NULL: there is no gradient, and only bak_out is written. Adds to the
 * sums. */
void tg_update_apply(const tg_update *u, tg_span span, float *g, tg_update_sums *sums);

/* tg_update_whole - of optimisers that look at whole tensors: tg_update_apply makes the rule's part
 * of the update only, and this the rest, once, when it has been called over all of [0,n). g [n] is
 * what it left: u->whole, or the gradient itself. Optimisers in path space compensate it here where
 * hyper.keys.path_compensate says so, and add to *sums what the rule did. */
TG_CHECKED tg_status tg_update_whole(const tg_update *u, const tg_layout *layout, size_t n,
                                     float *g, tg_update_sums *sums);

/* tg_square_sum - of x [n], in double, in an order that depends on n alone: TG_SUM_PARTS parts,
 * each of TG_SUM_LANES interleaved sums. Devices add in the same order, so that a gradient's norm,
 * and with it the print in a trace, is the same wherever it is computed. */
enum { TG_SUM_PARTS = 256, TG_SUM_LANES = 16 };
double tg_square_sum(size_t n, const float *x);
/* tg_scale - x [n] *= factor. */
void tg_scale(size_t n, float *x, float factor);

#endif
