/* test_emulator_graphs.cc - streams, events, capture and graphs; right also when streams are lazy.
 */
#include "test_emulator.h"

#include <cstring>
#include <thread>

namespace {

__global__ void add(int *x, int value) {
  *x += value;
}
__global__ void times(int *x, int value) {
  *x *= value;
}
void add_on_host(void *x) {
  *static_cast<int *>(x) += 100;
}

cudaGraphExec_t end_capture(cudaStream_t s) {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  CHECK_CUDA(cudaStreamEndCapture(s, &graph));
  CHECK_CUDA(cudaGraphInstantiate(&exec, graph, 0));
  CHECK_CUDA(cudaGraphDestroy(graph));
  return exec;
}

void test_streams() {
  stream_holder a, b;
  event_holder start(cudaEventDefault), end(cudaEventDefault), untimed;
  on_device<int> x(std::vector<int>{1});
  CHECK_CUDA(cudaEventQuery(start.e)); /* never recorded: done */
  CHECK_CUDA(cudaEventRecord(start.e, a.s));
  TG_LAUNCH(add, 1, 1, a.s, x.get(), 2);
  CHECK_CUDA(cudaEventRecord(end.e, a.s));
  CHECK_CUDA(cudaStreamWaitEvent(b.s, end.e, 0));
  CHECK_CUDA(cudaStreamSynchronize(b.s));
  CHECK_CUDA(cudaEventSynchronize(end.e));
  CHECK_CUDA(cudaStreamQuery(a.s));
  float ms = -1;
  CHECK_CUDA(cudaEventElapsedTime(&ms, start.e, end.e));
  CHECK(ms >= 0 && x.values()[0] == 3);
  CHECK_CUDA(cudaEventRecord(untimed.e, a.s));
  CHECK_CUDA(cudaEventSynchronize(untimed.e));
  CHECK_ERROR(cudaEventElapsedTime(&ms, start.e, untimed.e), cudaErrorInvalidResourceHandle);
  auto wrong = reinterpret_cast<cudaStream_t>(0x4321);
  CHECK_ERROR(cudaStreamSynchronize(wrong), cudaErrorInvalidResourceHandle);
  CHECK_ERROR(cudaEventRecord(untimed.e, wrong), cudaErrorInvalidResourceHandle);
  int host = 1;
  CHECK_CUDA(cudaLaunchHostFunc(a.s, add_on_host, &host));
  CHECK_CUDA(cudaStreamSynchronize(a.s));
  CHECK(host == 101);
  setenv("TARDIGRAD_EMULATOR_DEVICES", "2", 1);
  CHECK_CUDA(cudaSetDevice(1)); /* another device than the stream's */
  TG_LAUNCH(add, 1, 1, a.s, x.get(), 1);
  CHECK(cudaGetLastError() == cudaErrorInvalidResourceHandle);
  CHECK_CUDA(cudaSetDevice(0));
  unsetenv("TARDIGRAD_EMULATOR_DEVICES");
}

void test_capture() {
  stream_holder s;
  on_device<int> x(std::vector<int>{1});
  int host = 0, by = 2;
  CHECK_CUDA(cudaStreamBeginCapture(s.s, cudaStreamCaptureModeThreadLocal));
  TG_LAUNCH(add, 1, 1, s.s, x.get(), by);
  by = 1000; /* arguments are those of the launch */
  CHECK_CUDA(cudaMemcpyAsync(&host, x.get(), sizeof host, cudaMemcpyDeviceToHost, s.s));
  CHECK_CUDA(cudaLaunchHostFunc(s.s, add_on_host, &host));
  CHECK_CUDA(cudaMemsetAsync(x.get(), 0, 1, s.s));
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  CHECK_CUDA(cudaStreamIsCapturing(s.s, &status));
  CHECK(status == cudaStreamCaptureStatusActive && host == 0);
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  size_t nodes = 0;
  CHECK_CUDA(cudaStreamEndCapture(s.s, &graph));
  CHECK_CUDA(cudaGraphGetNodes(graph, nullptr, &nodes));
  CHECK(nodes == 4 && x.values()[0] == 1);
  CHECK_CUDA(cudaGraphInstantiate(&exec, graph, 0));
  CHECK_CUDA(cudaGraphDestroy(graph));
  CHECK_CUDA(cudaGraphLaunch(exec, s.s));
  CHECK_CUDA(cudaStreamSynchronize(s.s));
  CHECK(host == 103 && x.values()[0] == 0);
  CHECK_CUDA(cudaGraphLaunch(exec, s.s));
  CHECK_CUDA(cudaStreamSynchronize(s.s));
  CHECK(host == 102);
  CHECK_CUDA(cudaGraphExecDestroy(exec));
  CHECK_CUDA(cudaStreamIsCapturing(s.s, &status));
  CHECK(status == cudaStreamCaptureStatusNone && by == 1000);
}

/* One stream draws another into its capture; asking an event of the capture loses it. */
void test_captured_event() {
  stream_holder main_stream, side;
  event_holder fork;
  on_device<int> x(std::vector<int>{1});
  float ms = 0;
  cudaGraph_t none = nullptr;
  CHECK_CUDA(cudaStreamBeginCapture(main_stream.s, cudaStreamCaptureModeRelaxed));
  CHECK_CUDA(cudaEventRecord(fork.e, main_stream.s));
  CHECK_CUDA(cudaStreamWaitEvent(side.s, fork.e, 0));
  TG_LAUNCH(add, 1, 1, side.s, x.get(), 1);
  CHECK(x.values()[0] == 1);
  CHECK_ERROR(cudaEventElapsedTime(&ms, fork.e, fork.e), cudaErrorCapturedEvent);
  TG_LAUNCH(add, 1, 1, side.s, x.get(), 1);
  CHECK(cudaGetLastError() == cudaErrorStreamCaptureInvalidated);
  CHECK_ERROR(cudaStreamEndCapture(main_stream.s, &none), cudaErrorStreamCaptureInvalidated);
  TG_LAUNCH(add, 1, 1, side.s, x.get(), 1);
  CHECK(cudaGetLastError() == cudaSuccess);
  CHECK_CUDA(cudaStreamSynchronize(side.s));
  CHECK(x.values()[0] == 2);
}

void capture_two_branches(cudaStream_t main_stream, cudaStream_t side, int *log, bool join_them) {
  event_holder fork, join;
  CHECK_CUDA(cudaStreamBeginCapture(main_stream, cudaStreamCaptureModeGlobal));
  TG_LAUNCH(add, 1, 1, main_stream, log, 1);
  CHECK_CUDA(cudaEventRecord(fork.e, main_stream));
  CHECK_CUDA(cudaStreamWaitEvent(side, fork.e, 0));
  TG_LAUNCH(times, 1, 1, side, log, 10); /* these two race on purpose */
  TG_LAUNCH(add, 1, 1, main_stream, log, 2);
  CHECK_CUDA(cudaEventRecord(join.e, side));
  if (join_them) CHECK_CUDA(cudaStreamWaitEvent(main_stream, join.e, 0));
  TG_LAUNCH(times, 1, 1, main_stream, log, -1);
}

void test_branches() {
  stream_holder a, b;
  on_device<int> x(std::vector<int>{0});
  capture_two_branches(a.s, b.s, x.get(), true);
  cudaGraphExec_t exec = end_capture(a.s);
  bool early = false, late = false;
  for (int seed = 0; seed < 16; seed++) {
    set_seed(seed);
    x.put({0});
    CHECK_CUDA(cudaGraphLaunch(exec, a.s));
    CHECK_CUDA(cudaStreamSynchronize(a.s));
    int got = x.values()[0];
    CHECK(got == -12 || got == -30);
    early = early || got == -12;
    late = late || got == -30;
  }
  set_seed(0);
  CHECK(early && late); /* orders that the events allow, and only those */
  CHECK_CUDA(cudaGraphExecDestroy(exec));
  cudaGraph_t none = nullptr;
  capture_two_branches(a.s, b.s, x.get(), false);
  CHECK_ERROR(cudaStreamEndCapture(a.s, &none), cudaErrorStreamCaptureUnjoined);
  CHECK(none == nullptr);
  capture_two_branches(a.s, b.s, x.get(), true);
  CHECK_ERROR(cudaStreamEndCapture(b.s, &none), cudaErrorStreamCaptureUnmatched);
  CHECK_ERROR(cudaStreamEndCapture(a.s, &none), cudaErrorStreamCaptureInvalidated);
}

/* What a capture forbids, with the error that it gives; the capture is lost then. */
void forbidden(cudaStreamCaptureMode mode, unsigned flags, cudaError_t expected, bool lost,
               const std::function<cudaError_t(cudaStream_t)> &call) {
  stream_holder s(flags);
  cudaGraph_t graph = nullptr;
  CHECK_CUDA(cudaStreamBeginCapture(s.s, mode));
  CHECK(call(s.s) == expected);
  cudaGetLastError();
  CHECK((cudaStreamEndCapture(s.s, &graph) == cudaErrorStreamCaptureInvalidated) == lost);
  cudaGetLastError();
  if (graph) CHECK_CUDA(cudaGraphDestroy(graph));
}

void test_forbidden() {
  const auto global = cudaStreamCaptureModeGlobal, local = cudaStreamCaptureModeThreadLocal,
             relaxed = cudaStreamCaptureModeRelaxed;
  const auto no = cudaErrorStreamCaptureUnsupported;
  const unsigned apart = cudaStreamNonBlocking;
  on_device<int> x(std::vector<int>{1});
  static int host;
  auto allocate = [](cudaStream_t) {
    void *p = nullptr;
    cudaError_t error = cudaMalloc(&p, 4);
    if (p) cudaFree(p);
    return error;
  };
  auto elsewhere = [&](cudaStream_t s) {
    cudaError_t error = cudaSuccess;
    std::thread([&] { error = allocate(s); }).join();
    return error;
  };
  auto copy = [&](cudaStream_t) { return cudaMemcpy(&host, x.get(), 4, cudaMemcpyDeviceToHost); };
  auto wait_all = [](cudaStream_t) { return cudaDeviceSynchronize(); };
  forbidden(global, apart, no, true, allocate);
  forbidden(local, apart, no, true, allocate);
  forbidden(relaxed, apart, cudaSuccess, false, allocate);
  forbidden(global, apart, no, true, elsewhere);
  forbidden(local, apart, cudaSuccess, false, elsewhere);
  forbidden(global, apart, no, true, copy);
  forbidden(relaxed, apart, no, true, cudaStreamSynchronize);
  forbidden(relaxed, apart, no, true, cudaStreamQuery);
  forbidden(relaxed, apart, no, true, wait_all);
  auto in_default_stream = [&](cudaStream_t) { return cudaMemsetAsync(x.get(), 0, 4, 0); };
  forbidden(relaxed, cudaStreamDefault, cudaErrorStreamCaptureImplicit, true, in_default_stream);
  forbidden(relaxed, apart, cudaSuccess, false, in_default_stream);
  CHECK_ERROR(cudaStreamBeginCapture(0, global), no);
  cudaGraph_t none = nullptr;
  stream_holder idle;
  CHECK_ERROR(cudaStreamEndCapture(idle.s, &none), cudaErrorIllegalState);
}

void test_events_in_capture() {
  stream_holder a, b;
  event_holder outside, inside, timed(cudaEventDefault), end(cudaEventDefault);
  cudaGraph_t graph = nullptr;
  CHECK_CUDA(cudaEventRecord(outside.e, b.s));
  CHECK_CUDA(cudaStreamBeginCapture(a.s, cudaStreamCaptureModeRelaxed));
  CHECK_ERROR(cudaStreamWaitEvent(a.s, outside.e, 0), cudaErrorStreamCaptureIsolation);
  CHECK_ERROR(cudaStreamEndCapture(a.s, &graph), cudaErrorStreamCaptureInvalidated);
  CHECK_CUDA(cudaStreamBeginCapture(a.s, cudaStreamCaptureModeRelaxed));
  CHECK_CUDA(cudaStreamBeginCapture(b.s, cudaStreamCaptureModeRelaxed));
  CHECK_CUDA(cudaEventRecord(inside.e, a.s));
  CHECK_ERROR(cudaStreamWaitEvent(b.s, inside.e, 0), cudaErrorStreamCaptureMerge);
  CHECK_ERROR(cudaStreamEndCapture(a.s, &graph), cudaErrorStreamCaptureInvalidated);
  CHECK_ERROR(cudaStreamEndCapture(b.s, &graph), cudaErrorStreamCaptureInvalidated);
  CHECK_ERROR(cudaEventSynchronize(inside.e), cudaErrorCapturedEvent);
  CHECK_CUDA(cudaEventRecord(inside.e, a.s));
  CHECK_CUDA(cudaEventSynchronize(inside.e));
  CHECK_CUDA(cudaStreamBeginCapture(a.s, cudaStreamCaptureModeRelaxed));
  CHECK_CUDA(cudaEventRecordWithFlags(timed.e, a.s, cudaEventRecordExternal));
  CHECK_CUDA(cudaEventRecordWithFlags(end.e, a.s, cudaEventRecordExternal));
  cudaGraphExec_t exec = end_capture(a.s);
  float ms = -1;
  CHECK_ERROR(cudaEventElapsedTime(&ms, timed.e, end.e), cudaErrorInvalidResourceHandle);
  CHECK_CUDA(cudaGraphLaunch(exec, a.s));
  CHECK_CUDA(cudaEventSynchronize(end.e));
  CHECK_CUDA(cudaEventElapsedTime(&ms, timed.e, end.e));
  CHECK(ms >= 0);
  CHECK_CUDA(cudaGraphExecDestroy(exec));
}

} // namespace

void test_graphs() {
  test_streams();
  test_capture();
  test_captured_event();
  test_branches();
  test_forbidden();
  test_events_in_capture();
}
