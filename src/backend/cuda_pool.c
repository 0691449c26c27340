/* cuda_pool.c - max, average and global average pooling. The kernels are in kernels/pool.cu. */
#include "backend/cuda_device.h"
#include "tardigrad/ops.h"

/* Dimensions that are missing come first. */
static tg_cuda_window window_of(const tg_exec *e) {
  const tg_pool_attr *a = e->node->attr;
  const tg_shape *x = &e->x[0]->shape, *y = &e->y->shape;
  tg_cuda_window w = {.batch = x->dim[0], .channels = x->dim[1]};
  int missing = TG_MAX_DIMS - x->nd;
  for (int i = 0; i < 3; i++) {
    int from = i - missing;
    bool there = from >= 0;
    w.in[i] = there ? (int)x->dim[2 + from] : 1;
    w.out[i] = there ? (int)y->dim[2 + from] : 1;
    w.kernel[i] = there ? (int)a->kernel[from] : 1;
    w.stride[i] = there ? (int)(a->stride[from] ? a->stride[from] : a->kernel[from]) : 1;
    w.pad[i] = there ? (int)a->pad[from] : 0;
  }
  return w;
}

static tg_pool_kind kind_of(const tg_exec *e) {
  const tg_pool_attr *a = e->node->attr;
  return a->kind;
}

static int64_t points_of(const tg_exec *e) {
  const tg_shape *x = &e->x[0]->shape;
  return (int64_t)tg_shape_count(x) / (x->dim[0] * x->dim[1]);
}

static tg_status prepare(tg_exec *e) {
  if (kind_of(e) != TG_POOL_MAX || !e->train || !e->needs_dx[0]) return TG_OK;
  const tg_cuda_window w = window_of(e);
  e->workspace_bytes = tg_cuda_pool_places(&w);
  return TG_OK;
}

static tg_status forward(tg_exec *e) {
  const tg_cuda_launch *l = &tg_cuda(e->device)->launch;
  const tg_tensor *x = e->x[0], *y = e->y;
  const tg_cuda_window w = window_of(e);
  switch (kind_of(e)) {
  case TG_POOL_MAX:
    TG_LAUNCHED(e, tg_cuda_pool_max_forward(l, &w, x->dtype, x->data, y->dtype, y->data,
                                            e->workspace_bytes ? e->workspace : NULL));
    break;
  case TG_POOL_AVERAGE:
    TG_LAUNCHED(e, tg_cuda_pool_average_forward(l, &w, x->dtype, x->data, y->dtype, y->data));
    break;
  case TG_POOL_GLOBAL_AVERAGE:
    TG_LAUNCHED(e, tg_cuda_pool_global_forward(l, w.batch, points_of(e), w.channels, x->dtype,
                                               x->data, y->dtype, y->data));
    break;
  }
  return TG_OK;
}

static tg_status backward(tg_exec *e) {
  const tg_cuda_launch *l = &tg_cuda(e->device)->launch;
  tg_dtype x_type = e->x[0]->dtype, y_type = e->y->dtype;
  const tg_cuda_window w = window_of(e);
  if (!e->dx[0]) return TG_OK;
  switch (kind_of(e)) {
  case TG_POOL_MAX:
    TG_LAUNCHED(e, tg_cuda_pool_max_backward(l, &w, y_type, e->dy, e->workspace, x_type, e->dx[0]));
    break;
  case TG_POOL_AVERAGE:
    TG_LAUNCHED(e, tg_cuda_pool_average_backward(l, &w, y_type, e->dy, x_type, e->dx[0]));
    break;
  case TG_POOL_GLOBAL_AVERAGE:
    TG_LAUNCHED(e, tg_cuda_pool_global_backward(l, w.batch, points_of(e), w.channels, y_type, e->dy,
                                                x_type, e->dx[0]));
    break;
  }
  return TG_OK;
}

const tg_kernel tg_cuda_kernel_pool = {
    .prepare = prepare, .forward = forward, .backward = backward};
