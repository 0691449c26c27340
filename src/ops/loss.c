#include <math.h>

#include "ops/infer.h"
#include "tardigrad/ops.h"

static tg_status infer_loss(tg_graph *g, tg_node *node) {
  const tg_loss_attr *attr = node->attr;
  TG_TRY(tg_infer_own_name(g, node));
  if (!isfinite(attr->weight))
    return tg_infer_fail(g, node, "weight %g is not finite", attr->weight);
  node->out->keep_f32 = true;
  return tg_infer_set(g, node, (tg_shape){.nd = 1, .dim = {1}});
}

static tg_status infer_cross_entropy(tg_graph *g, tg_node *node) {
  tg_value *logits = node->in[0], *labels = node->in[1];
  char first[64], second[64];
  tg_shape_text(&logits->shape, first, sizeof first);
  tg_shape_text(&labels->shape, second, sizeof second);
  if (logits->labels || logits->producer->op->loss)
    return tg_infer_fail(g, node, "input %s is no logits", logits->name);
  TG_TRY(tg_infer_dims(g, node, 0, 2, 2, "logits [batch,classes]"));
  if (!labels->labels)
    return tg_infer_fail(g, node, "input %s is numbers, not labels", labels->name);
  if (labels->shape.dim[0] != logits->shape.dim[0])
    return tg_infer_fail(g, node, "logits %s are %s but labels %s are %s", logits->name, first,
                         labels->name, second);
  logits->keep_f32 = true;
  return infer_loss(g, node);
}

static tg_status infer_squared_error(tg_graph *g, tg_node *node) {
  TG_TRY(tg_infer_numbers(g, node));
  TG_TRY(tg_infer_same(g, node, 1));
  node->in[0]->keep_f32 = node->in[1]->keep_f32 = true;
  return infer_loss(g, node);
}

const tg_op tg_op_softmax_cross_entropy = {.name = "softmax_cross_entropy",
                                           .help = "mean of -log softmax(logits)[label]",
                                           .id = TG_OP_softmax_cross_entropy,
                                           .loss = true,
                                           .infer = infer_cross_entropy};
const tg_op tg_op_mean_squared_error = {.name = "mean_squared_error",
                                        .help = "mean of (x - target)^2",
                                        .id = TG_OP_mean_squared_error,
                                        .loss = true,
                                        .infer = infer_squared_error};

tg_value *tg_softmax_cross_entropy(tg_graph *g, const char *name, tg_value *logits,
                                   tg_value *labels, float weight) {
  tg_loss_attr attr = {.weight = weight};
  tg_value *in[] = {logits, labels};
  return tg_graph_add(g, &tg_op_softmax_cross_entropy, name, &attr, sizeof attr, 2, in);
}

tg_value *tg_mean_squared_error(tg_graph *g, const char *name, tg_value *x, tg_value *target,
                                float weight) {
  tg_loss_attr attr = {.weight = weight};
  tg_value *in[] = {x, target};
  return tg_graph_add(g, &tg_op_mean_squared_error, name, &attr, sizeof attr, 2, in);
}
