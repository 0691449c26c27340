/* backend.h - devices and kernels: for authors of backends, and for whoever needs device memory.
 *
 * A backend is one const row with a kernel per op. prepare() runs once per node and plan: there the
 * backend picks memory formats and creates its primitives, so that forward() and backward() only
 * run them and allocate nothing. A value's format is its producer's choice; consumers reorder if
 * they must. */
#ifndef TARDIGRAD_BACKEND_H
#define TARDIGRAD_BACKEND_H

#include "tardigrad/graph.h"
#include "tardigrad/update.h"

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

/* A data set's images as bytes, and what each byte becomes. */
typedef struct tg_images {
  uint32_t count;
  int channels, height, width;
  const uint8_t *pixels; /* [count][channels][height][width] */
  const int32_t *labels; /* [count] */
  const float *table;    /* [channels][256] */
} tg_images;

/* A sample, cut at (top, left) out of its image with TG_CROP_PAD black pixels (of value 0) all
 * around it, then mirrored left to right. TG_CROP_PAD, TG_CROP_PAD, 0 is the image itself. A sample
 * beyond the set is an image of zeros with label -1. */
enum { TG_CROP_PAD = 4 };
typedef struct tg_cut {
  uint32_t sample;
  uint8_t top, left, flip, unused;
} tg_cut;

typedef struct tg_group_id {
  unsigned char bytes[128];
} tg_group_id;

typedef struct tg_device_options {
  int index; /* of the process among those of its machine that compute: which of several devices;
                modulo their number */
  bool fast; /* results may differ in the last bits from run to run */
  bool tf32; /* float32 products may be rounded to TF32's 10 bits of mantissa */
} tg_device_options;

