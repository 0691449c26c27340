/* bias.cu - biases behind convolutions and dense layers, with the ReLU behind them; compared with
 * the bias of dense and conv in tests/support/ref_ops.c. Declared in elementwise.h.
 *
 * Bound by memory: one pass, every byte once, neighbouring threads on neighbouring 16 bytes. Per
 * element, with |t| the bytes of y's type: bias 2 |t|, 1 or 2 FLOPs; its gradient |t|, or 2 |t|
 * with a ReLU's mask and 3 |t| if what it leaves is written, 1 FLOP. Partial sums are 8 bytes for
 * each part and channel.
 *
 * Gradients add float32 sums of 64 rows in double. */
#include "kernels/device.cuh"

namespace {

using namespace tg;

/* ---- [rows][channels] over blocks: a thread keeps to VEC columns, so that what belongs to a
 * column stays in its registers. The threads of a block cover `lanes` rows of `width` packs, which
 * is one stretch of memory where a row fits into a block. ---- */

struct Tiling {
  int64_t rows, channels;
  int packs, tiles, width, lanes, parts; /* tiles over a row's packs, parts over the rows */
};

int64_t divide_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

/* At least `least` rows a thread where there are as many, and at most `most` blocks unless one part
 * has more. */
Tiling tiling_of(int64_t rows, int64_t channels, int vec, int64_t least, int64_t most) {
  Tiling t = {rows, channels, int(channels / vec), 0, 0, 0, 0};
  t.tiles = int(divide_up(t.packs, THREADS));
  t.width = int(divide_up(t.packs, t.tiles));
  t.lanes = THREADS / t.width;
  int64_t wanted = divide_up(rows, t.lanes * least), room = most / t.tiles < 1 ? 1 : most / t.tiles;
  t.parts = int(wanted < 1 ? 1 : wanted < room ? wanted : room);
  return t;
}

/* A thread's place in a tiling. */
struct Place {
  int part, lane, pack;
  bool used; /* the last lane may be cut off, and the last tile */
  __device__ explicit Place(const Tiling &t) {
    part = int(blockIdx.x) / t.tiles;
    lane = int(threadIdx.x) / t.width;
    pack = int(blockIdx.x) % t.tiles * t.width + int(threadIdx.x) % t.width;
    used = lane < t.lanes && pack < t.packs;
  }
};

template <int VEC, class T>
__global__ void __launch_bounds__(THREADS)
    bias_forward(Tiling t, const float *bias, bool relu, T *y) {
  Place at(t);
  if (!at.used) return;
  float b[VEC], v[VEC];
  for (int k = 0; k < VEC; k++) b[k] = bias ? bias[size_t(at.pack) * VEC + k] : 0;
  int64_t step = int64_t(t.parts) * t.lanes;
  for (int64_t row = int64_t(at.part) * t.lanes + at.lane; row < t.rows; row += step) {
    T *here = y + row * t.channels + size_t(at.pack) * VEC;
    load(here, v);
#pragma unroll
    for (int k = 0; k < VEC; k++) v[k] += b[k];
    if (relu)
#pragma unroll
      for (int k = 0; k < VEC; k++) v[k] = v[k] <= 0 ? 0 : v[k]; /* NaN stays NaN */
    store(here, v);
  }
}

template <int VEC, class T>
int bias_rows(const tg_cuda_launch *l, int64_t rows, int64_t channels, const float *bias, bool relu,
              T *y) {
  Tiling t = tiling_of(rows, channels, VEC, 1, int64_t(l->processors) * 8);
  TG_LAUNCH((bias_forward<VEC, T>), unsigned(t.parts) * unsigned(t.tiles), THREADS, l->stream, t,
            bias, relu, y);
  return launched();
}

/* ---- the gradient of a bias: sums over rows ---- */

enum {
  LOADS_AT_ONCE = 4, /* in flight per thread */
  ROWS_IN_FLOAT = 64,
  ROWS_WORTH_A_PART = 16, /* per thread; fewer are not worth another block */
  BLOCKS_OF_SUMS = 512,   /* four for each processor of an H200; the same on every device, so that
                             sums are */
  COLUMNS_PER_BLOCK = 8   /* of the second pass: whole sectors of memory */
};

/* room[k][...]: sums over the lanes of a block, in a fixed tree, into lane 0's places. All threads
 * call it, each having written its own places and no other. */
template <int VEC>
__device__ __forceinline__ void add_lanes(double (&room)[VEC][THREADS], int lane, int lanes,
                                          int width) {
  int half = THREADS / 2, me = int(threadIdx.x);
  while (half >= lanes) half /= 2;
  for (; half > 0; half /= 2) {
    __syncthreads();
    if (lane >= half || lane + half >= lanes) continue;
#pragma unroll
    for (int k = 0; k < VEC; k++) room[k][me] += room[k][me + half * width];
  }
}

/* What the gradient of a bias is made of. */
template <class T> struct BiasGradient {
  const T *dy, *y; /* y and masked: only looked at where RELU */
  T *masked;
  double *partial; /* [parts][channels] */
  float *dbias;    /* written at once where there is one part */
};

/* VEC elements as they lie: taken apart when they arrive they would fill twice the registers. */
template <class T, int VEC> struct Raw { Pack<T, VEC> pack; };
template <> struct Raw<bf16, 8> { uint4 pack; };

template <class T, int VEC>
__device__ __forceinline__ void load_raw(const T *from, Raw<T, VEC> &raw) {
  memcpy(&raw, __builtin_assume_aligned(from, sizeof raw), sizeof raw);
}

template <class T, int VEC>
__device__ __forceinline__ void unpack(const Raw<T, VEC> &raw, float (&x)[VEC]) {
  Pack<T, VEC> pack;
  memcpy(&pack, &raw, sizeof pack);
#pragma unroll
  for (int k = 0; k < VEC; k++) x[k] = to_float(pack.item[k]);
}

/* AT_ONCE rows, `left` of which are there, `pitch` elements apart: masks, writes and adds. */
template <int AT_ONCE, int VEC, bool RELU, class T>
__device__ __forceinline__ void add_rows(const BiasGradient<T> &g, int64_t left, size_t first,
                                         size_t pitch, float (&sum)[VEC]) {
  Raw<T, VEC> d[AT_ONCE] = {}, y[AT_ONCE] = {}; /* what is not there counts as 0 */
#pragma unroll
  for (int j = 0; j < AT_ONCE; j++) {
    if (j < left) load_raw(g.dy + first + j * pitch, d[j]);
    if (RELU && j < left) load_raw(g.y + first + j * pitch, y[j]);
  }
#pragma unroll
  for (int j = 0; j < AT_ONCE; j++) {
    float x[VEC], v[VEC];
    unpack(d[j], x);
    if (RELU) unpack(y[j], v);
#pragma unroll
    for (int k = 0; k < VEC; k++) {
      if (RELU) x[k] = v[k] > 0 ? x[k] : 0;
      sum[k] += x[k];
    }
    if (RELU && g.masked && j < left) store(g.masked + first + j * pitch, x);
  }
}

template <int VEC, bool RELU, class T>
__global__ void __launch_bounds__(THREADS, 4) bias_sums(Tiling t, BiasGradient<T> g) {
  __shared__ double room[VEC][THREADS]; /* double is rarely touched: registers are for loads */
  constexpr int at_once = RELU ? LOADS_AT_ONCE / 2 : LOADS_AT_ONCE;
  Place at(t);
  int64_t step = int64_t(t.parts) * t.lanes, row = int64_t(at.part) * t.lanes + at.lane;
  int64_t left = at.used && row < t.rows ? (t.rows - row + step - 1) / step : 0;
  size_t column = size_t(at.pack) * VEC, first = row * t.channels + column;
  size_t pitch = step * t.channels;
  for (int k = 0; k < VEC; k++) room[k][threadIdx.x] = 0;
  while (left > 0) {
    float sum[VEC] = {};
#pragma unroll 1
    for (int i = 0; i < ROWS_IN_FLOAT && left > 0; i += at_once) {
      add_rows<at_once, VEC, RELU>(g, left, first, pitch, sum);
      left -= at_once;
      first += at_once * pitch;
    }
#pragma unroll
    for (int k = 0; k < VEC; k++) room[k][threadIdx.x] += sum[k];
  }
  add_lanes(room, at.lane, t.lanes, t.width);
  if (!at.used || at.lane > 0) return;
  for (int k = 0; k < VEC; k++) {
    double sum = room[k][threadIdx.x];
    if (t.parts == 1)
      g.dbias[column + k] = float(sum);
    else
      g.partial[size_t(at.part) * t.channels + column + k] = sum;
  }
}

__global__ void __launch_bounds__(THREADS)
    bias_total(int64_t channels, int parts, const double *partial, float *dbias) {
  __shared__ double room[1][THREADS];
  constexpr int lanes = THREADS / COLUMNS_PER_BLOCK;
  int lane = int(threadIdx.x) / COLUMNS_PER_BLOCK;
  int64_t column = int64_t(blockIdx.x) * COLUMNS_PER_BLOCK + threadIdx.x % COLUMNS_PER_BLOCK;
  double sum = 0;
  if (column < channels)
#pragma unroll 8
    for (int i = lane; i < parts; i += lanes) sum += partial[i * channels + column];
  room[0][threadIdx.x] = sum;
  add_lanes(room, lane, lanes, COLUMNS_PER_BLOCK);
  if (lane == 0 && column < channels) dbias[column] = float(room[0][threadIdx.x]);
}

Tiling tiling_of_sums(int64_t rows, int64_t channels, int vec) {
  return tiling_of(rows, channels, vec, ROWS_WORTH_A_PART, BLOCKS_OF_SUMS);
}

template <int VEC, class T>
int bias_gradient(const tg_cuda_launch *l, int64_t rows, int64_t channels,
                  const BiasGradient<T> &g) {
  Tiling t = tiling_of_sums(rows, channels, VEC);
  unsigned blocks = unsigned(t.parts) * unsigned(t.tiles);
  if (g.y)
    TG_LAUNCH((bias_sums<VEC, true, T>), blocks, THREADS, l->stream, t, g);
  else
    TG_LAUNCH((bias_sums<VEC, false, T>), blocks, THREADS, l->stream, t, g);
  if (t.parts > 1)
    TG_LAUNCH(bias_total, unsigned(divide_up(channels, COLUMNS_PER_BLOCK)), THREADS, l->stream,
              channels, t.parts, g.partial, g.dbias);
  return launched();
}

} // namespace

