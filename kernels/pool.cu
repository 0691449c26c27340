/* pool.cu - maximum and average over windows of 1 to 3 dimensions, and the average over all of
 * space, of values [batch][space][channels]. Compared with ref_pool (tests/support/ref_ops.c) and
 * with src/backend/cpu_pool.c.
 *
 * A thread computes VEC channels (16 bytes) of one point; its neighbours have the channels beside
 * them, so that all accesses are whole and contiguous. Windows that overlap are read again from the
 * caches. Backward gathers: an element of dx looks at the windows that cover it, in order, so that
 * nothing is added twice at once.
 *
 * Bytes, X and Y being the sizes of the types of x and y, P (1, or 4 for windows of more than 256)
 * that of a place, V the points of a window, S its stride in all dimensions together:
 *   max_forward      X per element of x; Y + P per element of y        V FLOPs per element of y
 *   max_backward     X per element of x, Y + P per element of y        V / S per element of x
 *   average_*        the same without P                                the same
 *   global_forward   X per element of x                                1 per element of x
 *   global_backward  X per element of x                                none
 * Sums are float32 over a window (backward: over V / S), rounded once; over all of space float32
 * over 1024 elements of a thread at most, then double. */
#include "kernels/channels.cuh"

namespace {
using namespace tg;

/* A point of one of the two spaces, and VEC channels there. */
struct Point {
  int64_t batch, channel;
  int at[3];
};

/* *i / size; what is left stays in *i. In 32 bits where that is enough, which takes a quarter of
 * the time. */
__device__ __forceinline__ int64_t split(size_t *i, size_t size) {
  size_t rest;
  if (*i <= 0xffffffffu && size <= 0xffffffffu) {
    rest = unsigned(*i) % unsigned(size);
    *i = unsigned(*i) / unsigned(size);
  } else {
    rest = *i % size;
    *i /= size;
  }
  return int64_t(rest);
}

template <int VEC>
__device__ __forceinline__ Point point_of(size_t i, int64_t channels, const int (&space)[3]) {
  Point p;
  p.channel = split(&i, size_t(channels / VEC)) * VEC;
#pragma unroll
  for (int d = 2; d >= 0; d--) p.at[d] = int(split(&i, size_t(space[d])));
  p.batch = int64_t(i);
  return p;
}

/* Calls f(element of x, place in the window) for the points of x in the window of y's point p. */
template <typename F>
__device__ __forceinline__ void each_in_window(const tg_cuda_window &w, const Point &p, F f) {
  int start[3], first[3], end[3];
#pragma unroll
  for (int d = 0; d < 3; d++) {
    start[d] = p.at[d] * w.stride[d] - w.pad[d];
    first[d] = start[d] > 0 ? start[d] : 0;
    end[d] = start[d] + w.kernel[d] < w.in[d] ? start[d] + w.kernel[d] : w.in[d];
  }
  for (int a = first[0]; a < end[0]; a++)
    for (int b = first[1]; b < end[1]; b++) {
      int64_t line = ((p.batch * w.in[0] + a) * w.in[1] + b) * w.in[2];
      int place = ((a - start[0]) * w.kernel[1] + b - start[1]) * w.kernel[2] - start[2];
      for (int c = first[2]; c < end[2]; c++) f((line + c) * w.channels + p.channel, place + c);
    }
}

/* Calls f(element of y, place in its window) for the windows that cover x's point p. */
template <typename F>
__device__ __forceinline__ void each_window(const tg_cuda_window &w, const Point &p, F f) {
  int at[3], first[3], last[3];
#pragma unroll
  for (int d = 0; d < 3; d++) {
    at[d] = p.at[d] + w.pad[d];
    first[d] = at[d] < w.kernel[d] ? 0 : (at[d] - w.kernel[d]) / w.stride[d] + 1;
    last[d] = at[d] / w.stride[d] < w.out[d] ? at[d] / w.stride[d] : w.out[d] - 1;
  }
  for (int a = first[0]; a <= last[0]; a++)
    for (int b = first[1]; b <= last[1]; b++) {
      int64_t line = ((p.batch * w.out[0] + a) * w.out[1] + b) * w.out[2];
      int row = ((at[0] - a * w.stride[0]) * w.kernel[1] + at[1] - b * w.stride[1]) * w.kernel[2];
      for (int c = first[2]; c <= last[2]; c++)
        f((line + c) * w.channels + p.channel, row + at[2] - c * w.stride[2]);
    }
}

__host__ __device__ inline int64_t points(const int (&space)[3]) {
  return int64_t(space[0]) * space[1] * space[2];
}
/* Threads' worth of work. */
__host__ __device__ inline size_t packs_of(const tg_cuda_window &w, const int (&space)[3],
                                           int vec) {
  return size_t(w.batch) * size_t(points(space)) * size_t(w.channels / vec);
}

/* ---- maximum ---- */

template <typename X, typename Y, int VEC, typename P>
__global__ void __launch_bounds__(THREADS)
    max_forward(tg_cuda_window w, const X *x, Y *y, P *places) {
  const size_t n = packs_of(w, w.out, VEC);
  TG_FOR(i, n) {
    float best[VEC] = {};
    int place[VEC] = {};
    bool first = true;
    each_in_window(w, point_of<VEC>(i, w.channels, w.out), [&](int64_t from, int here) {
      float value[VEC];
      load(x + from, value);
#pragma unroll
      for (int v = 0; v < VEC; v++)
        if (first || value[v] > best[v] || isnan(value[v])) {
          best[v] = value[v];
          place[v] = here;
        }
      first = false;
    });
    store(y + i * VEC, best);
    if (!places) continue;
    Pack<P, VEC> pack;
#pragma unroll
    for (int v = 0; v < VEC; v++) pack.item[v] = P(place[v]);
    store(places + i * VEC, pack);
  }
}

template <typename X, typename Y, int VEC, typename P>
__global__ void __launch_bounds__(THREADS)
    max_backward(tg_cuda_window w, const Y *dy, const P *places, X *dx) {
  const size_t n = packs_of(w, w.in, VEC);
  TG_FOR(i, n) {
    float sum[VEC] = {};
    each_window(w, point_of<VEC>(i, w.channels, w.in), [&](int64_t from, int here) {
      Pack<P, VEC> pack = *reinterpret_cast<const Pack<P, VEC> *>(places + from);
      float g[VEC];
      load(dy + from, g);
#pragma unroll
      for (int v = 0; v < VEC; v++)
        if (int(pack.item[v]) == here) sum[v] += g[v];
    });
    store(dx + i * VEC, sum);
  }
}

/* ---- average ---- */

template <int VEC>
__device__ __forceinline__ void divide(float (&sum)[VEC], const tg_cuda_window &w) {
  const float count = float(points(w.kernel));
#pragma unroll
  for (int v = 0; v < VEC; v++) sum[v] /= count;
}

template <int VEC> __device__ __forceinline__ void add(float (&sum)[VEC], const float (&x)[VEC]) {
#pragma unroll
  for (int v = 0; v < VEC; v++) sum[v] += x[v];
}

template <typename X, typename Y, int VEC>
__global__ void __launch_bounds__(THREADS) average_forward(tg_cuda_window w, const X *x, Y *y) {
  const size_t n = packs_of(w, w.out, VEC);
  TG_FOR(i, n) {
    float sum[VEC] = {};
    each_in_window(w, point_of<VEC>(i, w.channels, w.out), [&](int64_t from, int) {
      float value[VEC];
      load(x + from, value);
      add(sum, value);
    });
    divide(sum, w);
    store(y + i * VEC, sum);
  }
}

template <typename X, typename Y, int VEC>
__global__ void __launch_bounds__(THREADS) average_backward(tg_cuda_window w, const Y *dy, X *dx) {
  const size_t n = packs_of(w, w.in, VEC);
  TG_FOR(i, n) {
    float sum[VEC] = {};
    each_window(w, point_of<VEC>(i, w.channels, w.in), [&](int64_t from, int) {
      float g[VEC];
      load(dy + from, g);
      add(sum, g);
    });
    divide(sum, w);
    store(dx + i * VEC, sum);
  }
}

/* ---- average over all of space: the rows of a matrix per sample ---- */

template <typename X, typename Y, int VEC>
__global__ void __launch_bounds__(THREADS) global_forward(Tiles t, const X *x, Y *y) {
  const Part p = part_of<VEC>(t);
  const int64_t far = 1024 * int64_t(t.down);
  double sum[VEC] = {};
  x += p.matrix * t.rows * t.channels + p.channel;
  for (int64_t from = p.row; from < p.end; from += far) {
    const int64_t to = from + far < p.end ? from + far : p.end;
    float part[VEC] = {};
#pragma unroll 4
    for (int64_t row = from; row < to; row += t.down) {
      float value[VEC];
      load(x + row * t.channels, value);
      add(part, value);
    }
#pragma unroll
    for (int v = 0; v < VEC; v++) sum[v] += part[v];
  }
  add_down(t, p, sum);
  if (p.down != 0 || !p.there) return;
  float mean[VEC];
#pragma unroll
  for (int v = 0; v < VEC; v++) mean[v] = float(sum[v] / double(t.rows));
  store(y + p.matrix * t.channels + p.channel, mean);
}

template <typename X, typename Y, int VEC>
__global__ void __launch_bounds__(THREADS) global_backward(Tiles t, const Y *dy, X *dx) {
  const Part p = part_of<VEC>(t);
  if (!p.there) return;
  float g[VEC];
  load(dy + p.matrix * t.channels + p.channel, g);
#pragma unroll
  for (int v = 0; v < VEC; v++) g[v] /= float(t.rows);
  dx += p.matrix * t.rows * t.channels + p.channel;
  for (int64_t row = p.row; row < p.end; row += t.down) store(dx + row * t.channels, g);
}

/* ---- launches ---- */

/* Channels of one access. */
template <typename X, typename Y> constexpr int pack_width() {
  return 16 / int(sizeof(X) > sizeof(Y) ? sizeof(X) : sizeof(Y));
}
template <typename X, typename Y> bool in_packs(int64_t channels, const void *x, const void *y) {
  constexpr int VEC = pack_width<X, Y>();
  return channels % VEC == 0 && aligned(x, VEC * sizeof(X)) && aligned(y, VEC * sizeof(Y));
}

bool small_places(const tg_cuda_window *w) {
  return points(w->kernel) <= 256;
}

/* Of a max pooling; forward gives x and y and backward dx and dy. */
struct MaxPool {
  const tg_cuda_launch *l;
  const tg_cuda_window *w;
  const void *x, *dy;
  void *y, *dx, *places;
};

template <typename X, typename Y, int VEC, typename P> int launch_max(const MaxPool &m) {
  P *places = static_cast<P *>(m.places);
  size_t n = packs_of(*m.w, m.dx ? m.w->in : m.w->out, VEC);
  if (m.dx)
    TG_LAUNCH((max_backward<X, Y, VEC, P>), blocks_for(m.l, n), THREADS, m.l->stream, *m.w,
              static_cast<const Y *>(m.dy), places, static_cast<X *>(m.dx));
  else
    TG_LAUNCH((max_forward<X, Y, VEC, P>), blocks_for(m.l, n), THREADS, m.l->stream, *m.w,
              static_cast<const X *>(m.x), static_cast<Y *>(m.y), places);
  return launched();
}

/* Large windows are rare, and take the path for anything. */
template <typename X, typename Y> int launch_max_by_width(const MaxPool &m) {
  const void *x = m.dx ? m.dx : m.x, *y = m.dx ? m.dy : m.y;
  if (!small_places(m.w)) return launch_max<X, Y, 1, int32_t>(m);
  if (in_packs<X, Y>(m.w->channels, x, y)) return launch_max<X, Y, pack_width<X, Y>(), uint8_t>(m);
  return launch_max<X, Y, 1, uint8_t>(m);
}

template <typename X, typename Y, int VEC>
int launch_average(const tg_cuda_launch *l, const tg_cuda_window *w, const void *from, void *to,
                   bool backward) {
  unsigned blocks = blocks_for(l, packs_of(*w, backward ? w->in : w->out, VEC));
  if (backward)
    TG_LAUNCH((average_backward<X, Y, VEC>), blocks, THREADS, l->stream, *w,
              static_cast<const Y *>(from), static_cast<X *>(to));
  else
    TG_LAUNCH((average_forward<X, Y, VEC>), blocks, THREADS, l->stream, *w,
              static_cast<const X *>(from), static_cast<Y *>(to));
  return launched();
}

template <typename X, typename Y>
int launch_average_by_width(const tg_cuda_launch *l, const tg_cuda_window *w, const void *from,
                            void *to, bool backward) {
  constexpr int VEC = pack_width<X, Y>();
  if (in_packs<X, Y>(w->channels, backward ? to : from, backward ? from : to))
    return launch_average<X, Y, VEC>(l, w, from, to, backward);
  return launch_average<X, Y, 1>(l, w, from, to, backward);
}

struct Global {
  const tg_cuda_launch *l;
  int64_t batch, points, channels;
  const void *from;
  void *to;
};

template <typename X, typename Y, int VEC> int launch_global(const Global &g, bool backward) {
  /* Forward one block sums all rows of its channels; backward there is nothing to sum. */
  int64_t blocks = backward ? int64_t(g.l->processors) * 16 : 0;
  const Tiles t = tiles_of(g.batch, g.points, g.channels, VEC, blocks, 4, 0);
  const unsigned grid = unsigned(g.batch * t.tiles * t.chunks);
  if (backward)
    TG_LAUNCH((global_backward<X, Y, VEC>), grid, THREADS, g.l->stream, t,
              static_cast<const Y *>(g.from), static_cast<X *>(g.to));
  else
    TG_LAUNCH((global_forward<X, Y, VEC>), grid, THREADS, g.l->stream, t,
              static_cast<const X *>(g.from), static_cast<Y *>(g.to));
  return launched();
}

template <typename X, typename Y> int launch_global_by_width(const Global &g, bool backward) {
  constexpr int VEC = pack_width<X, Y>();
  if (in_packs<X, Y>(g.channels, backward ? g.to : g.from, backward ? g.from : g.to))
    return launch_global<X, Y, VEC>(g, backward);
  return launch_global<X, Y, 1>(g, backward);
}

} // namespace

