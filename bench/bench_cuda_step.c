/* bench_cuda_step.c - training steps per second on a GPU, by the library's own means.
 *
 * A step is what src/run/net.c and src/dist/sync.c do in `train`: the weights copied to where the
 * recorded step expects them, a batch cut, cropped and mirrored on the device out of a resident set
 * (tg_loader_cuts, tg_plan_cut), forward, loss and backward (tg_plan_run), the update. It is timed
 * in two loops:
 *   train    each step also reads what `train` reports: loss, batch statistics, gradient norm; so
 *            the host waits three times a step, as there
 *   queued   nothing is read; one wait at the end of the turn, as benchmarks of other programs do
 * for every precision, deterministic and fast. A turn is many steps; variants take turns; the
 * figure is the median over turns.
 *
 *   bench_cuda_step [options] [MODEL SIZE BATCH]     images of SIZE x SIZE; exit 69: no GPU
 *     --precisions LIST   of fp32,tf32,bf16           --seconds S   a turn; 0: one step
 *     --turns N                                       --samples N   in the resident set
 *     --paced      takes turns on request: prints a line per variant and {"ready":true}, then
 *                  answers each line of standard input, a variant's number, with its step_ms: so
 *                  that another program can alternate with it (bench/peer_pytorch_cuda.py)
 *     --describe   the device, in one line, and nothing else */
#include <getopt.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "turns.h"
#include "tardigrad/data.h"
#include "tardigrad/model.h"
#include "tardigrad/plan.h"
#include "tardigrad/rng.h"
#include "tardigrad/server.h"

enum { TRAIN, QUEUED, LOOPS };
enum { MAX_VARIANTS = 6, SET_BYTES = 150 << 20, MANY_STEPS = 20000 };
static const char *const loop_name[LOOPS] = {"train", "queued"};

typedef struct options {
  const char *model, *precisions;
  int size, turns;
  uint32_t batch, samples;
  double seconds;
  bool paced, describe;
} options;

/* A network on a device of its own, with its data. */
typedef struct variant {
  const char *precision;
  bool deterministic;
  char failure[1024]; /* "" if it can be measured */
  tg_device *device;
  tg_graph *graph;
  tg_plan *plan;
  void *block, *images;
  float *live, *w, *g, *s; /* device memory; `live` is what updates change */
  tg_update_sums *sums;    /* device memory */
  float *host_s, *host_b;
  tg_fold *folds;
  size_t fold_count;
  tg_loader *loader;
  tg_cut *cut;
  tg_update update;
  uint64_t step;
  int steps[LOOPS]; /* a turn */
  double *turn_s[LOOPS];
} variant;

/* ---- data ---- */

static tg_status make_set(const options *o, tg_dataset *set) {
  size_t image = (size_t)3 * (size_t)o->size * (size_t)o->size;
  uint32_t count = o->samples ? o->samples : (uint32_t)(SET_BYTES / image);
  if (count < o->batch) count = o->batch;
  *set = (tg_dataset){.name = "noise",
                      .count = count,
                      .channels = 3,
                      .height = o->size,
                      .width = o->size,
                      .classes = o->size <= 64 ? 10 : 1000,
                      .mean = {0.5f, 0.5f, 0.5f},
                      .std = {0.25f, 0.25f, 0.25f}};
  uint8_t *pixels = malloc(count * image);
  int32_t *labels = malloc(count * sizeof *labels);
  set->pixels = pixels;
  set->labels = labels;
  if (!pixels || !labels) TG_FAIL(TG_ERUNTIME, "no memory for %u images", count);
  tg_rng r = tg_rng_open(1, TG_RNG_TEST, 0, 0);
  for (size_t i = 0; i < count * image; i++) pixels[i] = (uint8_t)(tg_rng_u32(&r) >> 24);
  for (uint32_t i = 0; i < count; i++)
    labels[i] = (int32_t)tg_rng_below(&r, (uint32_t)set->classes);
  return TG_OK;
}

/* ---- a variant ---- */

static tg_status plan_variant(const options *o, const tg_dataset *set, variant *v) {
  tg_model_options model = {.channels = set->channels,
                            .height = set->height,
                            .width = set->width,
                            .classes = set->classes,
                            .batch = o->batch};
  tg_device_options device = {.fast = !v->deterministic, .tf32 = strcmp(v->precision, "tf32") == 0};
  tg_plan_options plan = {.train = true,
                          .precision = strcmp(v->precision, "bf16") == 0 ? TG_BF16 : TG_F32};
  TG_TRY(tg_device_open_with("cuda", &device, &v->device));
  TG_TRY(tg_model_build(o->model, &model, &v->graph));
  TG_TRY(tg_plan_create(v->graph, v->device, &plan, &v->plan));
  TG_TRY(v->device->backend->alloc(v->device, tg_plan_bytes(v->plan), &v->block));
  tg_plan_place(v->plan, v->block);
  return TG_OK;
}

