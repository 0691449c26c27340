/* DEVICE: yes. VALGRIND: no: hundreds of updates. Updates in path space on a device against the
 * host's: equal to the bit, over 50 updates, with whatever a model's blocks may be made of. */
#include "../ops/tools.h"
#include "tardigrad/model.h"
#include "tardigrad/paths.h"

enum { UPDATES = 50, WORKERS = 3 };
enum { W, STATE, SLOT0, SLOT1, BAK0, BAK1, BAK2, VECTORS };

/* ---- models ---- */

/* Widths that rise and fall about a special layer in the middle, with biases and 3x3, 3x1 and 1x1
 * kernels; dense layers; one of two layers; parameters between them that belong to no block. No
 * width is a multiple of anything. */
static tg_graph *make_blocks(void) {
  tg_graph *g = NULL;
  MUST(tg_graph_create(&g));
  tg_value *x = tg_input(g, "x", (tg_shape)SHAPE(2, 3, 8, 8));
  const int64_t out[] = {5, 19, 19, 7}, kernel[] = {3, 3, 1, 3};
  x = tg_conv2d(g, "stem", x, 4, 3, 1, 1, true);
  tg_graph_path_block(g, "convolutions");
  for (int i = 0; i < 4; i++) {
    char name[16];
    snprintf(name, sizeof name, "conv%d", i);
    tg_conv_attr attr = {.out = out[i],
                         .kernel = {kernel[i], i == 1 ? 1 : kernel[i], 1},
                         .stride = {1, 1, 1},
                         .pad = {kernel[i] / 2, i == 1 ? 0 : kernel[i] / 2, 0},
                         .bias = i != 2};
    x = tg_relu(g, tg_conv(g, name, x, attr));
  }
  tg_graph_path_block(g, NULL);
  x = tg_batch_norm(g, "bn", tg_conv2d(g, "between", x, 6, 3, 2, 1, false));
  tg_graph_path_block(g, "two");
  x = tg_conv2d(g, "conv4", tg_relu(g, tg_conv2d(g, "conv3b", x, 11, 3, 1, 1, false)), 8, 3, 1, 1,
                false);
  tg_graph_path_block(g, NULL);
  x = tg_flatten(g, tg_global_avg_pool(g, x));
  tg_graph_path_block(g, "dense");
  x = tg_relu(g, tg_dense(g, "fc1", x, 21, true));
  x = tg_relu(g, tg_dense(g, "fc2", x, 37, true));
  x = tg_relu(g, tg_dense(g, "fc3", x, 37, false));
  x = tg_dense(g, "fc4", x, 5, true);
  tg_softmax_cross_entropy(g, "loss", x, tg_labels(g, "y", 2), 1);
  MUST(tg_graph_status(g));
  return g;
}

static tg_graph *make_named(const char *name) {
  const int64_t hidden[] = {48, 31};
  tg_model_options o = {.channels = 1,
                        .height = 7,
                        .width = 7,
                        .classes = 5,
                        .batch = 2,
                        .hidden = hidden,
                        .hidden_count = 2};
  if (strcmp(name, "blocks") == 0) return make_blocks();
  if (strcmp(name, "resnet20") == 0) o.channels = 3, o.height = o.width = 8;
  tg_graph *g = NULL;
  MUST(tg_model_build(name, &o, &g));
  return g;
}

/* ---- settings ---- */

typedef struct setting {
  const char *rule;
  bool in_paths, norm, has_bak, in_pieces;
  bool vanishes; /* two trained skeletons of a block, all but or wholly */
  double clamp;
  float lr, decay;
  tg_skeleton_kind skeleton;
  size_t shift; /* of all vectors, from where memory is aligned */
} setting;

