/* test_emulator_cudnn.cc - convolutions against naive loops over tensors in NCHW order (with a
 * depth: NCDHW), whatever order the emulator was given. */
#include "test_emulator.h"

#include <cuda_bf16.h>
#include <cudnn.h>

#include <cmath>

namespace {

struct shape {
  int space, batch, groups, channels, filters; /* of all groups */
  int in[3], kernel[3], pad[3], stride[3], dilation[3];

  int out(int d) const {
    return (in[d] + 2 * pad[d] - dilation[d] * (kernel[d] - 1) - 1) / stride[d] + 1;
  }
};

int volume(const int s[3]) {
  return s[0] * s[1] * s[2];
}

/* Adds a product to its sum for every input, weight and output that meet: dimensions beyond `space`
 * have size 1. f(x, w, y) takes offsets in NCDHW order. */
template <typename F> void naive(const shape &s, F f) {
  int o[3] = {s.out(0), s.out(1), s.out(2)};
  int c_group = s.channels / s.groups, k_group = s.filters / s.groups;
  for (int n = 0; n < s.batch; n++)
    for (int k = 0; k < s.filters; k++)
      for (int c = 0; c < c_group; c++)
        for (int p = 0; p < volume(o); p++)
          for (int r = 0; r < volume(s.kernel); r++) {
            int ps[3] = {p / (o[1] * o[2]), p / o[2] % o[1], p % o[2]};
            int rs[3] = {r / (s.kernel[1] * s.kernel[2]), r / s.kernel[2] % s.kernel[1],
                         r % s.kernel[2]};
            int at[3];
            bool inside = true;
            for (int d = 0; d < 3; d++) {
              at[d] = ps[d] * s.stride[d] + rs[d] * s.dilation[d] - s.pad[d];
              inside = inside && at[d] >= 0 && at[d] < s.in[d];
            }
            if (!inside) continue;
            int c_in = k / k_group * c_group + c;
            int x = (n * s.channels + c_in) * volume(s.in) + (at[0] * s.in[1] + at[1]) * s.in[2] +
                    at[2];
            int w = (k * c_group + c) * volume(s.kernel) + r;
            int y = (n * s.filters + k) * volume(o) + p;
            f(size_t(x), size_t(w), size_t(y));
          }
}

/* Between NC(space) and N(space)C. */
template <typename T>
std::vector<T> reorder(const std::vector<T> &in, int n, int c, int space, bool to_last) {
  std::vector<T> out(in.size());
  for (int i = 0; i < n; i++)
    for (int j = 0; j < c; j++)
      for (int p = 0; p < space; p++) {
        size_t first = size_t((i * c + j) * space + p), last = size_t((i * space + p) * c + j);
        out[to_last ? last : first] = in[to_last ? first : last];
      }
  return out;
}

struct descriptors {
  cudnnTensorDescriptor_t x = nullptr, y = nullptr;
  cudnnFilterDescriptor_t w = nullptr;
  cudnnConvolutionDescriptor_t c = nullptr;

  descriptors(const shape &s, cudnnDataType_t type, bool last, cudnnMathType_t math) {
    int o[3] = {s.out(0), s.out(1), s.out(2)};
    (void)cudnnCreateTensorDescriptor(&x);
    (void)cudnnCreateTensorDescriptor(&y);
    (void)cudnnCreateFilterDescriptor(&w);
    (void)cudnnCreateConvolutionDescriptor(&c);
    tensor(x, type, s.space, s.batch, s.channels, s.in, last);
    tensor(y, type, s.space, s.batch, s.filters, o, last);
    int size[5] = {s.filters, s.channels / s.groups};
    for (int d = 0; d < s.space; d++) size[2 + d] = s.kernel[d + 3 - s.space];
    CHECK(cudnnSetFilterNdDescriptor(w, type, last ? CUDNN_TENSOR_NHWC : CUDNN_TENSOR_NCHW,
                                     s.space + 2, size) == CUDNN_STATUS_SUCCESS);
    int from = 3 - s.space;
    CHECK(cudnnSetConvolutionNdDescriptor(c, s.space, s.pad + from, s.stride + from,
                                          s.dilation + from, CUDNN_CROSS_CORRELATION,
                                          CUDNN_DATA_FLOAT) == CUDNN_STATUS_SUCCESS);
    CHECK(cudnnSetConvolutionGroupCount(c, s.groups) == CUDNN_STATUS_SUCCESS);
    CHECK(cudnnSetConvolutionMathType(c, math) == CUDNN_STATUS_SUCCESS);
  }
  ~descriptors() {
    (void)cudnnDestroyTensorDescriptor(x);
    (void)cudnnDestroyTensorDescriptor(y);
    (void)cudnnDestroyFilterDescriptor(w);
    (void)cudnnDestroyConvolutionDescriptor(c);
  }

