/* bench_paths_step.c - a training step with gsgd beside one with sgd: forward, loss, backward and
 * the update, of ResNet-20 with a batch of 128 images of CIFAR-10's size.
 *
 * Both have weights of their own and take turns in one run, each first in every other turn; the
 * ratio is the median over turns of one step's time by the other's.
 *
 *   bench_paths_step [turns [batch [model]]]     one JSON line per norm on standard output */
#include <omp.h>
#include <string.h>

#include "tardigrad/model.h"
#include "tardigrad/ops.h"
#include "tardigrad/paths.h"
#include "tardigrad/plan.h"
#include "tardigrad/rng.h"
#include "tardigrad/update.h"
#include "turns.h"

typedef struct bench {
  tg_graph *graph;
  tg_device *device;
  tg_plan *plan;
  tg_paths *paths;
  tg_layout layout;
  void *block;
  float *w[2], *g, *b, *s, *x;
  int32_t *y;
  size_t x_bytes, y_bytes;
} bench;

static tg_status vector(bench *t, size_t n, float **out) {
  void *p;
  TG_TRY(t->device->backend->alloc(t->device, (n + 1) * sizeof(float), &p));
  *out = p;
  return TG_OK;
}

static tg_status fill_batch(bench *t, const tg_model_options *o) {
  tg_rng r = tg_rng_open(1, TG_RNG_TEST, 0, 0);
  size_t n = (size_t)o->batch * (size_t)(o->channels * o->height * o->width);
  t->x_bytes = n * sizeof *t->x;
  t->y_bytes = (size_t)o->batch * sizeof *t->y;
  t->x = malloc(t->x_bytes);
  t->y = malloc(t->y_bytes);
  if (!t->x || !t->y) TG_FAIL(TG_ERUNTIME, "no memory for a batch");
  for (size_t i = 0; i < n; i++) t->x[i] = (float)tg_rng_normal(&r);
  for (int64_t i = 0; i < o->batch; i++) t->y[i] = (int32_t)tg_rng_below(&r, (uint32_t)o->classes);
  return TG_OK;
}

static tg_status bench_open(bench *t, const char *model, int64_t batch) {
  tg_model_options o = {.channels = 3, .height = 32, .width = 32, .classes = 10, .batch = batch};
  tg_plan_options p = {.train = true, .precision = TG_F32};
  TG_TRY(tg_model_build(model, &o, &t->graph));
  TG_TRY(tg_paths_create(t->graph, &t->paths));
  TG_TRY(tg_paths_check(t->paths, model));
  t->layout.paths = t->paths;
  TG_TRY(tg_device_open("cpu", &t->device));
  TG_TRY(tg_plan_create(t->graph, t->device, &p, &t->plan));
  TG_TRY(t->device->backend->alloc(t->device, tg_plan_bytes(t->plan), &t->block));
  tg_plan_place(t->plan, t->block);
  TG_TRY(vector(t, t->graph->n, &t->g));
  TG_TRY(vector(t, t->graph->k, &t->b));
  TG_TRY(vector(t, t->graph->ks, &t->s));
  for (int i = 0; i < 2; i++) {
    TG_TRY(vector(t, t->graph->n, &t->w[i]));
    tg_model_init(t->graph, TG_PYTORCH, 1, t->w[i], t->b);
    TG_TRY(tg_paths_init(t->paths, TG_SKELETON_ONES, t->w[i]));
  }
  return fill_batch(t, &o);
}

static void bench_close(bench *t) {
  void *memory[] = {t->block, t->w[0], t->w[1], t->g, t->b, t->s};
  tg_plan_destroy(t->plan);
  for (size_t i = 0; t->device && i < sizeof memory / sizeof *memory; i++)
    t->device->backend->free(t->device, memory[i]);
  tg_device_close(t->device);
  tg_paths_destroy(t->paths);
  tg_graph_destroy(t->graph);
  free(t->x);
  free(t->y);
}

static tg_status step(bench *t, const tg_update *u, double *seconds) {
  tg_loss_result loss;
  tg_update_sums sums = {0};
  double start = now_s();
  tg_plan_bind(t->plan, u->w, t->g, t->b, t->s);
  TG_TRY(tg_plan_write(t->plan, "x", t->x, t->x_bytes));
  TG_TRY(tg_plan_write(t->plan, "y", t->y, t->y_bytes));
  TG_TRY(tg_plan_forward(t->plan));
  TG_TRY(tg_plan_loss(t->plan, "loss", &loss));
  TG_TRY(tg_plan_backward(t->plan));
  tg_update_apply(u, (tg_span){0, t->graph->n}, t->g, &sums);
  if (u->optimizer->whole) TG_TRY(tg_update_whole(u, &t->layout, t->graph->n, t->g, &sums));
  *seconds = now_s() - start;
  return TG_OK;
}

static tg_status measure(bench *t, const char *model, bool published, int turns, double *seconds) {
  tg_update u[2] = {{.hyper = {.lr = 1e-6f, .weight_decay = 1e-4f}, .w = t->w[0]}};
  double *both[] = {seconds, seconds + turns};
  TG_TRY(tg_rule_find("sgd", &u[0].rule));
  u[0].hyper.keys.path_norm = published;
  u[0].hyper.keys.path_clamp = 0.1;
  u[1] = u[0];
  u[1].w = t->w[1];
  TG_TRY(tg_optimizer_find("sgd", &u[0].optimizer));
  TG_TRY(tg_optimizer_find("gsgd", &u[1].optimizer));
  for (int i = -2; i < turns; i++) /* the first turns warm up */
    for (int k = 0; k < 2; k++) {
      int which = (i + k) & 1;
      TG_TRY(step(t, &u[which], &both[which][i < 0 ? 0 : i]));
    }
  double ratio = median_ratio(memcpy(seconds + 2 * turns, both[1], (size_t)turns * sizeof *seconds),
                              both[0], turns);
  printf("{\"bench\":\"paths_step\",\"model\":\"%s\",\"norm\":\"%s\",\"parameters\":%zu,"
         "\"threads\":%d,\"turns\":%d,\"sgd_s\":%.6f,\"gsgd_s\":%.6f,\"ratio\":%.4f}\n",
         model, published ? "published" : "exact", t->graph->n, omp_get_max_threads(), turns,
         median(both[0], turns), median(both[1], turns), ratio);
  return TG_OK;
}

int main(int argc, char **argv) {
  int turns = argc > 1 ? atoi(argv[1]) : 21;
  int64_t batch = argc > 2 ? atoi(argv[2]) : 128;
  const char *model = argc > 3 ? argv[3] : "resnet20";
  tg_status status = TG_OK;
  bench t = {0};
  double *seconds = turns > 0 && batch > 0 ? calloc(3 * (size_t)turns, sizeof *seconds) : NULL;
  if (!seconds) {
    fputs("usage: bench_paths_step [turns [batch [model]]]\n", stderr);
    return 2;
  }
  TG_DO(bench_open(&t, model, batch));
  for (int published = 0; published < 2; published++)
    TG_DO(measure(&t, model, published, turns, seconds));
done:
  bench_close(&t);
  free(seconds);
  return status == TG_OK ? 0 : failed("bench_paths_step", status);
}
