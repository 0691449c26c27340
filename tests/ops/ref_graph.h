/* ref_graph.h - whole graphs in double precision: the naive ops one after the other, gradients
 * added up as the chain rule says. Nothing is fused, shared or planned. */
#ifndef TEST_OPS_REF_GRAPH_H
#define TEST_OPS_REF_GRAPH_H

#include "tools.h"

typedef struct ref_graph {
  const tg_graph *g;
  ref_call *call;   /* [nodes] */
  ref_tensor *grad; /* [nodes] of each value */
  double *w, *dw;   /* [n] */
  bool bf16;        /* values and gradients between ops are rounded: what that alone does */
} ref_graph;

static inline const ref_op *ref_op_of(int id) {
  static const ref_op *const table[TG_OP_COUNT] = {[TG_OP_dense] = &ref_dense,
                                                   [TG_OP_conv] = &ref_conv,
                                                   [TG_OP_batch_norm] = &ref_batch_norm,
                                                   [TG_OP_relu] = &ref_relu,
                                                   [TG_OP_leaky_relu] = &ref_leaky_relu,
                                                   [TG_OP_sigmoid] = &ref_sigmoid,
                                                   [TG_OP_add] = &ref_add,
                                                   [TG_OP_skip] = &ref_skip,
                                                   [TG_OP_concat] = &ref_concat,
                                                   [TG_OP_slice] = &ref_slice,
                                                   [TG_OP_pad] = &ref_pad,
                                                   [TG_OP_flatten] = &ref_flatten,
                                                   [TG_OP_pool] = &ref_pool,
                                                   [TG_OP_softmax_cross_entropy] =
                                                       &ref_cross_entropy,
                                                   [TG_OP_mean_squared_error] = &ref_squared_error};
  return table[id];
}

static inline void ref_attributes(const tg_node *node, ref_call *c) {
  const void *a = node->attr;
  switch (node->op->id) {
  case TG_OP_conv:
    memcpy(c->kernel, ((const tg_conv_attr *)a)->kernel, sizeof c->kernel);
    memcpy(c->stride, ((const tg_conv_attr *)a)->stride, sizeof c->stride);
    memcpy(c->pad, ((const tg_conv_attr *)a)->pad, sizeof c->pad);
    c->transposed = ((const tg_conv_attr *)a)->transposed;
    c->hollow = ((const tg_conv_attr *)a)->hollow;
    break;
  case TG_OP_pool:
    memcpy(c->kernel, ((const tg_pool_attr *)a)->kernel, sizeof c->kernel);
    memcpy(c->stride, ((const tg_pool_attr *)a)->stride, sizeof c->stride);
    memcpy(c->pad, ((const tg_pool_attr *)a)->pad, sizeof c->pad);
    c->pool = (ref_pool_kind)((const tg_pool_attr *)a)->kind;
    break;
  case TG_OP_skip:
    c->stride[0] = ((const tg_skip_attr *)a)->stride;
    c->factor = (double)((const tg_skip_attr *)a)->factor;
    break;
  case TG_OP_slice:
    c->axis = ((const tg_slice_attr *)a)->axis;
    c->start = ((const tg_slice_attr *)a)->start;
    c->step = ((const tg_slice_attr *)a)->step;
    break;
  case TG_OP_pad:
    c->axis = ((const tg_pad_attr *)a)->axis;
    c->before = ((const tg_pad_attr *)a)->before;
    break;
  case TG_OP_concat:
    c->axis = ((const tg_axis_attr *)a)->axis;
    break;
  case TG_OP_batch_norm:
    c->epsilon = (double)((const tg_batch_norm_attr *)a)->epsilon;
    break;
  case TG_OP_leaky_relu:
    c->slope = (double)((const tg_leaky_relu_attr *)a)->slope;
    break;
  case TG_OP_softmax_cross_entropy:
  case TG_OP_mean_squared_error:
    c->weight = (double)((const tg_loss_attr *)a)->weight;
    break;
  default:
    break;
  }
}

