/* plan.h - a graph with memory and kernels on one device: forward and backward passes.
 *
 * Planning happens once: kernels are prepared, ReLUs folded into the op before them where the
 * backend can, and activations, gradients and workspaces are placed in one block by their
 * lifetimes. A pass allocates nothing. Several plans of equal models share w, g, b, s, and may
 * share the block if they never run at the same time (training and evaluation). */
#ifndef TARDIGRAD_PLAN_H
#define TARDIGRAD_PLAN_H

#include "tardigrad/backend.h"

typedef struct tg_plan tg_plan;

typedef struct tg_plan_options {
  bool train;         /* batch statistics and a backward pass; else running statistics */
  tg_dtype precision; /* TG_F32 or TG_BF16, of values between ops */
} tg_plan_options;

/* tg_plan_create - prepares every node. The graph must outlive the plan and not grow any more. */
TG_CHECKED tg_status tg_plan_create(const tg_graph *g, tg_device *device,
                                    const tg_plan_options *options, tg_plan **out);
void tg_plan_destroy(tg_plan *plan);

/* tg_plan_bytes - size of the block. tg_plan_unshared_bytes - what it would be if every value,
 * gradient and workspace had memory of its own. */
size_t tg_plan_bytes(const tg_plan *plan);
size_t tg_plan_unshared_bytes(const tg_plan *plan);
/* tg_plan_place - device memory [tg_plan_bytes] for the block; owned by the caller. */
void tg_plan_place(tg_plan *plan, void *block);
/* tg_plan_bind - flat vectors, device memory: w [n], g [n], b [k], s [ks]; g and s may be NULL for
 * evaluation, b for training. May be called again at any time: workers bind what they were sent. */
void tg_plan_bind(tg_plan *plan, const float *w, float *g, const float *b, float *s);

/* tg_plan_write - host data, plain order, into an input: float32, or int32 labels. */
TG_CHECKED tg_status tg_plan_write(tg_plan *plan, const char *input, const void *host,
                                   size_t bytes);
/* tg_plan_cut - inputs "x" and "y" from images that lie on the device: cut[count], host memory. */
TG_CHECKED tg_status tg_plan_cut(tg_plan *plan, const void *images, const tg_cut *cut,
                                 size_t count);
TG_CHECKED tg_status tg_plan_forward(tg_plan *plan);
/* tg_plan_backward - after forward: fills all of g [n] (parameters that no loss depends on get 0).
 * s [ks] was filled by forward. */
TG_CHECKED tg_status tg_plan_backward(tg_plan *plan);
/* tg_plan_watch - from now on fn is told, during the backward pass, which stretch of g is final:
 * from the end of g to its beginning, without a gap, each of at least `piece` floats but the last.
 * What it queues on the device is part of the step, and may be recorded with it. NULL: nobody. */
typedef tg_status tg_gradient_fn(void *self, tg_span span);
void tg_plan_watch(tg_plan *plan, size_t piece, tg_gradient_fn *fn, void *self);
/* tg_plan_run - a whole step: forward and, in a plan for training, backward. Where the device can,
 * recorded once and played from then on, until something else is bound or placed. */
TG_CHECKED tg_status tg_plan_run(tg_plan *plan);
/* tg_plan_loss - result of the loss of that name. Synchronises. tg_plan_loss_later - queues the
 * copy: after the next sync *out is to be given to tg_plan_loss_check. */
TG_CHECKED tg_status tg_plan_loss(tg_plan *plan, const char *loss, tg_loss_result *out);
TG_CHECKED tg_status tg_plan_loss_later(tg_plan *plan, const char *loss, tg_loss_result *out);
TG_CHECKED tg_status tg_plan_loss_check(const char *loss, const tg_loss_result *result);
/* tg_plan_read - an output or loss input by name, plain float32, into host memory. Synchronises. */
TG_CHECKED tg_status tg_plan_read(tg_plan *plan, const char *value, float *host);

#endif
