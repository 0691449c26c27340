/* kernels.h - the launchers of kernels/ *.cu, as C functions: for src/backend/cuda_*.c and tests.
 *
 * All pointers are device memory, not null unless said, and do not overlap unless said. Values of
 * three and more dimensions lie channels-last: batch, space, channels. `dtype`s are TG_F32 or
 * TG_BF16; arithmetic is float32. Everything is queued on launch->stream and nothing waits.
 * Each returns a cudaError_t as int, 0 for success. */
#ifndef KERNELS_KERNELS_H
#define KERNELS_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#include "tardigrad/backend.h"

typedef struct tg_cuda_launch {
  struct CUstream_st *stream;
  int processors; /* streaming multiprocessors */
} tg_cuda_launch;

#include "kernels/batch_norm.h"
#include "kernels/data.h"
#include "kernels/elementwise.h"
#include "kernels/loss.h"
#include "kernels/move.h"
#include "kernels/pool.h"
#include "kernels/skip.h"
#include "kernels/update.h"
#include "kernels/paths.h"
#include "kernels/vector.h"

#ifdef __cplusplus
}
#endif
#endif
