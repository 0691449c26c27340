/* net.h - a model on a device with its data: what a worker computes with. */
#ifndef TARDIGRAD_NET_H
#define TARDIGRAD_NET_H

#include "tardigrad/config.h"
#include "tardigrad/data.h"
#include "tardigrad/model.h"
#include "tardigrad/paths.h"
#include "tardigrad/plan.h"
#include "tardigrad/server.h"
#include "tardigrad/worker.h"

/* What the configuration says about a model and its data, without any memory for numbers: all that
 * the server needs to know. */
typedef struct tg_outline {
  tg_graph *graph; /* with a batch of config.train_batch */
  tg_fold *folds;  /* [fold_count] how batch statistics become running ones */
  size_t fold_count;
  tg_layout layout;                 /* of the parameters */
  tg_paths *paths;                  /* of the graph; layout.paths points at them */
  uint32_t train_count, test_count; /* samples to train and to evaluate on, limits applied */
  tg_model_options model;
  char model_name[64]; /* in checkpoints: model.name, and model.norm where it is not batch */
} tg_outline;

/* tg_outline_create - `batch` samples per gradient. Errors: TG_ECONFIG (unknown names, impossible
 * shapes, limits), TG_ENOINPUT, TG_EDATA. Memory: free with tg_outline_destroy. */
TG_CHECKED tg_status tg_outline_create(const tg_config *config, uint32_t batch, tg_outline **out);
void tg_outline_destroy(tg_outline *outline);
/* tg_outline_initial - w [n] and b [k] before training, by the configuration's scheme and seed. */
TG_CHECKED tg_status tg_outline_initial(const tg_outline *outline, const tg_config *config,
                                        float *w, float *b);

/* tg_net_eval_split - what a run evaluates on: the test set, or what data.validation holds out. */
tg_split tg_net_eval_split(const tg_config *config);

/* tg_net_device_options - what the configuration says of a device. */
tg_device_options tg_net_device_options(const tg_config *config, int index);

typedef struct tg_net tg_net;

typedef struct tg_net_options {
  uint32_t workers; /* slices of the training set */
  uint32_t batch;   /* samples per gradient */
  bool train, evaluate;
  int device_index;    /* tg_device_options */
  size_t piece;        /* least floats of a gradient that leave the device at once */
  bool device_vectors; /* gradients stay on the device, weights come from there */
  tg_split split;      /* what evaluate() runs over */
} tg_net_options;

/* tg_net_create - opens the device and the data, plans training and evaluation (in one block of
 * memory: they never run at the same time). Errors as above, and TG_EUNAVAILABLE. */
TG_CHECKED tg_status tg_net_create(const tg_config *config, const tg_net_options *options,
                                   tg_net **out);
void tg_net_destroy(tg_net *net);

/* tg_net_member - this device's part in finding out whether a group can be made: what the host
 * calls the device, "" where it knows no groups, and an id if `first`. tg_net_join - collective. */
TG_CHECKED tg_status tg_net_member(tg_net *net, bool first, char *identity, size_t size,
                                   tg_group_id *id);
TG_CHECKED tg_status tg_net_join(tg_net *net, const tg_group_id *id, int member, int members,
                                 double timeout_s);

/* tg_net_compute - gradients and evaluations for worker.h. Owned by the net. */
tg_compute *tg_net_compute(tg_net *net);
/* tg_net_loader - the training batches, for `replay --dump`; NULL without training. */
tg_loader *tg_net_loader(tg_net *net);
/* tg_net_device - one line about what computes. */
const char *tg_net_device(const tg_net *net);

/* What a net will take, without taking it. Bytes. */
typedef struct tg_net_memory {
  size_t activations; /* planned block */
  size_t unplanned;   /* what it would be without planning */
  size_t vectors;     /* w, g, b, s on the device and for messages */
  size_t data;        /* data sets and host batches */
} tg_net_memory;
TG_CHECKED tg_status tg_net_estimate(const tg_config *config, const tg_net_options *options,
                                     tg_net_memory *out);

#endif
