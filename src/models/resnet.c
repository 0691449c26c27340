/* resnet.c - the ResNets for photographs, with projections where the shape changes; names and
 * layout are torchvision's. Source: He et al., "Deep residual learning for image recognition",
 * CVPR 2016, table 1; bottlenecks stride in the 3x3 convolution ("v1.5": Goyal et al., "Accurate,
 * large minibatch SGD", 2017, section 5.1). */
#include <stdio.h>

#include "models/models.h"

enum { SMALL_IMAGE = 64 }; /* pixels: up to here the ImageNet stem would leave 2x2 at the end */

static tg_value *shortcut(tg_graph *g, const char *prefix, tg_value *x, int64_t out,
                          int64_t stride) {
  if (!x || (stride == 1 && x->shape.dim[1] == out)) return x;
  char name[64];
  snprintf(name, sizeof name, "%sdownsample.0", prefix);
  x = tg_conv2d(g, name, x, out, 1, stride, 0, false);
  snprintf(name, sizeof name, "%sdownsample.1", prefix);
  return tg_batch_norm(g, name, x);
}

static tg_value *basic_block(tg_graph *g, const tg_model_options *o, const char *prefix,
                             tg_value *x, int64_t planes, int64_t stride) {
  tg_path_branch(g, prefix);
  tg_value *y = tg_relu(g, tg_path_conv(g, o, prefix, 1, x, planes, 3, stride, TG_PATH_RESIDUAL));
  y = tg_path_conv(g, o, prefix, 2, y, planes, 3, 1, TG_PATH_RESIDUAL);
  tg_graph_path_block(g, NULL);
  return tg_relu(g, tg_add(g, y, shortcut(g, prefix, x, planes, stride)));
}

static tg_value *bottleneck(tg_graph *g, const tg_model_options *o, const char *prefix, tg_value *x,
                            int64_t planes, int64_t stride) {
  tg_path_branch(g, prefix);
  tg_value *y = tg_relu(g, tg_path_conv(g, o, prefix, 1, x, planes, 1, 1, TG_PATH_RESIDUAL));
  y = tg_relu(g, tg_path_conv(g, o, prefix, 2, y, planes, 3, stride, TG_PATH_RESIDUAL));
  y = tg_path_conv(g, o, prefix, 3, y, 4 * planes, 1, 1, TG_PATH_RESIDUAL);
  tg_graph_path_block(g, NULL);
  return tg_relu(g, tg_add(g, y, shortcut(g, prefix, x, 4 * planes, stride)));
}

static tg_value *stem(tg_graph *g, const tg_model_options *options, tg_value *x) {
  tg_stem kind = options->stem;
  if (kind == TG_STEM_AUTO)
    kind = options->height <= SMALL_IMAGE && options->width <= SMALL_IMAGE ? TG_STEM_CIFAR
                                                                           : TG_STEM_IMAGENET;
  if (kind == TG_STEM_CIFAR) return tg_relu(g, tg_conv_bn(g, "", 1, x, 64, 3, 1));
  return tg_max_pool(g, tg_relu(g, tg_conv_bn(g, "", 1, x, 64, 7, 2)), 3, 2, 1);
}

tg_status tg_resnet_build(const tg_model_options *options, tg_graph *g, int depth, tg_block block) {
  static const int shallow[] = {2, 2, 2, 2}, deep[] = {3, 4, 6, 3};
  tg_value *x = stem(g, options, tg_model_input(g, options));
  x = tg_resnet_stages(g, options, x, 64, 4, depth < 34 ? shallow : deep, block);
  return tg_model_classify(g, options, "fc", x, true);
}

tg_status tg_build_resnet(const tg_model *self, const tg_model_options *options, tg_graph *g) {
  return tg_resnet_build(options, g, self->depth, self->depth < 50 ? basic_block : bottleneck);
}
