/* test_emulator.cc - tests the emulator itself: devices, memory, bfloat16. The other parts are
 * test_emulator_*.cc; all make one program, which returns 1 and says what failed. */
#include "test_emulator.h"

#include <cuda_bf16.h>

#include <cmath>
#include <cstring>
#include <string>

#include <sys/wait.h>
#include <unistd.h>

int failures;

int status_of(const std::function<int()> &run) {
  std::fflush(stdout);
  std::fflush(stderr);
  pid_t child = fork();
  if (child == 0) {
    alarm(60);
    _exit(run());
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool dies(const char *text, const std::function<void()> &run) {
  int ends[2];
  if (pipe(ends) != 0) return false;
  int status = status_of([&] {
    dup2(ends[1], STDERR_FILENO);
    run();
    return 0;
  });
  close(ends[1]);
  std::string said;
  char buffer[512];
  for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;) said.append(buffer, size_t(n));
  close(ends[0]);
  bool named = said.find(text) != std::string::npos;
#ifdef __SANITIZE_ADDRESS__
  named = named || said.find("AddressSanitizer") != std::string::npos;
#endif
  if (!named && status != 0) std::fprintf(stderr, "it said: %s\n", said.c_str());
  return status != 0 && named;
}

/* ---- devices ---- */

static void test_devices() {
  int count = 0, device = -1, value = 0;
  CHECK_CUDA(cudaGetDeviceCount(&count));
  CHECK(count == 1);
  cudaDeviceProp p;
  CHECK_CUDA(cudaGetDeviceProperties(&p, 0));
  CHECK(std::strcmp(p.name, "emulated") == 0 && p.major == 9 && p.minor == 0);
  CHECK(p.multiProcessorCount == 2 && p.maxThreadsPerBlock == 1024 && p.pciBusID == 1);
  CHECK_CUDA(cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, 0));
  CHECK(value == 2);
  CHECK_ERROR(cudaSetDevice(1), cudaErrorInvalidDevice);
  CHECK(std::strcmp(cudaGetErrorName(cudaErrorInvalidDevice), "cudaErrorInvalidDevice") == 0);
  setenv("TARDIGRAD_EMULATOR_DEVICES", "3", 1);
  char bus[32];
  CHECK_CUDA(cudaGetDeviceCount(&count));
  CHECK_CUDA(cudaSetDevice(2));
  CHECK_CUDA(cudaGetDevice(&device));
  CHECK_CUDA(cudaDeviceGetPCIBusId(bus, sizeof bus, device));
  CHECK(count == 3 && device == 2 && std::strcmp(bus, "0000:03:00.0") == 0);
  CHECK_CUDA(cudaSetDevice(0));
  setenv("TARDIGRAD_EMULATOR_DEVICES", "0", 1);
  void *none = nullptr;
  CHECK_ERROR(cudaGetDeviceCount(&count), cudaErrorNoDevice);
  CHECK_ERROR(cudaSetDevice(0), cudaErrorNoDevice);
  CHECK_ERROR(cudaMalloc(&none, 4), cudaErrorNoDevice);
  CHECK(count == 0);
  unsetenv("TARDIGRAD_EMULATOR_DEVICES");
}

/* ---- memory ---- */

static __global__ void write_at(float *x, int i) {
  x[i] = 1;
}

static void test_guards() {
  auto write_and = [](int i, const std::function<void(float *)> &then) {
    float *x = nullptr;
    cudaMalloc(&x, 13 * sizeof *x);
    then(x + i);
    TG_LAUNCH(write_at, 1, 1, 0, x, i);
    cudaFree(x);
  };
  auto by_host = [](float *x) { *x = 2; };
  auto nothing = [](float *) {};
  CHECK(dies("write_at: a write 0 bytes behind the end of an allocation of 52 bytes",
             [&] { write_and(13, nothing); }));
  CHECK(dies("write_at: a write 1 bytes before an allocation of 52 bytes",
             [&] { write_and(-1, nothing); }));
  CHECK(status_of([&] { return write_and(12, by_host), 0; }) == 0);
  CHECK(dies("cudaFree: a write 4 bytes behind the end", [] {
    float *x = nullptr;
    cudaMalloc(&x, 52);
    x[14] = 0;
    cudaFree(x);
  }));
  CHECK(dies("cudaStreamSynchronize: a write", [] {
    float *x = nullptr;
    cudaMallocHost(&x, 52);
    x[13] = 0;
    cudaStreamSynchronize(0);
    cudaFreeHost(x);
  }));
}

