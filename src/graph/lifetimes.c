/* lifetimes.c - which buffers a plan needs, and from when to when. */
#include <stdlib.h>
#include <string.h>

#include "graph/plan_private.h"

static tg_status new_buffer(tg_plan *p, size_t bytes, int first, int last, int *out) {
  if (p->buffer_count == p->buffer_room) {
    int room = p->buffer_room ? 2 * p->buffer_room : 256;
    tg_buffer *more = realloc(p->buffer, (size_t)room * sizeof *more);
    if (!more) TG_FAIL(TG_ERUNTIME, "no memory for a plan of %d nodes", p->count);
    p->buffer = more;
    p->buffer_room = room;
  }
  size_t aligned = (bytes + TG_ALIGNMENT - 1) & ~(size_t)(TG_ALIGNMENT - 1);
  p->buffer[p->buffer_count] = (tg_buffer){.bytes = aligned, .first = first, .last = last};
  *out = p->buffer_count++;
  return TG_OK;
}

static void used_at(tg_plan *p, int buffer, int moment) {
  if (p->buffer[buffer].last < moment) p->buffer[buffer].last = moment;
}

static int end_of(const tg_plan *p) {
  return 2 * p->count - 1;
}
static int backward_moment(const tg_plan *p, int i) {
  return end_of(p) - i;
}

static tg_status forward_buffers(tg_plan *p, int i) {
  tg_exec *e = &p->exec[i];
  tg_step *s = &p->step[i];
  const tg_op *op = e->node->op;
  bool input = e->node->in_count == 0;
  int out = tg_plan_root(p, e->node->out);
  if (e->y_is_view)
    p->data[out] = p->data[tg_plan_root(p, e->node->in[0])];
  else
    /* What is written from outside is there before the first moment. */
    TG_TRY(new_buffer(p, e->y->bytes, input ? 0 : i, i, &p->data[out]));
  if (input || op->loss) used_at(p, p->data[out], end_of(p));
  for (int j = 0; j < tg_plan_input_count(p, i); j++) {
    int x = p->data[tg_plan_root(p, tg_plan_input(p, i, j))];
    used_at(p, x, i);
    if (s->backward && e->keep_x[j]) used_at(p, x, backward_moment(p, i));
    /* A loss's inputs are what tg_plan_read is asked for. */
    if (op->loss) used_at(p, x, end_of(p));
  }
  if (s->backward && e->keep_y) used_at(p, p->data[out], backward_moment(p, i));
  if (e->workspace_bytes)
    TG_TRY(new_buffer(p, e->workspace_bytes, i, s->backward ? backward_moment(p, i) : i,
                      &s->workspace));
  if (op->loss) TG_TRY(new_buffer(p, sizeof(tg_loss_result), i, end_of(p), &s->result));
  return TG_OK;
}

/* Whether the kernel's wish that dx[j] be dy, or dx[0], can be granted, and which buffer that is.
 */
static int granted_alias(const tg_plan *p, int i, int j) {
  const tg_exec *e = &p->exec[i];
  const tg_step *s = &p->step[i];
  int value = tg_plan_root(p, tg_plan_input(p, i, j)), out = tg_plan_root(p, e->node->out);
  if (e->dx_alias[j] == TG_ALIAS_OVER_DY) return p->grad_shared[out] ? TG_NO_BUFFER : s->dy;
  /* Two shared gradients cannot be added in place: then this one gets a buffer of its own. */
  if (p->grad[value] != TG_NO_BUFFER && p->grad_shared[value]) return TG_NO_BUFFER;
  if (e->dx_alias[j] == TG_ALIAS_DY) return s->dy;
  /* dx[0] must still be what the kernel wrote: not a sum, and nobody's to be summed into. */
  bool whole = j > 0 && s->dx[0] != TG_NO_BUFFER && s->sum[0].dst == TG_NO_BUFFER;
  if (e->dx_alias[j] == TG_ALIAS_DX0 && whole && tg_plan_root(p, e->node->in[0]) != value)
    return s->dx[0];
  return TG_NO_BUFFER;
}

/* The gradient of input j: a buffer, and what becomes of it where other consumers contributed
 * before. */
