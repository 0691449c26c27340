/* elementwise.c - ops whose value has the shape of their inputs: activations and the sum. */
#include <math.h>

#include "ops/infer.h"
#include "tardigrad/ops.h"

static tg_status infer(tg_graph *g, tg_node *node) {
  TG_TRY(tg_infer_numbers(g, node));
  for (int i = 1; i < node->in_count; i++) TG_TRY(tg_infer_same(g, node, i));
  return tg_infer_set(g, node, node->in[0]->shape);
}

static tg_status infer_leaky_relu(tg_graph *g, tg_node *node) {
  const tg_leaky_relu_attr *attr = node->attr;
  if (!isfinite(attr->slope)) return tg_infer_fail(g, node, "slope %g is not finite", attr->slope);
  return infer(g, node);
}

const tg_op tg_op_relu = {.name = "relu", .help = "max(x, 0)", .id = TG_OP_relu, .infer = infer};
const tg_op tg_op_leaky_relu = {.name = "leaky_relu",
                                .help = "x, or slope x where it is negative",
                                .id = TG_OP_leaky_relu,
                                .infer = infer_leaky_relu};
const tg_op tg_op_sigmoid = {
    .name = "sigmoid", .help = "1 / (1 + exp(-x))", .id = TG_OP_sigmoid, .infer = infer};
const tg_op tg_op_add = {.name = "add", .help = "x + y", .id = TG_OP_add, .infer = infer};

tg_value *tg_relu(tg_graph *g, tg_value *x) {
  return tg_graph_add(g, &tg_op_relu, NULL, NULL, 0, 1, &x);
}

tg_value *tg_leaky_relu(tg_graph *g, tg_value *x, float slope) {
  tg_leaky_relu_attr attr = {.slope = slope};
  return tg_graph_add(g, &tg_op_leaky_relu, NULL, &attr, sizeof attr, 1, &x);
}

tg_value *tg_sigmoid(tg_graph *g, tg_value *x) {
  return tg_graph_add(g, &tg_op_sigmoid, NULL, NULL, 0, 1, &x);
}

tg_value *tg_add(tg_graph *g, tg_value *x, tg_value *y) {
  tg_value *in[] = {x, y};
  return tg_graph_add(g, &tg_op_add, NULL, NULL, 0, 2, in);
}
