/* skip.h - a connection beside a layer, and the weights in whose place it stands. See kernels.h. */
#ifndef KERNELS_SKIP_H
#define KERNELS_SKIP_H

/* Value z of `inputs` channels; x and y of `outputs`, with every stride-th of its points. */
typedef struct tg_cuda_skip {
  int64_t batch, z_space[3], y_space[3]; /* missing dimensions are 1 */
  int64_t inputs, outputs, stride;
  float factor;
  tg_dtype x_type, z_type, y_type;
} tg_cuda_skip;

/* y = x + factor z + addend, or its ReLU: channel t of z goes to channel t mod outputs. addend has
 * y's type, or is NULL. */
int tg_cuda_skip_forward(const tg_cuda_launch *l, const tg_cuda_skip *s, const void *x,
                         const void *z, const void *addend, bool relu, void *y);
/* dz = factor dy, where y > 0 if y is not NULL; 0 where z is not taken. Other gradients:
 * tg_cuda_sum_backward, afterwards if they are written over dy. */
int tg_cuda_skip_backward(const tg_cuda_launch *l, const tg_cuda_skip *s, const void *y,
                          const void *dy, void *dz);

/* dw [K,C,taps] = 0 at tap `centre` from input t to output t mod K. */
int tg_cuda_hollow(const tg_cuda_launch *l, int64_t K, int64_t C, int64_t taps, int64_t centre,
                   float *dw);

#endif
