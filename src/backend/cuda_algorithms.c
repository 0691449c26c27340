/* cuda_algorithms.c - cuDNN's convolutions: descriptors, choice of algorithms, calls.
 *
 * cuDNN's heuristics rank its algorithms for a shape; taken is the first one that it says it can
 * run, that repeats its results where the device must, that computes no less precisely than asked,
 * and whose workspace is at most WORKSPACE_LIMIT. Behind that ranking stand the algorithms which
 * cuDNN documents for channels-last operands of any shape. */
#include "backend/cuda_algorithms.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tardigrad/ops.h"

enum { MOST_ALGORITHMS = 16, MOST_SPACE = 3 };
static const size_t WORKSPACE_LIMIT = (size_t)1 << 30;
static const size_t WORKSPACE_ALIGNMENT = 256; /* what cudaMalloc would give; plans give 64 */

/* What cuDNN says about an algorithm, of any pass. */
typedef struct candidate {
  int algorithm;
  cudnnStatus_t status;
  cudnnDeterminism_t determinism;
  cudnnMathType_t math;
} candidate;

/* ---- descriptors ---- */

/* Dimensions of an operand in cuDNN's order, batch, channels, space; of 1-D space a plane of height
 * 1 is made. The batch stride must be an int. */
static tg_status dims_of(const tg_exec *e, const tg_shape *shape, int *nd, int dim[TG_MAX_DIMS]) {
  char text[64];
  int64_t sample = 1;
  int missing = shape->nd == 3;
  *nd = shape->nd + missing;
  for (int i = 0; i < shape->nd; i++) {
    if (i > 0) sample *= shape->dim[i];
    if (shape->dim[i] > INT_MAX || sample > INT_MAX)
      TG_FAIL(TG_ECONFIG, "%s: %s is too large for cuDNN", e->node->name,
              tg_shape_text(shape, text, sizeof text));
    dim[i < 2 ? i : i + missing] = (int)shape->dim[i];
  }
  if (missing) dim[2] = 1;
  return TG_OK;
}

static cudnnDataType_t data_type(tg_dtype dtype) {
  return dtype == TG_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
}

/* Strides are written out: where channels or space are 1 they would be ambiguous otherwise. */
static tg_status describe_value(const tg_exec *e, const tg_shape *shape, tg_dtype dtype,
                                cudnnTensorDescriptor_t *out) {
  int nd, dim[TG_MAX_DIMS], stride[TG_MAX_DIMS];
  TG_TRY(dims_of(e, shape, &nd, dim));
  int step = dim[1];
  stride[1] = 1;
  for (int i = nd - 1; i > 1; i--) {
    stride[i] = step;
    step *= dim[i];
  }
  stride[0] = step;
  TG_CUDNN(e, cudnnCreateTensorDescriptor(out));
  TG_CUDNN(e, cudnnSetTensorNdDescriptor(*out, data_type(dtype), nd, dim, stride));
  return TG_OK;
}

static tg_status describe_weights(const tg_exec *e, tg_dtype dtype, cudnnFilterDescriptor_t *out) {
  int nd, dim[TG_MAX_DIMS];
  TG_TRY(dims_of(e, &e->node->param[0]->shape, &nd, dim));
  TG_CUDNN(e, cudnnCreateFilterDescriptor(out));
  TG_CUDNN(e, cudnnSetFilterNdDescriptor(*out, data_type(dtype), CUDNN_TENSOR_NHWC, nd, dim));
  return TG_OK;
}

/* The math that a pass may use at most: tensor cores for bf16, and for float32 only if rounding its
 * operands to TF32 is allowed. */
static cudnnMathType_t math_of(const tg_exec *e) {
  if (e->x[0]->dtype == TG_BF16 || e->y->dtype == TG_BF16) return CUDNN_TENSOR_OP_MATH;
  return tg_cuda(e->device)->tf32 ? CUDNN_DEFAULT_MATH : CUDNN_FMA_MATH;
}

