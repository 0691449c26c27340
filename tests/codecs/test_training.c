/* Training with codecs, in step and late, against the whole of it in double: 120 updates. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tardigrad/serve.h"
#include "tardigrad/sync.h"
#include "tools.h"

enum { N = 131, WORKERS = 3, BATCH = 4, STEPS = 120 };
static const float LR = 0.004f, DECAY = 0.01f;

/* ---- a problem that both sides know ---- */

static double curvature(size_t i) {
  return 0.2 + (double)(i * 37 % 50) / 50;
}

static double noise(uint32_t worker, uint64_t step, size_t i) {
  uint32_t h = (uint32_t)i * 2654435761u + worker * 40503u + (uint32_t)step * 2246822519u;
  h = (h ^ h >> 15) * 0x2C1B3C6Du;
  h = (h ^ h >> 12) * 0x297A2D39u;
  return (double)(h >> 8) / (1 << 23) - 1;
}

static tg_status gradient(tg_compute *c, uint32_t worker, uint64_t step, const float *w,
                          double *loss_sum, uint64_t *correct) {
  for (size_t i = 0; i < c->n; i++)
    c->g[i] = (float)(curvature(i) * ((double)w[i] - 0.5) + noise(worker, step, i));
  *loss_sum = 1;
  *correct = 0;
  return TG_OK;
}

static tg_status evaluate(tg_compute *c, const float *w, const float *b, double *loss_sum,
                          uint64_t *correct, uint32_t *samples) {
  (void)c, (void)w, (void)b;
  *loss_sum = 1;
  *correct = 0;
  *samples = 1;
  return TG_OK;
}

static tg_compute problem(float *g) {
  return (tg_compute){.n = N, .batch = BATCH, .g = g, .gradient = gradient, .evaluate = evaluate};
}

/* ---- codecs in double ---- */

typedef struct ref_codec {
  const tg_codec_options *o;
  double a[WORKERS][N], b[WORKERS][N]; /* momentum or error; residual */
} ref_codec;

typedef void (*ref_encode)(ref_codec *r, uint32_t m, uint64_t step, const double *g, double *q);

static double sign_of(double x, size_t i, uint64_t step) {
  if (x == 0) return (i + step) % 2 ? -1 : 1;
  return x < 0 ? -1 : 1;
}

static void ref_signs(ref_codec *r, uint32_t m, uint64_t step, const double *g, double *q) {
  double mu = r->o->momentum;
  for (size_t i = 0; i < N; i++) {
    r->a[m][i] = mu * r->a[m][i] + (1 - mu) * g[i];
    q[i] = sign_of(mu > 0 ? r->a[m][i] : g[i], i, step);
  }
}

static void ref_levels(ref_codec *r, uint32_t m, uint64_t step, const double *g, double *q) {
  const tg_codec_options *o = r->o;
  tg_rng rng = tg_rng_open(o->seed, TG_RNG_CODEC, step, m);
  for (size_t lo = 0; lo < N; lo += o->bucket) {
    size_t hi = lo + o->bucket < N ? lo + o->bucket : N;
    double square = 0, v[N];
    for (size_t i = lo; i < hi; i++) {
      v[i] = g[i] + o->alpha * r->a[m][i];
      square += v[i] * v[i];
    }
    for (size_t i = lo; i < hi; i++) {
      double x = fabs(v[i]) / sqrt(square) * o->levels, u = tg_rng_float(&rng);
      q[i] = copysign((floor(x) + (u < x - floor(x))) / o->levels * sqrt(square), v[i]);
      r->a[m][i] = o->beta * r->a[m][i] + (g[i] - q[i]);
    }
  }
}

static void ref_largest(ref_codec *r, uint32_t m, uint64_t step, const double *g, double *q) {
  const tg_codec_options *o = r->o;
  double *u = r->a[m], *v = r->b[m];
  (void)step;
  for (size_t i = 0; i < N; i++) {
    u[i] = o->momentum * u[i] + g[i];
    v[i] += u[i];
    q[i] = 0;
  }
  for (size_t k = (size_t)(o->fraction * N + 0.5); k > 0; k--) {
    size_t most = 0;
    for (size_t i = 1; i < N; i++)
      if (fabs(v[i]) > fabs(v[most])) most = i;
    q[most] = v[most];
    v[most] = 0;
    if (o->masking) u[most] = 0;
  }
}

