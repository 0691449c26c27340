/* cuda_update.h - tg_update_apply on a GPU. */
#ifndef BACKEND_CUDA_UPDATE_H
#define BACKEND_CUDA_UPDATE_H

#include "backend/cuda_device.h"

/* tg_cuda_apply - the row's update(): rule, optimiser and bak_out = w over [lo,hi), queued; nothing
 * waits. g is left as it is, but for optimisers in path space: it becomes what the rule makes of
 * it, and the rest is tg_cuda_paths_update's. What is written equals tg_update_apply's to the bit;
 * the sums, which are for reports, agree with its to float32's rounding. sums NULL: none. The
 * hyper-parameters are taken at the call: a recorded step would keep them. Errors: TG_ECONFIG for a
 * rule or an optimiser that has no kernel. g NULL: only bak_out is written. */
TG_CHECKED tg_status tg_cuda_apply(tg_device *d, const tg_update *u, tg_span span, float *g,
                                   tg_update_sums *sums);

#endif
