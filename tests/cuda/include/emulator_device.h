/* emulator_device.h - device code as host code: qualifiers, indices, barriers, warps, launches.
 * Part of cuda_runtime.h, C++ only. */
#ifndef TESTS_CUDA_EMULATOR_DEVICE_H
#define TESTS_CUDA_EMULATOR_DEVICE_H

#include <cstdint>
#include <cstring>
#include <functional>
#include <type_traits>

#include "cuda_runtime_api.h"

/* ---- qualifiers ---- */

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(n)    __attribute__((aligned(n)))

#define __shared__ static /* blocks run one after the other */

/* ---- indices ---- */

#define TG_EMULATED_HIDDEN __attribute__((visibility("hidden")))
extern TG_EMULATED_HIDDEN uint3 threadIdx, blockIdx;
extern TG_EMULATED_HIDDEN dim3 blockDim, gridDim;
constexpr int warpSize = 32;

namespace tg_emulator {

/* What the lanes of a warp do together. */
enum warp_operation { WARP_SYNC, WARP_SHFL, WARP_UP, WARP_DOWN, WARP_XOR, WARP_BALLOT };
enum block_operation { BLOCK_SYNC, BLOCK_COUNT };

/* Waits for the other threads of the block; returns how many of them gave true. */
int block_wait(block_operation operation, bool predicate);
/* Waits for the lanes in `mask`; returns the value of the lane that `operand` names, or their
 * ballot. */
uint64_t warp_wait(warp_operation operation, unsigned mask, uint64_t value, int operand, int width);

struct kernel_launch {
  const char *name; /* static */
  dim3 grid, block;
};
/* Queues body() for every thread of the grid; what is wrong becomes the last error. */
void launch_body(const kernel_launch &launch, cudaStream_t stream, std::function<void()> body);
/* Ends the program unless the pointer is null or lies in memory that the device may use. */
void check_kernel_pointer(const char *kernel, int argument, const void *pointer);
cudaError_t symbol_register(const void *symbol, size_t size);

template <typename T> struct same { using type = T; };
template <typename T> void check_argument(const char *kernel, int argument, const T &value) {
  if constexpr (std::is_pointer_v<T>)
    check_kernel_pointer(kernel, argument, reinterpret_cast<const void *>(value));
  else
    static_assert(std::is_trivially_copyable_v<T>, "kernels take their arguments as bytes");
}

template <typename... P>
void launch(const char *name, void (*kernel)(P...), dim3 grid, dim3 block, cudaStream_t stream,
            typename same<P>::type... arguments) {
  int argument = 0;
  (check_argument(name, ++argument, arguments), ...);
  (void)argument;
  launch_body({name, grid, block}, stream, [=] { kernel(arguments...); });
}

template <typename T>
T warp_value(warp_operation op, unsigned mask, T value, int operand, int width) {
  static_assert(std::is_arithmetic_v<T> && sizeof(T) >= 4, "CUDA shuffles 4- and 8-byte numbers");
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = warp_wait(op, mask, bits, operand, width);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

} // namespace tg_emulator

#define TG_LAUNCH(kernel, grid, block, stream, ...)                                                \
  tg_emulator::launch(#kernel, kernel, grid, block, stream, ##__VA_ARGS__)

/* ---- barriers ---- */

inline void __syncthreads() {
  tg_emulator::block_wait(tg_emulator::BLOCK_SYNC, false);
}
inline int __syncthreads_count(int predicate) {
  return tg_emulator::block_wait(tg_emulator::BLOCK_COUNT, predicate != 0);
}
inline int __syncthreads_or(int predicate) {
  return __syncthreads_count(predicate) != 0;
}
inline int __syncthreads_and(int predicate) {
  return __syncthreads_count(!predicate) == 0;
}
inline void __syncwarp(unsigned mask = 0xffffffffu) {
  tg_emulator::warp_wait(tg_emulator::WARP_SYNC, mask, 0, 0, 32);
}
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}

/* ---- warps ---- */

template <typename T> T __shfl_sync(unsigned mask, T value, int lane, int width = 32) {
  return tg_emulator::warp_value(tg_emulator::WARP_SHFL, mask, value, lane, width);
}
template <typename T> T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  return tg_emulator::warp_value(tg_emulator::WARP_UP, mask, value, int(delta), width);
}
template <typename T> T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  return tg_emulator::warp_value(tg_emulator::WARP_DOWN, mask, value, int(delta), width);
}
template <typename T> T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32) {
  return tg_emulator::warp_value(tg_emulator::WARP_XOR, mask, value, lanes, width);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  return unsigned(tg_emulator::warp_wait(tg_emulator::WARP_BALLOT, mask, predicate != 0, 0, 32));
}
inline int __any_sync(unsigned mask, int predicate) {
  return __ballot_sync(mask, predicate) != 0;
}
inline int __all_sync(unsigned mask, int predicate) {
  return __ballot_sync(mask, !predicate) == 0;
}

