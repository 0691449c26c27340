/* cpu_dense.c - dense layers: OpenBLAS in float32; where operands are bf16, cpu_dense_bf16.c. */
#include <cblas.h>
#include <limits.h>

#include "backend/cpu_dense.h"

/* ---- with a ReLU behind it: y = max(y, 0), and dy passes where y > 0 ---- */

static void mask_f32(size_t n, const float *dy, const float *y, float *out) {
#pragma omp parallel for simd schedule(static) if (n >= TG_CPU_WORTH_THREADS)
  for (size_t i = 0; i < n; i++) out[i] = y[i] > 0 ? dy[i] : 0;
}

/* A bf16 number is positive when its bits are, as an integer. */
static void mask_bf16(size_t n, const uint16_t *dy, const int16_t *y, uint16_t *out) {
#pragma omp parallel for simd schedule(static) if (n >= TG_CPU_WORTH_THREADS)
  for (size_t i = 0; i < n; i++) out[i] = y[i] > 0 ? dy[i] : 0;
}

/* dy as it is before the ReLU, device memory. */
static const void *gradient_before_relu(const tg_exec *e, const tg_cpu_dense *k) {
  if (!e->fuse_relu) return e->dy;
  size_t n = tg_shape_count(&e->y->shape);
  void *masked = (char *)e->scratch + k->masked_at, *out = tg_cpu_host(e->device, masked);
  const void *dy = tg_cpu_host(e->device, e->dy), *y = tg_cpu_host(e->device, e->y->data);
  if (e->y->dtype == TG_BF16)
    mask_bf16(n, dy, y, out);
  else
    mask_f32(n, dy, y, out);
  return masked;
}

/* ---- float32 ---- */

static void add_bias(const tg_exec *e, float *y, const float *bias) {
  int64_t batch = e->y->shape.dim[0], out = e->y->shape.dim[1];
  bool relu = e->fuse_relu;
  if (!bias && !relu) return;
#pragma omp parallel for schedule(static) if (batch * out >= TG_CPU_WORTH_THREADS)
  for (int64_t b = 0; b < batch; b++) {
    float *row = y + b * out;
    if (bias)
      for (int64_t i = 0; i < out; i++) row[i] += bias[i];
    /* A comparison that keeps NaN: it must reach the loss. */
    if (relu)
      for (int64_t i = 0; i < out; i++) row[i] = row[i] < 0 ? 0 : row[i];
  }
}

enum { COLUMNS_AT_A_TIME = 64 };

/* Column sums, each over the batch in order. */
static void bias_gradient(int64_t batch, int64_t out, const float *dy, float *db) {
#pragma omp parallel for schedule(static) if (batch * out >= TG_CPU_WORTH_THREADS)
  for (int64_t lo = 0; lo < out; lo += COLUMNS_AT_A_TIME) {
    int64_t count = out - lo < COLUMNS_AT_A_TIME ? out - lo : COLUMNS_AT_A_TIME;
    float sum[COLUMNS_AT_A_TIME] = {0};
    for (int64_t b = 0; b < batch; b++)
      for (int64_t i = 0; i < count; i++) sum[i] += dy[b * out + lo + i];
    for (int64_t i = 0; i < count; i++) db[lo + i] = sum[i];
  }
}

static tg_status forward_f32(tg_exec *e, tg_cpu_dense *k) {
  int batch = (int)e->y->shape.dim[0], out = (int)e->y->shape.dim[1],
      in = (int)e->x[0]->shape.dim[1];
  const float *x = NULL, *w = tg_cpu_host(e->device, e->w[0]);
  float *y = tg_cpu_host(e->device, e->y->data);
  TG_TRY(tg_cpu_flat_read(&k->x, e, e->x[0]->data, &x));
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, batch, out, in, 1, x, in, w, in, 0, y, out);
  add_bias(e, y, tg_cpu_host(e->device, e->w[1]));
  return TG_OK;
}

static tg_status backward_f32(tg_exec *e, tg_cpu_dense *k) {
  int batch = (int)e->y->shape.dim[0], out = (int)e->y->shape.dim[1],
      in = (int)e->x[0]->shape.dim[1];
  const float *x = NULL, *w = tg_cpu_host(e->device, e->w[0]);
  const float *dy = tg_cpu_host(e->device, gradient_before_relu(e, k));
  float *dw = tg_cpu_host(e->device, e->dw[0]), *db = tg_cpu_host(e->device, e->dw[1]);
  TG_TRY(tg_cpu_flat_read(&k->x, e, e->x[0]->data, &x));
  cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, out, in, batch, 1, dy, out, x, in, 0, dw,
              in);
  if (db) bias_gradient(batch, out, dy, db);
  if (!e->dx[0]) return TG_OK;
  float *dx = tg_cpu_flat_target(&k->x, e, e->dx[0]);
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, batch, in, out, 1, dy, out, w, in, 0, dx,
              in);
  return tg_cpu_flat_write(&k->x, e, e->dx[0]);
}

/* ---- the kernel ---- */

static tg_status check_size(const tg_exec *e) {
  int64_t batch = e->y->shape.dim[0], out = e->y->shape.dim[1], in = e->x[0]->shape.dim[1];
  if (batch <= INT_MAX && out <= INT_MAX && in <= INT_MAX) return TG_OK;
  TG_FAIL(TG_ECONFIG, "%s: batch %lld, %lld inputs, %lld outputs are too many for OpenBLAS",
          e->node->name, (long long)batch, (long long)in, (long long)out);
}

static tg_status prepare(tg_exec *e) {
  TG_TRY(check_size(e));
  tg_cpu_dense *k = calloc(1, sizeof *k);
  if (!k) TG_FAIL(TG_ERUNTIME, "no memory for the kernel of %s", e->node->name);
  e->state = k;
  tg_cpu_place_plain(e->y);
  k->bf16 = e->x[0]->dtype == TG_BF16 || e->y->dtype == TG_BF16;
  TG_TRY(k->bf16 ? tg_cpu_dense_bf16_prepare(e, k) : tg_cpu_flat_create(&k->x, e, e->x[0]));
  e->keep_x[0] = true;
  if (!e->fuse_relu) return TG_OK;
  e->keep_y = true;
  k->masked_at = (e->scratch_bytes + 63) & ~(size_t)63;
  tg_cpu_need_scratch(e, k->masked_at + e->y->bytes);
  return TG_OK;
}

static tg_status forward(tg_exec *e) {
  tg_cpu_dense *k = e->state;
  return k->bf16 ? tg_cpu_dense_bf16_forward(e, k) : forward_f32(e, k);
}

static tg_status backward(tg_exec *e) {
  tg_cpu_dense *k = e->state;
  return k->bf16 ? tg_cpu_dense_bf16_backward(e, k, gradient_before_relu(e, k))
                 : backward_f32(e, k);
}

static void destroy(tg_exec *e) {
  tg_cpu_dense *k = e->state;
  if (!k) return;
  tg_cpu_flat_destroy(&k->x);
  tg_cpu_call_destroy(&k->forward);
  tg_cpu_call_destroy(&k->backward_data);
  tg_cpu_call_destroy(&k->backward_weights);
  free(k);
  e->state = NULL;
}

const tg_kernel tg_cpu_kernel_dense = {.fuses_relu = true,
                                       .prepare = prepare,
                                       .forward = forward,
                                       .backward = backward,
                                       .destroy = destroy};
