/* ref_ops.h - every op and its gradient as naive loops in double precision: what kernels are
 * compared with. Shares no code and no header with the library. */
#ifndef TEST_REF_OPS_H
#define TEST_REF_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { REF_DIMS = 5, REF_INPUTS = 8, REF_PARAMS = 2 };

/* Row-major. */
typedef struct ref_tensor {
  int nd;
  int64_t dim[REF_DIMS];
  double *v;
} ref_tensor;

/* Memory: calloc'ed, given back by ref_free. */
ref_tensor ref_alloc(int nd, const int64_t *dim);
void ref_free(ref_tensor *t);
size_t ref_count(const ref_tensor *t);
void ref_clear(ref_tensor *t); /* zeros; nothing where there is no memory */

typedef enum { REF_MAX, REF_AVERAGE, REF_GLOBAL } ref_pool_kind;

/* One call: operands, attributes, results. Backward reads x, w, dy and writes dx and dw; forward
 * has been called before with the same struct. NULL in dx or dw: not wanted. */
typedef struct ref_call {
  int x_count;
  ref_tensor x[REF_INPUTS], w[REF_PARAMS], y, dy, dx[REF_INPUTS], dw[REF_PARAMS];
  int64_t kernel[3], stride[3], pad[3]; /* in the order of x's spatial dimensions */
  bool transposed, hollow;
  ref_pool_kind pool;
  int axis;
  int64_t start, step, before; /* slice, pad */
  double slope, epsilon, factor;
  bool evaluate;           /* batch norm: mean and variance are given */
  double *mean, *variance; /* batch norm [C]: of the batch (variance unbiased), or given */
  const int32_t *label;    /* cross-entropy */
  double weight;           /* losses: of the gradient */
  double loss;             /* sum */
  int64_t counted, correct;
} ref_call;

typedef struct ref_op {
  void (*forward)(ref_call *c);
  void (*backward)(ref_call *c);
} ref_op;

extern const ref_op ref_dense, ref_conv, ref_batch_norm, ref_relu, ref_leaky_relu, ref_sigmoid,
    ref_add, ref_skip, ref_concat, ref_slice, ref_pad, ref_flatten, ref_pool, ref_cross_entropy,
    ref_squared_error;

#endif
