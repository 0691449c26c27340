/* The optimisers through the server: against references in double over hundreds of late gradients,
 * and what must not change a bit. */
#include <math.h>
#include <omp.h>

#include "../dist/cluster.h"
#include "../support/ref_optim.h"
#include "made.h"

/* ---- against the reference ---- */

enum { PUSHES = 240, MOST = 512 };

static const char *const rules[] = {"asgd", "dc-asgd-c", "dc-asgd-a"};

static tg_server_options options_of(const char *rule, const char *name, const char *inner,
                                    uint32_t workers, size_t n, double updates) {
  tg_server_options o = cluster_options(rule, name, workers, n, updates);
  o.optimizer = made(name, inner);
  o.hyper.keys = default_keys(o.optimizer);
  return o;
}

static ref_optim reference_of(const tg_server_options *o) {
  const tg_optimizer_keys *k = &o->hyper.keys;
  ref_optim r = {.name = o->optimizer->name,
                 .inner = o->optimizer->inner ? o->optimizer->inner->name : NULL,
                 .momentum = o->hyper.momentum,
                 .decay = o->hyper.weight_decay,
                 .beta1 = k->beta1,
                 .beta2 = k->beta2,
                 .beta3 = k->beta3,
                 .alpha = k->alpha,
                 .epsilon = k->epsilon,
                 .trust = k->trust,
                 .alpha_updates = (double)k->alpha_updates,
                 .beta3_updates = (double)k->beta3_updates,
                 .k = (int)k->k,
                 .every = (int)k->shampoo_every,
                 .limit = (int)k->shampoo_limit,
                 .tensors = o->layout.count,
                 .n = o->n};
  for (size_t i = 0; i < r.tensors; i++) {
    const tg_part *p = &o->layout.part[i];
    r.tensor[i] = (ref_tensor){p->rows, p->cols, p->weight};
  }
  return r;
}

/* The rules, in double. */
typedef struct late {
  double bak[CLUSTER_WORKERS][MOST], mean_square[CLUSTER_WORKERS][MOST];
} late;

static void compensate(late *l, const cluster *c, uint32_t m, const double *w, double *g) {
  bool adaptive = c->o.rule->has_state, corrects = c->o.rule->compensate;
  for (size_t i = 0; i < c->o.n && corrects; i++) {
    double lambda = c->o.hyper.lambda, *ms = &l->mean_square[m][i];
    *ms = 0.95 * *ms + 0.05 * g[i] * g[i];
    if (adaptive) lambda /= sqrt(*ms + 1e-7);
    g[i] += lambda * g[i] * g[i] * (w[i] - l->bak[m][i]);
  }
}

static double distance(const cluster *c, const double *expected) {
  const float *w = tg_server_state_of(c->server).w;
  double error = 0, size = 0;
  for (size_t i = 0; i < c->o.n; i++) {
    error += pow(w[i] - expected[i], 2);
    size += pow(expected[i], 2);
  }
  return sqrt(error / size);
}

/* One answer of worker m to both; gradients are random and do not look at the weights. */
static void answer_both(cluster *c, ref_optim *r, late *l, uint32_t m) {
  tg_msg in = cluster_reply(c, m);
  double g[MOST];
  for (size_t i = 0; i < c->o.n; i++) g[i] = c->g[i] = cluster_random(m, in.step, i);
  ck_assert_msg(tg_server_step(c->server, &in, c->g, NULL, &c->inbox[m], &c->event) == TG_OK, "%s",
                tg_status_message());
  if (c->event.applied) {
    compensate(l, c, m, r->w, g);
    ref_optim_step(r, g, c->event.lr);
  }
  if (c->event.serves) memcpy(l->bak[m], r->w, c->o.n * sizeof *r->w);
}

/* Returns the largest distance on the way. */
static double follow(const tg_server_options *o) {
  static late l;
  cluster c;
  ref_optim r = reference_of(o);
  double worst = 0;
  memset(&l, 0, sizeof l);
  cluster_open(&c, o);
  ref_optim_open(&r, c.w0);
  for (uint32_t m = 0; m < o->workers; m++) memcpy(l.bak[m], r.w, o->n * sizeof *r.w);
  for (uint64_t turn = 0; !tg_server_finished(c.server); turn++) {
    uint32_t m = (uint32_t)((cluster_random(3, turn, 6) + 1) / 2 * (float)o->workers) % o->workers;
    while (!cluster_busy(&c, m)) m = (m + 1) % o->workers;
    answer_both(&c, &r, &l, m);
    worst = fmax(worst, distance(&c, r.w));
  }
  ck_assert_uint_eq(tg_server_state_of(c.server).update, PUSHES);
  ref_optim_close(&r);
  cluster_close(&c);
  return worst;
}

static double rate_for(const char *name) {
  const char *slow[] = {"adam", "amsgrad", "adamw", "diffgrad", "shampoo", "ademamix", "lamb"};
  for (size_t i = 0; i < sizeof slow / sizeof *slow; i++)
    if (strcmp(name, slow[i]) == 0) return 0.01;
  return strcmp(name, "lars") == 0 ? 1 : 0.05;
}

