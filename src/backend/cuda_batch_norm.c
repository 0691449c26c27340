/* cuda_batch_norm.c - batch norm, with the addition and the ReLU behind it. The kernels are in
 * kernels/batch_norm.cu. */
#include "backend/cuda_device.h"
#include "tardigrad/ops.h"

static int64_t channels_of(const tg_exec *e) {
  return e->y->shape.dim[1];
}

static int64_t rows_of(const tg_exec *e) {
  return (int64_t)tg_shape_count(&e->y->shape) / channels_of(e);
}

/* Scratch is the kernels' own; in evaluation the parameters lie before it. */
static size_t params_in_scratch(const tg_exec *e) {
  return e->train ? 0 : tg_cuda_round(tg_cuda_batch_norm_params(channels_of(e)));
}

static tg_status prepare(tg_exec *e) {
  const tg_cuda_launch *l = &tg_cuda(e->device)->launch;
  /* The unbiased variance of one number does not exist; PyTorch refuses it too. */
  if (e->train && rows_of(e) < 2)
    TG_FAIL(TG_ECONFIG, "%s: one number per channel has no variance to train with", e->node->name);
  tg_cuda_need_scratch(e, params_in_scratch(e) +
                              tg_cuda_batch_norm_scratch(l, rows_of(e), channels_of(e)));
  if (!e->train) return TG_OK;
  e->workspace_bytes = tg_cuda_batch_norm_params(channels_of(e));
  e->keep_x[0] = true;
  e->keep_y = e->fuse_add && e->fuse_relu; /* else the ReLU's mask follows from x */
  /* What may be written over dy: the addend's gradient, which is dy masked; else x's. */
  if (e->fuse_add && e->needs_dx[1])
    e->dx_alias[1] = TG_ALIAS_OVER_DY;
  else if (e->x[0]->dtype == e->y->dtype)
    e->dx_alias[0] = TG_ALIAS_OVER_DY;
  return TG_OK;
}

static tg_cuda_batch_norm arguments(const tg_exec *e) {
  const tg_batch_norm_attr *a = e->node->attr;
  return (tg_cuda_batch_norm){.rows = rows_of(e),
                              .channels = channels_of(e),
                              .x_type = e->x[0]->dtype,
                              .y_type = e->y->dtype,
                              .relu = e->fuse_relu,
                              .epsilon = a->epsilon,
                              .x = e->x[0]->data,
                              .gamma = e->w[0],
                              .beta = e->w[1],
                              .params = e->train ? e->workspace : e->scratch,
                              .scratch = (char *)e->scratch + params_in_scratch(e)};
}

static tg_status forward(tg_exec *e) {
  tg_cuda_batch_norm a = arguments(e);
  a.y = e->y->data;
  if (e->fuse_add) a.addend = e->x[1]->data;
  for (int i = 0; i < 2; i++) {
    if (e->train)
      a.batch_stat[i] = e->batch_stat[i];
    else
      a.running[i] = e->running[i];
  }
  TG_LAUNCHED(e, tg_cuda_batch_norm_forward(&tg_cuda(e->device)->launch, &a));
  return TG_OK;
}

static tg_status backward(tg_exec *e) {
  tg_cuda_batch_norm a = arguments(e);
  a.dy = e->dy;
  a.dy_too = e->dy_too;
  a.dx = e->dx[0];
  a.dgamma = e->dw[0];
  a.dbeta = e->dw[1];
  if (e->keep_y) a.y_was = e->y->data;
  if (e->fuse_add) a.d_addend = e->dx[1];
  TG_LAUNCHED(e, tg_cuda_batch_norm_backward(&tg_cuda(e->device)->launch, &a));
  return TG_OK;
}

const tg_kernel tg_cuda_kernel_batch_norm = {.fuses_relu = true,
                                             .fuses_add = true,
                                             .sums_dy = true,
                                             .prepare = prepare,
                                             .forward = forward,
                                             .backward = backward};
