/* cpu_add.c - x + y, with the ReLU behind it, by oneDNN, on the first operand's layout. */
#include "backend/cpu.h"

#include <stdlib.h>

typedef struct addition {
  tg_cpu_call forward;
  tg_cpu_call mask;          /* dy where y > 0 */
  tg_cpu_call pass[2];       /* dy into the operands' layouts */
  dnnl_memory_desc_t layout; /* of y */
  bool same[2];              /* operand laid out as y is */
} addition;

static tg_status relu_attr(dnnl_primitive_attr_t *out) {
  dnnl_post_ops_t ops = NULL;
  dnnl_status_t s = dnnl_primitive_attr_create(out);
  if (s == dnnl_success) s = dnnl_post_ops_create(&ops);
  if (s == dnnl_success) s = dnnl_post_ops_append_eltwise(ops, 1, dnnl_eltwise_relu, 0, 0);
  if (s == dnnl_success) s = dnnl_primitive_attr_set_post_ops(*out, ops);
  if (ops) dnnl_post_ops_destroy(ops);
  return tg_cpu_check(s, "ReLU behind addition", NULL);
}

static tg_status prepare_forward(tg_exec *e, addition *k, const dnnl_memory_desc_t *x) {
  tg_status status = TG_OK;
  dnnl_primitive_attr_t attr = NULL;
  dnnl_primitive_desc_t pd;
  dnnl_binary_desc_t op;
  TG_TRY(
      tg_cpu_check(dnnl_binary_desc_init(&op, dnnl_binary_add, &k->layout, &k->layout, &k->layout),
                   "addition", e->node));
  if (e->fuse_relu) TG_DO(relu_attr(&attr));
  TG_DO(tg_cpu_primitive_desc(e, &op, attr, NULL, &pd));
  TG_DO(tg_cpu_call_create(&k->forward, e->device, pd));
  TG_DO(tg_cpu_call_in(&k->forward, DNNL_ARG_SRC_0, &x[0], &k->layout));
  TG_DO(tg_cpu_call_in(&k->forward, DNNL_ARG_SRC_1, &x[1], &k->layout));
  TG_DO(tg_cpu_call_arg(&k->forward, DNNL_ARG_DST, &k->layout));
done:
  if (attr) dnnl_primitive_attr_destroy(attr);
  return status;
}

static tg_status prepare_mask(tg_exec *e, addition *k) {
  dnnl_eltwise_desc_t op;
  dnnl_primitive_desc_t pd, hint;
  TG_TRY(tg_cpu_check(dnnl_eltwise_forward_desc_init(&op, dnnl_forward_training, dnnl_eltwise_relu,
                                                     &k->layout, 0, 0),
                      "mask", e->node));
  TG_TRY(tg_cpu_primitive_desc(e, &op, NULL, NULL, &hint));
  tg_status status = TG_OK;
  TG_DO(tg_cpu_check(dnnl_eltwise_backward_desc_init(&op, dnnl_eltwise_relu_use_dst_for_bwd,
                                                     &k->layout, &k->layout, 0, 0),
                     "mask", e->node));
  TG_DO(tg_cpu_primitive_desc(e, &op, NULL, hint, &pd));
  TG_DO(tg_cpu_call_create(&k->mask, e->device, pd));
  TG_DO(tg_cpu_call_arg(&k->mask, DNNL_ARG_DST, &k->layout));
  TG_DO(tg_cpu_call_arg(&k->mask, DNNL_ARG_DIFF_DST, &k->layout));
  TG_DO(tg_cpu_call_arg(&k->mask, DNNL_ARG_DIFF_SRC, &k->layout));
done:
  dnnl_primitive_desc_destroy(hint);
  return status;
}

