/* test_emulator.h - what the parts of the emulator's own test share. */
#ifndef TESTS_CUDA_TEST_EMULATOR_H
#define TESTS_CUDA_TEST_EMULATOR_H

#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

extern int failures;

#define CHECK(condition)                                                                           \
  do {                                                                                             \
    if (!(condition)) {                                                                            \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                         \
      failures++;                                                                                  \
    }                                                                                              \
  } while (0)
#define CHECK_CUDA(call)            CHECK((call) == cudaSuccess)
#define CHECK_ERROR(call, expected) CHECK((call) == (expected) && cudaGetLastError() == (expected))

/* Device memory that is freed with its holder. */
template <typename T> class on_device {
public:
  explicit on_device(size_t n) : n_(n) { CHECK_CUDA(cudaMalloc(&p_, n * sizeof(T))); }
  explicit on_device(const std::vector<T> &values) : on_device(values.size()) { put(values); }
  ~on_device() { CHECK_CUDA(cudaFree(p_)); }
  on_device(const on_device &) = delete;
  on_device &operator=(const on_device &) = delete;

  T *get() const { return p_; }
  void put(const std::vector<T> &values) {
    CHECK_CUDA(cudaMemcpy(p_, values.data(), n_ * sizeof(T), cudaMemcpyHostToDevice));
  }
  std::vector<T> values() const {
    std::vector<T> out(n_);
    CHECK_CUDA(cudaMemcpy(out.data(), p_, n_ * sizeof(T), cudaMemcpyDeviceToHost));
    return out;
  }

private:
  T *p_ = nullptr;
  size_t n_;
};

struct stream_holder {
  cudaStream_t s = nullptr;
  explicit stream_holder(unsigned flags = cudaStreamNonBlocking) {
    CHECK_CUDA(cudaStreamCreateWithFlags(&s, flags));
  }
  ~stream_holder() { CHECK_CUDA(cudaStreamDestroy(s)); }
};
struct event_holder {
  cudaEvent_t e = nullptr;
  explicit event_holder(unsigned flags = cudaEventDisableTiming) {
    CHECK_CUDA(cudaEventCreateWithFlags(&e, flags));
  }
  ~event_holder() { CHECK_CUDA(cudaEventDestroy(e)); }
};

inline void set_seed(int seed) {
  setenv("TARDIGRAD_EMULATOR_SEED", std::to_string(seed).c_str(), 1);
}

/* Runs the function in a child: whether it died, and said `text` on stderr. Under AddressSanitizer,
 * which has its own words, dying is enough. */
bool dies(const char *text, const std::function<void()> &run);
/* Runs the function in a child: its exit status, -1 when it died. */
int status_of(const std::function<int()> &run);

void test_kernels();
void test_memory();
void test_graphs();
void test_lazy();
void test_bf16();
void test_cublas();
void test_cudnn();
void test_nccl();

#endif
