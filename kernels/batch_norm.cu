/* batch_norm.cu - y = relu(norm(x) + addend) over matrices [rows][channels], and its gradients
 * (Ioffe & Szegedy, ICML 2015, section 3). Compared with ref_batch_norm (tests/support/ref_ops.c)
 * and with src/backend/cpu_norm.c, whose semantics these are: what is rounded, and that NaN passes
 * the ReLU.
 *
 * Per element, X and Y being the bytes of x's and y's types:
 *   moments          reads X                                                   3 FLOPs
 *   normalise        reads X (+ Y addend), writes Y                            3 to 5
 *   gradient_sums    reads X + Y (+ Y dy_too, + Y y_was), writes (Y d_addend)  4 to 8
 *   input_gradient   reads X + Y (+ Y dy_too, + Y y_was: not if d_addend is
 *                    there, which is read in place of them), writes X          5 to 9
 * finish_* and set_params read and write some numbers a channel. So training in bf16 moves 6 bytes
 * an element forward and 10 backward; with an addend and a ReLU 8 and 14. All is bound by memory,
 * and for small matrices by the six launches.
 *
 * Access: channels.cuh. A thread keeps the parameters of its channels in registers, and has several
 * rows' loads in flight. Sums: float32 down a thread's rows, at most 256, then double. A thread's
 * moments are of x - k, k the first number it meets: so that nothing cancels in float32, wherever
 * the mean lies; in double they become moments of x, which lose (mean / deviation)^2 of 2^-53. */
#include "kernels/channels.cuh"

