/* forecast.c - memory, bytes and floors, before anything runs. */
#include "tardigrad/forecast.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run/setup.h"
#include "tardigrad/net.h"
#include "tardigrad/ops.h"
#include "tardigrad/paths.h"
#include "tardigrad/run.h"
#include "tardigrad/topology.h"

uint64_t tg_resident_bytes(bool peak) {
  FILE *f = fopen("/proc/self/status", "r");
  if (!f) return 0;
  char line[256];
  unsigned long long kib = 0;
  const char *format = peak ? "VmHWM: %llu kB" : "VmRSS: %llu kB";
  while (fgets(line, sizeof line, f))
    if (sscanf(line, format, &kib) == 1) break;
  fclose(f);
  return kib * 1024;
}

/* Bytes read plus written per second by a copy that no cache holds: the best of a few. */
static tg_status measure_copy(double *out) {
  size_t bytes = (size_t)96 << 20;
  char *from = tg_alloc_aligned(bytes), *to = tg_alloc_aligned(bytes);
  tg_status status = TG_OK;
  double best = 1e30;
  if (!from || !to) status = tg_status_set(TG_ERUNTIME, "no memory to measure bandwidth");
  for (int i = 0; i < 5 && status == TG_OK; i++) {
    double start = tg_clock_s();
    size_t piece = (size_t)1 << 20;
#pragma omp parallel for schedule(static)
    for (size_t lo = 0; lo < bytes; lo += piece) memcpy(to + lo, from + lo, piece);
    double s = tg_clock_s() - start;
    if (s < best) best = s;
  }
  free(from);
  free(to);
  *out = 2.0 * (double)bytes / best;
  return status;
}

/* FLOP/s of a square product on the device, in the precision of the run: the best of a few. */
static tg_status measure_product(const tg_config *c, double *out) {
  enum { SIDE = 1024 };
  tg_status status = TG_OK;
  tg_graph *g = NULL;
  tg_device *d = NULL;
  tg_plan *plan = NULL;
  void *block = NULL;
  float *w = tg_alloc_aligned(sizeof(float) * SIDE * SIDE), *w_device = NULL;
  if (!w) TG_FAIL(TG_ERUNTIME, "no memory to measure products");
  TG_DO(tg_graph_create(&g));
  tg_value *x = tg_input(g, "x", (tg_shape){.nd = 2, .dim = {SIDE, SIDE}});
  tg_output(g, "y", tg_dense(g, "product", x, SIDE, false));
  tg_device_options device = tg_net_device_options(c, 0);
  TG_DO(tg_device_open_with(c->device_name, &device, &d));
  tg_plan_options options = {.precision =
                                 strcmp(c->device_precision, "bf16") == 0 ? TG_BF16 : TG_F32};
  TG_DO(tg_plan_create(g, d, &options, &plan));
  TG_DO(d->backend->alloc(d, tg_plan_bytes(plan), &block));
  TG_DO(d->backend->alloc(d, sizeof(float) * SIDE * SIDE, (void **)&w_device));
  tg_plan_place(plan, block);
  tg_plan_bind(plan, w_device, NULL, NULL, NULL);
  double best = 1e30;
  for (int i = 0; i < 8; i++) {
    double start = tg_clock_s();
    TG_DO(tg_plan_forward(plan));
    TG_DO(d->backend->sync(d));
    double s = tg_clock_s() - start;
    if (s < best) best = s;
  }
  *out = 2.0 * SIDE * SIDE * SIDE / best;
done:
  tg_plan_destroy(plan);
  if (d && block) d->backend->free(d, block);
  if (d && w_device) d->backend->free(d, w_device);
  if (d) tg_device_close(d);
  tg_graph_destroy(g);
  free(w);
  return status;
}

/* Forward, gradient of the input and gradient of the weights are one product each; nothing flows
 * back into the graph's input. */
static double count_flops(const tg_graph *g) {
  double flops = 0;
  for (int i = 0; i < g->node_count; i++) {
    const tg_node *node = g->node[i];
    if (node->op->id != TG_OP_conv && node->op->id != TG_OP_dense) continue;
    const tg_shape *y = &node->out->shape;
    /* Every output element of a channel meets every weight of that channel once. */
    double per_pass =
        2.0 * (double)tg_shape_count(y) / (double)y->dim[1] * (double)node->param[0]->count;
    flops += per_pass * (node->in[0]->needs_grad ? 3 : 2);
  }
  return flops;
}

/* Bytes of an optimiser's state, of the gradient that a server gathers for one of whole tensors
 * where it comes in pieces, and of what an update takes for a while. */
