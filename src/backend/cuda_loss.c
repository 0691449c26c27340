/* cuda_loss.c - losses on a GPU. What a label out of range did is read from the result: the kernels
 * cannot fail. */
#include "backend/cuda_device.h"
#include "tardigrad/ops.h"

static float weight_of(const tg_exec *e) {
  const tg_loss_attr *attr = e->node->attr;
  return attr->weight;
}

/* ---- softmax cross-entropy ---- */

static tg_status cross_entropy_prepare(tg_exec *e) {
  e->keep_x[0] = e->keep_x[1] = true;
  e->workspace_bytes = (size_t)e->x[0]->shape.dim[0] * sizeof(tg_cuda_loss_row);
  return TG_OK;
}

static tg_cuda_cross_entropy cross_entropy_of(const tg_exec *e) {
  return (tg_cuda_cross_entropy){.dtype = e->x[0]->dtype,
                                 .batch = e->x[0]->shape.dim[0],
                                 .classes = e->x[0]->shape.dim[1],
                                 .x = e->x[0]->data,
                                 .label = e->x[1]->data,
                                 .row = e->workspace,
                                 .result = e->result,
                                 .y = e->y->data,
                                 .weight = weight_of(e),
                                 .dx = e->dx[0]};
}

static tg_status cross_entropy_forward(tg_exec *e) {
  tg_cuda_cross_entropy a = cross_entropy_of(e);
  TG_LAUNCHED(e, tg_cuda_cross_entropy_forward(&tg_cuda(e->device)->launch, &a));
  return TG_OK;
}

static tg_status cross_entropy_backward(tg_exec *e) {
  tg_cuda_cross_entropy a = cross_entropy_of(e);
  if (!a.dx) return TG_OK;
  TG_LAUNCHED(e, tg_cuda_cross_entropy_backward(&tg_cuda(e->device)->launch, &a));
  return TG_OK;
}

const tg_kernel tg_cuda_kernel_softmax_cross_entropy = {.prepare = cross_entropy_prepare,
                                                        .forward = cross_entropy_forward,
                                                        .backward = cross_entropy_backward};

/* ---- mean squared error ---- */

static tg_status squared_error_prepare(tg_exec *e) {
  e->keep_x[0] = e->keep_x[1] = true;
  tg_cuda_need_scratch(e, TG_CUDA_LOSS_PARTS * sizeof(double));
  return TG_OK;
}

static tg_cuda_squared_error squared_error_of(const tg_exec *e) {
  return (tg_cuda_squared_error){.x_dtype = e->x[0]->dtype,
                                 .target_dtype = e->x[1]->dtype,
                                 .count = tg_shape_count(&e->x[0]->shape),
                                 .x = e->x[0]->data,
                                 .target = e->x[1]->data,
                                 .part = e->scratch,
                                 .result = e->result,
                                 .y = e->y->data,
                                 .weight = weight_of(e),
                                 .dx = e->dx[0],
                                 .dtarget = e->dx[1]};
}

static tg_status squared_error_forward(tg_exec *e) {
  tg_cuda_squared_error a = squared_error_of(e);
  TG_LAUNCHED(e, tg_cuda_squared_error_forward(&tg_cuda(e->device)->launch, &a));
  return TG_OK;
}

static tg_status squared_error_backward(tg_exec *e) {
  tg_cuda_squared_error a = squared_error_of(e);
  if (!a.dx && !a.dtarget) return TG_OK;
  TG_LAUNCHED(e, tg_cuda_squared_error_backward(&tg_cuda(e->device)->launch, &a));
  return TG_OK;
}

const tg_kernel tg_cuda_kernel_mean_squared_error = {.prepare = squared_error_prepare,
                                                     .forward = squared_error_forward,
                                                     .backward = squared_error_backward};