static void test_copies() {
  on_device<float> a(16), b(16);
  float host[16] = {1, 2, 3};
  CHECK_CUDA(cudaMemset(a.get(), 0, 64));
  CHECK(a.values()[15] == 0);
  CHECK_CUDA(cudaMemcpyAsync(a.get(), host, 12, cudaMemcpyHostToDevice));
  CHECK_CUDA(cudaMemcpy(b.get() + 4, a.get(), 48, cudaMemcpyDeviceToDevice));
  CHECK(b.values()[6] == 3 && b.values()[7] == 0 && std::isnan(b.values()[3]));
  CHECK_CUDA(cudaMemcpy(host, b.get(), 64, cudaMemcpyDefault));
  CHECK(host[5] == 2);
  CHECK_ERROR(cudaMemcpy(host, a.get(), 64, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  CHECK_ERROR(cudaMemcpy(a.get(), host, 64, cudaMemcpyDeviceToDevice), cudaErrorInvalidValue);
  CHECK_ERROR(cudaMemcpy(a.get() + 1, host, 64, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  CHECK_ERROR(cudaMemcpy(a.get(), a.get() + 1, 8, cudaMemcpyDeviceToDevice), cudaErrorInvalidValue);
  CHECK_ERROR(cudaMemsetAsync(host, 0, 4), cudaErrorInvalidValue);
}

static void test_pinned() {
  float plain[8] = {0}, *pinned = nullptr;
  cudaPointerAttributes at;
  CHECK_CUDA(cudaHostAlloc(&pinned, 64, cudaHostAllocPortable));
  CHECK_CUDA(cudaPointerGetAttributes(&at, pinned + 3));
  CHECK(at.type == cudaMemoryTypeHost);
  TG_LAUNCH(write_at, 1, 1, 0, pinned, 5); /* pinned memory is the device's too */
  CHECK(pinned[5] == 1);
  CHECK_ERROR(cudaFree(pinned), cudaErrorInvalidValue);
  CHECK_CUDA(cudaFreeHost(pinned));
  CHECK_CUDA(cudaHostRegister(plain, sizeof plain, cudaHostRegisterDefault));
  CHECK_ERROR(cudaHostRegister(plain + 1, 4, 0), cudaErrorHostMemoryAlreadyRegistered);
  TG_LAUNCH(write_at, 1, 1, 0, plain, 7);
  CHECK(plain[7] == 1);
  CHECK_CUDA(cudaHostUnregister(plain));
  CHECK_ERROR(cudaHostUnregister(plain), cudaErrorHostMemoryNotRegistered);
  CHECK(dies("write_at: argument 1", [&] { TG_LAUNCH(write_at, 1, 1, 0, plain, 0); }));
}

void test_memory() {
  void *p = &p, *q = nullptr;
  CHECK_CUDA(cudaMalloc(&p, 0));
  CHECK(p == nullptr);
  for (size_t size : {1, 255, 1000}) {
    on_device<unsigned char> memory(size);
    CHECK(uintptr_t(memory.get()) % 256 == 0);
    for (unsigned char byte : memory.values()) CHECK(byte == 0xff);
  }
  size_t free = 0, total = 0, free_now = 0;
  CHECK_CUDA(cudaMemGetInfo(&free, &total));
  CHECK_CUDA(cudaMalloc(&p, 1 << 20));
  CHECK_CUDA(cudaMemGetInfo(&free_now, &total));
  CHECK(free - free_now == 1 << 20 && total == 8ull << 30);
  setenv("TARDIGRAD_EMULATOR_MEMORY", "2000000", 1);
  CHECK_ERROR(cudaMalloc(&q, 1 << 20), cudaErrorMemoryAllocation);
  unsetenv("TARDIGRAD_EMULATOR_MEMORY");
  CHECK_ERROR(cudaFree(static_cast<char *>(p) + 256), cudaErrorInvalidValue);
  CHECK_CUDA(cudaFree(p));
  CHECK_ERROR(cudaFree(p), cudaErrorInvalidValue);
  CHECK_CUDA(cudaFree(nullptr));
  test_copies();
  test_pinned();
  test_guards();
}

/* ---- bfloat16 ---- */

static unsigned short bits(float f) {
  return __bfloat16_as_ushort(__float2bfloat16_rn(f));
}

void test_bf16() {
  CHECK(bits(1.0f) == 0x3f80 && bits(-0.0f) == 0x8000 && bits(INFINITY) == 0x7f80);
  CHECK(bits(__uint_as_float(0x3f808000)) == 0x3f80); /* a tie, down to even */
  CHECK(bits(__uint_as_float(0x3f818000)) == 0x3f82); /* a tie, up to even */
  CHECK(bits(__uint_as_float(0x3f808001)) == 0x3f81);
  CHECK(bits(__uint_as_float(0x3f817fff)) == 0x3f81);
  CHECK(bits(__uint_as_float(0xbf818000)) == 0xbf82);
  CHECK(bits(__uint_as_float(0x00008001)) == 0x0001); /* subnormal */
  CHECK(bits(__uint_as_float(0x7f7fffff)) == 0x7f80); /* overflows */
  CHECK(bits(NAN) == 0x7fff && bits(__uint_as_float(0xff800001)) == 0x7fff);
  CHECK(__bfloat16_as_ushort(__float2bfloat16_rz(__uint_as_float(0x3f81ffff))) == 0x3f81);
  /* 1 + 2^-8 + 2^-40: a tie once it is a float. */
  CHECK(__bfloat16_as_ushort(__double2bfloat16(1.0 + 0x1p-8 + 0x1p-40)) == 0x3f81);
  CHECK(__bfloat16_as_ushort(__double2bfloat16(-1.0 - 0x1p-8 - 0x1p-40)) == 0xbf81);
  CHECK(__bfloat16_as_ushort(__double2bfloat16(1.0 + 3 * 0x1p-8 - 0x1p-40)) == 0x3f81);
  CHECK(__bfloat16_as_ushort(__double2bfloat16(1.0 + 0x1p-8)) == 0x3f80);
  for (unsigned i = 0; i < 65536; i++) {
    float f = __bfloat162float(__ushort_as_bfloat16((unsigned short)i));
    CHECK(f != f ? bits(f) == 0x7fff : bits(f) == i);
  }
  __nv_bfloat162 pair = __floats2bfloat162_rn(1.5f, -2.0f);
  CHECK(__low2float(pair) == 1.5f && __bfloat1622float2(pair).y == -2.0f);
  CHECK(sizeof pair == 4 && sizeof(__nv_bfloat16) == 2 && float(__nv_bfloat16(0.5f)) == 0.5f);
}

int main() {
  const struct {
    const char *name;
    void (*run)();
  } parts[] = {{"devices", test_devices}, {"kernels", test_kernels}, {"memory", test_memory},
               {"bfloat16", test_bf16},   {"graphs", test_graphs},   {"lazy", test_lazy},
               {"cuBLAS", test_cublas},   {"cuDNN", test_cudnn},     {"NCCL", test_nccl}};
  for (const auto &part : parts) {
    int before = failures;
    part.run();
    if (failures > before)
      std::fprintf(stderr, "emulator: %s: %d failed\n", part.name, failures - before);
  }
  CHECK_CUDA(cudaDeviceSynchronize());
  size_t free = 0, total = 0;
  CHECK_CUDA(cudaMemGetInfo(&free, &total));
  CHECK(free == total); /* nothing is left */
  if (failures == 0) std::puts("emulator: all tests pass");
  return failures != 0;
}
