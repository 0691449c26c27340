/* One training step and one evaluation of mlp, cnn and resnet20 against PyTorch in float64
 * (make_golden.py), on every backend that is here, in every precision it has. */
#include <check.h>
#include <dnnl.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tardigrad/model.h"
#include "tardigrad/optim.h"
#include "tardigrad/plan.h"

/* How far a result may be from the truth: the largest difference over the largest value, and norm
 * over norm. float32: PyTorch's own is off by up to 4e-6 in resnet20's gradients ("float32" in the
 * files); ours may sum in another order. bfloat16 keeps 8 bits, and a ReLU whose input rounds to
 * the other side of 0 lets another gradient pass: PyTorch's autocast is off by 0.4 in an early
 * layer
 * ("bf16" in the files, tensor by tensor). Ours may be off by twice as much and one unit in the
 * last place. */
typedef struct tolerance {
  tg_dtype precision;
  double loss, logits, gradient, after;
} tolerance;
static const tolerance float32 = {TG_F32, 1e-6, 2e-6, 1e-5, 2e-6};
static const tolerance bfloat16 = {.precision = TG_BF16};

/* The formula of make_golden.py: uniform in [-1,1), splitmix64 counted from FNV-1a of the name. */
static void stream(uint64_t seed, const char *name, const char *suffix, size_t count, double *out) {
  uint64_t h = 0xCBF29CE484222325u;
  for (; *name; name++) h = (h ^ (uint8_t)*name) * 0x100000001B3u;
  for (; *suffix; suffix++) h = (h ^ (uint8_t)*suffix) * 0x100000001B3u;
  h += seed;
  for (size_t i = 0; i < count; i++) {
    uint64_t z = h += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    out[i] = (double)(z >> 40) * 0x1p-23 - 1;
  }
}

static void *array(size_t count, size_t size) {
  void *p = calloc(count + 1, size);
  ck_assert(p != NULL);
  return p;
}

/* base + scale * stream, rounded to float32. */
static void formula(uint64_t seed, const char *name, size_t count, double base, double scale,
                    float *out) {
  double *u = array(count, sizeof *u);
  stream(seed, name, "", count, u);
  for (size_t i = 0; i < count; i++) out[i] = (float)(base + scale * u[i]);
  free(u);
}

typedef struct golden {
  json_t *json;
  uint64_t seed;
  tg_graph *g;
  size_t pixels, images; /* floats of x; samples */
  float *x, *w, *b;
  int32_t *y;
} golden;

static json_t *at(json_t *object, const char *key) {
  json_t *value = json_object_get(object, key);
  ck_assert_msg(value != NULL, "no %s in the golden file", key);
  return value;
}

static double number(json_t *object, const char *key) {
  return json_number_value(at(object, key));
}

static void build(golden *v) {
  int64_t hidden[8];
  json_t *widths = at(v->json, "hidden");
  for (size_t i = 0; i < json_array_size(widths); i++)
    hidden[i] = json_integer_value(json_array_get(widths, i));
  int size = (int)number(v->json, "size");
  tg_model_options o = {.channels = (int)number(v->json, "channels"),
                        .height = size,
                        .width = size,
                        .classes = (int)number(v->json, "classes"),
                        .batch = (int64_t)v->images,
                        .hidden = hidden,
                        .hidden_count = (uint32_t)json_array_size(widths)};
  ck_assert_msg(tg_model_build(json_string_value(at(v->json, "model")), &o, &v->g) == TG_OK, "%s",
                tg_status_message());
}

static void make_parameters(golden *v) {
  for (int i = 0; i < v->g->param_count; i++) {
    const tg_param *p = v->g->param[i];
    bool weight = strstr(p->name, ".weight") != NULL;
    double base = weight && p->shape.nd == 1 ? 1 : 0, scale = weight ? 0.25 : 0.125;
    if (p->shape.nd > 1) scale = sqrt(3 / ((double)p->count / (double)p->shape.dim[0]));
    formula(v->seed, p->name, p->count, base, scale, v->w + p->offset);
  }
  for (int i = 0; i < v->g->stat_count; i++) {
    const tg_stat *s = v->g->stat[i];
    formula(v->seed, s->name, s->count, strstr(s->name, "_var") ? 1 : 0, 0.5, v->b + s->offset);
  }
}

