/* Path blocks of graphs: which weights are skeletons, how many, and what is refused. */
#include "product.h"
#include "tardigrad/model.h"

/* ---- skeletons of a block ---- */

/* By the definition, in the order of rows. */
START_TEST(skeletons_by_the_rule) {
  task t = task_open(&nets[_i].net);
  product p = product_open(&t, &nets[_i].net, "gsgd");
  const tg_path_block *b = &p.paths->block[0];
  bool *is = calloc(t.net.n, sizeof *is);
  size_t found = 0, wanted = 0, hidden = 0;
  ck_assert_uint_eq(p.paths->count, 1);
  ck_assert_int_eq(b->special, nets[_i].s);
  MUST(tg_paths_check(p.paths, "net"));
  for (int l = 1; l <= b->count; l++)
    for (size_t k = 0; k < tg_path_skeletons(b, l); k++) {
      size_t at = tg_path_skeleton(b, l, k);
      ck_assert(!is[at]);
      is[at] = true;
      found++;
    }
  for (int l = 1; l <= b->count; l++) {
    ck_assert_uint_eq(tg_path_width(b, l), t.block.layer[l - 1].out);
    if (l < b->count) hidden += tg_path_width(b, l);
    for (size_t o = 0; o < t.block.layer[l - 1].out; o++)
      for (size_t i = 0; i < t.block.layer[l - 1].in; i++)
        for (size_t tap = 0; tap < t.block.layer[l - 1].taps; tap++) {
          bool one = ref_is_skeleton(&t.block, l, o, i, tap);
          ck_assert_int_eq(is[ref_weight(&t.block, l, o, i, tap)], one);
          wanted += one;
        }
  }
  tg_path_counts c = tg_path_count(b);
  ck_assert_uint_eq(found, wanted);
  ck_assert_uint_eq(c.weights + c.biases, t.net.n);
  ck_assert_uint_eq(c.hidden, hidden);
  ck_assert_uint_eq(c.rank, t.net.n - hidden);
  ck_assert_uint_eq(c.frozen + c.trained, found);
  /* A basis: as many paths as the rank. */
  ck_assert_uint_eq(t.net.n - found + c.trained, c.rank);
  ck_assert_uint_eq(c.frozen, hidden);
  ck_assert_uint_eq(c.trained, tg_path_width(b, b->special));
  free(is);
  product_close(&p);
  task_close(&t);
}
END_TEST

/* ---- models ---- */

static tg_graph *model(const char *name, const int64_t *hidden, uint32_t count, bool no_bias) {
  const tg_model_options o = {.channels = 3,
                              .height = 32,
                              .width = 32,
                              .classes = 10,
                              .batch = 1,
                              .hidden = hidden,
                              .hidden_count = count,
                              .no_bias = no_bias};
  tg_graph *g;
  MUST(tg_model_build(name, &o, &g));
  return g;
}

/* Stages of a plain network and branches of a residual one, by arithmetic on their tables: plain34
 * and resnet34 are given as numbers. */
static const struct {
  const char *name;
  size_t blocks, layers, weights, frozen, trained;
} models[] = {
    {"plain34", 4, 32, 21086208, 6592, 960},
    {"resnet34", 16, 32, 21086208, 3776, 3776},
    {"plain18", 4, 16,
     64 * 64 * 9 * 4 + (64 * 128 + 3 * 128 * 128) * 9 + (128 * 256 + 3 * 256 * 256) * 9 +
         (256 * 512 + 3 * 512 * 512) * 9,
     3 * (64 + 128 + 256 + 512), 960},
    {"resnet18", 8, 16,
     64 * 64 * 9 * 4 + (64 * 128 + 3 * 128 * 128) * 9 + (128 * 256 + 3 * 256 * 256) * 9 +
         (256 * 512 + 3 * 512 * 512) * 9,
     2 * (64 + 128 + 256 + 512), 2 * (64 + 128 + 256 + 512)},
    {"resnet50", 16, 48,
     3 * (64 * 64 * 9 + 64 * 256) + (64 + 2 * 256) * 64 + 4 * (128 * 128 * 9 + 128 * 512) +
         (256 + 3 * 512) * 128 + 6 * (256 * 256 * 9 + 256 * 1024) + (512 + 5 * 1024) * 256 +
         3 * (512 * 512 * 9 + 512 * 2048) + (1024 + 2 * 2048) * 512,
     2 * (3 * 64 + 4 * 128 + 6 * 256 + 3 * 512), 3 * 64 + 4 * 128 + 6 * 256 + 3 * 512},
};

