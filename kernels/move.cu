/* move.cu - copies of parts of values, and changes between plain and channels-last order; compared
 * with concat, slice, pad, flatten of tests/support/ref_moves.c.
 *
 * Bound by memory, no arithmetic: per element of the target, the bytes of what is read (none for
 * zeros) and of what is written. tg_cuda_move: one thread per word of the target, in order, of the
 * largest size from 16 bytes down that no boundary cuts; neighbours read neighbouring words unless
 * channels or features are taken in steps. tg_cuda_permute: tiles through shared memory, read and
 * written in the order of memory, whatever the two extents. */
#include "kernels/device.cuh"

namespace {

using namespace tg;

/* ---- boxes ---- */

/* A word of one type; or VEC elements of two. */
template <class W> struct Words {
  const W *from;
  W *to;
  __device__ void move(size_t f, size_t t) const { to[t] = from[f]; }
  __device__ void clear(size_t t) const { to[t] = W{}; }
};

template <class X, class Y, int VEC> struct Converted {
  const X *from;
  Y *to;
  __device__ void move(size_t f, size_t t) const {
    float v[VEC];
    load(from + f * VEC, v);
    store(to + t * VEC, v);
  }
  __device__ void clear(size_t t) const {
    float v[VEC] = {};
    store(to + t * VEC, v);
  }
};

/* Extents in words. Index: unsigned, so that what lies before the first used element comes out
 * larger than the last. */
template <class Index> struct Box {
  Index inner, count, from_step, lead, spread, end;
  size_t to_axis, to_start, from_axis, from_start;
};

template <class Index, class Words>
__global__ void __launch_bounds__(THREADS) box_kernel(size_t n, Words words, Box<Index> b) {
  TG_FOR(at, n) {
    Index row = Index(at) / b.inner, i = Index(at) - row * b.inner;
    Index outer = row / b.count, t = row - outer * b.count, u = t - b.lead;
    size_t to = (outer * b.to_axis + b.to_start + t) * b.inner + i;
    Index whole = b.spread == 1 ? u : u / b.spread;
    if (u < b.end && whole * b.spread == u)
      words.move((outer * b.from_axis + b.from_start + size_t(whole) * b.from_step) * b.inner + i,
                 to);
    else
      words.clear(to);
  }
}

template <class Index, class Words>
int launch_box(const tg_cuda_launch *l, const tg_cuda_box &b, const Words &words) {
  Box<Index> box = {Index(b.inner),      Index(b.count),     Index(b.from_step),
                    Index(b.lead),       Index(b.spread),    Index(b.used * b.spread),
                    size_t(b.to_axis),   size_t(b.to_start), size_t(b.from_axis),
                    size_t(b.from_start)};
  size_t n = size_t(b.outer) * size_t(b.count) * size_t(b.inner);
  TG_LAUNCH((box_kernel<Index, Words>), blocks_for(l, n), THREADS, l->stream, n, words, box);
  return launched();
}

template <class Words>
int run_box(const tg_cuda_launch *l, const tg_cuda_box &b, const Words &words) {
  int64_t axis = b.from_axis + b.lead + b.count + b.used * b.spread;
  bool small = axis < INT32_MAX && b.outer * b.count * b.inner < INT32_MAX;
  if (small) return launch_box<uint32_t>(l, b, words);
  return launch_box<uint64_t>(l, b, words);
}

/* Ranges that are not stepped through: one dimension with what lies inside of it. */
void merge(tg_cuda_box *b) {
  if (b->from_step != 1 || b->spread != 1) return;
  int64_t *extents[] = {&b->to_axis,    &b->to_start, &b->count, &b->from_axis,
                        &b->from_start, &b->lead,     &b->used};
  for (int64_t *extent : extents) *extent *= b->inner;
  b->inner = 1;
}

bool divisible(const tg_cuda_box *b, int by) {
  int64_t bits =
      b->to_axis | b->to_start | b->count | b->from_axis | b->from_start | b->lead | b->used;
  return (b->inner > 1 ? b->inner : bits) % by == 0; /* by is a power of two */
}

tg_cuda_box divided(tg_cuda_box b, int by) {
  if (b.inner > 1) {
    b.inner /= by;
    return b;
  }
  int64_t *extents[] = {&b.to_axis,    &b.to_start, &b.count, &b.from_axis,
                        &b.from_start, &b.lead,     &b.used};
  for (int64_t *extent : extents) *extent /= by;
  return b;
}

/* As words W, if none is cut. */
template <class W> bool fits(const tg_cuda_box *b, size_t size, const void *from, const void *to) {
  return sizeof(W) >= size && aligned(from, sizeof(W)) && aligned(to, sizeof(W)) &&
         divisible(b, int(sizeof(W) / size));
}

template <class W>
int run_words(const tg_cuda_launch *l, const tg_cuda_box *b, size_t size, const void *from,
              void *to) {
  Words<W> words = {static_cast<const W *>(from), static_cast<W *>(to)};
  return run_box(l, divided(*b, int(sizeof(W) / size)), words);
}

int move_same(const tg_cuda_launch *l, const tg_cuda_box *b, size_t size, const void *from,
              void *to) {
  if (fits<uint4>(b, size, from, to)) return run_words<uint4>(l, b, size, from, to);
  if (fits<uint2>(b, size, from, to)) return run_words<uint2>(l, b, size, from, to);
  if (fits<uint32_t>(b, size, from, to)) return run_words<uint32_t>(l, b, size, from, to);
  return run_words<uint16_t>(l, b, size, from, to);
}

template <class X, class Y>
int move_converted(const tg_cuda_launch *l, const tg_cuda_box *b, const void *from, void *to) {
  const X *x = static_cast<const X *>(from);
  Y *y = static_cast<Y *>(to);
  if (divisible(b, 4) && aligned(x, 4 * sizeof(X)) && aligned(y, 4 * sizeof(Y)))
    return run_box(l, divided(*b, 4), Converted<X, Y, 4>{x, y});
  return run_box(l, *b, Converted<X, Y, 1>{x, y});
}

/* ---- permutations: [batch][rows][columns] to [batch][columns][rows] ---- */

enum {
  TILE = 64,                /* a side, where the matrix is as large */
  ROOM = TILE * (TILE + 1), /* floats in shared memory */
  UNROLL = 4
};

/* Tiles of a matrix; one that is narrow is longer for it, so that both sides are read and written
 * in stretches. */
struct Tiles {
  int64_t rows, columns, down, across; /* down x across tiles a matrix */
  int tall, wide, pitch; /* of a tile; an odd pitch keeps columns in different banks */
};

Tiles tiles_of(int64_t rows, int64_t columns) {
  auto least = [](int64_t a, int64_t b) { return a < b ? a : b; };
  int64_t wide = least(columns, TILE), tall = least(rows, TILE);
  if (columns < TILE) tall = least(rows, ROOM / (wide | 1));
  if (rows < TILE) wide = least(columns, (ROOM / tall - 1) | 1);
  Tiles t = {
      rows,      columns,      (rows + tall - 1) / tall, (columns + wide - 1) / wide, int(tall),
      int(wide), int(wide | 1)};
  return t;
}

template <class X, class Y>
__global__ void __launch_bounds__(THREADS)
    permute_kernel(int64_t count, Tiles t, const X *__restrict__ from, Y *__restrict__ to) {
  __shared__ float tile[ROOM];
  for (int64_t b = blockIdx.x; b < count; b += gridDim.x) {
    int64_t row = b / t.across % t.down * t.tall, column = b % t.across * t.wide;
    size_t matrix = b / t.across / t.down * t.rows * t.columns;
    int tall = int(t.rows - row < t.tall ? t.rows - row : t.tall);
    int wide = int(t.columns - column < t.wide ? t.columns - column : t.wide);
    const X *corner = from + matrix + row * t.columns + column;
#pragma unroll UNROLL
    for (int i = threadIdx.x; i < tall * wide; i += THREADS) {
      int r = i / wide, c = i - r * wide;
      tile[r * t.pitch + c] = to_float(corner[r * t.columns + c]);
    }
    __syncthreads();
    Y *target = to + matrix + column * t.rows + row;
#pragma unroll UNROLL
    for (int i = threadIdx.x; i < tall * wide; i += THREADS) {
      int c = i / tall, r = i - c * tall;
      target[c * t.rows + r] = from_float<Y>(tile[r * t.pitch + c]);
    }
    __syncthreads(); /* the tile is filled again */
  }
}

template <class X, class Y>
int permute(const tg_cuda_launch *l, int64_t batch, int64_t rows, int64_t columns, const void *from,
            void *to) {
  Tiles t = tiles_of(rows, columns);
  int64_t count = batch * t.down * t.across, most = int64_t(l->processors) * 8;
  TG_LAUNCH((permute_kernel<X, Y>), unsigned(count < most ? count : most), THREADS, l->stream,
            count, t, static_cast<const X *>(from), static_cast<Y *>(to));
  return launched();
}

} // namespace

