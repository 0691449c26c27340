/* vector.cu - sums over flat vectors, in the order of src/backend/update.c, which they are compared
 * with to the bit.
 *
 *   square_sum  4 bytes and 2 double FLOPs per element. One block of TG_SUM_LANES threads per part;
 *               the order of additions is that of the host: 16 chains per part, so the chains'
 *               length bounds the time (n / 4096 dependent additions), not the bandwidth.
 */
#include "kernels/device.cuh"
#include "tardigrad/update.h"

namespace {

/* Part i is [lo(i), lo(i+1)): as in tg_square_sum. */
__device__ __forceinline__ size_t part_begin(size_t n, size_t i) {
  return n / TG_SUM_PARTS * i + n % TG_SUM_PARTS * i / TG_SUM_PARTS;
}

/* The product of two floats is exact in double, so that contraction changes nothing. */
__device__ __forceinline__ double square(float x) {
  return double(x) * double(x);
}

__global__ void part_sums(size_t n, const float *__restrict__ x, double *__restrict__ part) {
  __shared__ double lanes[TG_SUM_LANES];
  enum { AHEAD = 8 };
  size_t lo = part_begin(n, blockIdx.x), hi = part_begin(n, blockIdx.x + 1);
  size_t count = (hi - lo) / TG_SUM_LANES, i = 0;
  const float *at = x + lo + threadIdx.x;
  double sum = 0;
  for (; i + AHEAD <= count; i += AHEAD) {
    float item[AHEAD];
#pragma unroll
    for (int j = 0; j < AHEAD; j++) item[j] = at[(i + j) * TG_SUM_LANES];
#pragma unroll
    for (int j = 0; j < AHEAD; j++) sum += square(item[j]);
  }
  for (; i < count; i++) sum += square(at[i * TG_SUM_LANES]);
  lanes[threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.x > 0) return;
  double all = 0;
  for (size_t k = lo + count * TG_SUM_LANES; k < hi; k++) all += square(x[k]);
  for (int j = 0; j < TG_SUM_LANES; j++) all += lanes[j];
  part[blockIdx.x] = all;
}

__global__ void sum_parts(const double *__restrict__ part, double *out) {
  double sum = 0;
  for (int i = 0; i < TG_SUM_PARTS; i++) sum += part[i];
  *out = sum;
}

} // namespace

extern "C" int tg_cuda_square_sum(const tg_cuda_launch *l, size_t n, const float *x, double *parts,
                                  double *out) {
  TG_LAUNCH(part_sums, TG_SUM_PARTS, TG_SUM_LANES, l->stream, n, x, parts);
  TG_LAUNCH(sum_parts, 1, 1, l->stream, parts, out);
  return tg::launched();
}