namespace {
using namespace tg;

/* Rows of `params`, by channel; the first three are what normalises. In scratch: BY_X and PLUS. */
enum { MEAN, SCALE, SHIFT, DEVIATION, PARAMS };
enum { BY_X, PLUS, FACTORS };

/* Channels of one block of the finish_* kernels; the block's other dimension is chunks. */
enum { FINISHED = 8 };

__host__ __device__ inline int64_t padded(int64_t channels) {
  return (channels + 63) / 64 * 64;
}

template <int VEC>
__device__ __forceinline__ void load_param(const float *params, int which, const Tiles &t,
                                           const Part &p, float (&to)[VEC]) {
  load(params + which * padded(t.channels) + (p.there ? p.channel : 0), to);
}

__device__ __forceinline__ float normal(float x, float mean, float scale, float shift) {
  return __fmaf_rn(x - mean, scale, shift);
}

/* Where ReLU lets through; NaN passes, so that divergence is seen. */
__device__ __forceinline__ bool is_open(float v) {
  return !(v <= 0.0f);
}

/* ---- sums of a channel: [chunk][2][channels] in scratch ---- */

template <int VEC>
__device__ __forceinline__ void write_sums(const Tiles &t, const Part &p, double (&sum)[2 * VEC],
                                           double *sums) {
  add_down(t, p, sum);
  if (p.down != 0 || !p.there) return;
  double *to = sums + 2 * p.chunk * t.channels + p.channel;
#pragma unroll
  for (int v = 0; v < VEC; v++) {
    to[v] = sum[v];
    to[t.channels + v] = sum[VEC + v];
  }
}

/* The block's channel of this thread, or -1, and its two sums over all chunks: valid in the first
 * FINISHED threads. Chunk c goes to thread row c % 32, and rows are added in order. */
__device__ __forceinline__ int64_t read_sums(const double *sums, unsigned chunks, int64_t channels,
                                             double (&sum)[2]) {
  __shared__ double part[2][THREADS / WARP][FINISHED];
  int64_t channel = int64_t(blockIdx.x) * FINISHED + threadIdx.x % FINISHED;
  sum[0] = sum[1] = 0;
  if (channel < channels)
    for (unsigned c = threadIdx.x / FINISHED; c < chunks; c += THREADS / FINISHED)
      for (int i = 0; i < 2; i++) sum[i] += sums[(2 * int64_t(c) + i) * channels + channel];
  for (int i = 0; i < 2; i++) {
    for (int step = WARP / 2; step >= FINISHED; step /= 2)
      sum[i] += __shfl_down_sync(0xffffffffu, sum[i], step);
    if (threadIdx.x % WARP < FINISHED) part[i][threadIdx.x / WARP][threadIdx.x % FINISHED] = sum[i];
  }
  __syncthreads();
  if (threadIdx.x >= FINISHED || channel >= channels) return -1;
  for (int i = 0; i < 2; i++) {
    sum[i] = 0;
    for (int w = 0; w < THREADS / WARP; w++) sum[i] += part[i][w][threadIdx.x];
  }
  return channel;
}

/* ---- forward ---- */

/* Sums of x - k and (x - k)^2. */
template <typename X, int VEC> struct Moments {
  const X *x;
  float k[VEC], first[VEC], second[VEC];

  template <int U> __device__ __forceinline__ void rows(int64_t at, int64_t stride) {
    Rows<X, VEC, U> in;
    in.read(x, at, stride);
#pragma unroll
    for (int u = 0; u < U; u++)
#pragma unroll
      for (int v = 0; v < VEC; v++) {
        float d = in.at(u, v) - k[v];
        first[v] += d;
        second[v] += d * d;
      }
  }
};

template <typename X, int VEC>
__global__ void __launch_bounds__(THREADS) moments(Tiles t, const X *x, double *sums) {
  const Part p = part_of<VEC>(t);
  Moments<X, VEC> m = {x, {}, {}, {}};
  if (p.row < p.end) load(x + p.row * t.channels + p.channel, m.k);
  walk<4>(t, p, m);
  const double n = double(rows_of(t, p));
  double sum[2 * VEC];
#pragma unroll
  for (int v = 0; v < VEC; v++) {
    double k = m.k[v], s = m.first[v];
    sum[v] = s + n * k;
    sum[VEC + v] = m.second[v] + k * (2 * s + n * k);
  }
  write_sums<VEC>(t, p, sum, sums);
}

struct Channels {
  int64_t count;
  const float *gamma, *beta;
  float epsilon, *params;
};

__device__ __forceinline__ void set_normal(const Channels &c, int64_t i, float mean,
                                           float deviation) {
  const int64_t row = padded(c.count);
  c.params[MEAN * row + i] = mean;
  c.params[SCALE * row + i] = c.gamma[i] * deviation;
  c.params[SHIFT * row + i] = c.beta[i];
  c.params[DEVIATION * row + i] = deviation;
}

__global__ void __launch_bounds__(THREADS)
    finish_moments(Channels c, const double *sums, unsigned chunks, double count, float *mean_to,
                   float *variance_to) {
  double sum[2];
  int64_t i = read_sums(sums, chunks, c.count, sum);
  if (i < 0) return;
  double mean = sum[0] / count, variance = sum[1] / count - mean * mean;
  if (variance < 0) variance = 0;
  set_normal(c, i, float(mean), float(1 / sqrt(variance + double(c.epsilon))));
  if (mean_to) mean_to[i] = float(mean);
  if (variance_to) variance_to[i] = float(variance * (count / (count - 1)));
}

/* Evaluation. */
__global__ void __launch_bounds__(THREADS)
    set_params(Channels c, const float *mean, const float *variance) {
  TG_FOR(i, size_t(c.count))
  set_normal(c, int64_t(i), mean[i], 1.0f / sqrtf(variance[i] + c.epsilon));
}

template <typename X, typename Y, int VEC> struct Normalise {
  const X *x;
  const Y *addend;
  Y *y;
  bool relu;
  float mean[VEC], scale[VEC], shift[VEC];

  template <int U> __device__ __forceinline__ void rows(int64_t at, int64_t stride) {
    Rows<X, VEC, U> in;
    Rows<Y, VEC, U> more = {};
    in.read(x, at, stride);
    if (addend) more.read(addend, at, stride);
#pragma unroll
    for (int u = 0; u < U; u++) {
      float out[VEC];
#pragma unroll
      for (int v = 0; v < VEC; v++) {
        float value = normal(in.at(u, v), mean[v], scale[v], shift[v]);
        if (addend) value += more.at(u, v);
        out[v] = !relu || is_open(value) ? value : 0.0f;
      }
      store(y + at + u * stride, out);
    }
  }
};

template <typename X, typename Y, int VEC>
__global__ void __launch_bounds__(THREADS, 2)
    normalise(Tiles t, const float *params, const X *x, const Y *addend, bool relu, Y *y) {
  const Part p = part_of<VEC>(t);
  Normalise<X, Y, VEC> n = {x, addend, y, relu, {}, {}, {}};
  load_param(params, MEAN, t, p, n.mean);
  load_param(params, SCALE, t, p, n.scale);
  load_param(params, SHIFT, t, p, n.shift);
  walk<4>(t, p, n);
}

/* ---- backward ---- */

template <typename X, typename Y> struct Given {
  const X *x;
  const Y *dy, *dy_too, *y_was;
  bool relu;
};

/* U rows of x, and of the gradient behind the ReLU. dy + dy_too is rounded as if it had been
 * stored. */
template <typename X, typename Y, int VEC, int U> struct Gradient {
  Rows<X, VEC, U> x;
  Rows<Y, VEC, U> dy, too, y;

  __device__ __forceinline__ void read(const Given<X, Y> &g, int64_t at, int64_t stride) {
    x.read(g.x, at, stride);
    dy.read(g.dy, at, stride);
    if (g.dy_too) too.read(g.dy_too, at, stride);
    if (g.y_was) y.read(g.y_was, at, stride);
  }

  __device__ __forceinline__ float at(const Given<X, Y> &given, int u, int v, float mean,
                                      float scale, float shift) const {
    float g = dy.at(u, v);
    if (given.dy_too) g = to_float(from_float<Y>(g + too.at(u, v)));
    if (given.y_was) return is_open(y.at(u, v)) ? g : 0.0f;
    if (given.relu) return is_open(normal(x.at(u, v), mean, scale, shift)) ? g : 0.0f;
    return g;
  }
};

/* Sums of g and g (x - mean); the addend's gradient is g. */
template <typename X, typename Y, int VEC> struct GradientSums {
  Given<X, Y> given;
  Y *d_addend;
  float mean[VEC], scale[VEC], shift[VEC], first[VEC], second[VEC];

  template <int U> __device__ __forceinline__ void rows(int64_t at, int64_t stride) {
    Gradient<X, Y, VEC, U> in = {};
    in.read(given, at, stride);
#pragma unroll
    for (int u = 0; u < U; u++) {
      float g[VEC];
#pragma unroll
      for (int v = 0; v < VEC; v++) {
        g[v] = in.at(given, u, v, mean[v], scale[v], shift[v]);
        first[v] += g[v];
        second[v] += g[v] * (in.x.at(u, v) - mean[v]);
      }
      if (d_addend) store(d_addend + at + u * stride, g);
    }
  }
};

template <typename X, typename Y, int VEC>
__global__ void __launch_bounds__(THREADS, 2)
    gradient_sums(Tiles t, const float *params, Given<X, Y> given, Y *d_addend, double *sums) {
  const Part p = part_of<VEC>(t);
  GradientSums<X, Y, VEC> s = {given, d_addend, {}, {}, {}, {}, {}};
  load_param(params, MEAN, t, p, s.mean);
  load_param(params, SCALE, t, p, s.scale);
  load_param(params, SHIFT, t, p, s.shift);
  walk<2>(t, p, s);
  double sum[2 * VEC];
#pragma unroll
  for (int v = 0; v < VEC; v++) {
    sum[v] = s.first[v];
    sum[VEC + v] = s.second[v];
  }
  write_sums<VEC>(t, p, sum, sums);
}

/* dx = scale g + by_x (x - mean) + plus. */
__global__ void __launch_bounds__(THREADS)
    finish_gradients(Channels c, const double *sums, unsigned chunks, double count, float *factors,
                     float *dgamma, float *dbeta) {
  double sum[2];
  int64_t i = read_sums(sums, chunks, c.count, sum), row = padded(c.count);
  if (i < 0) return;
  double deviation = c.params[DEVIATION * row + i], scale = double(c.gamma[i]) * deviation;
  dgamma[i] = float(sum[1] * deviation);
  dbeta[i] = float(sum[0]);
  factors[BY_X * row + i] = float(-scale * deviation * deviation * sum[1] / count);
  factors[PLUS * row + i] = float(-scale * sum[0] / count);
}

template <typename X, typename Y, int VEC> struct InputGradient {
  Given<X, Y> given;
  X *dx;
  float mean[VEC], scale[VEC], shift[VEC], by_x[VEC], plus[VEC];

  template <int U> __device__ __forceinline__ void rows(int64_t at, int64_t stride) {
    Gradient<X, Y, VEC, U> in = {};
    in.read(given, at, stride);
#pragma unroll
    for (int u = 0; u < U; u++) {
      float out[VEC];
#pragma unroll
      for (int v = 0; v < VEC; v++) {
        float g = in.at(given, u, v, mean[v], scale[v], shift[v]);
        out[v] = scale[v] * g + (by_x[v] * (in.x.at(u, v) - mean[v]) + plus[v]);
      }
      store(dx + at + u * stride, out);
    }
  }
};

template <typename X, typename Y, int VEC>
__global__ void __launch_bounds__(THREADS, 2)
    input_gradient(Tiles t, const float *params, const float *factors, Given<X, Y> given, X *dx) {
  const Part p = part_of<VEC>(t);
  InputGradient<X, Y, VEC> s = {given, dx, {}, {}, {}, {}, {}};
  load_param(params, MEAN, t, p, s.mean);
  load_param(params, SCALE, t, p, s.scale);
  load_param(params, SHIFT, t, p, s.shift);
  load_param(factors, BY_X, t, p, s.by_x);
  load_param(factors, PLUS, t, p, s.plus);
  walk<2>(t, p, s);
}

/* ---- launches ---- */

/* Sums: one wave of blocks or so, because every chunk costs the kernel that finishes. At most 256
 * rows a thread: squares of bfloat16 numbers have low bits that round down more often than up, and
 * over 1024 of them the variance loses 5e-6 of itself, over 256 1e-6. */
Tiles tiles_of_sums(const tg_cuda_launch *l, int64_t rows, int64_t channels, int vec) {
  return tiles_of(1, rows, channels, vec, int64_t(l->processors) * 4, 8, 256);
}
/* Elementwise: enough blocks that the last wave is short, rows enough to pay for the parameters. */
Tiles tiles_of_elements(const tg_cuda_launch *l, int64_t rows, int64_t channels, int vec) {
  return tiles_of(1, rows, channels, vec, int64_t(l->processors) * 16, 8, 0);
}
unsigned blocks_of(const Tiles &t) {
  return t.tiles * t.chunks;
}
unsigned blocks_that_finish(int64_t channels) {
  return unsigned((channels + FINISHED - 1) / FINISHED);
}

size_t factors_bytes(int64_t channels) {
  return FACTORS * size_t(padded(channels)) * sizeof(float);
}
float *factors_of(const tg_cuda_batch_norm *a) {
  return static_cast<float *>(a->scratch);
}
double *sums_of(const tg_cuda_batch_norm *a) {
  return reinterpret_cast<double *>(static_cast<char *>(a->scratch) + factors_bytes(a->channels));
}

Channels channels_of(const tg_cuda_batch_norm *a) {
  return {a->channels, a->gamma, a->beta, a->epsilon, a->params};
}

template <typename X, int VEC>
int launch_statistics(const tg_cuda_launch *l, const tg_cuda_batch_norm *a) {
  if (a->running[0]) {
    TG_LAUNCH(set_params, blocks_for(l, size_t(a->channels)), THREADS, l->stream, channels_of(a),
              a->running[0], a->running[1]);
    return launched();
  }
  const Tiles t = tiles_of_sums(l, a->rows, a->channels, VEC);
  TG_LAUNCH((moments<X, VEC>), blocks_of(t), THREADS, l->stream, t, static_cast<const X *>(a->x),
            sums_of(a));
  int error = launched();
  if (error) return error;
  TG_LAUNCH(finish_moments, blocks_that_finish(a->channels), THREADS, l->stream, channels_of(a),
            sums_of(a), t.chunks, double(a->rows), a->batch_stat[0], a->batch_stat[1]);
  return launched();
}

template <typename X, typename Y, int VEC>
int launch_forward(const tg_cuda_launch *l, const tg_cuda_batch_norm *a) {
  int error = launch_statistics<X, VEC>(l, a);
  if (error) return error;
  const Tiles t = tiles_of_elements(l, a->rows, a->channels, VEC);
  TG_LAUNCH((normalise<X, Y, VEC>), blocks_of(t), THREADS, l->stream, t, a->params,
            static_cast<const X *>(a->x), static_cast<const Y *>(a->addend), a->relu,
            static_cast<Y *>(a->y));
  return launched();
}

template <typename X, typename Y, int VEC>
int launch_backward(const tg_cuda_launch *l, const tg_cuda_batch_norm *a) {
  Given<X, Y> given = {static_cast<const X *>(a->x), static_cast<const Y *>(a->dy),
                       static_cast<const Y *>(a->dy_too), static_cast<const Y *>(a->y_was),
                       a->relu};
  Y *d_addend = static_cast<Y *>(a->d_addend);
  Tiles t = tiles_of_sums(l, a->rows, a->channels, VEC);
  TG_LAUNCH((gradient_sums<X, Y, VEC>), blocks_of(t), THREADS, l->stream, t, a->params, given,
            d_addend, sums_of(a));
  int error = launched();
  if (error) return error;
  TG_LAUNCH(finish_gradients, blocks_that_finish(a->channels), THREADS, l->stream, channels_of(a),
            sums_of(a), t.chunks, double(a->rows), factors_of(a), a->dgamma, a->dbeta);
  error = launched();
  if (error || !a->dx) return error;
  if (d_addend) given = {given.x, d_addend, nullptr, nullptr, false};
  t = tiles_of_elements(l, a->rows, a->channels, VEC);
  TG_LAUNCH((input_gradient<X, Y, VEC>), blocks_of(t), THREADS, l->stream, t, a->params,
            factors_of(a), given, static_cast<X *>(a->dx));
  return launched();
}

/* Whether every matrix can be read in packs of VEC channels. */
template <typename X, typename Y, int VEC> bool in_packs(const tg_cuda_batch_norm *a) {
  const void *x[] = {a->x, a->dx};
  const void *y[] = {a->addend, a->dy, a->dy_too, a->y_was, a->y, a->d_addend};
  bool packs = a->channels % VEC == 0;
  for (const void *p : x) packs = packs && aligned(p, VEC * sizeof(X));
  for (const void *p : y) packs = packs && aligned(p, VEC * sizeof(Y));
  return packs;
}

template <typename X, typename Y>
int launch(const tg_cuda_launch *l, const tg_cuda_batch_norm *a, bool backward) {
  constexpr int VEC = 16 / (sizeof(X) > sizeof(Y) ? sizeof(X) : sizeof(Y));
  if (in_packs<X, Y, VEC>(a))
    return backward ? launch_backward<X, Y, VEC>(l, a) : launch_forward<X, Y, VEC>(l, a);
  return backward ? launch_backward<X, Y, 1>(l, a) : launch_forward<X, Y, 1>(l, a);
}

} // namespace

size_t tg_cuda_batch_norm_params(int64_t channels) {
  return PARAMS * size_t(padded(channels)) * sizeof(float);
}

size_t tg_cuda_batch_norm_scratch(const tg_cuda_launch *l, int64_t rows, int64_t channels) {
  size_t most = 0;
  for (int vec : {1, 4, 8}) {
    if (channels % vec != 0) continue;
    size_t chunks = tiles_of_sums(l, rows, channels, vec).chunks;
    if (chunks > most) most = chunks;
  }
  return factors_bytes(channels) + most * 2 * size_t(channels) * sizeof(double);
}

int tg_cuda_batch_norm_forward(const tg_cuda_launch *l, const tg_cuda_batch_norm *a) {
  TG_BY_TYPE(a->x_type, X, TG_BY_TYPE(a->y_type, Y, return launch<X, Y>(l, a, false)));
}

int tg_cuda_batch_norm_backward(const tg_cuda_launch *l, const tg_cuda_batch_norm *a) {
  TG_BY_TYPE(a->x_type, X, TG_BY_TYPE(a->y_type, Y, return launch<X, Y>(l, a, true)));
}
