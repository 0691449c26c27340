/* cpu_shape.c - concat, slice, pad: boxes of one tensor copied into boxes of another; flatten: a
 * view of plain memory. Their values keep the format of what they are made from, so that the
 * convolution or the sum that follows need not reorder. */
#include "backend/cpu_move.h"

#include <stdlib.h>

#include "tardigrad/ops.h"

typedef struct mover {
  tg_cpu_move forward[TG_MAX_INPUTS], backward[TG_MAX_INPUTS];
  dnnl_memory_desc_t y;
} mover;

/* Input i's part of x[i] and of y; their extents are those of `shape`. */
typedef struct part {
  int axis;
  int64_t x_start, x_step, y_start;
  const tg_shape *shape;
} part;

/* A format that one of the inputs was computed in, rather than plain order. */
static const tg_tensor *model_of(const tg_exec *e) {
  for (int i = 0; i < e->node->in_count; i++)
    if (e->x[i]->layout) return e->x[i];
  return e->x[0];
}

static tg_status prepare(tg_exec *e, const part *parts, bool zeros_around) {
  mover *k = calloc(1, sizeof *k);
  if (!k) TG_FAIL(TG_ERUNTIME, "no memory for the kernel of %s", e->node->name);
  e->state = k;
  dnnl_memory_desc_t x;
  tg_cpu_desc(model_of(e), &x);
  tg_cpu_desc_like(&x, &e->y->shape, e->y->dtype, &k->y);
  tg_cpu_place(e->y, &k->y);
  bool padded = memcmp(k->y.dims, k->y.padded_dims, (size_t)k->y.ndims * sizeof(dnnl_dim_t)) != 0;
  for (int i = 0; i < e->node->in_count; i++) {
    const part *p = &parts[i];
    tg_cpu_desc(e->x[i], &x);
    tg_cpu_box in_x = {&x, p->axis, p->x_start, p->x_step}, in_y = {&k->y, p->axis, p->y_start, 1};
    /* The first input clears what none of them covers. */
    bool fill = i == 0 && (zeros_around || padded);
    TG_TRY(tg_cpu_move_create(&k->forward[i], &in_x, &in_y, p->shape, fill));
    if (e->needs_dx[i]) TG_TRY(tg_cpu_move_create(&k->backward[i], &in_y, &in_x, p->shape, true));
  }
  return TG_OK;
}

static tg_status concat_prepare(tg_exec *e) {
  const tg_axis_attr *a = e->node->attr;
  part parts[TG_MAX_INPUTS];
  int64_t at = 0;
  for (int i = 0; i < e->node->in_count; i++) {
    parts[i] = (part){.axis = a->axis, .x_step = 1, .y_start = at, .shape = &e->x[i]->shape};
    at += e->x[i]->shape.dim[a->axis];
  }
  return prepare(e, parts, false);
}

static tg_status slice_prepare(tg_exec *e) {
  const tg_slice_attr *a = e->node->attr;
  part p = {.axis = a->axis, .x_start = a->start, .x_step = a->step, .shape = &e->y->shape};
  return prepare(e, &p, false);
}

static tg_status pad_prepare(tg_exec *e) {
  const tg_pad_attr *a = e->node->attr;
  part p = {.axis = a->axis, .x_step = 1, .y_start = a->before, .shape = &e->x[0]->shape};
  return prepare(e, &p, true);
}

static tg_status forward(tg_exec *e) {
  const mover *k = e->state;
  void *y = tg_cpu_host(e->device, e->y->data);
  for (int i = 0; i < e->node->in_count; i++)
    tg_cpu_move_run(&k->forward[i], tg_cpu_host(e->device, e->x[i]->data), y);
  return TG_OK;
}

static tg_status backward(tg_exec *e) {
  const mover *k = e->state;
  const void *dy = tg_cpu_host(e->device, e->dy);
  for (int i = 0; i < e->node->in_count; i++)
    if (e->dx[i]) tg_cpu_move_run(&k->backward[i], dy, tg_cpu_host(e->device, e->dx[i]));
  return TG_OK;
}

static void destroy(tg_exec *e) {
  mover *k = e->state;
  if (!k) return;
  for (int i = 0; i < TG_MAX_INPUTS; i++) {
    tg_cpu_move_destroy(&k->forward[i]);
    tg_cpu_move_destroy(&k->backward[i]);
  }
  free(k);
  e->state = NULL;
}

const tg_kernel tg_cpu_kernel_concat = {
    .prepare = concat_prepare, .forward = forward, .backward = backward, .destroy = destroy};
const tg_kernel tg_cpu_kernel_slice = {
    .prepare = slice_prepare, .forward = forward, .backward = backward, .destroy = destroy};
const tg_kernel tg_cpu_kernel_pad = {
    .prepare = pad_prepare, .forward = forward, .backward = backward, .destroy = destroy};

/* ---- flatten ---- */

typedef struct flattener {
  tg_cpu_call forward, backward;
} flattener;

static tg_status flatten_prepare(tg_exec *e) {
  flattener *k = calloc(1, sizeof *k);
  if (!k) TG_FAIL(TG_ERUNTIME, "no memory for the kernel of %s", e->node->name);
  e->state = k;
  tg_cpu_place_plain(e->y);
  e->y_is_view = !e->x[0]->layout && e->x[0]->dtype == e->y->dtype;
  if (e->y_is_view) {
    e->dx_alias[0] = TG_ALIAS_DY;
    return TG_OK;
  }
  dnnl_memory_desc_t x, y; /* y's memory under x's shape */
  tg_cpu_desc(e->x[0], &x);
  tg_cpu_plain_desc(&e->x[0]->shape, e->y->dtype, &y);
  TG_TRY(tg_cpu_copy_create(&k->forward, e->device, &x, &y));
  if (e->needs_dx[0]) TG_TRY(tg_cpu_copy_create(&k->backward, e->device, &y, &x));
  tg_cpu_need_scratch(e, k->forward.scratch_bytes);
  tg_cpu_need_scratch(e, k->backward.scratch_bytes);
  return TG_OK;
}

static tg_status flatten_forward(tg_exec *e) {
  flattener *k = e->state;
  if (e->y_is_view) return TG_OK;
  return tg_cpu_copy_run(&k->forward, e->x[0]->data, e->y->data, e->scratch);
}

static tg_status flatten_backward(tg_exec *e) {
  flattener *k = e->state;
  if (!e->dx[0] || e->dx[0] == e->dy) return TG_OK;
  if (!e->y_is_view) return tg_cpu_copy_run(&k->backward, e->dy, e->dx[0], e->scratch);
  memcpy(tg_cpu_host(e->device, e->dx[0]), tg_cpu_host(e->device, e->dy), e->x[0]->bytes);
  return TG_OK;
}

static void flatten_destroy(tg_exec *e) {
  flattener *k = e->state;
  if (!k) return;
  tg_cpu_call_destroy(&k->forward);
  tg_cpu_call_destroy(&k->backward);
  free(k);
  e->state = NULL;
}

const tg_kernel tg_cpu_kernel_flatten = {.prepare = flatten_prepare,
                                         .forward = flatten_forward,
                                         .backward = flatten_backward,
                                         .destroy = flatten_destroy};

/* ---- input ---- */

static tg_status input_prepare(tg_exec *e) {
  tg_cpu_place_plain(e->y);
  return TG_OK;
}

/* tg_plan_write has put it there. */
static tg_status input_forward(tg_exec *e) {
  (void)e;
  return TG_OK;
}

const tg_kernel tg_cpu_kernel_input = {.prepare = input_prepare, .forward = input_forward};
