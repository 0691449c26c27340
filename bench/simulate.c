/* simulate.c - the program's server, synchronous loop and mpi transport with a worker that naps
 * instead of computing: the same source runs under mpirun and under SimGrid's SMPI, where naps cost
 * nothing and ranks may be thousands.
 *
 * The gradient is that of a quadratic, so that weights are real numbers and a run has a hash; what
 * a gradient costs is a nap of lognormal length, a pure function of (worker, step). Rank 0 prints
 * one JSON object about the updates between the first rounds and the last: throughput, staleness,
 * and how long the server had something to do.
 *
 *   simulate RULE [key=value ...]     keys and defaults: below */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "simulate.h"
#include "tardigrad/arena.h"
#include "tardigrad/rng.h"
#include "tardigrad/sync.h"

/* Rounds that are not counted: until every worker has pushed twice (in step: once), and the last.
 */
enum { BEFORE = 2, BEFORE_IN_STEP = 1, AFTER = 1 };
enum { STRETCH = 4 /* rounds */ };

typedef struct keys {
  double parameters, batch;
  double rounds; /* gradients per worker */
  double gradient_s, sigma, seed;
  double update_ns, test_ns, some_ns; /* simulate.h */
  double lr, timeout_s;
} keys;

static const keys defaults = {.parameters = 269722, /* ResNet-20 */
                              .batch = 128,
                              .rounds = 8,
                              .gradient_s = 0.1,
                              .sigma = 0.1,
                              .seed = 1,
                              .lr = 1e-4,
                              .timeout_s = 600};

typedef struct bench {
  keys k;
  tg_world world;
  const tg_rule *rule;
  const tg_optimizer *optimizer;
  uint32_t workers;
  uint64_t updates, first, last; /* those after `first` and up to `last` are counted */
  const tg_transport *mpi;
  tg_transport transport; /* the same, its recv timed */
  tg_comm *comm;
  /* of the counted updates */
  double idle_s, began, ended, compute_s, wait_s;
  uint64_t *staleness; /* [updates] histogram */
  double *at;          /* [updates * workers at most] when each counted gradient was applied */
  uint64_t counted;
  uint32_t print; /* of the final weights */
} bench;

static bench b;

/* ---- keys ---- */

static tg_status parse(const char *text, keys *k) {
  const struct {
    const char *name;
    double *to;
  } table[] = {{"parameters", &k->parameters}, {"batch", &k->batch},
               {"rounds", &k->rounds},         {"gradient_s", &k->gradient_s},
               {"sigma", &k->sigma},           {"seed", &k->seed},
               {"update_ns", &k->update_ns},   {"test_ns", &k->test_ns},
               {"some_ns", &k->some_ns},       {"lr", &k->lr},
               {"timeout_s", &k->timeout_s}};
  size_t length = strcspn(text, "=");
  for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
    if (strlen(table[i].name) != length || strncmp(text, table[i].name, length) != 0) continue;
    char *end = NULL;
    *table[i].to = text[length] ? strtod(text + length + 1, &end) : NAN;
    if (end && end > text + length + 1 && *end == '\0' && *table[i].to >= 0) return TG_OK;
    TG_FAIL(TG_EUSAGE, "%s: a number from 0 on is wanted, as %s=1", text, table[i].name);
  }
  TG_FAIL(TG_EUSAGE, "%s: no such key", text);
}