static void compare(const char *rule, const char *name, const char *inner) {
  static const tg_schedule_step drops[] = {{100, 0.5}, {180, 0.1}};
  for (int decay = 0; decay < 2; decay++) {
    tg_server_options o = options_of(rule, name, inner, 4, 61, PUSHES);
    o.schedule = (tg_schedule){
        .lr = rate_for(inner ? inner : name), .steps = drops, .count = 2, .warmup_epochs = 30};
    o.hyper.weight_decay = decay ? 1e-2f : 0;
    o.hyper.lambda = o.rule->default_lambda;
    o.eval_every = 37;
    double error = follow(&o);
    ck_assert_msg(error <= 1e-5, "%s, %s %s, weight decay %g: %.2g off the reference", rule, name,
                  inner ? inner : "", o.hyper.weight_decay, error);
  }
}

START_TEST(against_the_reference) {
  const char *name = tg_optimizers[_i]->name;
  tg_optimizer around;
  if (tg_optimizers[_i]->path_step) return; /* tests/paths */
  for (int i = 0; i < 3; i++) {
    if (!tg_optimizers[_i]->inner) compare(rules[i], name, NULL);
    if (tg_optimizer_make("lookahead", name, &around) == TG_OK)
      compare(rules[i], "lookahead", name);
  }
}
END_TEST

/* Shampoo's sides: both, one above the limit, none; and tensors of several shapes. */
START_TEST(shampoo_by_its_limit) {
  static const tg_part parts[] = {
      {0, 12, 3, 4, true}, {12, 14, 2, 7, true}, {26, 9, 9, 1, false}, {35, 1, 1, 1, false}};
  const uint64_t limits[] = {1, 3, 4, 8, 100};
  tg_server_options o = options_of("asgd", "shampoo", NULL, 3, 36, PUSHES);
  o.layout = (tg_layout){.part = parts, .count = 4};
  o.hyper.keys.shampoo_limit = limits[_i];
  o.hyper.keys.shampoo_every = (uint64_t)_i + 1;
  o.schedule.lr = 0.02;
  double error = follow(&o);
  ck_assert_msg(error <= 1e-5, "limit %d: %.2g", (int)limits[_i], error);
}
END_TEST

/* ---- what changes no bit ---- */

enum { LARGE = 140003, MIDDLE = 5003 };

typedef struct kept {
  float *w, *slot[TG_MAX_SLOTS];
  size_t length[TG_MAX_SLOTS];
} kept;

static float *copy_of(const float *x, size_t n) {
  float *copy = malloc((n + 1) * sizeof *copy);
  memcpy(copy, x, n * sizeof *copy);
  return copy;
}

static kept run_in_spans(const char *name, size_t n, size_t span, int threads) {
  tg_server_options o = options_of("dc-asgd-a", name, "adam", 2, n, 6);
  o.hyper.weight_decay = 1e-4f;
  o.hyper.keys.k = 2;
  kept k = {0};
  cluster c;
  omp_set_num_threads(threads);
  cluster_open(&c, &o);
  for (uint32_t turn = 0; !tg_server_finished(c.server); turn++)
    if (cluster_busy(&c, turn % 2)) ck_assert(cluster_answer(&c, turn % 2, span) == TG_OK);
  tg_server_state t = tg_server_state_of(c.server);
  k.w = copy_of(t.w, n);
  for (size_t i = 0; i < t.slot_count; i++) {
    k.length[i] = t.slot_length[i];
    k.slot[i] = copy_of(t.slot[i], t.slot_length[i]);
  }
  cluster_close(&c);
  return k;
}

static void drop(kept *k) {
  free(k->w);
  for (size_t i = 0; i < TG_MAX_SLOTS; i++) free(k->slot[i]);
}

static void same_in_spans(const char *name, size_t n) {
  const size_t spans[] = {0, 65537, 1000, 333, 0, 0};
  const int threads[] = {2, 2, 2, 3, 3, 4};
  kept expected = run_in_spans(name, n, 0, 1);
  for (int i = 0; i < 6; i++) {
    kept k = run_in_spans(name, n, spans[i], threads[i]);
    bool same = memcmp(k.w, expected.w, n * sizeof(float)) == 0;
    for (size_t s = 0; s < TG_MAX_SLOTS && k.slot[s]; s++)
      same = same && memcmp(k.slot[s], expected.slot[s], k.length[s] * sizeof(float)) == 0;
    ck_assert_msg(same, "%s, %zu parameters, spans of %zu, %d threads", name, n, spans[i],
                  threads[i]);
    drop(&k);
  }
  drop(&expected);
}

START_TEST(spans_and_threads_change_no_bit) {
  same_in_spans(tg_optimizers[_i]->name, LARGE);
  same_in_spans(tg_optimizers[_i]->name, MIDDLE);
}
END_TEST