static uint64_t state_bytes(const tg_setup *s, bool gathers) {
  const tg_optimizer *optimizer = &s->optimizer;
  const tg_layout *layout = &s->outline->layout;
  tg_optimizer_keys keys = tg_setup_keys(s->config, optimizer);
  uint64_t floats = 0, passing = 0;
  for (int i = 0; i < optimizer->slots; i++)
    floats += tg_optimizer_slot_length(optimizer, &keys, layout, s->outline->graph->n, i);
  if (optimizer->whole && gathers) floats += s->outline->graph->n;
  if (optimizer->passing)
    passing = optimizer->passing(&keys, layout, (size_t)omp_get_max_threads());
  if (optimizer->path_step) passing += tg_paths_bytes(s->outline->paths);
  return floats * sizeof(float) + passing;
}

static uint64_t server_vectors(const tg_rule *rule, const tg_config *c, uint32_t workers) {
  uint64_t sum = rule->gathers && workers > 1;
  return 1 + (uint64_t)workers + sum +
         tg_rule_states(rule, strcmp(c->sync_mean_square, "global") == 0, workers);
}

/* Vectors of a rank where workers hold weights of their own: as tg_local_create and
 * tg_gossip_create make them, and the initial weights that they copy. */
typedef struct own_vectors {
  uint64_t server, worker, simulated;
} own_vectors;

static own_vectors count_own(const tg_rule *rule, const tg_optimizer *optimizer, const tg_config *c,
                             uint32_t workers) {
  bool pairs = rule->scheme == TG_SCHEME_GOSSIP, mixes = strcmp(rule->name, "d-psgd") == 0;
  bool complete = strcmp(c->sync_topology, "complete") == 0;
  uint64_t held = 1 + (uint64_t)optimizer->slots + pairs, elsewhere = pairs;
  if (mixes)
    elsewhere = tg_topology_count(complete ? TG_TOPOLOGY_COMPLETE : TG_TOPOLOGY_RING, workers) - 1;
  return (own_vectors){.server = workers * held + 2,
                       .worker = held + mixes + elsewhere + 2,
                       .simulated = workers * (held + mixes) + 2};
}

static tg_status memory(const tg_setup *s, uint64_t bare, tg_forecast *f) {
  const tg_config *c = s->config;
  const tg_rule *rule = s->rule;
  bool sim = strcmp(c->transport_name, "sim") == 0;
  bool server = rule->scheme == TG_SCHEME_ASYNC;
  tg_net_options options = {.workers = f->workers,
                            .batch = s->batch,
                            .train = true,
                            .evaluate = true,
                            .split = tg_net_eval_split(c)};
  tg_net_memory net;
  TG_TRY(tg_net_estimate(c, &options, &net));
  uint64_t vector = s->outline->graph->n * sizeof(float);
  f->activations = net.activations;
  f->unplanned = net.unplanned;
  f->base = tg_resident_bytes(false);
  uint64_t state = state_bytes(s, server && !sim);
  uint64_t served = vector * server_vectors(rule, c, f->workers) + state;
  /* Gradients of workers on its machine are the server's memory as well: all may be there. Encoded
   * ones are messages. */
  uint64_t shared = c->transport_shared_memory && !s->codec->encode ? vector * f->workers : 0;
  uint64_t replica = vector * 2 + state;
  /* The server opens no device, and holds the initial weights while it copies them: before it sees
   * any gradient. Rank 0 of the synchronous scheme computes nothing, holds a replica, and
   * the initial weights likewise. */
  if (server && !sim) f->server = bare + served + (shared > vector ? shared : vector);
  if (rule->scheme == TG_SCHEME_SYNC && !sim) f->server = bare + replica + vector;
  f->worker = f->base + net.activations + net.vectors + net.data;
  /* Whoever simulates holds the initial weights before it computes. */
  if (sim && vector > net.activations) f->worker += vector - net.activations;
  if (tg_rule_owns_weights(rule)) {
    own_vectors own = count_own(rule, &s->optimizer, c, f->workers);
    if (!sim) f->server = bare + vector * own.server;
    f->worker += vector * (sim ? own.simulated : own.worker);
  } else if (!server)
    f->worker += replica;
  else
    f->worker += (sim ? served : vector) + (rule->local_steps ? vector : 0);
  return TG_OK;
}

/* How often a worker with weights of its own sends them, and is sent others, for one gradient. */
static double exchanges(const tg_config *c, const tg_rule *rule, uint32_t workers) {
  bool complete = strcmp(c->sync_topology, "complete") == 0;
  if (rule->scheme == TG_SCHEME_GOSSIP) return 2; /* with its partner, and as somebody's partner */
  if (strcmp(rule->name, "d-psgd") != 0) return 1.0 / (double)c->sync_local_steps;
  return tg_topology_count(complete ? TG_TOPOLOGY_COMPLETE : TG_TOPOLOGY_RING, workers) - 1;
}

