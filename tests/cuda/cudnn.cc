/* cudnn.cc - cuDNN's interface of the emulator: descriptors, shapes, the choice of an algorithm. */
#include "cudnn_convolution.h"
#include "elements.h"
#include "emulator.h"

#include <cstring>

struct cudnnContext {
  cudaStream_t stream = nullptr;
};

namespace tg_emulator {
namespace {

constexpr size_t WORKSPACE = 128;

cudnnStatus_t tensor_set(cudnnTensorStruct *t, cudnnDataType_t type, int dims, const int size[],
                         const int stride[]) {
  if (!t || !size || !stride) return CUDNN_STATUS_BAD_PARAM;
  if (dims < 3 || dims > CUDNN_DIM_MAX) return CUDNN_STATUS_NOT_SUPPORTED;
  if (type != CUDNN_DATA_FLOAT && type != CUDNN_DATA_BFLOAT16) return CUDNN_STATUS_NOT_SUPPORTED;
  for (int i = 0; i < dims; i++)
    if (size[i] <= 0 || stride[i] <= 0) return CUDNN_STATUS_BAD_PARAM;
  t->type = type;
  t->dims = dims;
  for (int i = 0; i < dims; i++) t->size[i] = size[i], t->stride[i] = stride[i];
  return CUDNN_STATUS_SUCCESS;
}

bool channels_last(const cudnnTensorStruct &t) {
  return t.size[1] == 1 || t.stride[1] == 1;
}

/* Whether the sizes of input, filter and output fit each other. */
bool shapes_fit(const cudnnTensorStruct &x, const cudnnFilterStruct &w, const cudnnTensorStruct &y,
                const cudnnConvolutionStruct &c) {
  if (x.dims != w.dims || x.dims != y.dims || x.dims != c.dims + 2) return false;
  if (x.size[0] != y.size[0] || w.size[0] != y.size[1]) return false;
  if (x.size[1] != w.size[1] * c.groups || w.size[0] % c.groups) return false;
  for (int d = 0; d < c.dims; d++) {
    int reach = c.dilation[d] * (w.size[2 + d] - 1) + 1;
    int room = x.size[2 + d] + 2 * c.pad[d] - reach;
    if (room < 0 || y.size[2 + d] != room / c.stride[d] + 1) return false;
  }
  return true;
}

cudnnStatus_t check(cudnnHandle_t handle, const cudnnTensorStruct *x, const cudnnFilterStruct *w,
                    const cudnnTensorStruct *y, const cudnnConvolutionStruct *c) {
  if (!handle || !x || !w || !y || !c) return CUDNN_STATUS_BAD_PARAM;
  if (!x->dims || !w->dims || !y->dims || !c->dims) return CUDNN_STATUS_BAD_PARAM;
  if (!shapes_fit(*x, *w, *y, *c)) return CUDNN_STATUS_BAD_PARAM;
  if (x->type != w->type || x->type != y->type) return CUDNN_STATUS_NOT_SUPPORTED;
  bool last = channels_last(*x) && channels_last(*y);
  return w->format == CUDNN_TENSOR_NHWC && !last ? CUDNN_STATUS_NOT_SUPPORTED
                                                 : CUDNN_STATUS_SUCCESS;
}

/* ---- algorithms ---- */

struct choice {
  int algorithm;
  bool deterministic, supported;
  size_t memory;
};

/* The best first, as cuDNN lists them; the last ones cannot be used. Callers must look. */
const choice forward_choices[] = {
    {CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM, true, true, WORKSPACE},
    {CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM, true, true, 0},
    {CUDNN_CONVOLUTION_FWD_ALGO_FFT, true, false, 0}};
const choice data_choices[] = {{CUDNN_CONVOLUTION_BWD_DATA_ALGO_1, true, true, WORKSPACE},
                               {CUDNN_CONVOLUTION_BWD_DATA_ALGO_0, false, true, 0},
                               {CUDNN_CONVOLUTION_BWD_DATA_ALGO_FFT, true, false, 0}};
const choice filter_choices[] = {{CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3, false, true, WORKSPACE},
                                 {CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1, true, true, WORKSPACE},
                                 {CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0, false, true, 0}};

const choice *choices_of(direction what) {
  return what == FORWARD ? forward_choices : what == BACKWARD_DATA ? data_choices : filter_choices;
}

const choice *find(direction what, int algorithm) {
  for (int i = 0; i < 3; i++)
    if (choices_of(what)[i].algorithm == algorithm && choices_of(what)[i].supported)
      return &choices_of(what)[i];
  return nullptr;
}

template <typename P>
cudnnStatus_t list(direction what, const cudnnConvolutionStruct *c, cudnnDataType_t type, int most,
                   int *count, P *results) {
  if (most < 1 || !count || !results) return CUDNN_STATUS_BAD_PARAM;
  *count = most < 3 ? most : 3;
  for (int i = 0; i < *count; i++) {
    const choice &from = choices_of(what)[i];
    results[i] = P{};
    results[i].algo = decltype(results[i].algo)(from.algorithm);
    results[i].status = from.supported ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_NOT_SUPPORTED;
    results[i].time = from.supported ? float(i + 1) : -1.0f;
    results[i].memory = from.memory;
    results[i].determinism = from.deterministic ? CUDNN_DETERMINISTIC : CUDNN_NON_DETERMINISTIC;
    results[i].mathType = type == CUDNN_DATA_BFLOAT16 ? CUDNN_TENSOR_OP_MATH : c->math;
  }
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t workspace_size(direction what, int algorithm, size_t *bytes) {
  const choice *found = find(what, algorithm);
  if (!bytes) return CUDNN_STATUS_BAD_PARAM;
  if (!found) return CUDNN_STATUS_NOT_SUPPORTED;
  *bytes = found->memory;
  return CUDNN_STATUS_SUCCESS;
}

/* ---- calls ---- */

size_t extent(const cudnnTensorStruct &t) {
  size_t last = 0;
  for (int i = 0; i < t.dims; i++) last += size_t(t.size[i] - 1) * size_t(t.stride[i]);
  return last + 1;
}

void steps(const cudnnTensorStruct &t, ptrdiff_t step[5]) {
  int lacking = 5 - t.dims;
  for (int i = 0; i < 5; i++) step[i] = 0;
  step[0] = t.stride[0], step[1] = t.stride[1];
  for (int i = 2; i < t.dims; i++) step[i + lacking] = t.stride[i];
}

convolution shape_of(const cudnnTensorStruct &x, const cudnnFilterStruct &w,
                     const cudnnTensorStruct &y, const cudnnConvolutionStruct &c) {
  convolution s = {};
  s.is_bf16 = x.type == CUDNN_DATA_BFLOAT16;
  s.tf32 = !s.is_bf16 && c.math != CUDNN_FMA_MATH;
  s.batch = x.size[0];
  s.groups = c.groups;
  s.channels = w.size[1];
  s.filters = w.size[0] / c.groups;
  for (int d = 0; d < 3; d++) {
    int i = d - (3 - c.dims);
    s.in[d] = i < 0 ? 1 : x.size[2 + i];
    s.kernel[d] = i < 0 ? 1 : w.size[2 + i];
    s.out[d] = i < 0 ? 1 : y.size[2 + i];
    s.pad[d] = i < 0 ? 0 : c.pad[i];
    s.stride[d] = i < 0 ? 1 : c.stride[i];
    s.dilation[d] = i < 0 ? 1 : c.dilation[i];
  }
  steps(x, s.x_step), steps(w, s.w_step), steps(y, s.y_step);
  s.x_extent = extent(x), s.w_extent = extent(w), s.y_extent = extent(y);
  return s;
}

struct request {
  direction what;
  int algorithm;
  const void *alpha, *beta, *x, *w, *y;
  void *workspace;
  size_t workspace_bytes;
};

cudnnStatus_t run(cudnnHandle_t handle, const request &r, const cudnnTensorStruct *x,
                  const cudnnFilterStruct *w, const cudnnTensorStruct *y,
                  const cudnnConvolutionStruct *c) {
  cudnnStatus_t status = check(handle, x, w, y, c);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  if (!r.alpha || !r.beta || !r.x || !r.w || !r.y) return CUDNN_STATUS_BAD_PARAM;
  const choice *algorithm = find(r.what, r.algorithm);
  if (!algorithm) return CUDNN_STATUS_NOT_SUPPORTED;
  if (algorithm->memory && (!r.workspace || r.workspace_bytes < algorithm->memory))
    return CUDNN_STATUS_BAD_PARAM;
  convolution s = shape_of(*x, *w, *y, *c);
  s.what = r.what;
  std::memcpy(&s.alpha, r.alpha, sizeof s.alpha);
  std::memcpy(&s.beta, r.beta, sizeof s.beta);
  s.x = const_cast<void *>(r.x), s.w = const_cast<void *>(r.w), s.y = const_cast<void *>(r.y);
  s.workspace = r.workspace;
  s.workspace_bytes = algorithm->memory;
  size_t bytes = element_bytes(s.is_bf16);
  if (!device_can_use(s.x, s.x_extent * bytes) || !device_can_use(s.w, s.w_extent * bytes) ||
      !device_can_use(s.y, s.y_extent * bytes) ||
      (s.workspace_bytes && !device_can_use(s.workspace, s.workspace_bytes)))
    die("cuDNN: the input, filter, output or workspace of a convolution (batch %d, %d -> %d "
        "channels) is not, or not wholly, in device memory",
        s.batch, s.groups * s.channels, s.groups * s.filters);
  cudaError_t error = enqueue(handle->stream, [s] {
    convolve(s);
    check_guards("cuDNN");
  });
  return error == cudaSuccess ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_EXECUTION_FAILED_CUDART;
}

template <typename T> cudnnStatus_t create(T **out) {
  if (!out) return CUDNN_STATUS_BAD_PARAM;
  *out = new T;
  return CUDNN_STATUS_SUCCESS;
}

} // namespace
} // namespace tg_emulator

using namespace tg_emulator;

cudnnStatus_t cudnnCreate(cudnnHandle_t *handle) {
  if (device_count() == 0) return CUDNN_STATUS_NOT_INITIALIZED;
  if (capture_forbids()) return CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED;
  return create(handle);
}
cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
  delete handle;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t streamId) {
  if (!handle) return CUDNN_STATUS_BAD_PARAM;
  handle->stream = streamId;
  return CUDNN_STATUS_SUCCESS;
}
size_t cudnnGetVersion(void) {
  return CUDNN_VERSION;
}

