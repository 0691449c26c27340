/* plain.c - the plain networks that residual learning was compared with: the ResNets of the same
 * depth without their shortcuts. Source: He et al., CVPR 2016, section 3.3. */
#include "models/models.h"

static tg_value *block(tg_graph *g, const tg_model_options *o, const char *prefix, tg_value *x,
                       int64_t planes, int64_t stride) {
  x = tg_relu(g, tg_path_conv(g, o, prefix, 1, x, planes, 3, stride, TG_PATH_PLAIN));
  return tg_relu(g, tg_path_conv(g, o, prefix, 2, x, planes, 3, 1, TG_PATH_PLAIN));
}

tg_status tg_build_plain(const tg_model *self, const tg_model_options *options, tg_graph *g) {
  return tg_resnet_build(options, g, self->depth, block);
}
