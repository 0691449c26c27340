/* stream.cc - streams. What they are given runs at once, unless they capture or are lazy. */
#include "emulator.h"

#include <set>

namespace tg_emulator {
namespace {

std::set<cudaStream_t> &streams() {
  static auto *all = new std::set<cudaStream_t>;
  return *all;
}
cudaError_t stream_new(cudaStream_t *out, unsigned flags) {
  if (!out || flags > cudaStreamNonBlocking) return cudaErrorInvalidValue;
  if (device_count() == 0) return cudaErrorNoDevice;
  locked lock(state_lock());
  *out = new CUstream_st;
  (*out)->flags = flags;
  (*out)->device = current_device();
  streams().insert(*out);
  return cudaSuccess;
}

/* What to run before a wait for the stream is over. */
cudaError_t stream_ask(cudaStream_t handle, std::shared_ptr<work_queue> *work_of,
                       bool *is_default) {
  locked lock(state_lock());
  CUstream_st *stream = stream_find(handle);
  if (!stream) return cudaErrorInvalidResourceHandle;
  if (stream->capture) {
    stream->capture->valid = false;
    return cudaErrorStreamCaptureUnsupported;
  }
  if (stream->is_default && capture_forbids_default_stream()) return cudaErrorStreamCaptureImplicit;
  *work_of = stream->queue;
  *is_default = stream->is_default;
  return cudaSuccess;
}

cudaError_t stream_wait(cudaStream_t handle, bool only_ask) {
  std::shared_ptr<work_queue> q;
  bool is_default = false;
  cudaError_t error = stream_ask(handle, &q, &is_default);
  if (error != cudaSuccess) return error;
  if (is_default) streams_run(false);
  if (only_ask) return queue_is_done(*q, ALL) ? cudaSuccess : cudaErrorNotReady;
  queue_run(*q, ALL);
  check_guards("cudaStreamSynchronize");
  return cudaSuccess;
}

cudaError_t stream_destroy(cudaStream_t stream) {
  std::shared_ptr<work_queue> q;
  {
    locked lock(state_lock());
    if (!streams().count(stream)) return cudaErrorInvalidResourceHandle;
    if (stream->capture) {
      stream->capture->valid = false;
      if (stream->capture->origin == stream) stream->capture->active = false;
    }
    q = stream->queue;
    streams().erase(stream);
    delete stream;
  }
  queue_run(*q, ALL);
  return cudaSuccess;
}

} // namespace

CUstream_st *stream_find(cudaStream_t stream) {
  static auto *legacy = new CUstream_st, *per_thread = new CUstream_st;
  legacy->is_default = true;
  bool is_legacy = stream == nullptr || stream == cudaStreamLegacy;
  if (is_legacy || stream == cudaStreamPerThread) { /* of the device that is current */
    (is_legacy ? legacy : per_thread)->device = current_device();
    return is_legacy ? legacy : per_thread;
  }
  return streams().count(stream) ? stream : nullptr;
}

cudaError_t enqueue(cudaStream_t handle, work run, bool launches) {
  std::shared_ptr<work_queue> q;
  bool is_default = false;
  uint64_t position = 0;
  {
    locked lock(state_lock());
    CUstream_st *stream = stream_find(handle);
    if (!stream || (launches && stream->device != current_device()))
      return cudaErrorInvalidResourceHandle;
    if (stream->capture) {
      if (!stream->capture->valid) return cudaErrorStreamCaptureInvalidated;
      capture_add(stream, std::move(run));
      return cudaSuccess;
    }
    is_default = stream->is_default;
    if (is_default && capture_forbids_default_stream()) return cudaErrorStreamCaptureImplicit;
    q = stream->queue;
    position = queue_add(*q, std::move(run));
  }
  if (is_default) streams_run(false);
  if (is_default || !lazy()) queue_run(*q, position);
  return cudaSuccess;
}

bool stream_defers(cudaStream_t handle) {
  locked lock(state_lock());
  CUstream_st *stream = stream_find(handle);
  return lazy() && stream && !stream->is_default && !stream->capture;
}

void streams_run(bool all) {
  std::vector<std::shared_ptr<work_queue>> queues;
  {
    locked lock(state_lock());
    for (cudaStream_t stream : streams())
      if (all || stream->flags != cudaStreamNonBlocking) queues.push_back(stream->queue);
    queues.push_back(stream_find(cudaStreamPerThread)->queue);
  }
  for (const std::shared_ptr<work_queue> &q : queues) queue_run(*q, ALL);
}

void streams_leave(const std::shared_ptr<capture> &ended) {
  for (cudaStream_t stream : streams()) {
    if (stream->capture != ended) continue;
    stream->capture = nullptr;
    stream->tail.clear();
  }
  CUstream_st *per_thread = stream_find(cudaStreamPerThread);
  if (per_thread->capture == ended) per_thread->capture = nullptr, per_thread->tail.clear();
}

bool capture_forbids_default_stream() {
  locked lock(state_lock());
  bool forbids = false;
  for (cudaStream_t stream : streams()) {
    if (!stream->capture || stream->flags == cudaStreamNonBlocking) continue;
    stream->capture->valid = false;
    forbids = true;
  }
  return forbids;
}

} // namespace tg_emulator

using namespace tg_emulator;

cudaError_t cudaStreamCreate(cudaStream_t *pStream) {
  return record(stream_new(pStream, cudaStreamDefault));
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *pStream, unsigned int flags) {
  return record(stream_new(pStream, flags));
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *pStream, unsigned int flags, int) {
  return record(stream_new(pStream, flags)); /* any priority: CUDA clamps it */
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  return record(stream_destroy(stream));
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return record(stream_wait(stream, false));
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  return record(stream_wait(stream, true));
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t fn, void *userData) {
  if (!fn) return record(cudaErrorInvalidValue);
  return record(enqueue(stream, [=] { fn(userData); }));
}
