/* loss.h - launchers of kernels/loss.cu: sums, counts and gradients of losses. Nothing is read by
 * the host: the gradient's scale, weight / counted, is computed where the result lies. */
#ifndef KERNELS_LOSS_H
#define KERNELS_LOSS_H

struct tg_loss_result; /* tardigrad/backend.h */

/* What cross-entropy keeps of one sample: softmax = exp(x - max) * inverse. */
typedef struct tg_cuda_loss_row {
  double loss;
  float max, inverse;
  int32_t outcome; /* 1 the largest logit is the label's, 0 it is not; negative: not counted */
  int32_t unused;
} tg_cuda_loss_row;

typedef struct tg_cuda_cross_entropy {
  tg_dtype dtype; /* of x and dx */
  int64_t batch, classes;
  const void *x;         /* [batch][classes] */
  const int32_t *label;  /* [batch] */
  tg_cuda_loss_row *row; /* [batch], kept from forward to backward */
  struct tg_loss_result *result;
  float *y;     /* forward: the mean loss */
  float weight; /* backward */
  void *dx;     /* backward; may be x */
} tg_cuda_cross_entropy;

/* tg_cuda_cross_entropy_forward - row, result and y. Where a label is not below classes,
 * result->counted becomes UINT64_MAX and y NaN; such samples add nothing. */
int tg_cuda_cross_entropy_forward(const tg_cuda_launch *l, const tg_cuda_cross_entropy *a);
/* tg_cuda_cross_entropy_backward - dx = (softmax - one-hot) * weight / counted; 0 in samples that
 * are not counted. */
int tg_cuda_cross_entropy_backward(const tg_cuda_launch *l, const tg_cuda_cross_entropy *a);

enum { TG_CUDA_LOSS_PARTS = 1024 }; /* partial sums of squared error */

typedef struct tg_cuda_squared_error {
  tg_dtype x_dtype, target_dtype;
  size_t count;
  const void *x, *target;
  double *part; /* forward: [TG_CUDA_LOSS_PARTS] of scratch */
  struct tg_loss_result *result;
  float *y;           /* forward: the mean */
  float weight;       /* backward */
  void *dx, *dtarget; /* backward; either may be NULL, dx may be x, dtarget may be target */
} tg_cuda_squared_error;

int tg_cuda_squared_error_forward(const tg_cuda_launch *l, const tg_cuda_squared_error *a);
int tg_cuda_squared_error_backward(const tg_cuda_launch *l, const tg_cuda_squared_error *a);

#endif
