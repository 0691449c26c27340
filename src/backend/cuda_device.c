/* cuda_device.c - one GPU: memory, copies, recorded steps, and the plugin's row. */
#include "backend/cuda_device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda_algorithms.h"
#include "backend/cuda_beside.h"
#include "backend/cuda_data.h"
#include "backend/cuda_paths.h"
#include "backend/cuda_plugin.h"
#include "backend/cuda_update.h"
#include "tardigrad/log.h"

enum { BLAS_WORKSPACE = 32 << 20 }; /* bytes: what cuBLAS asks for on sm_90 */

tg_status tg_cuda_check(cudaError_t error, const char *what, const tg_node *node) {
  if (error == cudaSuccess) return TG_OK;
  TG_FAIL(TG_ERUNTIME, "%s%s%.*s: %s (CUDA error %d)", node ? node->name : "", node ? ": " : "",
          (int)strcspn(what, "("), what, cudaGetErrorString(error), (int)error);
}

tg_status tg_cuda_check_blas(cublasStatus_t error, const char *what, const tg_node *node) {
  if (error == CUBLAS_STATUS_SUCCESS) return TG_OK;
  TG_FAIL(TG_ERUNTIME, "%s%s%.*s: %s", node ? node->name : "", node ? ": " : "",
          (int)strcspn(what, "("), what, cublasGetStatusString(error));
}

tg_status tg_cuda_check_dnn(cudnnStatus_t error, const char *what, const tg_node *node) {
  if (error == CUDNN_STATUS_SUCCESS) return TG_OK;
  TG_FAIL(TG_ERUNTIME, "%s%s%.*s: %s", node ? node->name : "", node ? ": " : "",
          (int)strcspn(what, "("), what, cudnnGetErrorString(error));
}

/* ---- memory ---- */

static tg_status cuda_alloc(tg_device *d, size_t bytes, void **out) {
  size_t free_bytes = 0, all_bytes = 0;
  cudaError_t error = cudaMalloc(out, bytes ? bytes : 1);
  if (error == cudaErrorMemoryAllocation) {
    (void)cudaGetLastError();
    TG_CUDA(cudaMemGetInfo(&free_bytes, &all_bytes));
    TG_FAIL(TG_ERUNTIME, "%s: no %zu bytes of device memory: %zu of %zu are free",
            tg_cuda(d)->description, bytes, free_bytes, all_bytes);
  }
  TG_TRY(tg_cuda_check(error, "cudaMalloc", NULL));
  return tg_cuda_check(cudaMemsetAsync(*out, 0, bytes, tg_cuda(d)->launch.stream), "cudaMemset",
                       NULL);
}

static void cuda_free(tg_device *d, void *p) {
  (void)cudaStreamSynchronize(tg_cuda(d)->launch.stream);
  (void)cudaFree(p);
}

static tg_status cuda_sync(tg_device *d) {
  TG_TRY(tg_cuda_join(d));
  if (tg_cuda(d)->group) return tg_cuda_sync_group(tg_cuda(d));
  TG_CUDA(cudaStreamSynchronize(tg_cuda(d)->launch.stream));
  return TG_OK;
}

static tg_status move(tg_device *d, void *dst, const void *src, size_t bytes,
                      enum cudaMemcpyKind kind) {
  if (bytes == 0) return TG_OK;
  TG_CUDA(cudaMemcpyAsync(dst, src, bytes, kind, tg_cuda(d)->launch.stream));
  return TG_OK;
}

/* The host's memory may be used again at once. */
static tg_status cuda_to_device(tg_device *d, void *dst, const void *src, size_t bytes) {
  TG_TRY(move(d, dst, src, bytes, cudaMemcpyHostToDevice));
  return cuda_sync(d);
}

static tg_status cuda_to_host_later(tg_device *d, void *dst, const void *src, size_t bytes) {
  return move(d, dst, src, bytes, cudaMemcpyDeviceToHost);
}

static tg_status cuda_to_host(tg_device *d, void *dst, const void *src, size_t bytes) {
  TG_TRY(cuda_to_host_later(d, dst, src, bytes));
  return cuda_sync(d);
}