static void make_batch(golden *v) {
  const tg_value *x = tg_graph_value(v->g, "x");
  size_t maps = v->images * (size_t)x->shape.dim[1], map;
  v->pixels = tg_shape_count(&x->shape);
  map = v->pixels / maps;
  v->x = array(v->pixels, sizeof *v->x);
  v->y = array(v->images, sizeof *v->y);
  double *noise = array(v->pixels, sizeof *noise), *colour = array(maps, sizeof *colour);
  stream(v->seed, "x", "", v->pixels, noise);
  stream(v->seed, "x", ".mean", maps, colour);
  for (size_t i = 0; i < v->pixels; i++) v->x[i] = (float)(noise[i] + 2 * colour[i / map]);
  stream(v->seed, "y", "", v->images, noise);
  for (size_t i = 0; i < v->images; i++)
    v->y[i] = (int32_t)((noise[i] + 1) * 0.5 * number(v->json, "classes"));
  free(noise);
  free(colour);
}

static golden load(const char *model) {
  char path[64];
  json_error_t error;
  snprintf(path, sizeof path, "tests/golden/%s.json", model);
  golden v = {.json = json_load_file(path, 0, &error)};
  ck_assert_msg(v.json != NULL, "%s (run from the repository's root): %s", path, error.text);
  v.seed = (uint64_t)number(v.json, "seed");
  v.images = (size_t)number(v.json, "batch");
  build(&v);
  v.w = array(v.g->n, sizeof *v.w);
  v.b = array(v.g->k, sizeof *v.b);
  make_parameters(&v);
  make_batch(&v);
  return v;
}

static void unload(golden *v) {
  json_decref(v->json);
  tg_graph_destroy(v->g);
  free(v->w);
  free(v->b);
  free(v->x);
  free(v->y);
}

/* ---- comparing ---- */

/* What this tolerance allows where PyTorch's bfloat16 is off by "bf16". */
static double allowance(const tolerance *t, double in_float32, json_t *bf16) {
  return t->precision == TG_F32 ? in_float32 : 2 * json_number_value(bf16) + 0x1p-8;
}

static void close_to(const char *what, json_t *truth, const float *got, size_t count,
                     double allowed) {
  ck_assert_uint_eq(json_array_size(truth), count);
  double worst = 0, largest = 0, off = 0, square = 0;
  for (size_t i = 0; i < count; i++) {
    double t = json_number_value(json_array_get(truth, i)), d = fabs(t - (double)got[i]);
    worst = isfinite(d) ? fmax(worst, d) : INFINITY;
    largest = fmax(largest, fabs(t));
    off += d * d;
    square += t * t;
  }
  double error = fmax(worst / largest, sqrt(off / square));
  ck_assert_msg(error <= allowed, "%s: off by %.3g, allowed %.3g", what, error, allowed);
}

/* Norm, and a sum with fixed signs that a permuted tensor does not have. */
static void digest(const golden *v, const char *name, json_t *truth, const float *got, size_t count,
                   const tolerance *t, double in_float32) {
  double allowed = allowance(t, in_float32, at(truth, "bf16"));
  double *r = array(count, sizeof *r), square = 0, probe = 0;
  double norm = number(truth, "norm");
  stream(v->seed, name, ".probe", count, r);
  for (size_t i = 0; i < count; i++) {
    square += (double)got[i] * got[i];
    probe += r[i] * got[i];
  }
  free(r);
  ck_assert_msg(fabs(sqrt(square) / norm - 1) <= allowed, "%s: norm %.9g, not %.9g", name,
                sqrt(square), norm);
  double off = fabs(probe - number(truth, "probe")) / norm;
  ck_assert_msg(off <= allowed, "%s: probe off by %.3g norms, allowed %.3g", name, off, allowed);
  json_t *all = json_object_get(truth, "all");
  if (all) close_to(name, all, got, count, allowed);
}

/* ---- running ---- */

typedef struct run {
  tg_device *d;
  tg_plan *plan;
  void *block;
  float *w, *g, *b, *s; /* device */
} run;

