/* cuda_data.c - uploads a data set, and hands a batch's cuts to the kernel. */
#include "backend/cuda_data.h"

#include <stdlib.h>

enum { LEVELS = 256 };

typedef struct resident {
  tg_images images;
  void *pixels, *labels, *table; /* what the images point to */
} resident;

static tg_status upload(tg_device *d, const void *from, size_t bytes, void **to) {
  TG_TRY(d->backend->alloc(d, bytes, to));
  return d->backend->to_device(d, *to, from, bytes);
}

static size_t image_size(const tg_images *i) {
  return (size_t)i->channels * (size_t)i->height * (size_t)i->width;
}

tg_status tg_cuda_images_open(tg_device *d, const tg_images *host, void **out) {
  tg_status status = TG_OK;
  resident *r = calloc(1, sizeof *r);
  if (!r) TG_FAIL(TG_ERUNTIME, "no memory for images on the device");
  TG_DO(upload(d, host->pixels, host->count * image_size(host), &r->pixels));
  TG_DO(upload(d, host->labels, host->count * sizeof *host->labels, &r->labels));
  TG_DO(upload(d, host->table, (size_t)host->channels * LEVELS * sizeof(float), &r->table));
  r->images = *host;
  r->images.pixels = r->pixels;
  r->images.labels = r->labels;
  r->images.table = r->table;
  *out = r;
  return TG_OK;
done:
  tg_cuda_images_close(d, r);
  return status;
}

void tg_cuda_images_close(tg_device *d, void *images) {
  resident *r = images;
  void *memory[] = {r->pixels, r->labels, r->table};
  for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
    if (memory[i]) d->backend->free(d, memory[i]);
  free(r);
}

tg_status tg_cuda_images_cut(tg_device *d, const void *images, const tg_cut *cut, size_t count,
                             const tg_tensor *x, const tg_tensor *y) {
  const resident *r = images;
  size_t image = image_size(&r->images);
  float *to = x->data;
  int32_t *label = y->data;
  if (tg_shape_count(&x->shape) != count * image || x->dtype != TG_F32)
    TG_FAIL(TG_ERUNTIME, "images of %zu values do not fit the input", image);
  for (size_t lo = 0; lo < count; lo += TG_CUDA_CUTS) {
    size_t n = count - lo < TG_CUDA_CUTS ? count - lo : TG_CUDA_CUTS;
    TG_CUDA((cudaError_t)tg_cuda_cut_images(&tg_cuda(d)->launch, &r->images, cut + lo, n,
                                            x->shape.nd > 2, to + lo * image, label + lo));
  }
  return TG_OK;
}
