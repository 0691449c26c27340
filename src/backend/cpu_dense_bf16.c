/* cpu_dense_bf16.c - dense layers with bf16 operands, by oneDNN. Sums and the gradients of
 * parameters are float32; master weights become bf16 on every pass. */
#include "backend/cpu_dense.h"

/* As the plan has them, and as the primitives take them. */
typedef struct operands {
  dnnl_memory_desc_t x, w, bias, y, x16, w16, y16, any_w16, any_w32;
  const dnnl_memory_desc_t *b; /* NULL: none */
} operands;

static void describe(const tg_exec *e, operands *o) {
  const tg_shape *w = &e->node->param[0]->shape;
  tg_cpu_desc(e->x[0], &o->x);
  tg_cpu_desc(e->y, &o->y);
  tg_cpu_plain_desc(w, TG_F32, &o->w);
  tg_cpu_plain_desc(&e->x[0]->shape, TG_BF16, &o->x16);
  tg_cpu_plain_desc(&e->y->shape, TG_BF16, &o->y16);
  tg_cpu_any_desc(w, TG_BF16, &o->any_w16);
  tg_cpu_any_desc(w, TG_F32, &o->any_w32);
  o->b = e->node->param_count > 1 ? &o->bias : NULL;
  if (o->b) tg_cpu_plain_desc(&e->node->param[1]->shape, TG_F32, &o->bias);
}

static tg_status relu_behind(dnnl_primitive_attr_t *out) {
  dnnl_post_ops_t ops = NULL;
  dnnl_status_t s = dnnl_primitive_attr_create(out);
  if (s == dnnl_success) s = dnnl_post_ops_create(&ops);
  if (s == dnnl_success) s = dnnl_post_ops_append_eltwise(ops, 1, dnnl_eltwise_relu, 0, 0);
  if (s == dnnl_success) s = dnnl_primitive_attr_set_post_ops(*out, ops);
  if (ops) dnnl_post_ops_destroy(ops);
  return tg_cpu_check(s, "ReLU behind a dense layer", NULL);
}

static tg_status prepare_forward(tg_exec *e, tg_cpu_dense *k, const operands *o,
                                 dnnl_primitive_desc_t *hint) {
  dnnl_inner_product_desc_t op;
  dnnl_primitive_attr_t attr = NULL;
  dnnl_primitive_desc_t pd;
  tg_status status = TG_OK;
  dnnl_prop_kind_t kind = e->train ? dnnl_forward_training : dnnl_forward_inference;
  TG_DO(tg_cpu_check(
      dnnl_inner_product_forward_desc_init(&op, kind, &o->x16, &o->any_w16, o->b, &o->y), "forward",
      e->node));
  if (e->fuse_relu) TG_DO(relu_behind(&attr));
  TG_DO(tg_cpu_primitive_desc(e, &op, attr, NULL, &pd));
  dnnl_memory_desc_t w = *tg_cpu_query(pd, dnnl_query_weights_md, 0);
  TG_DO(tg_cpu_check(dnnl_primitive_desc_clone(hint, pd), "forward", e->node));
  tg_cpu_call *call = &k->forward;
  TG_DO(tg_cpu_call_create(call, e->device, pd));
  TG_DO(tg_cpu_call_in(call, DNNL_ARG_SRC, &o->x, &o->x16));
  TG_DO(tg_cpu_call_in(call, DNNL_ARG_WEIGHTS, &o->w, &w));
  if (o->b) TG_DO(tg_cpu_call_arg(call, DNNL_ARG_BIAS, o->b));
  TG_DO(tg_cpu_call_arg(call, DNNL_ARG_DST, &o->y));
done:
  if (attr) dnnl_primitive_attr_destroy(attr);
  return status;
}

static tg_status prepare_data(tg_exec *e, tg_cpu_dense *k, const operands *o,
                              const_dnnl_primitive_desc_t hint) {
  dnnl_inner_product_desc_t op;
  dnnl_primitive_desc_t pd;
  dnnl_memory_desc_t dx;
  tg_cpu_plain_desc(&e->x[0]->shape, e->x[0]->dtype, &dx);
  TG_TRY(tg_cpu_check(dnnl_inner_product_backward_data_desc_init(&op, &dx, &o->any_w16, &o->y16),
                      "backward data", e->node));
  TG_TRY(tg_cpu_primitive_desc(e, &op, NULL, hint, &pd));
  dnnl_memory_desc_t w = *tg_cpu_query(pd, dnnl_query_weights_md, 0);
  tg_cpu_call *call = &k->backward_data;
  TG_TRY(tg_cpu_call_create(call, e->device, pd));
  TG_TRY(tg_cpu_call_in(call, DNNL_ARG_DIFF_DST, &o->y, &o->y16));
  TG_TRY(tg_cpu_call_in(call, DNNL_ARG_WEIGHTS, &o->w, &w));
  return tg_cpu_call_out(call, DNNL_ARG_DIFF_SRC, &o->x, &dx);
}

