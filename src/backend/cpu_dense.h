/* cpu_dense.h - the dense kernel's two halves: cpu_dense.c and cpu_dense_bf16.c. */
#ifndef TG_BACKEND_CPU_DENSE_H
#define TG_BACKEND_CPU_DENSE_H

#include <stdlib.h>

#include "backend/cpu_flat.h"

enum { TG_CPU_WORTH_THREADS = 1 << 14 }; /* elements of cheap work */

typedef struct tg_cpu_dense {
  bool bf16;
  tg_cpu_flat x;                                        /* float32 */
  tg_cpu_call forward, backward_data, backward_weights; /* bf16 */
  size_t masked_at; /* fused ReLU: the gradient before it, in scratch behind all else */
} tg_cpu_dense;

TG_CHECKED tg_status tg_cpu_dense_bf16_prepare(tg_exec *e, tg_cpu_dense *k);
TG_CHECKED tg_status tg_cpu_dense_bf16_forward(tg_exec *e, tg_cpu_dense *k);
/* dy: e->dy, or what is left of it before a fused ReLU; device memory. */
TG_CHECKED tg_status tg_cpu_dense_bf16_backward(tg_exec *e, tg_cpu_dense *k, const void *dy);

#endif