static tg_status open_data(const options *o, const tg_dataset *set, variant *v) {
  tg_loader_options loader = {
      .seed = 1, .workers = 1, .batch = o->batch, .augment = TG_AUGMENT_CROP_FLIP};
  TG_TRY(tg_loader_create(set, &loader, &v->loader));
  TG_TRY(tg_dataset_on(set, v->device, &v->images));
  v->cut = malloc(o->batch * sizeof *v->cut);
  if (!v->cut) TG_FAIL(TG_ERUNTIME, "no memory for a batch of %u samples", o->batch);
  return TG_OK;
}

static void collect_folds(variant *v) {
  const tg_graph *g = v->graph;
  for (int i = 0; i < g->node_count; i++)
    for (int j = 0; j < g->node[i]->stat_count; j++) {
      const tg_stat_use *use = &g->node[i]->stat[j];
      v->folds[v->fold_count++] = (tg_fold){.b_lo = use->stat->offset,
                                            .s_lo = use->s_offset,
                                            .count = use->stat->count,
                                            .momentum = use->momentum};
    }
}

static tg_status make_vectors(variant *v) {
  const tg_backend *backend = v->device->backend;
  const tg_graph *g = v->graph;
  tg_status status = TG_OK;
  float **vector[] = {&v->live, &v->w, &v->g, &v->s};
  for (int i = 0; i < 4; i++)
    TG_TRY(
        backend->alloc(v->device, (i < 3 ? g->n : g->ks + 1) * sizeof(float), (void **)vector[i]));
  TG_TRY(backend->alloc(v->device, sizeof *v->sums, (void **)&v->sums));
  float *w = malloc(g->n * sizeof *w);
  v->host_s = malloc((g->ks + 1) * sizeof *v->host_s);
  v->host_b = malloc((g->k + 1) * sizeof *v->host_b);
  v->folds = calloc((size_t)g->node_count * TG_MAX_STATS, sizeof *v->folds);
  if (w && v->host_s && v->host_b && v->folds) {
    tg_model_init(g, TG_HE, 1, w, v->host_b);
    status = backend->to_device(v->device, v->live, w, g->n * sizeof *w);
    collect_folds(v);
  } else {
    status = tg_status_set(TG_ERUNTIME, "no memory for %zu parameters", g->n);
  }
  free(w);
  return status;
}

/* The rate is so small that the network stays what it is. */
static tg_status set_up_update(variant *v) {
  v->update = (tg_update){.hyper = {.lr = 1e-5f, .weight_decay = 1e-4f}, .w = v->live};
  TG_TRY(tg_rule_find("sgd", &v->update.rule));
  return tg_optimizer_find("sgd", &v->update.optimizer);
}

/* ---- steps ---- */

static tg_status queue_gradient(variant *v) {
  const tg_backend *backend = v->device->backend;
  TG_TRY(backend->copy(v->device, v->w, v->live, v->graph->n * sizeof *v->w));
  tg_plan_bind(v->plan, v->w, v->g, NULL, v->s);
  TG_TRY(tg_loader_cuts(v->loader, 0, v->step++, v->cut));
  TG_TRY(
      tg_plan_cut(v->plan, v->images, v->cut, (size_t)tg_graph_value(v->graph, "x")->shape.dim[0]));
  return tg_plan_run(v->plan);
}

/* As tg_worker_step and its compute object do. */
static tg_status read_report(variant *v) {
  const tg_backend *backend = v->device->backend;
  const tg_graph *g = v->graph;
  tg_loss_result loss;
  double norm;
  TG_TRY(tg_plan_loss(v->plan, "loss", &loss));
  TG_TRY(backend->to_host(v->device, v->host_s, v->s, g->ks * sizeof *v->host_s));
  TG_TRY(backend->square_sum(v->device, g->n, v->g, &norm));
  if (!isfinite(loss.sum) || !isfinite(norm) || !isfinite(tg_square_sum(g->ks, v->host_s)))
    TG_FAIL(TG_EDIVERGED, "loss %g, gradient norm %g after %llu steps", loss.sum, sqrt(norm),
            (unsigned long long)v->step);
  tg_fold_apply(v->folds, v->fold_count, v->host_s, v->host_b);
  return TG_OK;
}