static tg_path_counts total(const tg_paths *paths, size_t *layers) {
  tg_path_counts sum = {0};
  *layers = 0;
  for (size_t i = 0; i < paths->count; i++) {
    tg_path_counts c = tg_path_count(&paths->block[i]);
    ck_assert_uint_eq(c.rank, c.weights + c.biases - c.hidden);
    ck_assert_uint_eq(c.frozen, c.hidden);
    *layers += (size_t)paths->block[i].count;
    sum.weights += c.weights;
    sum.biases += c.biases;
    sum.frozen += c.frozen;
    sum.trained += c.trained;
  }
  return sum;
}

START_TEST(blocks_of_models) {
  tg_graph *g = model(models[_i].name, NULL, 0, false);
  tg_paths *paths;
  size_t layers;
  MUST(tg_paths_create(g, &paths));
  MUST(tg_paths_check(paths, models[_i].name));
  tg_path_counts c = total(paths, &layers);
  ck_assert_uint_eq(paths->count, models[_i].blocks);
  ck_assert_uint_eq(layers, models[_i].layers);
  ck_assert_uint_eq(c.weights, models[_i].weights);
  ck_assert_uint_eq(c.biases, 0);
  ck_assert_uint_eq(c.frozen, models[_i].frozen);
  ck_assert_uint_eq(c.trained, models[_i].trained);
  tg_paths_destroy(paths);
  tg_graph_destroy(g);
}
END_TEST

/* n blocks of two convolutions in each of three stages of 16, 32, 64 channels. */
START_TEST(blocks_of_small_resnets) {
  static const int depths[] = {20, 32, 44, 56, 110};
  for (int k = 0; k < 5; k++) {
    size_t n = (size_t)(depths[k] - 2) / 6, layers;
    char name[16];
    snprintf(name, sizeof name, "resnet%d", depths[k]);
    tg_graph *g = model(name, NULL, 0, false);
    tg_paths *paths;
    MUST(tg_paths_create(g, &paths));
    MUST(tg_paths_check(paths, name));
    tg_path_counts c = total(paths, &layers);
    ck_assert_uint_eq(paths->count, 3 * n);
    ck_assert_uint_eq(layers, 6 * n);
    ck_assert_uint_eq(c.frozen, n * (16 + 32 + 64));
    ck_assert_uint_eq(c.trained, n * (16 + 32 + 64));
    ck_assert_uint_eq(c.weights, 9 * (2 * n * (16 * 16 + 32 * 32 + 64 * 64) - 16 * 32 - 32 * 64));
    ck_assert_str_eq(paths->block[n].name, "layer2.0");
    ck_assert_str_eq(paths->block[n].layer[0].name, "layer2.0.conv1");
    ck_assert(paths->block[n].layer[0].scale != TG_NOWHERE);
    tg_paths_destroy(paths);
    tg_graph_destroy(g);
  }
}
END_TEST

/* The published network for MNIST: m = 63104 for its images, H = 256. */
START_TEST(block_of_an_mlp) {
  const int64_t hidden[] = {64, 64, 64, 64};
  for (int no_bias = 0; no_bias < 2; no_bias++) {
    tg_graph *g = model("mlp", hidden, 4, no_bias);
    tg_paths *paths;
    MUST(tg_paths_create(g, &paths));
    MUST(tg_paths_check(paths, "mlp"));
    tg_path_counts c = tg_path_count(&paths->block[0]);
    ck_assert_uint_eq(paths->count, 1);
    ck_assert_int_eq(paths->block[0].special, 1);
    ck_assert_uint_eq(c.weights, 63104 + 64 * (3072 - 784));
    ck_assert_uint_eq(c.biases, no_bias ? 0 : 4 * 64 + 10);
    ck_assert_uint_eq(c.hidden, 256);
    ck_assert(paths->block[0].layer[0].scale == TG_NOWHERE);
    tg_paths_destroy(paths);
    tg_graph_destroy(g);
  }
}
END_TEST

