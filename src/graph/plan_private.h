/* plan_private.h - inside a plan: shared by plan.c (what runs), fold.c (what one
 * kernel does for another), lifetimes.c (what lives when) and
 * place.c (where it lies). */
#ifndef TARDIGRAD_PLAN_PRIVATE_H
#define TARDIGRAD_PLAN_PRIVATE_H

#include "tardigrad/plan.h"

enum { TG_NO_BUFFER = -1 };

/* A stretch of the block, alive from moment `first` to moment `last`: node i runs forward at moment
 * i and backward at moment 2*count-1-i. */
typedef struct tg_buffer {
  size_t bytes, offset;
  int first, last;
} tg_buffer;

/* After a node's backward pass: dst += src, both gradients of the value that is its input. */
typedef struct tg_grad_sum {
  int dst, src; /* buffers, or TG_NO_BUFFER */
} tg_grad_sum;

/* What the plan knows about one node, beside what the kernel knows (tg_exec). */
typedef struct tg_step {
  bool folded;            /* another node's kernel does it: see fold.c */
  const tg_value *addend; /* what the kernel adds to its op's value, or NULL */
  bool backward;          /* a loss depends on it and a parameter lies at or before it */
  bool prepared;
  int workspace, dy, dy_too, result; /* buffers */
  int dx[TG_MAX_INPUTS];             /* buffers */
  tg_grad_sum sum[TG_MAX_INPUTS];
  int dw_aside[TG_MAX_PARAMS]; /* buffer for a further use of a shared parameter */
} tg_step;

struct tg_plan {
  const tg_graph *graph;
  tg_device *device;
  tg_plan_options options;
  int count;     /* nodes */
  tg_exec *exec; /* [count] */
  tg_step *step; /* [count] */
  int *root;     /* [count] by value: the node whose kernel computes it, and whose tensor it is */
  tg_tensor *tensor; /* [count] by value */
  int *data;         /* [count] buffer of a value's data; views share */
  int *grad;         /* [count] while planning: buffer of the gradient so far */
  int *grad_too;     /* [count] while planning: another, which the producer's kernel will add */
  bool *grad_shared; /* [count] while planning: another gradient lies in the same buffer */
  bool *param_done;  /* [param_count] some node's backward writes its part of g */
  tg_buffer *buffer;
  int buffer_count, buffer_room;
  size_t scratch_bytes, scratch_offset, block_bytes;
  unsigned char *block;
  const float *bound_w, *bound_b;
  float *g, *bound_s;
  size_t *final_from; /* [count] behind node i's backward pass g is final from here on */
  size_t piece;       /* of tg_plan_watch */
  tg_gradient_fn *watch;
  void *watcher;
  bool warm;    /* a step has run one kernel at a time */
  void *record; /* the step, for devices that play records; NULL: not recorded yet */
};

/* tg_plan_root - the index of the node in whose tensor `value` is computed. */
static inline int tg_plan_root(const tg_plan *plan, const tg_value *value) {
  return plan->root[value->index];
}
static inline const tg_kernel *tg_plan_kernel(const tg_plan *plan, const tg_node *node) {
  return plan->device->backend->kernel[node->op->id];
}
/* Inputs of step i: the op's own, then what is added to its value. */
static inline int tg_plan_input_count(const tg_plan *plan, int i) {
  return plan->exec[i].node->in_count + (plan->step[i].addend != NULL);
}
static inline const tg_value *tg_plan_input(const tg_plan *plan, int i, int j) {
  const tg_node *node = plan->exec[i].node;
  return j < node->in_count ? node->in[j] : plan->step[i].addend;
}

/* tg_plan_fold - lets kernels that can do so take over the additions and ReLUs behind their ops. */
void tg_plan_fold(tg_plan *plan);
/* tg_plan_lifetimes - lists the buffers with their lifetimes, and the sums of gradients. */
TG_CHECKED tg_status tg_plan_lifetimes(tg_plan *plan);
/* tg_plan_offsets - places the buffers: none overlaps another that is alive at the same moment. */
TG_CHECKED tg_status tg_plan_offsets(tg_plan *plan);

#endif
