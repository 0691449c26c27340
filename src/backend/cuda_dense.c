/* cuda_dense.c - dense layers, by cuBLAS.
 *
 * Operands are of one type: bf16 where x or y is, else float32; what is of the other type is
 * converted. Sums are float32, and results have whatever type they need: logits and gradients of
 * weights leave the products as float32 without having been bf16. Compared with ref_dense of
 * tests/support/ref_ops.c.
 *
 * cuBLAS has columns where the house has rows: its matrix [m,n] is ours [n,m]. */
#include <limits.h>
#include <stdlib.h>

#include "backend/cuda_device.h"
#include "kernels/dense.h"

typedef struct dense {
  tg_dtype dtype; /* of the operands */
  int batch, in, out;
  /* Workspace: weights, then x, each only if it is converted. Scratch: forward, sums that wait for
   * their bias; backward, the gradient before a ReLU and in the operands' type, if it is not dy
   * itself, then partial sums of the bias. */
  size_t x_at, sums_at;
} dense;

static bool converts(const dense *k, const tg_tensor *t) {
  return t->dtype != k->dtype;
}

static size_t operand_bytes(const dense *k, const tg_shape *shape) {
  return tg_cuda_round(tg_shape_count(shape) * tg_dtype_bytes(k->dtype));
}

static bool has_bias(const tg_exec *e) {
  return e->node->param_count > 1;
}

/* Whether the products stay float32, in scratch, until the bias has been added. */
static bool rounds_behind_bias(const tg_exec *e) {
  return e->y->dtype == TG_BF16 && has_bias(e);
}

/* ---- planning ---- */

static tg_status check_size(const tg_exec *e) {
  int64_t batch = e->y->shape.dim[0], out = e->y->shape.dim[1], in = e->x[0]->shape.dim[1];
  if (batch <= INT_MAX && out <= INT_MAX && in <= INT_MAX) return TG_OK;
  TG_FAIL(TG_ECONFIG, "%s: batch %lld, %lld inputs, %lld outputs are too many for cuBLAS",
          e->node->name, (long long)batch, (long long)in, (long long)out);
}

static void place(tg_exec *e, dense *k) {
  bool own_dy = e->train && (e->fuse_relu || converts(k, e->y));
  if (k->dtype != TG_F32) k->x_at = operand_bytes(k, &e->node->param[0]->shape);
  e->workspace_bytes = k->x_at;
  if (converts(k, e->x[0]))
    e->workspace_bytes += operand_bytes(k, &e->x[0]->shape);
  else
    e->keep_x[0] = true;
  e->keep_y = e->fuse_relu;
  k->sums_at = own_dy ? operand_bytes(k, &e->y->shape) : 0;
  tg_cuda_need_scratch(e, k->sums_at);
  if (rounds_behind_bias(e)) tg_cuda_need_scratch(e, tg_shape_count(&e->y->shape) * sizeof(float));
  if (e->train && has_bias(e))
    tg_cuda_need_scratch(e, k->sums_at + tg_cuda_bias_bytes(k->batch, k->out));
}

static tg_status prepare(tg_exec *e) {
  TG_TRY(check_size(e));
  dense *k = calloc(1, sizeof *k);
  if (!k) TG_FAIL(TG_ERUNTIME, "no memory for the kernel of %s", e->node->name);
  e->state = k;
  *k = (dense){.dtype = e->x[0]->dtype == TG_BF16 || e->y->dtype == TG_BF16 ? TG_BF16 : TG_F32,
               .batch = (int)e->y->shape.dim[0],
               .in = (int)e->x[0]->shape.dim[1],
               .out = (int)e->y->shape.dim[1]};
  place(e, k);
  return TG_OK;
}

/* ---- products ---- */

/* One operand: row-major [rows, columns], transposed by cuBLAS or not. */
typedef struct matrix {
  const void *data;
  int columns;
  bool transposed;
} matrix;