/* ---- memory: threads switch at barriers only, so plain accesses are atomic ---- */

template <typename T> T __ldg(const T *p) {
  return *p;
}
template <typename T> T __ldcs(const T *p) {
  return *p;
}
template <typename T> T __ldcg(const T *p) {
  return *p;
}
template <typename T> void __stcs(T *p, T value) {
  *p = value;
}
template <typename T> void __stcg(T *p, T value) {
  *p = value;
}

#define TG_EMULATED_ATOMIC(name, expression)                                                       \
  template <typename T> T name(T *p, typename tg_emulator::same<T>::type value) {                  \
    T old = *p;                                                                                    \
    *p = T(expression);                                                                            \
    return old;                                                                                    \
  }
TG_EMULATED_ATOMIC(atomicAdd, old + value)
TG_EMULATED_ATOMIC(atomicSub, old - value)
TG_EMULATED_ATOMIC(atomicExch, value)
TG_EMULATED_ATOMIC(atomicMin, old < value ? old : value)
TG_EMULATED_ATOMIC(atomicMax, old > value ? old : value)
TG_EMULATED_ATOMIC(atomicAnd, old &value)
TG_EMULATED_ATOMIC(atomicOr, old | value)
TG_EMULATED_ATOMIC(atomicXor, old ^ value)
template <typename T>
T atomicCAS(T *p, typename tg_emulator::same<T>::type compare,
            typename tg_emulator::same<T>::type value) {
  T old = *p;
  if (old == compare) *p = value;
  return old;
}

/* ---- the runtime's C++ face ---- */

template <typename T> cudaError_t cudaMalloc(T **p, size_t size) {
  return cudaMalloc(reinterpret_cast<void **>(p), size);
}
template <typename T> cudaError_t cudaMallocHost(T **p, size_t size) {
  return cudaMallocHost(reinterpret_cast<void **>(p), size);
}
template <typename T> cudaError_t cudaHostAlloc(T **p, size_t size, unsigned flags) {
  return cudaHostAlloc(reinterpret_cast<void **>(p), size, flags);
}
template <typename T>
cudaError_t cudaMemcpyToSymbolAsync(const T &symbol, const void *src, size_t count, size_t offset,
                                    cudaMemcpyKind kind, cudaStream_t stream = 0) {
  char *to = reinterpret_cast<char *>(const_cast<std::remove_const_t<T> *>(&symbol));
  cudaError_t error = tg_emulator::symbol_register(to, sizeof symbol);
  return error != cudaSuccess ? error : cudaMemcpyAsync(to + offset, src, count, kind, stream);
}
template <typename T>
cudaError_t cudaMemcpyToSymbol(const T &symbol, const void *src, size_t count, size_t offset = 0,
                               cudaMemcpyKind kind = cudaMemcpyHostToDevice) {
  return cudaMemcpyToSymbolAsync(symbol, src, count, offset, kind);
}
template <typename T> cudaError_t cudaGetSymbolAddress(void **address, const T &symbol) {
  *address = const_cast<std::remove_const_t<T> *>(&symbol);
  return tg_emulator::symbol_register(*address, sizeof symbol);
}

#endif
