/* bench_paths.c - an update in path space (paths.h) beside an update by sgd, of a model's
 * parameters.
 *
 * Counted as STREAM counts, sgd moves 12 bytes per parameter: w and g are read, w is written. gsgd
 * reads w and g once more where a weight's path may leave the special layer by another one: 20
 * bytes there, 12 elsewhere. Beside them, in the same turns, a[i] += s b[i] of as many elements
 * ("axpy", 12 bytes each) says what memory gives just then: a floor is the bytes over that.
 *
 * One JSON object a line. Ratios are medians over turns, each of one update beside the other, so
 * that what else the machine does meanwhile hits both. "published" is gsgd with the norms of
 * weights, "server" both updates as a server makes them: out of a ring, and copied to what workers
 * are sent.
 *
 *   bench_paths [turns [model...]] */
#include <omp.h>
#include <string.h>

#include "tardigrad/arena.h"
#include "tardigrad/model.h"
#include "tardigrad/paths.h"
#include "tardigrad/update.h"
#include "turns.h"

enum { W, G, BAK, WHOLE, AXPY_A, AXPY_B, VECTORS };

typedef struct bench {
  const char *model;
  tg_graph *graph;
  tg_paths *paths;
  tg_layout layout;
  size_t n;
  int turns;
  float *v[VECTORS];
  double *sgd, *gsgd, *axpy, *scratch; /* [turns] seconds */
} bench;

static tg_status bench_open(bench *b) {
  tg_model_options o = {.channels = 3, .height = 32, .width = 32, .classes = 10, .batch = 1};
  TG_TRY(tg_model_build(b->model, &o, &b->graph));
  TG_TRY(tg_paths_create(b->graph, &b->paths));
  TG_TRY(tg_paths_check(b->paths, b->model));
  b->layout.paths = b->paths;
  b->n = b->graph->n;
  for (int i = 0; i < VECTORS; i++) {
    b->v[i] = tg_alloc_aligned(b->n * sizeof(float));
    if (!b->v[i]) TG_FAIL(TG_ERUNTIME, "no memory for %zu parameters", b->n);
    for (size_t k = 0; k < b->n; k++) b->v[i][k] = 1e-3f * (float)(1 + k % 7);
  }
  double **seconds[] = {&b->sgd, &b->gsgd, &b->axpy, &b->scratch};
  for (int i = 0; i < 4; i++) {
    *seconds[i] = calloc((size_t)b->turns, sizeof(double));
    if (!*seconds[i]) TG_FAIL(TG_ERUNTIME, "no memory for %d turns", b->turns);
  }
  return tg_paths_init(b->paths, TG_SKELETON_ONES, b->v[W]);
}

static void bench_close(bench *b) {
  for (int i = 0; i < VECTORS; i++) free(b->v[i]);
  free(b->sgd);
  free(b->gsgd);
  free(b->axpy);
  free(b->scratch);
  tg_paths_destroy(b->paths);
  tg_graph_destroy(b->graph);
}

/* Parameters that gsgd reads twice. */
static size_t twice(const tg_paths *paths) {
  size_t count = 0;
  for (size_t i = 0; i < paths->count; i++)
    for (int l = 1; l <= paths->block[i].count; l++) {
      const tg_path_layer *y = &paths->block[i].layer[l - 1];
      if (l != paths->block[i].special) count += y->out * y->in * y->taps;
    }
  return count;
}

static tg_status update(bench *b, const tg_update *u, double *seconds) {
  tg_update_sums sums = {0};
  double start = now_s();
  tg_update_apply(u, (tg_span){0, b->n}, b->v[G], &sums);
  if (u->optimizer->whole)
    TG_TRY(tg_update_whole(u, &b->layout, b->n, u->whole ? u->whole : b->v[G], &sums));
  *seconds = now_s() - start;
  return TG_OK;
}