static void *device_array(tg_device *d, size_t bytes, const void *host) {
  void *p;
  ck_assert_int_eq(d->backend->alloc(d, bytes, &p), TG_OK);
  if (host && bytes) ck_assert_int_eq(d->backend->to_device(d, p, host, bytes), TG_OK);
  return p;
}

static float *host_array(tg_device *d, const float *device, size_t count) {
  float *host = array(count, sizeof *host);
  ck_assert_int_eq(d->backend->to_host(d, host, device, count * sizeof *host), TG_OK);
  return host;
}

static run prepare(const golden *v, tg_device *d, tg_plan_options options) {
  run r = {.d = d};
  ck_assert_msg(tg_plan_create(v->g, d, &options, &r.plan) == TG_OK, "%s", tg_status_message());
  r.block = device_array(d, tg_plan_bytes(r.plan), NULL);
  tg_plan_place(r.plan, r.block);
  r.w = device_array(d, v->g->n * sizeof *r.w, v->w);
  r.g = device_array(d, v->g->n * sizeof *r.g, NULL);
  r.b = device_array(d, v->g->k * sizeof *r.b, v->b);
  r.s = device_array(d, v->g->ks * sizeof *r.s, NULL);
  tg_plan_bind(r.plan, r.w, options.train ? r.g : NULL, r.b, options.train ? r.s : NULL);
  ck_assert_int_eq(tg_plan_write(r.plan, "x", v->x, v->pixels * sizeof *v->x), TG_OK);
  ck_assert_int_eq(tg_plan_write(r.plan, "y", v->y, v->images * sizeof *v->y), TG_OK);
  return r;
}

static void finish(run *r) {
  void *memory[] = {r->block, r->w, r->g, r->b, r->s};
  tg_plan_destroy(r->plan);
  for (int i = 0; i < 5; i++) r->d->backend->free(r->d, memory[i]);
}

static void check_result(const golden *v, bool training, const char *what, const float *got,
                         size_t count, const tolerance *t, double in_float32) {
  char key[32];
  snprintf(key, sizeof key, "%s%s", training ? "" : "evaluation ", what);
  double allowed = allowance(t, in_float32, at(at(v->json, "bf16"), key));
  close_to(key, at(v->json, key), got, count, allowed);
}

static void check_forward(const golden *v, run *r, bool training, const tolerance *t) {
  ck_assert_msg(tg_plan_forward(r->plan) == TG_OK, "%s", tg_status_message());
  tg_loss_result loss;
  ck_assert_int_eq(tg_plan_loss(r->plan, "loss", &loss), TG_OK);
  ck_assert_uint_eq(loss.counted, v->images);
  float mean = (float)(loss.sum / (double)loss.counted);
  check_result(v, training, "loss", &mean, 1, t, t->loss);
  size_t count = v->images * (size_t)number(v->json, "classes");
  float *logits = array(count, sizeof *logits);
  ck_assert_int_eq(tg_plan_read(r->plan, "logits", logits), TG_OK);
  check_result(v, training, "logits", logits, count, t, t->logits);
  free(logits);
}

static void check_gradient(const golden *v, const float *g, const tolerance *t) {
  json_t *truth = at(v->json, "gradient");
  for (int i = 0; i < v->g->param_count; i++) {
    const tg_param *p = v->g->param[i];
    digest(v, p->name, at(truth, p->name), g + p->offset, p->count, t, t->gradient);
  }
}

/* What the owner of w and b does with a gradient and with a batch's statistics. */
static void update(const golden *v, const float *g, const float *s, float *w, float *b) {
  const tg_optimizer *sgd;
  ck_assert_int_eq(tg_optimizer_find("sgd", &sgd), TG_OK);
  tg_hyper h = {.lr = (float)number(v->json, "lr"),
                .weight_decay = (float)number(v->json, "weight_decay")};
  for (size_t i = 0; i < v->g->n; i += TG_BLOCK) {
    size_t n = v->g->n - i < TG_BLOCK ? v->g->n - i : TG_BLOCK;
    sgd->apply(&h, n, w + i, g + i, NULL);
  }
  for (int i = 0; i < v->g->node_count; i++) {
    for (int k = 0; k < v->g->node[i]->stat_count; k++) {
      const tg_stat_use *use = &v->g->node[i]->stat[k];
      float *to = b + use->stat->offset;
      for (size_t j = 0; j < use->stat->count; j++)
        to[j] += use->momentum * (s[use->s_offset + j] - to[j]);
    }
  }
}

