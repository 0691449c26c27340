/* device.cuh - what every kernel file needs: launches, element types, 16-byte accesses, sums.
 *
 * Kernels are launched with TG_LAUNCH only, so that tests can compile them for the host
 * (tests/cuda). Sums go over a fixed number of partial sums in a fixed order: the same inputs give
 * the same bits, on any run. Nothing uses atomics. */
#ifndef KERNELS_DEVICE_CUH
#define KERNELS_DEVICE_CUH

#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <stdint.h>
#include <string.h>

#include "kernels/kernels.h"

#ifndef TG_EMULATED
#define TG_LAUNCH(kernel, grid, block, stream, ...) kernel<<<grid, block, 0, stream>>>(__VA_ARGS__)
#endif

namespace tg {

using bf16 = __nv_bfloat16;

enum { THREADS = 256, WARP = 32 };

/* ---- element types: arithmetic is float, memory float or bfloat16 ---- */

__device__ __forceinline__ float to_float(float x) {
  return x;
}
__device__ __forceinline__ float to_float(bf16 x) {
  return __bfloat162float(x);
}

template <typename T> __device__ __forceinline__ T from_float(float x);
template <> __device__ __forceinline__ float from_float<float>(float x) {
  return x;
}
template <> __device__ __forceinline__ bf16 from_float<bf16>(float x) {
  return __float2bfloat16_rn(x);
}

/* VEC elements at once: 16 bytes of the wider type that a kernel touches. The address must be a
 * multiple of VEC * sizeof(T). */
template <typename T, int VEC> struct alignas(VEC * sizeof(T)) Pack { T item[VEC]; };

template <typename T, int VEC>
__device__ __forceinline__ void load(const T *from, float (&x)[VEC]) {
  Pack<T, VEC> pack = *reinterpret_cast<const Pack<T, VEC> *>(from);
#pragma unroll
  for (int i = 0; i < VEC; i++) x[i] = to_float(pack.item[i]);
}

/* An unsigned integer of BYTES. */
template <int BYTES> struct Word;
template <> struct Word<1> { using type = uint8_t; };
template <> struct Word<2> { using type = uint16_t; };
template <> struct Word<4> { using type = uint32_t; };
template <> struct Word<8> { using type = uint64_t; };
template <> struct Word<16> { using type = unsigned __int128; };

/* One store. nvcc 13 takes that of a structure apart, and often (after an address like row *
 * channels + channel) leaves it so, as 4 or 8 narrow ones; that of an integer stays whole. Put
 * together by shifts, because a copy of memory goes through memory, too. */
template <typename T, int VEC>
__device__ __forceinline__ void store(T *to, const Pack<T, VEC> &pack) {
  using word = typename Word<sizeof(T) * VEC>::type;
  word all = 0;
#pragma unroll
  for (int i = 0; i < VEC; i++) {
    typename Word<sizeof(T)>::type bits;
    memcpy(&bits, &pack.item[i], sizeof bits);
    all |= word(bits) << (8 * sizeof(T) * i);
  }
  *reinterpret_cast<word *>(to) = all;
}
template <typename T, int VEC> __device__ __forceinline__ void store(T *to, const float (&x)[VEC]) {
  Pack<T, VEC> pack;
#pragma unroll
  for (int i = 0; i < VEC; i++) pack.item[i] = from_float<T>(x[i]);
  store(to, pack);
}

/* Whether p may be read in groups of `bytes`. NULL may. */
static inline bool aligned(const void *p, size_t bytes) {
  return reinterpret_cast<unsigned long long>(p) % bytes == 0;
}

/* ---- sums ---- */

/* The sum over the threads of a block, in a fixed tree; valid in thread 0. blockDim.x = THREADS. */
template <typename T> __device__ __forceinline__ T block_sum(T x) {
  __shared__ T part[THREADS / WARP];
  for (int step = WARP / 2; step > 0; step /= 2) x += __shfl_down_sync(0xffffffffu, x, step);
  if (threadIdx.x % WARP == 0) part[threadIdx.x / WARP] = x;
  __syncthreads();
  T sum = T(0);
  if (threadIdx.x == 0)
    for (int i = 0; i < THREADS / WARP; i++) sum += part[i];
  __syncthreads(); /* part may be used again at once */
  return sum;
}

/* ---- launching ---- */

/* Blocks of THREADS threads for n items in a grid-stride loop: enough to fill the device, no more.
 */
static inline unsigned blocks_for(const tg_cuda_launch *l, size_t n) {
  size_t wanted = (n + THREADS - 1) / THREADS, most = size_t(l->processors) * 8;
  return unsigned(wanted < 1 ? 1 : wanted < most ? wanted : most);
}

/* The items of this thread in a grid-stride loop. */
#define TG_FOR(i, n)                                                                               \
  for (size_t i = size_t(blockIdx.x) * blockDim.x + threadIdx.x; i < (n);                          \
       i += size_t(gridDim.x) * blockDim.x)

/* What the last launch said. */
static inline int launched() {
  return int(cudaGetLastError());
}

} // namespace tg

/* TG_BY_TYPE(dtype, T, ...) - runs the statement with T the element type. */
#define TG_BY_TYPE(dtype, T, ...)                                                                  \
  do {                                                                                             \
    if ((dtype) == TG_BF16) {                                                                      \
      using T = tg::bf16;                                                                          \
      __VA_ARGS__;                                                                                 \
    } else {                                                                                       \
      using T = float;                                                                             \
      __VA_ARGS__;                                                                                 \
    }                                                                                              \
  } while (0)

#endif