static tg_status cuda_copy(tg_device *d, void *dst, const void *src, size_t bytes) {
  return move(d, dst, src, bytes, cudaMemcpyDeviceToDevice);
}

static tg_status cuda_zero(tg_device *d, void *dst, size_t bytes) {
  if (bytes == 0) return TG_OK;
  TG_CUDA(cudaMemsetAsync(dst, 0, bytes, tg_cuda(d)->launch.stream));
  return TG_OK;
}

tg_status tg_cuda_need_staging(tg_cuda_device *c, size_t bytes) {
  if (c->staging_bytes >= bytes) return TG_OK;
  if (c->staging) cuda_free(&c->base, c->staging);
  c->staging = NULL;
  c->staging_bytes = 0;
  TG_TRY(cuda_alloc(&c->base, bytes, &c->staging));
  c->staging_bytes = bytes;
  return TG_OK;
}

static tg_status cuda_write(tg_device *d, const tg_tensor *t, const void *host) {
  tg_cuda_device *c = tg_cuda(d);
  if (t->dtype == TG_I32 || t->shape.nd < 3) return cuda_to_device(d, t->data, host, t->bytes);
  TG_TRY(tg_cuda_need_staging(c, t->bytes));
  TG_TRY(cuda_to_device(d, c->staging, host, t->bytes));
  return tg_cuda_check(
      (cudaError_t)tg_cuda_value_to_last(&c->launch, &t->shape, c->staging, t->dtype, t->data),
      "writing an input", NULL);
}

/* Reading is for people and tests: it may allocate and wait. */
static tg_status cuda_read(tg_device *d, const tg_tensor *t, float *host) {
  tg_cuda_device *c = tg_cuda(d);
  size_t bytes = tg_shape_count(&t->shape) * sizeof(float);
  if (t->dtype == TG_I32) TG_FAIL(TG_ERUNTIME, "labels cannot be read as numbers");
  TG_TRY(tg_cuda_need_staging(c, bytes));
  TG_TRY(tg_cuda_check(
      (cudaError_t)tg_cuda_value_from_last(&c->launch, &t->shape, t->dtype, t->data, c->staging),
      "reading a value", NULL));
  return cuda_to_host(d, host, c->staging, bytes);
}

static tg_status cuda_add(tg_device *d, const tg_tensor *like, void *dst, const void *src) {
  return tg_cuda_check((cudaError_t)tg_cuda_add(&tg_cuda(d)->launch, like->dtype,
                                                tg_shape_count(&like->shape), dst, src),
                       "adding gradients", NULL);
}

static tg_status cuda_add_f32(tg_device *d, size_t n, float *dst, const float *src) {
  return tg_cuda_check((cudaError_t)tg_cuda_add(&tg_cuda(d)->launch, TG_F32, n, dst, src),
                       "adding gradients", NULL);
}

static tg_status cuda_scale(tg_device *d, size_t n, float *x, float factor) {
  return tg_cuda_check((cudaError_t)tg_cuda_scale(&tg_cuda(d)->launch, n, factor, x),
                       "scaling a vector", NULL);
}

static tg_status cuda_square_sum_later(tg_device *d, size_t n, const float *x, double *out) {
  tg_cuda_device *c = tg_cuda(d);
  TG_TRY(tg_cuda_need_staging(c, (TG_SUM_PARTS + 1) * sizeof(double)));
  double *sum = c->staging;
  TG_TRY(tg_cuda_check((cudaError_t)tg_cuda_square_sum(&c->launch, n, x, sum + 1, sum),
                       "a sum of squares", NULL));
  return cuda_to_host_later(d, out, sum, sizeof *out);
}

static tg_status cuda_square_sum(tg_device *d, size_t n, const float *x, double *out) {
  TG_TRY(cuda_square_sum_later(d, n, x, out));
  return cuda_sync(d);
}

/* ---- recorded steps ---- */