static double axpy(bench *b) {
  float *restrict x = b->v[AXPY_A];
  const float *restrict y = b->v[AXPY_B];
  double start = now_s();
#pragma omp parallel for simd schedule(static)
  for (size_t i = 0; i < b->n; i++) x[i] += 1e-6f * y[i];
  return now_s() - start;
}

/* One at a time: what a median sorts. */
static double *copy(bench *b, const double *seconds) {
  return memcpy(b->scratch, seconds, (size_t)b->turns * sizeof *seconds);
}

static void print(bench *b, const char *how) {
  double bytes = 12 + 8 * (double)twice(b->paths) / (double)b->n, over_axpy[2];
  double sgd = median(copy(b, b->sgd), b->turns), gsgd = median(copy(b, b->gsgd), b->turns);
  double ratio = median_ratio(copy(b, b->gsgd), b->sgd, b->turns);
  over_axpy[0] = median_ratio(copy(b, b->sgd), b->axpy, b->turns);
  over_axpy[1] = median_ratio(copy(b, b->gsgd), b->axpy, b->turns);
  printf("{\"bench\":\"paths\",\"model\":\"%s\",\"how\":\"%s\",\"parameters\":%zu,\"threads\":%d,"
         "\"turns\":%d,\"sgd_s\":%.6f,\"gsgd_s\":%.6f,\"axpy_s\":%.6f,",
         b->model, how, b->n, omp_get_max_threads(), b->turns, sgd, gsgd,
         median(copy(b, b->axpy), b->turns));
  printf("\"floor_bytes\":[12,%.2f],\"floor_ratio\":%.3f,\"sgd_over_axpy\":%.3f,"
         "\"gsgd_over_axpy\":%.3f,\"ratio\":%.3f}\n",
         bytes, bytes / 12, over_axpy[0], over_axpy[1], ratio);
}

static tg_status measure(bench *b, const char *how) {
  bool published = strcmp(how, "published") == 0, server = strcmp(how, "server") == 0;
  tg_update sgd = {.hyper = {.lr = 1e-6f, .weight_decay = 1e-4f}, .w = b->v[W]};
  sgd.hyper.keys.path_norm = published;
  sgd.hyper.keys.path_clamp = 0.1f;
  TG_TRY(tg_rule_find(server ? "asgd" : "sgd", &sgd.rule));
  if (server) sgd.w_bak = sgd.bak_out = b->v[BAK];
  tg_update gsgd = sgd;
  if (server) gsgd.whole = b->v[WHOLE];
  TG_TRY(tg_optimizer_find("sgd", &sgd.optimizer));
  TG_TRY(tg_optimizer_find("gsgd", &gsgd.optimizer));
  for (int i = -2; i < b->turns; i++) { /* the first turns warm up */
    int at = i < 0 ? 0 : i;
    TG_TRY(update(b, &sgd, &b->sgd[at]));
    TG_TRY(update(b, &gsgd, &b->gsgd[at]));
    b->axpy[at] = axpy(b);
  }
  print(b, how);
  return TG_OK;
}

static tg_status run(const char *model, int turns) {
  static const char *const how[] = {"exact", "published", "server"};
  tg_status status = TG_OK;
  bench b = {.model = model, .turns = turns};
  TG_DO(bench_open(&b));
  for (size_t i = 0; i < sizeof how / sizeof how[0]; i++) TG_DO(measure(&b, how[i]));
done:
  bench_close(&b);
  return status;
}

int main(int argc, char **argv) {
  const char *usual[] = {"resnet34", "plain34"};
  int turns = argc > 1 ? atoi(argv[1]) : 41;
  int count = argc > 2 ? argc - 2 : 2;
  if (turns < 1) {
    fputs("usage: bench_paths [turns [model...]]\n", stderr);
    return 2;
  }
  for (int i = 0; i < count; i++) {
    tg_status status = run(argc > 2 ? argv[2 + i] : usual[i], turns);
    if (status != TG_OK) return failed("bench_paths", status);
  }
  return 0;
}