/* Memory for everything; w as it is in float32. Inputs are written by ref_graph_input. */
static inline ref_graph ref_graph_create(const tg_graph *g, const float *w) {
  size_t nodes = (size_t)g->node_count;
  ref_graph r = {.g = g,
                 .call = calloc(nodes, sizeof *r.call),
                 .grad = calloc(nodes, sizeof *r.grad),
                 .w = calloc(g->n + 1, sizeof *r.w),
                 .dw = calloc(g->n + 1, sizeof *r.dw)};
  for (size_t i = 0; i < g->n; i++) r.w[i] = (double)w[i];
  for (int i = 0; i < g->node_count; i++) {
    const tg_node *node = g->node[i];
    ref_call *c = &r.call[i];
    c->y = ref_of(&node->out->shape, NULL);
    r.grad[i] = ref_of(&node->out->shape, NULL);
    c->x_count = node->in_count;
    ref_attributes(node, c);
    for (int j = 0; j < node->in_count; j++) {
      c->x[j] = r.call[node->in[j]->index].y; /* the same memory */
      c->dx[j] = ref_of(&node->in[j]->shape, NULL);
    }
    for (int j = 0; j < node->param_count; j++) {
      c->dw[j] = ref_of(&node->param[j]->shape, NULL);
      c->w[j] = c->dw[j];
      c->w[j].v = r.w + node->param[j]->offset;
    }
    if (node->op->id == TG_OP_batch_norm) {
      c->mean = calloc((size_t)c->y.dim[1], sizeof(double));
      c->variance = calloc((size_t)c->y.dim[1], sizeof(double));
    }
  }
  return r;
}

static inline void ref_graph_input(ref_graph *r, const char *name, const float *v) {
  ref_tensor *t = &r->call[tg_graph_value(r->g, name)->index].y;
  for (size_t i = 0; i < ref_count(t); i++) t->v[i] = (double)v[i];
}

static inline void ref_round(const ref_graph *r, const tg_value *value, ref_tensor *t) {
  if (!r->bf16 || value->keep_f32 || value->labels) return;
  for (size_t i = 0; i < ref_count(t); i++) t->v[i] = (double)as_bf16((float)t->v[i]);
}

/* labels: those of every cross-entropy in the graph. */
static inline void ref_graph_forward(ref_graph *r, const int32_t *labels) {
  for (int i = 0; i < r->g->node_count; i++) {
    const tg_node *node = r->g->node[i];
    r->call[i].label = labels;
    if (node->in_count > 0) ref_op_of(node->op->id)->forward(&r->call[i]);
    ref_round(r, node->out, &r->call[i].y);
  }
}

/* What a training step makes smaller: the losses with their weights. */
static inline double ref_graph_objective(const ref_graph *r) {
  double sum = 0;
  for (int i = 0; i < r->g->node_count; i++)
    if (r->g->node[i]->op->loss) sum += r->call[i].weight * r->call[i].y.v[0];
  return sum;
}

static inline void ref_graph_backward(ref_graph *r) {
  memset(r->dw, 0, r->g->n * sizeof *r->dw);
  for (int i = 0; i < r->g->node_count; i++) ref_clear(&r->grad[i]);
  for (int i = r->g->node_count - 1; i >= 0; i--) {
    const tg_node *node = r->g->node[i];
    ref_call *c = &r->call[i];
    if (node->in_count == 0) continue;
    c->dy = r->grad[i];
    ref_op_of(node->op->id)->backward(c);
    for (int j = 0; j < node->in_count; j++) {
      ref_tensor *sum = &r->grad[node->in[j]->index];
      for (size_t k = 0; k < ref_count(sum); k++) sum->v[k] += c->dx[j].v[k];
      ref_round(r, node->in[j], sum);
    }
    for (int j = 0; j < node->param_count; j++)
      for (size_t k = 0; k < node->param[j]->count; k++)
        r->dw[node->param[j]->offset + k] += c->dw[j].v[k];
  }
}

static inline void ref_graph_free(ref_graph *r) {
  for (int i = 0; i < r->g->node_count; i++) {
    ref_call *c = &r->call[i];
    ref_free(&c->y);
    ref_free(&r->grad[i]);
    for (int j = 0; j < c->x_count; j++) ref_free(&c->dx[j]);
    for (int j = 0; j < REF_PARAMS; j++) ref_free(&c->dw[j]);
    free(c->mean);
    free(c->variance);
  }
  free(r->call);
  free(r->grad);
  free(r->w);
  free(r->dw);
}

#endif