static tg_status read_arguments(int argc, char **argv) {
  b.k = defaults;
  if (argc < 2) TG_FAIL(TG_EUSAGE, "simulate RULE [key=value ...], by mpirun or smpirun");
  for (int i = 2; i < argc; i++) TG_TRY(parse(argv[i], &b.k));
  TG_TRY(tg_rule_find(argv[1], &b.rule));
  const tg_rule *r = b.rule;
  bool answers = r->scheme == TG_SCHEME_ASYNC && !r->takes && !r->gathers && !r->runs;
  if (r->local_steps || !(answers || (r->scheme == TG_SCHEME_SYNC && !r->votes)))
    TG_FAIL(TG_EUSAGE,
            "rule %s is not simulated: ssgd is, and rules that answer every gradient at once",
            r->name);
  if (b.world.size < 2) TG_FAIL(TG_EUSAGE, "a server and at least one worker are two ranks");
  int before = b.rule->scheme == TG_SCHEME_SYNC ? BEFORE_IN_STEP : BEFORE;
  if (b.k.rounds < before + AFTER + 1)
    TG_FAIL(TG_EUSAGE, "rounds=%g: at least %d for rule %s", b.k.rounds, before + AFTER + 1,
            b.rule->name);
  if (b.k.parameters < 1 || b.k.batch < 1)
    TG_FAIL(TG_EUSAGE, "parameters=%g, batch=%g: at least 1", b.k.parameters, b.k.batch);
  return tg_optimizer_find("sgd", &b.optimizer);
}

/* ---- what computes ---- */

static float curvature(size_t i) {
  return 0.5f + (float)(i & 1023) / 1024;
}

/* The mean is gradient_s. */
static double length_of(uint32_t worker, uint64_t step) {
  tg_rng r = tg_rng_open((uint64_t)b.k.seed, TG_RNG_SIM, worker, step);
  return b.k.gradient_s * exp(b.k.sigma * tg_rng_normal(&r) - b.k.sigma * b.k.sigma / 2);
}

static tg_status gradient(tg_compute *c, uint32_t worker, uint64_t step, const float *w,
                          double *loss_sum, uint64_t *correct) {
  double began = tg_clock_s(), length = length_of(worker, step), loss = 0;
  for (size_t i = 0; i < c->n; i++) c->g[i] = curvature(i) * (w[i] - 1);
  for (size_t i = 0; i < c->n; i += 1000) loss += 0.5 * c->g[i] * (w[i] - 1);
  *loss_sum = loss;
  *correct = 0;
  length -= tg_clock_s() - began;
  if (length > 0) tg_nap(length);
  return TG_OK;
}

static tg_status evaluate(tg_compute *c, const float *w, const float *running, double *loss_sum,
                          uint64_t *correct, uint32_t *samples) {
  (void)c, (void)w, (void)running;
  *loss_sum = 0;
  *correct = *samples = 0;
  return TG_OK;
}

/* ---- what is counted ---- */

static bool counts(uint64_t update) {
  return update > b.first && update <= b.last;
}

static tg_status timed_recv(tg_comm *comm, tg_msg *out) {
  double began = tg_clock_s();
  TG_TRY(b.mpi->recv(comm, out));
  if (b.began > 0 && b.ended == 0) b.idle_s += tg_clock_s() - began;
  return TG_OK;
}

static tg_status handled(void *self, const tg_msg *in, const tg_server_event *event,
                         bool *preempt) {
  (void)self, (void)preempt;
  if (!event->applied) return TG_OK;
  if (b.began == 0 && event->update >= b.first) b.began = tg_clock_s();
  if (b.ended == 0 && event->update >= b.last) b.ended = tg_clock_s();
  if (!counts(event->update)) return TG_OK;
  b.at[b.counted++] = tg_clock_s();
  b.compute_s += in->compute_s;
  b.wait_s += in->wait_s;
  b.staleness[event->staleness < b.updates ? event->staleness : b.updates - 1]++;
  return TG_OK;
}

static void print_weights(const float *w) {
  uint32_t hash = 2166136261u;
  for (size_t i = 0; i < (size_t)b.k.parameters; i++) {
    uint32_t bits;
    memcpy(&bits, &w[i], sizeof bits);
    hash = (hash ^ bits) * 16777619u;
  }
  b.print = hash;
}

static uint64_t staleness_at(double part) {
  uint64_t seen = 0, at = 0;
  while (at + 1 < b.updates && (double)(seen += b.staleness[at]) < part * (double)b.counted) at++;
  return at;
}

