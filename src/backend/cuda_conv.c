/* cuda_conv.c - convolution and its transpose, by cuDNN.
 *
 * Operands are channels-last and of one type: bf16 where x or y is, else float32; the other one of
 * x and y is converted. Sums are float32. Weights stay plain float32 in the flat vector; every
 * forward pass makes a channels-last copy of them in the operands' type, which the backward pass
 * reads too. A bias lies in y before cuDNN adds to it, so that the sum is rounded once; with bf16
 * the bias itself is rounded to it (as autocast does). cuDNN's results have the type of its
 * operands: with bf16 the gradient of weights is rounded once. Compared with ref_conv of
 * tests/support/ref_ops.c. */
#include <stdlib.h>

#include "backend/cuda_algorithms.h"
#include "tardigrad/ops.h"

typedef struct conv {
  tg_cuda_convolution dnn;
  tg_dtype dtype;                 /* of the operands */
  tg_cuda_pass forward, backward; /* to y, and to the gradient of x */
  int64_t rows, cols, points;     /* weights [rows, cols, points] */
  int64_t centre;                 /* point that a hollow convolution leaves out */
  /* Workspace: weights, then x if it is converted. Scratch: y or its gradient if converted; the
   * gradient of weights, later of x if converted; cuDNN's workspace or partial sums of the bias. */
  size_t x_at, result_at, work_at;
} conv;

static bool converts(const conv *c, const tg_tensor *t) {
  return t->dtype != c->dtype;
}

static size_t operand_bytes(const conv *c, const tg_shape *shape) {
  return tg_cuda_round(tg_shape_count(shape) * tg_dtype_bytes(c->dtype));
}

static int64_t rows_of(const tg_shape *shape) {
  return (int64_t)tg_shape_count(shape) / shape->dim[1];
}

/* ---- planning ---- */

static tg_status prepare_pass(tg_exec *e, conv *c, tg_cuda_pass pass) {
  TG_TRY(tg_cuda_convolution_prepare(e, &c->dnn, pass));
  tg_cuda_need_scratch(e, c->work_at + tg_cuda_convolution_scratch(&c->dnn, pass));
  return TG_OK;
}

static void place(tg_exec *e, conv *c) {
  const tg_shape *weights = &e->node->param[0]->shape, *x = &e->x[0]->shape, *y = &e->y->shape;
  size_t result = e->train ? operand_bytes(c, weights) : 0;
  c->x_at = operand_bytes(c, weights);
  e->workspace_bytes = c->x_at;
  if (converts(c, e->x[0])) {
    e->workspace_bytes += operand_bytes(c, x);
    if (e->needs_dx[0] && result < operand_bytes(c, x)) result = operand_bytes(c, x);
  } else {
    e->keep_x[0] = true;
  }
  c->result_at = converts(c, e->y) ? operand_bytes(c, y) : 0;
  c->work_at = c->result_at + result;
  tg_cuda_need_scratch(e, c->work_at);
  if (e->train && e->node->param_count > 1)
    tg_cuda_need_scratch(e, c->work_at + tg_cuda_bias_bytes(rows_of(y), y->dim[1]));
}

static tg_status prepare(tg_exec *e) {
  const tg_conv_attr *a = e->node->attr;
  const tg_shape *weights = &e->node->param[0]->shape;
  conv *c = calloc(1, sizeof *c);
  if (!c) TG_FAIL(TG_ERUNTIME, "no memory for the kernel of %s", e->node->name);
  e->state = c;
  c->dtype = e->x[0]->dtype == TG_BF16 || e->y->dtype == TG_BF16 ? TG_BF16 : TG_F32;
  c->forward = a->transposed ? TG_CUDA_TO_X : TG_CUDA_TO_Y;
  c->backward = a->transposed ? TG_CUDA_TO_Y : TG_CUDA_TO_X;
  c->rows = weights->dim[0];
  c->cols = weights->dim[1];
  c->points = (int64_t)tg_shape_count(weights) / (c->rows * c->cols);
  c->centre = (int64_t)tg_conv_skeleton(weights, 0);
  place(e, c);
  TG_TRY(tg_cuda_convolution_describe(e, c->dtype, &c->dnn));
  TG_TRY(prepare_pass(e, c, c->forward));
  if (e->train) TG_TRY(prepare_pass(e, c, TG_CUDA_TO_W));
  return e->needs_dx[0] ? prepare_pass(e, c, c->backward) : TG_OK;
}

/* ---- running ---- */

