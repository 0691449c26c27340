/* The optimisers through the server, against references in double over hundreds of late gradients;
 * what must not change a bit; and what their papers promise. */
#include <float.h>
#include <math.h>
#include <omp.h>

#include "../dist/cluster.h"
#include "../support/ref_optim.h"

/* ---- against the reference ---- */

enum { PUSHES = 240, MOST = 512 };

static const char *const rules[] = {"asgd", "dc-asgd-c", "dc-asgd-a"};

/* The optimiser's row, around `inner` if it wraps one. Static memory, until the next call. */
static const tg_optimizer *made(const char *name, const char *inner) {
  static tg_optimizer row;
  ck_assert_msg(tg_optimizer_make(name, inner, &row) == TG_OK, "%s", tg_status_message());
  return &row;
}

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
  o.layout = (tg_layout){parts, 4};
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

/* ---- what the papers say ---- */

/* One coordinate by itself, without a server. */
typedef struct single {
  const tg_optimizer *row;
  tg_hyper h;
  float w, state[TG_MAX_SLOTS];
} single;

static single single_of(const char *name, float w) {
  single s = {.row = made(name, "sgd"), .w = w};
  s.h.keys = default_keys(s.row);
  s.h.lr = 0.1f;
  s.h.momentum = 0.9f;
  return s;
}

static void single_step(single *s, float g) {
  static const tg_part part = {0, 1, 1, 1, true};
  const tg_layout layout = {&part, 1};
  float *slot[TG_MAX_SLOTS];
  for (int i = 0; i < TG_MAX_SLOTS; i++) slot[i] = &s->state[i];
  tg_optimizer_prepare(s->row, &s->h);
  if (s->row->whole)
    ck_assert(s->row->whole(&s->h, &layout, &s->w, &g, slot) == TG_OK);
  else
    s->row->apply(&s->h, 1, &s->w, &g, slot);
  s->h.update++;
}

/* Reddi et al., section 3: f_t(x) = C x every third time, -x else, x in [-1,1], C > 2. The best
 * point is -1; Adam with beta1 = 0, beta2 = 1 / (1 + C^2) and lr / sqrt(t) goes to +1. */
static double counter_example(const char *name) {
  const double C = 4;
  single s = single_of(name, 0);
  s.h.keys.beta1 = 0;
  s.h.keys.beta2 = 1 / (1 + C * C);
  for (int t = 1; t <= 30000; t++) {
    s.h.lr = (float)(0.1 / sqrt(t));
    single_step(&s, t % 3 == 1 ? (float)C : -1);
    s.w = fminf(fmaxf(s.w, -1), 1);
  }
  return s.w;
}

START_TEST(amsgrad_where_adam_fails) {
  ck_assert_double_gt(counter_example("adam"), 0.98);
  ck_assert_double_lt(counter_example("amsgrad"), -0.98);
}
END_TEST

START_TEST(largest_moment_never_falls) {
  single s = single_of("amsgrad", 1);
  float before = 0;
  for (int t = 0; t < 3000; t++) {
    /* Gradients that swell, fade and end. */
    single_step(&s, t < 2000 ? 10 * cluster_random(1, (uint64_t)t, 9) * sinf((float)t / 100) : 0);
    ck_assert(s.state[2] >= before && s.state[2] >= s.state[1]);
    before = s.state[2];
  }
  ck_assert(before > s.state[1]);
}
END_TEST

/* w -= lr g / sqrt(sum g^2 + epsilon), in float32, to the bit. */
START_TEST(shampoo_of_one_element_is_adagrad) {
  single s = single_of("shampoo", 1);
  float sum = 0, w = 1;
  for (int t = 0; t < 300; t++) {
    float g = cluster_random(2, (uint64_t)t, 9);
    single_step(&s, g);
    sum += g * g;
    w -= 0.1f * (g / sqrtf(sum + 1e-4f));
    ck_assert(s.w == w && s.state[0] == sum);
  }
}
END_TEST