  static void tensor(cudnnTensorDescriptor_t t, cudnnDataType_t type, int space, int n, int c,
                     const int in[3], bool last) {
    int size[5] = {n, c}, stride[5];
    for (int d = 0; d < space; d++) size[2 + d] = in[d + 3 - space];
    int step = last ? c : 1;
    for (int d = space + 1; d >= 2; d--) stride[d] = step, step *= size[d];
    stride[1] = last ? 1 : step;
    stride[0] = c * volume(in);
    CHECK(cudnnSetTensorNdDescriptor(t, type, space + 2, size, stride) == CUDNN_STATUS_SUCCESS);
  }
};

float number(size_t i) {
  return float(int(i * 29 % 61) - 30) / 8.0f;
} /* exact in bfloat16 */

template <typename T> std::vector<T> numbers(int n, size_t from) {
  std::vector<T> out;
  for (int i = 0; i < n; i++) out.push_back(T(number(size_t(i) + from)));
  return out;
}

constexpr float ALPHA = 0.5f, BETA = 2.0f;

template <typename T>
void check_sum(const on_device<T> &got, const std::vector<T> &old, const std::vector<double> &sum,
               int n, int c, int space, bool last) {
  std::vector<T> plain = got.values();
  if (last) plain = reorder(plain, n, c, space, false);
  bool right = true;
  for (size_t i = 0; i < plain.size(); i++)
    right = right && float(plain[i]) == float(T(float(ALPHA * sum[i] + BETA * double(old[i]))));
  CHECK(right);
}

template <typename T>
void check_convolution(cudnnHandle_t handle, const shape &s, cudnnDataType_t type, bool last) {
  descriptors d(s, type, last, CUDNN_DEFAULT_MATH);
  int o[3] = {s.out(0), s.out(1), s.out(2)}, c_group = s.channels / s.groups;
  int in = volume(s.in), out = volume(o), kernel = volume(s.kernel);
  std::vector<T> x = numbers<T>(s.batch * s.channels * in, 3),
                 y = numbers<T>(s.batch * s.filters * out, 5);
  std::vector<T> w = numbers<T>(s.filters * c_group * kernel, 11);
  auto lay = [&](const std::vector<T> &v, int n, int c, int space) {
    return last ? reorder(v, n, c, space, true) : v;
  };
  on_device<T> dx(lay(x, s.batch, s.channels, in)), dy(lay(y, s.batch, s.filters, out));
  on_device<T> dw(lay(w, s.filters, c_group, kernel));
  on_device<char> workspace(128);
  std::vector<double> sx(x.size()), sy(y.size()), sw(w.size());
  auto at = [](const std::vector<T> &v, size_t i) { return double(float(v[i])); };
  naive(s, [&](size_t i, size_t j, size_t k) { sy[k] += at(x, i) * at(w, j); });
  CHECK(cudnnConvolutionForward(handle, &ALPHA, d.x, dx.get(), d.w, dw.get(), d.c,
                                CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM, workspace.get(),
                                128, &BETA, d.y, dy.get()) == CUDNN_STATUS_SUCCESS);
  check_sum(dy, y, sy, s.batch, s.filters, out, last);
  dy.put(lay(y, s.batch, s.filters, out));
  naive(s, [&](size_t i, size_t j, size_t k) { sw[j] += at(x, i) * at(y, k); });
  CHECK(cudnnConvolutionBackwardFilter(handle, &ALPHA, d.x, dx.get(), d.y, dy.get(), d.c,
                                       CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1, workspace.get(), 128,
                                       &BETA, d.w, dw.get()) == CUDNN_STATUS_SUCCESS);
  check_sum(dw, w, sw, s.filters, c_group, kernel, last);
  dw.put(lay(w, s.filters, c_group, kernel));
  naive(s, [&](size_t i, size_t j, size_t k) { sx[i] += at(w, j) * at(y, k); });
  CHECK(cudnnConvolutionBackwardData(handle, &ALPHA, d.w, dw.get(), d.y, dy.get(), d.c,
                                     CUDNN_CONVOLUTION_BWD_DATA_ALGO_0, nullptr, 0, &BETA, d.x,
                                     dx.get()) == CUDNN_STATUS_SUCCESS);
  check_sum(dx, x, sx, s.batch, s.channels, in, last);
}

const shape shapes[] = {{2, 2, 1, 3, 4, {1, 7, 5}, {1, 3, 3}, {0, 1, 1}, {1, 1, 1}, {1, 1, 1}},
                        {2, 1, 1, 2, 3, {1, 8, 9}, {1, 3, 2}, {0, 0, 1}, {1, 2, 3}, {1, 1, 2}},
                        {2, 3, 2, 4, 6, {1, 5, 5}, {1, 1, 3}, {0, 0, 2}, {1, 2, 1}, {1, 1, 1}},
                        {2, 2, 1, 1, 1, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}, {1, 1, 1}, {1, 1, 1}},
                        {1, 2, 1, 3, 2, {1, 1, 11}, {1, 1, 4}, {0, 0, 2}, {1, 1, 2}, {1, 1, 1}},
                        {3, 2, 1, 2, 3, {5, 4, 3}, {3, 2, 3}, {1, 0, 1}, {2, 1, 1}, {1, 1, 1}}};

