/* loss.cu - softmax cross-entropy and mean squared error, forward and backward.
 *
 * Compared with src/backend/cpu_loss.c and tests/support/ref_moves.c (tests/ops/test_loss.c).
 * Memory traffic and work, with s = sizeof(element), per element unless said:
 *   score_rows      reads s twice (the second time from cache), 1 exp, 3 FLOP; writes 24 bytes a
 * row sum_rows        24 bytes a row, one block row_gradients   reads s, writes s, 1 exp, 4 FLOP
 *   square_parts    reads s of each side, 3 FLOP in double
 *   sum_squares     one block over at most TG_CUDA_LOSS_PARTS sums
 *   square_gradients  reads s of each side, writes s per gradient, 2 or 3 FLOP
 * Access: a warp takes a row of logits, its lanes 16 bytes each side by side; squared errors are
 * one flat grid-stride loop of 16 bytes a thread. Sums are double throughout: lanes, then the
 * warp's tree, then rows or blocks in a fixed order. */
#include "kernels/device.cuh"

extern "C" {
#include "tardigrad/backend.h"
}

namespace {

using namespace tg;

enum { IGNORED = -1, OUT_OF_RANGE = -2 };
enum { LAST = 0x7fffffff, MOST_CLASSES = 1 << 30 };
constexpr unsigned ALL_LANES = 0xffffffffu;

/* What the gradient of the sum is multiplied by: weight / counted. Labels out of range make the
 * result void, and the gradient with it. */
__device__ float scale_of(const tg_loss_result *result, float weight) {
  uint64_t counted = result->counted;
  if (counted == 0 || counted == UINT64_MAX) return 0;
  return float(double(weight) / double(counted));
}

/* ---- softmax cross-entropy ---- */

/* The first of the largest logits. */
struct Best {
  float x;
  int at;
};

__device__ bool precedes(const Best &a, const Best &b) {
  return a.x > b.x || (a.x == b.x && a.at < b.at);
}

/* A number that is not one is passed over, as comparisons do, unless it is the first to be held
 * against the others: nothing is larger than that. */
template <typename T, int VEC> __device__ Best best_of_lane(const T *x, int classes, int lane) {
  Best best = {-INFINITY, LAST};
  for (int c = lane * VEC; c < classes; c += WARP * VEC) {
    float item[VEC];
    load<T, VEC>(x + c, item);
#pragma unroll
    for (int i = 0; i < VEC; i++) {
      Best next = {item[i], c + i};
      if (item[i] != item[i] && c + i == 0) next.x = INFINITY;
      if (precedes(next, best)) best = next;
    }
  }
  return best;
}

__device__ Best best_of_warp(Best best) {
#pragma unroll
  for (int step = WARP / 2; step > 0; step /= 2) {
    Best other = {__shfl_xor_sync(ALL_LANES, best.x, step),
                  __shfl_xor_sync(ALL_LANES, best.at, step)};
    if (precedes(other, best)) best = other;
  }
  return best;
}

template <typename T, int VEC>
__device__ double exp_sum(const T *x, int classes, int lane, float max) {
  double sum = 0;
  for (int c = lane * VEC; c < classes; c += WARP * VEC) {
    float item[VEC];
    load<T, VEC>(x + c, item);
#pragma unroll
    for (int i = 0; i < VEC; i++) sum += double(expf(item[i] - max));
  }
#pragma unroll
  for (int step = WARP / 2; step > 0; step /= 2) sum += __shfl_xor_sync(ALL_LANES, sum, step);
  return sum;
}

/* All lanes of a warp have the same b, so that shuffles meet. */
template <typename T, int VEC>
__global__ void __launch_bounds__(THREADS) score_rows(tg_cuda_cross_entropy a) {
  int lane = int(threadIdx.x % WARP), classes = int(a.classes);
  int64_t warps = int64_t(gridDim.x) * (THREADS / WARP);
  int64_t first = int64_t(blockIdx.x) * (THREADS / WARP) + threadIdx.x / WARP;
  for (int64_t b = first; b < a.batch; b += warps) {
    const T *x = static_cast<const T *>(a.x) + b * classes;
    int32_t label = a.label[b];
    Best best = best_of_warp(best_of_lane<T, VEC>(x, classes, lane));
    double sum = exp_sum<T, VEC>(x, classes, lane, best.x);
    if (lane != 0) continue;
    tg_cuda_loss_row row = {0, best.x, float(1 / sum), best.at == label, 0};
    if (label < 0)
      row.outcome = IGNORED;
    else if (label >= classes)
      row.outcome = OUT_OF_RANGE;
    else
      row.loss = log(sum) + double(best.x) - double(to_float(x[label]));
    a.row[b] = row;
  }
}

/* One block. Each thread adds every 256th row. */
__global__ void __launch_bounds__(THREADS) sum_rows(tg_cuda_cross_entropy a) {
  double sum = 0;
  long long counted = 0, correct = 0, bad = 0;
  for (int64_t b = threadIdx.x; b < a.batch; b += THREADS) {
    int32_t outcome = a.row[b].outcome;
    if (outcome >= 0) {
      sum += a.row[b].loss;
      counted++;
      correct += outcome;
    }
    bad += outcome == OUT_OF_RANGE;
  }
  sum = block_sum(sum);
  counted = block_sum(counted);
  correct = block_sum(correct);
  bad = block_sum(bad);
  if (threadIdx.x != 0) return;
  a.result->sum = sum;
  a.result->counted = bad ? UINT64_MAX : uint64_t(counted);
  a.result->correct = uint64_t(correct);
  *a.y = bad ? NAN : counted ? float(sum / double(counted)) : 0;
}

/* dx may be x: each element is read before it is written, by the same thread. */
template <typename T, int VEC>
__global__ void __launch_bounds__(THREADS) row_gradients(tg_cuda_cross_entropy a) {
  int lane = int(threadIdx.x % WARP), classes = int(a.classes);
  int64_t warps = int64_t(gridDim.x) * (THREADS / WARP);
  int64_t first = int64_t(blockIdx.x) * (THREADS / WARP) + threadIdx.x / WARP;
  float scale = scale_of(a.result, a.weight);
  for (int64_t b = first; b < a.batch; b += warps) {
    const T *x = static_cast<const T *>(a.x) + b * classes;
    T *dx = static_cast<T *>(a.dx) + b * classes;
    float max = a.row[b].max, inverse = a.row[b].inverse;
    bool counted = a.row[b].outcome >= 0;
    int32_t label = a.label[b];
    for (int c = lane * VEC; c < classes; c += WARP * VEC) {
      float item[VEC];
      load<T, VEC>(x + c, item);
#pragma unroll
      for (int i = 0; i < VEC; i++) {
        float p = expf(item[i] - max) * inverse;
        item[i] = counted ? (p - float(c + i == label)) * scale : 0;
      }
      store<T, VEC>(dx + c, item);
    }
  }
}

template <typename T> bool in_packs(const tg_cuda_cross_entropy *a, const void *dx) {
  return a->classes % int64_t(16 / sizeof(T)) == 0 && aligned(a->x, 16) && aligned(dx, 16);
}

template <typename T> int forward(const tg_cuda_launch *l, const tg_cuda_cross_entropy *a) {
  unsigned blocks = blocks_for(l, size_t(a->batch) * WARP);
  if (in_packs<T>(a, nullptr))
    TG_LAUNCH((score_rows<T, int(16 / sizeof(T))>), blocks, THREADS, l->stream, *a);
  else
    TG_LAUNCH((score_rows<T, 1>), blocks, THREADS, l->stream, *a);
  int error = launched();
  if (error) return error;
  TG_LAUNCH(sum_rows, 1, THREADS, l->stream, *a);
  return launched();
}

template <typename T> int backward(const tg_cuda_launch *l, const tg_cuda_cross_entropy *a) {
  unsigned blocks = blocks_for(l, size_t(a->batch) * WARP);
  if (in_packs<T>(a, a->dx))
    TG_LAUNCH((row_gradients<T, int(16 / sizeof(T))>), blocks, THREADS, l->stream, *a);
  else
    TG_LAUNCH((row_gradients<T, 1>), blocks, THREADS, l->stream, *a);
  return launched();
}

/* ---- mean squared error ---- */

/* Elements in one access: 16 bytes of the wider type. */
template <typename T, typename U>
constexpr int pack_of = int(16 / (sizeof(T) > sizeof(U) ? sizeof(T) : sizeof(U)));

template <typename T, typename U, int VEC>
__device__ double square_sum(const tg_cuda_squared_error &a, size_t at) {
  float x[VEC], target[VEC];
  double sum = 0;
  load<T, VEC>(static_cast<const T *>(a.x) + at, x);
  load<U, VEC>(static_cast<const U *>(a.target) + at, target);
#pragma unroll
  for (int i = 0; i < VEC; i++) {
    double d = double(x[i]) - double(target[i]);
    sum += d * d;
  }
  return sum;
}

template <typename T, typename U>
__global__ void __launch_bounds__(THREADS) square_parts(tg_cuda_squared_error a, size_t packs) {
  constexpr int VEC = pack_of<T, U>;
  double sum = 0;
  TG_FOR(i, packs) sum += square_sum<T, U, VEC>(a, i * VEC);
  TG_FOR(i, a.count - packs * VEC) sum += square_sum<T, U, 1>(a, packs * VEC + i);
  sum = block_sum(sum);
  if (threadIdx.x == 0) a.part[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(THREADS) sum_squares(tg_cuda_squared_error a, unsigned parts) {
  double sum = 0;
  for (unsigned i = threadIdx.x; i < parts; i += THREADS) sum += a.part[i];
  sum = block_sum(sum);
  if (threadIdx.x != 0) return;
  a.result->sum = sum;
  a.result->counted = a.count;
  a.result->correct = 0;
  *a.y = a.count ? float(sum / double(a.count)) : 0;
}

/* dx may be x, and dtarget target: each element is read before it is written. */
template <typename T, typename U, int VEC>
__device__ void square_gradient(const tg_cuda_squared_error &a, size_t at, float scale) {
  float x[VEC], target[VEC];
  load<T, VEC>(static_cast<const T *>(a.x) + at, x);
  load<U, VEC>(static_cast<const U *>(a.target) + at, target);
#pragma unroll
  for (int i = 0; i < VEC; i++) {
    x[i] = (x[i] - target[i]) * scale;
    target[i] = -x[i];
  }
  if (a.dx) store<T, VEC>(static_cast<T *>(a.dx) + at, x);
  if (a.dtarget) store<U, VEC>(static_cast<U *>(a.dtarget) + at, target);
}

template <typename T, typename U>
__global__ void __launch_bounds__(THREADS) square_gradients(tg_cuda_squared_error a, size_t packs) {
  constexpr int VEC = pack_of<T, U>;
  float scale = 2 * scale_of(a.result, a.weight);
  TG_FOR(i, packs) square_gradient<T, U, VEC>(a, i * VEC, scale);
  TG_FOR(i, a.count - packs * VEC) square_gradient<T, U, 1>(a, packs * VEC + i, scale);
}

/* How many packs lead the vectors; the rest goes one by one. */
template <typename T, typename U>
size_t packs_of(const tg_cuda_squared_error *a, const void *dx, const void *dtarget) {
  size_t vec = size_t(pack_of<T, U>);
  bool fit = aligned(a->x, vec * sizeof(T)) && aligned(dx, vec * sizeof(T)) &&
             aligned(a->target, vec * sizeof(U)) && aligned(dtarget, vec * sizeof(U));
  return fit ? a->count / vec : 0;
}

template <typename T, typename U>
int forward(const tg_cuda_launch *l, const tg_cuda_squared_error *a) {
  size_t packs = packs_of<T, U>(a, nullptr, nullptr);
  unsigned blocks = blocks_for(l, packs ? packs : a->count);
  if (blocks > TG_CUDA_LOSS_PARTS) blocks = TG_CUDA_LOSS_PARTS;
  TG_LAUNCH((square_parts<T, U>), blocks, THREADS, l->stream, *a, packs);
  int error = launched();
  if (error) return error;
  TG_LAUNCH(sum_squares, 1, THREADS, l->stream, *a, blocks);
  return launched();
}

template <typename T, typename U>
int backward(const tg_cuda_launch *l, const tg_cuda_squared_error *a) {
  size_t packs = packs_of<T, U>(a, a->dx, a->dtarget);
  unsigned blocks = blocks_for(l, packs ? packs : a->count);
  TG_LAUNCH((square_gradients<T, U>), blocks, THREADS, l->stream, *a, packs);
  return launched();
}

} // namespace

extern "C" int tg_cuda_cross_entropy_forward(const tg_cuda_launch *l,
                                             const tg_cuda_cross_entropy *a) {
  if (a->classes < 1 || a->classes > MOST_CLASSES) return int(cudaErrorInvalidValue);
  TG_BY_TYPE(a->dtype, T, return forward<T>(l, a));
}

extern "C" int tg_cuda_cross_entropy_backward(const tg_cuda_launch *l,
                                              const tg_cuda_cross_entropy *a) {
  TG_BY_TYPE(a->dtype, T, return backward<T>(l, a));
}

extern "C" int tg_cuda_squared_error_forward(const tg_cuda_launch *l,
                                             const tg_cuda_squared_error *a) {
  TG_BY_TYPE(a->x_dtype, T, TG_BY_TYPE(a->target_dtype, U, return (forward<T, U>(l, a))));
}

extern "C" int tg_cuda_squared_error_backward(const tg_cuda_launch *l,
                                              const tg_cuda_squared_error *a) {
  TG_BY_TYPE(a->x_dtype, T, TG_BY_TYPE(a->target_dtype, U, return (backward<T, U>(l, a))));
}
