#include "ops/infer.h"
#include "tardigrad/ops.h"

static tg_status pooled(tg_graph *g, const tg_node *node, int i, int64_t *extent) {
  const tg_pool_attr *a = node->attr;
  long long kernel = a->kernel[i], stride = a->stride[i], pad = a->pad[i], in = *extent;
  if (kernel < 1 || stride < 1 || pad < 0 || kernel > TG_MOST_EXTENT || stride > TG_MOST_EXTENT)
    return tg_infer_fail(
        g, node, "kernel %lld, stride %lld, padding %lld in spatial dimension %d are impossible",
        kernel, stride, pad, i);
  /* A window of padding only would have no maximum. */
  if (pad > kernel / 2)
    return tg_infer_fail(g, node, "padding %lld is more than half of kernel %lld", pad, kernel);
  char text[64];
  if (in + 2 * pad < kernel)
    return tg_infer_fail(g, node,
                         "nothing is left of input %s: kernel %lld, stride %lld, padding %lld over "
                         "%lld in spatial dimension %d",
                         tg_shape_text(&node->in[0]->shape, text, sizeof text), kernel, stride, pad,
                         in, i);
  *extent = (in + 2 * pad - kernel) / stride + 1;
  return TG_OK;
}

static tg_status infer(tg_graph *g, tg_node *node) {
  const tg_pool_attr *a = node->attr;
  TG_TRY(tg_infer_numbers(g, node));
  TG_TRY(tg_infer_dims(g, node, 0, 3, 5, "[batch,channels] and 1 to 3 spatial dimensions"));
  tg_shape y = node->in[0]->shape;
  for (int i = 0; i < y.nd - 2; i++) {
    if (a->kind == TG_POOL_GLOBAL_AVERAGE)
      y.dim[2 + i] = 1;
    else
      TG_TRY(pooled(g, node, i, &y.dim[2 + i]));
  }
  return tg_infer_set(g, node, y);
}

const tg_op tg_op_pool = {.name = "pool",
                          .help = "maximum or average over windows, or over all of space",
                          .id = TG_OP_pool,
                          .infer = infer};

tg_value *tg_pool(tg_graph *g, tg_value *x, tg_pool_attr attr) {
  /* Kernels read attributes without exceptions: unused entries do nothing. */
  for (int i = 0; i < 3; i++) {
    bool used = x && i < x->shape.nd - 2;
    if (!used) attr.kernel[i] = 1;
    if (!used) attr.pad[i] = 0;
    if (!used) attr.stride[i] = 1;
    if (attr.stride[i] == 0) attr.stride[i] = attr.kernel[i];
  }
  return tg_graph_add(g, &tg_op_pool, NULL, &attr, sizeof attr, 1, &x);
}

static tg_value *cubic(tg_graph *g, tg_value *x, tg_pool_kind kind, int64_t kernel, int64_t stride,
                       int64_t pad) {
  tg_pool_attr attr = {.kind = kind,
                       .kernel = {kernel, kernel, kernel},
                       .stride = {stride, stride, stride},
                       .pad = {pad, pad, pad}};
  return tg_pool(g, x, attr);
}

tg_value *tg_max_pool(tg_graph *g, tg_value *x, int64_t kernel, int64_t stride, int64_t pad) {
  return cubic(g, x, TG_POOL_MAX, kernel, stride, pad);
}

tg_value *tg_avg_pool(tg_graph *g, tg_value *x, int64_t kernel, int64_t stride, int64_t pad) {
  return cubic(g, x, TG_POOL_AVERAGE, kernel, stride, pad);
}

tg_value *tg_global_avg_pool(tg_graph *g, tg_value *x) {
  return cubic(g, x, TG_POOL_GLOBAL_AVERAGE, 0, 0, 0);
}