static tg_status prepare_weights(tg_exec *e, tg_cpu_dense *k, const operands *o,
                                 const_dnnl_primitive_desc_t hint) {
  dnnl_inner_product_desc_t op;
  dnnl_primitive_desc_t pd;
  TG_TRY(tg_cpu_check(
      dnnl_inner_product_backward_weights_desc_init(&op, &o->x16, &o->any_w32, o->b, &o->y16),
      "backward weights", e->node));
  TG_TRY(tg_cpu_primitive_desc(e, &op, NULL, hint, &pd));
  dnnl_memory_desc_t dw = *tg_cpu_query(pd, dnnl_query_diff_weights_md, 0);
  tg_cpu_call *call = &k->backward_weights;
  TG_TRY(tg_cpu_call_create(call, e->device, pd));
  TG_TRY(tg_cpu_call_in(call, DNNL_ARG_SRC, &o->x, &o->x16));
  TG_TRY(tg_cpu_call_in(call, DNNL_ARG_DIFF_DST, &o->y, &o->y16));
  TG_TRY(tg_cpu_call_out(call, DNNL_ARG_DIFF_WEIGHTS, &o->w, &dw));
  return o->b ? tg_cpu_call_arg(call, DNNL_ARG_DIFF_BIAS, o->b) : TG_OK;
}

tg_status tg_cpu_dense_bf16_prepare(tg_exec *e, tg_cpu_dense *k) {
  operands o = {0};
  dnnl_primitive_desc_t hint = NULL;
  tg_status status = TG_OK;
  describe(e, &o);
  TG_DO(prepare_forward(e, k, &o, &hint));
  if (e->train && e->needs_dx[0]) TG_DO(prepare_data(e, k, &o, hint));
  if (e->train) TG_DO(prepare_weights(e, k, &o, hint));
  tg_cpu_need_scratch(e, k->forward.scratch_bytes);
  tg_cpu_need_scratch(e, k->backward_data.scratch_bytes);
  tg_cpu_need_scratch(e, k->backward_weights.scratch_bytes);
done:
  if (hint) dnnl_primitive_desc_destroy(hint);
  return status;
}

tg_status tg_cpu_dense_bf16_forward(tg_exec *e, tg_cpu_dense *k) {
  tg_cpu_call *call = &k->forward;
  tg_cpu_call_bind(call, DNNL_ARG_SRC, e->x[0]->data);
  tg_cpu_call_bind(call, DNNL_ARG_WEIGHTS, e->w[0]);
  tg_cpu_call_bind(call, DNNL_ARG_BIAS, e->w[1]);
  tg_cpu_call_bind(call, DNNL_ARG_DST, e->y->data);
  return tg_cpu_call_run(call, e->scratch);
}

tg_status tg_cpu_dense_bf16_backward(tg_exec *e, tg_cpu_dense *k, const void *dy) {
  tg_cpu_call *weights = &k->backward_weights, *data = &k->backward_data;
  tg_cpu_call_bind(weights, DNNL_ARG_SRC, e->x[0]->data);
  tg_cpu_call_bind(weights, DNNL_ARG_DIFF_DST, dy);
  tg_cpu_call_bind(weights, DNNL_ARG_DIFF_WEIGHTS, e->dw[0]);
  tg_cpu_call_bind(weights, DNNL_ARG_DIFF_BIAS, e->dw[1]);
  TG_TRY(tg_cpu_call_run(weights, e->scratch));
  if (!e->dx[0]) return TG_OK;
  tg_cpu_call_bind(data, DNNL_ARG_DIFF_DST, dy);
  tg_cpu_call_bind(data, DNNL_ARG_WEIGHTS, e->w[0]);
  tg_cpu_call_bind(data, DNNL_ARG_DIFF_SRC, e->dx[0]);
  return tg_cpu_call_run(data, e->scratch);
}
