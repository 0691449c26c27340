/* data.h - launcher of kernels/data.cu: batches from a data set that lies on the device. */
#ifndef KERNELS_DATA_H
#define KERNELS_DATA_H

/* Descriptions travel as arguments of the kernel, which are copied when it is launched: so many at
 * once. */
enum { TG_CUDA_CUTS = 256 };

/* tg_cuda_cut_images - x and y of cuts[count], host memory, count <= TG_CUDA_CUTS. x is
 * [count][height][width][channels] if channels_last, else [count][channels][height][width]. */
int tg_cuda_cut_images(const tg_cuda_launch *l, const tg_images *images, const tg_cut *cuts,
                       size_t count, bool channels_last, float *x, int32_t *y);

#endif
