/* cuda_skip.c - x + factor z, with the addition and the ReLU behind it. The kernels are in
 * kernels/skip.cu. */
#include "backend/cuda_device.h"
#include "tardigrad/ops.h"

enum { X, Z, ADDEND };

static tg_status prepare(tg_exec *e) {
  if (!e->train) return TG_OK;
  bool same = e->x[X]->dtype == e->y->dtype;
  e->keep_y = e->fuse_relu;
  /* Without a ReLU dy is every gradient but z's; with one, what passes its mask is. */
  if (same) e->dx_alias[X] = e->fuse_relu ? TG_ALIAS_OVER_DY : TG_ALIAS_DY;
  if (!e->fuse_relu)
    e->dx_alias[ADDEND] = TG_ALIAS_DY;
  else if (same && e->needs_dx[X])
    e->dx_alias[ADDEND] = TG_ALIAS_DX0;
  return TG_OK;
}

/* Spatial dimensions; those that are missing come first and are 1. */
static void space_of(const tg_shape *shape, int64_t out[3]) {
  for (int i = 0; i < 3; i++) out[i] = 1;
  for (int i = 2; i < shape->nd; i++) out[3 - shape->nd + i] = shape->dim[i];
}

static tg_cuda_skip arguments(const tg_exec *e) {
  const tg_skip_attr *a = e->node->attr;
  tg_cuda_skip s = {.batch = e->y->shape.dim[0],
                    .inputs = e->x[Z]->shape.dim[1],
                    .outputs = e->y->shape.dim[1],
                    .stride = a->stride,
                    .factor = a->factor,
                    .x_type = e->x[X]->dtype,
                    .z_type = e->x[Z]->dtype,
                    .y_type = e->y->dtype};
  space_of(&e->x[Z]->shape, s.z_space);
  space_of(&e->y->shape, s.y_space);
  return s;
}

static tg_status forward(tg_exec *e) {
  const tg_cuda_skip s = arguments(e);
  TG_LAUNCHED(e, tg_cuda_skip_forward(&tg_cuda(e->device)->launch, &s, e->x[X]->data, e->x[Z]->data,
                                      e->fuse_add ? e->x[ADDEND]->data : NULL, e->fuse_relu,
                                      e->y->data));
  return TG_OK;
}

static tg_status backward(tg_exec *e) {
  const tg_cuda_launch *l = &tg_cuda(e->device)->launch;
  const tg_cuda_skip s = arguments(e);
  const void *mask = e->fuse_relu ? e->y->data : NULL;
  void *da = e->dx[X], *db = e->dx[ADDEND];
  if (e->dx[Z]) TG_LAUNCHED(e, tg_cuda_skip_backward(l, &s, mask, e->dy, e->dx[Z]));
  if (da == db) db = NULL;
  if (!mask && da == e->dy) da = NULL;
  if (!mask && db == e->dy) db = NULL;
  if (!da && !db) return TG_OK;
  TG_LAUNCHED(e, tg_cuda_sum_backward(l, tg_shape_count(&e->y->shape), s.y_type, mask, e->dy,
                                      s.x_type, da, s.y_type, db));
  return TG_OK;
}

const tg_kernel tg_cuda_kernel_skip = {.fuses_relu = true,
                                       .fuses_add = true,
                                       .prepare = prepare,
                                       .forward = forward,
                                       .backward = backward};
