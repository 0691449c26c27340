/* cuda_paths.h - updates in path space on a GPU: the row's whole_open and its kin. */
#ifndef BACKEND_CUDA_PATHS_H
#define BACKEND_CUDA_PATHS_H

#include "backend/cuda_device.h"

TG_CHECKED tg_status tg_cuda_paths_open(tg_device *d, const tg_update *u, const tg_layout *layout,
                                        size_t n, void **out);
void tg_cuda_paths_close(tg_device *d, void *whole);
/* tg_cuda_paths_update - queued; nothing waits. What is written equals tg_path_update's to the bit,
 * the sums agree to float32's rounding. */
TG_CHECKED tg_status tg_cuda_paths_update(tg_device *d, void *whole, const tg_update *u, float *g,
                                          tg_update_sums *sums);
TG_CHECKED tg_status tg_cuda_paths_clamped(tg_device *d, void *whole, uint64_t *out);
/* tg_cuda_paths_rule - the rule's part of an update of optimisers in path space, over a span:
 * nothing, where it compensates nothing, or paths. g points at element span.lo. */
TG_CHECKED tg_status tg_cuda_paths_rule(tg_device *d, const tg_update *u, tg_span span, float *g,
                                        tg_update_sums *sums);

#endif
