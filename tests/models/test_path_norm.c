/* DEVICE: yes. VALGRIND: no: it trains. Path-BN (Luo et al., UAI 2021) in models: which layers have
 * it, that it is what its definition says, and that its skeletons stay 0 whatever trains. */
#include "../support/training.h"
#include "tardigrad/paths.h"

/* ---- one layer, from its definition ---- */

enum { B = 4, C = 7, SIDES = 6, POINTS = SIDES * SIDES, VALUES = B * C * POINTS };

/* Everything but what is left out, at sample b, channel j, point (y, x). */
static double others(const float *w, const float *z, int b, int j, int y, int x) {
  double sum = 0;
  for (int k = 0; k < C; k++)
    for (int r = -1; r <= 1; r++)
      for (int s = -1; s <= 1; s++) {
        bool inside = y + r >= 0 && y + r < SIDES && x + s >= 0 && x + s < SIDES;
        if (!inside || (k == j && r == 0 && s == 0)) continue;
        sum += (double)w[((j * C + k) * 3 + r + 1) * 3 + s + 1] *
               (double)z[((b * C + k) * SIDES + y + r) * SIDES + x + s];
      }
  return sum;
}

/* max(0, gamma (o - mean) / deviation + beta + lambda z), statistics of o alone. */
static void layer(const float *w, const float *gamma, const float *beta, double lambda,
                  const float *z, double *out) {
  for (int j = 0; j < C; j++) {
    double mean = 0, square = 0, o[B * POINTS];
    for (int i = 0; i < B * POINTS; i++) {
      int point = i % POINTS;
      o[i] = others(w, z, i / POINTS, j, point / SIDES, point % SIDES);
      mean += o[i] / (B * POINTS);
    }
    for (int i = 0; i < B * POINTS; i++) square += (o[i] - mean) * (o[i] - mean) / (B * POINTS);
    for (int i = 0; i < B * POINTS; i++) {
      int at = (i / POINTS * C + j) * POINTS + i % POINTS;
      double normal = (o[i] - mean) / sqrt(square + 1e-5);
      out[at] = fmax(0, (double)gamma[j] * normal + (double)beta[j] + lambda * (double)z[at]);
    }
  }
}

static tg_value *path_layer(tg_graph *g, tg_value *z, float lambda) {
  tg_conv_attr attr = {.out = C, .kernel = {3, 3}, .pad = {1, 1}, .hollow = true};
  tg_value *o = tg_batch_norm(g, "bn", tg_conv(g, "conv", z, attr));
  return tg_relu(g, tg_skip(g, o, z, 1, lambda));
}

/* One plan of a graph with input "z", weights w, and its gradient. */
typedef struct one {
  tg_device *d;
  tg_plan *p;
  float *g, *s, *out;
  tg_loss_result loss;
} one;

static one run_once(const tg_graph *graph, const char *device, const float *w, const float *z,
                    const float *target) {
  one r = {0};
  MUST(tg_graph_status(graph));
  MUST(tg_device_open(device, &r.d));
  MUST(tg_plan_create(graph, r.d, &(tg_plan_options){.train = true}, &r.p));
  void *block = on_device(r.d, NULL, tg_plan_bytes(r.p));
  float *dw = on_device(r.d, NULL, graph->n * sizeof *dw);
  float *ds = on_device(r.d, NULL, graph->ks * sizeof *ds);
  float *there = on_device(r.d, w, graph->n * sizeof *w);
  tg_plan_place(r.p, block);
  tg_plan_bind(r.p, there, dw, NULL, ds);
  MUST(tg_plan_write(r.p, "z", z, VALUES * sizeof *z));
  MUST(tg_plan_write(r.p, "target", target, VALUES * sizeof *target));
  MUST(tg_plan_forward(r.p));
  MUST(tg_plan_backward(r.p));
  MUST(tg_plan_loss(r.p, "loss", &r.loss));
  r.g = to_host(r.d, dw, graph->n);
  r.s = to_host(r.d, ds, graph->ks);
  r.out = malloc(VALUES * sizeof *r.out);
  MUST(tg_plan_read(r.p, "out", r.out));
  void *used[] = {block, dw, ds, there};
  tg_plan_destroy(r.p);
  for (size_t i = 0; i < sizeof used / sizeof *used; i++) r.d->backend->free(r.d, used[i]);
  tg_device_close(r.d);
  return r;
}