static const setting settings[] = {
    {.rule = "ssgd", .lr = 0.01f, .skeleton = TG_SKELETON_ONES},
    {.rule = "sgd", .norm = true, .lr = 0.01f, .decay = 1e-3f, .skeleton = TG_SKELETON_SIGNS},
    {.rule = "asgd",
     .has_bak = true,
     .lr = 0.02f,
     .decay = 1e-3f,
     .clamp = 0.9999,
     .shift = 1,
     .skeleton = TG_SKELETON_ONES},
    {.rule = "dc-asgd-a", .in_paths = true, .has_bak = true, .lr = 0.005f, .decay = 1e-4f},
    {.rule = "dc-asgd-a",
     .in_paths = true,
     .has_bak = true,
     .norm = true,
     .clamp = 0.9999,
     .lr = 0.02f,
     .skeleton = TG_SKELETON_SIGNS},
    {.rule = "dc-asgd-a", .has_bak = true, .in_pieces = true, .lr = 0.005f, .decay = 1e-3f},
    {.rule = "dc-asgd-c", .in_paths = true, .has_bak = true, .lr = 0.005f, .clamp = 0.5},
    {.rule = "dc-asgd-c",
     .has_bak = true,
     .norm = true,
     .lr = 0.005f,
     .shift = 3,
     .skeleton = TG_SKELETON_SIGNS},
    {.rule = "asgd", .has_bak = true, .vanishes = true, .lr = 1e-6f, .clamp = 0.95},
};
enum { SETTINGS = sizeof settings / sizeof *settings };

static const char *const optimizers[] = {"gsgd", "gsgd-momentum", "gsgd-rmsprop", "gsgd-adam"};
enum { OPTIMIZERS = sizeof optimizers / sizeof *optimizers };

static tg_hyper hyper_of(const setting *s, const tg_optimizer *optimizer, uint64_t update) {
  const tg_optimizer_keys set = {.beta1 = 0.9,
                                 .beta2 = 0.99,
                                 .alpha = NAN,
                                 .epsilon = NAN,
                                 .path_clamp = s->clamp,
                                 .path_norm = s->norm,
                                 .path_compensate = s->in_paths};
  bool adaptive = optimizer->default_epsilon > 0;
  return (tg_hyper){.lr = adaptive ? s->lr / 20 : s->lr,
                    .lambda = 0.2f,
                    .mean_square_decay = 0.95f,
                    .epsilon = 1e-7f,
                    .momentum = 0.9f,
                    .weight_decay = s->decay,
                    .update = update,
                    .keys = tg_optimizer_keys_of(optimizer, &set)};
}

/* ---- the host and the device ---- */

typedef struct side {
  tg_device *d; /* NULL: the host */
  tg_paths *paths;
  tg_layout layout;
  void *whole;
  float *memory[VECTORS], *vector[VECTORS], *g_memory, *g;
  tg_update_sums *sums;
} side;

static float *same_there(tg_device *d, const float *from, size_t count) {
  if (d) return on_device(d, from, count * sizeof *from);
  float *v = malloc(count * sizeof *v);
  memcpy(v, from, count * sizeof *v);
  return v;
}

static side side_open(tg_device *d, const tg_graph *g, const tg_update *like, size_t shift,
                      float *const start[VECTORS]) {
  static const tg_update_sums none;
  side s = {.d = d};
  MUST(tg_paths_create(g, &s.paths));
  s.layout.paths = s.paths;
  for (int i = 0; i < VECTORS; i++) {
    s.memory[i] = same_there(d, start[i], g->n + shift);
    s.vector[i] = s.memory[i] + shift;
  }
  s.g_memory = same_there(d, start[W], g->n + shift);
  s.g = s.g_memory + shift;
  s.sums = (tg_update_sums *)same_there(d, (const float *)&none, sizeof none / sizeof(float));
  if (d) MUST(d->backend->whole_open(d, like, &s.layout, g->n, &s.whole));
  return s;
}

static void side_close(side *s) {
  void (*const give_back)(tg_device *, void *) = s->d ? s->d->backend->free : NULL;
  void *used[VECTORS + 2] = {s->sums, s->g_memory};
  for (int i = 0; i < VECTORS; i++) used[2 + i] = s->memory[i];
  for (int i = 0; i < VECTORS + 2; i++)
    if (give_back)
      give_back(s->d, used[i]);
    else
      free(used[i]);
  if (s->d) s->d->backend->whole_close(s->d, s->whole);
  tg_paths_destroy(s->paths);
}

