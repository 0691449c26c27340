#include "ops/infer.h"
#include "tardigrad/ops.h"

static tg_status infer(tg_graph *g, tg_node *node) {
  const tg_batch_norm_attr *attr = node->attr;
  TG_TRY(tg_infer_numbers(g, node));
  TG_TRY(tg_infer_dims(g, node, 0, 2, TG_MAX_DIMS, "[batch,channels,...]"));
  const tg_shape *x = &node->in[0]->shape;
  tg_shape channels = {.nd = 1, .dim = {x->dim[1]}};
  size_t count = (size_t)x->dim[1];
  TG_TRY(tg_infer_set(g, node, *x));
  TG_TRY(tg_node_param(g, node, "weight", channels, TG_INIT_ONE, 1, 1));
  TG_TRY(tg_node_param(g, node, "bias", channels, TG_INIT_ZERO, 1, 1));
  TG_TRY(tg_node_stat(g, node, "running_mean", count, 0, attr->momentum));
  return tg_node_stat(g, node, "running_var", count, 1, attr->momentum);
}

const tg_op tg_op_batch_norm = {.name = "batch_norm",
                                .help = "normalisation per channel over batch and space",
                                .id = TG_OP_batch_norm,
                                .infer = infer};

tg_value *tg_batch_norm(tg_graph *g, const char *name, tg_value *x) {
  tg_batch_norm_attr attr = {.epsilon = 1e-5f, .momentum = 0.1f};
  return tg_graph_add(g, &tg_op_batch_norm, name, &attr, sizeof attr, 1, &x);
}