/* A diagonal matrix whose gradients are: every element of it is AdaGrad's, from both sides. */
START_TEST(shampoo_of_a_diagonal_is_adagrad) {
  enum { SIDE = 4, N = SIDE * SIDE };
  const tg_part part = {0, N, SIDE, SIDE, true};
  const tg_layout layout = {&part, 1};
  const tg_optimizer *row = made("shampoo", NULL);
  tg_hyper h = {.lr = 0.1f, .keys = default_keys(row)};
  h.keys.shampoo_every = 1;
  float w[N] = {0}, state[4 * N] = {0}, *slot[TG_MAX_SLOTS] = {state};
  double expected[SIDE] = {0}, sum[SIDE] = {0};
  ck_assert_uint_eq(row->slot_length(&h.keys, &layout, 0), 4 * N);
  for (int t = 0; t < 200; t++, h.update++) {
    float g[N] = {0};
    for (uint64_t i = 0; i < SIDE; i++) {
      g[i * SIDE + i] = cluster_random(i, (uint64_t)t, 3);
      sum[i] += pow(g[i * SIDE + i], 2);
      expected[i] -= 0.1 * g[i * SIDE + i] / sqrt(sum[i] + 1e-4);
    }
    ck_assert(row->whole(&h, &layout, w, g, slot) == TG_OK);
    for (int i = 0; i < N; i++)
      ck_assert_double_eq_tol(w[i], i % (SIDE + 1) ? 0 : expected[i / SIDE], 1e-5);
  }
}
END_TEST

/* The first step of Adam and its kin is lr in the direction of -g whatever g's size. */
START_TEST(first_step_has_the_length_of_lr) {
  const char *names[] = {"adam", "amsgrad", "adamw"};
  const float sizes[] = {1e-4f, 1, 1e6f, -3};
  for (int k = 0; k < 3; k++)
    for (int i = 0; i < 4; i++) {
      single s = single_of(names[k], 2);
      single_step(&s, sizes[i]);
      ck_assert_float_eq_tol(s.w, 2 - copysignf(0.1f, sizes[i]), 2e-5f);
    }
  single s = single_of("diffgrad", 2); /* damped by the sigmoid of |0 - g| */
  single_step(&s, 1);
  ck_assert_float_eq_tol(s.w, (float)(2 - 0.1 / (1 + exp(-1))), 1e-6f);
}
END_TEST

/* Decoupled decay does not touch the means: without a gradient weights shrink by lr wd alone. */
START_TEST(decoupled_decay) {
  const char *names[] = {"adamw", "ademamix"};
  for (int k = 0; k < 2; k++) {
    single s = single_of(names[k], 2);
    s.h.weight_decay = 0.5f;
    for (int t = 0; t < 3; t++) single_step(&s, 0);
    ck_assert_float_eq_tol(s.w, (float)(2 * pow(0.95, 3)), 1e-6f);
    ck_assert(s.state[0] == 0 && s.state[1] == 0);
  }
}
END_TEST

/* Biases and parameters of normalisations: the learning rate as it is, no decay. */
START_TEST(what_is_no_weight_is_not_scaled) {
  const char *names[] = {"lars", "lamb"};
  for (int k = 0; k < 2; k++)
    for (int weight = 0; weight < 2; weight++) {
      const tg_part part = {0, 2, 2, 1, weight};
      const tg_layout layout = {&part, 1};
      const tg_optimizer *row = made(names[k], NULL);
      float w[2] = {3, 4}, g[2] = {0.6f, -0.8f}, a[2] = {0}, b[2] = {0};
      float *slot[TG_MAX_SLOTS] = {a, b};
      tg_hyper h = {.lr = 0.5f, .weight_decay = 0.2f, .keys = default_keys(row)};
      tg_optimizer_prepare(row, &h);
      ck_assert(row->whole(&h, &layout, w, g, slot) == TG_OK);
      /* |w| = 5, |g| = 1: lars' rate is lr 0.001 5 / (1 + 0.2 5); lamb's r is (1.6, -0.2). */
      double rate = !weight ? 0.5 : k == 0 ? 0.5 * 0.001 * 5 / 2 : 0.5 * 5 / sqrt(1.6 * 1.6 + 0.04);
      double r0 = k == 0 ? 0.6 : 1, r1 = k == 0 ? -0.8 : -1;
      if (weight) r0 += 0.6, r1 += 0.8;
      ck_assert_float_eq_tol(w[0], (float)(3 - rate * r0), 1e-5f);
      ck_assert_float_eq_tol(w[1], (float)(4 - rate * r1), 1e-5f);
    }
}
END_TEST

