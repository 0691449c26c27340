#include "ops/infer.h"

#include <stdarg.h>
#include <stdio.h>

/* A tensor beyond this many elements is a slip of the fingers, and products of dimensions stay far
 * from overflow. */
static const int64_t MOST_ELEMENTS = (int64_t)1 << 40;

tg_status tg_infer_fail(tg_graph *g, const tg_node *node, const char *format, ...) {
  char text[384];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  return tg_graph_fail(g, TG_ECONFIG, "%s %s: %s", node->op->name, node->name, text);
}

tg_status tg_infer_numbers(tg_graph *g, const tg_node *node) {
  for (int i = 0; i < node->in_count; i++) {
    const tg_value *x = node->in[i];
    if (x->labels)
      return tg_infer_fail(g, node, "input %d, %s, is labels, not numbers", i, x->name);
    if (x->producer->op->loss)
      return tg_infer_fail(g, node, "input %d, %s, is a loss: nothing can follow it", i, x->name);
  }
  return TG_OK;
}

tg_status tg_infer_dims(tg_graph *g, const tg_node *node, int i, int low, int high,
                        const char *meaning) {
  const tg_value *x = node->in[i];
  if (x->shape.nd >= low && x->shape.nd <= high) return TG_OK;
  char text[64];
  return tg_infer_fail(g, node, "input %s has shape %s, must be %s", x->name,
                       tg_shape_text(&x->shape, text, sizeof text), meaning);
}

tg_status tg_infer_axis(tg_graph *g, const tg_node *node, const tg_value *x, int axis) {
  if (axis >= 0 && axis < x->shape.nd) return TG_OK;
  char text[64];
  return tg_infer_fail(g, node, "axis %d is none of the %d of input %s %s", axis, x->shape.nd,
                       x->name, tg_shape_text(&x->shape, text, sizeof text));
}

tg_status tg_infer_same(tg_graph *g, const tg_node *node, int i) {
  const tg_value *a = node->in[0], *b = node->in[i];
  if (tg_shape_equal(&a->shape, &b->shape)) return TG_OK;
  char first[64], second[64];
  return tg_infer_fail(g, node, "inputs must have equal shapes, but %s is %s and %s is %s", a->name,
                       tg_shape_text(&a->shape, first, sizeof first), b->name,
                       tg_shape_text(&b->shape, second, sizeof second));
}

tg_status tg_infer_own_name(tg_graph *g, const tg_node *node) {
  if (!tg_graph_value(g, node->name)) return TG_OK;
  return tg_infer_fail(g, node, "another value has the name %s", node->name);
}

tg_status tg_infer_possible(tg_graph *g, const tg_node *node, const tg_shape *shape) {
  if (shape->nd < 1 || shape->nd > TG_MAX_DIMS)
    return tg_infer_fail(g, node, "%d dimensions; 1 to %d are possible", shape->nd, TG_MAX_DIMS);
  char text[128];
  int64_t count = 1;
  for (int i = 0; i < shape->nd; i++) {
    if (shape->dim[i] < 1)
      return tg_infer_fail(g, node, "shape %s is empty in dimension %d",
                           tg_shape_text(shape, text, sizeof text), i);
    if (shape->dim[i] > MOST_ELEMENTS / count)
      return tg_infer_fail(g, node, "shape %s has more than 2^40 elements",
                           tg_shape_text(shape, text, sizeof text));
    count *= shape->dim[i];
  }
  return TG_OK;
}

tg_status tg_infer_set(tg_graph *g, tg_node *node, tg_shape shape) {
  TG_TRY(tg_infer_possible(g, node, &shape));
  node->out->shape = shape;
  return TG_OK;
}
