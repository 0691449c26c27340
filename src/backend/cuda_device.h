/* cuda_device.h - inside the plugin: the device, and how calls of CUDA's libraries fail.
 *
 * Values of three and more dimensions lie channels-last on this backend: batch, space, channels.
 * write() and read() convert; everything between agrees, so that a layout is never looked at. A
 * kernel is `const tg_kernel tg_cuda_kernel_<op>`; cuda_device.c collects them from ops.def. */
#ifndef BACKEND_CUDA_DEVICE_H
#define BACKEND_CUDA_DEVICE_H

#include <cublas_v2.h>
#include <cuda_runtime.h>
#include <cudnn.h>
#include <nccl.h>

#include "kernels/kernels.h"
#include "tardigrad/backend.h"

typedef struct tg_cuda_device {
  tg_device base;
  tg_cuda_launch launch;      /* the stream of everything that computes */
  cudaStream_t beside;        /* see cuda_beside.c */
  cudaEvent_t queued, joined; /* of fork and join */
  bool forked;                /* something is on `beside` that nothing waits for yet */
  ncclComm_t group;           /* or NULL */
  double timeout_s;           /* of waits for the group */
  cublasHandle_t blas;
  cudnnHandle_t dnn;
  struct tg_cuda_choice *choices; /* see cuda_algorithms.c */
  void *blas_workspace;
  void *staging; /* of write() */
  size_t staging_bytes;
  bool deterministic, tf32;
  int index;
  char pci[32];
  char description[256];
} tg_cuda_device;

#define TG_OP(name) extern const tg_kernel tg_cuda_kernel_##name;
#include "tardigrad/ops.def"
#undef TG_OP

static inline tg_cuda_device *tg_cuda(const tg_device *d) {
  return (tg_cuda_device *)d;
}

/* A status of each library as ours; `what` and node (may be NULL) name what failed. TG_LAUNCHED
 * takes what a launcher of kernels.h returns. */
TG_CHECKED tg_status tg_cuda_check(cudaError_t error, const char *what, const tg_node *node);
TG_CHECKED tg_status tg_cuda_check_blas(cublasStatus_t error, const char *what,
                                        const tg_node *node);
TG_CHECKED tg_status tg_cuda_check_dnn(cudnnStatus_t error, const char *what, const tg_node *node);
#define TG_CUDA(call)        TG_TRY(tg_cuda_check((call), #call, NULL))
#define TG_LAUNCHED(e, call) TG_TRY(tg_cuda_check((cudaError_t)(call), #call, (e)->node))
#define TG_CUBLAS(e, call)   TG_TRY(tg_cuda_check_blas((call), #call, (e)->node))
#define TG_CUDNN(e, call)    TG_TRY(tg_cuda_check_dnn((call), #call, (e)->node))

/* tg_cuda_need_staging - makes c->staging at least so large; what it held is gone. */
TG_CHECKED tg_status tg_cuda_need_staging(tg_cuda_device *c, size_t bytes);

/* tg_cuda_need_scratch - makes e->scratch_bytes at least `bytes`. */
static inline void tg_cuda_need_scratch(tg_exec *e, size_t bytes) {
  if (e->scratch_bytes < bytes) e->scratch_bytes = bytes;
}

/* tg_cuda_round - to a multiple of 256: parts of scratch and workspace stay aligned. */
static inline size_t tg_cuda_round(size_t bytes) {
  return (bytes + 255) & ~(size_t)255;
}

/* Sizes of a value as a kernel walks it: [outer][axis][inner] in memory order, `axis` being one of
 * the graph's dimensions. */
typedef struct tg_cuda_extent {
  int64_t outer, axis, inner;
} tg_cuda_extent;
tg_cuda_extent tg_cuda_extent_of(const tg_shape *shape, int axis);

#endif
