/* dense.cu - the bias of dense layers whose value is bf16; compared with ref_dense of
 * tests/support/ref_ops.c.
 *
 * Bound by memory: 6 bytes and 1 or 2 FLOPs an element, every byte once; a thread keeps to the four
 * columns of one 16-byte load, and goes down the rows. */
#include "kernels/channels.cuh"

extern "C" {
#include "kernels/dense.h"
}

namespace {

using namespace tg;

/* bias is a part of the flat vector: aligned to 4 bytes only. */
template <int VEC>
__global__ void __launch_bounds__(THREADS)
    bias_to_bf16(Tiles t, const float *sums, const float *bias, bool relu, bf16 *y) {
  Part p = part_of<VEC>(t);
  if (!p.there) return;
  float b[VEC], v[VEC];
#pragma unroll
  for (int k = 0; k < VEC; k++) b[k] = bias[p.channel + k];
  for (int64_t row = p.row; row < p.end; row += t.down) {
    int64_t at = row * t.channels + p.channel;
    load(sums + at, v);
#pragma unroll
    for (int k = 0; k < VEC; k++) {
      v[k] += b[k];
      if (relu) v[k] = v[k] <= 0 ? 0 : v[k]; /* NaN stays NaN */
    }
    store(y + at, v);
  }
}

template <int VEC>
int launch(const tg_cuda_launch *l, int64_t rows, int64_t channels, const float *sums,
           const float *bias, bool relu, void *y) {
  Tiles t = tiles_of(1, rows, channels, VEC, int64_t(l->processors) * 8, 1, 0);
  TG_LAUNCH((bias_to_bf16<VEC>), t.tiles * t.chunks, THREADS, l->stream, t, sums, bias, relu,
            static_cast<bf16 *>(y));
  return launched();
}

} // namespace

extern "C" int tg_cuda_bias_to_bf16(const tg_cuda_launch *l, int64_t rows, int64_t channels,
                                    const float *sums, const float *bias, bool relu, void *y) {
  bool wide = channels % 4 == 0 && aligned(sums, 16) && aligned(y, 8);
  return wide ? launch<4>(l, rows, channels, sums, bias, relu, y)
              : launch<1>(l, rows, channels, sums, bias, relu, y);
}