void test_algorithms(cudnnHandle_t handle) {
  descriptors d(shapes[0], CUDNN_DATA_FLOAT, true, CUDNN_FMA_MATH);
  cudnnConvolutionFwdAlgoPerf_t forward[8];
  cudnnConvolutionBwdDataAlgoPerf_t data[8];
  cudnnConvolutionBwdFilterAlgoPerf_t filter[8];
  int n = 0;
  size_t bytes = 7;
  CHECK(cudnnGetConvolutionForwardAlgorithm_v7(handle, d.x, d.w, d.c, d.y, 2, &n, forward) ==
            CUDNN_STATUS_SUCCESS &&
        n == 2);
  CHECK(forward[0].status == CUDNN_STATUS_SUCCESS && forward[0].memory == 128 &&
        forward[0].mathType == CUDNN_FMA_MATH);
  CHECK(cudnnGetConvolutionBackwardDataAlgorithm_v7(handle, d.w, d.y, d.c, d.x, 8, &n, data) ==
            CUDNN_STATUS_SUCCESS &&
        n == 3);
  CHECK(data[2].status == CUDNN_STATUS_NOT_SUPPORTED);
  CHECK(cudnnGetConvolutionBackwardFilterAlgorithm_v7(handle, d.x, d.y, d.c, d.w, 8, &n, filter) ==
            CUDNN_STATUS_SUCCESS &&
        n == 3);
  CHECK(filter[0].determinism == CUDNN_NON_DETERMINISTIC &&
        filter[1].determinism == CUDNN_DETERMINISTIC);
  CHECK(cudnnGetConvolutionForwardWorkspaceSize(handle, d.x, d.w, d.c, d.y, forward[1].algo,
                                                &bytes) == CUDNN_STATUS_SUCCESS &&
        bytes == 0);
  CHECK(cudnnGetConvolutionBackwardFilterWorkspaceSize(handle, d.x, d.y, d.c, d.w, filter[1].algo,
                                                       &bytes) == CUDNN_STATUS_SUCCESS &&
        bytes == 128);
  CHECK(cudnnGetConvolutionBackwardDataWorkspaceSize(handle, d.w, d.y, d.c, d.x, data[2].algo,
                                                     &bytes) == CUDNN_STATUS_NOT_SUPPORTED);
}

