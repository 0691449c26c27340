/* pool.h - launchers of pooling. Part of kernels.h. */
#ifndef KERNELS_POOL_H
#define KERNELS_POOL_H

/* Windows over three spatial dimensions; of what has fewer the first are 1, their kernel and stride
 * 1, their padding 0. */
typedef struct tg_cuda_window {
  int64_t batch, channels;
  int in[3], out[3], kernel[3], stride[3], pad[3];
} tg_cuda_window;

/* tg_cuda_pool_places - bytes of what max pooling keeps: for every element of y where in its window
 * the largest was, row-major; uint8_t if that is enough, else int32_t. */
size_t tg_cuda_pool_places(const tg_cuda_window *w);

/* Of equals the first is the largest; NaN is larger than anything, as in PyTorch. places may be
 * NULL; else it is aligned to 8 bytes. */
int tg_cuda_pool_max_forward(const tg_cuda_launch *l, const tg_cuda_window *w, tg_dtype x_type,
                             const void *x, tg_dtype y_type, void *y, void *places);
int tg_cuda_pool_max_backward(const tg_cuda_launch *l, const tg_cuda_window *w, tg_dtype y_type,
                              const void *dy, const void *places, tg_dtype x_type, void *dx);

/* Padding counts. */
int tg_cuda_pool_average_forward(const tg_cuda_launch *l, const tg_cuda_window *w, tg_dtype x_type,
                                 const void *x, tg_dtype y_type, void *y);
int tg_cuda_pool_average_backward(const tg_cuda_launch *l, const tg_cuda_window *w, tg_dtype y_type,
                                  const void *dy, tg_dtype x_type, void *dx);

/* Over all of space: x [batch][points][channels], y [batch][channels]. */
int tg_cuda_pool_global_forward(const tg_cuda_launch *l, int64_t batch, int64_t points,
                                int64_t channels, tg_dtype x_type, const void *x, tg_dtype y_type,
                                void *y);
int tg_cuda_pool_global_backward(const tg_cuda_launch *l, int64_t batch, int64_t points,
                                 int64_t channels, tg_dtype y_type, const void *dy, tg_dtype x_type,
                                 void *dx);

#endif