#define BY_TYPES(...) TG_BY_TYPE(x_type, X, TG_BY_TYPE(y_type, Y, __VA_ARGS__))

size_t tg_cuda_pool_places(const tg_cuda_window *w) {
  size_t n = size_t(w->batch) * size_t(points(w->out)) * size_t(w->channels);
  return n * (small_places(w) ? sizeof(uint8_t) : sizeof(int32_t));
}

int tg_cuda_pool_max_forward(const tg_cuda_launch *l, const tg_cuda_window *w, tg_dtype x_type,
                             const void *x, tg_dtype y_type, void *y, void *places) {
  const MaxPool m = {l, w, x, nullptr, y, nullptr, places};
  BY_TYPES(return launch_max_by_width<X, Y>(m));
}

int tg_cuda_pool_max_backward(const tg_cuda_launch *l, const tg_cuda_window *w, tg_dtype y_type,
                              const void *dy, const void *places, tg_dtype x_type, void *dx) {
  const MaxPool m = {l, w, nullptr, dy, nullptr, dx, const_cast<void *>(places)};
  BY_TYPES(return launch_max_by_width<X, Y>(m));
}

int tg_cuda_pool_average_forward(const tg_cuda_launch *l, const tg_cuda_window *w, tg_dtype x_type,
                                 const void *x, tg_dtype y_type, void *y) {
  BY_TYPES(return launch_average_by_width<X, Y>(l, w, x, y, false));
}

int tg_cuda_pool_average_backward(const tg_cuda_launch *l, const tg_cuda_window *w, tg_dtype y_type,
                                  const void *dy, tg_dtype x_type, void *dx) {
  BY_TYPES(return launch_average_by_width<X, Y>(l, w, dy, dx, true));
}

int tg_cuda_pool_global_forward(const tg_cuda_launch *l, int64_t batch, int64_t points,
                                int64_t channels, tg_dtype x_type, const void *x, tg_dtype y_type,
                                void *y) {
  const Global g = {l, batch, points, channels, x, y};
  BY_TYPES(return launch_global_by_width<X, Y>(g, false));
}

int tg_cuda_pool_global_backward(const tg_cuda_launch *l, int64_t batch, int64_t points,
                                 int64_t channels, tg_dtype y_type, const void *dy, tg_dtype x_type,
                                 void *dx) {
  const Global g = {l, batch, points, channels, dy, dx};
  BY_TYPES(return launch_global_by_width<X, Y>(g, true));
}
