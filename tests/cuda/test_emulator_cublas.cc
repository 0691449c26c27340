/* test_emulator_cublas.cc - matrix products against a naive loop. */
#include "test_emulator.h"

#include <cublas_v2.h>
#include <cuda_bf16.h>

#include <cmath>

namespace {

float number(size_t i) {
  return float(int(i * 37 % 101) - 50) / 16.0f;
} /* exact in bfloat16 */

struct gemm_case {
  cublasOperation_t ta, tb;
  int m, n, k, pad; /* pad: rows between columns */
  float alpha, beta;
};

/* What C must hold, column-major with ldc rows. */
std::vector<float> naive(const gemm_case &g, const std::vector<float> &a, int lda,
                         const std::vector<float> &b, int ldb, std::vector<float> c, int ldc) {
  for (int i = 0; i < g.m; i++)
    for (int j = 0; j < g.n; j++) {
      double sum = 0;
      for (int l = 0; l < g.k; l++) {
        int at = g.ta == CUBLAS_OP_N ? i + l * lda : l + i * lda;
        int bt = g.tb == CUBLAS_OP_N ? l + j * ldb : j + l * ldb;
        sum += double(a[size_t(at)]) * double(b[size_t(bt)]);
      }
      float &out = c[size_t(i + j * ldc)];
      out = float(double(g.alpha) * sum + (g.beta == 0 ? 0.0 : double(g.beta) * double(out)));
    }
  return c;
}

bool same(const std::vector<float> &a, const std::vector<float> &b) {
  for (size_t i = 0; i < a.size(); i++)
    if (!(a[i] == b[i]) && !(std::isnan(a[i]) && std::isnan(b[i]))) return false;
  return a.size() == b.size();
}

template <typename T, typename From> std::vector<T> as(const std::vector<From> &x) {
  return std::vector<T>(x.begin(), x.end());
}

template <typename AB, typename C>
void check_gemm(cublasHandle_t handle, const gemm_case &g, cudaDataType ab, cudaDataType c_type) {
  int lda = (g.ta == CUBLAS_OP_N ? g.m : g.k) + g.pad,
      ldb = (g.tb == CUBLAS_OP_N ? g.k : g.n) + g.pad;
  int ldc = g.m + g.pad;
  std::vector<float> a(size_t(lda * (g.ta == CUBLAS_OP_N ? g.k : g.m)) + 1);
  std::vector<float> b(size_t(ldb * (g.tb == CUBLAS_OP_N ? g.n : g.k)) + 1);
  std::vector<float> c(size_t(ldc * g.n), g.beta == 0 ? NAN : 0.5f);
  for (size_t i = 0; i < a.size(); i++) a[i] = number(i);
  for (size_t i = 0; i < b.size(); i++) b[i] = number(i + 7);
  on_device<AB> da(as<AB>(a)), db(as<AB>(b));
  on_device<C> dc(as<C>(c));
  CHECK(cublasGemmEx(handle, g.ta, g.tb, g.m, g.n, g.k, &g.alpha, da.get(), ab, lda, db.get(), ab,
                     ldb, &g.beta, dc.get(), c_type, ldc, CUBLAS_COMPUTE_32F,
                     CUBLAS_GEMM_DEFAULT) == CUBLAS_STATUS_SUCCESS);
  std::vector<C> got = dc.values();
  std::vector<float> expected = naive(g, a, lda, b, ldb, c, ldc);
  CHECK(same(as<float>(got), as<float>(as<C>(expected))));
}

void test_products(cublasHandle_t handle) {
  const auto N = CUBLAS_OP_N, T = CUBLAS_OP_T;
  const gemm_case cases[] = {{N, N, 3, 4, 5, 0, 1, 0}, {T, N, 7, 3, 31, 2, 0.5f, 0},
                             {N, T, 1, 9, 6, 1, 2, 1}, {T, T, 5, 5, 3, 3, -1, 0.25f},
                             {N, N, 4, 2, 0, 1, 1, 2}, {N, N, 33, 1, 17, 0, 1, 0}};
  for (const gemm_case &g : cases) {
    check_gemm<float, float>(handle, g, CUDA_R_32F, CUDA_R_32F);
    check_gemm<__nv_bfloat16, float>(handle, g, CUDA_R_16BF, CUDA_R_32F);
    check_gemm<__nv_bfloat16, __nv_bfloat16>(handle, g, CUDA_R_16BF, CUDA_R_16BF);
  }
}

void test_arguments(cublasHandle_t handle) {
  on_device<float> a(4), b(4), c(4);
  float one = 1, host[4] = {0};
  const auto N = CUBLAS_OP_N;
  auto gemm = [&](int m, int lda, cudaDataType type_a, cudaDataType type_c) {
    return cublasGemmEx(handle, N, N, m, 2, 2, &one, a.get(), type_a, lda, b.get(), CUDA_R_32F, 2,
                        &one, c.get(), type_c, 2, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);
  };
  CHECK(gemm(2, 2, CUDA_R_32F, CUDA_R_32F) == CUBLAS_STATUS_SUCCESS);
  CHECK(gemm(0, 2, CUDA_R_32F, CUDA_R_32F) == CUBLAS_STATUS_SUCCESS);
  CHECK(gemm(-1, 2, CUDA_R_32F, CUDA_R_32F) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK(gemm(2, 1, CUDA_R_32F, CUDA_R_32F) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK(gemm(2, 2, CUDA_R_16BF, CUDA_R_32F) == CUBLAS_STATUS_NOT_SUPPORTED);
  CHECK(gemm(2, 2, CUDA_R_32F, CUDA_R_16BF) == CUBLAS_STATUS_NOT_SUPPORTED);
  CHECK(dies("cuBLAS: a matrix", [&] {
    (void)cublasSgemm(handle, N, N, 2, 2, 2, &one, a.get(), 2, b.get(), 2, &one, host, 2);
  }));
  CHECK(dies("cuBLAS: a matrix", [&] { gemm(2, 3, CUDA_R_32F, CUDA_R_32F); }));
  CHECK(cublasSetWorkspace(handle, host, sizeof host) == CUBLAS_STATUS_INVALID_VALUE);
}

void test_tf32(cublasHandle_t handle) {
  on_device<float> a(std::vector<float>{1.0f + 0x1p-12f}), b(std::vector<float>{1.0f}), c(1);
  float one = 1, zero = 0;
  const auto N = CUBLAS_OP_N;
  auto run = [&] {
    (void)cublasSgemm(handle, N, N, 1, 1, 1, &one, a.get(), 1, b.get(), 1, &zero, c.get(), 1);
    return c.values()[0];
  };
  CHECK(run() == 1.0f + 0x1p-12f);
  CHECK(cublasSetMathMode(handle, CUBLAS_TF32_TENSOR_OP_MATH) == CUBLAS_STATUS_SUCCESS);
  CHECK(run() == 1.0f);
  CHECK(cublasSetMathMode(handle, CUBLAS_DEFAULT_MATH) == CUBLAS_STATUS_SUCCESS);
}

void test_capture(cublasHandle_t handle) {
  cudaStream_t s = nullptr;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  on_device<float> a(std::vector<float>{2}), b(std::vector<float>{3}), c(std::vector<float>{1});
  on_device<float> workspace(1024);
  float alpha = 1, beta = 1;
  CHECK_CUDA(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
  CHECK(cublasSetStream(handle, s) == CUBLAS_STATUS_SUCCESS);
  CHECK(cublasSetWorkspace(handle, workspace.get(), 4096) == CUBLAS_STATUS_SUCCESS);
  CHECK_CUDA(cudaStreamBeginCapture(s, cudaStreamCaptureModeGlobal));
  CHECK(cublasSgemm(handle, CUBLAS_OP_N, CUBLAS_OP_N, 1, 1, 1, &alpha, a.get(), 1, b.get(), 1,
                    &beta, c.get(), 1) == CUBLAS_STATUS_SUCCESS);
  alpha = 100; /* read when the call is made */
  CHECK_CUDA(cudaStreamEndCapture(s, &graph));
  CHECK(c.values()[0] == 1);
  CHECK_CUDA(cudaGraphInstantiate(&exec, graph, 0));
  CHECK_CUDA(cudaGraphLaunch(exec, s));
  CHECK_CUDA(cudaGraphLaunch(exec, s));
  CHECK_CUDA(cudaStreamSynchronize(s));
  CHECK(c.values()[0] == 13 && alpha == 100);
  CHECK_CUDA(cudaGraphExecDestroy(exec));
  CHECK_CUDA(cudaGraphDestroy(graph));
  CHECK_CUDA(cudaStreamDestroy(s));
}

} // namespace

void test_cublas() {
  cublasHandle_t handle = nullptr;
  CHECK(cublasCreate(&handle) == CUBLAS_STATUS_SUCCESS);
  test_products(handle);
  test_arguments(handle);
  test_tf32(handle);
  test_capture(handle);
  CHECK(cublasDestroy(handle) == CUBLAS_STATUS_SUCCESS);
}
