/* net.c - a model on a device with its data. */
#include "tardigrad/net.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run/net_private.h"
#include "tardigrad/log.h"

/* ---- net ---- */

static tg_status make_pass(tg_net *net, const tg_config *c, const tg_dataset_source *source,
                           uint32_t batch, bool train, tg_pass *pass) {
  tg_model_options options = tg_net_model_options(c, source, batch);
  pass->batch = batch;
  TG_TRY(tg_model_build(c->model_name, &options, &pass->graph));
  tg_plan_options plan = {.train = train,
                          .precision = strcmp(c->device_precision, "bf16") == 0 ? TG_BF16 : TG_F32};
  return tg_plan_create(pass->graph, net->device, &plan, &pass->plan);
}

static uint32_t eval_batch(const tg_config *c, uint32_t test_count) {
  uint32_t wanted = (uint32_t)c->train_eval_batch;
  return test_count > 0 && wanted > test_count ? test_count : wanted;
}

tg_device_options tg_net_device_options(const tg_config *c, int index) {
  return (tg_device_options){.index = index,
                             .fast = !c->device_deterministic,
                             .tf32 = strcmp(c->device_precision, "tf32") == 0};
}

static tg_status make_passes(tg_net *net, const tg_config *c, uint32_t test_count) {
  const tg_dataset_source *source;
  TG_TRY(tg_dataset_find(c->data_name, &source));
  tg_device_options device = tg_net_device_options(c, net->options.device_index);
  TG_TRY(tg_device_open_with(c->device_name, &device, &net->device));
  if (net->options.train) TG_TRY(make_pass(net, c, source, net->options.batch, true, &net->train));
  if (net->options.evaluate)
    TG_TRY(make_pass(net, c, source, eval_batch(c, test_count), false, &net->eval));
  return TG_OK;
}

/* After the passes: the device is open. */
static tg_status move_data(tg_net *net) {
  uint32_t most = net->train.batch > net->eval.batch ? net->train.batch : net->eval.batch;
  if (!net->device->backend->images_open) return TG_OK;
  net->cut = malloc(most * sizeof *net->cut);
  if (!net->cut) TG_FAIL(TG_ERUNTIME, "no memory for a batch of %u samples", most);
  if (net->train_set) TG_TRY(tg_dataset_on(net->train_set, net->device, &net->train_images));
  if (net->eval_set) TG_TRY(tg_dataset_on(net->eval_set, net->device, &net->eval_images));
  return TG_OK;
}

static size_t block_bytes(const tg_net *net) {
  size_t train = net->train.plan ? tg_plan_bytes(net->train.plan) : 0;
  size_t eval = net->eval.plan ? tg_plan_bytes(net->eval.plan) : 0;
  return train > eval ? train : eval;
}

static const tg_graph *any_graph(const tg_net *net) {
  return net->train.graph ? net->train.graph : net->eval.graph;
}

/* Floats of one host batch: the larger of the two passes. */
static size_t batch_floats(const tg_net *net) {
  const tg_pass *pass = net->train.batch > net->eval.batch ? &net->train : &net->eval;
  return tg_shape_count(&tg_graph_value(pass->graph, "x")->shape);
}

tg_status tg_net_vector(tg_net *net, size_t count, float **out) {
  return net->device->backend->alloc(net->device, (count ? count : 1) * sizeof(float),
                                     (void **)out);
}

static tg_status allocate(tg_net *net) {
  const tg_graph *g = any_graph(net);
  TG_TRY(net->device->backend->alloc(net->device, block_bytes(net) + 1, &net->block));
  if (!net->device->backend->host_memory) {
    TG_TRY(tg_net_vector(net, g->n, &net->w));
    TG_TRY(tg_net_vector(net, g->k, &net->b));
    TG_TRY(tg_net_vector(net, g->n, &net->g));
    TG_TRY(tg_net_vector(net, g->ks, &net->s));
  }
  uint32_t most = net->train.batch > net->eval.batch ? net->train.batch : net->eval.batch;
  net->x = tg_alloc_aligned(batch_floats(net) * sizeof(float));
  net->y = tg_alloc_aligned(most * sizeof(int32_t));
  if (net->options.train) {
    net->host_g = tg_alloc_aligned(g->n * sizeof(float));
    net->told = tg_alloc_aligned(sizeof *net->told + g->ks * sizeof(float));
  }
  if (!net->x || !net->y || (net->options.train && (!net->host_g || !net->told)))
    TG_FAIL(TG_ERUNTIME, "no memory for gradients of %zu parameters", g->n);
  if (net->train.plan) tg_plan_place(net->train.plan, net->block);
  if (net->eval.plan) tg_plan_place(net->eval.plan, net->block);
  return TG_OK;
}