/* What a worker sends and receives for a gradient, and what its codec keeps. The ramp at the
 * beginning is left out. */
static tg_status encoding(const tg_setup *s, tg_forecast *f) {
  const tg_config *c = s->config;
  const tg_graph *g = s->outline->graph;
  const tg_rule *rule = s->rule;
  const tg_codec *codec = s->codec;
  bool sim = strcmp(c->transport_name, "sim") == 0, server = rule->scheme == TG_SCHEME_ASYNC;
  uint64_t vector = g->n * sizeof(float), around = sizeof(tg_msg);
  tg_codec_options options = tg_setup_codec_options(c, g->n, 1);
  options.warmup_epochs = 0;
  if (codec->encode) TG_TRY(tg_codec_check(codec, &options));
  uint64_t message = tg_codec_bytes(codec, &options);
  if (tg_rule_owns_weights(rule)) {
    f->compression = 1;
    f->push_bytes = f->pull_bytes = (uint64_t)((double)vector * exchanges(c, rule, f->workers));
    return TG_OK;
  }
  bool all = codec->encode && rule->scheme == TG_SCHEME_SYNC && !rule->votes;
  f->compression = (double)vector / (double)message;
  f->push_bytes = (all ? f->workers : 1) * message + g->ks * sizeof(float) + around;
  f->pull_bytes = server ? vector : all ? (f->workers - 1) * message : message;
  f->pull_bytes += around;
  if (!codec->encode) return TG_OK;
  uint64_t kept = codec->vectors ? vector * (uint64_t)codec->vectors(&options) : 0;
  uint64_t of_all = kept * f->workers;
  f->worker += message + (sim ? of_all : server ? 2 * kept : kept);
  if (!server) f->worker += message * f->workers;
  if (f->server) f->server += of_all + (server ? 2 : 1 + f->workers) * message;
  return TG_OK;
}

/* Everything that train would say before it looks at data, but what hangs on who takes part. */
static tg_status check(const tg_setup *s) {
  const tg_config *c = s->config;
  bool shares = tg_setup_shares_device(s);
  tg_device *d = NULL;
  TG_TRY(tg_setup_check_server(s));
  if (!shares && !tg_setup_opens_device(s)) return tg_setup_check_updates(s, false);
  tg_device_options options = tg_net_device_options(c, 0);
  TG_TRY(shares ? tg_device_open_with(c->device_name, &options, &d)
                : tg_device_open(c->server_device, &d));
  bool on_device = !d->backend->host_memory;
  tg_device_close(d);
  return tg_setup_check_updates(s, on_device);
}

tg_status tg_forecast_make(const tg_config *c, uint32_t workers, tg_forecast *f) {
  const tg_rule *rule;
  tg_setup s;
  tg_status status = TG_OK;
  *f = (tg_forecast){.workers = workers};
  TG_TRY(tg_rule_find(c->sync_rule, &rule));
  bool alone = rule->scheme == TG_SCHEME_LOCAL || strcmp(c->transport_name, "sim") == 0;
  TG_DO(tg_setup_create(c, alone ? 1 : (int)workers + 1, &s));
  f->parameters = s.outline->graph->n;
  f->statistics = s.outline->graph->k;
  f->flops = count_flops(s.outline->graph);
  uint64_t bare = tg_resident_bytes(false);
  TG_DO(check(&s));
  TG_DO(measure_product(c, &f->product_rate));
  TG_DO(memory(&s, bare, f));
  TG_DO(encoding(&s, f));
  TG_DO(measure_copy(&f->copy_bandwidth));
  /* One pass over w, w_bak and the rule's and optimiser's state, each read and written, and g. */
  double vectors = 1 + 2 * (2.0 + (rule->has_state ? 1 : 0) + s.optimizer.slots);
  /* Sums over w and g come before an update in path space. */
  if (s.optimizer.path_step) vectors += 2;
  f->compute_s = f->flops / f->product_rate;
  f->update_s = vectors * sizeof(float) * (double)f->parameters / f->copy_bandwidth;
  f->transfer_s = 2.0 * (double)(f->push_bytes + f->pull_bytes) / f->copy_bandwidth;
  double gradients = rule->local_steps ? (double)c->sync_local_steps : 1;
  bool server = rule->scheme == TG_SCHEME_ASYNC;
  f->server_load =
      !server ? 0 : (double)workers * (f->update_s + f->transfer_s) / (f->compute_s * gradients);
done:
  tg_setup_destroy(&s);
  return status;
}
