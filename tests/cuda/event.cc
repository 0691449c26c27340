/* event.cc - events: a place in the work of a stream, or in a capture. */
#include "emulator.h"

#include <ctime>
#include <set>

namespace tg_emulator {

struct moment {
  bool recorded = false;
  double seconds = 0;
};

} // namespace tg_emulator

struct CUevent_st {
  unsigned flags = 0;
  int device = 0;
  /* Shared with the work that writes it, which may come after the event's end. */
  std::shared_ptr<tg_emulator::moment> time = std::make_shared<tg_emulator::moment>();
  std::shared_ptr<tg_emulator::work_queue> queue; /* where it was last recorded, */
  uint64_t position = 0;                          /* and after how much work */
  bool in_graphs = false;                         /* recorded by running graphs */
  std::shared_ptr<tg_emulator::capture> capture;  /* in which it was last recorded */
  std::vector<int> tail;
};

namespace tg_emulator {
namespace {

std::set<cudaEvent_t> &events() {
  static auto *all = new std::set<cudaEvent_t>;
  return *all;
}

work stamp(const std::shared_ptr<moment> &time) {
  return [time] {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    locked lock(state_lock());
    time->recorded = true;
    time->seconds = double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
  };
}

cudaError_t event_new(cudaEvent_t *event, unsigned flags) {
  bool wrong = (flags & cudaEventInterprocess) && !(flags & cudaEventDisableTiming);
  if (!event || flags > 7 || wrong) return cudaErrorInvalidValue;
  if (device_count() == 0) return cudaErrorNoDevice;
  locked lock(state_lock());
  *event = new CUevent_st;
  (*event)->flags = flags;
  (*event)->device = current_device();
  events().insert(*event);
  return cudaSuccess;
}

cudaError_t record_in_capture(cudaEvent_t event, CUstream_st *stream, unsigned flags) {
  if (!stream->capture->valid) return cudaErrorStreamCaptureInvalidated;
  if (flags == cudaEventRecordExternal) {
    event->in_graphs = true;
    capture_add(stream, stamp(event->time));
    return cudaSuccess;
  }
  event->capture = stream->capture;
  event->tail = stream->tail;
  return cudaSuccess;
}

cudaError_t event_record(cudaEvent_t event, cudaStream_t handle, unsigned flags) {
  std::shared_ptr<work_queue> q;
  uint64_t position = 0;
  bool is_default = false;
  {
    locked lock(state_lock());
    CUstream_st *stream = stream_find(handle);
    if (!stream || !events().count(event) || stream->device != event->device)
      return cudaErrorInvalidResourceHandle;
    is_default = stream->is_default;
    if (is_default && capture_forbids_default_stream()) return cudaErrorStreamCaptureImplicit;
    if (stream->capture) return record_in_capture(event, stream, flags);
    event->capture = nullptr;
    event->tail.clear();
    event->time->recorded = true;
    event->queue = q = stream->queue;
    event->position = position = queue_add(*q, stamp(event->time));
  }
  if (is_default) streams_run(false);
  if (is_default || !lazy()) queue_run(*q, position);
  return cudaSuccess;
}

/* An event of a capture draws the stream that waits for it into the capture. */
cudaError_t wait_in_capture(CUstream_st *stream, cudaEvent_t event) {
  if (!event->capture) {
    if (!event->time->recorded) return cudaSuccess;
    stream->capture->valid = false;
    return cudaErrorStreamCaptureIsolation;
  }
  if (!event->capture->active) return cudaErrorCapturedEvent;
  if (stream->is_default) {
    event->capture->valid = false;
    return cudaErrorStreamCaptureImplicit;
  }
  if (stream->capture && stream->capture != event->capture) {
    stream->capture->valid = event->capture->valid = false;
    return cudaErrorStreamCaptureMerge;
  }
  if (!event->capture->valid) return cudaErrorStreamCaptureInvalidated;
  stream->capture = event->capture;
  stream->tail.insert(stream->tail.end(), event->tail.begin(), event->tail.end());
  return cudaSuccess;
}

cudaError_t wait_event(cudaStream_t handle, cudaEvent_t event, unsigned flags) {
  std::shared_ptr<work_queue> q;
  uint64_t position = 0;
  {
    locked lock(state_lock());
    CUstream_st *stream = stream_find(handle);
    if (!stream || !events().count(event)) return cudaErrorInvalidResourceHandle;
    if (flags == cudaEventWaitExternal && stream->capture) return cudaSuccess;
    if (stream->capture || event->capture) return wait_in_capture(stream, event);
    q = event->queue;
    position = event->position;
  }
  if (!q) return cudaSuccess; /* never recorded */
  return enqueue(handle, [q, position] { queue_run(*q, position); });
}

/* A captured event cannot be asked: it happens when the graph runs, or never. */
cudaError_t event_ask(cudaEvent_t event, std::shared_ptr<work_queue> *q, uint64_t *position) {
  bool in_graphs = false;
  {
    locked lock(state_lock());
    if (!events().count(event)) return cudaErrorInvalidResourceHandle;
    if (event->capture) {
      if (event->capture->active) event->capture->valid = false;
      return cudaErrorCapturedEvent;
    }
    in_graphs = event->in_graphs;
    *q = event->queue;
    *position = event->position;
  }
  if (in_graphs) streams_run(true);
  return cudaSuccess;
}

cudaError_t event_wait(cudaEvent_t event, bool only_ask) {
  std::shared_ptr<work_queue> q;
  uint64_t position = 0;
  cudaError_t error = event_ask(event, &q, &position);
  if (error != cudaSuccess || !q) return error;
  if (only_ask) return queue_is_done(*q, position) ? cudaSuccess : cudaErrorNotReady;
  queue_run(*q, position);
  return cudaSuccess;
}

cudaError_t elapsed(float *ms, cudaEvent_t start, cudaEvent_t end) {
  if (!ms) return cudaErrorInvalidValue;
  for (cudaEvent_t event : {start, end}) {
    cudaError_t error = event_wait(event, true);
    if (error != cudaSuccess) return error;
    locked lock(state_lock());
    if (!event->time->recorded || (event->flags & cudaEventDisableTiming))
      return cudaErrorInvalidResourceHandle;
  }
  *ms = float((end->time->seconds - start->time->seconds) * 1e3);
  return cudaSuccess;
}

} // namespace
} // namespace tg_emulator

using namespace tg_emulator;

cudaError_t cudaEventCreate(cudaEvent_t *event) {
  return record(event_new(event, cudaEventDefault));
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned int flags) {
  return record(event_new(event, flags));
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  locked lock(state_lock());
  if (!events().erase(event)) return record(cudaErrorInvalidResourceHandle);
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return record(event_record(event, stream, cudaEventRecordDefault));
}
cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned int flags) {
  return record(event_record(event, stream, flags));
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int flags) {
  return record(wait_event(stream, event, flags));
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return record(event_wait(event, false));
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  return record(event_wait(event, true));
}
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t start, cudaEvent_t end) {
  return record(elapsed(ms, start, end));
}