static tg_status describe_pass(const tg_exec *e, cudnnConvolutionDescriptor_t *out) {
  const tg_conv_attr *a = e->node->attr;
  int space = e->y->shape.nd - 2, missing = space == 1;
  int pad[MOST_SPACE] = {0}, stride[MOST_SPACE] = {1, 1, 1}, dilation[MOST_SPACE] = {1, 1, 1};
  for (int i = 0; i < space; i++) {
    pad[i + missing] = (int)a->pad[i];
    stride[i + missing] = (int)a->stride[i];
  }
  TG_CUDNN(e, cudnnCreateConvolutionDescriptor(out));
  TG_CUDNN(e, cudnnSetConvolutionNdDescriptor(*out, space + missing, pad, stride, dilation,
                                              CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT));
  TG_CUDNN(e, cudnnSetConvolutionMathType(*out, math_of(e)));
  return TG_OK;
}

tg_status tg_cuda_convolution_describe(const tg_exec *e, tg_dtype dtype, tg_cuda_convolution *c) {
  const tg_conv_attr *a = e->node->attr;
  const tg_shape *x = &e->x[0]->shape, *y = &e->y->shape;
  TG_TRY(describe_value(e, a->transposed ? y : x, dtype, &c->x));
  TG_TRY(describe_value(e, a->transposed ? x : y, dtype, &c->y));
  return describe_weights(e, dtype, &c->w);
}

/* ---- choice ---- */

/* cuDNN has one type of answer for each pass, of equal members. */
#define TAKE(perf, count, out)                                                                     \
  for (int i = 0; i < (count); i++) (out)[i] = (candidate) {                                       \
      (int)(perf)[i].algo, (perf)[i].status, (perf)[i].determinism, (perf)[i].mathType             \
    }

/* The ranking; where cuDNN has none, count stays 0. */
static void rank(cudnnHandle_t dnn, const tg_cuda_convolution *c, tg_cuda_pass pass,
                 candidate out[MOST_ALGORITHMS], int *count) {
  cudnnConvolutionFwdAlgoPerf_t to_y[MOST_ALGORITHMS];
  cudnnConvolutionBwdDataAlgoPerf_t to_x[MOST_ALGORITHMS];
  cudnnConvolutionBwdFilterAlgoPerf_t to_w[MOST_ALGORITHMS];
  cudnnStatus_t status;
  int n = 0;
  *count = 0;
  if (pass == TG_CUDA_TO_Y)
    status = cudnnGetConvolutionForwardAlgorithm_v7(dnn, c->x, c->w, c->conv[pass], c->y,
                                                    MOST_ALGORITHMS, &n, to_y);
  else if (pass == TG_CUDA_TO_X)
    status = cudnnGetConvolutionBackwardDataAlgorithm_v7(dnn, c->w, c->y, c->conv[pass], c->x,
                                                         MOST_ALGORITHMS, &n, to_x);
  else
    status = cudnnGetConvolutionBackwardFilterAlgorithm_v7(dnn, c->x, c->y, c->conv[pass], c->w,
                                                           MOST_ALGORITHMS, &n, to_w);
  if (status != CUDNN_STATUS_SUCCESS) return;
  if (pass == TG_CUDA_TO_Y)
    TAKE(to_y, n, out);
  else if (pass == TG_CUDA_TO_X)
    TAKE(to_x, n, out);
  else
    TAKE(to_w, n, out);
  *count = n;
}

/* For channels-last operands of any shape, and deterministic. */
static const int LAST_RESORT[TG_CUDA_PASSES] = {
    [TG_CUDA_TO_Y] = CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM,
    [TG_CUDA_TO_X] = CUDNN_CONVOLUTION_BWD_DATA_ALGO_1,
    [TG_CUDA_TO_W] = CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1};

static cudnnStatus_t work_bytes(cudnnHandle_t dnn, const tg_cuda_convolution *c, tg_cuda_pass pass,
                                int algorithm, size_t *out) {
  cudnnConvolutionDescriptor_t conv = c->conv[pass];
  *out = 0;
  if (pass == TG_CUDA_TO_Y)
    return cudnnGetConvolutionForwardWorkspaceSize(dnn, c->x, c->w, conv, c->y,
                                                   (cudnnConvolutionFwdAlgo_t)algorithm, out);
  if (pass == TG_CUDA_TO_X)
    return cudnnGetConvolutionBackwardDataWorkspaceSize(
        dnn, c->w, c->y, conv, c->x, (cudnnConvolutionBwdDataAlgo_t)algorithm, out);
  return cudnnGetConvolutionBackwardFilterWorkspaceSize(
      dnn, c->x, c->y, conv, c->w, (cudnnConvolutionBwdFilterAlgo_t)algorithm, out);
}

