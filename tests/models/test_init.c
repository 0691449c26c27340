/* Initial parameters: their distribution, and that they are a function of graph, scheme and seed.
 */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tardigrad/arena.h"
#include "tardigrad/model.h"

typedef struct model {
  tg_graph *g;
  float *w, *b;
} model;

static model make_normed(const char *name, tg_init_scheme scheme, uint64_t seed, tg_norm norm) {
  const int64_t hidden[] = {512, 300};
  tg_model_options o = {.channels = 3,
                        .height = 32,
                        .width = 32,
                        .classes = 10,
                        .batch = 1,
                        .hidden = hidden,
                        .hidden_count = 2,
                        .norm = norm};
  model m;
  ck_assert_msg(tg_model_build(name, &o, &m.g) == TG_OK, "%s", tg_status_message());
  m.w = tg_alloc_aligned(m.g->n * sizeof *m.w);
  m.b = tg_alloc_aligned(m.g->k * sizeof *m.b);
  ck_assert(m.w && m.b);
  for (size_t i = 0; i < m.g->n; i++) m.w[i] = NAN; /* nothing may stay as it was */
  for (size_t i = 0; i < m.g->k; i++) m.b[i] = NAN;
  tg_model_init(m.g, scheme, seed, m.w, m.b);
  return m;
}

static model make(const char *name, tg_init_scheme scheme, uint64_t seed) {
  return make_normed(name, scheme, seed, TG_NORM_BATCH);
}

static void unmake(model *m) {
  tg_graph_destroy(m->g);
  free(m->w);
  free(m->b);
}

/* What PyTorch calls the inputs of a unit, read off the shape. */
static double fan_in(const tg_param *p) {
  double fan = 1;
  for (int i = 1; i < p->shape.nd; i++) fan *= (double)p->shape.dim[i];
  return fan;
}

/* Mean near 0 and variance within 5 % or four standard errors of the variance, whichever is larger
 * (kurtosis 3 at most). */
static void has_variance(const tg_param *p, const float *w, double variance) {
  double sum = 0, square = 0, n = (double)p->count;
  for (size_t i = 0; i < p->count; i++) {
    sum += w[i];
    square += (double)w[i] * w[i];
  }
  double tolerance = fmax(0.05, 4 * sqrt(2 / n));
  ck_assert(isfinite(sum) && isfinite(square));
  ck_assert_msg(fabs(sum / n) < 4 * sqrt(variance / n), "%s: mean %g", p->name, sum / n);
  ck_assert_msg(fabs(square / n / variance - 1) < tolerance, "%s: variance %g, not %g", p->name,
                square / n, variance);
}

static void all_are(const char *name, const float *v, size_t count, float value) {
  size_t others = 0; /* an assertion for each would take minutes */
  for (size_t i = 0; i < count; i++) others += v[i] != value;
  ck_assert_msg(others == 0, "%s: %zu of %zu are not %g", name, others, count, value);
}

static bool is_dense(const tg_param *p) {
  return strncmp(p->name, "fc", 2) == 0 || strncmp(p->name, "linear", 6) == 0;
}

static void batch_norm_is_identity(const model *m) {
  for (int i = 0; i < m->g->param_count; i++) {
    const tg_param *p = m->g->param[i];
    if (p->shape.nd > 1 || is_dense(p)) continue;
    all_are(p->name, m->w + p->offset, p->count, strstr(p->name, ".weight") ? 1 : 0);
  }
  for (int i = 0; i < m->g->stat_count; i++) {
    const tg_stat *s = m->g->stat[i];
    all_are(s->name, m->b + s->offset, s->count, strstr(s->name, "_var") ? 1 : 0);
  }
}

START_TEST(he) {
  const char *names[] = {"mlp", "resnet20"};
  for (int k = 0; k < 2; k++) {
    model m = make(names[k], TG_HE, 1);
    for (int i = 0; i < m.g->param_count; i++) {
      const tg_param *p = m.g->param[i];
      if (p->shape.nd > 1) has_variance(p, m.w + p->offset, 2 / fan_in(p));
      if (strstr(p->name, ".bias")) all_are(p->name, m.w + p->offset, p->count, 0);
    }
    batch_norm_is_identity(&m);
    unmake(&m);
  }
}
END_TEST

