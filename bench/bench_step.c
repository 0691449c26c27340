/* bench_step.c - one training step of ResNet-20 against the sum of its bare convolutions.
 *
 * A step is what a worker does between two messages - bind weights, write a batch, forward, loss,
 * backward - and the update of plain SGD, which a server would do. Bare convolutions are the
 * network's oneDNN primitives (forward, backward data but for the first, backward weights), with
 * formats left to oneDNN and neighbours' memory handed on, and nothing else: no reorders, no other
 * ops. Both alternate in one run; medians are compared.
 *
 *   bench_step [rounds [batch [model]]]     one JSON line per precision on standard output */
#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tardigrad/model.h"
#include "tardigrad/ops.h"
#include "tardigrad/plan.h"
#include "tardigrad/rng.h"

enum { WARM_UP = 3, MAX_CONVS = 256 };

static void die(const char *what) {
  fprintf(stderr, "bench_step: %s: %s\n", what, tg_status_message());
  exit(1);
}
#define MUST(expression)                                                                           \
  do {                                                                                             \
    if ((expression) != TG_OK) die(#expression);                                                   \
  } while (0)
#define DNNL(expression)                                                                           \
  do {                                                                                             \
    if ((expression) != dnnl_success) die(#expression);                                            \
  } while (0)

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *t, int count) {
  qsort(t, (size_t)count, sizeof *t, by_size);
  return count % 2 ? t[count / 2] : (t[count / 2 - 1] + t[count / 2]) / 2;
}

/* ---- our step ---- */

typedef struct trainer {
  tg_graph *graph;
  tg_device *device;
  tg_plan *plan;
  void *block;
  float *w, *g, *b, *s, *x;
  int32_t *y;
  size_t x_bytes, y_bytes;
} trainer;

static float *vector(tg_device *d, size_t n) {
  void *p;
  MUST(d->backend->alloc(d, (n + 1) * sizeof(float), &p));
  return p;
}

static void fill_batch(trainer *t, const tg_model_options *o) {
  tg_rng r = tg_rng_open(1, TG_RNG_TEST, 0, 0);
  size_t n = (size_t)o->batch * (size_t)(o->channels * o->height * o->width);
  t->x_bytes = n * sizeof *t->x;
  t->y_bytes = (size_t)o->batch * sizeof *t->y;
  t->x = malloc(t->x_bytes);
  t->y = malloc(t->y_bytes);
  if (!t->x || !t->y) die("memory");
  for (size_t i = 0; i < n; i++) t->x[i] = (float)tg_rng_normal(&r);
  for (int64_t i = 0; i < o->batch; i++) t->y[i] = (int32_t)tg_rng_below(&r, (uint32_t)o->classes);
}

static void trainer_open(trainer *t, const char *model, int64_t batch, tg_dtype precision) {
  tg_model_options o = {.channels = 3, .height = 32, .width = 32, .classes = 10, .batch = batch};
  tg_plan_options p = {.train = true, .precision = precision};
  MUST(tg_model_build(model, &o, &t->graph));
  MUST(tg_device_open("cpu", &t->device));
  MUST(tg_plan_create(t->graph, t->device, &p, &t->plan));
  MUST(t->device->backend->alloc(t->device, tg_plan_bytes(t->plan), &t->block));
  tg_plan_place(t->plan, t->block);
  t->w = vector(t->device, t->graph->n);
  t->g = vector(t->device, t->graph->n);
  t->b = vector(t->device, t->graph->k);
  t->s = vector(t->device, t->graph->ks);
  tg_model_init(t->graph, TG_HE, 1, t->w, t->b);
  fill_batch(t, &o);
}

/* Weight decay as in the peers' step; the rate is so small that the network stays what it is. */
static void update(size_t n, float *w, const float *g) {
#pragma omp parallel for simd schedule(static)
  for (size_t i = 0; i < n; i++) w[i] -= 1e-6f * (g[i] + 1e-4f * w[i]);
}

static double trainer_step(trainer *t) {
  tg_loss_result loss;
  double start = now_ms();
  tg_plan_bind(t->plan, t->w, t->g, t->b, t->s);
  MUST(tg_plan_write(t->plan, "x", t->x, t->x_bytes));
  MUST(tg_plan_write(t->plan, "y", t->y, t->y_bytes));
  MUST(tg_plan_forward(t->plan));
  MUST(tg_plan_loss(t->plan, "loss", &loss));
  MUST(tg_plan_backward(t->plan));
  update(t->graph->n, t->w, t->g);
  return now_ms() - start;
}

static void trainer_close(trainer *t) {
  const tg_backend *backend = t->device->backend;
  tg_plan_destroy(t->plan);
  void *memory[] = {t->block, t->w, t->g, t->b, t->s};
  for (size_t i = 0; i < sizeof memory / sizeof *memory; i++) backend->free(t->device, memory[i]);
  free(t->x);
  free(t->y);
  tg_device_close(t->device);
  tg_graph_destroy(t->graph);
}

/* ---- bare convolutions ---- */

typedef struct task {
  dnnl_primitive_t primitive;
  dnnl_exec_arg_t arg[3];
} task;

typedef struct bare {
  dnnl_engine_t engine;
  dnnl_stream_t stream;
  dnnl_data_type_t dtype;
  task forward[MAX_CONVS], backward[2 * MAX_CONVS];
  int forward_count, backward_count;
  dnnl_memory_t activation, gradient; /* of the value that the last convolution made */
} bare;

static dnnl_memory_t memory_for(bare *b, const_dnnl_primitive_desc_t pd, dnnl_query_t what,
                                dnnl_memory_t handed_on) {
  const dnnl_memory_desc_t *desc = dnnl_primitive_desc_query_md(pd, what, 0), *old = NULL;
  if (handed_on) DNNL(dnnl_memory_get_memory_desc(handed_on, &old));
  if (old && dnnl_memory_desc_equal(old, desc)) return handed_on;
  dnnl_memory_t m;
  void *p;
  DNNL(dnnl_memory_create(&m, desc, b->engine, DNNL_MEMORY_ALLOCATE));
  DNNL(dnnl_memory_get_data_handle(m, &p));
  /* Normal numbers everywhere, in either precision: 0x3c003c00 is a small float, twice over. */
  uint32_t *word = p;
  size_t words = dnnl_memory_desc_get_size(desc) / sizeof *word;
  for (size_t i = 0; i < words; i++) word[i] = 0x3c003c00;
  return m;
}

static double time_of(bare *b, const_dnnl_primitive_desc_t pd, const int args[3]) {
  task t;
  double best = 1e9;
  DNNL(dnnl_primitive_create(&t.primitive, pd));
  for (int i = 0; i < 3; i++) {
    const dnnl_memory_desc_t *desc =
        dnnl_primitive_desc_query_md(pd, dnnl_query_exec_arg_md, args[i]);
    t.arg[i].arg = args[i];
    DNNL(dnnl_memory_create(&t.arg[i].memory, desc, b->engine, DNNL_MEMORY_ALLOCATE));
  }
  for (int i = 0; i < 5; i++) {
    double start = now_ms();
    DNNL(dnnl_primitive_execute(t.primitive, b->stream, 3, t.arg));
    DNNL(dnnl_stream_wait(b->stream));
    double ms = now_ms() - start;
    if (ms < best) best = ms;
  }
  for (int i = 0; i < 3; i++) DNNL(dnnl_memory_destroy(t.arg[i].memory));
  DNNL(dnnl_primitive_destroy(t.primitive));
  return best;
}

/* The operation by the direct algorithm, or by Winograd's if that exists and is faster here. */
static dnnl_primitive_desc_t add_task(bare *b, task *t, dnnl_convolution_desc_t *op,
                                      const int args[3], const_dnnl_primitive_desc_t hint) {
  dnnl_primitive_desc_t direct, winograd, *best = &direct;
  DNNL(dnnl_primitive_desc_create(&direct, op, NULL, b->engine, hint));
  op->alg_kind = dnnl_convolution_winograd;
  if (dnnl_primitive_desc_create(&winograd, op, NULL, b->engine, hint) == dnnl_success) {
    bool faster = time_of(b, winograd, args) < time_of(b, direct, args);
    if (faster) best = &winograd;
    DNNL(dnnl_primitive_desc_destroy(faster ? direct : winograd));
  }
  DNNL(dnnl_primitive_create(&t->primitive, *best));
  return *best;
}

/* oneDNN's functions want as many numbers as there can be dimensions. */
typedef struct dims {
  dnnl_dims_t v;
} dims;

static dims dims_of(const int64_t *value, int count) {
  dims d = {{0}};
  for (int i = 0; i < count; i++) d.v[i] = value[i];
  return d;
}

static void any(dnnl_memory_desc_t *out, const tg_shape *shape, dnnl_data_type_t dtype) {
  dims all = dims_of(shape->dim, TG_MAX_DIMS);
  DNNL(dnnl_memory_desc_init_by_tag(out, shape->nd, all.v, dtype, dnnl_format_tag_any));
}

static const int forward_args[3] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST};
static const int weights_args[3] = {DNNL_ARG_SRC, DNNL_ARG_DIFF_DST, DNNL_ARG_DIFF_WEIGHTS};
static const int data_args[3] = {DNNL_ARG_DIFF_DST, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_SRC};

