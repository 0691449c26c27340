/* cpu_conv.c - convolution and its transpose, by oneDNN.
 *
 * Formats are oneDNN's choice, the value's own is the forward primitive's. Parameters stay plain
 * float32 in the flat vector and take a detour into the primitive's format on every pass: weights
 * are small beside activations. With bf16 the operands are bf16; the sums, and the gradients of
 * parameters, float32. */
#include "backend/cpu.h"

#include <stdlib.h>

#include "tardigrad/ops.h"

/* An operation descriptor of either kind. */
typedef union operation {
  dnnl_convolution_desc_t conv;
  dnnl_deconvolution_desc_t deconv;
} operation;

typedef struct conv {
  tg_cpu_call forward, backward_data, backward_weights;
  tg_cpu_call copy_x; /* x into the primitives' format, kept in the workspace for backward */
  dnnl_memory_desc_t y_layout;
  dnnl_memory_desc_t x, kept_x, w, b, y; /* as the plan has them; kept_x: as we keep it */
  dnnl_primitive_desc_t hint;            /* of forward, while preparing */
} conv;

/* What every primitive of one node is described by. */
typedef struct geometry {
  bool transposed;
  dnnl_dims_t stride, pad;
  dnnl_memory_desc_t x, w, b, y; /* formats left to oneDNN */
} geometry;

/* PyTorch keeps the weights of a transposed convolution as [C,K,kernel]; oneDNN speaks of
 * [K,C,kernel] in both cases. */
static void weights_desc(const tg_exec *e, bool transposed, dnnl_memory_desc_t *out) {
  dnnl_memory_desc_t plain;
  tg_cpu_plain_desc(&e->node->param[0]->shape, TG_F32, &plain);
  int swap[TG_MAX_DIMS] = {1, 0, 2, 3, 4};
  if (transposed)
    dnnl_memory_desc_permute_axes(out, &plain, swap);
  else
    *out = plain;
}

static void any_like(const dnnl_memory_desc_t *like, dnnl_data_type_t dtype,
                     dnnl_memory_desc_t *out) {
  dnnl_memory_desc_init_by_tag(out, like->ndims, like->dims, dtype, dnnl_format_tag_any);
}

static geometry describe(const tg_exec *e, conv *c) {
  const tg_conv_attr *a = e->node->attr;
  geometry g = {.transposed = a->transposed};
  bool bf16 = e->x[0]->dtype == TG_BF16 || e->y->dtype == TG_BF16;
  dnnl_data_type_t t = bf16 ? dnnl_bf16 : dnnl_f32;
  for (int i = 0; i < e->y->shape.nd - 2; i++) {
    g.stride[i] = a->stride[i] ? a->stride[i] : 1;
    g.pad[i] = a->pad[i];
  }
  tg_cpu_desc(e->x[0], &c->x);
  weights_desc(e, a->transposed, &c->w);
  any_like(&c->x, t, &g.x);
  any_like(&c->w, t, &g.w);
  tg_cpu_any_desc(&e->y->shape, bf16 ? TG_BF16 : TG_F32, &g.y);
  if (a->bias) {
    tg_cpu_plain_desc(&e->node->param[1]->shape, TG_F32, &c->b);
    g.b = c->b;
  }
  return g;
}

/* Whether 3x3 convolution over tiles of 4x4 outputs (Winograd's; Lavin & Gray, CVPR 2016) is worth
 * trying. Measured with oneDNN 2.6 on two Zen 4 cores, float32, batches of 16 and 128: from 32
 * channels on (gradients of weights: from 16), and with 64 tiles or more, it takes 0.4 to 0.6 of
 * the direct algorithm's time; the error against double is 5 to 7e-7 of the root mean square, 4
 * times the direct algorithm's. The choice depends on shapes only: every rank and run makes the
 * same. */