static tg_status cuda_record_begin(tg_device *d) {
  TG_TRY(tg_cuda_join(d));
  TG_CUDA(cudaStreamBeginCapture(tg_cuda(d)->launch.stream, cudaStreamCaptureModeThreadLocal));
  return TG_OK;
}

static tg_status cuda_record_end(tg_device *d, void **out) {
  cudaGraph_t graph = NULL;
  cudaGraphExec_t record = NULL;
  tg_status status = tg_cuda_join(d);
  /* Whatever happened: a stream that goes on recording is of no use to anybody. */
  cudaError_t ended = cudaStreamEndCapture(tg_cuda(d)->launch.stream, &graph);
  tg_cuda(d)->forked = false;
  if (status == TG_OK) status = tg_cuda_check(ended, "cudaStreamEndCapture", NULL);
  if (status == TG_OK)
    status = tg_cuda_check(cudaGraphInstantiate(&record, graph, 0), "cudaGraphInstantiate", NULL);
  if (graph) (void)cudaGraphDestroy(graph);
  *out = record;
  return status;
}

static tg_status cuda_play(tg_device *d, void *record) {
  TG_CUDA(cudaGraphLaunch(record, tg_cuda(d)->launch.stream));
  return TG_OK;
}

static void cuda_forget(tg_device *d, void *record) {
  (void)cudaStreamSynchronize(tg_cuda(d)->launch.stream);
  (void)cudaGraphExecDestroy(record);
}

/* ---- beginning and end ---- */

static const char *cuda_describe(tg_device *d) {
  return tg_cuda(d)->description;
}

static void cuda_close(tg_device *d) {
  tg_cuda_device *c = tg_cuda(d);
  if (c->launch.stream) (void)cudaStreamSynchronize(c->launch.stream);
  tg_cuda_beside_close(c);
  if (c->staging) (void)cudaFree(c->staging);
  tg_cuda_choices_forget(c);
  if (c->dnn) (void)cudnnDestroy(c->dnn);
  if (c->blas) (void)cublasDestroy(c->blas);
  if (c->blas_workspace) (void)cudaFree(c->blas_workspace);
  if (c->launch.stream) (void)cudaStreamDestroy(c->launch.stream);
  free(c);
}