static tg_status open_data(tg_net *net, const tg_config *c) {
  tg_data_options options = tg_net_data_options(c);
  if (net->options.train) {
    TG_TRY(tg_dataset_open(&options, TG_TRAIN, &net->train_set));
    tg_loader_options loader = {.seed = (uint64_t)c->run_seed,
                                .workers = net->options.workers,
                                .batch = net->options.batch,
                                .augment = strcmp(c->data_augment, "crop_flip") == 0
                                               ? TG_AUGMENT_CROP_FLIP
                                               : TG_AUGMENT_NONE};
    TG_TRY(tg_loader_create(net->train_set, &loader, &net->loader));
  }
  if (net->options.evaluate) TG_TRY(tg_dataset_open(&options, net->options.split, &net->eval_set));
  return TG_OK;
}

/* Hands host weights to a pass: as they are, or through device memory. */
static tg_status bind_weights(tg_net *net, const tg_pass *pass, const float *w, const float *b) {
  const tg_backend *backend = net->device->backend;
  const tg_graph *g = pass->graph;
  if (backend->host_memory) {
    tg_plan_bind(pass->plan, w, net->compute.g, b, net->told ? net->told->s : NULL);
    return TG_OK;
  }
  /* Copied, because a recorded step holds one address. */
  bool there;
  TG_TRY(tg_net_has_weights(net, &there));
  if (net->compute.device)
    TG_TRY(backend->copy(net->device, net->w, w, g->n * sizeof(float)));
  else if (!there)
    TG_TRY(backend->to_device(net->device, net->w, w, g->n * sizeof(float)));
  if (b && g->k) TG_TRY(backend->to_device(net->device, net->b, b, g->k * sizeof(float)));
  tg_plan_bind(pass->plan, net->w, net->g, net->b, net->s);
  return TG_OK;
}

static tg_status feed(tg_net *net, const tg_pass *pass) {
  size_t floats = tg_shape_count(&tg_graph_value(pass->graph, "x")->shape);
  TG_TRY(tg_plan_write(pass->plan, "x", net->x, floats * sizeof(float)));
  return tg_plan_write(pass->plan, "y", net->y, pass->batch * sizeof(int32_t));
}

/* Everything that the host is told of a step is queued, then waited for once. */
static tg_status tell(tg_net *net) {
  const tg_backend *backend = net->device->backend;
  tg_compute *c = &net->compute;
  TG_TRY(tg_plan_loss_later(net->train.plan, "loss", &net->told->loss));
  if (!backend->host_memory && !c->device && !net->pinned)
    TG_TRY(backend->to_host_later(net->device, c->g, net->g, c->n * sizeof(float)));
  if (!backend->host_memory && c->ks)
    TG_TRY(backend->to_host_later(net->device, c->s, net->s, c->ks * sizeof(float)));
  if (c->device)
    TG_TRY(backend->square_sum_later(net->device, c->n, net->g, &net->told->square_sum));
  TG_TRY(backend->sync(net->device));
  c->square_sum = net->told->square_sum;
  return tg_plan_loss_check("loss", &net->told->loss);
}

static tg_status gradient(tg_compute *c, uint32_t worker, uint64_t step, const float *w,
                          double *loss_sum, uint64_t *correct) {
  tg_net *net = c->self;
  const tg_pass *pass = &net->train;
  TG_TRY(bind_weights(net, pass, w, NULL));
  if (net->train_images) {
    TG_TRY(tg_loader_cuts(net->loader, worker, step, net->cut));
    TG_TRY(tg_plan_cut(pass->plan, net->train_images, net->cut, pass->batch));
  } else {
    TG_TRY(tg_loader_fill(net->loader, worker, step, net->x, net->y));
    TG_TRY(feed(net, pass));
  }
  TG_TRY(tg_plan_run(pass->plan));
  TG_TRY(tell(net));
  *loss_sum = net->told->loss.sum;
  *correct = net->told->loss.correct;
  return TG_OK;
}

/* A ReLU and a maximum can hide what is not a number, so the weights themselves are looked at. */
static tg_status check_finite(const tg_compute *c, const float *w, double *loss_sum) {
  bool finite = true;
  double sum = 0;
  for (size_t i = 0; !c->device && i < c->n; i++) finite &= isfinite(w[i]) != 0;
  if (c->device) TG_TRY(c->device->backend->square_sum(c->device, c->n, w, &sum));
  if (!finite || !isfinite(sum)) *loss_sum = NAN;
  return TG_OK;
}

static tg_status feed_evaluation(tg_net *net, uint32_t first) {
  const tg_pass *pass = &net->eval;
  if (net->eval_images) {
    tg_dataset_cuts(net->eval_set, first, pass->batch, net->cut);
    return tg_plan_cut(pass->plan, net->eval_images, net->cut, pass->batch);
  }
  tg_dataset_fill(net->eval_set, first, pass->batch, net->x, net->y);
  return feed(net, pass);
}