/* Gradients per second of the fastest stretch of some rounds: on a machine that others use too, the
 * one least disturbed. */
static double best_stretch(void) {
  double best = 0;
  uint64_t length = (uint64_t)b.workers * STRETCH;
  for (uint64_t i = 0; i + length < b.counted; i++)
    best = fmax(best, (double)length / (b.at[i + length] - b.at[i]));
  return best;
}

static void report(void) {
  double seconds = b.ended - b.began, mean = 0;
  uint64_t most = 0;
  for (uint64_t i = 0; i < b.updates; i++) {
    mean += (double)i * (double)b.staleness[i] / (double)b.counted;
    if (b.staleness[i]) most = i;
  }
  bool serves = b.rule->scheme == TG_SCHEME_ASYNC;
  double bytes = serves ? 2 * 4 * b.k.parameters * (double)b.counted : 0;
  printf("{\"bench\":\"simulate\",\"world\":\"%s\",\"rule\":\"%s\",\"ranks\":%d,\"workers\":%u,"
         "\"parameters\":%.0f,\"batch\":%.0f,\"rounds\":%.0f,\"gradient_s\":%g,\"sigma\":%g,"
         "\"update_ns\":%g,\"test_ns\":%g,\"some_ns\":%g,",
         simulate_world, b.rule->name, b.world.size, b.workers, b.k.parameters, b.k.batch,
         b.k.rounds, b.k.gradient_s, b.k.sigma, b.k.update_ns, b.k.test_ns, b.k.some_ns);
  printf("\"gradients\":%llu,\"seconds\":%.9f,\"images_per_s\":%.3f,\"gradients_per_s\":%.3f,"
         "\"gradients_per_s_best\":%.3f,"
         "\"staleness_mean\":%.3f,\"staleness_p99\":%llu,\"staleness_max\":%llu,",
         (unsigned long long)b.counted, seconds, (double)b.counted * b.k.batch / seconds,
         (double)b.counted / seconds, best_stretch(), mean, (unsigned long long)staleness_at(0.99),
         (unsigned long long)most);
  if (serves)
    printf("\"server_busy\":%.4f,\"server_bytes_per_s\":%.0f,", 1 - b.idle_s / seconds,
           bytes / seconds);
  else
    printf("\"server_busy\":null,\"server_bytes_per_s\":null,");
  printf("\"compute_share\":%.4f,\"print\":\"%08x\"}\n", b.compute_s / (b.compute_s + b.wait_s),
         b.print);
  fflush(stdout);
}

/* ---- the two schemes ---- */

static tg_hyper hyper_of(void) {
  return (tg_hyper){.lambda = b.rule->default_lambda, .mean_square_decay = 0.95f, .epsilon = 1e-7f};
}

static tg_status serve(const float *w0) {
  tg_server_options o = {.rule = b.rule,
                         .optimizer = b.optimizer,
                         .schedule = {.lr = b.k.lr},
                         .hyper = hyper_of(),
                         .workers = b.workers,
                         .n = (size_t)b.k.parameters,
                         .batch = (uint32_t)b.k.batch,
                         .train_count = (uint64_t)b.k.batch,
                         .epochs = (double)b.updates};
  tg_observer observer = {.handled = handled};
  tg_serve_options options = {.transport = &b.transport,
                              .comm = b.comm,
                              .workers = b.workers,
                              .n = o.n,
                              .observer = &observer};
  TG_TRY(tg_server_create(&o, w0, NULL, &options.server));
  tg_status status = tg_serve(&options);
  print_weights(tg_server_state_of(options.server).w);
  tg_server_destroy(options.server);
  return status;
}