static void forget(one *r) {
  free(r->g);
  free(r->s);
  free(r->out);
}

static tg_graph *begin(tg_value **z) {
  tg_graph *g = NULL;
  MUST(tg_graph_create(&g));
  *z = tg_input(g, "z", (tg_shape){4, {B, C, SIDES, SIDES}});
  return g;
}

static void end(tg_graph *g, tg_value *y) {
  tg_value *target = tg_input(g, "target", (tg_shape){4, {B, C, SIDES, SIDES}});
  tg_mean_squared_error(g, "loss", tg_output(g, "out", y), target, VALUES / 2.0f);
}

/* float32 sums of 62 products, normalised. */
START_TEST(a_layer_is_what_the_definition_says) {
  const float lambdas[] = {1, 0.1f};
  for (int i = 0; i < 2; i++) {
    tg_value *z = NULL;
    tg_graph *g = begin(&z);
    end(g, path_layer(g, z, lambdas[i]));
    random_state = 88172645463325252u;
    float *w = random_numbers(g->n), *in = random_numbers(VALUES), *target = random_numbers(VALUES);
    for (int64_t t = 0; t < C; t++) w[tg_conv_skeleton(&g->param[0]->shape, t)] = 0;
    one r = run_once(g, tested_device(), w, in, target);
    double want[VALUES];
    layer(w, w + g->param[1]->offset, w + g->param[2]->offset, (double)lambdas[i], in, want);
    compare("layer", "y", r.out, want, VALUES, 2e-6);
    for (int64_t t = 0; t < C; t++) ck_assert(r.g[tg_conv_skeleton(&g->param[0]->shape, t)] == 0);
    forget(&r);
    free(w);
    free(in);
    free(target);
    tg_graph_destroy(g);
  }
}
END_TEST

/* The identity: a convolution whose skeletons are 1, normalised by statistics of o - z. */
static tg_value *whole_layer(tg_graph *g, tg_value *z) {
  tg_value *o = tg_conv2d(g, "conv", z, C, 3, 1, 1, false);
  tg_value *without = tg_batch_norm(g, "bn", tg_skip(g, o, z, 1, -1));
  return tg_relu(g, tg_skip(g, without, z, 1, 1));
}

static void close_to(const char *what, const float *a, const float *b, size_t n, double tolerance) {
  double *want = malloc((n + 1) * sizeof *want);
  for (size_t i = 0; i < n; i++) want[i] = (double)b[i];
  compare("identity", what, a, want, n, tolerance);
  free(want);
}

START_TEST(skeletons_of_one_are_the_same) {
  tg_value *z = NULL;
  tg_graph *hollow = begin(&z);
  end(hollow, path_layer(hollow, z, 1));
  tg_graph *whole = begin(&z);
  end(whole, whole_layer(whole, z));
  random_state = 88172645463325252u;
  float *w = random_numbers(hollow->n), *in = random_numbers(VALUES);
  float *target = random_numbers(VALUES);
  const tg_shape *shape = &hollow->param[0]->shape;
  for (int64_t t = 0; t < C; t++) w[tg_conv_skeleton(shape, t)] = 0;
  one a = run_once(hollow, tested_device(), w, in, target);
  for (int64_t t = 0; t < C; t++) w[tg_conv_skeleton(shape, t)] = 1;
  one b = run_once(whole, tested_device(), w, in, target);
  for (int64_t t = 0; t < C; t++) b.g[tg_conv_skeleton(shape, t)] = 0;
  close_to("y", a.out, b.out, VALUES, 2e-6);
  close_to("g", a.g, b.g, hollow->n, 1e-5);
  close_to("statistics", a.s, b.s, hollow->ks, 2e-6);
  ck_assert_double_eq_tol(a.loss.sum, b.loss.sum, 1e-5 * b.loss.sum);
  forget(&a);
  forget(&b);
  free(w);
  free(in);
  free(target);
  tg_graph_destroy(hollow);
  tg_graph_destroy(whole);
}
END_TEST