static const struct {
  const char *rule, *codec;
  ref_encode encode;
  float momentum, alpha;
  double fraction;
} variants[] = {
    {"signsgd", "signsgd", ref_signs, 0, 0, 0},   {"signsgd", "signsgd", ref_signs, 0.9f, 0, 0},
    {"ssgd", "signsgd", ref_signs, 0, 0, 0},      {"ssgd", "qsgd", ref_levels, 0, 0, 0},
    {"ssgd", "ecq", ref_levels, 0, 0.2f, 0},      {"ssgd", "topk", ref_largest, 0, 0, 0.1},
    {"ssgd", "topk", ref_largest, 0.9f, 0, 0.05}, {"asgd", "signsgd", ref_signs, 0.5f, 0, 0},
    {"asgd", "qsgd", ref_levels, 0, 0, 0},        {"asgd", "ecq", ref_levels, 0, 0.2f, 0},
    {"asgd", "topk", ref_largest, 0.9f, 0, 0.1},
};
enum { VARIANTS = sizeof variants / sizeof *variants };

static tg_codec_options options_of(int i) {
  tg_codec_options o = codec_defaults(N);
  o.momentum = variants[i].momentum;
  o.alpha = variants[i].alpha;
  o.fraction = variants[i].fraction;
  return o;
}

static void ref_gradient(uint32_t m, uint64_t step, const double *w, double *g) {
  for (size_t i = 0; i < N; i++) g[i] = curvature(i) * (w[i] - 0.5) + noise(m, step, i);
}

static void ref_apply(double *w, const double *g) {
  for (size_t i = 0; i < N; i++) w[i] -= (double)LR * (g[i] + (double)DECAY * w[i]);
}

/* All workers at the same weights; then the mean, or the sign of the sum. */
static void ref_in_step(int variant, ref_codec *r, double *w) {
  bool votes = strcmp(variants[variant].rule, "signsgd") == 0;
  for (uint64_t step = 0; step < STEPS; step++) {
    double sum[N] = {0}, g[N], q[N];
    for (uint32_t m = 0; m < WORKERS; m++) {
      ref_gradient(m, step, w, g);
      variants[variant].encode(r, m, step, g, q);
      for (size_t i = 0; i < N; i++) sum[i] += q[i];
    }
    for (size_t i = 0; i < N; i++) sum[i] = votes ? sign_of(sum[i], i, step) : sum[i] / WORKERS;
    ref_apply(w, sum);
  }
}

/* One after the other, each at what it was given last. */
static void ref_late(int variant, ref_codec *r, double *w) {
  double given[WORKERS][N], g[N], q[N];
  for (uint32_t m = 0; m < WORKERS; m++) memcpy(given[m], w, sizeof given[m]);
  for (uint64_t t = 0; t < STEPS; t++) {
    uint32_t m = (uint32_t)(t % WORKERS);
    ref_gradient(m, t / WORKERS, given[m], g);
    variants[variant].encode(r, m, t / WORKERS, g, q);
    ref_apply(w, q);
    memcpy(given[m], w, sizeof given[m]);
  }
}

/* ---- the same by the program ---- */

static void run_in_step(const tg_sync_options *o, const float *w0, float *w) {
  tg_sync *sync;
  const tg_transport *sim;
  tg_comm *comm;
  tg_comm_options options = {
      .workers = WORKERS, .n = N, .compute = o->compute, .worker = o->worker};
  options.sim.compute_s = 1;
  ck_ok(tg_transport_find("sim", &sim));
  ck_ok(sim->open(&options, &comm));
  ck_ok(tg_sync_create(o, w0, NULL, &sync));
  ck_ok(tg_sync_run(sync, sim, comm, NULL));
  memcpy(w, tg_sync_state_of(sync).w, N * sizeof *w);
  ck_assert_uint_eq(tg_sync_state_of(sync).update, STEPS);
  tg_sync_destroy(sync);
  sim->close(comm);
}

static void run_late(const tg_sync_options *o, const float *w0, float *w) {
  tg_server *server;
  tg_serve_options serve = {.workers = WORKERS, .n = N};
  tg_comm_options options = {
      .workers = WORKERS, .n = N, .compute = o->compute, .worker = o->worker};
  tg_server_options so = {.rule = o->rule,
                          .optimizer = o->optimizer,
                          .schedule = o->schedule,
                          .hyper = o->hyper,
                          .workers = WORKERS,
                          .n = N,
                          .batch = BATCH,
                          .train_count = o->train_count,
                          .epochs = (double)STEPS / WORKERS};
  options.sim.compute_s = 1;
  ck_ok(tg_transport_find("sim", &serve.transport));
  ck_ok(serve.transport->open(&options, &serve.comm));
  float none = 0;
  ck_ok(tg_server_create(&so, w0, &none, &server));
  serve.server = server;
  ck_ok(tg_serve(&serve));
  memcpy(w, tg_server_state_of(server).w, N * sizeof *w);
  tg_server_destroy(server);
  serve.transport->close(serve.comm);
}

