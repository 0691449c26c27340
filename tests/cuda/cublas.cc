/* cublas.cc - matrix products of the emulator. */
#include "elements.h"
#include "emulator.h"

#include <cublas_v2.h>

#include <algorithm>
#include <cstring>

struct cublasContext {
  cudaStream_t stream = nullptr;
  cublasMath_t math = CUBLAS_DEFAULT_MATH;
  void *workspace = nullptr;
  size_t workspace_bytes = 0;
};

namespace tg_emulator {
namespace {

/* op(X) is rows x columns; X itself lies transposed where `transposed`. */
struct matrix {
  const void *data;
  bool is_bf16, transposed;
  int rows, columns, ld;

  size_t offset(int r, int c) const {
    return transposed ? size_t(c) + size_t(r) * size_t(ld) : size_t(r) + size_t(c) * size_t(ld);
  }
  int stored_rows() const { return transposed ? columns : rows; }
  bool legal() const { return rows >= 0 && columns >= 0 && ld >= std::max(1, stored_rows()); }
  bool in_device_memory() const {
    if (rows == 0 || columns == 0) return true;
    return device_can_use(data, (offset(rows - 1, columns - 1) + 1) * element_bytes(is_bf16));
  }
};

struct product {
  matrix a, b, c;
  float alpha, beta;
  bool tf32;
  void *out, *workspace;
  size_t workspace_bytes;
};

float factor(const matrix &x, int r, int c, bool tf32) {
  float value = element_get(x.data, x.is_bf16, x.offset(r, c));
  return tf32 ? to_tf32(value) : value;
}

void multiply(const product &p) {
  int m = p.c.rows, n = p.c.columns, k = p.alpha == 0 ? 0 : p.a.columns;
  /* A library may leave anything in its workspace: so does this one. */
  if (p.workspace_bytes) std::memset(p.workspace, 0xff, std::min(p.workspace_bytes, size_t(4096)));
  std::vector<float> row(size_t(m) * size_t(k), 0.0f), column(size_t(k), 0.0f);
  for (int i = 0; i < m; i++)
    for (int l = 0; l < k; l++) row[size_t(i) * size_t(k) + size_t(l)] = factor(p.a, i, l, p.tf32);
  for (int j = 0; j < n; j++) {
    for (int l = 0; l < k; l++) column[size_t(l)] = factor(p.b, l, j, p.tf32);
    for (int i = 0; i < m; i++) {
      const float *x = row.data() + size_t(i) * size_t(k);
      double sum = 0;
      for (int l = 0; l < k; l++) sum += double(x[l]) * double(column[size_t(l)]);
      size_t at = p.c.offset(i, j);
      double old = p.beta == 0 ? 0 : double(p.beta) * element_get(p.out, p.c.is_bf16, at);
      element_set(p.out, p.c.is_bf16, at, double(p.alpha) * sum + old);
    }
  }
}

cublasStatus_t queue(cublasHandle_t handle, const product &p) {
  if (!p.a.legal() || !p.b.legal() || !p.c.legal()) return CUBLAS_STATUS_INVALID_VALUE;
  if (p.c.rows == 0 || p.c.columns == 0) return CUBLAS_STATUS_SUCCESS;
  if (!p.c.in_device_memory() || !p.a.in_device_memory() || !p.b.in_device_memory())
    die("cuBLAS: a matrix of the product %d x %d x %d is not, or not wholly, in device memory",
        p.c.rows, p.c.columns, p.a.columns);
  cudaError_t error = enqueue(handle->stream, [p] {
    multiply(p);
    check_guards("cuBLAS");
  });
  return error == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}

bool known(cudaDataType type) {
  return type == CUDA_R_32F || type == CUDA_R_16BF;
}
bool known(cublasOperation_t op) {
  return op >= CUBLAS_OP_N && op <= CUBLAS_OP_C;
}
bool known(cublasComputeType_t type) {
  return type == CUBLAS_COMPUTE_32F || type == CUBLAS_COMPUTE_32F_PEDANTIC ||
         type == CUBLAS_COMPUTE_32F_FAST_TF32;
}

} // namespace
} // namespace tg_emulator

using namespace tg_emulator;