/* A weight that is zero has no size to go by: the learning rate as it is. */
START_TEST(a_zero_weight_moves) {
  const char *names[] = {"lars", "lamb"};
  for (int k = 0; k < 2; k++) {
    single s = single_of(names[k], 0);
    single_step(&s, 2);
    ck_assert_float_eq_tol(s.w, k == 0 ? -0.2f : -0.1f, 1e-5f);
    s = single_of(names[k], 3);
    single_step(&s, 0);
    ck_assert(s.w == 3);
  }
}
END_TEST

/* ---- what must not go wrong ---- */

START_TEST(dead_state_ends_at_zero) {
  const char *names[] = {"adam", "amsgrad", "adamw", "ademamix", "diffgrad", "lars", "lamb"};
  for (int k = 0; k < 7; k++) {
    single s = single_of(names[k], 1);
    if (strcmp(names[k], "lamb") == 0) s.h.lr = 1e-4f; /* its steps are as long as w, whatever r */
    s.h.keys.beta2 = 0.99;
    s.h.keys.beta3 = 0.95;
    for (int t = 0; t < 20; t++) single_step(&s, -1e-3f);
    for (int t = 0; t < 12000; t++) {
      single_step(&s, 0);
      for (int i = 0; i < s.row->slots; i++)
        ck_assert(s.state[i] == 0 || fabsf(s.state[i]) >= FLT_MIN);
    }
    ck_assert(s.state[0] == 0 && isfinite(s.w));
    if (s.row->slots > 1) ck_assert(s.state[1] == 0);
  }
}
END_TEST

/* A square that overflows must not silence its coordinate for good, nor make a NaN. */
START_TEST(huge_gradients_are_survived) {
  for (size_t k = 0; k < tg_optimizer_count; k++) {
    single s = single_of(tg_optimizers[k]->name, 1);
    if (s.row->slots < 2 && !s.row->whole) continue; /* their weights follow the gradient's size */
    s.h.keys.beta2 = 0.9;
    for (int t = 0; t < 10; t++) single_step(&s, t == 3 ? 3e25f : 1);
    for (int i = 0; i < s.row->slots; i++) ck_assert(isfinite(s.state[i]));
    ck_assert_msg(isfinite(s.w), "%s: %g", s.row->name, s.w);
  }
}
END_TEST

START_TEST(schedules_of_ademamix) {
  single s = single_of("ademamix", 1);
  s.h.keys.alpha_updates = 60;
  s.h.keys.beta3_updates = 90;
  ref_optim r = {
      .beta1 = 0.9, .beta3 = 0.9999, .alpha = 5, .alpha_updates = 60, .beta3_updates = 90};
  for (int t = 1; t <= 200; t++) {
    s.h.update = (uint64_t)t - 1;
    tg_optimizer_prepare(s.row, &s.h);
    double beta3 = ref_beta3(&r, t), alpha = ref_alpha(&r, t);
    ck_assert(fabs(s.h.factors.keep3 - beta3) <= 1e-7);
    ck_assert(fabs(s.h.factors.take3 - (1 - beta3)) <= 1e-7 * (1 - beta3));
    ck_assert(fabs(s.h.factors.mix - alpha) <= 1e-6 * alpha);
  }
  ck_assert(s.h.factors.keep3 == 0.9999f && s.h.factors.mix == 5);
}
END_TEST

START_TEST(what_cannot_be_made) {
  tg_optimizer o;
  const char *inner[] = {"lookahead", "ademamix", "lars", "lamb", "shampoo"};
  for (int i = 0; i < 5; i++) {
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
  const tg_layout bad[] = {{gap, 2}, {odd, 1}, {gap, 1}, {NULL, 0}};
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
  tcase_add_test(tc, amsgrad_where_adam_fails);
  tcase_add_test(tc, largest_moment_never_falls);
  tcase_add_test(tc, shampoo_of_one_element_is_adagrad);
  tcase_add_test(tc, shampoo_of_a_diagonal_is_adagrad);
  tcase_add_test(tc, first_step_has_the_length_of_lr);
  tcase_add_test(tc, decoupled_decay);
  tcase_add_test(tc, what_is_no_weight_is_not_scaled);
  tcase_add_test(tc, a_zero_weight_moves);
  tcase_add_test(tc, dead_state_ends_at_zero);
  tcase_add_test(tc, huge_gradients_are_survived);
  tcase_add_test(tc, schedules_of_ademamix);
  tcase_add_test(tc, what_cannot_be_made);
  suite_add_tcase(suite, tc);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