/* Whether the device's promises hold with it. */
static bool permitted(const tg_exec *e, const candidate *is) {
  bool repeats = is->determinism == CUDNN_DETERMINISTIC;
  bool precise = math_of(e) == CUDNN_FMA_MATH ? is->math == CUDNN_FMA_MATH
                                              : is->math != CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION;
  return is->status == CUDNN_STATUS_SUCCESS && precise &&
         (repeats || !tg_cuda(e->device)->deterministic);
}

/* "forward pass of [2,3,8,8] to [2,16,8,8], weights [16,3,3,3]", as the user has the shapes. */
static const char *pass_text(const tg_exec *e, tg_cuda_pass pass, char *text, size_t size) {
  const tg_conv_attr *a = e->node->attr;
  char x[64], w[64], y[64];
  bool forward = pass == (a->transposed ? TG_CUDA_TO_X : TG_CUDA_TO_Y);
  snprintf(text, size, "%s of %sconvolution %s to %s, weights %s, %s",
           pass == TG_CUDA_TO_W ? "gradient of weights"
           : forward            ? "forward pass"
                                : "gradient of the input",
           a->transposed ? "transposed " : "", tg_shape_text(&e->x[0]->shape, x, sizeof x),
           tg_shape_text(&e->y->shape, y, sizeof y),
           tg_shape_text(&e->node->param[0]->shape, w, sizeof w),
           math_of(e) == CUDNN_TENSOR_OP_MATH ? "bf16" : "float32");
  return text;
}

/* ---- choices are kept: cuDNN is asked once for each shape ---- */

enum { KEY = 3 * TG_MAX_DIMS + 6 + 3 };

struct tg_cuda_choice {
  struct tg_cuda_choice *next;
  int64_t key[KEY];
  int algorithm;
  cudnnMathType_t math;
  size_t bytes;
};

/* Everything that the choice depends on, beside the device's own options. */
static void key_of(const tg_exec *e, tg_cuda_pass pass, int64_t key[KEY]) {
  const tg_conv_attr *a = e->node->attr;
  const tg_shape *shape[] = {&e->x[0]->shape, &e->y->shape, &e->node->param[0]->shape};
  int at = 0;
  memset(key, 0, KEY * sizeof *key);
  for (int i = 0; i < 3; i++, at += TG_MAX_DIMS)
    memcpy(key + at, shape[i]->dim, (size_t)shape[i]->nd * sizeof *key);
  for (int i = 0; i < shape[0]->nd - 2; i++) {
    key[at + i] = a->stride[i];
    key[at + 3 + i] = a->pad[i];
  }
  at += 6;
  key[at++] = math_of(e);
  key[at++] = pass;
  key[at++] = a->transposed;
}

static tg_status keep_choice(const tg_exec *e, const tg_cuda_convolution *c, tg_cuda_pass pass,
                             cudnnMathType_t math) {
  tg_cuda_device *d = tg_cuda(e->device);
  struct tg_cuda_choice *made = calloc(1, sizeof *made);
  if (!made) TG_FAIL(TG_ERUNTIME, "no memory for the algorithm of %s", e->node->name);
  key_of(e, pass, made->key);
  made->algorithm = c->algorithm[pass];
  made->math = math;
  made->bytes = c->work_bytes[pass];
  made->next = d->choices;
  d->choices = made;
  return TG_OK;
}

static tg_status take_choice(const tg_exec *e, tg_cuda_convolution *c, tg_cuda_pass pass,
                             bool *found) {
  int64_t key[KEY];
  key_of(e, pass, key);
  const struct tg_cuda_choice *made = tg_cuda(e->device)->choices;
  while (made && memcmp(made->key, key, sizeof key) != 0) made = made->next;
  *found = made;
  if (!made) return TG_OK;
  TG_CUDNN(e, cudnnSetConvolutionMathType(c->conv[pass], made->math));
  c->algorithm[pass] = made->algorithm;
  c->work_bytes[pass] = made->bytes;
  return TG_OK;
}

void tg_cuda_choices_forget(tg_cuda_device *d) {
  for (struct tg_cuda_choice *c = d->choices, *next; c; c = next) {
    next = c->next;
    free(c);
  }
  d->choices = NULL;
}