void test_wrong_calls(cudnnHandle_t handle) {
  shape other = shapes[0];
  other.in[1]++;
  descriptors d(shapes[0], CUDNN_DATA_FLOAT, true, CUDNN_DEFAULT_MATH);
  descriptors o(other, CUDNN_DATA_FLOAT, true, CUDNN_DEFAULT_MATH);
  descriptors plain(shapes[0], CUDNN_DATA_FLOAT, false, CUDNN_DEFAULT_MATH);
  descriptors half(shapes[0], CUDNN_DATA_BFLOAT16, true, CUDNN_DEFAULT_MATH);
  on_device<float> x(400), w(108), y(280);
  float one = 1, host[400];
  auto run = [&](cudnnTensorDescriptor_t in, cudnnTensorDescriptor_t out, const void *from,
                 void *workspace, cudnnConvolutionFwdAlgo_t algorithm) {
    return cudnnConvolutionForward(handle, &one, in, from, d.w, w.get(), d.c, algorithm, workspace,
                                   workspace ? 128 : 0, &one, out, y.get());
  };
  const auto plain_gemm = CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM,
             with_space = CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM;
  CHECK(run(d.x, d.y, x.get(), nullptr, plain_gemm) == CUDNN_STATUS_SUCCESS);
  CHECK(run(o.x, d.y, x.get(), nullptr, plain_gemm) == CUDNN_STATUS_BAD_PARAM);
  CHECK(run(d.x, o.y, x.get(), nullptr, plain_gemm) == CUDNN_STATUS_BAD_PARAM);
  CHECK(run(d.x, d.y, x.get(), nullptr, with_space) == CUDNN_STATUS_BAD_PARAM);
  CHECK(run(d.x, d.y, nullptr, nullptr, plain_gemm) == CUDNN_STATUS_BAD_PARAM);
  CHECK(run(plain.x, d.y, x.get(), nullptr, plain_gemm) == CUDNN_STATUS_NOT_SUPPORTED);
  CHECK(run(half.x, d.y, x.get(), nullptr, plain_gemm) == CUDNN_STATUS_NOT_SUPPORTED);
  CHECK(run(d.x, d.y, x.get(), nullptr, CUDNN_CONVOLUTION_FWD_ALGO_FFT) ==
        CUDNN_STATUS_NOT_SUPPORTED);
  CHECK(dies("in device memory", [&] { run(d.x, d.y, host, nullptr, plain_gemm); }));
  CHECK(dies("in device memory", [&] { run(d.x, d.y, x.get(), host, with_space); }));
}

void test_tf32(cudnnHandle_t handle) {
  on_device<float> x(std::vector<float>(2, 1.0f + 0x1p-12f)), w(std::vector<float>{1}), y(2);
  float one = 1, zero = 0;
  for (cudnnMathType_t math : {CUDNN_DEFAULT_MATH, CUDNN_FMA_MATH}) {
    descriptors d(shapes[3], CUDNN_DATA_FLOAT, true, math);
    CHECK(cudnnConvolutionForward(handle, &one, d.x, x.get(), d.w, w.get(), d.c,
                                  CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM, nullptr, 0, &zero, d.y,
                                  y.get()) == CUDNN_STATUS_SUCCESS);
    CHECK(y.values()[1] == (math == CUDNN_FMA_MATH ? 1.0f + 0x1p-12f : 1.0f));
  }
}

} // namespace

void test_cudnn() {
  cudnnHandle_t handle = nullptr;
  CHECK(cudnnCreate(&handle) == CUDNN_STATUS_SUCCESS);
  for (const shape &s : shapes)
    for (bool last : {false, true}) {
      check_convolution<float>(handle, s, CUDNN_DATA_FLOAT, last);
      check_convolution<__nv_bfloat16>(handle, s, CUDNN_DATA_BFLOAT16, last);
    }
  test_algorithms(handle);
  test_wrong_calls(handle);
  test_tf32(handle);
  CHECK(cudnnDestroy(handle) == CUDNN_STATUS_SUCCESS);
}