static bool winograd_pays(const geometry *g, int64_t channels) {
  const int64_t *y = g->y.dims, *w = g->w.dims;
  bool fits = !g->transposed && g->y.data_type == dnnl_f32 && g->y.ndims == 4 && w[2] == 3 &&
              w[3] == 3 && g->stride[0] == 1 && g->stride[1] == 1 && g->pad[0] <= 1 &&
              g->pad[1] <= 1;
  int64_t tiles = y[0] * ((y[2] + 3) / 4) * ((y[3] + 3) / 4);
  return fits && w[0] >= channels && w[1] >= channels && tiles >= 64;
}

/* The first implementation of the operation, by Winograd's algorithm if that pays and exists. */
static tg_status choose(tg_exec *e, operation *op, bool winograd, const_dnnl_primitive_desc_t hint,
                        dnnl_primitive_desc_t *pd) {
  if (winograd) {
    op->conv.alg_kind = dnnl_convolution_winograd;
    if (tg_cpu_primitive_desc(e, op, NULL, hint, pd) == TG_OK) return TG_OK;
    op->conv.alg_kind = dnnl_convolution_direct;
  }
  return tg_cpu_primitive_desc(e, op, NULL, hint, pd);
}

static tg_status prepare_forward(tg_exec *e, conv *c, geometry *g) {
  dnnl_prop_kind_t kind = e->train ? dnnl_forward_training : dnnl_forward_inference;
  const dnnl_memory_desc_t *b = g->b.ndims ? &g->b : NULL;
  operation op;
  dnnl_memory_desc_t y = g->y;
  y.data_type = tg_cpu_dtype(e->y->dtype);
  dnnl_status_t s =
      g->transposed
          ? dnnl_deconvolution_forward_desc_init(&op.deconv, kind, dnnl_deconvolution_direct, &g->x,
                                                 &g->w, b, &y, g->stride, g->pad, g->pad)
          : dnnl_convolution_forward_desc_init(&op.conv, kind, dnnl_convolution_direct, &g->x,
                                               &g->w, b, &y, g->stride, g->pad, g->pad);
  TG_TRY(tg_cpu_check(s, "forward", e->node));
  TG_TRY(choose(e, &op, winograd_pays(g, 32), NULL, &c->hint));
  dnnl_primitive_desc_t pd;
  TG_TRY(tg_cpu_check(dnnl_primitive_desc_clone(&pd, c->hint), "forward", e->node));
  TG_TRY(tg_cpu_call_create(&c->forward, e->device, pd));
  const dnnl_memory_desc_t *x = tg_cpu_query(c->hint, dnnl_query_src_md, 0);
  c->y_layout = *tg_cpu_query(c->hint, dnnl_query_dst_md, 0);
  c->y = c->y_layout;
  c->kept_x = *x;
  TG_TRY(tg_cpu_copy_create(&c->copy_x, e->device, &c->x, x));
  TG_TRY(tg_cpu_call_arg(&c->forward, DNNL_ARG_SRC, x));
  TG_TRY(tg_cpu_call_in(&c->forward, DNNL_ARG_WEIGHTS, &c->w,
                        tg_cpu_query(c->hint, dnnl_query_weights_md, 0)));
  if (b) TG_TRY(tg_cpu_call_arg(&c->forward, DNNL_ARG_BIAS, b));
  return tg_cpu_call_arg(&c->forward, DNNL_ARG_DST, &c->y_layout);
}