static tg_status in_step(tg_compute *compute, const float *w0) {
  bool works = b.world.rank > 0;
  tg_sync_options o = {.rule = b.rule,
                       .optimizer = b.optimizer,
                       .schedule = {.lr = b.k.lr},
                       .hyper = hyper_of(),
                       .workers = b.workers,
                       .n = (size_t)b.k.parameters,
                       .batch = (uint32_t)b.k.batch,
                       .train_count = (uint64_t)b.k.batch * b.workers,
                       .epochs = (double)b.updates,
                       .first = works ? (uint32_t)b.world.rank - 1 : 0,
                       .count = works,
                       .compute = works ? compute : NULL};
  tg_observer observer = {.handled = handled};
  tg_sync *sync;
  TG_TRY(tg_sync_create(&o, w0, NULL, &sync));
  tg_status status = tg_sync_run(sync, &b.transport, b.comm, works ? NULL : &observer);
  if (!works) print_weights(tg_sync_state_of(sync).w);
  tg_sync_destroy(sync);
  return status;
}

static tg_status work(void) {
  uint32_t flags;
  return b.transport.work(b.comm, &flags);
}

static tg_status prepare(tg_compute *compute) {
  size_t n = (size_t)b.k.parameters;
  bool serves = b.rule->scheme == TG_SCHEME_ASYNC;
  uint64_t rounds = (uint64_t)b.k.rounds, per_round;
  b.workers = (uint32_t)b.world.size - 1;
  per_round = serves ? b.workers : 1;
  b.updates = rounds * per_round;
  b.first = serves ? BEFORE * per_round : BEFORE_IN_STEP;
  b.last = (rounds - AFTER) * per_round;
  b.staleness = calloc(b.updates, sizeof *b.staleness);
  b.at = calloc(rounds * b.workers, sizeof *b.at);
  *compute = (tg_compute){.n = n, .batch = (uint32_t)b.k.batch};
  compute->gradient = gradient;
  compute->evaluate = evaluate;
  compute->g = tg_alloc_aligned(n * sizeof(float));
  compute->s = tg_alloc_aligned(0);
  if (!b.staleness || !b.at || !compute->g || !compute->s)
    TG_FAIL(TG_ERUNTIME, "no memory for vectors of %zu parameters", n);
  return TG_OK;
}

static tg_status run(void) {
  tg_compute compute;
  TG_TRY(prepare(&compute));
  simulate_charge(&(simulate_costs){.update_s = 1e-9 * b.k.update_ns,
                                    .test_s = 1e-9 * b.k.test_ns,
                                    .some_s = 1e-9 * b.k.some_ns});
  tg_comm_options o = {
      .workers = b.workers, .n = compute.n, .timeout_s = b.k.timeout_s, .compute = &compute};
  TG_TRY(tg_transport_find("mpi", &b.mpi));
  b.transport = *b.mpi;
  b.transport.recv = timed_recv;
  TG_TRY(b.transport.open(&o, &b.comm));
  float *w0 = tg_alloc_aligned(compute.n * sizeof(float));
  if (!w0) TG_FAIL(TG_ERUNTIME, "no memory for %zu parameters", compute.n);
  tg_status status = b.rule->scheme == TG_SCHEME_SYNC ? in_step(&compute, w0)
                     : b.world.rank == 0              ? serve(w0)
                                                      : work();
  TG_TRY(status);
  b.transport.close(b.comm);
  if (b.world.rank == 0) report();
  free(compute.g);
  free(compute.s);
  free(w0);
  free(b.staleness);
  free(b.at);
  return TG_OK;
}

int main(int argc, char **argv) {
  tg_status status = tg_world_start(true, &b.world);
  if (status == TG_OK) status = tg_world_agree(read_arguments(argc, argv));
  if (status != TG_OK) {
    if (b.world.rank == 0) fprintf(stderr, "simulate: %s\n", tg_status_message());
    tg_world_end();
    return (int)status;
  }
  status = run();
  if (status != TG_OK) {
    fprintf(stderr, "simulate: rank %d: %s\n", b.world.rank, tg_status_message());
    tg_world_abort(status);
  }
  tg_world_end();
  return 0;
}