static void update(side *s, const setting *of, tg_update u, size_t n) {
  uint32_t m = (uint32_t)(u.hyper.update % WORKERS);
  size_t middle = of->in_pieces ? n / 3 : n;
  const tg_span piece[] = {{0, middle}, {middle, n}};
  u.w = s->vector[W];
  u.rule_state = u.rule->has_state ? s->vector[STATE] : NULL;
  for (int i = 0; i < u.optimizer->slots; i++) u.slot[i] = s->vector[SLOT0 + i];
  if (of->has_bak) u.w_bak = u.bak_out = s->vector[BAK0 + m];
  for (int i = 0; i < 2; i++) {
    float *g = s->g + piece[i].lo;
    if (piece[i].lo == piece[i].hi) continue;
    if (s->d)
      MUST(s->d->backend->update(s->d, &u, piece[i], g, s->sums));
    else
      tg_update_apply(&u, piece[i], g, s->sums);
  }
  if (s->d)
    MUST(s->d->backend->update_whole(s->d, s->whole, &u, s->g, s->sums));
  else
    MUST(tg_update_whole(&u, &s->layout, n, s->g, s->sums));
}

/* ---- comparison ---- */

static void same(const side *here, const side *there, size_t n, const char *what) {
  for (int k = 0; k < VECTORS; k++) {
    float *have = to_host(there->d, there->vector[k], n);
    size_t j = 0;
    while (j < n && memcmp(&have[j], &here->vector[k][j], sizeof *have) == 0) j++;
    ck_assert_msg(j == n, "%s: vector %d, [%zu] is %.9g, must be %.9g", what, k, j,
                  (double)have[j % n], (double)here->vector[k][j % n]);
    for (j = 0; j < n; j++) ck_assert_msg(isfinite(have[j]), "%s: [%zu] diverged", what, j);
    free(have);
  }
}

static void near(const char *what, const char *sum, double have, double want) {
  ck_assert_msg(fabs(have - want) <= 1e-5 * fabs(want), "%s: %s is %.9g, must be %.9g", what, sum,
                have, want);
}

static void same_sums(const side *here, const side *there, const setting *of, bool few,
                      const char *what) {
  tg_update_sums have;
  const tg_update_sums *want = here->sums;
  uint64_t clamped = 0;
  MUST(there->d->backend->to_host(there->d, &have, there->sums, sizeof have));
  near(what, "correction", have.correction_square, want->correction_square);
  near(what, "gradient", have.gradient_square, want->gradient_square);
  near(what, "gap", have.gap_square, want->gap_square);
  ck_assert_msg(!of->has_bak || have.gap_square > 0, "%s: no gap", what);
  ck_assert_msg(strncmp(of->rule, "dc", 2) != 0 || have.correction_square > 0,
                "%s: nothing was compensated", what);
  if (there->d->backend->whole_clamped) {
    MUST(there->d->backend->whole_clamped(there->d, there->whole, &clamped));
    MUST(there->d->backend->sync(there->d));
  } else {
    clamped = tg_paths_clamped(there->paths);
  }
  ck_assert_msg(clamped == tg_paths_clamped(here->paths), "%s: %llu kept in limits, must be %llu",
                what, (unsigned long long)clamped,
                (unsigned long long)tg_paths_clamped(here->paths));
  ck_assert_msg(of->clamp < 0.9 || clamped > 0 || few, "%s: nothing was kept in limits", what);
}

static void start_vectors(const tg_graph *g, const setting *of, float *start[VECTORS]) {
  tg_paths *paths = NULL;
  MUST(tg_paths_create(g, &paths));
  MUST(tg_paths_check(paths, "test"));
  for (int i = 0; i < VECTORS; i++) start[i] = calloc(g->n + of->shift, sizeof(float));
  for (size_t i = 0; i < g->n; i++) {
    float x = random_number();
    /* Skeletons that stay as they are must not be near 0. */
    if (of->skeleton == TG_SKELETON_NONE) x += x < 0 ? -0.5f : 0.5f;
    start[W][of->shift + i] = x;
  }
  MUST(tg_paths_init(paths, of->skeleton, start[W] + of->shift));
  for (size_t k = 0; of->vanishes && k < paths->count; k++)
    for (size_t j = 0; j < 2; j++) {
      const tg_path_block *b = &paths->block[k];
      start[W][of->shift + tg_path_skeleton(b, b->special, j)] = j ? 1e-9f : 0;
    }
  for (int i = BAK0; i < VECTORS; i++)
    memcpy(start[i], start[W], (g->n + of->shift) * sizeof(float));
  tg_paths_destroy(paths);
}