static tg_status prepare_data(tg_exec *e, conv *c, geometry *g) {
  operation op;
  dnnl_status_t s =
      g->transposed
          ? dnnl_deconvolution_backward_data_desc_init(&op.deconv, dnnl_deconvolution_direct, &g->x,
                                                       &g->w, &g->y, g->stride, g->pad, g->pad)
          : dnnl_convolution_backward_data_desc_init(&op.conv, dnnl_convolution_direct, &g->x,
                                                     &g->w, &g->y, g->stride, g->pad, g->pad);
  TG_TRY(tg_cpu_check(s, "backward data", e->node));
  dnnl_primitive_desc_t pd;
  TG_TRY(choose(e, &op, winograd_pays(g, 32), c->hint, &pd));
  dnnl_memory_desc_t dx = *tg_cpu_query(pd, dnnl_query_diff_src_md, 0);
  dnnl_memory_desc_t w = *tg_cpu_query(pd, dnnl_query_weights_md, 0);
  dnnl_memory_desc_t dy = *tg_cpu_query(pd, dnnl_query_diff_dst_md, 0);
  tg_cpu_call *call = &c->backward_data;
  TG_TRY(tg_cpu_call_create(call, e->device, pd));
  TG_TRY(tg_cpu_call_in(call, DNNL_ARG_DIFF_DST, &c->y, &dy));
  TG_TRY(tg_cpu_call_in(call, DNNL_ARG_WEIGHTS, &c->w, &w));
  return tg_cpu_call_out(call, DNNL_ARG_DIFF_SRC, &c->x, &dx);
}

static tg_status prepare_weights(tg_exec *e, conv *c, geometry *g) {
  dnnl_memory_desc_t dw_any;
  any_like(&c->w, dnnl_f32, &dw_any);
  const dnnl_memory_desc_t *b = g->b.ndims ? &g->b : NULL;
  operation op;
  dnnl_status_t s =
      g->transposed
          ? dnnl_deconvolution_backward_weights_desc_init(&op.deconv, dnnl_deconvolution_direct,
                                                          &g->x, &dw_any, b, &g->y, g->stride,
                                                          g->pad, g->pad)
          : dnnl_convolution_backward_weights_desc_init(&op.conv, dnnl_convolution_direct, &g->x,
                                                        &dw_any, b, &g->y, g->stride, g->pad,
                                                        g->pad);
  TG_TRY(tg_cpu_check(s, "backward weights", e->node));
  dnnl_primitive_desc_t pd;
  TG_TRY(choose(e, &op, winograd_pays(g, 16), c->hint, &pd));
  dnnl_memory_desc_t x = *tg_cpu_query(pd, dnnl_query_src_md, 0);
  dnnl_memory_desc_t dw = *tg_cpu_query(pd, dnnl_query_diff_weights_md, 0);
  dnnl_memory_desc_t dy = *tg_cpu_query(pd, dnnl_query_diff_dst_md, 0);
  tg_cpu_call *call = &c->backward_weights;
  TG_TRY(tg_cpu_call_create(call, e->device, pd));
  TG_TRY(tg_cpu_call_in(call, DNNL_ARG_SRC, &c->kept_x, &x));
  TG_TRY(tg_cpu_call_in(call, DNNL_ARG_DIFF_DST, &c->y, &dy));
  TG_TRY(tg_cpu_call_out(call, DNNL_ARG_DIFF_WEIGHTS, &c->w, &dw));
  return b ? tg_cpu_call_arg(call, DNNL_ARG_DIFF_BIAS, b) : TG_OK;
}

/* In training a copy of x lives in the workspace, else in the scratch behind forward's. */
static void place_copy_x(tg_exec *e, conv *c) {
  size_t behind = c->forward.scratch_bytes;
  if (c->copy_x.scratch_bytes > behind) behind = c->copy_x.scratch_bytes;
  if (e->train)
    e->workspace_bytes = tg_cpu_bytes(&c->kept_x);
  else
    tg_cpu_need_scratch(e, behind + tg_cpu_bytes(&c->kept_x));
}

