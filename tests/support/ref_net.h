/* ref_net.h - small ReLU networks in double, as direct loops: dense layers and convolutions in one
 * or two dimensions, one behind the other, and exact gradients. Shares nothing with src/. A dense
 * layer is a convolution of 1 x 1 images. The flat vector has the weight [out,in,kh,kw] of a layer,
 * then its bias [out], then the next layer's. */
#ifndef SUPPORT_REF_NET_H
#define SUPPORT_REF_NET_H

#include <complex.h>
#include <stdbool.h>
#include <stddef.h>

enum { REF_LAYERS = 5 };

/* What a test asks for. Kernels, strides and the image's sides are 1 where they are 0; every layer
 * is padded by kernel / 2. */
typedef struct ref_net_spec {
  const char *name;
  int layers;
  size_t width[REF_LAYERS + 1];
  size_t kernel[REF_LAYERS][2], stride[REF_LAYERS];
  size_t side[2], batch;
  bool bias;
} ref_net_spec;

typedef struct ref_net_layer {
  size_t out, in, kernel[2], stride[2];
  size_t weight, bias; /* offsets; without biases REF_NONE */
} ref_net_layer;
#define REF_NONE ((size_t)-1)

typedef struct ref_net {
  int layers;
  ref_net_layer layer[REF_LAYERS];
  size_t side[REF_LAYERS + 1][2],
      count[REF_LAYERS + 1]; /* of a node layer: values, batch and all */
  size_t batch, n;
} ref_net;

ref_net ref_net_of(const ref_net_spec *spec);
/* y [count[L]]: the outputs at inputs x [count[0]]. */
void ref_net_forward(const ref_net *net, const double *w, const double *x, double *y);
/* Of the loss 1/2 sum (y - target)^2, which is returned: g [n]. */
double ref_net_gradient(const ref_net *net, const double *w, const double *x, const double *target,
                        double *g);
/* The same loss of complex weights: a derivative is the imaginary part at w + i 1e-100 e, over
 * 1e-100, and exact to rounding. */
double complex ref_net_loss(const ref_net *net, const double complex *w, const double *x,
                            const double *target);

#endif
