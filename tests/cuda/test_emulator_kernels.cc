/* test_emulator_kernels.cc - launches, indices, barriers, warps, orders. */
#include "test_emulator.h"

#include <cuda_bf16.h>

#include <algorithm>
#include <cmath>
#include <string>

namespace {

constexpr int SEEDS = 5; /* 0 is the natural order */

__global__ void write_indices(int *out, int *visits) {
  int block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  int thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  int i = block * int(blockDim.x * blockDim.y * blockDim.z) + thread;
  out[i] = i;
  atomicAdd(visits + i, 1);
}

void test_indices() {
  int n = 2 * 3 * 2 * 8 * 4 * 3;
  on_device<int> out{size_t(n)}, visits(std::vector<int>(size_t(n), 0));
  TG_LAUNCH(write_indices, dim3(2, 3, 2), dim3(8, 4, 3), 0, out.get(), visits.get());
  CHECK_CUDA(cudaGetLastError());
  for (int i = 0; i < n; i++)
    CHECK(out.values()[size_t(i)] == i && visits.values()[size_t(i)] == 1);
}

template <typename T> __global__ void __launch_bounds__(1024) reverse(T *x, int n) {
  __shared__ T part[1024];
  int i = int(threadIdx.x);
  if (i >= n) return; /* they never reach the barriers */
  part[i] = x[i];
  __syncthreads();
  T mirrored = part[n - 1 - i];
  __syncthreads();
  part[i] = mirrored;
  __syncthreads();
  x[i] = part[i];
}

void test_barriers() {
  for (int n : {1, 31, 33, 1000, 1024}) {
    std::vector<double> x(size_t(n), 0.0);
    for (int i = 0; i < n; i++) x[size_t(i)] = i;
    on_device<double> d(x);
    TG_LAUNCH((reverse<double>), 1, 1024, 0, d.get(), n);
    for (int i = 0; i < n; i++) CHECK(d.values()[size_t(i)] == n - 1 - i);
  }
}

__global__ void count_odd(int *out) {
  int odd = threadIdx.x % 2;
  out[0] = __syncthreads_count(odd);
  out[1] = __syncthreads_or(threadIdx.x == 7);
  out[2] = __syncthreads_and(threadIdx.x != 7);
}

/* Every thread writes what it received: 8 values a thread. */
__global__ void shuffle(double *out) {
  int i = int(threadIdx.x), lane = i % 32;
  double *mine = out + i * 8;
  mine[0] = __shfl_down_sync(0xffffffffu, double(i), 5);
  mine[1] = __shfl_up_sync(0xffffffffu, float(i), 3);
  mine[2] = __shfl_xor_sync(0xffffffffu, i, 9);
  mine[3] = double(__shfl_sync(0xffffffffu, (long long)i << 33, 4) >> 33);
  mine[4] = __shfl_down_sync(0xffffffffu, i, 2, 8);
  mine[5] = __ballot_sync(0xffffffffu, lane % 3 == 0);
  if (lane < 4) mine[6] = __shfl_xor_sync(0xfu, unsigned(i), 1);
  __syncwarp();
  mine[7] = __any_sync(0xffffffffu, lane == 9) + 2 * __all_sync(0xffffffffu, lane == 9);
}

void test_shuffles() {
  int n = 40; /* the second warp has 8 lanes */
  on_device<double> out{size_t(n) * 8};
  TG_LAUNCH(shuffle, 1, n, 0, out.get());
  std::vector<double> got = out.values();
  for (int i = 0; i < n; i++) {
    const double *mine = got.data() + i * 8;
    int lane = i % 32, first = i - lane, lanes = first ? 8 : 32;
    auto from = [&](int source) { return source < lanes ? double(first + source) : NAN; };
    auto same = [](double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); };
    CHECK(same(mine[0], lane + 5 < 32 ? from(lane + 5) : i));
    CHECK(mine[1] == (lane >= 3 ? i - 3 : i));
    double other = from(lane ^ 9);
    CHECK(mine[2] == (std::isnan(other) ? -1 : other)); /* no value: all bits set */
    CHECK(mine[3] == first + 4);
    CHECK(mine[4] == (lane % 8 < 6 ? i + 2 : i));
    CHECK(mine[5] == (first ? 0x49 : 0x49249249));
    CHECK(lane < 4 ? mine[6] == (i ^ 1) : std::isnan(mine[6]));
    CHECK(mine[7] == (first ? 0 : 1));
  }
}

__global__ void barrier_in_half_a_warp(int *x) {
  if (threadIdx.x < 16)
    __syncthreads();
  else
    x[0] = __shfl_down_sync(0xffffffffu, 1, 1);
}
__global__ void not_in_mask(int *x) {
  x[0] = __shfl_sync(1u, 1, 0);
}

void test_deadlocks() {
  on_device<int> x(1);
  CHECK(dies("barrier_in_half_a_warp: deadlock in block (0, 0, 0) of 32 threads: 16 wait at "
             "__syncthreads() (thread 15), 16 wait in a warp (thread 31)",
             [&] { TG_LAUNCH(barrier_in_half_a_warp, 2, 32, 0, x.get()); }));
  CHECK(dies("whose mask", [&] { TG_LAUNCH(not_in_mask, 1, 2, 0, x.get()); }));
  CHECK(dies("outside a kernel", [] { __syncthreads(); }));
}

