/* Models against PyTorch: names, shapes and order of parameters and statistics, and their counts,
 * as tests/golden/make_names.py found them. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tardigrad/model.h"

static tg_model_options options_of(const char *line, char name[32], size_t *n, size_t *k,
                                   int64_t hidden[4]) {
  tg_model_options o = {.batch = 2, .hidden = hidden};
  int size, used;
  int read = sscanf(line, "model %31s %d %d %d %zu %zu%n", name, &o.channels, &size, &o.classes, n,
                    k, &used);
  ck_assert_int_eq(read, 6);
  o.height = o.width = size;
  for (char *next = (char *)line + used; *next && *next != '\n'; o.hidden_count++)
    hidden[o.hidden_count] = strtoll(next, &next, 10);
  return o;
}

/* "name dim dim ..." as the names file has it. */
static void line_of(char line[128], const char *name, const tg_shape *shape) {
  int used = snprintf(line, 128, "%s", name);
  for (int i = 0; i < shape->nd; i++)
    used += snprintf(line + used, 128 - (size_t)used, " %lld", (long long)shape->dim[i]);
}

START_TEST(names_are_pytorchs) {
  FILE *f = fopen("tests/golden/names.txt", "r");
  ck_assert_msg(f != NULL, "run from the repository's root");
  tg_graph *g = NULL;
  char line[128], wanted[128];
  int param = 0, stat = 0, models = 0;
  size_t w = 0, b = 0;
  while (fgets(line, sizeof line, f)) {
    line[strcspn(line, "\n")] = 0;
    if (line[0] == '#') continue;
    if (strncmp(line, "model ", 6) == 0) {
      char name[32];
      int64_t hidden[4];
      size_t n, k;
      if (g) ck_assert_int_eq(param + stat, g->param_count + g->stat_count);
      tg_graph_destroy(g);
      tg_model_options o = options_of(line, name, &n, &k, hidden);
      ck_assert_msg(tg_model_build(name, &o, &g) == TG_OK, "%s: %s", line, tg_status_message());
      ck_assert_msg(g->n == n && g->k == k, "%s: %zu parameters, %zu statistics", line, g->n, g->k);
      ck_assert_uint_eq(g->ks, k);
      param = stat = 0;
      w = b = 0;
      models++;
    } else if (strstr(line, ".running_")) {
      const tg_stat *s = g->stat[stat++];
      line_of(wanted, s->name, &(tg_shape){1, {(int64_t)s->count}});
      ck_assert_str_eq(wanted, line);
      ck_assert_uint_eq(s->offset, b);
      b += s->count;
    } else {
      const tg_param *p = g->param[param++];
      line_of(wanted, p->name, &p->shape);
      ck_assert_str_eq(wanted, line);
      ck_assert_uint_eq(p->offset, w);
      w += p->count;
    }
  }
  ck_assert_int_eq(param + stat, g->param_count + g->stat_count);
  ck_assert_int_ge(models, 15);
  tg_graph_destroy(g);
  fclose(f);
}
END_TEST

static tg_model_options options(int channels, int size, int classes, int64_t batch) {
  return (tg_model_options){
      .channels = channels, .height = size, .width = size, .classes = classes, .batch = batch};
}

static tg_graph *build(const char *name, tg_model_options o) {
  tg_graph *g;
  ck_assert_msg(tg_model_build(name, &o, &g) == TG_OK, "%s", tg_status_message());
  return g;
}

/* Counts that everybody knows. */
START_TEST(counts) {
  const struct {
    const char *name;
    int size, classes;
    size_t n;
  } known[] = {{"cnn", 32, 10, 156074},
               {"resnet20", 32, 10, 269722},
               {"resnet18", 224, 1000, 11689512},
               {"resnet34", 224, 1000, 21797672},
               {"resnet50", 224, 1000, 25557032}};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    tg_graph *g = build(known[i].name, options(3, known[i].size, known[i].classes, 1));
    ck_assert_uint_eq(g->n, known[i].n);
    tg_graph_destroy(g);
  }
}
END_TEST

static void ends(const tg_graph *g, int64_t batch, int64_t features, int64_t classes) {
  const tg_value *logits = tg_graph_value(g, "logits"), *x = tg_graph_value(g, "x");
  const tg_value *y = tg_graph_value(g, "y"), *loss = tg_graph_value(g, "loss");
  ck_assert(logits && x && y && loss);
  ck_assert(logits->output && y->labels && loss->producer->op->loss);
  ck_assert(tg_shape_equal(&logits->shape, &(tg_shape){2, {batch, classes}}));
  ck_assert(tg_shape_equal(&logits->producer->in[0]->shape, &(tg_shape){2, {batch, features}}));
  ck_assert_int_eq(x->shape.nd, 4);
}