static tg_status input_gradient(tg_plan *p, int i, int j) {
  tg_exec *e = &p->exec[i];
  tg_step *s = &p->step[i];
  int now = backward_moment(p, i), value = tg_plan_root(p, tg_plan_input(p, i, j));
  int alias = granted_alias(p, i, j);
  bool shared = alias != TG_NO_BUFFER && e->dx_alias[j] != TG_ALIAS_OVER_DY;
  if (alias != TG_NO_BUFFER)
    s->dx[j] = alias;
  else
    TG_TRY(new_buffer(p, e->x[j]->bytes, now, now, &s->dx[j]));
  if (shared && e->dx_alias[j] == TG_ALIAS_DX0)
    p->grad_shared[tg_plan_root(p, e->node->in[0])] = true;
  used_at(p, s->dx[j], now);
  int before = p->grad[value];
  if (before == TG_NO_BUFFER) {
    p->grad[value] = s->dx[j];
    p->grad_shared[value] = shared;
    return TG_OK;
  }
  used_at(p, before, now);
  if (p->grad_too[value] == TG_NO_BUFFER && tg_plan_kernel(p, p->exec[value].node)->sums_dy) {
    p->grad_too[value] = s->dx[j];
    return TG_OK;
  }
  /* The sum goes into whichever of the two is this value's alone. */
  s->sum[j] = shared ? (tg_grad_sum){before, s->dx[j]} : (tg_grad_sum){s->dx[j], before};
  p->grad[value] = s->sum[j].dst;
  p->grad_shared[value] = false;
  return TG_OK;
}

static tg_status parameter_gradients(tg_plan *p, int i) {
  const tg_node *node = p->exec[i].node;
  int now = backward_moment(p, i);
  for (int j = 0; j < node->param_count; j++) {
    int index = 0;
    while (p->graph->param[index] != node->param[j]) index++;
    if (p->param_done[index])
      TG_TRY(
          new_buffer(p, node->param[j]->count * sizeof(float), now, now, &p->step[i].dw_aside[j]));
    p->param_done[index] = true;
  }
  return TG_OK;
}

static tg_status backward_buffers(tg_plan *p, int i) {
  tg_exec *e = &p->exec[i];
  tg_step *s = &p->step[i];
  if (!s->backward) return TG_OK;
  s->dy = e->node->op->loss ? TG_NO_BUFFER : p->grad[tg_plan_root(p, e->node->out)];
  if (s->dy != TG_NO_BUFFER) used_at(p, s->dy, backward_moment(p, i));
  s->dy_too = p->grad_too[tg_plan_root(p, e->node->out)];
  if (s->dy_too != TG_NO_BUFFER) used_at(p, s->dy_too, backward_moment(p, i));
  for (int j = 0; j < tg_plan_input_count(p, i); j++)
    if (e->needs_dx[j]) TG_TRY(input_gradient(p, i, j));
  return parameter_gradients(p, i);
}

/* A node runs backward if a loss depends on it and a parameter lies at or before it. */
static void mark_backward(tg_plan *p) {
  bool *reached = p->grad_shared; /* borrowed: cleared again below */
  for (int i = p->count - 1; i >= 0; i--) {
    const tg_node *node = p->exec[i].node;
    bool on_path = node->op->loss || reached[tg_plan_root(p, node->out)];
    p->step[i].backward =
        p->options.train && on_path && node->out->needs_grad && !p->step[i].folded;
    if (!on_path || !node->out->needs_grad) continue;
    for (int j = 0; j < tg_plan_input_count(p, i); j++)
      reached[tg_plan_root(p, tg_plan_input(p, i, j))] = true;
  }
  memset(reached, 0, (size_t)p->count * sizeof *reached);
}

tg_status tg_plan_lifetimes(tg_plan *p) {
  mark_backward(p);
  for (int i = 0; i < p->count; i++)
    if (!p->step[i].folded) TG_TRY(forward_buffers(p, i));
  for (int i = 0; i < p->count; i++)
    if (p->exec[i].node->out->output)
      used_at(p, p->data[tg_plan_root(p, p->exec[i].node->out)], end_of(p));
  for (int i = p->count - 1; i >= 0; i--) TG_TRY(backward_buffers(p, i));
  return TG_OK;
}
