/* resnet_cifar.c - the ResNets for small images, 6n+2 layers deep, whose shortcuts have no
 * parameters. Source: He et al., "Deep residual learning for image recognition", CVPR 2016,
 * section 4.2. */
#include "models/models.h"

/* Option A: every second pixel, as pooling over one pixel with stride 2 (one pass over memory; a
 * slice per axis takes two). The new channels are zero, half of them before the old ones and half
 * after: the paper leaves the place open, and this is where PyTorch ports put them. */
static tg_value *shortcut(tg_graph *g, tg_value *x, int64_t planes, int64_t stride) {
  if (!x || (stride == 1 && x->shape.dim[1] == planes)) return x;
  int64_t added = planes - x->shape.dim[1];
  return tg_pad(g, tg_avg_pool(g, x, 1, stride, 0), 1, added / 2, added - added / 2);
}

static tg_value *block(tg_graph *g, const tg_model_options *o, const char *prefix, tg_value *x,
                       int64_t planes, int64_t stride) {
  tg_path_branch(g, prefix);
  tg_value *y = tg_relu(g, tg_path_conv(g, o, prefix, 1, x, planes, 3, stride, TG_PATH_RESIDUAL));
  y = tg_path_conv(g, o, prefix, 2, y, planes, 3, 1, TG_PATH_RESIDUAL);
  tg_graph_path_block(g, NULL);
  return tg_relu(g, tg_add(g, y, shortcut(g, x, planes, stride)));
}

tg_status tg_build_resnet_cifar(const tg_model *self, const tg_model_options *options,
                                tg_graph *g) {
  int n = (self->depth - 2) / 6;
  tg_value *x = tg_relu(g, tg_conv_bn(g, "", 1, tg_model_input(g, options), 16, 3, 1));
  x = tg_resnet_stages(g, options, x, 16, 3, (const int[]){n, n, n}, block);
  return tg_model_classify(g, options, "linear", x, true);
}