/* Nothing of w_bak may be sent before an optimiser of whole tensors has seen the last span. */
START_TEST(whole_tensors_wait) {
  for (size_t k = 0; k < tg_optimizer_count; k++) {
    const tg_optimizer *row = tg_optimizers[k];
    tg_server_options o = options_of("asgd", row->name, "sgd", 1, 61, 3);
    cluster c;
    cluster_open(&c, &o);
    ck_assert(!tg_server_waits(c.server));
    tg_msg in = cluster_reply(&c, 0);
    float *g = c.g, before[61];
    for (size_t i = 0; i < o.n; i++) g[i] = 1;
    memcpy(before, tg_server_state_of(c.server).bak[0], sizeof before);
    ck_assert(tg_server_begin(c.server, &in, &c.inbox[0], &c.event) == TG_OK);
    ck_assert(tg_server_waits(c.server) == (row->whole != NULL));
    ck_assert(tg_server_apply(c.server, (tg_span){0, 60}, g) == TG_OK);
    const float *bak = tg_server_state_of(c.server).bak[0];
    ck_assert((memcmp(before, bak, sizeof before) == 0) == (row->whole != NULL));
    ck_assert(tg_server_apply(c.server, (tg_span){60, 61}, g + 60) == TG_OK);
    ck_assert_mem_eq(bak, tg_server_state_of(c.server).w, sizeof before);
    ck_assert(memcmp(before, bak, sizeof before) != 0);
    ck_assert(tg_server_end(c.server, NULL, &c.event) == TG_OK);
    cluster_close(&c);
  }
}
END_TEST

/* With alpha = 1 slow weights are the inner optimiser's: the same run to the bit. */
START_TEST(lookahead_that_follows_wholly_is_inner) {
  tg_optimizer around;
  for (size_t k = 0; k < tg_optimizer_count; k++) {
    const char *inner = tg_optimizers[k]->name;
    if (tg_optimizer_make("lookahead", inner, &around) != TG_OK) continue;
    tg_server_options plain = options_of("dc-asgd-a", inner, NULL, 4, 700, 100);
    int slots = plain.optimizer->slots;
    cluster a, b;
    plain.hyper.weight_decay = 1e-3f;
    cluster_open(&a, &plain);
    cluster_run(&a, 5, UINT64_MAX);
    tg_server_options o = options_of("dc-asgd-a", "lookahead", inner, 4, 700, 100);
    o.hyper.weight_decay = 1e-3f;
    o.hyper.keys.alpha = 1;
    cluster_open(&b, &o);
    cluster_run(&b, 5, UINT64_MAX);
    ck_assert_mem_eq(tg_server_state_of(a.server).w, tg_server_state_of(b.server).w,
                     700 * sizeof(float));
    ck_assert_uint_eq(tg_server_state_of(b.server).slot_count, slots + 1);
    cluster_close(&a);
    cluster_close(&b);
  }
}
END_TEST

START_TEST(what_cannot_be_made) {
  tg_optimizer o;
  const char *inner[] = {"lookahead", "ademamix", "lars", "lamb", "shampoo", "gsgd"};
  for (int i = 0; i < 6; i++) {
    ck_assert_int_eq(tg_optimizer_make("lookahead", inner[i], &o), TG_ECONFIG);
    ck_assert(strstr(tg_status_message(), "optimizer.inner="));
    ck_assert(strstr(tg_status_message(), inner[i]));
  }
  ck_assert_int_eq(tg_optimizer_make("lookahead", "addam", &o), TG_ECONFIG);
  ck_assert_str_eq(tg_status_message(), "no optimizer 'addam'; did you mean 'adam'?");
  /* Layouts that are not the model's. */
  static const tg_part gap[] = {{0, 4, 2, 2, true}, {5, 2, 2, 1, true}};
  static const tg_part odd[] = {{0, 6, 2, 2, true}};
  tg_server_options so = options_of("asgd", "lamb", NULL, 1, 6, 3);
  const tg_layout bad[] = {{.part = gap, .count = 2},
                           {.part = odd, .count = 1},
                           {.part = gap, .count = 1},
                           {.count = 0}};
  float w0[6] = {0};
  for (int i = 0; i < 4; i++) {
    tg_server *server;
    so.layout = bad[i];
    ck_assert_int_eq(tg_server_create(&so, w0, NULL, &server), TG_ECONFIG);
  }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("optimizers");
  TCase *tc = tcase_create("optimizers");
  tcase_set_timeout(tc, 120);
  tcase_add_loop_test(tc, against_the_reference, 0, (int)tg_optimizer_count);
  tcase_add_loop_test(tc, shampoo_by_its_limit, 0, 5);
  tcase_add_loop_test(tc, spans_and_threads_change_no_bit, 0, (int)tg_optimizer_count);
  tcase_add_test(tc, whole_tensors_wait);
  tcase_add_test(tc, lookahead_that_follows_wholly_is_inner);
  tcase_add_test(tc, what_cannot_be_made);
  suite_add_tcase(suite, tc);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