static cudaDataType data_type(tg_dtype dtype) {
  return dtype == TG_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

/* out [rows, columns] = a [rows, inner] b [inner, columns]. */
static tg_status multiply(const tg_exec *e, int rows, int columns, int inner, matrix a, matrix b,
                          tg_dtype out_type, void *out) {
  static const float one = 1, zero = 0;
  const dense *k = e->state;
  const tg_cuda_device *d = tg_cuda(e->device);
  bool tf32 = d->tf32 && k->dtype == TG_F32;
  cudaDataType type = data_type(k->dtype);
  TG_CUBLAS(e, cublasGemmEx(d->blas, b.transposed ? CUBLAS_OP_T : CUBLAS_OP_N,
                            a.transposed ? CUBLAS_OP_T : CUBLAS_OP_N, columns, rows, inner, &one,
                            b.data, type, b.columns, a.data, type, a.columns, &zero, out,
                            data_type(out_type), columns,
                            tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F,
                            CUBLAS_GEMM_DEFAULT));
  return TG_OK;
}

/* Where cuBLAS finds x and the weights. */
static const void *operand_x(const tg_exec *e, const dense *k) {
  return converts(k, e->x[0]) ? (char *)e->workspace + k->x_at : e->x[0]->data;
}
static const void *operand_w(const tg_exec *e, const dense *k) {
  return k->dtype == TG_F32 ? (const void *)e->w[0] : e->workspace;
}

static tg_status forward(tg_exec *e) {
  const dense *k = e->state;
  const tg_cuda_launch *l = &tg_cuda(e->device)->launch;
  const tg_tensor *x = e->x[0];
  if (k->dtype != TG_F32)
    TG_LAUNCHED(
        e, tg_cuda_convert(l, e->node->param[0]->count, TG_F32, e->w[0], k->dtype, e->workspace));
  if (converts(k, x))
    TG_LAUNCHED(e, tg_cuda_convert(l, tg_shape_count(&x->shape), x->dtype, x->data, k->dtype,
                                   (char *)e->workspace + k->x_at));
  matrix in = {operand_x(e, k), k->in, false}, weights = {operand_w(e, k), k->in, true};
  if (rounds_behind_bias(e)) {
    TG_TRY(multiply(e, k->batch, k->out, k->in, in, weights, TG_F32, e->scratch));
    TG_LAUNCHED(e, tg_cuda_bias_to_bf16(l, k->batch, k->out, e->scratch, e->w[1], e->fuse_relu,
                                        e->y->data));
    return TG_OK;
  }
  TG_TRY(multiply(e, k->batch, k->out, k->in, in, weights, e->y->dtype, e->y->data));
  if (has_bias(e) || e->fuse_relu)
    TG_LAUNCHED(e, tg_cuda_bias(l, e->y->dtype, k->batch, k->out, has_bias(e) ? e->w[1] : NULL,
                                e->fuse_relu, e->y->data));
  return TG_OK;
}

/* dbias = column sums of dy, where y > 0 if y is not NULL; what was summed goes to masked. */
static tg_status backward_bias(const tg_exec *e, tg_dtype dtype, const void *dy, const void *y,
                               void *masked) {
  const dense *k = e->state;
  if (!has_bias(e)) return TG_OK;
  TG_LAUNCHED(e, tg_cuda_bias_backward(&tg_cuda(e->device)->launch, dtype, k->batch, k->out, dy, y,
                                       masked, e->dw[1], (char *)e->scratch + k->sums_at));
  return TG_OK;
}

/* The operand of the products, which is dy as it was before the ReLU and in the operands' type: dy
 * itself, or made in scratch. And the gradient of the bias, in the same pass where it can be. */
static tg_status operand_dy(const tg_exec *e, const void **out) {
  const dense *k = e->state;
  const tg_cuda_launch *l = &tg_cuda(e->device)->launch;
  const tg_tensor *y = e->y;
  size_t n = tg_shape_count(&y->shape);
  bool same = !converts(k, y);
  *out = same && !e->fuse_relu ? e->dy : e->scratch;
  if (same && !e->fuse_relu) return backward_bias(e, y->dtype, e->dy, NULL, NULL);
  if (same && has_bias(e)) return backward_bias(e, y->dtype, e->dy, y->data, e->scratch);
  if (e->fuse_relu)
    TG_LAUNCHED(e, tg_cuda_relu_backward(l, n, y->dtype, y->data, e->dy, k->dtype, e->scratch));
  else
    TG_LAUNCHED(e, tg_cuda_convert(l, n, y->dtype, e->dy, k->dtype, e->scratch));
  return backward_bias(e, k->dtype, e->scratch, NULL, NULL);
}

static tg_status backward(tg_exec *e) {
  const dense *k = e->state;
  const void *dy = NULL;
  TG_TRY(operand_dy(e, &dy));
  matrix x = {operand_x(e, k), k->in, false}, weights = {operand_w(e, k), k->in, false};
  matrix gradient = {dy, k->out, false}, gradient_columns = {dy, k->out, true};
  TG_TRY(multiply(e, k->out, k->in, k->batch, gradient_columns, x, TG_F32, e->dw[0]));
  if (!e->dx[0]) return TG_OK;
  return multiply(e, k->batch, k->in, k->out, gradient, weights, e->x[0]->dtype, e->dx[0]);
}

static void destroy(tg_exec *e) {
  free(e->state);
  e->state = NULL;
}

const tg_kernel tg_cuda_kernel_dense = {.fuses_relu = true,
                                        .prepare = prepare,
                                        .forward = forward,
                                        .backward = backward,
                                        .destroy = destroy};