START_TEST(pytorch) {
  const char *names[] = {"mlp", "resnet20", "resnet18"};
  for (int k = 0; k < 3; k++) {
    model m = make(names[k], TG_PYTORCH, 1);
    for (int i = 0; i < m.g->param_count; i++) {
      const tg_param *p = m.g->param[i];
      if (p->shape.nd == 1 && !is_dense(p)) continue;
      const tg_param *weight = p->shape.nd > 1 ? p : m.g->param[i - 1]; /* a bias follows it */
      double bound = 1 / sqrt(fan_in(weight));
      has_variance(p, m.w + p->offset, bound * bound / 3);
      float largest = 0;
      for (size_t j = 0; j < p->count; j++) largest = fmaxf(largest, fabsf(m.w[p->offset + j]));
      ck_assert_msg(largest <= (float)bound, "%s: %g", p->name, largest);
    }
    batch_norm_is_identity(&m);
    unmake(&m);
  }
}
END_TEST

/* Normal, not merely of that variance: the fourth moment. */
START_TEST(he_is_normal) {
  model m = make("mlp", TG_HE, 3);
  const tg_param *p = m.g->param[0];
  double fourth = 0, variance = 2 / fan_in(p);
  for (size_t i = 0; i < p->count; i++) fourth += pow(m.w[p->offset + i], 4) / (double)p->count;
  ck_assert_double_eq_tol(fourth / (3 * variance * variance), 1, 0.05);
  unmake(&m);
}
END_TEST

static bool same(const model *a, const model *b) {
  return memcmp(a->w, b->w, a->g->n * sizeof *a->w) == 0 &&
         memcmp(a->b, b->b, a->g->k * sizeof *a->b) == 0;
}

START_TEST(seeds) {
  for (int scheme = TG_HE; scheme <= TG_PYTORCH; scheme++) {
    model a = make("resnet20", (tg_init_scheme)scheme, 7);
    model other = make("resnet20", (tg_init_scheme)scheme, 8);
    model again = make("resnet20", (tg_init_scheme)scheme, 7); /* whatever was drawn between */
    ck_assert(same(&a, &again));
    for (int i = 0; i < a.g->param_count; i++) {
      const tg_param *p = a.g->param[i];
      if (p->init == TG_INIT_WEIGHT)
        ck_assert_msg(a.w[p->offset] != other.w[p->offset], "%s is equal for two seeds", p->name);
    }
    unmake(&a);
    unmake(&other);
    unmake(&again);
  }
}
END_TEST

/* No two parameters share their numbers, not even those of equal shape. */
START_TEST(streams) {
  model m = make("resnet20", TG_PYTORCH, 1);
  const float *first = NULL;
  for (int i = 0; i < m.g->param_count; i++) {
    const tg_param *p = m.g->param[i];
    if (p->fan_in != 16 * 9 || p->init != TG_INIT_WEIGHT) continue;
    const float *w = m.w + p->offset;
    if (first)
      ck_assert(w[0] != first[0] && w[1] != first[1]);
    else
      first = w;
  }
  unmake(&m);
}
END_TEST

/* Path-BN draws the same numbers, and leaves its skeletons out. */
START_TEST(skeletons_of_path_norm_are_zero) {
  const char *names[] = {"resnet20", "plain18", "resnet50"};
  const size_t zeros[] = {9 * (16 + 32 + 64) / 3, 3 * 64 + 3 * 128 + 3 * 256 + 3 * 512,
                          2 * (3 * 64 + 4 * 128 + 6 * 256 + 3 * 512)};
  for (int k = 0; k < 3; k++) {
    model batch = make(names[k], TG_HE, 5), path = make_normed(names[k], TG_HE, 5, TG_NORM_PATH);
    ck_assert_uint_eq(batch.g->n, path.g->n);
    size_t left_out = 0;
    for (size_t i = 0; i < batch.g->n; i++) {
      if (memcmp(&batch.w[i], &path.w[i], sizeof(float)) == 0) continue;
      ck_assert(path.w[i] == 0);
      left_out++;
    }
    ck_assert_uint_eq(left_out, zeros[k]);
    unmake(&batch);
    unmake(&path);
  }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("init");
  TCase *cases = tcase_create("init");
  tcase_add_test(cases, he);
  tcase_add_test(cases, pytorch);
  tcase_add_test(cases, he_is_normal);
  tcase_add_test(cases, seeds);
  tcase_add_test(cases, streams);
  tcase_add_test(cases, skeletons_of_path_norm_are_zero);
  tcase_set_timeout(cases, 60); /* sanitizers and valgrind are slow */
  suite_add_tcase(suite, cases);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
