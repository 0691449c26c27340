/* cudnn_convolution.h - what cudnn.cc (interface) and cudnn_convolution.cc (arithmetic) share. */
#ifndef TESTS_CUDA_CUDNN_CONVOLUTION_H
#define TESTS_CUDA_CUDNN_CONVOLUTION_H

#include <cudnn.h>

#include <cstddef>

struct cudnnTensorStruct {
  cudnnDataType_t type = CUDNN_DATA_FLOAT;
  int dims = 0; /* 0: not set */
  int size[CUDNN_DIM_MAX] = {0};
  int stride[CUDNN_DIM_MAX] = {0};
};
struct cudnnFilterStruct : cudnnTensorStruct {
  cudnnTensorFormat_t format = CUDNN_TENSOR_NCHW;
};
struct cudnnConvolutionStruct {
  int dims = 0; /* of space; 0: not set */
  int pad[CUDNN_DIM_MAX] = {0}, stride[CUDNN_DIM_MAX] = {0}, dilation[CUDNN_DIM_MAX] = {0};
  int groups = 1;
  cudnnMathType_t math = CUDNN_DEFAULT_MATH;
};

namespace tg_emulator {

enum direction { FORWARD, BACKWARD_DATA, BACKWARD_FILTER };

/* A convolution in three dimensions of space; those that it lacks have size 1. */
struct convolution {
  direction what;
  bool is_bf16, tf32;
  float alpha, beta;
  int batch, groups, channels, filters; /* channels and filters of a group */
  int in[3], kernel[3], out[3];         /* sizes of space */
  int pad[3], stride[3], dilation[3];
  ptrdiff_t x_step[5], w_step[5], y_step[5]; /* of batch or filter, channel, space */
  size_t x_extent, w_extent, y_extent;       /* elements from the first to the last */
  void *x, *w, *y;                           /* one of the three is the output */
  void *workspace;
  size_t workspace_bytes;
};

void convolve(const convolution &c);

} // namespace tg_emulator

#endif
