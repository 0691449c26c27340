/* fold.c - which ops one kernel does at once: op, then addition, then ReLU. */
#include "graph/plan_private.h"

/* A value that only the op behind it reads need not exist; and one tensor has one dtype. */
static bool only_a_step(const tg_value *value, const tg_value *next) {
  return value->uses == 1 && !value->output && value->keep_f32 == next->keep_f32;
}

/* The addition's step becomes that of the op which computes in[j]: there, and not earlier, both
 * addends are known. */
static bool fold_add(tg_plan *p, int i, int j) {
  const tg_node *node = p->graph->node[i];
  const tg_value *value = node->in[j], *addend = node->in[1 - j];
  const tg_node *before = value->producer;
  const tg_kernel *kernel = tg_plan_kernel(p, before);
  if (!kernel || !kernel->fuses_add || value == addend) return false;
  if (!only_a_step(value, node->out) || addend->keep_f32 != node->out->keep_f32) return false;
  p->exec[i].node = before;
  p->exec[i].fuse_add = true;
  p->step[i].addend = addend;
  p->step[before->index].folded = true;
  p->root[before->index] = i;
  return true;
}

static void fold_relu(tg_plan *p, int i) {
  const tg_node *node = p->graph->node[i];
  if (!only_a_step(node->in[0], node->out)) return;
  int before = tg_plan_root(p, node->in[0]);
  const tg_kernel *kernel = tg_plan_kernel(p, p->exec[before].node);
  if (!kernel || !kernel->fuses_relu) return;
  p->exec[before].fuse_relu = true;
  p->step[i].folded = true;
  p->root[i] = before;
}

void tg_plan_fold(tg_plan *p) {
  for (int i = 0; i < p->count; i++) {
    int op = p->graph->node[i]->op->id;
    if (op == TG_OP_add && !fold_add(p, i, 0)) (void)fold_add(p, i, 1);
    if (op == TG_OP_relu) fold_relu(p, i);
  }
}