const char *cudnnGetErrorString(cudnnStatus_t status) {
#define TG_EMULATED_NAME(name)                                                                     \
  case name:                                                                                       \
    return #name;
  switch (status) {
    TG_EMULATED_NAME(CUDNN_STATUS_SUCCESS)
    TG_EMULATED_NAME(CUDNN_STATUS_NOT_INITIALIZED)
    TG_EMULATED_NAME(CUDNN_STATUS_BAD_PARAM)
    TG_EMULATED_NAME(CUDNN_STATUS_BAD_PARAM_NULL_POINTER)
    TG_EMULATED_NAME(CUDNN_STATUS_NOT_SUPPORTED)
    TG_EMULATED_NAME(CUDNN_STATUS_INTERNAL_ERROR)
    TG_EMULATED_NAME(CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED)
    TG_EMULATED_NAME(CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED)
    TG_EMULATED_NAME(CUDNN_STATUS_EXECUTION_FAILED)
    TG_EMULATED_NAME(CUDNN_STATUS_EXECUTION_FAILED_CUDART)
  }
  return "CUDNN_UNKNOWN_STATUS";
}

cudnnStatus_t cudnnCreateTensorDescriptor(cudnnTensorDescriptor_t *tensorDesc) {
  return create(tensorDesc);
}
cudnnStatus_t cudnnDestroyTensorDescriptor(cudnnTensorDescriptor_t tensorDesc) {
  delete tensorDesc;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetTensorNdDescriptor(cudnnTensorDescriptor_t tensorDesc,
                                         cudnnDataType_t dataType, int nbDims, const int dimA[],
                                         const int strideA[]) {
  return tensor_set(tensorDesc, dataType, nbDims, dimA, strideA);
}

cudnnStatus_t cudnnCreateFilterDescriptor(cudnnFilterDescriptor_t *filterDesc) {
  return create(filterDesc);
}
cudnnStatus_t cudnnDestroyFilterDescriptor(cudnnFilterDescriptor_t filterDesc) {
  delete filterDesc;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetFilterNdDescriptor(cudnnFilterDescriptor_t filterDesc,
                                         cudnnDataType_t dataType, cudnnTensorFormat_t format,
                                         int nbDims, const int filterDimA[]) {
  if (!filterDesc || !filterDimA) return CUDNN_STATUS_BAD_PARAM;
  if (nbDims < 3 || nbDims > CUDNN_DIM_MAX) return CUDNN_STATUS_NOT_SUPPORTED;
  int stride[CUDNN_DIM_MAX];
  int step = format == CUDNN_TENSOR_NHWC ? filterDimA[1] : 1;
  for (int i = nbDims - 1; i >= 2; i--) stride[i] = step, step *= filterDimA[i];
  stride[1] = format == CUDNN_TENSOR_NHWC ? 1 : step;
  stride[0] = format == CUDNN_TENSOR_NHWC ? step : step * filterDimA[1];
  filterDesc->format = format;
  return tensor_set(filterDesc, dataType, nbDims, filterDimA, stride);
}

cudnnStatus_t cudnnCreateConvolutionDescriptor(cudnnConvolutionDescriptor_t *convDesc) {
  return create(convDesc);
}
cudnnStatus_t cudnnDestroyConvolutionDescriptor(cudnnConvolutionDescriptor_t convDesc) {
  delete convDesc;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetConvolutionNdDescriptor(cudnnConvolutionDescriptor_t convDesc,
                                              int arrayLength, const int padA[],
                                              const int filterStrideA[], const int dilationA[],
                                              cudnnConvolutionMode_t mode,
                                              cudnnDataType_t computeType) {
  if (!convDesc || !padA || !filterStrideA || !dilationA) return CUDNN_STATUS_BAD_PARAM;
  if (arrayLength < 1 || arrayLength > 3 || mode != CUDNN_CROSS_CORRELATION ||
      computeType != CUDNN_DATA_FLOAT)
    return CUDNN_STATUS_NOT_SUPPORTED;
  for (int i = 0; i < arrayLength; i++) {
    if (padA[i] < 0 || filterStrideA[i] <= 0 || dilationA[i] <= 0) return CUDNN_STATUS_BAD_PARAM;
    convDesc->pad[i] = padA[i];
    convDesc->stride[i] = filterStrideA[i];
    convDesc->dilation[i] = dilationA[i];
  }
  convDesc->dims = arrayLength;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t convDesc,
                                          cudnnMathType_t mathType) {
  if (!convDesc) return CUDNN_STATUS_BAD_PARAM;
  convDesc->math = mathType;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetConvolutionGroupCount(cudnnConvolutionDescriptor_t convDesc, int groupCount) {
  if (!convDesc || groupCount < 1) return CUDNN_STATUS_BAD_PARAM;
  convDesc->groups = groupCount;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetConvolutionForwardAlgorithm_v7(
    cudnnHandle_t handle, const cudnnTensorDescriptor_t srcDesc,
    const cudnnFilterDescriptor_t filterDesc, const cudnnConvolutionDescriptor_t convDesc,
    const cudnnTensorDescriptor_t destDesc, const int requestedAlgoCount, int *returnedAlgoCount,
    cudnnConvolutionFwdAlgoPerf_t *perfResults) {
  cudnnStatus_t status = check(handle, srcDesc, filterDesc, destDesc, convDesc);
  return status ? status
                : list(FORWARD, convDesc, srcDesc->type, requestedAlgoCount, returnedAlgoCount,
                       perfResults);
}
cudnnStatus_t cudnnGetConvolutionBackwardDataAlgorithm_v7(
    cudnnHandle_t handle, const cudnnFilterDescriptor_t filterDesc,
    const cudnnTensorDescriptor_t diffDesc, const cudnnConvolutionDescriptor_t convDesc,
    const cudnnTensorDescriptor_t gradDesc, const int requestedAlgoCount, int *returnedAlgoCount,
    cudnnConvolutionBwdDataAlgoPerf_t *perfResults) {
  cudnnStatus_t status = check(handle, gradDesc, filterDesc, diffDesc, convDesc);
  return status ? status
                : list(BACKWARD_DATA, convDesc, diffDesc->type, requestedAlgoCount,
                       returnedAlgoCount, perfResults);
}
cudnnStatus_t cudnnGetConvolutionBackwardFilterAlgorithm_v7(
    cudnnHandle_t handle, const cudnnTensorDescriptor_t srcDesc,
    const cudnnTensorDescriptor_t diffDesc, const cudnnConvolutionDescriptor_t convDesc,
    const cudnnFilterDescriptor_t gradDesc, const int requestedAlgoCount, int *returnedAlgoCount,
    cudnnConvolutionBwdFilterAlgoPerf_t *perfResults) {
  cudnnStatus_t status = check(handle, srcDesc, gradDesc, diffDesc, convDesc);
  return status ? status
                : list(BACKWARD_FILTER, convDesc, diffDesc->type, requestedAlgoCount,
                       returnedAlgoCount, perfResults);
}

cudnnStatus_t cudnnGetConvolutionForwardWorkspaceSize(
    cudnnHandle_t handle, const cudnnTensorDescriptor_t xDesc, const cudnnFilterDescriptor_t wDesc,
    const cudnnConvolutionDescriptor_t convDesc, const cudnnTensorDescriptor_t yDesc,
    cudnnConvolutionFwdAlgo_t algo, size_t *sizeInBytes) {
  cudnnStatus_t status = check(handle, xDesc, wDesc, yDesc, convDesc);
  return status ? status : workspace_size(FORWARD, algo, sizeInBytes);
}
cudnnStatus_t cudnnGetConvolutionBackwardDataWorkspaceSize(
    cudnnHandle_t handle, const cudnnFilterDescriptor_t wDesc, const cudnnTensorDescriptor_t dyDesc,
    const cudnnConvolutionDescriptor_t convDesc, const cudnnTensorDescriptor_t dxDesc,
    cudnnConvolutionBwdDataAlgo_t algo, size_t *sizeInBytes) {
  cudnnStatus_t status = check(handle, dxDesc, wDesc, dyDesc, convDesc);
  return status ? status : workspace_size(BACKWARD_DATA, algo, sizeInBytes);
}
cudnnStatus_t cudnnGetConvolutionBackwardFilterWorkspaceSize(
    cudnnHandle_t handle, const cudnnTensorDescriptor_t xDesc, const cudnnTensorDescriptor_t dyDesc,
    const cudnnConvolutionDescriptor_t convDesc, const cudnnFilterDescriptor_t gradDesc,
    cudnnConvolutionBwdFilterAlgo_t algo, size_t *sizeInBytes) {
  cudnnStatus_t status = check(handle, xDesc, gradDesc, dyDesc, convDesc);
  return status ? status : workspace_size(BACKWARD_FILTER, algo, sizeInBytes);
}

cudnnStatus_t cudnnConvolutionForward(cudnnHandle_t handle, const void *alpha,
                                      const cudnnTensorDescriptor_t xDesc, const void *x,
                                      const cudnnFilterDescriptor_t wDesc, const void *w,
                                      const cudnnConvolutionDescriptor_t convDesc,
                                      cudnnConvolutionFwdAlgo_t algo, void *workSpace,
                                      size_t workSpaceSizeInBytes, const void *beta,
                                      const cudnnTensorDescriptor_t yDesc, void *y) {
  request r = {FORWARD, algo, alpha, beta, x, w, y, workSpace, workSpaceSizeInBytes};
  return run(handle, r, xDesc, wDesc, yDesc, convDesc);
}
cudnnStatus_t cudnnConvolutionBackwardData(cudnnHandle_t handle, const void *alpha,
                                           const cudnnFilterDescriptor_t wDesc, const void *w,
                                           const cudnnTensorDescriptor_t dyDesc, const void *dy,
                                           const cudnnConvolutionDescriptor_t convDesc,
                                           cudnnConvolutionBwdDataAlgo_t algo, void *workSpace,
                                           size_t workSpaceSizeInBytes, const void *beta,
                                           const cudnnTensorDescriptor_t dxDesc, void *dx) {
  request r = {BACKWARD_DATA, algo, alpha, beta, dx, w, dy, workSpace, workSpaceSizeInBytes};
  return run(handle, r, dxDesc, wDesc, dyDesc, convDesc);
}
cudnnStatus_t cudnnConvolutionBackwardFilter(cudnnHandle_t handle, const void *alpha,
                                             const cudnnTensorDescriptor_t xDesc, const void *x,
                                             const cudnnTensorDescriptor_t dyDesc, const void *dy,
                                             const cudnnConvolutionDescriptor_t convDesc,
                                             cudnnConvolutionBwdFilterAlgo_t algo, void *workSpace,
                                             size_t workSpaceSizeInBytes, const void *beta,
                                             const cudnnFilterDescriptor_t dwDesc, void *dw) {
  request r = {BACKWARD_FILTER, algo, alpha, beta, x, dw, dy, workSpace, workSpaceSizeInBytes};
  return run(handle, r, xDesc, dwDesc, dyDesc, convDesc);
}