/* Every model, for images of awkward sizes: one pixel, odd, oblong. */
START_TEST(shapes) {
  const int sizes[][2] = {{1, 1}, {5, 7}, {28, 28}, {32, 33}, {65, 96}, {224, 224}};
  for (size_t m = 0; m < tg_model_count; m++) {
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
      const int64_t hidden[] = {31};
      tg_graph *g = build(tg_models[m]->name, (tg_model_options){.channels = 3,
                                                                 .height = sizes[i][0],
                                                                 .width = sizes[i][1],
                                                                 .classes = 7,
                                                                 .batch = 3,
                                                                 .hidden = hidden,
                                                                 .hidden_count = 1});
      int64_t features =
          tg_models[m]->depth == 0                      ? 31
          : strcmp(tg_models[m]->name, "cnn") == 0      ? 128
          : strcmp(tg_models[m]->name, "resnet50") == 0 ? 2048
          : (tg_models[m]->depth - 2) % 6 == 0 && strncmp(tg_models[m]->name, "resnet", 6) == 0
              ? 64
              : 512;
      ends(g, 3, features, 7);
      tg_graph_destroy(g);
    }
  }
}
END_TEST

/* cnn halves the image three times, and an image of one pixel not at all. */
START_TEST(cnn_images) {
  const struct {
    int size;
    size_t flat;
  } known[] = {{28, 64 * 3 * 3}, {32, 64 * 4 * 4}, {3, 64}, {1, 64}};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    int size = known[i].size;
    tg_graph *g = build("cnn", options(1, size, 10, 2));
    ck_assert_uint_eq(g->n, 9 * 16 + 16 + 144 * 32 + 32 + 288 * 64 + 64 +
                                (known[i].flat + 1) * 128 + 129 * 10);
    ck_assert_uint_eq(g->k, 0);
    tg_graph_destroy(g);
  }
}
END_TEST

/* The image before global pooling: which stem was taken. */
static int64_t last_image(int size, tg_stem stem) {
  tg_graph *g = build(
      "resnet18",
      (tg_model_options){
          .channels = 3, .height = size, .width = size, .classes = 10, .batch = 1, .stem = stem});
  int64_t image = 0;
  for (int i = 0; i < g->node_count; i++)
    if (g->node[i]->out->shape.nd == 4 && g->node[i]->out->shape.dim[2] > 1)
      image = g->node[i]->out->shape.dim[2];
  tg_graph_destroy(g);
  return image;
}

START_TEST(stems) {
  ck_assert_int_eq(last_image(32, TG_STEM_AUTO), 4);
  ck_assert_int_eq(last_image(64, TG_STEM_AUTO), 8);
  ck_assert_int_eq(last_image(65, TG_STEM_AUTO), 3);
  ck_assert_int_eq(last_image(224, TG_STEM_AUTO), 7);
  ck_assert_int_eq(last_image(224, TG_STEM_CIFAR), 28);
  ck_assert_int_eq(last_image(64, TG_STEM_IMAGENET), 2);
}
END_TEST

/* A multilayer perceptron of any depth, from none (softmax regression) on. */
START_TEST(mlp_widths) {
  const int64_t hidden[] = {300, 1, 17};
  const size_t n[] = {785 * 10, 785 * 300 + 301 * 10, 785 * 300 + 301 + 2 * 10,
                      785 * 300 + 301 + 2 * 17 + 18 * 10};
  for (uint32_t count = 0; count < 4; count++) {
    tg_model_options o = options(1, 28, 10, 5);
    o.hidden = hidden, o.hidden_count = count;
    tg_graph *g = build("mlp", o);
    ck_assert_uint_eq(g->n, n[count]);
    ck_assert_int_eq(g->param_count, 2 * (int)count + 2);
    tg_graph_destroy(g);
  }
}
END_TEST

static void refused(const char *name, tg_model_options o, const char *message) {
  tg_graph *g;
  ck_assert_int_eq(tg_model_build(name, &o, &g), TG_ECONFIG);
  ck_assert_msg(strstr(tg_status_message(), message) != NULL, "'%s' lacks '%s'",
                tg_status_message(), message);
  ck_assert_ptr_null(g);
}

START_TEST(bad_options) {
  const int64_t hidden[] = {8, 0};
  tg_model_options good = options(1, 28, 10, 4), o;
  good.hidden = hidden, good.hidden_count = 1;
  refused("resnet21", good, "did you mean 'resnet20'");
  refused("transformer", good, "no model 'transformer'");
  o = good, o.batch = 0;
  refused("mlp", o, "batch of 0");
  o = good, o.channels = -1;
  refused("resnet20", o, "-1 x 28 x 28");
  o = good, o.classes = 1;
  refused("resnet20", o, "1 classes");
  o = good, o.hidden_count = 2;
  refused("mlp", o, "hidden layer 2 has width 0");
}
END_TEST

START_TEST(listed) {
  for (size_t i = 0; i < tg_model_count; i++) {
    const tg_model *model;
    ck_assert_int_eq(tg_model_find(tg_models[i]->name, &model), TG_OK);
    ck_assert_ptr_eq(model, tg_models[i]);
    ck_assert_uint_gt(strlen(model->help), 10);
  }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("models");
  TCase *cases = tcase_create("models");
  tcase_add_test(cases, names_are_pytorchs);
  tcase_add_test(cases, counts);
  tcase_add_test(cases, shapes);
  tcase_add_test(cases, cnn_images);
  tcase_add_test(cases, stems);
  tcase_add_test(cases, mlp_widths);
  tcase_add_test(cases, bad_options);
  tcase_add_test(cases, listed);
  suite_add_tcase(suite, cases);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
