/* bench_cuda_update.c - the fused update of update.h on a GPU against a copy within its memory.
 *
 * For some rules and optimisers: updates of 25.6 M parameters (ResNet-50's), in turns with copies
 * that move as many bytes, read and written ones counted. An update reads g and w and writes w
 * (12 bytes a parameter); a rule with a snapshot reads w_bak and writes it (8 more); a mean square
 * and a velocity are read and written (8 more each). A turn queues many of either and waits once,
 * as a training loop does; no vector stays in a cache of 50 MB until it is read again. The sums for
 * reports are made, as in training.
 *
 * One JSON object a line; `ratio` is of bandwidths, ours over the copy's: the median over turns.
 *
 *   bench_cuda_update [parameters [turns [seconds a turn]]]      exit 69: no GPU */
#include "turns.h"
#include "tardigrad/backend.h"

typedef struct update_case {
  const char *rule, *optimizer;
  size_t bytes; /* per parameter */
} update_case;

static const update_case cases[] = {
    {"sgd", "sgd", 12},       {"sgd", "momentum", 20},       {"asgd", "sgd", 20},
    {"dc-asgd-c", "sgd", 20}, {"dc-asgd-a", "sgd", 28},      {"dc-asgd-c", "momentum", 28},
    {"ssgd", "nesterov", 20}, {"dc-asgd-a", "momentum", 36},
};

enum { W, BAK, G, STATE, VELOCITY, VECTORS };
enum { COPY_BYTES = 18 }; /* per parameter: half of what the largest update moves */

typedef struct bench {
  tg_device *device;
  size_t n;
  int turns;
  double seconds;
  float *v[VECTORS];
  char *from, *to;
  tg_update_sums *sums;
  double *update, *copy; /* [turns] seconds each */
} bench;

static tg_status updates(bench *b, const tg_update *u, int count, double *each_s) {
  const tg_backend *backend = b->device->backend;
  double start = now_s();
  for (int i = 0; i < count; i++)
    TG_TRY(backend->update(b->device, u, (tg_span){0, b->n}, b->v[G], b->sums));
  TG_TRY(backend->sync(b->device));
  *each_s = (now_s() - start) / count;
  return TG_OK;
}

static tg_status copies(bench *b, size_t bytes, int count, double *each_s) {
  const tg_backend *backend = b->device->backend;
  double start = now_s();
  for (int i = 0; i < count; i++) TG_TRY(backend->copy(b->device, b->to, b->from, bytes));
  TG_TRY(backend->sync(b->device));
  *each_s = (now_s() - start) / count;
  return TG_OK;
}

static tg_status set_up_update(const bench *b, const update_case *c, tg_update *u) {
  *u = (tg_update){.hyper = {.lr = 1e-6f,
                             .lambda = 2,
                             .mean_square_decay = 0.95f,
                             .epsilon = 1e-7f,
                             .momentum = 0.9f,
                             .weight_decay = 1e-4f},
                   .w = b->v[W],
                   .slot = {b->v[VELOCITY]}};
  TG_TRY(tg_rule_find(c->rule, &u->rule));
  TG_TRY(tg_optimizer_find(c->optimizer, &u->optimizer));
  if (u->rule->scheme == TG_SCHEME_ASYNC) u->w_bak = u->bak_out = b->v[BAK];
  if (u->rule->has_state) u->rule_state = b->v[STATE];
  return TG_OK;
}

static void report(bench *b, const update_case *c, int count) {
  double ratio = median_ratio(b->copy, b->update, b->turns), s = median(b->update, b->turns);
  double gb_per_s = (double)(c->bytes * b->n) / 1e9 / s;
  printf("{\"bench\":\"cuda_update\",\"rule\":\"%s\",\"optimizer\":\"%s\",\"parameters\":%zu,"
         "\"bytes_per_parameter\":%zu,\"update_us\":%.2f,\"gb_per_s\":%.1f,\"copy_gb_per_s\":%.1f,"
         "\"ratio\":%.3f,\"bar\":0.9,\"met\":%s,\"turns\":%d,\"updates_a_turn\":%d}\n",
         c->rule, c->optimizer, b->n, c->bytes, s * 1e6, gb_per_s, gb_per_s / ratio, ratio,
         ratio >= 0.9 ? "true" : "false", b->turns, count);
  fflush(stdout);
}

