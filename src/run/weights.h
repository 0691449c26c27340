/* weights.h - flat vectors as named arrays: what checkpoints and exports hold. */
#ifndef TARDIGRAD_RUN_WEIGHTS_H
#define TARDIGRAD_RUN_WEIGHTS_H

#include "tardigrad/checkpoint.h"
#include "tardigrad/graph.h"

/* tg_weight_arrays - one array per parameter and running statistic, in that order, with its data in
 * w [n] and b [k]. *out is malloc'ed. */
TG_CHECKED tg_status tg_weight_arrays(const tg_graph *g, float *w, float *b, tg_ckpt_array **out,
                                      size_t *count);

#endif
