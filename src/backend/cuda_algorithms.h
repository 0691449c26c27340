/* cuda_algorithms.h - one convolution as cuDNN knows it: descriptors, an algorithm for each of its
 * three passes, and their calls.
 *
 * x, w and y are those of an ordinary convolution, channels-last and of one element type. A
 * transposed convolution is the same one with x and y in each other's place. */
#ifndef BACKEND_CUDA_ALGORITHMS_H
#define BACKEND_CUDA_ALGORITHMS_H

#include "backend/cuda_device.h"

/* cuDNN's passes, by what they compute. */
typedef enum { TG_CUDA_TO_Y, TG_CUDA_TO_X, TG_CUDA_TO_W, TG_CUDA_PASSES } tg_cuda_pass;

typedef struct tg_cuda_convolution {
  cudnnTensorDescriptor_t x, y;
  cudnnFilterDescriptor_t w;
  /* A descriptor for each pass: each has a math type of its own. NULL: not prepared. */
  cudnnConvolutionDescriptor_t conv[TG_CUDA_PASSES];
  int algorithm[TG_CUDA_PASSES];
  size_t work_bytes[TG_CUDA_PASSES];
} tg_cuda_convolution;

/* tg_cuda_convolution_describe - the descriptors of the node's convolution with operands of this
 * type. c is zeroed memory. TG_ECONFIG: too large for cuDNN. */
TG_CHECKED tg_status tg_cuda_convolution_describe(const tg_exec *e, tg_dtype dtype,
                                                  tg_cuda_convolution *c);
/* tg_cuda_convolution_prepare - chooses the pass's algorithm. Choices are cuDNN's heuristics and
 * not timings: the same shapes get the same one on every run and rank; each is asked for once. */
TG_CHECKED tg_status tg_cuda_convolution_prepare(const tg_exec *e, tg_cuda_convolution *c,
                                                 tg_cuda_pass pass);
/* tg_cuda_convolution_scratch - bytes that run() takes for a prepared pass; 0 for another. */
size_t tg_cuda_convolution_scratch(const tg_cuda_convolution *c, tg_cuda_pass pass);
/* tg_cuda_convolution_run - queues a pass: (x, w) to y, (y, w) to x, or (x, y) to w. `onto`: added
 * to what out holds, before it is rounded. */
TG_CHECKED tg_status tg_cuda_convolution_run(const tg_exec *e, const tg_cuda_convolution *c,
                                             tg_cuda_pass pass, const void *first,
                                             const void *second, bool onto, void *out,
                                             void *scratch);
/* tg_cuda_choices_forget - when the device is closed. */
void tg_cuda_choices_forget(tg_cuda_device *d);
/* Accepts a half prepared one. */
void tg_cuda_convolution_destroy(tg_cuda_convolution *c);

#endif
