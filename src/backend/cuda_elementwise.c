/* cuda_elementwise.c - ReLU, leaky ReLU, sigmoid and x + y, which also does the ReLU behind it. */
#include "backend/cuda_device.h"

#include "tardigrad/ops.h"

static const tg_cuda_launch *launch_of(const tg_exec *e) {
  return &tg_cuda(e->device)->launch;
}

static size_t count_of(const tg_exec *e) {
  return tg_shape_count(&e->y->shape);
}

/* ---- activations ---- */

static tg_status prepare(tg_exec *e, bool from_y) {
  e->keep_y = from_y;
  e->keep_x[0] = !from_y;
  if (e->x[0]->dtype == e->y->dtype) e->dx_alias[0] = TG_ALIAS_OVER_DY;
  return TG_OK;
}

static tg_status prepare_from_y(tg_exec *e) {
  return prepare(e, true);
}

static tg_status relu_forward(tg_exec *e) {
  TG_LAUNCHED(e, tg_cuda_relu(launch_of(e), count_of(e), e->x[0]->dtype, e->x[0]->data, e->y->dtype,
                              e->y->data));
  return TG_OK;
}

static tg_status relu_backward(tg_exec *e) {
  if (!e->dx[0]) return TG_OK;
  TG_LAUNCHED(e, tg_cuda_relu_backward(launch_of(e), count_of(e), e->y->dtype, e->y->data, e->dy,
                                       e->x[0]->dtype, e->dx[0]));
  return TG_OK;
}

static tg_status leaky_relu_prepare(tg_exec *e) {
  const tg_leaky_relu_attr *a = e->node->attr;
  return prepare(e, !(a->slope < 0)); /* a negative slope folds two x onto one y */
}

static tg_status leaky_relu_forward(tg_exec *e) {
  const tg_leaky_relu_attr *a = e->node->attr;
  TG_LAUNCHED(e, tg_cuda_leaky_relu(launch_of(e), count_of(e), a->slope, e->x[0]->dtype,
                                    e->x[0]->data, e->y->dtype, e->y->data));
  return TG_OK;
}

static tg_status leaky_relu_backward(tg_exec *e) {
  const tg_leaky_relu_attr *a = e->node->attr;
  const tg_tensor *sign = e->keep_y ? e->y : e->x[0];
  if (!e->dx[0]) return TG_OK;
  TG_LAUNCHED(e, tg_cuda_leaky_relu_backward(launch_of(e), count_of(e), a->slope, sign->dtype,
                                             sign->data, e->y->dtype, e->dy, e->x[0]->dtype,
                                             e->dx[0]));
  return TG_OK;
}

static tg_status sigmoid_forward(tg_exec *e) {
  TG_LAUNCHED(e, tg_cuda_sigmoid(launch_of(e), count_of(e), e->x[0]->dtype, e->x[0]->data,
                                 e->y->dtype, e->y->data));
  return TG_OK;
}

static tg_status sigmoid_backward(tg_exec *e) {
  if (!e->dx[0]) return TG_OK;
  TG_LAUNCHED(e, tg_cuda_sigmoid_backward(launch_of(e), count_of(e), e->y->dtype, e->y->data, e->dy,
                                          e->x[0]->dtype, e->dx[0]));
  return TG_OK;
}

const tg_kernel tg_cuda_kernel_relu = {
    .prepare = prepare_from_y, .forward = relu_forward, .backward = relu_backward};
const tg_kernel tg_cuda_kernel_leaky_relu = {
    .prepare = leaky_relu_prepare, .forward = leaky_relu_forward, .backward = leaky_relu_backward};
const tg_kernel tg_cuda_kernel_sigmoid = {
    .prepare = prepare_from_y, .forward = sigmoid_forward, .backward = sigmoid_backward};

/* ---- x + y ---- */

static tg_status add_prepare(tg_exec *e) {
  if (!e->train || !(e->needs_dx[0] || e->needs_dx[1])) return TG_OK;
  bool same[2];
  for (int j = 0; j < 2; j++) same[j] = e->x[j]->dtype == e->y->dtype;
  e->keep_y = e->fuse_relu;
  for (int j = 0; j < 2; j++)
    if (same[j] && !e->fuse_relu) e->dx_alias[j] = TG_ALIAS_DY;
  if (!e->fuse_relu) return TG_OK;
  /* What passes the mask is both gradients. */
  if (same[0]) e->dx_alias[0] = TG_ALIAS_OVER_DY;
  if (same[0] && same[1] && e->needs_dx[0]) e->dx_alias[1] = TG_ALIAS_DX0;
  return TG_OK;
}

static tg_status add_forward(tg_exec *e) {
  TG_LAUNCHED(e, tg_cuda_sum(launch_of(e), count_of(e), e->x[0]->dtype, e->x[0]->data,
                             e->x[1]->dtype, e->x[1]->data, e->fuse_relu, e->y->dtype, e->y->data));
  return TG_OK;
}

static tg_status add_backward(tg_exec *e) {
  void *da = e->dx[0], *db = e->dx[1];
  if (da == db) db = NULL;
  if (!e->fuse_relu && da == e->dy) da = NULL;
  if (!e->fuse_relu && db == e->dy) db = NULL;
  if (!da && !db) return TG_OK;
  TG_LAUNCHED(e, tg_cuda_sum_backward(launch_of(e), count_of(e), e->y->dtype,
                                      e->fuse_relu ? e->y->data : NULL, e->dy, e->x[0]->dtype, da,
                                      e->x[1]->dtype, db));
  return TG_OK;
}

const tg_kernel tg_cuda_kernel_add = {
    .fuses_relu = true, .prepare = add_prepare, .forward = add_forward, .backward = add_backward};