/* Where cuDNN finds x. */
static const void *operand_x(const tg_exec *e, const conv *c) {
  return converts(c, e->x[0]) ? (char *)e->workspace + c->x_at : e->x[0]->data;
}

static tg_status forward(tg_exec *e) {
  const conv *c = e->state;
  const tg_cuda_launch *l = &tg_cuda(e->device)->launch;
  const tg_tensor *x = e->x[0], *y = e->y;
  void *out = converts(c, y) ? e->scratch : y->data;
  TG_LAUNCHED(
      e, tg_cuda_weights_to_last(l, c->dtype, c->rows, c->cols, c->points, e->w[0], e->workspace));
  if (converts(c, x))
    TG_LAUNCHED(e, tg_cuda_convert(l, tg_shape_count(&x->shape), x->dtype, x->data, c->dtype,
                                   (char *)e->workspace + c->x_at));
  bool bias = e->node->param_count > 1;
  if (bias) {
    TG_TRY(e->device->backend->zero(e->device, out,
                                    tg_shape_count(&y->shape) * tg_dtype_bytes(c->dtype)));
    TG_LAUNCHED(
        e, tg_cuda_bias(l, c->dtype, rows_of(&y->shape), y->shape.dim[1], e->w[1], false, out));
  }
  TG_TRY(tg_cuda_convolution_run(e, &c->dnn, c->forward, operand_x(e, c), e->workspace, bias, out,
                                 (char *)e->scratch + c->work_at));
  if (converts(c, y))
    TG_LAUNCHED(e, tg_cuda_convert(l, tg_shape_count(&y->shape), c->dtype, out, y->dtype, y->data));
  return TG_OK;
}

static tg_status backward_weights(tg_exec *e, const conv *c, const void *dy) {
  const tg_cuda_launch *l = &tg_cuda(e->device)->launch;
  const void *x = operand_x(e, c);
  bool transposed = c->forward == TG_CUDA_TO_X;
  void *dw = (char *)e->scratch + c->result_at;
  TG_TRY(tg_cuda_convolution_run(e, &c->dnn, TG_CUDA_TO_W, transposed ? dy : x, transposed ? x : dy,
                                 false, dw, (char *)e->scratch + c->work_at));
  TG_LAUNCHED(e, tg_cuda_weights_from_last(l, c->dtype, c->rows, c->cols, c->points, dw, e->dw[0]));
  if (((const tg_conv_attr *)e->node->attr)->hollow)
    TG_LAUNCHED(e, tg_cuda_hollow(l, c->rows, c->cols, c->points, c->centre, e->dw[0]));
  return TG_OK;
}

static tg_status backward_data(tg_exec *e, const conv *c, const void *dy) {
  const tg_cuda_launch *l = &tg_cuda(e->device)->launch;
  const tg_tensor *x = e->x[0];
  void *dx = converts(c, x) ? (char *)e->scratch + c->result_at : e->dx[0];
  TG_TRY(tg_cuda_convolution_run(e, &c->dnn, c->backward, dy, e->workspace, false, dx,
                                 (char *)e->scratch + c->work_at));
  if (converts(c, x))
    TG_LAUNCHED(e, tg_cuda_convert(l, tg_shape_count(&x->shape), c->dtype, dx, x->dtype, e->dx[0]));
  return TG_OK;
}

static tg_status backward(tg_exec *e) {
  const conv *c = e->state;
  const tg_cuda_launch *l = &tg_cuda(e->device)->launch;
  const tg_tensor *y = e->y;
  const void *dy = e->dy;
  if (e->node->param_count > 1)
    TG_LAUNCHED(e, tg_cuda_bias_backward(l, y->dtype, rows_of(&y->shape), y->shape.dim[1], e->dy,
                                         NULL, NULL, e->dw[1], (char *)e->scratch + c->work_at));
  if (converts(c, y)) {
    dy = e->scratch;
    TG_LAUNCHED(
        e, tg_cuda_convert(l, tg_shape_count(&y->shape), y->dtype, e->dy, c->dtype, e->scratch));
  }
  TG_TRY(backward_weights(e, c, dy));
  return e->dx[0] ? backward_data(e, c, dy) : TG_OK;
}

static void destroy(tg_exec *e) {
  conv *c = e->state;
  if (!c) return;
  tg_cuda_convolution_destroy(&c->dnn);
  free(c);
  e->state = NULL;
}

const tg_kernel tg_cuda_kernel_conv = {
    .prepare = prepare, .forward = forward, .backward = backward, .destroy = destroy};