/* ---- refusals ---- */

static void refused(const char *name, const int64_t *hidden, uint32_t count, const char *says) {
  tg_graph *g = model(name, hidden, count, false);
  tg_paths *paths;
  MUST(tg_paths_create(g, &paths));
  ck_assert_int_eq(tg_paths_check(paths, name), TG_ECONFIG);
  ck_assert_msg(strstr(tg_status_message(), says) != NULL, "%s", tg_status_message());
  ck_assert(strstr(tg_status_message(), name) != NULL);
  tg_paths_destroy(paths);
  tg_graph_destroy(g);
}

START_TEST(what_has_no_basis) {
  refused("cnn", NULL, 0, "no path blocks");
  refused("mlp", NULL, 0, "one layer");
  refused("mlp", (const int64_t[]){4, 2, 4}, 3, "must rise up to the widest");
  refused("mlp", (const int64_t[]){4, 5, 3, 4}, 4, "must rise up to the widest");
}
END_TEST

static void no_block(tg_graph *g, const char *says) {
  tg_paths *paths;
  MUST(tg_graph_status(g));
  ck_assert_int_eq(tg_paths_create(g, &paths), TG_ECONFIG);
  ck_assert_msg(strstr(tg_status_message(), says) != NULL, "%s", tg_status_message());
  ck_assert_ptr_null(paths);
  tg_graph_destroy(g);
}

static tg_graph *begin(tg_value **x) {
  tg_graph *g;
  MUST(tg_graph_create(&g));
  *x = tg_input(g, "x", (tg_shape){4, {1, 4, 3, 3}});
  tg_graph_path_block(g, "block");
  return g;
}

START_TEST(what_is_no_block) {
  tg_value *x;
  tg_graph *g = begin(&x);
  tg_conv2d(g, "b", tg_conv2d(g, "a", x, 3, 3, 1, 1, false), 3, 3, 1, 1, false);
  tg_conv2d(g, "c", x, 3, 3, 1, 1, false);
  no_block(g, "c reads 4 units and b before it has 3");
  g = begin(&x);
  x = tg_conv2d(g, "shared", x, 4, 3, 1, 1, false);
  tg_conv2d(g, "shared", tg_relu(g, x), 4, 3, 1, 1, false);
  no_block(g, "shared shares its weights");
  g = begin(&x);
  x = tg_conv2d(g, "a", x, 4, 3, 1, 1, false);
  tg_conv_attr up = {.out = 3, .kernel = {3, 3}, .transposed = true};
  tg_conv(g, "up", x, up);
  no_block(g, "up is a transposed convolution");
}
END_TEST

/* An update without blocks is refused, not made in some other space. */
START_TEST(layouts_need_blocks) {
  static const tg_part part = {0, 6, 2, 3, true};
  const tg_optimizer *o;
  tg_layout layout = {.part = &part, .count = 1};
  MUST(tg_optimizer_find("gsgd", &o));
  ck_assert_int_eq(tg_layout_check(o, &layout, 6, false), TG_ECONFIG);
  ck_assert(strstr(tg_status_message(), "gsgd") != NULL);
  layout.paths = any_paths(6);
  MUST(tg_layout_check(o, &layout, 6, false));
}
END_TEST

int main(void) {
  Suite *suite = suite_create("path blocks");
  TCase *tc = tcase_create("path blocks");
  tcase_set_timeout(tc, 60);
  tcase_add_loop_test(tc, skeletons_by_the_rule, 0, NETS);
  tcase_add_loop_test(tc, blocks_of_models, 0, sizeof models / sizeof *models);
  tcase_add_test(tc, blocks_of_small_resnets);
  tcase_add_test(tc, block_of_an_mlp);
  tcase_add_test(tc, what_has_no_basis);
  tcase_add_test(tc, what_is_no_block);
  tcase_add_test(tc, layouts_need_blocks);
  suite_add_tcase(suite, tc);
  return run_tests(suite);
}