static tg_status prepare(tg_exec *e) {
  addition *k = calloc(1, sizeof *k);
  if (!k) TG_FAIL(TG_ERUNTIME, "no memory for the kernel of %s", e->node->name);
  e->state = k;
  dnnl_memory_desc_t x[2];
  for (int j = 0; j < 2; j++) tg_cpu_desc(e->x[j], &x[j]);
  k->layout = tg_cpu_is_plain(&x[0]) ? x[1] : x[0];
  k->layout.data_type = tg_cpu_dtype(e->y->dtype);
  tg_cpu_place(e->y, &k->layout);
  TG_TRY(prepare_forward(e, k, x));
  tg_cpu_need_scratch(e, k->forward.scratch_bytes);
  if (!e->train || !(e->needs_dx[0] || e->needs_dx[1])) return TG_OK;
  size_t masked = 0;
  if (e->fuse_relu) {
    TG_TRY(prepare_mask(e, k));
    e->keep_y = true;
    masked = tg_cpu_bytes(&k->layout);
  }
  for (int j = 0; j < 2; j++) {
    TG_TRY(tg_cpu_copy_create(&k->pass[j], e->device, &k->layout, &x[j]));
    k->same[j] = !tg_cpu_copy_needed(&k->pass[j]);
    if (k->same[j] && !e->fuse_relu) e->dx_alias[j] = TG_ALIAS_DY;
    if (k->same[j] && e->fuse_relu && j == 0) e->dx_alias[j] = TG_ALIAS_OVER_DY;
    tg_cpu_need_scratch(e, masked + k->mask.scratch_bytes + k->pass[j].scratch_bytes);
  }
  if (e->fuse_relu && k->same[0] && k->same[1] && e->needs_dx[0]) e->dx_alias[1] = TG_ALIAS_DX0;
  return TG_OK;
}

static tg_status forward(tg_exec *e) {
  addition *k = e->state;
  tg_cpu_call_bind(&k->forward, DNNL_ARG_SRC_0, e->x[0]->data);
  tg_cpu_call_bind(&k->forward, DNNL_ARG_SRC_1, e->x[1]->data);
  tg_cpu_call_bind(&k->forward, DNNL_ARG_DST, e->y->data);
  return tg_cpu_call_run(&k->forward, e->scratch);
}

/* Masks dy into an operand's gradient if one is laid out as y is, else into scratch. */
static tg_status mask(tg_exec *e, addition *k, const void **out) {
  int j = e->dx[0] && k->same[0] ? 0 : e->dx[1] && k->same[1] ? 1 : -1;
  char *scratch = e->scratch;
  void *masked = scratch;
  if (j >= 0)
    masked = e->dx[j];
  else
    scratch += tg_cpu_bytes(&k->layout);
  tg_cpu_call_bind(&k->mask, DNNL_ARG_DST, e->y->data);
  tg_cpu_call_bind(&k->mask, DNNL_ARG_DIFF_DST, e->dy);
  tg_cpu_call_bind(&k->mask, DNNL_ARG_DIFF_SRC, masked);
  *out = masked;
  return tg_cpu_call_run(&k->mask, scratch);
}

static tg_status backward(tg_exec *e) {
  addition *k = e->state;
  const void *from = e->dy;
  if (e->fuse_relu) TG_TRY(mask(e, k, &from));
  char *scratch = (char *)e->scratch + (e->fuse_relu ? tg_cpu_bytes(&k->layout) : 0);
  for (int j = 0; j < 2; j++) {
    if (!e->dx[j] || e->dx[j] == from) continue;
    if (k->same[j])
      memcpy(tg_cpu_host(e->device, e->dx[j]), tg_cpu_host(e->device, from), e->x[j]->bytes);
    else
      TG_TRY(tg_cpu_copy_run(&k->pass[j], from, e->dx[j], scratch));
  }
  return TG_OK;
}

static void destroy(tg_exec *e) {
  addition *k = e->state;
  if (!k) return;
  tg_cpu_call_destroy(&k->forward);
  tg_cpu_call_destroy(&k->mask);
  for (int j = 0; j < 2; j++) tg_cpu_call_destroy(&k->pass[j]);
  free(k);
  e->state = NULL;
}

const tg_kernel tg_cpu_kernel_add = {.fuses_relu = true,
                                     .prepare = prepare,
                                     .forward = forward,
                                     .backward = backward,
                                     .destroy = destroy};
