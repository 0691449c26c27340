/* cuda_move.c - concat, slice, pad: boxes of one value copied into boxes of another; flatten: from
 * channels-last to plain order, often a view; input: nothing. */
#include <stdlib.h>

#include "backend/cuda_device.h"
#include "tardigrad/ops.h"

/* ---- memory order ---- */

/* Where a dimension stands, from the outside: channels stand last. */
static int place_of(const tg_shape *shape, int dim) {
  if (dim == 0 || shape->nd < 3) return dim;
  return dim == 1 ? shape->nd - 1 : dim - 1;
}

tg_cuda_extent tg_cuda_extent_of(const tg_shape *shape, int axis) {
  tg_cuda_extent x = {1, shape->dim[axis], 1};
  int place = place_of(shape, axis);
  for (int d = 0; d < shape->nd; d++) {
    if (place_of(shape, d) < place) x.outer *= shape->dim[d];
    if (place_of(shape, d) > place) x.inner *= shape->dim[d];
  }
  return x;
}

static const tg_cuda_launch *launch_of(const tg_exec *e) {
  return &tg_cuda(e->device)->launch;
}

/* ---- concat, slice, pad ---- */

typedef struct mover {
  tg_cuda_box forward[TG_MAX_INPUTS], backward[TG_MAX_INPUTS];
} mover;

/* count elements along the axis: every step-th of `from` from start on, to `to` from to_start. */
static tg_cuda_box cut(const tg_shape *from, const tg_shape *to, int axis, int64_t start,
                       int64_t step, int64_t count, int64_t to_start) {
  tg_cuda_extent a = tg_cuda_extent_of(from, axis), b = tg_cuda_extent_of(to, axis);
  return (tg_cuda_box){.outer = a.outer,
                       .inner = a.inner,
                       .to_axis = b.axis,
                       .to_start = to_start,
                       .count = count,
                       .from_axis = a.axis,
                       .from_start = start,
                       .from_step = count > 1 ? step : 1,
                       .spread = 1,
                       .used = count};
}

/* All of `from` to every step-th element of `to` from start on; zeros elsewhere. */
static tg_cuda_box spread(const tg_shape *from, const tg_shape *to, int axis, int64_t start,
                          int64_t step) {
  tg_cuda_extent a = tg_cuda_extent_of(from, axis), b = tg_cuda_extent_of(to, axis);
  return (tg_cuda_box){.outer = a.outer,
                       .inner = a.inner,
                       .to_axis = b.axis,
                       .count = b.axis,
                       .from_axis = a.axis,
                       .from_step = 1,
                       .lead = start,
                       .spread = a.axis > 1 ? step : 1,
                       .used = a.axis};
}

static tg_status create(tg_exec *e, mover **out) {
  *out = e->state = calloc(1, sizeof **out);
  if (!*out) TG_FAIL(TG_ERUNTIME, "no memory for the kernel of %s", e->node->name);
  return TG_OK;
}

static tg_status concat_prepare(tg_exec *e) {
  const tg_axis_attr *a = e->node->attr;
  const tg_shape *y = &e->y->shape;
  mover *k = NULL;
  int64_t at = 0;
  TG_TRY(create(e, &k));
  for (int i = 0; i < e->node->in_count; i++) {
    const tg_shape *x = &e->x[i]->shape;
    int64_t length = x->dim[a->axis];
    k->forward[i] = cut(x, y, a->axis, 0, 1, length, at);
    k->backward[i] = cut(y, x, a->axis, at, 1, length, 0);
    at += length;
  }
  return TG_OK;
}

static tg_status slice_prepare(tg_exec *e) {
  const tg_slice_attr *a = e->node->attr;
  const tg_shape *x = &e->x[0]->shape, *y = &e->y->shape;
  mover *k = NULL;
  TG_TRY(create(e, &k));
  k->forward[0] = cut(x, y, a->axis, a->start, a->step, a->length, 0);
  k->backward[0] = spread(y, x, a->axis, a->start, a->step);
  return TG_OK;
}