static tg_status run_steps(variant *v, int loop, int count, double *s) {
  const tg_backend *backend = v->device->backend;
  double start = now_s();
  for (int i = 0; i < count; i++) {
    TG_TRY(queue_gradient(v));
    if (loop == TRAIN) TG_TRY(read_report(v));
    v->update.hyper.update = v->step - 1;
    TG_TRY(backend->update(v->device, &v->update, (tg_span){0, v->graph->n}, v->g, v->sums));
  }
  TG_TRY(backend->sync(v->device));
  *s = (now_s() - start) / count;
  return TG_OK;
}

/* The first step sets libraries up, the second is recorded. */
static tg_status warm_up(const options *o, variant *v) {
  double each_s;
  for (int loop = 0; loop < LOOPS; loop++) {
    TG_TRY(run_steps(v, loop, 3, &each_s));
    if (o->seconds > 0) TG_TRY(run_steps(v, loop, 10, &each_s));
    v->steps[loop] = o->seconds > 0 ? repetitions(o->seconds, each_s, 5, MANY_STEPS) : 1;
    v->turn_s[loop] = calloc((size_t)o->turns, sizeof(double));
    if (!v->turn_s[loop]) TG_FAIL(TG_ERUNTIME, "no memory for %d turns", o->turns);
  }
  return TG_OK;
}

static tg_status open_variant(const options *o, const tg_dataset *set, variant *v) {
  TG_TRY(plan_variant(o, set, v));
  TG_TRY(open_data(o, set, v));
  TG_TRY(make_vectors(v));
  TG_TRY(set_up_update(v));
  return warm_up(o, v);
}

static void close_variant(variant *v) {
  if (v->device) {
    tg_plan_destroy(v->plan);
    void *memory[] = {v->block, v->live, v->w, v->g, v->s, v->sums};
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
      if (memory[i]) v->device->backend->free(v->device, memory[i]);
    if (v->images) v->device->backend->images_close(v->device, v->images);
    tg_device_close(v->device);
  }
  tg_loader_destroy(v->loader);
  tg_graph_destroy(v->graph);
  free(v->cut);
  free(v->folds);
  free(v->host_s);
  free(v->host_b);
  for (int loop = 0; loop < LOOPS; loop++) free(v->turn_s[loop]);
}

/* ---- what is printed ---- */

static void print_head(const options *o, const variant *v) {
  printf("{\"bench\":\"cuda_step\",\"model\":\"%s\",\"size\":%d,\"batch\":%u,\"precision\":\"%s\","
         "\"deterministic\":%s",
         o->model, o->size, o->batch, v->precision, v->deterministic ? "true" : "false");
}

/* Messages name things and numbers; what JSON would have to escape becomes a space. */
static void print_failure(const options *o, const variant *v) {
  print_head(o, v);
  printf(",\"failed\":\"");
  for (const char *c = v->failure; *c; c++)
    putchar(*c == '"' || *c == '\\' || (unsigned char)*c < ' ' ? ' ' : *c);
  puts("\"}");
}

static void print_results(const options *o, variant *v) {
  for (int loop = 0; loop < LOOPS && !v->failure[0]; loop++) {
    double s = median(v->turn_s[loop], o->turns);
    print_head(o, v);
    printf(",\"loop\":\"%s\",\"images_per_s\":%.1f,\"step_ms\":%.4f,\"fastest_ms\":%.4f,"
           "\"steps_a_turn\":%d,\"turns\":%d}\n",
           loop_name[loop], o->batch / s, s * 1e3, v->turn_s[loop][0] * 1e3, v->steps[loop],
           o->turns);
  }
}

/* ---- turns ---- */

static tg_status take_turns(const options *o, variant *v, int count) {
  for (int t = 0; t < o->turns; t++)
    for (int i = 0; i < count * LOOPS; i++) {
      variant *of = &v[i / LOOPS];
      if (of->failure[0]) continue;
      TG_TRY(run_steps(of, i % LOOPS, of->steps[i % LOOPS], &of->turn_s[i % LOOPS][t]));
    }
  for (int i = 0; i < count; i++) print_results(o, &v[i]);
  return TG_OK;
}

