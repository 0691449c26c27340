/* cuda_beside.c - a second stream for what goes on beside the kernels: copies into pinned memory,
 * and NCCL's sums.
 *
 * Events tie the two streams together, so that all of it can be recorded as parts of one step. */
#include "backend/cuda_beside.h"

#include <sched.h>
#include <string.h>
#include <time.h>

_Static_assert(sizeof(tg_group_id) == sizeof(ncclUniqueId), "a group's id is NCCL's");

static tg_status check_nccl(ncclResult_t error, const char *what) {
  if (error == ncclSuccess) return TG_OK;
  TG_FAIL(error == ncclRemoteError || error == ncclSystemError ? TG_EUNAVAILABLE : TG_ERUNTIME,
          "%.*s: %s", (int)strcspn(what, "("), what, ncclGetErrorString(error));
}
#define TG_NCCL(call) TG_TRY(check_nccl((call), #call))

/* ---- the stream ---- */

tg_status tg_cuda_beside_open(tg_cuda_device *c) {
  TG_CUDA(cudaStreamCreateWithFlags(&c->beside, cudaStreamNonBlocking));
  TG_CUDA(cudaEventCreateWithFlags(&c->queued, cudaEventDisableTiming));
  TG_CUDA(cudaEventCreateWithFlags(&c->joined, cudaEventDisableTiming));
  return TG_OK;
}

void tg_cuda_beside_close(tg_cuda_device *c) {
  if (c->beside) (void)cudaStreamSynchronize(c->beside);
  if (c->group) (void)ncclCommDestroy(c->group);
  if (c->queued) (void)cudaEventDestroy(c->queued);
  if (c->joined) (void)cudaEventDestroy(c->joined);
  if (c->beside) (void)cudaStreamDestroy(c->beside);
}

/* The second stream goes on behind what the first one has queued. */
static tg_status fork_off(tg_cuda_device *c) {
  TG_CUDA(cudaEventRecord(c->queued, c->launch.stream));
  TG_CUDA(cudaStreamWaitEvent(c->beside, c->queued, 0));
  c->forked = true;
  return TG_OK;
}

tg_status tg_cuda_join(tg_device *d) {
  tg_cuda_device *c = tg_cuda(d);
  if (!c->forked) return TG_OK;
  TG_CUDA(cudaEventRecord(c->joined, c->beside));
  TG_CUDA(cudaStreamWaitEvent(c->launch.stream, c->joined, 0));
  c->forked = false;
  return TG_OK;
}

/* ---- copies ---- */

tg_status tg_cuda_pin(tg_device *d, void *host, size_t bytes) {
  (void)d;
  cudaError_t error = cudaHostRegister(host, bytes, cudaHostRegisterDefault);
  if (error == cudaSuccess) return TG_OK;
  (void)cudaGetLastError();
  TG_FAIL(TG_EUNAVAILABLE, "%zu bytes of host memory cannot be pinned: %s", bytes,
          cudaGetErrorString(error));
}

/* A recorded step copies on the first stream's behalf. Memory that could not be pinned comes here
 * too: its error must not be found by the next launch. */
void tg_cuda_unpin(tg_device *d, void *host) {
  (void)cudaStreamSynchronize(tg_cuda(d)->launch.stream);
  (void)cudaStreamSynchronize(tg_cuda(d)->beside);
  if (cudaHostUnregister(host) != cudaSuccess) (void)cudaGetLastError();
}

tg_status tg_cuda_to_host_beside(tg_device *d, void *host, const void *src, size_t bytes) {
  tg_cuda_device *c = tg_cuda(d);
  TG_TRY(fork_off(c));
  TG_CUDA(cudaMemcpyAsync(host, src, bytes, cudaMemcpyDeviceToHost, c->beside));
  return TG_OK;
}

tg_status tg_cuda_to_device_beside(tg_device *d, void *dst, const void *host, size_t bytes) {
  tg_cuda_device *c = tg_cuda(d);
  TG_TRY(fork_off(c));
  TG_CUDA(cudaMemcpyAsync(dst, host, bytes, cudaMemcpyHostToDevice, c->beside));
  return TG_OK;
}

/* ---- groups ---- */

tg_status tg_cuda_group_id(tg_device *d, tg_group_id *out) {
  ncclUniqueId id;
  (void)d;
  TG_NCCL(ncclGetUniqueId(&id));
  memcpy(out->bytes, &id, sizeof out->bytes);
  return TG_OK;
}

tg_status tg_cuda_group_join(tg_device *d, const tg_group_id *group, int member, int members,
                             double timeout_s) {
  tg_cuda_device *c = tg_cuda(d);
  ncclUniqueId id;
  memcpy(&id, group->bytes, sizeof id);
  TG_CUDA(cudaSetDevice(c->index));
  TG_NCCL(ncclCommInitRank(&c->group, members, id, member));
  c->timeout_s = timeout_s;
  return TG_OK;
}

tg_status tg_cuda_group_sum(tg_device *d, size_t n, const float *x, float *sum) {
  tg_cuda_device *c = tg_cuda(d);
  TG_TRY(fork_off(c));
  TG_NCCL(ncclAllReduce(x, sum, n, ncclFloat, ncclSum, c->group, c->beside));
  return TG_OK;
}

static double now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* NCCL's kernels wait for ever for a member that is gone: the group is given up, which ends them.
 */
static tg_status give_up(tg_cuda_device *c, tg_status status) {
  (void)ncclCommAbort(c->group);
  c->group = NULL;
  return status;
}

tg_status tg_cuda_sync_group(tg_cuda_device *c) {
  ncclResult_t error = ncclSuccess;
  for (double began = now_s();;) {
    cudaError_t state = cudaStreamQuery(c->launch.stream);
    if (state != cudaErrorNotReady) return tg_cuda_check(state, "a step", NULL);
    TG_NCCL(ncclCommGetAsyncError(c->group, &error));
    if (error != ncclSuccess && error != ncclInProgress)
      return give_up(c, tg_status_set(TG_EUNAVAILABLE, "NCCL: another worker failed: %s",
                                      ncclGetErrorString(error)));
    if (now_s() - began > c->timeout_s)
      return give_up(c, tg_status_set(TG_EUNAVAILABLE,
                                      "waited %g s for the other workers' gradients (NCCL)",
                                      c->timeout_s));
    sched_yield();
  }
}