/* ---- models ---- */

typedef struct variant {
  const char *name;
  size_t skeletons; /* that are left out, over all blocks */
  int skips;        /* with a factor, which additions have not */
  double gradient;  /* of a device against the cpu, of its norm */
} variant;

/* Frozen skeletons as counted by hand: of a stage of k convolutions of h channels (k - 1) h, of a
 * basic block h, of a bottleneck 2 h. */
static const variant variants[] = {
    {"resnet20+path", 3 * (16 + 32 + 64), 9, 1e-3},
    {"plain18+path", 3 * (64 + 128 + 256 + 512), 0, 1e-3},
    {"resnet50+path", 2 * (3 * 64 + 4 * 128 + 6 * 256 + 3 * 512), 32, 1e-3},
    {"plain34+path", 5 * 64 + 7 * 128 + 11 * 256 + 5 * 512, 0, 1e-3},
    {"resnet18+path", 2 * (64 + 128 + 256 + 512), 8, 1e-3},
    {"resnet34+path", 3776, 16, 1e-3},
    {"resnet110+path", 18 * (16 + 32 + 64), 54, 1e-3},
};
enum {
  VARIANTS = sizeof variants / sizeof *variants,
  COMPARED = 2 /* resnet50 on images of 8 pixels is too near an edge: on the cpu, and with ordinary
                  batch norm, weights that differ by 2^-22 change its gradient by 2 % */
};

/* Every weight that is left out is a frozen skeleton of a block, and every such skeleton is. */
START_TEST(frozen_skeletons_are_what_is_left_out) {
  const variant *v = &variants[_i];
  tg_graph *g = make_model(v->name, 2), *other;
  tg_paths *paths = NULL;
  char name[32];
  size_t frozen = 0;
  int skips = 0;
  MUST(tg_paths_create(g, &paths));
  MUST(tg_paths_check(paths, v->name));
  for (size_t i = 0; i < paths->count; i++) {
    const tg_path_block *b = &paths->block[i];
    frozen += tg_path_count(b).frozen;
    ck_assert_int_eq(b->special, 1);
    for (int l = 1; l <= b->count; l++) {
      ck_assert(b->layer[l - 1].hollow == (l > 1));
      ck_assert(b->layer[l - 1].scale != TG_NOWHERE);
    }
  }
  ck_assert_uint_eq(frozen, v->skeletons);
  for (int i = 0; i < g->node_count; i++) {
    if (g->node[i]->op->id != TG_OP_skip) continue;
    ck_assert(((const tg_skip_attr *)g->node[i]->attr)->factor == 0.1f);
    skips++;
  }
  ck_assert_int_eq(skips, v->skips);
  snprintf(name, sizeof name, "%.*s", (int)strcspn(v->name, "+"), v->name);
  other = make_model(name, 2);
  ck_assert_int_eq(g->param_count, other->param_count);
  ck_assert_int_eq(g->stat_count, other->stat_count);
  for (int i = 0; i < g->param_count; i++) {
    ck_assert_str_eq(g->param[i]->name, other->param[i]->name);
    ck_assert(tg_shape_equal(&g->param[i]->shape, &other->param[i]->shape));
  }
  tg_paths_destroy(paths);
  tg_graph_destroy(g);
  tg_graph_destroy(other);
}
END_TEST

/* Models in whose path blocks there is no batch norm. */
START_TEST(others_refuse) {
  const char *const names[] = {"mlp", "cnn"};
  const int64_t hidden[] = {5};
  for (int i = 0; i < 2; i++) {
    tg_model_options o = {.channels = 1,
                          .height = 8,
                          .width = 8,
                          .classes = 3,
                          .batch = 2,
                          .hidden = hidden,
                          .hidden_count = 1,
                          .norm = TG_NORM_PATH};
    tg_graph *g = NULL;
    ck_assert_int_eq(tg_model_build(names[i], &o, &g), TG_ECONFIG);
    ck_assert_ptr_null(g);
    ck_assert_ptr_nonnull(strstr(tg_status_message(), "model.norm=path"));
    ck_assert_ptr_nonnull(strstr(tg_status_message(), names[i]));
  }
}
END_TEST