/* ---- launchers ---- */

extern "C" int tg_cuda_move(const tg_cuda_launch *l, const tg_cuda_box *box, tg_dtype from_type,
                            const void *from, tg_dtype to_type, void *to) {
  tg_cuda_box b = *box;
  merge(&b);
  if (from_type == to_type) return move_same(l, &b, from_type == TG_BF16 ? 2 : 4, from, to);
  if (to_type == TG_BF16) return move_converted<float, bf16>(l, &b, from, to);
  return move_converted<bf16, float>(l, &b, from, to);
}

extern "C" int tg_cuda_permute(const tg_cuda_launch *l, int64_t batch, int64_t rows,
                               int64_t columns, tg_dtype from_type, const void *from,
                               tg_dtype to_type, void *to) {
  if (rows == 1 || columns == 1)
    return tg_cuda_convert(l, size_t(batch) * size_t(rows) * size_t(columns), from_type, from,
                           to_type, to);
  TG_BY_TYPE(from_type, X,
             TG_BY_TYPE(to_type, Y, return permute<X, Y>(l, batch, rows, columns, from, to)));
}

/* Points in space; 1 for what has none, whose order is plain. */
static int64_t space_of(const tg_shape *shape) {
  int64_t points = 1;
  for (int i = 2; i < shape->nd; i++) points *= shape->dim[i];
  return points;
}

