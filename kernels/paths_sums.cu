/* paths_sums.cu - of an update in path space (paths.cu says all of it) what knows no rule and no
 * optimiser: skeletons and their products, pass 1, norms, sums for reports. */
#include "kernels/paths.cuh"

namespace {

using namespace tg;

/* ---- skeletons ---- */

__device__ void take_layer(const Tables &t, const Vectors &v, const Layer &y, int slots) {
  for (uint32_t i = threadIdx.x; i < y.skeletons; i += THREADS) {
    size_t at = skeleton_at(y, i);
    uint32_t e = y.first + i;
    kept(t, KEPT_W, e) = v.w[at];
    if (v.apart) kept(t, KEPT_THEN, e) = v.then[at];
    if (v.state) kept(t, KEPT_STATE, e) = v.state[at];
    for (int s = 0; s < slots; s++) kept(t, KEPT_SLOT + s, e) = v.slot[s][at];
    if (y.side == 0) t.g[y.trained + i] = v.g[at];
    v.g[at] = 0;
  }
}

/* A product of skeletons and its inverse; counts what is kept in limits, once for each time that
 * the CPU would look at it. */
__device__ __forceinline__ void put_product(const Tables &t, float *gauge, float tiny, size_t at,
                                            float c, int uses, double &clamped) {
  gauge[at] = c;
  gauge[t.gauge + at] = __fdiv_rn(1.0f, nonzero(tiny, c, uses, clamped));
}

/* The routes of tg_gauge_read (src/paths/gauge.c). Node layer n's p is layer[n]'s, its q layer[n -
 * 1]'s. */
__device__ void make_gauge(const Tables &t, const Block &b, float tiny, float *gauge, int what,
                           double &clamped) {
  const Layer *layer = t.layer + b.layer, &end = layer[b.count - 1];
  for (uint32_t i = threadIdx.x; i < layer->in; i += THREADS)
    put_product(t, gauge, tiny, layer->p + i, 1, 1, clamped);
  for (uint32_t i = threadIdx.x; i < end.out; i += THREADS)
    put_product(t, gauge, tiny, end.q + i, 1, end.bias == TG_NOWHERE ? 1 : 2, clamped);
  __syncthreads();
  for (uint32_t n = 1; n < b.count; n++) {
    const Layer &y = layer[n - 1];
    for (uint32_t i = threadIdx.x; i < y.out; i += THREADS) {
      float before = gauge[y.p + (n <= b.special ? i % y.in : i)];
      put_product(t, gauge, tiny, layer[n].p + i, mul(before, value_of(t, y, what, i)), 1, clamped);
    }
    __syncthreads();
  }
  for (uint32_t n = b.count - 1; n >= 1; n--) {
    const Layer &y = layer[n];
    for (uint32_t i = threadIdx.x; i < y.in; i += THREADS) {
      float behind = gauge[y.q + (n < b.special ? i : i % y.out)];
      put_product(t, gauge, tiny, layer[n - 1].q + i, mul(behind, value_of(t, y, what, i)),
                  layer[n - 1].bias == TG_NOWHERE ? 1 : 2, clamped);
    }
    __syncthreads();
  }
  const Layer &s = layer[b.special - 1];
  for (uint32_t j = threadIdx.x; j < s.out; j += THREADS)
    gauge[b.v + j] = mul(gauge[layer[b.special].p + j], gauge[s.q + j]);
}

__global__ void __launch_bounds__(THREADS) take_out(Tables t, Vectors v, float tiny, int slots) {
  const Block b = t.block[blockIdx.x];
  double sum[SUMS] = {0, 0, 0, 0};
  for (uint32_t l = 0; l < b.count; l++) take_layer(t, v, t.layer[b.layer + l], slots);
  __syncthreads();
  make_gauge(t, b, tiny, t.now, KEPT_W, sum[SUMS - 1]);
  if (v.apart) make_gauge(t, b, tiny, t.then, KEPT_THEN, sum[SUMS - 1]);
  tell(t.parts, blockIdx.x, sum);
}

__global__ void __launch_bounds__(THREADS) put_back(Tables t, Vectors v, int slots) {
  const Block b = t.block[blockIdx.x];
  for (uint32_t l = 0; l < b.count; l++) {
    const Layer &y = t.layer[b.layer + l];
    for (uint32_t i = threadIdx.x; i < y.skeletons; i += THREADS) {
      size_t at = skeleton_at(y, i);
      uint32_t e = y.first + i;
      float w = kept(t, KEPT_W, e);
      v.w[at] = w;
      if (v.bak_out) v.bak_out[at] = w;
      if (v.state) v.state[at] = kept(t, KEPT_STATE, e);
      for (int s = 0; s < slots; s++) v.slot[s][at] = kept(t, KEPT_SLOT + s, e);
    }
  }
}

/* ---- pass 1 ---- */

__device__ void sum_column(const Tables &t, const Layer &y, uint32_t part, uint32_t col,
                           const float *w, const float *g) {
  size_t cols = size_t(y.in) * y.taps, out = y.out;
  size_t lo = out * part / TG_PATH_PARTS, hi = out * (part + 1) / TG_PATH_PARTS;
  if (col >= cols) return;
  float sum = 0;
  w += y.weight + col, g += y.weight + col;
#pragma unroll 8
  for (size_t o = lo; o < hi; o++) sum = add(sum, mul(w[o * cols], g[o * cols]));
  t.part[y.part + part * cols + col] = sum;
}

__device__ void sum_row(const Tables &t, const Layer &y, uint32_t o, const float *w,
                        const float *g) {
  size_t cols = size_t(y.in) * y.taps, lane = threadIdx.x % LANES;
  if (o >= y.out) return;
  float sum = 0;
  w += y.weight + o * cols, g += y.weight + o * cols;
#pragma unroll 8
  for (size_t i = 0; i < cols / LANES; i++)
    sum = add(sum, mul(w[i * LANES + lane], g[i * LANES + lane]));
  t.part[y.part + size_t(o) * LANES + lane] = sum;
}

__global__ void __launch_bounds__(THREADS) sum_products(Tables t, const float *w, const float *g) {
  const tg_cuda_path_strip s = t.strip[blockIdx.x];
  const Layer &y = t.layer[s.layer];
  if (y.side > 0) sum_column(t, y, s.part, s.first + threadIdx.x, w, g);
  if (y.side < 0) sum_row(t, y, s.first + threadIdx.x / LANES, w, g);
}

/* Of weights over input units, tap by tap. */
__global__ void __launch_bounds__(THREADS) find_norms(Tables t, const float *w) {
  const tg_cuda_path_strip s = t.norm_strip[blockIdx.x];
  const Layer &y = t.layer[s.layer];
  uint32_t i = s.first + threadIdx.x, o = i / y.taps;
  if (o >= y.out) return;
  double sum = 0;
  w += y.weight + size_t(o) * y.in * y.taps + i % y.taps;
  for (size_t j = 0; j < y.in; j++) {
    double x = w[j * y.taps];
    sum = __dadd_rn(sum, __dmul_rn(x, x));
  }
  t.norm[y.norm + i] = __double2float_rn(__dsqrt_rn(sum));
}

/* ---- sums for reports ---- */

/* One block of threads, as in update.cu. */
__global__ void __launch_bounds__(THREADS)
    add_parts(const double *part, unsigned parts, double *sums, uint64_t *clamped) {
  for (int s = 0; s < SUMS; s++) {
    double sum = 0;
    for (unsigned i = threadIdx.x; i < parts; i += THREADS) sum += part[size_t(i) * SUMS + s];
    sum = block_sum(sum);
    if (threadIdx.x == 0 && s == SUMS - 1 && clamped) *clamped += uint64_t(sum);
    if (threadIdx.x == 0 && s < SUMS - 1 && sums) sums[s] += sum;
  }
}

} // namespace

void tg::path_take_out(const tg_cuda_launch *l, const Tables *t, const Vectors *v, float tiny,
                       int slots) {
  TG_LAUNCH(take_out, t->blocks, THREADS, l->stream, *t, *v, tiny, slots);
}

void tg::path_put_back(const tg_cuda_launch *l, const Tables *t, const Vectors *v, int slots) {
  TG_LAUNCH(put_back, t->blocks, THREADS, l->stream, *t, *v, slots);
}

void tg::path_find_norms(const tg_cuda_launch *l, const Tables *t, const float *w) {
  TG_LAUNCH(find_norms, t->norm_strips, THREADS, l->stream, *t, w);
}

void tg::path_add_parts(const tg_cuda_launch *l, const double *part, unsigned parts, double *sums,
                        uint64_t *clamped) {
  TG_LAUNCH(add_parts, 1, THREADS, l->stream, part, parts, sums, clamped);
}

extern "C" int tg_cuda_path_sums(const tg_cuda_launch *l, const tg_cuda_path_tables *t,
                                 const tg_cuda_path_args *a) {
  if (t->strips) TG_LAUNCH(sum_products, t->strips, THREADS, l->stream, *t, a->then, a->g);
  return launched();
}
