/* ops.h - the ops, as functions that models call. Each appends a node to the graph and returns its
 * value; see graph.h on errors. Dimension letters: B batch, C channels, K output channels, D H W
 * space, F features. Definitions and defaults are PyTorch's. */
#ifndef TARDIGRAD_OPS_H
#define TARDIGRAD_OPS_H

#include "tardigrad/graph.h"

/* tg_input - data from outside, float32, in plain row-major order; tg_labels - int32 [B]. */
typedef struct tg_input_attr {
  tg_shape shape;
  bool labels;
} tg_input_attr;
tg_value *tg_input(tg_graph *g, const char *name, tg_shape shape);
tg_value *tg_labels(tg_graph *g, const char *name, int64_t batch);
/* tg_output - marks a value to be read from outside, under this name. */
tg_value *tg_output(tg_graph *g, const char *name, tg_value *x);

/* tg_dense - y [B,K] = x [B,F] weight^T + bias; weight [K,F]. */
typedef struct tg_dense_attr {
  int64_t out;
  bool bias;
} tg_dense_attr;
tg_value *tg_dense(tg_graph *g, const char *name, tg_value *x, int64_t out, bool bias);

/* tg_conv - cross-correlation over 1 to 3 spatial dimensions, zero padding on both sides.
 * x [B,C,space], weight [K,C,kernel], y [B,K,(space + 2 pad - kernel) / stride + 1].
 * transposed: weight [C,K,kernel], y [B,K,(space - 1) stride - 2 pad + kernel]. Unused spatial
 * entries of the attributes are ignored; stride 0 means 1.
 * hollow: the C entries that tg_conv_skeleton tells are 0 from the start and their gradients are 0,
 * so that they stay 0: what stands in their place is tg_skip. Not transposed. */
typedef struct tg_conv_attr {
  int64_t out;
  int64_t kernel[3], stride[3], pad[3];
  bool bias, transposed, hollow;
} tg_conv_attr;
tg_value *tg_conv(tg_graph *g, const char *name, tg_value *x, tg_conv_attr attr);
/* tg_conv2d - the usual square case. */
tg_value *tg_conv2d(tg_graph *g, const char *name, tg_value *x, int64_t out, int64_t kernel,
                    int64_t stride, int64_t pad, bool bias);

/* tg_conv_skeleton - where in a weight [K,C,kernel] the centre tap (kernel / 2 in each dimension)
 * from input t < C to output t mod K stands: a skeleton of paths.h. */
size_t tg_conv_skeleton(const tg_shape *weight, int64_t t);

/* tg_batch_norm - per channel (dimension 1), over all others (Ioffe & Szegedy, ICML 2015).
 * Training: batch mean and biased variance normalise; s receives mean and UNBIASED variance (as
 * PyTorch folds it). Evaluation: running statistics. Parameters weight (1), bias (0); statistics
 * running_mean (0), running_var (1). */
typedef struct tg_batch_norm_attr {
  float epsilon, momentum;
} tg_batch_norm_attr;
tg_value *tg_batch_norm(tg_graph *g, const char *name, tg_value *x);

tg_value *tg_relu(tg_graph *g, tg_value *x);
typedef struct tg_leaky_relu_attr {
  float slope;
} tg_leaky_relu_attr;
tg_value *tg_leaky_relu(tg_graph *g, tg_value *x, float slope);
tg_value *tg_sigmoid(tg_graph *g, tg_value *x);

/* tg_add - x + y of equal shapes. */
tg_value *tg_add(tg_graph *g, tg_value *x, tg_value *y);

/* tg_skip - y = x + factor z', where z' [B,K,space] is what a convolution of z [B,C,space of z]
 * with this stride would give whose weights are 1 at tg_conv_skeleton and 0 elsewhere: channel t of
 * z, at every stride-th point, is added to channel t mod K of x. Channels of x from C on get
 * nothing. The space of x is that of z divided by the stride, rounded up; stride 0 means 1. Factor
 * 1 between equal shapes is tg_add. With a hollow convolution and batch norm before it this is a
 * layer of Path-BN: Luo et al., "Path-BN: Towards effective batch normalization in the path space
 * for ReLU networks", UAI 2021. */
typedef struct tg_skip_attr {
  int64_t stride;
  float factor;
} tg_skip_attr;
tg_value *tg_skip(tg_graph *g, tg_value *x, tg_value *z, int64_t stride, float factor);

/* tg_concat - along `axis`; all other dimensions equal. */
typedef struct tg_axis_attr {
  int axis;
} tg_axis_attr;
tg_value *tg_concat(tg_graph *g, int axis, int count, tg_value *const *x);

/* tg_slice - x[..., start : start + length*step : step, ...] along `axis`, length elements. */
typedef struct tg_slice_attr {
  int axis;
  int64_t start, length, step;
} tg_slice_attr;
tg_value *tg_slice(tg_graph *g, tg_value *x, int axis, int64_t start, int64_t length, int64_t step);

/* tg_pad - zeros before and after along `axis`. */
typedef struct tg_pad_attr {
  int axis;
  int64_t before, after;
} tg_pad_attr;
tg_value *tg_pad(tg_graph *g, tg_value *x, int axis, int64_t before, int64_t after);

/* tg_flatten - [B, everything else]. */
tg_value *tg_flatten(tg_graph *g, tg_value *x);

/* Pooling over 1 to 3 spatial dimensions. Average pooling counts padding zeros in its divisor, as
 * PyTorch does. Global average pooling gives [B,C,1,..]. */
typedef enum { TG_POOL_MAX, TG_POOL_AVERAGE, TG_POOL_GLOBAL_AVERAGE } tg_pool_kind;
typedef struct tg_pool_attr {
  tg_pool_kind kind;
  int64_t kernel[3], stride[3], pad[3]; /* stride 0: kernel; ignored when global */
} tg_pool_attr;
tg_value *tg_pool(tg_graph *g, tg_value *x, tg_pool_attr attr);
tg_value *tg_max_pool(tg_graph *g, tg_value *x, int64_t kernel, int64_t stride, int64_t pad);
tg_value *tg_avg_pool(tg_graph *g, tg_value *x, int64_t kernel, int64_t stride, int64_t pad);
tg_value *tg_global_avg_pool(tg_graph *g, tg_value *x);

/* Losses: scalars. `weight` multiplies the gradient that starts here; a graph may have several.
 * tg_softmax_cross_entropy - mean over samples of -log softmax(logits [B,K])[label]; samples with a
 * negative label are ignored.
 * tg_mean_squared_error - mean over all elements of (x - target)^2; no gradient to the target if it
 * is an input. */
typedef struct tg_loss_attr {
  float weight;
} tg_loss_attr;
tg_value *tg_softmax_cross_entropy(tg_graph *g, const char *name, tg_value *logits,
                                   tg_value *labels, float weight);
tg_value *tg_mean_squared_error(tg_graph *g, const char *name, tg_value *x, tg_value *target,
                                float weight);

#endif