static void add_conv(bare *b, const tg_node *node) {
  const tg_conv_attr *a = node->attr;
  const dims stride = dims_of(a->stride, 3), pad = dims_of(a->pad, 3);
  bool first = b->forward_count == 0;
  dnnl_memory_desc_t x, w, dw, y;
  dnnl_convolution_desc_t op;
  any(&x, &node->in[0]->shape, b->dtype);
  any(&y, &node->out->shape, b->dtype);
  any(&w, &node->param[0]->shape, b->dtype);
  any(&dw, &node->param[0]->shape, dnnl_f32);

  DNNL(dnnl_convolution_forward_desc_init(&op, dnnl_forward_training, dnnl_convolution_direct, &x,
                                          &w, NULL, &y, stride.v, pad.v, pad.v));
  task *t = &b->forward[b->forward_count++];
  dnnl_primitive_desc_t hint = add_task(b, t, &op, forward_args, NULL);
  dnnl_memory_t mx = memory_for(b, hint, dnnl_query_src_md, b->activation);
  dnnl_memory_t my = memory_for(b, hint, dnnl_query_dst_md, NULL);
  dnnl_memory_t mw = memory_for(b, hint, dnnl_query_weights_md, NULL);
  t->arg[0] = (dnnl_exec_arg_t){DNNL_ARG_SRC, mx};
  t->arg[1] = (dnnl_exec_arg_t){DNNL_ARG_WEIGHTS, mw};
  t->arg[2] = (dnnl_exec_arg_t){DNNL_ARG_DST, my};
  b->activation = my;

  DNNL(dnnl_convolution_backward_weights_desc_init(&op, dnnl_convolution_direct, &x, &dw, NULL, &y,
                                                   stride.v, pad.v, pad.v));
  t = &b->backward[b->backward_count++];
  dnnl_primitive_desc_t pd = add_task(b, t, &op, weights_args, hint);
  dnnl_memory_t mdy = memory_for(b, pd, dnnl_query_diff_dst_md, NULL);
  t->arg[0] = (dnnl_exec_arg_t){DNNL_ARG_SRC, memory_for(b, pd, dnnl_query_src_md, mx)};
  t->arg[1] = (dnnl_exec_arg_t){DNNL_ARG_DIFF_DST, mdy};
  t->arg[2] =
      (dnnl_exec_arg_t){DNNL_ARG_DIFF_WEIGHTS, memory_for(b, pd, dnnl_query_diff_weights_md, NULL)};
  DNNL(dnnl_primitive_desc_destroy(pd));

  if (!first) {
    DNNL(dnnl_convolution_backward_data_desc_init(&op, dnnl_convolution_direct, &x, &w, &y,
                                                  stride.v, pad.v, pad.v));
    t = &b->backward[b->backward_count++];
    pd = add_task(b, t, &op, data_args, hint);
    t->arg[0] =
        (dnnl_exec_arg_t){DNNL_ARG_DIFF_DST, memory_for(b, pd, dnnl_query_diff_dst_md, mdy)};
    t->arg[1] = (dnnl_exec_arg_t){DNNL_ARG_WEIGHTS, memory_for(b, pd, dnnl_query_weights_md, mw)};
    t->arg[2] = (dnnl_exec_arg_t){DNNL_ARG_DIFF_SRC,
                                  memory_for(b, pd, dnnl_query_diff_src_md, b->gradient)};
    DNNL(dnnl_primitive_desc_destroy(pd));
  }
  b->gradient = mdy;
  DNNL(dnnl_primitive_desc_destroy(hint));
}