static tg_status evaluate(tg_compute *c, const float *w, const float *b, double *loss_sum,
                          uint64_t *correct, uint32_t *samples) {
  tg_net *net = c->self;
  const tg_pass *pass = &net->eval;
  TG_TRY(bind_weights(net, pass, w, b));
  *loss_sum = 0;
  *correct = 0;
  *samples = net->eval_set->count;
  for (uint32_t first = 0; first < net->eval_set->count; first += pass->batch) {
    TG_TRY(feed_evaluation(net, first));
    TG_TRY(tg_plan_run(pass->plan));
    tg_loss_result loss;
    TG_TRY(tg_plan_loss(pass->plan, "loss", &loss));
    *loss_sum += loss.sum;
    *correct += loss.correct;
  }
  return check_finite(c, w, loss_sum);
}

void tg_net_destroy(tg_net *net) {
  if (!net) return;
  if (net->device) {
    tg_net_let_go(net);
    if (net->told_pinned) net->device->backend->unpin(net->device, net->told);
    tg_plan_destroy(net->train.plan);
    tg_plan_destroy(net->eval.plan);
    if (net->train_images) net->device->backend->images_close(net->device, net->train_images);
    if (net->eval_images) net->device->backend->images_close(net->device, net->eval_images);
    void *device_memory[] = {net->block, net->w, net->g, net->b, net->s, net->sum};
    for (size_t i = 0; i < sizeof device_memory / sizeof *device_memory; i++)
      if (device_memory[i]) net->device->backend->free(net->device, device_memory[i]);
    tg_device_close(net->device);
  }
  tg_graph_destroy(net->train.graph);
  tg_graph_destroy(net->eval.graph);
  tg_loader_destroy(net->loader);
  tg_dataset_close(net->train_set);
  tg_dataset_close(net->eval_set);
  free(net->host_g);
  free(net->told);
  free(net->cut);
  free(net->x);
  free(net->y);
  free(net);
}

tg_status tg_net_create(const tg_config *c, const tg_net_options *options, tg_net **out) {
  tg_status status = TG_OK;
  tg_net *net = calloc(1, sizeof *net);
  if (!net) TG_FAIL(TG_ERUNTIME, "no memory for a network");
  net->options = *options;
  TG_DO(open_data(net, c));
  TG_DO(make_passes(net, c, net->eval_set ? net->eval_set->count : 0));
  TG_DO(move_data(net));
  TG_DO(allocate(net));
  const tg_graph *g = any_graph(net);
  bool on_device = options->device_vectors && !net->device->backend->host_memory;
  bool takes = !on_device && net->device->backend->to_device_beside;
  net->compute = (tg_compute){.n = g->n,
                              .k = g->k,
                              .ks = g->ks,
                              .batch = options->batch,
                              .device = on_device ? net->device : NULL,
                              .g = on_device ? net->g : net->host_g,
                              .s = net->told ? net->told->s : NULL,
                              .self = net,
                              .place_gradient = on_device ? NULL : tg_net_place_gradient,
                              .take = takes ? tg_net_take_weights : NULL,
                              .pin = on_device ? NULL : tg_net_pin_weights,
                              .unpin = on_device ? NULL : tg_net_unpin_weights,
                              .gradient = gradient,
                              .evaluate = evaluate};
  if (options->train && !net->device->backend->host_memory) {
    tg_net_pin_gradient(net);
    tg_net_pin_told(net);
  }
  *out = net;
  return TG_OK;
done:
  tg_net_destroy(net);
  return status;
}

tg_compute *tg_net_compute(tg_net *net) {
  return &net->compute;
}

tg_loader *tg_net_loader(tg_net *net) {
  return net->loader;
}

const char *tg_net_device(const tg_net *net) {
  return tg_device_describe(net->device);
}

tg_status tg_net_estimate(const tg_config *c, const tg_net_options *options, tg_net_memory *out) {
  tg_status status = TG_OK;
  tg_net net = {.options = *options};
  const tg_dataset_source *source;
  TG_TRY(tg_dataset_find(c->data_name, &source));
  uint32_t train_count, test_count;
  TG_TRY(tg_net_count_samples(c, source, TG_TRAIN, &train_count));
  TG_TRY(tg_net_count_samples(c, source, options->split, &test_count));
  TG_DO(make_passes(&net, c, test_count));
  const tg_graph *g = any_graph(&net);
  size_t image = (size_t)source->channels * (size_t)source->height * (size_t)source->width;
  *out = (tg_net_memory){.activations = block_bytes(&net)};
  out->unplanned = net.train.plan ? tg_plan_unshared_bytes(net.train.plan) : out->activations;
  out->vectors = (options->train ? g->n + g->ks : 0) * sizeof(float);
  if (!net.device->backend->host_memory) out->vectors += (2 * g->n + g->k + g->ks) * sizeof(float);
  out->data = batch_floats(&net) * sizeof(float);
  if (options->train) out->data += train_count * (image + sizeof(int32_t));
  if (options->evaluate) out->data += test_count * (image + sizeof(int32_t));
done:
  if (net.device) {
    tg_plan_destroy(net.train.plan);
    tg_plan_destroy(net.eval.plan);
    tg_device_close(net.device);
  }
  tg_graph_destroy(net.train.graph);
  tg_graph_destroy(net.eval.graph);
  return status;
}
