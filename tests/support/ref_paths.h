/* ref_paths.h - G-SGD in double, weight by weight, from the definitions: which weights are
 * skeletons, what a basis path is worth, its gradient, an optimiser's step on it, and the weights
 * that follow. Any frozen skeletons but 0 (the general gauge). Shares nothing with src/. */
#ifndef SUPPORT_REF_PATHS_H
#define SUPPORT_REF_PATHS_H

#include "ref_net.h"

enum { REF_BLOCKS = 2 };

/* Layer l (1 .. count) is layer[l-1]; node layers 0 .. count. */
typedef struct ref_block {
  int count, special;
  struct {
    size_t out, in, taps, centre;
    size_t weight, bias; /* offsets; without biases REF_NONE */
  } layer[REF_LAYERS];
} ref_block;

ref_block ref_block_of(const ref_net *net);

/* Whether weight (o,i,tap) of layer l is a skeleton. */
bool ref_is_skeleton(const ref_block *b, int l, size_t o, size_t i, size_t tap);
size_t ref_weight(const ref_block *b, int l, size_t o, size_t i, size_t tap); /* its position */
/* Products of skeletons from the input to unit j of node layer n, and from it to the output. */
double ref_from_input(const ref_block *b, const double *w, int n, size_t j);
double ref_to_output(const ref_block *b, const double *w, int n, size_t j);

/* Multiplies what enters unit j of node layer n by c, and divides what leaves it. */
void ref_rescale(const ref_block *b, double *w, int n, size_t j, double c);
/* Frozen skeletons become 1 or -1, the function stays. */
void ref_canonical(const ref_block *b, double *w);

typedef struct ref_paths {
  size_t n;
  int blocks;
  ref_block block[REF_BLOCKS];
  const char *optimizer; /* gsgd, gsgd-momentum, ... */
  double momentum, decay, beta1, beta2, epsilon, clamp;
  bool published; /* the norm */
  /* Compensation in path space: lambda, over the root of a running mean square if adaptive. */
  double lambda, keep, inside;
  bool adaptive;
  /* By ref_paths_open: [n] each, of the basis path that goes with a weight. */
  int t;
  double *first, *second, *mean_square;
  int clamped; /* ratios */
} ref_paths;

void ref_paths_open(ref_paths *r);
void ref_paths_close(ref_paths *r);
/* What basis paths are worth: p [n], at the position of the weight that each has alone; 0 at frozen
 * skeletons, and v at trained ones. d: their gradients. */
void ref_path_values(const ref_paths *r, const double *w, double *p);
void ref_path_gradients(const ref_paths *r, const double *w, const double *g, double *d);
/* One update of w by the gradient g, which was computed at bak (NULL: w). */
void ref_paths_step(ref_paths *r, double lr, double *w, const double *g, const double *bak);

#endif