/* What the user has to know first: is there a driver, is there a GPU. */
static tg_status count_devices(int *count) {
  cudaError_t error = cudaGetDeviceCount(count);
  if (error == cudaErrorInsufficientDriver)
    TG_FAIL(TG_EUNAVAILABLE,
            "device cuda: no NVIDIA driver, or one too old for CUDA %d.%d (is this a GPU machine?)",
            CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
  if (error != cudaSuccess || *count == 0)
    TG_FAIL(TG_EUNAVAILABLE, "device cuda: %s",
            error == cudaSuccess ? "no GPU is visible" : cudaGetErrorString(error));
  return TG_OK;
}

static tg_status open_libraries(tg_cuda_device *c) {
  tg_exec e = {0}; /* for the macros: no node */
  TG_CUDA(cudaStreamCreateWithFlags(&c->launch.stream, cudaStreamNonBlocking));
  TG_TRY(tg_cuda_beside_open(c));
  TG_CUBLAS(&e, cublasCreate(&c->blas));
  TG_CUBLAS(&e, cublasSetStream(c->blas, c->launch.stream));
  /* With a workspace of its own cuBLAS allocates nothing while a step is recorded, and its results
   * repeat. */
  TG_CUDA(cudaMalloc(&c->blas_workspace, BLAS_WORKSPACE));
  TG_CUBLAS(&e, cublasSetWorkspace(c->blas, c->blas_workspace, BLAS_WORKSPACE));
  /* Parts of a product that is split are added in float32, and its bf16 result is rounded once. */
  TG_CUBLAS(&e, cublasSetMathMode(c->blas, CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION));
  TG_CUDNN(&e, cudnnCreate(&c->dnn));
  TG_CUDNN(&e, cudnnSetStream(c->dnn, c->launch.stream));
  return TG_OK;
}

static const char *cuda_identity(tg_device *d) {
  return tg_cuda(d)->pci;
}

static void describe(tg_cuda_device *c, const struct cudaDeviceProp *is) {
  char name[64];
  snprintf(name, sizeof name, "%.63s", is->name);
  snprintf(c->description, sizeof c->description,
           "cuda: %s (sm_%d%d), %.0f GiB, device %d, CUDA %d.%d, cuDNN %zu.%zu.%zu", name,
           is->major, is->minor, (double)is->totalGlobalMem / (1 << 30), c->index,
           CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10, cudnnGetVersion() / 10000,
           cudnnGetVersion() / 100 % 100, cudnnGetVersion() % 100);
}

static tg_status open_device(tg_cuda_device *c, int index) {
  struct cudaDeviceProp is;
  TG_CUDA(cudaSetDevice(index));
  TG_CUDA(cudaGetDeviceProperties(&is, index));
  if (is.major < 8)
    TG_FAIL(TG_EUNAVAILABLE, "device cuda: %s is sm_%d%d, sm_80 is the oldest that is served",
            is.name, is.major, is.minor);
  c->index = index;
  c->launch.processors = is.multiProcessorCount;
  TG_CUDA(cudaDeviceGetPCIBusId(c->pci, sizeof c->pci, index));
  TG_TRY(open_libraries(c));
  describe(c, &is);
  return TG_OK;
}

static tg_status cuda_open(const tg_backend *self, const tg_device_options *o, tg_device **out) {
  int count = 0;
  TG_TRY(count_devices(&count));
  tg_cuda_device *c = calloc(1, sizeof *c);
  if (!c) TG_FAIL(TG_ERUNTIME, "no memory for a device");
  c->base = (tg_device){.backend = self, .address_mask = UINTPTR_MAX};
  c->deterministic = !o->fast;
  c->tf32 = o->tf32;
  tg_status status = open_device(c, o->index % count);
  if (status != TG_OK) {
    cuda_close(&c->base);
    return status;
  }
  *out = &c->base;
  return TG_OK;
}

static const tg_kernel *const kernels[TG_OP_COUNT] = {
#define TG_OP(name) [TG_OP_##name] = &tg_cuda_kernel_##name,
#include "tardigrad/ops.def"
#undef TG_OP
};

const tg_backend tg_cuda_row = {.name = "cuda",
                                .help = "an NVIDIA GPU: cuDNN, cuBLAS and kernels of our own",
                                .host_memory = false,
                                .open = cuda_open,
                                .close = cuda_close,
                                .alloc = cuda_alloc,
                                .free = cuda_free,
                                .to_device = cuda_to_device,
                                .to_host = cuda_to_host,
                                .sync = cuda_sync,
                                .copy = cuda_copy,
                                .zero = cuda_zero,
                                .add = cuda_add,
                                .add_f32 = cuda_add_f32,
                                .read = cuda_read,
                                .write = cuda_write,
                                .pin = tg_cuda_pin,
                                .unpin = tg_cuda_unpin,
                                .to_host_beside = tg_cuda_to_host_beside,
                                .to_device_beside = tg_cuda_to_device_beside,
                                .join = tg_cuda_join,
                                .group_id = tg_cuda_group_id,
                                .group_join = tg_cuda_group_join,
                                .group_sum = tg_cuda_group_sum,
                                .images_open = tg_cuda_images_open,
                                .images_close = tg_cuda_images_close,
                                .images_cut = tg_cuda_images_cut,
                                .record_begin = cuda_record_begin,
                                .record_end = cuda_record_end,
                                .play = cuda_play,
                                .forget = cuda_forget,
                                .update = tg_cuda_apply,
                                .whole_open = tg_cuda_paths_open,
                                .whole_close = tg_cuda_paths_close,
                                .update_whole = tg_cuda_paths_update,
                                .whole_clamped = tg_cuda_paths_clamped,
                                .scale = cuda_scale,
                                .square_sum = cuda_square_sum,
                                .to_host_later = cuda_to_host_later,
                                .square_sum_later = cuda_square_sum_later,
                                .kernel = kernels,
                                .identity = cuda_identity,
                                .describe = cuda_describe,
                                .preference = 10};
