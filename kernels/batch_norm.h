/* batch_norm.h - launchers of batch norm with the addition and the ReLU behind it, on matrices
 * [rows][channels]. Part of kernels.h. */
#ifndef KERNELS_BATCH_NORM_H
#define KERNELS_BATCH_NORM_H

/* Pointers are NULL where there is nothing. x and dx are of x_type, the other matrices of y_type.
 * params and scratch are aligned to 32 bytes. */
typedef struct tg_cuda_batch_norm {
  int64_t rows, channels;
  tg_dtype x_type, y_type;
  bool relu;
  float epsilon;
  const void *x, *addend;
  const void *dy, *dy_too; /* dy_too is added to dy */
  const void *y_was;       /* backward, where an addend took part: tells where ReLU was open */
  void *y, *dx, *d_addend; /* dx or d_addend may be dy */
  const float *gamma, *beta;
  float *params;           /* tg_cuda_batch_norm_params bytes, forward to backward */
  const float *running[2]; /* evaluation: mean and variance */
  float *batch_stat[2];    /* training: mean and unbiased variance go here */
  float *dgamma, *dbeta;
  void *scratch;
} tg_cuda_batch_norm;

size_t tg_cuda_batch_norm_params(int64_t channels);
/* What either launcher needs, for any types and alignment. */
size_t tg_cuda_batch_norm_scratch(const tg_cuda_launch *l, int64_t rows, int64_t channels);

/* y = relu(norm(x) + addend). With running statistics if there are any, else with the batch's. */
int tg_cuda_batch_norm_forward(const tg_cuda_launch *l, const tg_cuda_batch_norm *a);
/* dgamma, dbeta, and dx and d_addend where they are wanted. */
int tg_cuda_batch_norm_backward(const tg_cuda_launch *l, const tg_cuda_batch_norm *a);

#endif
