/* models.h - what the families share. A family is a function tg_build_<family> and lines in
 * models.def. */
#ifndef TARDIGRAD_MODELS_MODELS_H
#define TARDIGRAD_MODELS_MODELS_H

#include "tardigrad/model.h"
#include "tardigrad/ops.h"

#define TG_MODEL(name, family, depth, help)                                                        \
  tg_status tg_build_##family(const tg_model *self, const tg_model_options *options, tg_graph *g);
#include "models/models.def"
#undef TG_MODEL

/* tg_model_input - "x" [batch,channels,height,width]. */
tg_value *tg_model_input(tg_graph *g, const tg_model_options *options);

/* tg_model_classify - output "logits" = dense(x) under this name, labels "y", loss "loss". */
tg_status tg_model_classify(tg_graph *g, const tg_model_options *options, const char *name,
                            tg_value *x, bool bias);

/* tg_conv_bn - <prefix>conv<number> without bias, padded to keep the size at stride 1, then
 * <prefix>bn<number>. */
tg_value *tg_conv_bn(tg_graph *g, const char *prefix, int number, tg_value *x, int64_t out,
                     int64_t kernel, int64_t stride);

/* tg_path_conv - the same as a layer of the path block that is being built. With TG_NORM_PATH, of
 * every layer but the block's first: its convolution is hollow, and lambda x goes by (tg_skip). */
tg_value *tg_path_conv(tg_graph *g, const tg_model_options *options, const char *prefix, int number,
                       tg_value *x, int64_t out, int64_t kernel, int64_t stride, float lambda);

/* Path-BN's lambda: networks without shortcuts, and with them. */
#define TG_PATH_PLAIN    1.0f
#define TG_PATH_RESIDUAL 0.1f

/* tg_path_branch - what follows is the path block "layer1.0" of the prefix "layer1.0.": paths of a
 * residual network begin and end inside the branch, beside the shortcut. */
void tg_path_branch(tg_graph *g, const char *prefix);

/* A residual block, or one without its shortcut: x -> `planes` (times its expansion) channels. */
typedef tg_value *(*tg_block)(tg_graph *g, const tg_model_options *options, const char *prefix,
                              tg_value *x, int64_t planes, int64_t stride);

/* tg_resnet_stages - blocks "layer<stage>.<i>."; each stage after the first halves the image and
 * doubles the planes. Then global average pooling, flattened. Where blocks do not say otherwise, a
 * stage is one path block "layer<stage>". */
tg_value *tg_resnet_stages(tg_graph *g, const tg_model_options *options, tg_value *x,
                           int64_t planes, int stages, const int *blocks, tg_block block);

/* tg_resnet_build - stem, four stages of blocks for `depth` layers, "fc".
 * Source: He et al., CVPR 2016, table 1. */
tg_status tg_resnet_build(const tg_model_options *options, tg_graph *g, int depth, tg_block block);

#endif
