/* test_emulator_lazy.cc - lazy streams: nothing runs before somebody waits for it, and no more. */
#include "test_emulator.h"

namespace {

__global__ void add(int *x, int value) {
  *x += value;
}

/* What the device holds, read without any wait for a stream that does not block. */
int peek(const on_device<int> &x) {
  return x.values()[0];
}

void test_copies() {
  stream_holder s;
  on_device<int> x(std::vector<int>{0});
  int *pinned = nullptr, plain = 5;
  CHECK_CUDA(cudaMallocHost(&pinned, sizeof *pinned));
  *pinned = 1;
  CHECK_CUDA(cudaMemcpyAsync(x.get(), pinned, 4, cudaMemcpyHostToDevice, s.s));
  *pinned = 2; /* too early: the copy may not have begun */
  CHECK(peek(x) == 0);
  CHECK_CUDA(cudaStreamSynchronize(s.s));
  CHECK(peek(x) == 2);
  CHECK_CUDA(cudaMemcpyAsync(x.get(), &plain, 4, cudaMemcpyHostToDevice, s.s));
  plain = 6; /* memory that is not pinned was read already */
  CHECK_CUDA(cudaMemcpyAsync(pinned, x.get(), 4, cudaMemcpyDeviceToHost, s.s));
  CHECK(*pinned == 2 && peek(x) == 2);
  CHECK_CUDA(cudaMemcpyAsync(&plain, x.get(), 4, cudaMemcpyDeviceToHost, s.s));
  CHECK(plain == 5 && *pinned == 5); /* copies to such memory are waited for */
  CHECK_CUDA(cudaFreeHost(pinned));
}

void test_events() {
  stream_holder a, b;
  event_holder done(cudaEventDefault), later(cudaEventDefault);
  on_device<int> x(std::vector<int>{0});
  float ms = 0;
  TG_LAUNCH(add, 1, 1, a.s, x.get(), 1);
  CHECK_CUDA(cudaEventRecord(done.e, a.s));
  TG_LAUNCH(add, 1, 1, a.s, x.get(), 10);
  CHECK_CUDA(cudaEventRecord(later.e, a.s));
  CHECK_CUDA(cudaStreamWaitEvent(b.s, done.e, 0));
  TG_LAUNCH(add, 1, 1, b.s, x.get(), 100);
  CHECK(peek(x) == 0 && cudaEventElapsedTime(&ms, done.e, later.e) == cudaErrorNotReady);
  CHECK_CUDA(cudaStreamSynchronize(b.s));
  CHECK(peek(x) == 101); /* of a, only what b waits for */
  CHECK_CUDA(cudaEventQuery(done.e));
  CHECK(cudaEventQuery(later.e) == cudaErrorNotReady && cudaStreamQuery(a.s) == cudaErrorNotReady);
  CHECK(cudaGetLastError() == cudaSuccess); /* not ready is no error */
  while (cudaEventQuery(later.e) == cudaErrorNotReady) {
  }
  CHECK(peek(x) == 111 && cudaStreamQuery(a.s) == cudaSuccess);
  CHECK_CUDA(cudaEventElapsedTime(&ms, done.e, later.e));
}

void test_what_waits() {
  stream_holder apart, blocking(cudaStreamDefault);
  on_device<int> x(std::vector<int>{0});
  void *other = nullptr;
  CHECK_CUDA(cudaMalloc(&other, 4));
  TG_LAUNCH(add, 1, 1, apart.s, x.get(), 1);
  TG_LAUNCH(add, 1, 1, blocking.s, x.get(), 10);
  CHECK(peek(x) == 10); /* the default stream waits for blocking streams */
  CHECK_CUDA(cudaFree(other));
  CHECK(peek(x) == 11);
  TG_LAUNCH(add, 1, 1, apart.s, x.get(), 1);
  CHECK_CUDA(cudaDeviceSynchronize());
  CHECK(peek(x) == 12);
  cudaStream_t gone = nullptr;
  CHECK_CUDA(cudaStreamCreateWithFlags(&gone, cudaStreamNonBlocking));
  TG_LAUNCH(add, 1, 1, gone, x.get(), 1);
  CHECK_CUDA(cudaStreamDestroy(gone));
  CHECK(peek(x) == 13);
  TG_LAUNCH(add, 1, 1, apart.s, x.get(), 1);
  unsetenv("TARDIGRAD_EMULATOR_LAZY");
  TG_LAUNCH(add, 1, 1, apart.s, x.get(), 1); /* what waits comes first */
  CHECK(peek(x) == 15);
  setenv("TARDIGRAD_EMULATOR_LAZY", "1", 1);
}

} // namespace

void test_lazy() {
  setenv("TARDIGRAD_EMULATOR_LAZY", "1", 1);
  test_copies();
  test_events();
  test_what_waits();
  test_graphs();
  unsetenv("TARDIGRAD_EMULATOR_LAZY");
}