static void compare_updates(tg_device *d, const char *model, const char *name, const setting *of,
                            int updates) {
  tg_graph *g = make_named(model);
  tg_update u = {0};
  float *start[VECTORS];
  char what[96];
  random_state = 88172645463325252u;
  MUST(tg_rule_find(of->rule, &u.rule));
  MUST(tg_optimizer_find(name, &u.optimizer));
  u.hyper = hyper_of(of, u.optimizer, 0);
  start_vectors(g, of, start);
  side here = side_open(NULL, g, &u, of->shift, start);
  side there = side_open(d, g, &u, of->shift, start);
  for (int t = 0; t < updates; t++) {
    for (size_t i = 0; i < g->n; i++) here.g[i] = 0.1f * random_number();
    MUST(d->backend->to_device(d, there.g, here.g, g->n * sizeof(float)));
    u.hyper = hyper_of(of, u.optimizer, (uint64_t)t);
    update(&here, of, u, g->n);
    update(&there, of, u, g->n);
    snprintf(what, sizeof what, "%s, %s, setting %d, update %d", model, name, (int)(of - settings),
             t);
    if (t < 3 || t == updates - 1) same(&here, &there, g->n, what);
  }
  same_sums(&here, &there, of, updates < UPDATES, what);
  for (int i = 0; i < VECTORS; i++) free(start[i]);
  side_close(&here);
  side_close(&there);
  tg_graph_destroy(g);
}

START_TEST(updates_equal_the_hosts) {
  tg_device *d = NULL;
  MUST(tg_device_open(other_device(), &d));
  for (int o = 0; o < OPTIMIZERS; o++) {
    compare_updates(d, "blocks", optimizers[o], &settings[_i], UPDATES);
    compare_updates(d, "mlp", optimizers[o], &settings[_i], UPDATES);
  }
  tg_device_close(d);
}
END_TEST

/* A few hundred thousand parameters: many pieces of work, and more of them than blocks of threads.
 */
START_TEST(updates_of_a_residual_network_equal_the_hosts) {
  tg_device *d = NULL;
  MUST(tg_device_open(other_device(), &d));
  compare_updates(d, "resnet20", "gsgd", &settings[0], 3);
  compare_updates(d, "resnet20", "gsgd-adam", &settings[4], 3);
  tg_device_close(d);
}
END_TEST

/* ---- what a device refuses ---- */

static void refuses(tg_device *d, const tg_graph *g, const char *rule, const char *optimizer,
                    const char *word) {
  void *whole = NULL;
  tg_paths *paths = NULL;
  tg_update u = {0};
  MUST(tg_paths_create(g, &paths));
  tg_layout layout = {.paths = paths};
  MUST(tg_rule_find(rule, &u.rule));
  MUST(tg_optimizer_find(optimizer, &u.optimizer));
  u.hyper.keys.path_compensate = true;
  ck_assert_int_eq(d->backend->whole_open(d, &u, &layout, g->n, &whole), TG_ECONFIG);
  ck_assert_msg(strstr(tg_status_message(), word) &&
                    strstr(tg_status_message(), "server.device=cpu"),
                "%s, %s: %s", rule, optimizer, tg_status_message());
  tg_paths_destroy(paths);
}

START_TEST(what_has_no_kernel_is_refused) {
  tg_device *d = NULL;
  tg_graph *g = make_named("mlp");
  MUST(tg_device_open(other_device(), &d));
  refuses(d, g, "asgd", "lamb", "lamb");
  if (strcmp(d->backend->name, "cuda") == 0) refuses(d, g, "gap-aware", "gsgd", "gap-aware");
  tg_device_close(d);
  tg_graph_destroy(g);
}
END_TEST

int main(void) {
  Suite *s = suite_create("paths on a device");
  TCase *t = tcase_create("updates");
  tcase_set_timeout(t, 120);
  tcase_add_loop_test(t, updates_equal_the_hosts, 0, SETTINGS);
  tcase_add_test(t, updates_of_a_residual_network_equal_the_hosts);
  tcase_add_test(t, what_has_no_kernel_is_refused);
  suite_add_tcase(s, t);
  return run_suite(s);
}