static batch data[BATCHES];

static double error_of(const float *have, const float *want, size_t n) {
  double square = 0, wrong = 0;
  for (size_t i = 0; i < n; i++) {
    square += (double)want[i] * (double)want[i];
    wrong += ((double)have[i] - (double)want[i]) * ((double)have[i] - (double)want[i]);
  }
  return sqrt(wrong / square);
}

/* The whole gradient, on the device under test and on the cpu; what is left out has none. */
START_TEST(gradients_are_the_cpus) {
  const variant *v = &variants[_i];
  trainer here = trainer_open(v->name, other_device(), TG_F32);
  trainer there = trainer_open(v->name, "cpu", TG_F32);
  double loss = trainer_gradient(&here, &data[0]), want = trainer_gradient(&there, &data[0]);
  float *a = to_host(here.d, here.g, here.graph->n), *b = to_host(there.d, there.g, here.graph->n);
  ck_assert_msg(fabs(loss - want) <= 1e-4 * want, "%s: loss %.9g, must be %.9g", v->name, loss,
                want);
  double error = error_of(a, b, here.graph->n);
  ck_assert_msg(error <= v->gradient, "%s: the gradient is off by %g", v->name, error);
  tg_paths *paths = NULL;
  MUST(tg_paths_create(here.graph, &paths));
  for (size_t i = 0; i < paths->count; i++)
    for (int l = 2; l <= paths->block[i].count; l++)
      for (size_t t = 0; t < tg_path_skeletons(&paths->block[i], l); t++)
        ck_assert(a[tg_path_skeleton(&paths->block[i], l, t)] == 0);
  tg_paths_destroy(paths);
  free(a);
  free(b);
  trainer_close(&here);
  trainer_close(&there);
}
END_TEST

/* ---- training ---- */

enum { STEPS = 20 };

typedef struct course {
  tg_paths *paths;
  tg_part *part;
  tg_layout layout;
  float *slot[TG_MAX_SLOTS];
  tg_optimizer optimizer;
  tg_hyper hyper;
} course;

static course course_open(const tg_graph *g, const char *optimizer, const char *inner) {
  course c = {0};
  const tg_optimizer_keys set = {.beta1 = 0.9,
                                 .beta2 = 0.999,
                                 .beta3 = 0.99,
                                 .alpha = NAN,
                                 .epsilon = NAN,
                                 .trust = 0.001,
                                 .alpha_updates = STEPS,
                                 .beta3_updates = STEPS,
                                 .k = 5,
                                 .path_clamp = 0.1};
  MUST(tg_optimizer_make(optimizer, inner, &c.optimizer));
  c.hyper = (tg_hyper){.lr = 0.01f,
                       .momentum = 0.9f,
                       .weight_decay = 1e-3f,
                       .keys = tg_optimizer_keys_of(&c.optimizer, &set)};
  c.part = calloc((size_t)g->param_count, sizeof *c.part);
  for (int i = 0; i < g->param_count; i++) {
    const tg_param *p = g->param[i];
    size_t rows = (size_t)p->shape.dim[0];
    c.part[i] = (tg_part){.offset = p->offset,
                          .count = p->count,
                          .rows = rows,
                          .cols = p->count / rows,
                          .weight = p->init == TG_INIT_WEIGHT};
  }
  MUST(tg_paths_create(g, &c.paths));
  c.layout = (tg_layout){.part = c.part, .count = (size_t)g->param_count, .paths = c.paths};
  for (int i = 0; i < c.optimizer.slots; i++)
    c.slot[i] =
        calloc(tg_optimizer_slot_length(&c.optimizer, &c.hyper.keys, &c.layout, g->n, i) + 1,
               sizeof(float));
  return c;
}

static void course_close(course *c) {
  tg_paths_destroy(c->paths);
  free(c->part);
  for (int i = 0; i < TG_MAX_SLOTS; i++) free(c->slot[i]);
}