static tg_status pad_prepare(tg_exec *e) {
  const tg_pad_attr *a = e->node->attr;
  const tg_shape *x = &e->x[0]->shape, *y = &e->y->shape;
  mover *k = NULL;
  TG_TRY(create(e, &k));
  k->forward[0] = spread(x, y, a->axis, a->before, 1);
  k->backward[0] = cut(y, x, a->axis, a->before, 1, x->dim[a->axis], 0);
  return TG_OK;
}

static tg_status forward(tg_exec *e) {
  const mover *k = e->state;
  for (int i = 0; i < e->node->in_count; i++)
    TG_LAUNCHED(e, tg_cuda_move(launch_of(e), &k->forward[i], e->x[i]->dtype, e->x[i]->data,
                                e->y->dtype, e->y->data));
  return TG_OK;
}

static tg_status backward(tg_exec *e) {
  const mover *k = e->state;
  for (int i = 0; i < e->node->in_count; i++)
    if (e->dx[i])
      TG_LAUNCHED(e, tg_cuda_move(launch_of(e), &k->backward[i], e->y->dtype, e->dy, e->x[i]->dtype,
                                  e->dx[i]));
  return TG_OK;
}

static void destroy(tg_exec *e) {
  free(e->state);
  e->state = NULL;
}

const tg_kernel tg_cuda_kernel_concat = {
    .prepare = concat_prepare, .forward = forward, .backward = backward, .destroy = destroy};
const tg_kernel tg_cuda_kernel_slice = {
    .prepare = slice_prepare, .forward = forward, .backward = backward, .destroy = destroy};
const tg_kernel tg_cuda_kernel_pad = {
    .prepare = pad_prepare, .forward = forward, .backward = backward, .destroy = destroy};

/* ---- flatten ---- */

typedef struct sample {
  int64_t batch, channels, space;
} sample;

static sample sample_of(const tg_shape *x) {
  sample s = {x->dim[0], x->nd > 1 ? x->dim[1] : 1, 1};
  for (int i = 2; i < x->nd; i++) s.space *= x->dim[i];
  return s;
}

/* One channel, or one point, is in the same order either way. */
static tg_status flatten_prepare(tg_exec *e) {
  sample s = sample_of(&e->x[0]->shape);
  e->y_is_view = e->x[0]->dtype == e->y->dtype && (s.channels == 1 || s.space == 1);
  if (e->y_is_view) e->dx_alias[0] = TG_ALIAS_DY;
  return TG_OK;
}

static tg_status flatten_forward(tg_exec *e) {
  sample s = sample_of(&e->x[0]->shape);
  if (e->y_is_view) return TG_OK;
  TG_LAUNCHED(e, tg_cuda_permute(launch_of(e), s.batch, s.space, s.channels, e->x[0]->dtype,
                                 e->x[0]->data, e->y->dtype, e->y->data));
  return TG_OK;
}

static tg_status flatten_backward(tg_exec *e) {
  sample s = sample_of(&e->x[0]->shape);
  if (!e->dx[0] || e->dx[0] == e->dy) return TG_OK;
  TG_LAUNCHED(e, tg_cuda_permute(launch_of(e), s.batch, s.channels, s.space, e->y->dtype, e->dy,
                                 e->x[0]->dtype, e->dx[0]));
  return TG_OK;
}

const tg_kernel tg_cuda_kernel_flatten = {
    .prepare = flatten_prepare, .forward = flatten_forward, .backward = flatten_backward};

/* ---- input ---- */

static tg_status input_prepare(tg_exec *e) {
  (void)e;
  return TG_OK;
}

/* tg_plan_write has put it there. */
static tg_status input_forward(tg_exec *e) {
  (void)e;
  return TG_OK;
}

const tg_kernel tg_cuda_kernel_input = {.prepare = input_prepare, .forward = input_forward};
