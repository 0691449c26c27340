/* data.cu - a batch: samples gathered from the bytes of a data set, cropped, mirrored, normalised.
 *
 * Compared with tg_loader_fill and tg_dataset_fill (src/data/loader.c, src/data/normalise.c), bit
 * for bit: values come from the same table.
 * Per element: 1 byte read, 4 written, 4 from the table (3 KiB, from cache); no floating point.
 * Access: one row of blocks per sample; a thread writes 16 bytes, lanes side by side, and reads the
 * bytes that belong there: neighbours in a row, of one plane or of all channels. */
#include "kernels/device.cuh"

namespace {

using namespace tg;

struct Cuts {
  tg_cut item[TG_CUDA_CUTS];
};

/* Where an element of an image lies, in the order that x has. */
struct Place {
  int c, y, x;
};

__device__ Place place_of(const tg_images &s, int at, bool channels_last) {
  int row = channels_last ? at / (s.channels * s.width) : at / s.width;
  int rest = at - row * (channels_last ? s.channels * s.width : s.width);
  if (channels_last) return {rest % s.channels, row, rest / s.channels};
  return {row / s.height, row % s.height, rest};
}

__device__ float element(const tg_images &s, const tg_cut &cut, Place p) {
  int y = p.y + cut.top - TG_CROP_PAD;
  int x = (cut.flip ? s.width - 1 - p.x : p.x) + cut.left - TG_CROP_PAD;
  bool inside = y >= 0 && y < s.height && x >= 0 && x < s.width;
  size_t row = (size_t(cut.sample) * s.channels + p.c) * s.height + y;
  int level = inside ? s.pixels[row * s.width + x] : 0;
  return s.table[p.c * 256 + level];
}

/* blockIdx.y is the sample. */
template <int VEC>
__global__ void __launch_bounds__(THREADS)
    cut_images(tg_images s, Cuts cuts, bool channels_last, float *x, int32_t *y) {
  size_t image = size_t(s.channels) * s.height * s.width;
  tg_cut cut = cuts.item[blockIdx.y];
  bool there = cut.sample < s.count;
  x += blockIdx.y * image;
  TG_FOR(i, image / VEC) {
    float item[VEC];
#pragma unroll
    for (int j = 0; j < VEC; j++)
      item[j] = there ? element(s, cut, place_of(s, int(i) * VEC + j, channels_last)) : 0;
    store<float, VEC>(x + i * VEC, item);
  }
  if (blockIdx.x == 0 && threadIdx.x == 0) y[blockIdx.y] = there ? s.labels[cut.sample] : -1;
}

} // namespace

extern "C" int tg_cuda_cut_images(const tg_cuda_launch *l, const tg_images *images,
                                  const tg_cut *cuts, size_t count, bool channels_last, float *x,
                                  int32_t *y) {
  Cuts these = {};
  size_t image = size_t(images->channels) * images->height * images->width;
  if (count < 1 || count > TG_CUDA_CUTS || image < 1 || image > 0x7fffffff)
    return int(cudaErrorInvalidValue);
  for (size_t i = 0; i < count; i++) these.item[i] = cuts[i];
  bool packs = image % 4 == 0 && aligned(x, 16);
  dim3 grid(blocks_for(l, packs ? image / 4 : image), unsigned(count));
  if (packs)
    TG_LAUNCH((cut_images<4>), grid, THREADS, l->stream, *images, these, channels_last, x, y);
  else
    TG_LAUNCH((cut_images<1>), grid, THREADS, l->stream, *images, these, channels_last, x, y);
  return launched();
}
