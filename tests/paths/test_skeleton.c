/* What skeletons are before training: overwritten, or made 1 and -1 by rescaling, which keeps the
 * function. */
#include "product.h"
#include "tardigrad/model.h"

static bool is_one(float x) {
  return x == 1 || x == -1;
}

/* ---- overwritten ---- */

START_TEST(ones_and_signs) {
  task t = task_open(&nets[_i].net);
  for (int signs = 0; signs < 2; signs++) {
    product p = product_open(&t, &nets[_i].net, "gsgd");
    const tg_path_block *b = &p.paths->block[0];
    float *w = calloc(t.net.n, sizeof *w);
    to_float(t.net.n, t.w, w);
    MUST(tg_paths_init(p.paths, TG_SKELETON_NONE, p.u.w));
    ck_assert_mem_eq(p.u.w, w, t.net.n * sizeof *w);
    MUST(tg_paths_init(p.paths, signs ? TG_SKELETON_SIGNS : TG_SKELETON_ONES, p.u.w));
    for (int l = 1; l <= b->count; l++)
      for (size_t k = 0; k < tg_path_skeletons(b, l); k++) {
        size_t at = tg_path_skeleton(b, l, k);
        w[at] = signs && w[at] < 0 ? -1 : 1; /* of all layers, the trained ones too */
      }
    ck_assert_mem_eq(p.u.w, w, t.net.n * sizeof *w); /* and nothing else */
    free(w);
    product_close(&p);
  }
  task_close(&t);
}
END_TEST

/* ---- rescaled ---- */

static void check_frozen(const tg_paths *paths, const float *w) {
  for (size_t k = 0; k < paths->count; k++) {
    const tg_path_block *b = &paths->block[k];
    for (int l = 1; l <= b->count; l++)
      for (size_t e = 0; l != b->special && e < tg_path_skeletons(b, l); e++)
        ck_assert(is_one(w[tg_path_skeleton(b, l, e)]));
  }
}

/* The same outputs, frozen skeletons of exactly 1 and -1, and one and the same point for all images
 * under powers of two. */
START_TEST(canonical_keeps_the_function) {
  task t = task_open(&nets[_i].net);
  const size_t n = t.net.n, outputs = t.net.count[t.net.layers];
  for (size_t i = 0; i < n; i++) t.w[i] = (float)t.w[i];
  product p = product_open(&t, &nets[_i].net, "gsgd");
  double *w = doubles(n), *y = doubles(outputs);
  ref_net_forward(&t.net, t.w, t.x, y);
  MUST(tg_paths_init(p.paths, TG_SKELETON_CANONICAL, p.u.w));
  check_frozen(p.paths, p.u.w);
  to_double(n, p.u.w, w);
  ref_net_forward(&t.net, w, t.x, t.y);
  ck_assert_double_le(apart(outputs, y, t.y), 1e-6);
  memcpy(w, t.w, n * sizeof *w);
  task_rescale(&t, w, true);
  product other = product_of(graph_of(&nets[_i].net), w, "gsgd");
  MUST(tg_paths_init(other.paths, TG_SKELETON_CANONICAL, other.u.w));
  ck_assert_mem_eq(p.u.w, other.u.w, n * sizeof(float));
  /* There already: nothing is to be done. */
  MUST(tg_paths_init(other.paths, TG_SKELETON_CANONICAL, other.u.w));
  ck_assert_mem_eq(p.u.w, other.u.w, n * sizeof(float));
  ref_canonical(&t.block, t.w);
  to_double(n, p.u.w, w);
  ck_assert_double_le(apart(n, w, t.w), 1e-6);
  product_close(&p);
  product_close(&other);
  free(w);
  free(y);
  task_close(&t);
}
END_TEST

START_TEST(zero_cannot_be_rescaled) {
  task t = task_open(&nets[_i].net);
  const ref_block *b = &t.block;
  for (int l = 1; l <= b->count; l++) {
    size_t k = b->layer[l - 1].in > 1 && b->layer[l - 1].out > 1 ? 1 : 0;
    const float bad[] = {0, NAN, INFINITY};
    for (int i = 0; l != b->special && i < 3; i++) {
      product p = product_open(&t, &nets[_i].net, "gsgd");
      char name[16];
      p.u.w[tg_path_skeleton(&p.paths->block[0], l, k)] = bad[i];
      ck_assert_int_eq(tg_paths_init(p.paths, TG_SKELETON_CANONICAL, p.u.w), TG_ECONFIG);
      snprintf(name, sizeof name, "layer%d", l);
      ck_assert_msg(strstr(tg_status_message(), name) != NULL, "%s", tg_status_message());
      product_close(&p);
    }
  }
  task_close(&t);
}
END_TEST

/* ---- models, with batch norm ---- */

enum { BATCH = 4, SIDE = 16, CLASSES = 5 };

typedef struct network {
  tg_graph *graph;
  tg_paths *paths;
  tg_device *device;
  float *w, *b, *s;
  float logits[BATCH * CLASSES];
} network;