static void check_after(const golden *v, const float *g, const float *s, const tolerance *t) {
  float *w = array(v->g->n, sizeof *w), *b = array(v->g->k, sizeof *b);
  memcpy(w, v->w, v->g->n * sizeof *w);
  memcpy(b, v->b, v->g->k * sizeof *b);
  update(v, g, s, w, b);
  json_t *truth = at(v->json, "after");
  for (int i = 0; i < v->g->param_count; i++) {
    const tg_param *p = v->g->param[i];
    digest(v, p->name, at(truth, p->name), w + p->offset, p->count, t, t->after);
  }
  for (int i = 0; i < v->g->stat_count; i++) {
    const tg_stat *k = v->g->stat[i];
    digest(v, k->name, at(truth, k->name), b + k->offset, k->count, t, t->after);
  }
  free(w);
  free(b);
}

static void train(const golden *v, tg_device *d, const tolerance *t) {
  run r = prepare(v, d, (tg_plan_options){.train = true, .precision = t->precision});
  check_forward(v, &r, true, t);
  ck_assert_msg(tg_plan_backward(r.plan) == TG_OK, "%s", tg_status_message());
  float *g = host_array(d, r.g, v->g->n), *s = host_array(d, r.s, v->g->ks);
  check_gradient(v, g, t);
  check_after(v, g, s, t);
  free(g);
  free(s);
  finish(&r);
}

static void evaluate(const golden *v, tg_device *d, const tolerance *t) {
  run r = prepare(v, d, (tg_plan_options){.train = false, .precision = t->precision});
  check_forward(v, &r, false, t);
  finish(&r);
}

static void on_every_backend(const char *model,
                             void (*check)(const golden *, tg_device *, const tolerance *),
                             const tolerance *t) {
  golden v = load(model);
  for (size_t i = 0; i < tg_backend_count; i++) {
    tg_device *d;
    bool open = tg_device_open(tg_backends[i]->name, &d) == TG_OK;
    ck_assert_msg(open || strcmp(tg_backends[i]->name, "cpu"), "%s", tg_status_message());
    if (!open) continue;
    check(&v, d, t);
    tg_device_close(d);
  }
  unload(&v);
}

START_TEST(mlp) {
  on_every_backend("mlp", train, &float32);
  on_every_backend("mlp", evaluate, &float32);
}
END_TEST

/* oneDNN computes in bfloat16 from AVX-512 on. */
static bool has_bf16(void) {
  return dnnl_get_effective_cpu_isa() >= dnnl_cpu_isa_avx512_core;
}

START_TEST(mlp_bf16) {
  on_every_backend("mlp", train, &bfloat16);
  on_every_backend("mlp", evaluate, &bfloat16);
}
END_TEST

START_TEST(cnn) {
  on_every_backend("cnn", train, &float32);
  on_every_backend("cnn", evaluate, &float32);
}
END_TEST

START_TEST(resnet20) {
  on_every_backend("resnet20", train, &float32);
  on_every_backend("resnet20", evaluate, &float32);
}
END_TEST

START_TEST(cnn_bf16) {
  on_every_backend("cnn", train, &bfloat16);
  on_every_backend("cnn", evaluate, &bfloat16);
}
END_TEST

START_TEST(resnet20_bf16) {
  on_every_backend("resnet20", train, &bfloat16);
  on_every_backend("resnet20", evaluate, &bfloat16);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("golden step");
  TCase *cases = tcase_create("golden step");
  tcase_add_test(cases, mlp);
  tcase_add_test(cases, cnn);
  tcase_add_test(cases, resnet20);
  if (has_bf16()) tcase_add_test(cases, mlp_bf16);
  if (has_bf16()) tcase_add_test(cases, cnn_bf16);
  if (has_bf16()) tcase_add_test(cases, resnet20_bf16);
  tcase_set_timeout(cases, 120); /* valgrind */
  suite_add_tcase(suite, cases);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