/* One row of backend/backends.def. */
typedef struct tg_backend {
  const char *name, *help;
  bool host_memory; /* device pointers are host pointers: no copies needed */
  /* open - TG_EUNAVAILABLE says what is missing. */
  tg_status (*open)(const struct tg_backend *self, const tg_device_options *o, tg_device **out);
  void (*close)(tg_device *d);
  tg_status (*alloc)(tg_device *d, size_t bytes, void **out); /* zeroed, aligned to 64 */
  void (*free)(tg_device *d, void *p);
  tg_status (*to_device)(tg_device *d, void *dst, const void *src, size_t bytes);
  tg_status (*to_host)(tg_device *d, void *dst, const void *src, size_t bytes);
  tg_status (*sync)(tg_device *d);
  /* Queued: the host has the bytes after the next sync. */
  tg_status (*to_host_later)(tg_device *d, void *dst, const void *src, size_t bytes);
  tg_status (*square_sum_later)(tg_device *d, size_t n, const float *x, double *out);
  /* Within the device. zero: fills with 0 bytes. */
  tg_status (*copy)(tg_device *d, void *dst, const void *src, size_t bytes);
  tg_status (*zero)(tg_device *d, void *dst, size_t bytes);
  /* dst += src, both gradients of a tensor like this one. */
  tg_status (*add)(tg_device *d, const tg_tensor *like, void *dst, const void *src);
  /* dst[n] += src[n], float32. */
  tg_status (*add_f32)(tg_device *d, size_t n, float *dst, const float *src);
  /* Plain-order float32 copy of a tensor's data into host memory. */
  tg_status (*read)(tg_device *d, const tg_tensor *t, float *host);
  /* The other way, into an input: float32 or labels. NULL: inputs lie in plain order. */
  tg_status (*write)(tg_device *d, const tg_tensor *t, const void *host);
  /* Copies and sums beside the kernels, on a second stream: each begins when everything queued so
   * far is done, and after those before it. join: what is queued from now on, and sync, wait for
   * them. May be recorded. NULL rows: copies wait.
   * pin: makes host memory fit for such copies; TG_EUNAVAILABLE says why it cannot be. */
  tg_status (*pin)(tg_device *d, void *host, size_t bytes);
  void (*unpin)(tg_device *d, void *host);
  tg_status (*to_host_beside)(tg_device *d, void *host, const void *src, size_t bytes);
  tg_status (*to_device_beside)(tg_device *d, void *dst, const void *host, size_t bytes);
  tg_status (*join)(tg_device *d);
  /* Devices of several processes that sum vectors among themselves. group_id: one member makes it,
   * all are told. group_join: collective over the members. group_sum: collective, sum[n] = the sum
   * of all members' x [n], beside the kernels as above; the same bits on every member. A member
   * that is gone, or silent for timeout_s, is an error of sync: TG_EUNAVAILABLE. NULL rows: no
   * groups. */
  tg_status (*group_id)(tg_device *d, tg_group_id *out);
  tg_status (*group_join)(tg_device *d, const tg_group_id *id, int member, int members,
                          double timeout_s);
  tg_status (*group_sum)(tg_device *d, size_t n, const float *x, float *sum);
  /* A data set that lies on the device, so that the host only says which samples a batch has:
   * images_open copies *host; images_cut fills the inputs x and y. NULL rows: batches are written.
   */
  tg_status (*images_open)(tg_device *d, const tg_images *host, void **out);
  void (*images_close)(tg_device *d, void *images);
  tg_status (*images_cut)(tg_device *d, const void *images, const tg_cut *cut, size_t count,
                          const tg_tensor *x, const tg_tensor *y);
  /* A device that can run a recorded sequence of kernels faster than one by one: between
   * record_begin and record_end nothing runs, and *out may then be played any number of times, as
   * long as no pointer changes. NULL rows: it cannot. */
  tg_status (*record_begin)(tg_device *d);
  tg_status (*record_end)(tg_device *d, void **out);
  tg_status (*play)(tg_device *d, void *record);
  void (*forget)(tg_device *d, void *record);
  /* Where g and all vectors of *u are device memory: what tg_update_apply does, elementwise to the
   * bit, without a gradient (g NULL) too. Adds to *sums, device memory, or NULL. TG_ECONFIG: no
   * kernel for that rule or optimiser.
   */
  tg_status (*update)(tg_device *d, const tg_update *u, tg_span span, float *g,
                      tg_update_sums *sums);
  /* Likewise what tg_update_whole does, of optimisers in path space (path_step): `update` makes the
   * rule's part of it, and may overwrite g. whole_open: what updates like *u need (its rule,
   * optimiser and keys are looked at) of a model with this layout, which must live as long; free
   * with whole_close. TG_ECONFIG: no kernel for them. update_whole: g [n] may be overwritten.
   * whole_clamped, queued: how many ratios were kept in limits so far; NULL row: tg_paths_clamped
   * knows. NULL rows: it cannot. */
  tg_status (*whole_open)(tg_device *d, const tg_update *u, const tg_layout *layout, size_t n,
                          void **out);
  void (*whole_close)(tg_device *d, void *whole);
  tg_status (*update_whole)(tg_device *d, void *whole, const tg_update *u, float *g,
                            tg_update_sums *sums);
  tg_status (*whole_clamped)(tg_device *d, void *whole, uint64_t *out);
  /* x [n] *= factor, float32. The sum of squares of x, in the order of tg_square_sum. */
  tg_status (*scale)(tg_device *d, size_t n, float *x, float factor);
  tg_status (*square_sum)(tg_device *d, size_t n, const float *x, double *out);
  /* precision - the type that values between ops get where `wanted` was asked for: another one if
   * the device cannot compute with it. Warns, once a device, of that and of slowness. NULL: as
   * wanted. */
  tg_dtype (*precision)(tg_device *d, tg_dtype wanted);
  const tg_kernel *const *kernel; /* [TG_OP_COUNT] */
  /* What the host calls this very device, for telling whether two processes use the same: a GPU's
   * PCI id. NULL row: they do not compete. */
  const char *(*identity)(tg_device *d);
  /* One line about this device: name, instruction set, threads. */
  const char *(*describe)(tg_device *d);
  /* Whether `auto` may take it, and how eagerly: 0 never, larger is better. */
  int preference;
} tg_backend;

struct tg_device {
  const tg_backend *backend;
  uintptr_t address_mask; /* what turns a device pointer into a host pointer (cpu, fake) */
  char note[256];         /* of `auto`: why a better backend did not open; "" */
  char text[768];         /* of tg_device_describe */
};

extern const tg_backend *const tg_backends[];
extern const size_t tg_backend_count;

/* tg_device_open - by name, or "auto" for the best that opens; TG_ECONFIG names the nearest,
 * TG_EUNAVAILABLE says what is missing. */
TG_CHECKED tg_status tg_device_open(const char *name, tg_device **out);
/* tg_device_open_with - the same with other options than all zero. */
TG_CHECKED tg_status tg_device_open_with(const char *name, const tg_device_options *options,
                                         tg_device **out);
void tg_device_close(tg_device *d);
/* tg_device_describe - one line: what it is, and why `auto` took it if a better one did not open.
 * Memory: the device's. */
const char *tg_device_describe(tg_device *d);

#endif
