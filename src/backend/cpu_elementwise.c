/* cpu_elementwise.c - ReLU, leaky ReLU and sigmoid by oneDNN, on x's layout. */
#include "backend/cpu.h"

#include <stdlib.h>

#include "tardigrad/ops.h"

typedef struct elementwise {
  tg_cpu_call forward, backward;
  dnnl_memory_desc_t layout; /* of y: x's */
} elementwise;

/* Elements in whatever order they lie, padding with them: oneDNN's fast loops refuse padding, and
 * ReLU leaves its zeros alone. */
static void in_a_row(const dnnl_memory_desc_t *desc, dnnl_memory_desc_t *out) {
  dnnl_dims_t dims = {1}, strides = {1};
  dims[0] = (dnnl_dim_t)(dnnl_memory_desc_get_size(desc) / dnnl_data_type_size(desc->data_type));
  dnnl_memory_desc_init_by_strides(out, 1, dims, desc->data_type, strides);
}

/* Backward reads y if `alg_of_y` is not undefined: then x need not be kept. */
static tg_status prepare_calls(tg_exec *e, elementwise *k, dnnl_alg_kind_t alg,
                               dnnl_alg_kind_t alg_of_y, float alpha) {
  bool from_y = alg_of_y != dnnl_alg_kind_undef;
  dnnl_memory_desc_t x, y = k->layout;
  tg_cpu_desc(e->x[0], &x);
  if (alg == dnnl_eltwise_relu && x.data_type == y.data_type) {
    in_a_row(&k->layout, &y);
    x = y;
  }
  dnnl_eltwise_desc_t op;
  dnnl_primitive_desc_t pd, hint = NULL;
  tg_status status = TG_OK;
  TG_TRY(tg_cpu_check(
      dnnl_eltwise_forward_desc_init(&op, e->train ? dnnl_forward_training : dnnl_forward_inference,
                                     alg, &y, alpha, 0),
      "forward", e->node));
  TG_TRY(tg_cpu_primitive_desc(e, &op, NULL, NULL, &pd));
  TG_DO(tg_cpu_check(dnnl_primitive_desc_clone(&hint, pd), "forward", e->node));
  TG_DO(tg_cpu_call_create(&k->forward, e->device, pd));
  TG_DO(tg_cpu_call_in(&k->forward, DNNL_ARG_SRC, &x, &y));
  TG_DO(tg_cpu_call_arg(&k->forward, DNNL_ARG_DST, &y));
  if (!e->train || !e->needs_dx[0]) goto done;
  TG_DO(
      tg_cpu_check(dnnl_eltwise_backward_desc_init(&op, from_y ? alg_of_y : alg, &y, &y, alpha, 0),
                   "backward", e->node));
  TG_DO(tg_cpu_primitive_desc(e, &op, NULL, hint, &pd));
  TG_DO(tg_cpu_call_create(&k->backward, e->device, pd));
  if (from_y)
    TG_DO(tg_cpu_call_arg(&k->backward, DNNL_ARG_DST, &y));
  else
    TG_DO(tg_cpu_call_in(&k->backward, DNNL_ARG_SRC, &x, &y));
  TG_DO(tg_cpu_call_arg(&k->backward, DNNL_ARG_DIFF_DST, &y));
  TG_DO(tg_cpu_call_out(&k->backward, DNNL_ARG_DIFF_SRC, &x, &y));
done:
  dnnl_primitive_desc_destroy(hint);
  return status;
}

static tg_status prepare(tg_exec *e, dnnl_alg_kind_t alg, dnnl_alg_kind_t alg_of_y, float alpha) {
  elementwise *k = calloc(1, sizeof *k);
  if (!k) TG_FAIL(TG_ERUNTIME, "no memory for the kernel of %s", e->node->name);
  e->state = k;
  tg_cpu_desc(e->x[0], &k->layout);
  k->layout.data_type = tg_cpu_dtype(e->y->dtype);
  tg_cpu_place(e->y, &k->layout);
  TG_TRY(prepare_calls(e, k, alg, alg_of_y, alpha));
  tg_cpu_need_scratch(e, k->forward.scratch_bytes);
  tg_cpu_need_scratch(e, k->backward.scratch_bytes);
  e->keep_y = alg_of_y != dnnl_alg_kind_undef;
  e->keep_x[0] = !e->keep_y;
  if (e->x[0]->dtype == e->y->dtype) e->dx_alias[0] = TG_ALIAS_OVER_DY;
  return TG_OK;
}

static tg_status relu_prepare(tg_exec *e) {
  return prepare(e, dnnl_eltwise_relu, dnnl_eltwise_relu_use_dst_for_bwd, 0);
}

static tg_status leaky_relu_prepare(tg_exec *e) {
  const tg_leaky_relu_attr *a = e->node->attr;
  /* A negative slope folds two x onto one y. */
  dnnl_alg_kind_t of_y = a->slope < 0 ? dnnl_alg_kind_undef : dnnl_eltwise_relu_use_dst_for_bwd;
  return prepare(e, dnnl_eltwise_relu, of_y, a->slope);
}

static tg_status sigmoid_prepare(tg_exec *e) {
  return prepare(e, dnnl_eltwise_logistic, dnnl_eltwise_logistic_use_dst_for_bwd, 0);
}

static tg_status forward(tg_exec *e) {
  elementwise *k = e->state;
  tg_cpu_call_bind(&k->forward, DNNL_ARG_SRC, e->x[0]->data);
  tg_cpu_call_bind(&k->forward, DNNL_ARG_DST, e->y->data);
  return tg_cpu_call_run(&k->forward, e->scratch);
}

static tg_status backward(tg_exec *e) {
  elementwise *k = e->state;
  tg_cpu_call_bind(&k->backward, DNNL_ARG_SRC, e->x[0]->data);
  tg_cpu_call_bind(&k->backward, DNNL_ARG_DST, e->y->data);
  tg_cpu_call_bind(&k->backward, DNNL_ARG_DIFF_DST, e->dy);
  tg_cpu_call_bind(&k->backward, DNNL_ARG_DIFF_SRC, e->dx[0]);
  return tg_cpu_call_run(&k->backward, e->scratch);
}

static void destroy(tg_exec *e) {
  elementwise *k = e->state;
  if (!k) return;
  tg_cpu_call_destroy(&k->forward);
  tg_cpu_call_destroy(&k->backward);
  free(k);
  e->state = NULL;
}

const tg_kernel tg_cpu_kernel_relu = {
    .prepare = relu_prepare, .forward = forward, .backward = backward, .destroy = destroy};
const tg_kernel tg_cpu_kernel_leaky_relu = {
    .prepare = leaky_relu_prepare, .forward = forward, .backward = backward, .destroy = destroy};
const tg_kernel tg_cpu_kernel_sigmoid = {
    .prepare = sigmoid_prepare, .forward = forward, .backward = backward, .destroy = destroy};
