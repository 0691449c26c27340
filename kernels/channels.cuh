/* channels.cuh - walking matrices [rows][channels], channels contiguous, by blocks of threads of
 * which each stays with its own channels: what batch norm and global pooling have in common.
 *
 * A tile is at most 32 packs of channels wide, a pack being the VEC channels of one 16-byte access.
 * A block's 256 threads form `across` columns, one for each pack, and `down` rows; a thread goes
 * down its column in steps of `down` rows. Where a matrix has no more than 32 packs a step of the
 * block is one contiguous piece of memory, however few the channels are; else it is pieces of
 * 16 * across bytes, adjacent to those of the block beside it. */
#ifndef KERNELS_CHANNELS_CUH
#define KERNELS_CHANNELS_CUH

#include <string.h>

#include "kernels/device.cuh"

namespace tg {

struct Tiles {
  int64_t rows, channels; /* of one matrix */
  int64_t chunk;          /* rows of one block */
  unsigned tiles, chunks; /* blocks beside and below each other, in each matrix */
  unsigned across, down;  /* threads of a block */
};

/* How to cut `batch` matrices into about `blocks` blocks of which each thread has at least `least`
 * and, if that is not 0, at most `most` rows. VEC divides channels. */
static inline Tiles tiles_of(int64_t batch, int64_t rows, int64_t channels, int vec, int64_t blocks,
                             int64_t least, int64_t most) {
  Tiles t = {rows, channels, rows, 1, 1, 1, 1};
  int64_t packs = channels / vec, tiles = (packs + WARP - 1) / WARP;
  int64_t across = (packs + tiles - 1) / tiles, down = THREADS / across;
  int64_t chunks = blocks / (batch * tiles);
  if (chunks < 1) chunks = 1;
  int64_t each = ((rows + chunks - 1) / chunks + down - 1) / down; /* rows of a thread */
  if (each < least) each = least;
  if (most && each > most) each = most;
  t.chunk = each * down;
  t.chunks = unsigned((rows + t.chunk - 1) / t.chunk);
  t.tiles = unsigned(tiles);
  t.across = unsigned(across);
  t.down = unsigned(down);
  return t;
}

/* One thread's part: rows row, row + down, ... below end of its matrix. Threads that have no
 * channels have no rows. */
struct Part {
  int64_t matrix, channel, row, end;
  unsigned chunk, down; /* down: this thread's row in the block */
  bool there;
};

template <int VEC> __device__ __forceinline__ Part part_of(const Tiles &t) {
  unsigned block = blockIdx.x / t.tiles, tile = blockIdx.x % t.tiles;
  Part p;
  p.chunk = block % t.chunks;
  p.matrix = block / t.chunks;
  p.down = threadIdx.x / t.across;
  p.channel = (int64_t(tile) * t.across + threadIdx.x % t.across) * VEC;
  p.there = p.down < t.down && p.channel < t.channels;
  p.row = p.chunk * t.chunk + p.down;
  p.end = (p.chunk + 1) * t.chunk;
  if (p.end > t.rows) p.end = t.rows;
  if (!p.there) p.end = p.row;
  return p;
}

/* Rows that this thread goes through. */
__device__ __forceinline__ int64_t rows_of(const Tiles &t, const Part &p) {
  return p.row < p.end ? (p.end - p.row - 1) / t.down + 1 : 0;
}

/* U rows of one tensor, as they lie in memory: 4 registers each. */
template <typename T, int VEC, int U> struct Rows {
  Pack<T, VEC> pack[U];

  __device__ __forceinline__ void read(const T *from, int64_t at, int64_t stride) {
#pragma unroll
    for (int u = 0; u < U; u++)
      pack[u] = *reinterpret_cast<const Pack<T, VEC> *>(from + at + u * stride);
  }
  __device__ __forceinline__ float at(int u, int v) const {
    return to_float(pack[u].item[v]);
  }
};

/* Calls step.template rows<U>(first element, elements between rows): U rows at a time, then the
 * rest one by one. */
template <int U, typename Step>
__device__ __forceinline__ void walk(const Tiles &t, const Part &p, Step &step) {
  const int64_t stride = t.down * t.channels;
  int64_t row = p.row;
  for (; row + (U - 1) * int64_t(t.down) < p.end; row += U * int64_t(t.down))
    step.template rows<U>(row * t.channels + p.channel, stride);
  for (; row < p.end; row += t.down) step.template rows<1>(row * t.channels + p.channel, stride);
}

/* The sums over each column of threads, in a fixed tree; valid in its first thread. All threads of
 * the block take part, those without channels with anything. Each step reads what was written
 * before its barrier into places that no later step writes. */
template <int N>
__device__ __forceinline__ void add_down(const Tiles &t, const Part &p, double (&sum)[N]) {
  __shared__ double part[N][THREADS];
  unsigned step = 1;
  while (2 * step < t.down) step *= 2;
  for (; step > 0; step /= 2) {
    if (p.down >= step && p.down < 2 * step)
#pragma unroll
      for (int i = 0; i < N; i++) part[i][threadIdx.x] = sum[i];
    __syncthreads();
    if (p.down < step && p.down + step < t.down)
#pragma unroll
      for (int i = 0; i < N; i++) sum[i] += part[i][threadIdx.x + step * t.across];
  }
}

} // namespace tg

#endif