static tg_status measure(bench *b, const update_case *c) {
  tg_update u;
  double each_s;
  size_t bytes = c->bytes * b->n / 2;
  TG_TRY(set_up_update(b, c, &u));
  TG_TRY(updates(b, &u, 3, &each_s)); /* the first loads the kernel */
  TG_TRY(updates(b, &u, 3, &each_s));
  TG_TRY(copies(b, bytes, 3, &each_s));
  int count = repetitions(b->seconds, each_s, 1, 10000);
  for (int i = 0; i < b->turns; i++) {
    TG_TRY(updates(b, &u, count, &b->update[i]));
    TG_TRY(copies(b, bytes, count, &b->copy[i]));
  }
  report(b, c, count);
  return TG_OK;
}

/* Small different numbers; zeros would do for the time, but not for the power that they draw. */
static tg_status fill(const bench *b) {
  float *host = malloc(b->n * sizeof *host);
  tg_status status = TG_OK;
  if (!host) TG_FAIL(TG_ERUNTIME, "no memory for %zu parameters", b->n);
  for (size_t i = 0; i < b->n; i++) host[i] = 1e-3f * (float)(1 + i % 7);
  for (int i = 0; i < VECTORS && status == TG_OK; i++)
    status = b->device->backend->to_device(b->device, b->v[i], host, b->n * sizeof *host);
  free(host);
  return status;
}

static tg_status set_up(bench *b) {
  TG_TRY(tg_device_open("cuda", &b->device));
  const tg_backend *backend = b->device->backend;
  for (int i = 0; i < VECTORS; i++)
    TG_TRY(backend->alloc(b->device, b->n * sizeof(float), (void **)&b->v[i]));
  TG_TRY(backend->alloc(b->device, COPY_BYTES * b->n, (void **)&b->from));
  TG_TRY(backend->alloc(b->device, COPY_BYTES * b->n, (void **)&b->to));
  TG_TRY(backend->alloc(b->device, sizeof *b->sums, (void **)&b->sums));
  b->update = calloc((size_t)b->turns, sizeof *b->update);
  b->copy = calloc((size_t)b->turns, sizeof *b->copy);
  if (!b->update || !b->copy) TG_FAIL(TG_ERUNTIME, "no memory for %d turns", b->turns);
  return fill(b);
}

static tg_status run(bench *b) {
  TG_TRY(set_up(b));
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) TG_TRY(measure(b, &cases[i]));
  return TG_OK;
}

static void tear_down(bench *b) {
  void *memory[] = {b->v[W],        b->v[BAK], b->v[G], b->v[STATE],
                    b->v[VELOCITY], b->from,   b->to,   b->sums};
  for (size_t i = 0; b->device && i < sizeof memory / sizeof *memory; i++)
    if (memory[i]) b->device->backend->free(b->device, memory[i]);
  tg_device_close(b->device);
  free(b->update);
  free(b->copy);
}

int main(int argc, char **argv) {
  bench b = {.n = argc > 1 ? strtoull(argv[1], NULL, 10) : 25600000,
             .turns = argc > 2 ? atoi(argv[2]) : 11,
             .seconds = argc > 3 ? atof(argv[3]) : 0.02};
  if (b.n < 1 || b.turns < 1) {
    fputs("usage: bench_cuda_update [parameters [turns [seconds a turn]]]\n", stderr);
    return TG_EUSAGE;
  }
  tg_status status = run(&b);
  tear_down(&b);
  return status == TG_OK ? 0 : failed("bench_cuda_update", status);
}
