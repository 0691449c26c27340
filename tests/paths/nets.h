/* nets.h - small networks for tests of path space: every shape of block, in dense layers and
 * convolutions; and numbers for them. */
#ifndef PATHS_NETS_H
#define PATHS_NETS_H

#include <check.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../support/ref_paths.h"

/* s is the special layer that a reader of the rule finds. */
static const struct {
  ref_net_spec net;
  int s;
} nets[] = {
    {{"rising", 4, {5, 2, 4, 6, 3}, .batch = 5}, 3},
    {{"rising, biases", 4, {5, 2, 4, 6, 3}, .batch = 5, .bias = true}, 3},
    {{"peak", 4, {3, 3, 6, 4, 2}, .batch = 5}, 2},
    {{"peak, biases", 4, {3, 3, 6, 4, 2}, .batch = 5, .bias = true}, 2},
    {{"plateau", 5, {4, 2, 5, 5, 3, 6}, .batch = 5}, 2},
    {{"falling", 4, {4, 6, 4, 3, 2}, .batch = 5}, 1},
    {{"falling, biases", 4, {4, 6, 4, 3, 5}, .batch = 5, .bias = true}, 1},
    {{"equal", 4, {4, 4, 4, 4, 4}, .batch = 5}, 1},
    {{"equal, biases", 4, {9, 5, 5, 5, 2}, .batch = 5, .bias = true}, 1},
    {{"one hidden layer", 2, {7, 3, 9}, .batch = 5}, 1},
    {{"one output", 3, {3, 4, 4, 1}, .batch = 5}, 1},
    {{"3x3, 1x1, 3x3", 3, {2, 3, 4, 3}, {{3, 3}, {1, 1}, {3, 3}}, {2, 1, 2}, {6, 5}, .batch = 2},
     2},
    {{"3x3, biases",
      3,
      {2, 4, 3, 2},
      {{3, 3}, {3, 3}},
      {1, 2, 1},
      {5, 5},
      .batch = 2,
      .bias = true},
     1},
    {{"1x1, 3x3, 1x1", 3, {6, 3, 3, 7}, {{1, 1}, {3, 3}}, {1, 2, 1}, {5, 4}, .batch = 2}, 1},
    {{"even kernels", 3, {2, 2, 3, 2}, {{2, 2}, {2, 3}, {4, 1}}, .side = {4, 5}, .batch = 2}, 2},
    {{"line",
      3,
      {2, 3, 4, 2},
      {{1, 3}, {1, 5}, {1, 2}},
      {2, 1, 2},
      {1, 11},
      .batch = 3,
      .bias = true},
     2},
    {{"wide rows", 3, {601, 5, 4, 3}, .batch = 2, .bias = true}, 1},
    {{"wide rows of taps", 2, {131, 5, 70}, {{3, 3}, {3, 3}}, .side = {2, 3}}, 1},
    {{"many taps", 2, {2, 3, 2}, {{23, 23}}, .side = {2, 2}, .batch = 2}, 1},
};
enum { NETS = sizeof nets / sizeof *nets };

/* A pseudo-random number in [-1,1) with 24 bits: a function of its arguments (splitmix64). */
static inline double noise(uint64_t a, uint64_t b, uint64_t c) {
  uint64_t z = a * 0x9E3779B97F4A7C15u + b * 0xBF58476D1CE4E5B9u + c * 0x94D049BB133111EBu + 1;
  for (int i = 0; i < 2; i++) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    z ^= z >> 31;
  }
  return (double)((int64_t)(z >> 40) - (1 << 23)) * 0x1p-23;
}

static inline double *doubles(size_t n) {
  return calloc(n + 1, sizeof(double));
}

/* A network with a loss: what tests train. */
typedef struct task {
  ref_net net;
  ref_block block;
  double *w, *x, *target, *y;
} task;

/* Skeletons are about 1, of either sign: far from 0, where path space has a hole. */
static inline task task_open(const ref_net_spec *spec) {
  task t = {.net = ref_net_of(spec)};
  const ref_net *net = &t.net;
  t.block = ref_block_of(net);
  t.w = doubles(net->n);
  t.x = doubles(net->count[0]);
  t.target = doubles(net->count[net->layers]);
  t.y = doubles(net->count[net->layers]);
  for (size_t e = 0; e < net->count[0]; e++) t.x[e] = noise(1, e, 1);
  for (size_t e = 0; e < net->count[net->layers]; e++) t.target[e] = noise(2, e, 1);
  for (int l = 1; l <= net->layers; l++) {
    const ref_net_layer *a = &net->layer[l - 1];
    size_t taps = t.block.layer[l - 1].taps, at = a->weight;
    double size = (double)(float)sqrt(2.0 / (double)(a->in * taps));
    for (size_t o = 0; o < a->out; o++)
      for (size_t i = 0; i < a->in; i++)
        for (size_t tap = 0; tap < taps; tap++, at++) {
          double u = noise((uint64_t)l, at, 7);
          t.w[at] = ref_is_skeleton(&t.block, l, o, i, tap) ? (u < -0.4 ? -1 : 1) + u / 4
                                                            : (double)(float)(size * u);
        }
    for (size_t o = 0; a->bias != REF_NONE && o < a->out; o++)
      t.w[a->bias + o] = noise((uint64_t)l, o, 8) / 4;
  }
  return t;
}

static inline void task_close(task *t) {
  free(t->w);
  free(t->x);
  free(t->target);
  free(t->y);
}

/* What makes the gradients of all tasks about as large. */
static inline double task_scale(const task *t) {
  return 4 / (double)t->net.count[t->net.layers];
}

static inline double task_gradient(const task *t, const double *w, double *g) {
  return ref_net_gradient(&t->net, w, t->x, t->target, g);
}

/* Another point of the same function: every hidden unit times a power of two, or any number. */
static inline void task_rescale(const task *t, double *w, bool powers) {
  for (int n = 1; n < t->net.layers; n++)
    for (size_t j = 0; j < t->net.layer[n - 1].out; j++) {
      double u = noise((uint64_t)n, j, 9);
      ref_rescale(&t->block, w, n, j, powers ? exp2(floor(5 * u + 0.5)) : exp2(2 * u));
    }
}

static inline ref_paths reference_of(const task *t, const char *optimizer) {
  ref_paths r = {.n = t->net.n,
                 .blocks = 1,
                 .block = {t->block},
                 .optimizer = optimizer,
                 .momentum = 0.9,
                 .beta1 = 0.9,
                 .beta2 = 0.99,
                 .epsilon = 1e-8};
  return r;
}

static const struct {
  const char *name;
  double lr; /* at which these tasks are learnt */
} optimizers[] = {
    {"gsgd", 0.03}, {"gsgd-momentum", 0.002}, {"gsgd-rmsprop", 0.002}, {"gsgd-adam", 0.002}};
enum { OPTIMIZERS = sizeof optimizers / sizeof *optimizers };

/* Largest distance of two vectors, over the larger's size. */
static inline double apart(size_t n, const double *a, const double *b) {
  double most = 0, size = 0;
  for (size_t i = 0; i < n; i++) {
    most = fmax(most, fabs(a[i] - b[i]));
    size = fmax(size, fmax(fabs(a[i]), fabs(b[i])));
    if (isnan(a[i]) || isnan(b[i])) return NAN;
  }
  return size > 0 ? most / size : 0;
}

static inline int run_tests(Suite *suite) {
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}

#endif