static int64_t channels_of(const tg_shape *shape) {
  return shape->nd < 2 ? 1 : shape->dim[1];
}

static int64_t batch_of(const tg_shape *shape) {
  return shape->nd < 1 ? 1 : shape->dim[0];
}

extern "C" int tg_cuda_value_to_last(const tg_cuda_launch *l, const tg_shape *shape,
                                     const float *from, tg_dtype to_type, void *to) {
  return tg_cuda_permute(l, batch_of(shape), channels_of(shape), space_of(shape), TG_F32, from,
                         to_type, to);
}

extern "C" int tg_cuda_value_from_last(const tg_cuda_launch *l, const tg_shape *shape,
                                       tg_dtype from_type, const void *from, float *to) {
  return tg_cuda_permute(l, batch_of(shape), space_of(shape), channels_of(shape), from_type, from,
                         TG_F32, to);
}

extern "C" int tg_cuda_weights_to_last(const tg_cuda_launch *l, tg_dtype to_type, int64_t K,
                                       int64_t C, int64_t space, const float *from, void *to) {
  return tg_cuda_permute(l, K, C, space, TG_F32, from, to_type, to);
}

extern "C" int tg_cuda_weights_from_last(const tg_cuda_launch *l, tg_dtype from_type, int64_t K,
                                         int64_t C, int64_t space, const void *from, float *to) {
  return tg_cuda_permute(l, K, space, C, from_type, from, TG_F32, to);
}