/* ---- launchers ---- */

extern "C" int tg_cuda_bias(const tg_cuda_launch *l, tg_dtype dtype, int64_t rows, int64_t channels,
                            const float *bias, bool relu, void *y) {
  TG_BY_TYPE(dtype, T, {
    constexpr int wide = 16 / sizeof(T);
    T *at = static_cast<T *>(y);
    if (channels % wide == 0 && aligned(at, 16))
      return bias_rows<wide>(l, rows, channels, bias, relu, at);
    return bias_rows<1>(l, rows, channels, bias, relu, at);
  });
}

extern "C" size_t tg_cuda_bias_bytes(int64_t rows, int64_t channels) {
  int parts = 0;
  for (int vec = 1; vec <= 8; vec *= 2) {
    if (channels % vec != 0) break;
    Tiling t = tiling_of_sums(rows, channels, vec);
    if (t.parts > parts) parts = t.parts;
  }
  return size_t(parts) * size_t(channels) * sizeof(double);
}

extern "C" int tg_cuda_bias_backward(const tg_cuda_launch *l, tg_dtype dtype, int64_t rows,
                                     int64_t channels, const void *dy, const void *y, void *masked,
                                     float *dbias, void *scratch) {
  TG_BY_TYPE(dtype, T, {
    constexpr int wide = 16 / sizeof(T);
    BiasGradient<T> g = {static_cast<const T *>(dy), static_cast<const T *>(y),
                         static_cast<T *>(masked), static_cast<double *>(scratch), dbias};
    if (channels % wide == 0 && aligned(g.dy, 16) && aligned(g.y, 16) && aligned(g.masked, 16))
      return bias_gradient<wide>(l, rows, channels, g);
    return bias_gradient<1>(l, rows, channels, g);
  });
}
