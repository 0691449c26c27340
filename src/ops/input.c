/* input.c - what comes from outside, and what is read there. */
#include <string.h>

#include "ops/infer.h"
#include "tardigrad/ops.h"

static tg_status infer(tg_graph *g, tg_node *node) {
  const tg_input_attr *attr = node->attr;
  TG_TRY(tg_infer_own_name(g, node));
  node->out->labels = attr->labels;
  node->out->keep_f32 = !attr->labels;
  return tg_infer_set(g, node, attr->shape);
}

const tg_op tg_op_input = {
    .name = "input", .help = "data from outside", .id = TG_OP_input, .infer = infer};

tg_value *tg_input(tg_graph *g, const char *name, tg_shape shape) {
  tg_input_attr attr = {.shape = shape};
  return tg_graph_add(g, &tg_op_input, name, &attr, sizeof attr, 0, NULL);
}

tg_value *tg_labels(tg_graph *g, const char *name, int64_t batch) {
  tg_input_attr attr = {.shape = {.nd = 1, .dim = {batch}}, .labels = true};
  return tg_graph_add(g, &tg_op_input, name, &attr, sizeof attr, 0, NULL);
}

tg_value *tg_output(tg_graph *g, const char *name, tg_value *x) {
  if (g->status != TG_OK) return NULL;
  if (!x) {
    tg_graph_fail(g, TG_ECONFIG, "output %s: its value is missing", name);
    return NULL;
  }
  const tg_value *other = tg_graph_value(g, name);
  if (other && other != x) {
    tg_graph_fail(g, TG_ECONFIG, "output %s: another value has the name", name);
    return NULL;
  }
  if ((x->output || x->producer->op->id == TG_OP_input) && strcmp(x->name, name) != 0) {
    tg_graph_fail(g, TG_ECONFIG, "output %s: the value is known by the name %s already", name,
                  x->name);
    return NULL;
  }
  if (x->output) return x;
  char *copy = tg_arena_printf(g->arena, "%s", name);
  if (!copy) {
    tg_graph_fail(g, TG_ERUNTIME, "no memory for output %s", name);
    return NULL;
  }
  x->name = copy;
  x->output = true;
  x->uses++;
  return x;
}
