/* backend.h - devices and kernels: for authors of backends, and for whoever needs device memory.
 *
 * A backend is one const row with a kernel per op. prepare() runs once per node and plan: there the
 * backend picks memory formats and creates its primitives, so that forward() and backward() only
 * run them and allocate nothing. A value's format is its producer's choice; consumers reorder if
 * they must. */
#ifndef TARDIGRAD_BACKEND_H
#define TARDIGRAD_BACKEND_H

#include "tardigrad/graph.h"

typedef struct tg_device tg_device;

/* Where a value lives in one plan. Its gradient has the same dtype, layout and size. */
typedef struct tg_tensor {
  tg_shape shape;
  tg_dtype dtype;
  void *layout; /* the backend's description of the order; NULL: plain row-major. Owned by the exec
                   whose prepare() set it */
  size_t bytes; /* set by the producer's prepare() */
  void *data;   /* device memory */
} tg_tensor;

/* What a loss reports; device memory. */
typedef struct tg_loss_result {
  double sum;       /* cross-entropy: over counted samples; squared error: over elements */
  uint64_t counted; /* samples, or elements */
  uint64_t correct; /* samples whose largest logit is the label's */
} tg_loss_result;

typedef enum {
  TG_ALIAS_NONE = 0,
  TG_ALIAS_DY,     /* dx[i] may be dy itself, which the kernel leaves as it is */
  TG_ALIAS_DX0,    /* dx[i] may be dx[0] */
  TG_ALIAS_OVER_DY /* dx[i] may be written over dy, which nobody reads later */
} tg_grad_alias;

/* One node in one plan. */
typedef struct tg_exec {
  const tg_node *node;
  tg_device *device;
  bool train;
  bool fuse_relu; /* y = relu(op(x)): only set where the kernel says that it can */
  bool fuse_add;  /* y = op(x) + the input behind the op's own, of y's dtype, before any ReLU: only
                     set where the kernel says that it can */
  tg_tensor *x[TG_MAX_INPUTS];
  bool needs_dx[TG_MAX_INPUTS];
  tg_tensor *y;

  /* Set by prepare(). */
  void *state;                           /* the kernel's own; freed by destroy() */
  size_t workspace_bytes;                /* kept from forward to backward */
  size_t scratch_bytes;                  /* within one call; shared with every other node */
  bool keep_x[TG_MAX_INPUTS], keep_y;    /* data that backward() reads */
  bool y_is_view;                        /* y is x[0]'s memory, unchanged */
  tg_grad_alias dx_alias[TG_MAX_INPUTS]; /* permissions; backward() must cope with not getting them:
                                            if dx[i] is a buffer of its own, it writes there */

  /* Set by the plan. Parameters are plain float32, in PyTorch's layout. backward() overwrites dx
   * and dw (never adds). dx[i] is NULL where no gradient is needed. */
  void *workspace, *scratch;
  const float *w[TG_MAX_PARAMS];
  float *dw[TG_MAX_PARAMS];
  const float *running[TG_MAX_STATS]; /* evaluation: statistics in b */
  float *batch_stat[TG_MAX_STATS];    /* training: where this use's statistics go, in s */
  const void *dy;
  const void *dy_too; /* to be added to dy, or NULL: only set where the kernel says that it can */
  void *dx[TG_MAX_INPUTS];
  tg_loss_result *result; /* losses */
} tg_exec;

typedef struct tg_kernel {
  bool fuses_relu, fuses_add;
  bool sums_dy; /* backward() adds dy_too to dy */
  tg_status (*prepare)(tg_exec *e);
  tg_status (*forward)(tg_exec *e);
  tg_status (*backward)(tg_exec *e); /* NULL: nothing flows back (input) */
  void (*destroy)(tg_exec *e);       /* NULL: nothing to free; must accept a half prepared exec */
} tg_kernel;

/* One row of backend/backends.def. */
typedef struct tg_backend {
  const char *name, *help;
  bool host_memory; /* device pointers are host pointers: no copies needed */
  /* open - TG_EUNAVAILABLE says what is missing. */
  tg_status (*open)(const struct tg_backend *self, tg_device **out);
  void (*close)(tg_device *d);
  tg_status (*alloc)(tg_device *d, size_t bytes, void **out); /* zeroed, aligned to 64 */
  void (*free)(tg_device *d, void *p);
  tg_status (*to_device)(tg_device *d, void *dst, const void *src, size_t bytes);
  tg_status (*to_host)(tg_device *d, void *dst, const void *src, size_t bytes);
  tg_status (*sync)(tg_device *d);
  /* dst += src, both gradients of a tensor like this one. */
  tg_status (*add)(tg_device *d, const tg_tensor *like, void *dst, const void *src);
  /* dst[n] += src[n], float32. */
  tg_status (*add_f32)(tg_device *d, size_t n, float *dst, const float *src);
  /* Plain-order float32 copy of a tensor's data into host memory. */
  tg_status (*read)(tg_device *d, const tg_tensor *t, float *host);
  /* precision - the type that values between ops get where `wanted` was asked for: another one if
   * the device cannot compute with it. Warns, once a device, of that and of slowness. NULL: as
   * wanted. */
  tg_dtype (*precision)(tg_device *d, tg_dtype wanted);
  const tg_kernel *const *kernel; /* [TG_OP_COUNT] */
  /* One line about this device: name, instruction set, threads. */
  const char *(*describe)(tg_device *d);
  /* Whether `auto` may take it, and how eagerly: 0 never, larger is better. */
  int preference;
} tg_backend;

struct tg_device {
  const tg_backend *backend;
  uintptr_t address_mask; /* what turns a device pointer into a host pointer (cpu, fake) */
};

extern const tg_backend *const tg_backends[];
extern const size_t tg_backend_count;

/* tg_device_open - by name, or "auto" for the best that opens; TG_ECONFIG names the nearest,
 * TG_EUNAVAILABLE says what is missing. */
TG_CHECKED tg_status tg_device_open(const char *name, tg_device **out);
void tg_device_close(tg_device *d);

#endif
