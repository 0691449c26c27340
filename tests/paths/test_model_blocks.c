/* The path blocks of models: how many weights, and which of them are skeletons. */
#include <check.h>

#include "tardigrad/model.h"
#include "tardigrad/paths.h"

/* Sums over blocks. Plain-34: one block per stage; residual networks: one per branch. */
static const struct {
  const char *model;
  size_t blocks, weights, frozen, trained;
} models[] = {{"plain34", 4, 21086208, 6592, 960},
              {"resnet34", 16, 21086208, 3776, 3776},
              {"plain18", 4, 10985472, 2880, 960},
              {"resnet20", 9, 267264, 336, 336}};

START_TEST(blocks_of_models) {
  tg_model_options options = {.channels = 3, .height = 32, .width = 32, .classes = 10, .batch = 1};
  tg_graph *g;
  tg_paths *paths;
  ck_assert_int_eq(tg_model_build(models[_i].model, &options, &g), TG_OK);
  ck_assert_int_eq(tg_paths_create(g, &paths), TG_OK);
  ck_assert_int_eq(tg_paths_check(paths, models[_i].model), TG_OK);
  ck_assert_uint_eq(paths->count, models[_i].blocks);
  size_t weights = 0, frozen = 0, trained = 0;
  for (size_t i = 0; i < paths->count; i++) {
    tg_path_counts c = tg_path_count(&paths->block[i]);
    ck_assert_uint_eq(c.frozen, c.hidden);
    ck_assert_uint_eq(c.weights + c.biases - c.frozen, c.rank);
    weights += c.weights;
    frozen += c.frozen;
    trained += c.trained;
  }
  ck_assert_uint_eq(weights, models[_i].weights);
  ck_assert_uint_eq(frozen, models[_i].frozen);
  ck_assert_uint_eq(trained, models[_i].trained);
  tg_paths_destroy(paths);
  tg_graph_destroy(g);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("path blocks");
  TCase *cases = tcase_create("path blocks");
  tcase_add_loop_test(cases, blocks_of_models, 0, sizeof models / sizeof *models);
  suite_add_tcase(suite, cases);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