/* Host memory: the cpu's. */
static void course_update(course *c, trainer *t) {
  const tg_rule *rule = NULL;
  tg_update_sums sums = {0};
  MUST(tg_rule_find("sgd", &rule));
  tg_update u = {.rule = rule, .optimizer = &c->optimizer, .hyper = c->hyper, .w = t->w};
  for (int i = 0; i < c->optimizer.slots; i++) u.slot[i] = c->slot[i];
  tg_update_apply(&u, (tg_span){0, t->graph->n}, t->g, &sums);
  if (c->optimizer.whole) MUST(tg_update_whole(&u, &c->layout, t->graph->n, t->g, &sums));
  c->hyper.update++;
}

static void skeletons_are_zero(const course *c, const float *w, const char *optimizer) {
  for (size_t i = 0; i < c->paths->count; i++)
    for (int l = 2; l <= c->paths->block[i].count; l++)
      for (size_t t = 0; t < tg_path_skeletons(&c->paths->block[i], l); t++)
        ck_assert_msg(w[tg_path_skeleton(&c->paths->block[i], l, t)] == 0, "%s, %s", optimizer,
                      c->paths->block[i].layer[l - 1].name);
}

/* Every optimiser but those that say that they mix. */
START_TEST(skeletons_stay_zero) {
  for (size_t k = 0; k < tg_optimizer_count; k++) {
    const char *name = tg_optimizers[k]->name;
    if (tg_optimizers[k]->mixes) continue;
    trainer t = trainer_open("resnet20+path", "cpu", TG_F32);
    course c = course_open(t.graph, name, "adam");
    if (c.optimizer.path_step) MUST(tg_paths_init(c.paths, TG_SKELETON_ONES, t.w));
    skeletons_are_zero(&c, t.w, name);
    for (int i = 0; i < STEPS; i++) {
      trainer_gradient(&t, &data[i % BATCHES]);
      course_update(&c, &t);
    }
    skeletons_are_zero(&c, t.w, name);
    course_close(&c);
    trainer_close(&t);
  }
}
END_TEST

/* G-SGD with Path-BN, as published: skeletons 1, those of later layers beside the convolution. */
START_TEST(gsgd_learns) {
  const char *const names[] = {"resnet20+path", "plain18+path"};
  const float rates[] = {0.05f, 0.02f};
  double first = 0, last = 0;
  trainer t = trainer_open(names[_i], "cpu", TG_F32);
  course c = course_open(t.graph, "gsgd", "sgd");
  c.hyper.lr = rates[_i];
  MUST(tg_paths_init(c.paths, TG_SKELETON_ONES, t.w));
  for (int i = 0; i < STEPS; i++) {
    double loss = trainer_gradient(&t, &data[i % BATCHES]) / BATCH;
    if (i < BATCHES) first += loss / BATCHES;
    if (i >= STEPS - BATCHES) last += loss / BATCHES;
    course_update(&c, &t);
  }
  ck_assert_msg(last < 0.7 * first, "%s: loss %g at first, %g at last", names[_i], first, last);
  skeletons_are_zero(&c, t.w, "gsgd");
  course_close(&c);
  trainer_close(&t);
}
END_TEST

int main(void) {
  make_batches(data);
  Suite *s = suite_create("path norm");
  TCase *layers = tcase_create("layers"), *models = tcase_create("models");
  TCase *devices = tcase_create("devices"), *training = tcase_create("training");
  TCase *all[] = {layers, models, devices, training};
  tcase_add_test(layers, a_layer_is_what_the_definition_says);
  tcase_add_test(layers, skeletons_of_one_are_the_same);
  tcase_add_loop_test(models, frozen_skeletons_are_what_is_left_out, 0, VARIANTS);
  tcase_add_test(models, others_refuse);
  tcase_add_loop_test(devices, gradients_are_the_cpus, 0, COMPARED);
  tcase_add_test(training, skeletons_stay_zero);
  tcase_add_loop_test(training, gsgd_learns, 0, 2);
  for (int i = 0; i < 4; i++) {
    tcase_set_timeout(all[i], 300);
    suite_add_tcase(s, all[i]);
  }
  return run_suite(s);
}
