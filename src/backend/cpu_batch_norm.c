/* cpu_batch_norm.c - batch norm, with the ReLU behind it, by oneDNN. */
#include "backend/cpu.h"

#include <stdlib.h>

#include "tardigrad/ops.h"

typedef struct batch_norm {
  tg_cpu_call forward, backward;
  dnnl_memory_desc_t layout; /* of y: x's */
  size_t mask_offset;        /* in the workspace, behind mean and variance */
  size_t dx_bytes;           /* scratch for a dx that nobody asked for */
  int64_t channels;
  float unbiased; /* from the batch's biased variance to the unbiased one */
} batch_norm;

static tg_status add_args(tg_exec *e, batch_norm *n, tg_cpu_call *call,
                          const dnnl_memory_desc_t *channel, bool back) {
  dnnl_memory_desc_t x;
  tg_cpu_desc(e->x[0], &x);
  TG_TRY(tg_cpu_call_in(call, DNNL_ARG_SRC, &x, &n->layout));
  TG_TRY(tg_cpu_call_arg(call, back ? DNNL_ARG_DIFF_DST : DNNL_ARG_DST, &n->layout));
  if (back) TG_TRY(tg_cpu_call_out(call, DNNL_ARG_DIFF_SRC, &x, &n->layout));
  TG_TRY(tg_cpu_call_arg(call, DNNL_ARG_MEAN, channel));
  TG_TRY(tg_cpu_call_arg(call, DNNL_ARG_VARIANCE, channel));
  TG_TRY(tg_cpu_call_arg(call, DNNL_ARG_SCALE, channel));
  TG_TRY(tg_cpu_call_arg(call, DNNL_ARG_SHIFT, channel));
  if (!back) return TG_OK;
  TG_TRY(tg_cpu_call_arg(call, DNNL_ARG_DIFF_SCALE, channel));
  return tg_cpu_call_arg(call, DNNL_ARG_DIFF_SHIFT, channel);
}

static tg_status prepare_calls(tg_exec *e, batch_norm *n) {
  const tg_batch_norm_attr *a = e->node->attr;
  unsigned flags = dnnl_use_scale | dnnl_use_shift;
  if (!e->train) flags |= dnnl_use_global_stats;
  if (e->fuse_relu) flags |= dnnl_fuse_norm_relu;
  dnnl_batch_normalization_desc_t op;
  dnnl_memory_desc_t channel;
  tg_cpu_plain_desc(&e->node->param[0]->shape, TG_F32, &channel);
  TG_TRY(tg_cpu_check(dnnl_batch_normalization_forward_desc_init(
                          &op, e->train ? dnnl_forward_training : dnnl_forward_inference,
                          &n->layout, a->epsilon, flags),
                      "forward", e->node));
  dnnl_primitive_desc_t pd, hint = NULL;
  TG_TRY(tg_cpu_primitive_desc(e->device, &op, NULL, NULL, &pd));
  tg_status status = TG_OK;
  dnnl_memory_desc_t mask = *tg_cpu_query(pd, dnnl_query_workspace_md, 0);
  TG_DO(tg_cpu_check(dnnl_primitive_desc_clone(&hint, pd), "forward", e->node));
  TG_DO(tg_cpu_call_create(&n->forward, e->device, pd));
  TG_DO(add_args(e, n, &n->forward, &channel, false));
  if (!e->train) goto done;
  n->mask_offset = 2 * tg_cpu_bytes(&channel);
  e->workspace_bytes = n->mask_offset + tg_cpu_bytes(&mask);
  TG_DO(tg_cpu_check(dnnl_batch_normalization_backward_desc_init(&op, dnnl_backward, &n->layout,
                                                                 &n->layout, a->epsilon, flags),
                     "backward", e->node));
  TG_DO(tg_cpu_primitive_desc(e->device, &op, NULL, hint, &pd));
  TG_DO(tg_cpu_call_create(&n->backward, e->device, pd));
  TG_DO(add_args(e, n, &n->backward, &channel, true));
  if (!e->fuse_relu) goto done;
  TG_DO(tg_cpu_call_arg(&n->forward, DNNL_ARG_WORKSPACE, &mask));
  TG_DO(tg_cpu_call_arg(&n->backward, DNNL_ARG_WORKSPACE, &mask));
done:
  dnnl_primitive_desc_destroy(hint);
  return status;
}