static tg_status answer(const options *o, variant *v, int count) {
  char line[64];
  for (int i = 0; i < count * LOOPS; i++) {
    if (v[i / LOOPS].failure[0]) continue;
    print_head(o, &v[i / LOOPS]);
    printf(",\"loop\":\"%s\",\"variant\":%d}\n", loop_name[i % LOOPS], i);
  }
  puts("{\"ready\":true}");
  fflush(stdout);
  while (fgets(line, sizeof line, stdin)) {
    int i = atoi(line);
    double s = 0;
    if (i < 0 || i >= count * LOOPS || v[i / LOOPS].failure[0])
      TG_FAIL(TG_EUSAGE, "there is no variant %d", i);
    variant *of = &v[i / LOOPS];
    TG_TRY(run_steps(of, i % LOOPS, of->steps[i % LOOPS], &s));
    printf("{\"variant\":%d,\"step_ms\":%.5f,\"steps\":%d}\n", i, s * 1e3, of->steps[i % LOOPS]);
    fflush(stdout);
  }
  return TG_OK;
}

/* ---- beginning and end ---- */

/* Where one variant cannot be had the others are measured; where none can, that is the failure. */
static tg_status open_variants(const options *o, const tg_dataset *set, variant *v, int *count) {
  static const char *const precision[] = {"bf16", "tf32", "fp32"};
  tg_status status = TG_OK;
  bool any = false;
  for (int i = 0; i < MAX_VARIANTS; i++) {
    variant *next = &v[*count];
    if (!strstr(o->precisions, precision[i / 2])) continue;
    *next = (variant){.precision = precision[i / 2], .deterministic = i % 2 == 0};
    status = open_variant(o, set, next);
    ++*count;
    if (status == TG_EUNAVAILABLE) return status;
    any |= status == TG_OK;
    if (status == TG_OK) continue;
    snprintf(next->failure, sizeof next->failure, "%s", tg_status_message());
    print_failure(o, next);
  }
  return any ? TG_OK : *count > 0 ? status : tg_status_set(TG_EUSAGE, "no precisions were named");
}

static tg_status describe(void) {
  tg_device *device;
  TG_TRY(tg_device_open("cuda", &device));
  printf("{\"bench\":\"device\",\"device\":\"%s\",\"pci\":\"%s\"}\n", tg_device_describe(device),
         device->backend->identity ? device->backend->identity(device) : "");
  tg_device_close(device);
  return TG_OK;
}

static tg_status run(const options *o) {
  static variant v[MAX_VARIANTS];
  tg_dataset set = {0};
  int count = 0;
  tg_device *probe;
  if (o->describe) return describe();
  TG_TRY(tg_device_open("cuda", &probe)); /* before images are made */
  tg_device_close(probe);
  tg_status status = make_set(o, &set);
  if (status == TG_OK) status = open_variants(o, &set, v, &count);
  if (status == TG_OK) status = o->paced ? answer(o, v, count) : take_turns(o, v, count);
  for (int i = 0; i < count; i++) close_variant(&v[i]);
  free((void *)set.pixels);
  free((void *)set.labels);
  return status;
}

static bool parse(int argc, char **argv, options *o) {
  static const struct option names[] = {{"precisions", required_argument, NULL, 'p'},
                                        {"seconds", required_argument, NULL, 's'},
                                        {"turns", required_argument, NULL, 't'},
                                        {"samples", required_argument, NULL, 'n'},
                                        {"paced", no_argument, NULL, 'P'},
                                        {"describe", no_argument, NULL, 'd'},
                                        {NULL, 0, NULL, 0}};
  for (int c; (c = getopt_long(argc, argv, "", names, NULL)) != -1;) {
    if (c == 'p') o->precisions = optarg;
    if (c == 's') o->seconds = atof(optarg);
    if (c == 't') o->turns = atoi(optarg);
    if (c == 'n') o->samples = (uint32_t)atoi(optarg);
    if (c == 'P') o->paced = true;
    if (c == 'd') o->describe = true;
    if (c == '?') return false;
  }
  if (argc > optind) o->model = argv[optind];
  if (argc > optind + 1) o->size = atoi(argv[optind + 1]);
  if (argc > optind + 2) o->batch = (uint32_t)atoi(argv[optind + 2]);
  return o->size > 0 && o->batch > 0 && o->turns > 0 && o->seconds >= 0;
}

int main(int argc, char **argv) {
  options o = {.model = "resnet20",
               .precisions = "fp32,tf32,bf16",
               .size = 32,
               .turns = 7,
               .batch = 128,
               .seconds = 0.3};
  if (!parse(argc, argv, &o)) {
    fputs("usage: bench_cuda_step [--precisions LIST] [--seconds S] [--turns N] [--samples N]\n"
          "                       [--paced] [--describe] [MODEL SIZE BATCH]\n",
          stderr);
    return TG_EUSAGE;
  }
  tg_status status = run(&o);
  return status == TG_OK ? 0 : failed("bench_cuda_step", status);
}
