/* cnn.c - a small convolutional network for small images: three times a 3x3 convolution, ReLU and
 * pooling that halves the image, then two dense layers. LeNet-5's plan (LeCun et al.,
 * "Gradient-based learning applied to document recognition", Proc. IEEE 1998, figure 2) with
 * today's parts: 3x3 kernels, ReLU, maxima, widths that double where the image halves. No batch
 * norm: it has no statistics, so that rules are compared on weights alone. */
#include <stdio.h>

#include "models/models.h"

enum { STAGES = 3, FIRST_WIDTH = 16, DENSE_WIDTH = 128 };

tg_status tg_build_cnn(const tg_model *self, const tg_model_options *options, tg_graph *g) {
  (void)self;
  char name[16];
  tg_value *x = tg_model_input(g, options);
  for (int i = 0; i < STAGES; i++) {
    snprintf(name, sizeof name, "conv%d", i + 1);
    x = tg_relu(g, tg_conv2d(g, name, x, FIRST_WIDTH << i, 3, 1, 1, true));
    /* As often as there is something to halve: an image of 28 pixels ends as 3x3, one of 32 as 4x4,
     * and none is too small. */
    if (x->shape.dim[2] > 1 && x->shape.dim[3] > 1) x = tg_max_pool(g, x, 2, 2, 0);
  }
  x = tg_relu(g, tg_dense(g, "fc1", tg_flatten(g, x), DENSE_WIDTH, true));
  return tg_model_classify(g, options, "fc2", x, true);
}
