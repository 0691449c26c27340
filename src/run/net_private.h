/* net_private.h - what outline.c and net.c share. */
#ifndef RUN_NET_PRIVATE_H
#define RUN_NET_PRIVATE_H

#include "tardigrad/net.h"

/* A graph planned for one use: training, or evaluation. */
typedef struct tg_pass {
  tg_graph *graph;
  tg_plan *plan;
  uint32_t batch;
} tg_pass;

/* What the host is told of a step, in one block that can be pinned: one wait a step. */
typedef struct tg_told {
  tg_loss_result loss;
  double square_sum;
  float s[]; /* batch statistics */
} tg_told;

struct tg_net {
  tg_net_options options;
  tg_device *device;
  tg_pass train, eval;
  void *block;          /* device memory of both plans */
  float *w, *g, *b, *s; /* device memory, where it is not the host's */
  float *host_g;        /* what messages carry */
  float *sum;           /* device memory: of a group's gradients */
  size_t taken;         /* so many of the next request's weights are on their way to w */
  tg_told *told;        /* what the host is told of a step */
  bool told_pinned;
  bool pinned; /* compute.g is: gradients leave while the backward pass goes on */
  float *x;    /* one host batch */
  int32_t *y;
  tg_dataset *train_set, *eval_set;
  tg_loader *loader;
  void *train_images, *eval_images; /* the sets on a device that can hold them */
  tg_cut *cut;                      /* one batch of them */
  tg_compute compute;
};

tg_data_options tg_net_data_options(const tg_config *c);
tg_model_options tg_net_model_options(const tg_config *c, const tg_dataset_source *source,
                                      int64_t batch);
/* tg_net_count_samples - of a split: from the row where it says so, else by reading the set. */
TG_CHECKED tg_status tg_net_count_samples(const tg_config *c, const tg_dataset_source *source,
                                          tg_split split, uint32_t *out);

/* ---- net_beside.c: how gradients leave a device, and how weights come ---- */

/* tg_net_has_weights - whether w, the weights of the request in hand, are all on the device by the
 * time that what is queued from now on runs. */
TG_CHECKED tg_status tg_net_has_weights(tg_net *net, bool *out);

/* tg_net_pin_gradient - host memory that gradients go to; tg_net_pin_told - what the host is told.
 * tg_net_let_go - of the gradients' memory, before it goes. */
void tg_net_pin_gradient(tg_net *net);
void tg_net_pin_told(tg_net *net);
void tg_net_let_go(tg_net *net);
/* Rows of tg_compute. */
tg_status tg_net_place_gradient(tg_compute *c, float *g);
tg_status tg_net_take_weights(tg_compute *c, const float *w, tg_span span);
void tg_net_pin_weights(tg_compute *c, const float *w);
void tg_net_unpin_weights(tg_compute *c, const float *w);

/* tg_net_vector - device memory for `count` floats. */
TG_CHECKED tg_status tg_net_vector(tg_net *net, size_t count, float **out);

#endif
