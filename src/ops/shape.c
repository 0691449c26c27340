/* shape.c - ops that only move elements: concat, slice, pad, flatten. */
#include "ops/infer.h"
#include "tardigrad/ops.h"

static tg_status infer_concat(tg_graph *g, tg_node *node) {
  const tg_axis_attr *attr = node->attr;
  if (node->in_count < 1) return tg_infer_fail(g, node, "no inputs");
  TG_TRY(tg_infer_numbers(g, node));
  TG_TRY(tg_infer_axis(g, node, node->in[0], attr->axis));
  tg_shape y = node->in[0]->shape;
  char first[64], other[64];
  for (int i = 1; i < node->in_count; i++) {
    tg_shape x = node->in[i]->shape;
    int64_t length = x.nd > attr->axis ? x.dim[attr->axis] : 0;
    if (x.nd > attr->axis) x.dim[attr->axis] = y.dim[attr->axis];
    if (!tg_shape_equal(&x, &y))
      return tg_infer_fail(
          g, node, "inputs %s %s and %s %s differ beside axis %d", node->in[0]->name,
          tg_shape_text(&node->in[0]->shape, first, sizeof first), node->in[i]->name,
          tg_shape_text(&node->in[i]->shape, other, sizeof other), attr->axis);
    y.dim[attr->axis] += length;
  }
  return tg_infer_set(g, node, y);
}

static tg_status infer_slice(tg_graph *g, tg_node *node) {
  const tg_slice_attr *a = node->attr;
  tg_value *x = node->in[0];
  /* Labels can be sliced too: per environment, beside their samples. */
  if (!x->labels) TG_TRY(tg_infer_numbers(g, node));
  TG_TRY(tg_infer_axis(g, node, x, a->axis));
  tg_shape y = x->shape;
  int64_t dim = y.dim[a->axis];
  char text[64];
  bool possible = a->start >= 0 && a->start < dim && a->length >= 1 && a->step >= 1 &&
                  a->length - 1 <= (dim - 1 - a->start) / a->step;
  if (!possible)
    return tg_infer_fail(g, node, "%lld elements from %lld in steps of %lld along axis %d of %s %s",
                         (long long)a->length, (long long)a->start, (long long)a->step, a->axis,
                         x->name, tg_shape_text(&x->shape, text, sizeof text));
  y.dim[a->axis] = a->length;
  node->out->labels = x->labels;
  return tg_infer_set(g, node, y);
}

static tg_status infer_pad(tg_graph *g, tg_node *node) {
  const tg_pad_attr *a = node->attr;
  TG_TRY(tg_infer_numbers(g, node));
  TG_TRY(tg_infer_axis(g, node, node->in[0], a->axis));
  if (a->before < 0 || a->after < 0 || a->before > TG_MOST_EXTENT || a->after > TG_MOST_EXTENT)
    return tg_infer_fail(g, node, "%lld zeros before and %lld after are impossible",
                         (long long)a->before, (long long)a->after);
  tg_shape y = node->in[0]->shape;
  y.dim[a->axis] += a->before + a->after;
  return tg_infer_set(g, node, y);
}

static tg_status infer_flatten(tg_graph *g, tg_node *node) {
  TG_TRY(tg_infer_numbers(g, node));
  const tg_shape *x = &node->in[0]->shape;
  int64_t rest = 1;
  for (int i = 1; i < x->nd; i++) rest *= x->dim[i];
  return tg_infer_set(g, node, (tg_shape){.nd = 2, .dim = {x->dim[0], rest}});
}

const tg_op tg_op_concat = {
    .name = "concat", .help = "inputs side by side", .id = TG_OP_concat, .infer = infer_concat};
const tg_op tg_op_slice = {.name = "slice",
                           .help = "every step-th element of a range along one axis",
                           .id = TG_OP_slice,
                           .infer = infer_slice};
const tg_op tg_op_pad = {
    .name = "pad", .help = "zeros before and after", .id = TG_OP_pad, .infer = infer_pad};
const tg_op tg_op_flatten = {.name = "flatten",
                             .help = "[batch, everything else]",
                             .id = TG_OP_flatten,
                             .infer = infer_flatten};

tg_value *tg_concat(tg_graph *g, int axis, int count, tg_value *const *x) {
  tg_axis_attr attr = {.axis = axis};
  return tg_graph_add(g, &tg_op_concat, NULL, &attr, sizeof attr, count, x);
}

tg_value *tg_slice(tg_graph *g, tg_value *x, int axis, int64_t start, int64_t length,
                   int64_t step) {
  tg_slice_attr attr = {.axis = axis, .start = start, .length = length, .step = step};
  return tg_graph_add(g, &tg_op_slice, NULL, &attr, sizeof attr, 1, &x);
}

tg_value *tg_pad(tg_graph *g, tg_value *x, int axis, int64_t before, int64_t after) {
  tg_pad_attr attr = {.axis = axis, .before = before, .after = after};
  return tg_graph_add(g, &tg_op_pad, NULL, &attr, sizeof attr, 1, &x);
}

tg_value *tg_flatten(tg_graph *g, tg_value *x) {
  return tg_graph_add(g, &tg_op_flatten, NULL, NULL, 0, 1, &x);
}
