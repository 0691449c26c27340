/* dense.h - what is done to a dense layer's products before they are rounded. See kernels.h. */
#ifndef KERNELS_DENSE_H
#define KERNELS_DENSE_H

/* y [rows, channels], bf16 = sums [rows, channels] + bias [channels], or its ReLU: one rounding,
 * which a bias added to rounded sums would make two. */
int tg_cuda_bias_to_bf16(const tg_cuda_launch *l, int64_t rows, int64_t channels, const float *sums,
                         const float *bias, bool relu, void *y);

#endif
