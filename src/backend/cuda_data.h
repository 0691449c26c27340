/* cuda_data.h - a data set on a GPU, and batches made there: the row's images_open, images_close
 * and images_cut. Cuts travel as arguments of a kernel, so that nothing is copied and nothing
 * waits. */
#ifndef BACKEND_CUDA_DATA_H
#define BACKEND_CUDA_DATA_H

#include "backend/cuda_device.h"

TG_CHECKED tg_status tg_cuda_images_open(tg_device *d, const tg_images *host, void **out);
void tg_cuda_images_close(tg_device *d, void *images);
TG_CHECKED tg_status tg_cuda_images_cut(tg_device *d, const void *images, const tg_cut *cut,
                                        size_t count, const tg_tensor *x, const tg_tensor *y);

#endif