static void run(const char *rule, const char *optimizer, tg_coder *coder, float *w) {
  float g[N] = {0}, w0[N];
  tg_compute compute = problem(g);
  tg_sync_options o = {.schedule = {.lr = LR},
                       .hyper = {.weight_decay = DECAY, .momentum = 0.9f},
                       .workers = WORKERS,
                       .n = N,
                       .batch = BATCH,
                       .train_count = BATCH * WORKERS,
                       .epochs = STEPS,
                       .count = WORKERS,
                       .compute = &compute,
                       .worker = {.coder = coder}};
  ck_ok(tg_rule_find(rule, &o.rule));
  ck_ok(tg_optimizer_find(optimizer, &o.optimizer));
  for (size_t i = 0; i < N; i++) w0[i] = (float)noise(9, 9, i);
  if (o.rule->scheme == TG_SCHEME_SYNC)
    run_in_step(&o, w0, w);
  else
    run_late(&o, w0, w);
}

START_TEST(trains_as_in_double) {
  tg_codec_options o = options_of(_i);
  tg_coder *coder = coder_open(variants[_i].codec, &o, WORKERS);
  ref_codec *ref = calloc(1, sizeof *ref);
  float w[N];
  double expected[N], moved = 0;
  ref->o = &o;
  for (size_t i = 0; i < N; i++) expected[i] = (float)noise(9, 9, i);
  run(variants[_i].rule, "sgd", coder, w);
  if (strcmp(variants[_i].rule, "asgd") == 0)
    ref_late(_i, ref, expected);
  else
    ref_in_step(_i, ref, expected);
  for (size_t i = 0; i < N; i++) {
    ck_assert_msg(fabs(w[i] - expected[i]) <= 1e-5, "%s, %s: weight %zu is %.9g, in double %.9g",
                  variants[_i].rule, variants[_i].codec, i, w[i], expected[i]);
    moved += fabs(expected[i] - noise(9, 9, i));
  }
  ck_assert_double_gt(moved, 0.1);
  tg_coder_destroy(coder);
  free(ref);
}
END_TEST

/* Everything sent and masked: as if there were no codec, to the bit. */
START_TEST(topk_of_everything_is_none) {
  const char *const rules[] = {"ssgd", "asgd", "dc-asgd-a"};
  tg_codec_options o = codec_defaults(N);
  o.fraction = 1;
  o.momentum = 0.9f;
  tg_coder *coder = coder_open("topk", &o, WORKERS);
  float w[N], expected[N];
  run(rules[_i], "momentum", coder, w);
  run(rules[_i], "momentum", NULL, expected);
  ck_assert_mem_eq(w, expected, sizeof w);
  tg_coder_destroy(coder);
}
END_TEST

/* A vote needs a codec that knows one. */
START_TEST(votes_need_signs) {
  tg_codec_options o = codec_defaults(N);
  tg_coder *coder = coder_open("qsgd", &o, WORKERS);
  float g[N], w0[N] = {0};
  tg_compute compute = problem(g);
  tg_sync *sync;
  tg_sync_options s = {.workers = WORKERS,
                       .n = N,
                       .batch = BATCH,
                       .train_count = 100,
                       .count = WORKERS,
                       .compute = &compute,
                       .worker = {.coder = coder}};
  ck_ok(tg_rule_find("signsgd", &s.rule));
  ck_ok(tg_optimizer_find("sgd", &s.optimizer));
  ck_assert_int_eq(tg_sync_create(&s, w0, NULL, &sync), TG_ECONFIG);
  s.worker.coder = NULL;
  ck_assert_int_eq(tg_sync_create(&s, w0, NULL, &sync), TG_ECONFIG);
  tg_coder_destroy(coder);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("training with codecs");
  TCase *tc = tcase_create("training");
  tcase_add_loop_test(tc, trains_as_in_double, 0, VARIANTS);
  tcase_add_loop_test(tc, topk_of_everything_is_none, 0, 3);
  tcase_add_test(tc, votes_need_signs);
  suite_add_tcase(suite, tc);
  return fixture_run(suite, 0) != 0;
}