static void bare_open(bare *b, const tg_graph *g, tg_dtype precision) {
  b->dtype = precision == TG_BF16 ? dnnl_bf16 : dnnl_f32;
  DNNL(dnnl_engine_create(&b->engine, dnnl_cpu, 0));
  DNNL(dnnl_stream_create(&b->stream, b->engine, dnnl_stream_default_flags));
  for (int i = 0; i < g->node_count; i++)
    if (g->node[i]->op->id == TG_OP_conv && b->forward_count < MAX_CONVS) add_conv(b, g->node[i]);
}

static double bare_step(bare *b) {
  double start = now_ms();
  for (int i = 0; i < b->forward_count; i++)
    DNNL(dnnl_primitive_execute(b->forward[i].primitive, b->stream, 3, b->forward[i].arg));
  for (int i = b->backward_count - 1; i >= 0; i--)
    DNNL(dnnl_primitive_execute(b->backward[i].primitive, b->stream, 3, b->backward[i].arg));
  DNNL(dnnl_stream_wait(b->stream));
  return now_ms() - start;
}

/* ---- both ---- */

static void measure(const char *model, int64_t batch, int rounds, tg_dtype precision) {
  static trainer t;
  static bare b;
  memset(&t, 0, sizeof t);
  memset(&b, 0, sizeof b);
  double *step = calloc((size_t)rounds * 2, sizeof *step), *convs = step + rounds;
  if (!step) die("memory");
  trainer_open(&t, model, batch, precision);
  if (t.device->backend->precision(t.device, precision) != precision) goto done;
  bare_open(&b, t.graph, precision);
  for (int i = -WARM_UP; i < rounds; i++) {
    double ours = trainer_step(&t), theirs = bare_step(&b);
    if (i < 0) continue;
    step[i] = ours;
    convs[i] = theirs;
  }
  double ours = median(step, rounds), theirs = median(convs, rounds);
  printf("{\"bench\":\"step\",\"model\":\"%s\",\"batch\":%lld,\"precision\":\"%s\","
         "\"images_per_s\":%.1f,\"step_ms\":%.3f,\"bare_conv_ms\":%.3f,\"ratio\":%.4f,"
         "\"threads\":%d}\n",
         model, (long long)batch, precision == TG_BF16 ? "bf16" : "fp32",
         (double)batch / ours * 1e3, ours, theirs, ours / theirs, omp_get_max_threads());
  fflush(stdout);
done:
  free(step);
  trainer_close(&t);
}

int main(int argc, char **argv) {
  int rounds = argc > 1 ? atoi(argv[1]) : 30;
  int64_t batch = argc > 2 ? atoll(argv[2]) : 128;
  const char *model = argc > 3 ? argv[3] : "resnet20";
  if (rounds < 1 || batch < 1) {
    fprintf(stderr, "usage: bench_step [rounds [batch [model]]]\n");
    return 2;
  }
  measure(model, batch, rounds, TG_F32);
  measure(model, batch, rounds, TG_BF16);
  return 0;
}
