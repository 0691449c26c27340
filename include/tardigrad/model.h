/* model.h - networks by name: one file per family builds a graph.
 *
 * Parameters have the names, shapes and order that they have in PyTorch:
 *   mlp           fc1, fc2, ... of nn.Linear, one more than there are hidden layers
 *   cnn           conv1, conv2, conv3, fc1, fc2
 *   resnet20-110  conv1, bn1, layer1.0.conv1 ... layer3.N.bn2, linear: the usual port to CIFAR
 *   resnet18-50   torchvision's: conv1, bn1, layer1.0.conv1, ... layer2.0.downsample.0, ... fc
 *   plain18, 34   as resnet18 and 34, without downsample */
#ifndef TARDIGRAD_MODEL_H
#define TARDIGRAD_MODEL_H

#include "tardigrad/graph.h"

typedef enum { TG_HE, TG_PYTORCH } tg_init_scheme;
/* How resnet18-50 and plain18, 34 begin: a 3x3 convolution; or 7x7 with stride 2 and max pooling.
 * Auto: the first for images of up to 64 x 64 pixels. */
typedef enum { TG_STEM_AUTO, TG_STEM_CIFAR, TG_STEM_IMAGENET } tg_stem;
/* What stands behind the convolutions of path blocks: batch norm; or Path-BN, which leaves
 * skeletons out of what it normalises, and lets the layer's input go by in their place (Luo et al.,
 * UAI 2021). Parameters have the same names and shapes. */
typedef enum { TG_NORM_BATCH, TG_NORM_PATH } tg_norm;

typedef struct tg_model_options {
  int channels, height, width, classes; /* of the data set */
  int64_t batch;                        /* samples per pass: fixed in the graph */
  const int64_t *hidden;                /* mlp: widths */
  uint32_t hidden_count;
  bool no_bias; /* mlp: dense layers have none */
  tg_stem stem;
  tg_norm norm;
} tg_model_options;

typedef struct tg_model {
  const char *name, *help;
  /* build - input "x" [batch,channels,height,width], labels "y", output "logits", loss "loss". */
  tg_status (*build)(const struct tg_model *self, const tg_model_options *options, tg_graph *g);
  int depth; /* of a family's members */
} tg_model;

extern const tg_model *const tg_models[];
extern const size_t tg_model_count;

TG_CHECKED tg_status tg_model_find(const char *name, const tg_model **out);
/* tg_model_build - a new graph of the model of that name. Errors: TG_ECONFIG. */
TG_CHECKED tg_status tg_model_build(const char *name, const tg_model_options *options,
                                    tg_graph **out);

/* tg_model_init - initial parameters w [n] and statistics b [k], host memory: a pure function of
 * (graph, scheme, seed). Parameter i draws from the stream (seed, TG_RNG_INIT, i).
 * TG_HE: weights normal with variance 2/fan_in (He et al., ICCV 2015, eq. 10), biases 0.
 * TG_PYTORCH: weights and biases uniform in +-1/sqrt(fan_in) (PyTorch's default for convolutions
 * and linear layers). Batch norm: weight 1, bias 0, mean 0, variance 1 in both. */
void tg_model_init(const tg_graph *g, tg_init_scheme scheme, uint64_t seed, float *w, float *b);

#endif