/* Initialised, with biases, scales, shifts and statistics of no special value. */
static network network_open(const char *name) {
  const int64_t hidden[] = {24, 31, 31, 12};
  const tg_model_options o = {.channels = 3,
                              .height = SIDE,
                              .width = SIDE,
                              .classes = CLASSES,
                              .batch = BATCH,
                              .hidden = hidden,
                              .hidden_count = 4};
  network x = {0};
  MUST(tg_model_build(name, &o, &x.graph));
  MUST(tg_paths_create(x.graph, &x.paths));
  MUST(tg_device_open("cpu", &x.device));
  const tg_graph *g = x.graph;
  x.w = calloc(g->n, sizeof(float));
  x.b = calloc(g->k + 1, sizeof(float));
  x.s = calloc(g->ks + 1, sizeof(float));
  tg_model_init(g, TG_HE, 3, x.w, x.b);
  for (int i = 0; i < g->param_count; i++)
    for (size_t e = 0; g->param[i]->init != TG_INIT_WEIGHT && e < g->param[i]->count; e++)
      x.w[g->param[i]->offset + e] += (float)noise((uint64_t)i, e, 11) / 2;
  for (size_t e = 0; e < g->k; e++) x.b[e] += (float)fabs(noise(e, 1, 12)) / 2;
  return x;
}

static void network_close(network *x) {
  tg_paths_destroy(x->paths);
  tg_graph_destroy(x->graph);
  tg_device_close(x->device);
  free(x->w);
  free(x->b);
  free(x->s);
}

static void *moved(network *x, const float *from, size_t n) {
  void *to;
  MUST(x->device->backend->alloc(x->device, (n + 1) * sizeof *from, &to));
  MUST(x->device->backend->to_device(x->device, to, from, n * sizeof *from));
  return to;
}

static void network_run(network *x, bool train, double *logits) {
  const tg_plan_options options = {.train = train};
  const tg_graph *g = x->graph;
  float *image = calloc(BATCH * 3 * SIDE * SIDE, sizeof *image);
  int32_t label[BATCH] = {0};
  tg_plan *plan;
  void *used[5];
  for (size_t i = 0; i < BATCH * 3 * SIDE * SIDE; i++) image[i] = (float)noise(i, 2, 13);
  MUST(tg_plan_create(g, x->device, &options, &plan));
  MUST(x->device->backend->alloc(x->device, tg_plan_bytes(plan), &used[0]));
  used[1] = moved(x, x->w, g->n);
  used[2] = moved(x, x->w, g->n);
  used[3] = moved(x, x->b, g->k);
  used[4] = moved(x, x->s, g->ks);
  tg_plan_place(plan, used[0]);
  tg_plan_bind(plan, used[1], used[2], used[3], used[4]);
  MUST(tg_plan_write(plan, "x", image, BATCH * 3 * SIDE * SIDE * sizeof *image));
  MUST(tg_plan_write(plan, "y", label, sizeof label));
  MUST(tg_plan_run(plan));
  MUST(tg_plan_read(plan, "logits", x->logits));
  to_double(BATCH * CLASSES, x->logits, logits);
  tg_plan_destroy(plan);
  for (int i = 0; i < 5; i++) x->device->backend->free(x->device, used[i]);
  free(image);
}

static const struct {
  const char *name;
  double tolerance; /* deep networks sum up more rounding */
} models[] = {{"mlp", 1e-5}, {"resnet20", 1e-4}, {"plain18", 1e-4}, {"resnet50", 1e-4}};

START_TEST(canonical_keeps_models) {
  for (int train = 0; train < 2; train++) {
    network x = network_open(models[_i].name);
    double before[BATCH * CLASSES], after[BATCH * CLASSES], other[BATCH * CLASSES];
    network_run(&x, train, before);
    MUST(tg_paths_init(x.paths, TG_SKELETON_CANONICAL, x.w));
    check_frozen(x.paths, x.w);
    network_run(&x, train, after);
    double gap = apart(BATCH * CLASSES, before, after);
    ck_assert_msg(gap <= models[_i].tolerance, "%s, %s: %g", models[_i].name,
                  train ? "training" : "evaluation", gap);
    /* Overwriting does change it. */
    MUST(tg_paths_init(x.paths, TG_SKELETON_ONES, x.w));
    network_run(&x, train, other);
    ck_assert(!(apart(BATCH * CLASSES, before, other) <= 1e-2));
    network_close(&x);
  }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("skeletons");
  TCase *tc = tcase_create("skeletons");
  tcase_set_timeout(tc, 60);
  tcase_add_loop_test(tc, ones_and_signs, 0, NETS);
  tcase_add_loop_test(tc, canonical_keeps_the_function, 0, NETS);
  tcase_add_loop_test(tc, zero_cannot_be_rescaled, 0, NETS);
  tcase_add_loop_test(tc, canonical_keeps_models, 0, sizeof models / sizeof *models);
  suite_add_tcase(suite, tc);
  return run_tests(suite);
}
