/* ref_optim.h - what the optimisers of src/optim should do: scalar loops in double, written from
 * the papers, sharing nothing with src/. Inverse roots by Jacobi's rotations. */
#ifndef SUPPORT_REF_OPTIM_H
#define SUPPORT_REF_OPTIM_H

#include <stdbool.h>
#include <stddef.h>

enum { REF_TENSORS = 8 };

typedef struct ref_tensor {
  size_t rows, cols;
  bool weight;
} ref_tensor;

typedef struct ref_optim {
  const char *name, *inner; /* inner: of lookahead */
  double momentum, decay, beta1, beta2, beta3, alpha, epsilon, trust;
  double alpha_updates, beta3_updates;
  int k, every, limit;
  ref_tensor tensor[REF_TENSORS]; /* of whole-tensor optimisers; the flat vector is their sum */
  size_t tensors, n;
  /* Filled in by ref_optim_open. */
  int t;
  double *w, *a, *b, *c, *slow;
  double *left[REF_TENSORS], *right[REF_TENSORS], *left_root[REF_TENSORS], *right_root[REF_TENSORS];
} ref_optim;

void ref_optim_open(ref_optim *r, const float *w0);
/* One update with the gradient g [n], which it may overwrite. */
void ref_optim_step(ref_optim *r, double *g, double lr);
void ref_optim_close(ref_optim *r);

/* root = (a + shift I)^power for a symmetric a [n,n]. */
void ref_power(size_t n, const double *a, double shift, double power, double *root);
/* AdEMAMix's schedules after t updates. */
double ref_beta3(const ref_optim *r, int t);
double ref_alpha(const ref_optim *r, int t);

#endif
