#include "ops/infer.h"
#include "tardigrad/ops.h"

static tg_status check(tg_graph *g, const tg_node *node, int space) {
  const tg_conv_attr *a = node->attr;
  if (a->out < 1)
    return tg_infer_fail(g, node, "%lld output channels; at least 1", (long long)a->out);
  for (int i = 0; i < space; i++)
    if (a->kernel[i] < 1 || a->stride[i] < 1 || a->pad[i] < 0 || a->kernel[i] > TG_MOST_EXTENT ||
        a->stride[i] > TG_MOST_EXTENT || a->pad[i] > TG_MOST_EXTENT)
      return tg_infer_fail(
          g, node, "kernel %lld, stride %lld, padding %lld in spatial dimension %d are impossible",
          (long long)a->kernel[i], (long long)a->stride[i], (long long)a->pad[i], i);
  if (a->hollow && a->transposed)
    return tg_infer_fail(g, node, "a transposed convolution has no skeletons to leave out");
  return TG_OK;
}

/* The extent of y where x has `in`; below 1 where there is none. */
static int64_t extent(const tg_conv_attr *a, int i, int64_t in) {
  if (a->transposed) return (in - 1) * a->stride[i] - 2 * a->pad[i] + a->kernel[i];
  int64_t room = in + 2 * a->pad[i] - a->kernel[i];
  return room < 0 ? 0 : room / a->stride[i] + 1;
}

static tg_status infer_shape(tg_graph *g, tg_node *node, int space) {
  const tg_conv_attr *a = node->attr;
  const tg_shape *x = &node->in[0]->shape;
  tg_shape y = {.nd = x->nd, .dim = {x->dim[0], a->out}};
  char text[64];
  for (int i = 0; i < space; i++) {
    y.dim[2 + i] = extent(a, i, x->dim[2 + i]);
    if (y.dim[2 + i] < 1)
      return tg_infer_fail(
          g, node,
          "nothing is left of input %s: kernel %lld, stride %lld, padding %lld over %lld "
          "in spatial dimension %d",
          tg_shape_text(x, text, sizeof text), (long long)a->kernel[i], (long long)a->stride[i],
          (long long)a->pad[i], (long long)x->dim[2 + i], i);
  }
  return tg_infer_set(g, node, y);
}

static tg_status infer(tg_graph *g, tg_node *node) {
  const tg_conv_attr *a = node->attr;
  TG_TRY(tg_infer_numbers(g, node));
  TG_TRY(tg_infer_dims(g, node, 0, 3, 5, "[batch,channels] and 1 to 3 spatial dimensions"));
  int space = node->in[0]->shape.nd - 2;
  int64_t in = node->in[0]->shape.dim[1], points = 1;
  TG_TRY(check(g, node, space));
  TG_TRY(infer_shape(g, node, space));
  tg_shape weight = {.nd = 2 + space, .dim = {a->out, in}};
  if (a->transposed) weight = (tg_shape){.nd = 2 + space, .dim = {in, a->out}};
  for (int i = 0; i < space; i++) {
    weight.dim[2 + i] = a->kernel[i];
    points *= a->kernel[i];
  }
  TG_TRY(tg_infer_possible(g, node, &weight));
  /* PyTorch counts along the weight's dimensions 1 and 0, also where they are swapped. */
  int64_t fan_in = weight.dim[1] * points, fan_out = weight.dim[0] * points;
  TG_TRY(tg_node_param(g, node, "weight", weight, TG_INIT_WEIGHT, fan_in, fan_out));
  tg_shape bias = {.nd = 1, .dim = {a->out}};
  if (!a->bias) return TG_OK;
  return tg_node_param(g, node, "bias", bias, TG_INIT_BIAS, fan_in, fan_out);
}

const tg_op tg_op_conv = {
    .name = "conv", .help = "convolution, or transposed", .id = TG_OP_conv, .infer = infer};

tg_value *tg_conv(tg_graph *g, const char *name, tg_value *x, tg_conv_attr attr) {
  /* Kernels read attributes without exceptions: unused entries do nothing. */
  for (int i = 0; i < 3; i++) {
    bool used = x && i < x->shape.nd - 2;
    if (!used) attr.kernel[i] = 1;
    if (!used) attr.pad[i] = 0;
    if (!used || attr.stride[i] == 0) attr.stride[i] = 1;
  }
  return tg_graph_add(g, &tg_op_conv, name, &attr, sizeof attr, 1, &x);
}

tg_value *tg_conv2d(tg_graph *g, const char *name, tg_value *x, int64_t out, int64_t kernel,
                    int64_t stride, int64_t pad, bool bias) {
  tg_conv_attr attr = {.out = out,
                       .kernel = {kernel, kernel},
                       .stride = {stride, stride},
                       .pad = {pad, pad},
                       .bias = bias};
  return tg_conv(g, name, x, attr);
}
