/* skip.c - a connection beside a layer: what stands for the skeletons of a hollow convolution. */
#include <math.h>

#include "ops/infer.h"
#include "tardigrad/ops.h"

/* What z becomes when every stride-th point of it is taken. */
static tg_shape taken(const tg_shape *z, int64_t channels, int64_t stride) {
  tg_shape y = *z;
  y.dim[1] = channels;
  for (int i = 2; i < y.nd; i++) y.dim[i] = (y.dim[i] - 1) / stride + 1;
  return y;
}

static tg_status infer(tg_graph *g, tg_node *node) {
  const tg_skip_attr *a = node->attr;
  const tg_value *x = node->in[0], *z = node->in[1];
  char have[64], other[64];
  TG_TRY(tg_infer_numbers(g, node));
  for (int i = 0; i < 2; i++)
    TG_TRY(tg_infer_dims(g, node, i, 2, 5, "[batch,channels] and up to 3 spatial dimensions"));
  if (a->stride < 1 || a->stride > TG_MOST_EXTENT)
    return tg_infer_fail(g, node, "stride %lld is impossible", (long long)a->stride);
  if (!isfinite(a->factor)) return tg_infer_fail(g, node, "factor %g is not finite", a->factor);
  tg_shape wanted = taken(&z->shape, x->shape.dim[1], a->stride);
  if (!tg_shape_equal(&x->shape, &wanted))
    return tg_infer_fail(g, node, "%s is %s: every %lld-th point of %s %s does not fit it", x->name,
                         tg_shape_text(&x->shape, have, sizeof have), (long long)a->stride, z->name,
                         tg_shape_text(&z->shape, other, sizeof other));
  return tg_infer_set(g, node, x->shape);
}

const tg_op tg_op_skip = {.name = "skip",
                          .help = "x + factor z, z with other channels or a stride",
                          .id = TG_OP_skip,
                          .infer = infer};

tg_value *tg_skip(tg_graph *g, tg_value *x, tg_value *z, int64_t stride, float factor) {
  tg_skip_attr attr = {.stride = stride ? stride : 1, .factor = factor};
  tg_value *in[] = {x, z};
  bool plain = x && z && tg_shape_equal(&x->shape, &z->shape) && attr.stride == 1 && factor == 1;
  if (plain) return tg_add(g, x, z);
  return tg_graph_add(g, &tg_op_skip, NULL, &attr, sizeof attr, 2, in);
}
