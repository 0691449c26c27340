#include "ops/infer.h"
#include "tardigrad/ops.h"

static tg_status infer(tg_graph *g, tg_node *node) {
  const tg_dense_attr *attr = node->attr;
  TG_TRY(tg_infer_numbers(g, node));
  TG_TRY(tg_infer_dims(g, node, 0, 2, 2, "[batch,features]: flatten it first"));
  int64_t batch = node->in[0]->shape.dim[0], in = node->in[0]->shape.dim[1];
  if (attr->out < 1)
    return tg_infer_fail(g, node, "%lld outputs; at least 1", (long long)attr->out);
  TG_TRY(tg_infer_set(g, node, (tg_shape){.nd = 2, .dim = {batch, attr->out}}));
  tg_shape weight = {.nd = 2, .dim = {attr->out, in}}, bias = {.nd = 1, .dim = {attr->out}};
  TG_TRY(tg_infer_possible(g, node, &weight));
  TG_TRY(tg_node_param(g, node, "weight", weight, TG_INIT_WEIGHT, in, attr->out));
  if (!attr->bias) return TG_OK;
  return tg_node_param(g, node, "bias", bias, TG_INIT_BIAS, in, attr->out);
}

const tg_op tg_op_dense = {
    .name = "dense", .help = "x weight^T + bias", .id = TG_OP_dense, .infer = infer};

tg_value *tg_dense(tg_graph *g, const char *name, tg_value *x, int64_t out, bool bias) {
  tg_dense_attr attr = {.out = out, .bias = bias};
  return tg_graph_add(g, &tg_op_dense, name, &attr, sizeof attr, 1, &x);
}
