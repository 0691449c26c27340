/* DEVICE: yes. A data set that lies on the device: batches cut there against the loader's. */
#include "../ops/tools.h"
#include "tardigrad/data.h"
#include "tardigrad/model.h"

/* More than one launch describes; the last samples are beyond the set. */
enum { SAMPLES = 320, MANY = 300, CUT_IMAGE = 3 * 32 * 32 };

typedef struct cutting {
  tg_device *d;
  tg_graph *graph;
  tg_plan *plan; /* of MANY samples */
  void *block;
  float *w, *g; /* device memory */
  tg_dataset *set;
  tg_loader *loader;
  void *images;
  float *x, *have;
  int32_t *y;
  tg_cut *cut;
} cutting;

static cutting cutting_open(void) {
  const int64_t hidden[] = {4};
  tg_model_options model = {.channels = 3,
                            .height = 32,
                            .width = 32,
                            .classes = 10,
                            .batch = MANY,
                            .hidden = hidden,
                            .hidden_count = 1};
  tg_data_options options = {.name = "synthetic", .path = "", .train_limit = SAMPLES, .seed = 3};
  tg_loader_options loader = {3, 1, MANY, TG_AUGMENT_CROP_FLIP};
  tg_plan_options plan = {.train = true, .precision = TG_F32};
  cutting c = {.x = malloc(MANY * CUT_IMAGE * sizeof(float)),
               .have = malloc(MANY * CUT_IMAGE * sizeof(float)),
               .y = malloc(MANY * sizeof(int32_t)),
               .cut = malloc(MANY * sizeof(tg_cut))};
  random_state = 88172645463325252u;
  MUST(tg_model_build("mlp", &model, &c.graph));
  MUST(tg_device_open(other_device(), &c.d));
  MUST(tg_plan_create(c.graph, c.d, &plan, &c.plan));
  float *w = random_numbers(c.graph->n);
  c.block = on_device(c.d, NULL, tg_plan_bytes(c.plan));
  c.w = on_device(c.d, w, c.graph->n * sizeof *w);
  c.g = on_device(c.d, NULL, c.graph->n * sizeof *w);
  tg_plan_place(c.plan, c.block);
  tg_plan_bind(c.plan, c.w, c.g, NULL, NULL);
  MUST(tg_dataset_open(&options, TG_TRAIN, &c.set));
  MUST(tg_loader_create(c.set, &loader, &c.loader));
  free(w);
  return c;
}

static void cutting_close(cutting *c) {
  c->d->backend->images_close(c->d, c->images);
  tg_loader_destroy(c->loader);
  tg_dataset_close(c->set);
  tg_plan_destroy(c->plan);
  void *used[] = {c->block, c->w, c->g};
  for (size_t i = 0; i < 3; i++) c->d->backend->free(c->d, used[i]);
  tg_device_close(c->d);
  tg_graph_destroy(c->graph);
  free(c->x);
  free(c->have);
  free(c->y);
  free(c->cut);
}

/* Image for image, and the labels by what follows from them. */
static void compare_cut(cutting *c, const char *what) {
  tg_plan *p = c->plan;
  tg_loss_result have, want;
  MUST(tg_plan_cut(p, c->images, c->cut, MANY));
  MUST(tg_plan_read(p, "x", c->have));
  MUST(tg_plan_run(p));
  MUST(tg_plan_loss(p, "loss", &have));
  for (size_t i = 0; i < MANY; i++)
    ck_assert_msg(memcmp(c->have + i * CUT_IMAGE, c->x + i * CUT_IMAGE, CUT_IMAGE * sizeof *c->x) ==
                      0,
                  "%s: sample %zu differs", what, i);
  MUST(tg_plan_write(p, "x", c->x, MANY * CUT_IMAGE * sizeof *c->x));
  MUST(tg_plan_write(p, "y", c->y, MANY * sizeof *c->y));
  MUST(tg_plan_run(p));
  MUST(tg_plan_loss(p, "loss", &want));
  ck_assert_msg(memcmp(&have, &want, sizeof have) == 0, "%s: labels differ", what);
}

/* A test of what a device cannot do passes. */
static bool holds_images(void) {
  tg_device *d = NULL;
  MUST(tg_device_open(other_device(), &d));
  bool holds = d->backend->images_open != NULL;
  tg_device_close(d);
  return holds;
}

START_TEST(batches_cut_on_the_device_are_the_loaders) {
  if (!holds_images()) return;
  cutting c = cutting_open();
  MUST(tg_dataset_on(c.set, c.d, &c.images));
  for (uint64_t step = 0; step < 3; step++) {
    MUST(tg_loader_fill(c.loader, 0, step, c.x, c.y));
    MUST(tg_loader_cuts(c.loader, 0, step, c.cut));
    compare_cut(&c, "cropped and mirrored");
  }
  tg_dataset_fill(c.set, 60, MANY, c.x, c.y);
  tg_dataset_cuts(c.set, 60, MANY, c.cut);
  ck_assert_int_eq(c.y[MANY - 1], -1);
  compare_cut(&c, "whole, beyond the set");
  cutting_close(&c);
}
END_TEST

int main(void) {
  Suite *s = suite_create("images");
  TCase *t = tcase_create("images");
  tcase_set_timeout(t, 120);
  tcase_add_test(t, batches_cut_on_the_device_are_the_loaders);
  suite_add_tcase(s, t);
  return run_suite(s);
}