static tg_status prepare(tg_exec *e) {
  batch_norm *n = calloc(1, sizeof *n);
  if (!n) TG_FAIL(TG_ERUNTIME, "no memory for the kernel of %s", e->node->name);
  e->state = n;
  tg_cpu_desc(e->x[0], &n->layout);
  n->layout.data_type = tg_cpu_dtype(e->y->dtype);
  n->channels = (int64_t)e->node->param[0]->count;
  double count = (double)tg_shape_count(&e->y->shape) / (double)n->channels;
  n->unbiased = (float)(count > 1 ? count / (count - 1) : 1);
  TG_TRY(prepare_calls(e, n));
  tg_cpu_place(e->y, &n->layout);
  tg_cpu_need_scratch(e, n->forward.scratch_bytes);
  if (!e->train) return TG_OK;
  if (!e->needs_dx[0]) n->dx_bytes = tg_cpu_bytes(&n->layout);
  tg_cpu_need_scratch(e, n->backward.scratch_bytes + n->dx_bytes);
  e->keep_x[0] = true;
  return TG_OK;
}

static void bind_statistics(const tg_exec *e, batch_norm *n, tg_cpu_call *call) {
  char *workspace = e->workspace;
  if (e->train) {
    tg_cpu_call_bind(call, DNNL_ARG_MEAN, workspace);
    tg_cpu_call_bind(call, DNNL_ARG_VARIANCE, workspace + n->mask_offset / 2);
    tg_cpu_call_bind(call, DNNL_ARG_WORKSPACE, workspace + n->mask_offset);
  } else {
    tg_cpu_call_bind(call, DNNL_ARG_MEAN, e->running[0]);
    tg_cpu_call_bind(call, DNNL_ARG_VARIANCE, e->running[1]);
  }
  tg_cpu_call_bind(call, DNNL_ARG_SCALE, e->w[0]);
  tg_cpu_call_bind(call, DNNL_ARG_SHIFT, e->w[1]);
}

static void report_statistics(const tg_exec *e, const batch_norm *n) {
  const float *mean = tg_cpu_host(e->device, e->workspace);
  const float *variance = mean + n->mask_offset / 2 / sizeof(float);
  float *out_mean = tg_cpu_host(e->device, e->batch_stat[0]);
  float *out_variance = tg_cpu_host(e->device, e->batch_stat[1]);
  for (int64_t c = 0; c < n->channels; c++) {
    out_mean[c] = mean[c];
    out_variance[c] = variance[c] * n->unbiased;
  }
}

static tg_status forward(tg_exec *e) {
  batch_norm *n = e->state;
  bind_statistics(e, n, &n->forward);
  tg_cpu_call_bind(&n->forward, DNNL_ARG_SRC, e->x[0]->data);
  tg_cpu_call_bind(&n->forward, DNNL_ARG_DST, e->y->data);
  TG_TRY(tg_cpu_call_run(&n->forward, e->scratch));
  if (e->train && e->batch_stat[0]) report_statistics(e, n);
  return TG_OK;
}

static tg_status backward(tg_exec *e) {
  batch_norm *n = e->state;
  tg_cpu_call *call = &n->backward;
  void *dx = e->dx[0] ? e->dx[0] : (char *)e->scratch + call->scratch_bytes;
  bind_statistics(e, n, call);
  tg_cpu_call_bind(call, DNNL_ARG_SRC, e->x[0]->data);
  tg_cpu_call_bind(call, DNNL_ARG_DIFF_DST, e->dy);
  tg_cpu_call_bind(call, DNNL_ARG_DIFF_SRC, dx);
  tg_cpu_call_bind(call, DNNL_ARG_DIFF_SCALE, e->dw[0]);
  tg_cpu_call_bind(call, DNNL_ARG_DIFF_SHIFT, e->dw[1]);
  return tg_cpu_call_run(call, e->scratch);
}

static void destroy(tg_exec *e) {
  batch_norm *n = e->state;
  if (!n) return;
  tg_cpu_call_destroy(&n->forward);
  tg_cpu_call_destroy(&n->backward);
  free(n);
  e->state = NULL;
}

const tg_kernel tg_cpu_kernel_batch_norm = {.fuses_relu = true,
                                            .prepare = prepare,
                                            .forward = forward,
                                            .backward = backward,
                                            .destroy = destroy};
