/* cpu_pool.c - max, average and global average pooling, by oneDNN, on x's layout. */
#include "backend/cpu.h"

#include <stdlib.h>

#include "tardigrad/ops.h"

typedef struct pool {
  tg_cpu_call forward, backward;
  dnnl_memory_desc_t y_layout;
} pool;

typedef struct window {
  dnnl_alg_kind_t alg;
  dnnl_dims_t kernel, stride, before, after;
} window;

/* Floor mode: what does not fill a window at the end is left out, by padding less, even below 0. */
static window describe(const tg_exec *e) {
  const tg_pool_attr *a = e->node->attr;
  window w = {.alg = a->kind == TG_POOL_MAX ? dnnl_pooling_max : dnnl_pooling_avg_include_padding};
  for (int i = 0; i < e->x[0]->shape.nd - 2; i++) {
    int64_t size = e->x[0]->shape.dim[i + 2], out = e->y->shape.dim[i + 2];
    bool global = a->kind == TG_POOL_GLOBAL_AVERAGE;
    w.kernel[i] = global ? size : a->kernel[i];
    w.stride[i] = global ? 1 : a->stride[i] ? a->stride[i] : a->kernel[i];
    w.before[i] = global ? 0 : a->pad[i];
    w.after[i] = (out - 1) * w.stride[i] + w.kernel[i] - size - w.before[i];
  }
  return w;
}

static tg_status prepare_calls(tg_exec *e, pool *k) {
  window w = describe(e);
  dnnl_pooling_desc_t op;
  dnnl_primitive_desc_t pd, hint = NULL;
  dnnl_memory_desc_t x, inner, y;
  tg_status status = TG_OK;
  tg_cpu_desc(e->x[0], &x);
  inner = x;
  inner.data_type = tg_cpu_dtype(e->y->dtype);
  tg_cpu_any_desc(&e->y->shape, e->y->dtype, &y);
  TG_TRY(tg_cpu_check(
      dnnl_pooling_forward_desc_init(&op, e->train ? dnnl_forward_training : dnnl_forward_inference,
                                     w.alg, &inner, &y, w.stride, w.kernel, w.before, w.after),
      "forward", e->node));
  TG_TRY(tg_cpu_primitive_desc(e, &op, NULL, NULL, &pd));
  dnnl_memory_desc_t places = *tg_cpu_query(pd, dnnl_query_workspace_md, 0);
  k->y_layout = *tg_cpu_query(pd, dnnl_query_dst_md, 0);
  TG_DO(tg_cpu_check(dnnl_primitive_desc_clone(&hint, pd), "forward", e->node));
  TG_DO(tg_cpu_call_create(&k->forward, e->device, pd));
  TG_DO(tg_cpu_call_in(&k->forward, DNNL_ARG_SRC, &x, &inner));
  TG_DO(tg_cpu_call_arg(&k->forward, DNNL_ARG_DST, &k->y_layout));
  e->workspace_bytes = places.ndims ? tg_cpu_bytes(&places) : 0;
  if (e->workspace_bytes) TG_DO(tg_cpu_call_arg(&k->forward, DNNL_ARG_WORKSPACE, &places));
  if (!e->train || !e->needs_dx[0]) goto done;
  TG_DO(tg_cpu_check(dnnl_pooling_backward_desc_init(&op, w.alg, &inner, &k->y_layout, w.stride,
                                                     w.kernel, w.before, w.after),
                     "backward", e->node));
  TG_DO(tg_cpu_primitive_desc(e, &op, NULL, hint, &pd));
  TG_DO(tg_cpu_call_create(&k->backward, e->device, pd));
  TG_DO(tg_cpu_call_arg(&k->backward, DNNL_ARG_DIFF_DST, &k->y_layout));
  TG_DO(tg_cpu_call_out(&k->backward, DNNL_ARG_DIFF_SRC, &x, &inner));
  if (e->workspace_bytes) TG_DO(tg_cpu_call_arg(&k->backward, DNNL_ARG_WORKSPACE, &places));
done:
  dnnl_primitive_desc_destroy(hint);
  return status;
}

static tg_status prepare(tg_exec *e) {
  pool *k = calloc(1, sizeof *k);
  if (!k) TG_FAIL(TG_ERUNTIME, "no memory for the kernel of %s", e->node->name);
  e->state = k;
  TG_TRY(prepare_calls(e, k));
  tg_cpu_place(e->y, &k->y_layout);
  tg_cpu_need_scratch(e, k->forward.scratch_bytes);
  tg_cpu_need_scratch(e, k->backward.scratch_bytes);
  return TG_OK;
}

static tg_status forward(tg_exec *e) {
  pool *k = e->state;
  tg_cpu_call_bind(&k->forward, DNNL_ARG_SRC, e->x[0]->data);
  tg_cpu_call_bind(&k->forward, DNNL_ARG_DST, e->y->data);
  tg_cpu_call_bind(&k->forward, DNNL_ARG_WORKSPACE, e->workspace);
  return tg_cpu_call_run(&k->forward, e->scratch);
}

static tg_status backward(tg_exec *e) {
  pool *k = e->state;
  tg_cpu_call_bind(&k->backward, DNNL_ARG_DIFF_DST, e->dy);
  tg_cpu_call_bind(&k->backward, DNNL_ARG_DIFF_SRC, e->dx[0]);
  tg_cpu_call_bind(&k->backward, DNNL_ARG_WORKSPACE, e->workspace);
  return tg_cpu_call_run(&k->backward, e->scratch);
}

static void destroy(tg_exec *e) {
  pool *k = e->state;
  if (!k) return;
  tg_cpu_call_destroy(&k->forward);
  tg_cpu_call_destroy(&k->backward);
  free(k);
  e->state = NULL;
}

const tg_kernel tg_cpu_kernel_pool = {
    .prepare = prepare, .forward = forward, .backward = backward, .destroy = destroy};