static tg_status choose(const tg_exec *e, tg_cuda_convolution *c, tg_cuda_pass pass) {
  cudnnHandle_t dnn = tg_cuda(e->device)->dnn;
  candidate candidates[MOST_ALGORITHMS + 1];
  char text[384];
  int count = 0;
  cudnnStatus_t status = CUDNN_STATUS_NOT_SUPPORTED;
  rank(dnn, c, pass, candidates, &count);
  candidates[count++] =
      (candidate){LAST_RESORT[pass], CUDNN_STATUS_SUCCESS, CUDNN_DETERMINISTIC, math_of(e)};
  for (int i = 0; i < count; i++) {
    size_t bytes = 0;
    if (!permitted(e, &candidates[i])) continue;
    TG_CUDNN(e, cudnnSetConvolutionMathType(c->conv[pass], candidates[i].math));
    status = work_bytes(dnn, c, pass, candidates[i].algorithm, &bytes);
    if (status != CUDNN_STATUS_SUCCESS || bytes > WORKSPACE_LIMIT) continue;
    c->algorithm[pass] = candidates[i].algorithm;
    c->work_bytes[pass] = bytes;
    return keep_choice(e, c, pass, candidates[i].math);
  }
  TG_FAIL(TG_ERUNTIME, "%s: cuDNN has no%s algorithm within %zu MiB for the %s: %s", e->node->name,
          tg_cuda(e->device)->deterministic ? " deterministic" : "", WORKSPACE_LIMIT >> 20,
          pass_text(e, pass, text, sizeof text),
          status == CUDNN_STATUS_SUCCESS ? "all take more" : cudnnGetErrorString(status));
}

tg_status tg_cuda_convolution_prepare(const tg_exec *e, tg_cuda_convolution *c, tg_cuda_pass pass) {
  bool found = false;
  TG_TRY(describe_pass(e, &c->conv[pass]));
  TG_TRY(take_choice(e, c, pass, &found));
  return found ? TG_OK : choose(e, c, pass);
}

/* ---- calls ---- */

size_t tg_cuda_convolution_scratch(const tg_cuda_convolution *c, tg_cuda_pass pass) {
  return c->work_bytes[pass] ? c->work_bytes[pass] + WORKSPACE_ALIGNMENT : 0;
}

tg_status tg_cuda_convolution_run(const tg_exec *e, const tg_cuda_convolution *c, tg_cuda_pass pass,
                                  const void *first, const void *second, bool onto, void *out,
                                  void *scratch) {
  static const float one = 1, zero = 0;
  const float *beta = onto ? &one : &zero;
  cudnnHandle_t dnn = tg_cuda(e->device)->dnn;
  size_t bytes = c->work_bytes[pass];
  int algorithm = c->algorithm[pass];
  char text[384];
  void *work = bytes ? (void *)tg_cuda_round((size_t)scratch) : NULL;
  cudnnStatus_t status;
  if (pass == TG_CUDA_TO_Y)
    status =
        cudnnConvolutionForward(dnn, &one, c->x, first, c->w, second, c->conv[pass],
                                (cudnnConvolutionFwdAlgo_t)algorithm, work, bytes, beta, c->y, out);
  else if (pass == TG_CUDA_TO_X)
    status = cudnnConvolutionBackwardData(dnn, &one, c->w, second, c->y, first, c->conv[pass],
                                          (cudnnConvolutionBwdDataAlgo_t)algorithm, work, bytes,
                                          beta, c->x, out);
  else
    status = cudnnConvolutionBackwardFilter(dnn, &one, c->x, first, c->y, second, c->conv[pass],
                                            (cudnnConvolutionBwdFilterAlgo_t)algorithm, work, bytes,
                                            beta, c->w, out);
  if (status == CUDNN_STATUS_SUCCESS) return TG_OK;
  return tg_cuda_check_dnn(status, pass_text(e, pass, text, sizeof text), e->node);
}

void tg_cuda_convolution_destroy(tg_cuda_convolution *c) {
  for (int i = 0; i < TG_CUDA_PASSES; i++)
    if (c->conv[i]) (void)cudnnDestroyConvolutionDescriptor(c->conv[i]);
  if (c->x) (void)cudnnDestroyTensorDescriptor(c->x);
  if (c->y) (void)cudnnDestroyTensorDescriptor(c->y);
  if (c->w) (void)cudnnDestroyFilterDescriptor(c->w);
}