__global__ void take_number(int *next, int *numbers) {
  numbers[blockIdx.x * blockDim.x + threadIdx.x] = atomicAdd(next, 1);
}

/* Wrong: reads what a neighbour writes, without a barrier. Right in the natural order. */
__global__ void race(int *out) {
  __shared__ int part[64];
  part[threadIdx.x] = int(threadIdx.x + 1);
  out[threadIdx.x] = threadIdx.x ? part[threadIdx.x - 1] : 0;
  __syncthreads();
  part[threadIdx.x] = -1;
}

/* Wrong: the first thread may still read when the others write again. */
__global__ void used_again(int *sums) {
  __shared__ int part[4];
  for (int round = 0; round < 2; round++) {
    __syncwarp();
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = round;
    __syncthreads();
    if (threadIdx.x == 0) sums[2 * blockIdx.x + round] = part[0] + part[1] + part[2] + part[3];
  }
}

void test_uneven_warps() {
  for (int seed = 0; seed < SEEDS; seed++) {
    set_seed(seed);
    on_device<int> sums(64);
    TG_LAUNCH(used_again, 32, 128, 0, sums.get());
    int wrong = 0;
    for (int i = 0; i < 64; i++) wrong += sums.values()[size_t(i)] != 4 * (i % 2);
    CHECK((wrong > 0) == (seed > 0));
  }
  set_seed(0);
}

void test_orders() {
  std::vector<std::vector<int>> seen;
  for (int seed = 0; seed < SEEDS; seed++) {
    set_seed(seed);
    on_device<int> next(std::vector<int>{0}), numbers(24);
    TG_LAUNCH(take_number, 6, 4, 0, next.get(), numbers.get());
    std::vector<int> order = numbers.values();
    CHECK(std::is_sorted(order.begin(), order.end()) == (seed == 0));
    CHECK(std::find(seen.begin(), seen.end(), order) == seen.end());
    seen.push_back(order);
    std::sort(order.begin(), order.end());
    for (int i = 0; i < 24; i++) CHECK(order[size_t(i)] == i);
    on_device<int> out(64);
    TG_LAUNCH(race, 2, 64, 0, out.get());
    bool right = true;
    for (int i = 0; i < 64; i++) right = right && out.values()[size_t(i)] == i;
    CHECK(right == (seed == 0));
  }
  set_seed(0);
}

__global__ void set_one(int *x) {
  *x = 1;
}

void test_launch_errors() {
  on_device<int> x(std::vector<int>{0});
  const struct {
    dim3 grid, block;
  } wrong[] = {{0, 1},
               {1, 0},
               {1, 1025},
               {1, dim3(32, 33)},
               {1, dim3(1, 1, 65)},
               {dim3(1, 65536), 1},
               {dim3(1, 1, 65536), 1},
               {0x80000000u, 1}};
  for (const auto &w : wrong) {
    TG_LAUNCH(set_one, w.grid, w.block, 0, x.get());
    CHECK(cudaPeekAtLastError() == cudaErrorInvalidConfiguration);
    CHECK(cudaGetLastError() == cudaErrorInvalidConfiguration);
    CHECK(cudaGetLastError() == cudaSuccess && x.values()[0] == 0);
  }
  TG_LAUNCH(set_one, 1, 1, reinterpret_cast<cudaStream_t>(0x1234), x.get());
  CHECK(cudaGetLastError() == cudaErrorInvalidResourceHandle && x.values()[0] == 0);
  TG_LAUNCH(set_one, 1, dim3(16, 8, 8), 0, x.get());
  CHECK(cudaGetLastError() == cudaSuccess && x.values()[0] == 1);
}

__device__ int counter[4];
__constant__ float scale[2];
struct pair_of {
  float a, b;
};
__global__ void convert(pair_of by_value, const float *none, float *out) {
  __nv_bfloat16 h = __float2bfloat16(by_value.b);
  counter[1] = 7;
  out[0] = none ? 0 : by_value.a * scale[1];
  out[1] = __bfloat162float(h) + rsqrtf(4.0f) + __fmul_rn(3.0f, 2.0f) + float(max(2, 3));
  by_value.a = -1; /* each thread has its own copy */
}

void test_arguments() {
  on_device<float> out(2);
  float scales[2] = {1, 10};
  CHECK_CUDA(cudaMemcpyToSymbol(scale, scales, sizeof scales));
  TG_LAUNCH(convert, 1, 3, 0, pair_of{2, 0.5f}, nullptr, out.get());
  CHECK(out.values()[0] == 20 && out.values()[1] == 10);
  void *at = nullptr;
  int got[4];
  CHECK_CUDA(cudaGetSymbolAddress(&at, counter));
  CHECK_CUDA(cudaMemcpy(got, at, sizeof got, cudaMemcpyDeviceToHost));
  CHECK(got[1] == 7 && got[0] == 0);
}

} // namespace

void test_kernels() {
  for (int seed = 0; seed < SEEDS; seed++) {
    set_seed(seed);
    test_indices();
    test_barriers();
    test_shuffles();
    on_device<int> out(3);
    TG_LAUNCH(count_odd, 3, 100, 0, out.get());
    CHECK((out.values() == std::vector<int>{50, 1, 0}));
  }
  set_seed(0);
  test_orders();
  test_uneven_warps();
  test_deadlocks();
  test_launch_errors();
  test_arguments();
}