cublasStatus_t cublasCreate_v2(cublasHandle_t *handle) {
  if (!handle) return CUBLAS_STATUS_INVALID_VALUE;
  if (device_count() == 0) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (capture_forbids()) return CUBLAS_STATUS_ALLOC_FAILED;
  *handle = new cublasContext;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy_v2(cublasHandle_t handle) {
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGetVersion_v2(cublasHandle_t handle, int *version) {
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (!version) return CUBLAS_STATUS_INVALID_VALUE;
  *version = 130100;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t streamId) {
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  handle->stream = streamId;
  handle->workspace = nullptr; /* so does cuBLAS: the workspace is to be set after the stream */
  handle->workspace_bytes = 0;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t handle, void *workspace, size_t bytes) {
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (uintptr_t(workspace) % 256 || (bytes && !device_can_use(workspace, bytes)))
    return CUBLAS_STATUS_INVALID_VALUE;
  handle->workspace = workspace;
  handle->workspace_bytes = bytes;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetPointerMode_v2(cublasHandle_t handle, cublasPointerMode_t mode) {
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  return mode == CUBLAS_POINTER_MODE_HOST ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode) {
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  handle->math = mode;
  return CUBLAS_STATUS_SUCCESS;
}

#define TG_EMULATED_CUBLAS_STATUSES(X)                                                             \
  X(CUBLAS_STATUS_SUCCESS, "success")                                                              \
  X(CUBLAS_STATUS_NOT_INITIALIZED, "the library was not initialized")                              \
  X(CUBLAS_STATUS_ALLOC_FAILED, "the resource allocation failed")                                  \
  X(CUBLAS_STATUS_INVALID_VALUE, "an unsupported value or parameter was passed to the function")   \
  X(CUBLAS_STATUS_ARCH_MISMATCH, "a feature is absent from the device architecture")               \
  X(CUBLAS_STATUS_MAPPING_ERROR, "an access to GPU memory space failed")                           \
  X(CUBLAS_STATUS_EXECUTION_FAILED, "the function failed to launch on the GPU")                    \
  X(CUBLAS_STATUS_INTERNAL_ERROR, "an internal operation failed")                                  \
  X(CUBLAS_STATUS_NOT_SUPPORTED, "the functionality requested is not supported")                   \
  X(CUBLAS_STATUS_LICENSE_ERROR, "the functionality requested requires a license")

const char *cublasGetStatusName(cublasStatus_t status) {
#define TG_EMULATED_NAME(name, text)                                                               \
  if (status == name) return #name;
  TG_EMULATED_CUBLAS_STATUSES(TG_EMULATED_NAME)
  return "unknown status";
}

const char *cublasGetStatusString(cublasStatus_t status) {
#define TG_EMULATED_STRING(name, text)                                                             \
  if (status == name) return text;
  TG_EMULATED_CUBLAS_STATUSES(TG_EMULATED_STRING)
  return "unknown status";
}

cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t transa,
                            cublasOperation_t transb, int m, int n, int k, const void *alpha,
                            const void *A, cudaDataType Atype, int lda, const void *B,
                            cudaDataType Btype, int ldb, const void *beta, void *C,
                            cudaDataType Ctype, int ldc, cublasComputeType_t computeType,
                            cublasGemmAlgo_t) {
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (!alpha || !beta || !known(transa) || !known(transb)) return CUBLAS_STATUS_INVALID_VALUE;
  if (!known(Atype) || !known(Ctype) || Atype != Btype || !known(computeType) ||
      (Atype == CUDA_R_32F && Ctype == CUDA_R_16BF))
    return CUBLAS_STATUS_NOT_SUPPORTED;
  product p;
  p.a = matrix{A, Atype == CUDA_R_16BF, transa != CUBLAS_OP_N, m, k, lda};
  p.b = matrix{B, Btype == CUDA_R_16BF, transb != CUBLAS_OP_N, k, n, ldb};
  p.c = matrix{C, Ctype == CUDA_R_16BF, false, m, n, ldc};
  std::memcpy(&p.alpha, alpha, sizeof p.alpha);
  std::memcpy(&p.beta, beta, sizeof p.beta);
  p.tf32 =
      Atype == CUDA_R_32F &&
      (computeType == CUBLAS_COMPUTE_32F_FAST_TF32 ||
       (computeType == CUBLAS_COMPUTE_32F && (handle->math & 15) == CUBLAS_TF32_TENSOR_OP_MATH));
  p.out = C;
  p.workspace = handle->workspace;
  p.workspace_bytes = handle->workspace_bytes;
  return queue(handle, p);
}

cublasStatus_t cublasSgemm_v2(cublasHandle_t handle, cublasOperation_t transa,
                              cublasOperation_t transb, int m, int n, int k, const float *alpha,
                              const float *A, int lda, const float *B, int ldb, const float *beta,
                              float *C, int ldc) {
  return cublasGemmEx(handle, transa, transb, m, n, k, alpha, A, CUDA_R_32F, lda, B, CUDA_R_32F,
                      ldb, beta, C, CUDA_R_32F, ldc, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);
}