static tg_status prepare(tg_exec *e) {
  conv *c = calloc(1, sizeof *c);
  if (!c) TG_FAIL(TG_ERUNTIME, "no memory for the kernel of %s", e->node->name);
  e->state = c;
  geometry g = describe(e, c);
  TG_TRY(prepare_forward(e, c, &g));
  tg_cpu_place(e->y, &c->y_layout);
  if (e->train) {
    if (e->needs_dx[0]) TG_TRY(prepare_data(e, c, &g));
    TG_TRY(prepare_weights(e, c, &g));
  }
  dnnl_primitive_desc_destroy(c->hint);
  c->hint = NULL;
  if (tg_cpu_copy_needed(&c->copy_x))
    place_copy_x(e, c);
  else
    e->keep_x[0] = true;
  tg_cpu_need_scratch(e, c->copy_x.scratch_bytes);
  tg_cpu_need_scratch(e, c->forward.scratch_bytes);
  tg_cpu_need_scratch(e, c->backward_data.scratch_bytes);
  tg_cpu_need_scratch(e, c->backward_weights.scratch_bytes);
  return TG_OK;
}

/* Where the primitives find x: its own memory, or the copy's. */
static void *x_place(const tg_exec *e, const conv *c) {
  if (!tg_cpu_copy_needed(&c->copy_x)) return e->x[0]->data;
  if (e->train) return e->workspace;
  return (char *)e->scratch + (e->scratch_bytes - tg_cpu_bytes(&c->kept_x));
}

static tg_status forward(tg_exec *e) {
  conv *c = e->state;
  void *x = x_place(e, c);
  if (tg_cpu_copy_needed(&c->copy_x))
    TG_TRY(tg_cpu_copy_run(&c->copy_x, e->x[0]->data, x, e->scratch));
  tg_cpu_call_bind(&c->forward, DNNL_ARG_SRC, x);
  tg_cpu_call_bind(&c->forward, DNNL_ARG_WEIGHTS, e->w[0]);
  tg_cpu_call_bind(&c->forward, DNNL_ARG_BIAS, e->w[1]);
  tg_cpu_call_bind(&c->forward, DNNL_ARG_DST, e->y->data);
  return tg_cpu_call_run(&c->forward, e->scratch);
}

/* The gradients of what a hollow convolution leaves out. */
static void hollow_out(const tg_exec *e) {
  const tg_shape *weight = &e->node->param[0]->shape;
  float *dw = tg_cpu_host(e->device, e->dw[0]);
  for (int64_t t = 0; t < weight->dim[1]; t++) dw[tg_conv_skeleton(weight, t)] = 0;
}

static tg_status backward(tg_exec *e) {
  conv *c = e->state;
  tg_cpu_call *weights = &c->backward_weights, *data = &c->backward_data;
  tg_cpu_call_bind(weights, DNNL_ARG_SRC, x_place(e, c));
  tg_cpu_call_bind(weights, DNNL_ARG_DIFF_DST, e->dy);
  tg_cpu_call_bind(weights, DNNL_ARG_DIFF_WEIGHTS, e->dw[0]);
  tg_cpu_call_bind(weights, DNNL_ARG_DIFF_BIAS, e->dw[1]);
  TG_TRY(tg_cpu_call_run(weights, e->scratch));
  if (((const tg_conv_attr *)e->node->attr)->hollow) hollow_out(e);
  if (!e->dx[0]) return TG_OK;
  tg_cpu_call_bind(data, DNNL_ARG_DIFF_DST, e->dy);
  tg_cpu_call_bind(data, DNNL_ARG_WEIGHTS, e->w[0]);
  tg_cpu_call_bind(data, DNNL_ARG_DIFF_SRC, e->dx[0]);
  return tg_cpu_call_run(data, e->scratch);
}

static void destroy(tg_exec *e) {
  conv *c = e->state;
  if (!c) return;
  tg_cpu_call_destroy(&c->forward);
  tg_cpu_call_destroy(&c->backward_data);
  tg_cpu_call_destroy(&c->backward_weights);
  tg_cpu_call_destroy(&c->copy_x);
  if (c->hint) dnnl_primitive_desc_destroy(c->hint);
  free(c);
  e->state = NULL;
}

const tg_kernel tg_cpu_kernel_conv = {
    .prepare = prepare, .forward = forward, .backward = backward, .destroy = destroy};
