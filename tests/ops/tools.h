/* tools.h - what tests of ops and plans share: numbers, device memory, comparison. */
#ifndef TEST_OPS_TOOLS_H
#define TEST_OPS_TOOLS_H

#include <check.h>
#include <math.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../support/ref_ops.h"
#include "graph/plan_private.h"
#include "tardigrad/ops.h"

#define SHAPE(...)                                                                                 \
  {                                                                                                \
    .nd = sizeof((int64_t[]){__VA_ARGS__}) / 8, .dim = { __VA_ARGS__ }                             \
  }

/* What a library function says if it fails. */
#define MUST(expression)                                                                           \
  ck_assert_msg((expression) == TG_OK, "%s: %s", #expression, tg_status_message())

enum { SKIPPED = 77 }; /* exit code of a test that cannot run here */

/* ---- numbers ---- */

static uint64_t random_state;

static uint64_t random_bits(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state;
}

/* Representable in bf16, so that rounding operands is no error; away from 0 where ReLU bends. */
static inline float random_number(void) {
  float f = 0.05f + 0.95f * (float)(random_bits() >> 40) * 0x1p-24f;
  uint32_t u;
  memcpy(&u, &f, sizeof u);
  u &= 0xffff0000u;
  u |= (uint32_t)(random_bits() & 1) << 31;
  memcpy(&f, &u, sizeof f);
  return f;
}

static inline float as_bf16(float f) {
  uint32_t u;
  memcpy(&u, &f, sizeof u);
  u = (u + 0x7fffu + ((u >> 16) & 1)) & 0xffff0000u;
  memcpy(&f, &u, sizeof f);
  return f;
}

static inline float *random_numbers(size_t n) {
  float *v = malloc((n + 1) * sizeof *v);
  for (size_t i = 0; i < n; i++) v[i] = random_number();
  return v;
}

/* The device under test: cpu, with fake beside it, or what TARDIGRAD_TEST_DEVICE names. */
static inline const char *tested_device(void) {
  const char *name = getenv("TARDIGRAD_TEST_DEVICE");
  return name ? name : "cpu";
}

static inline const char *other_device(void) {
  return strcmp(tested_device(), "cpu") == 0 ? "fake" : tested_device();
}

static inline bool has_bf16(void) {
  if (strcmp(tested_device(), "cpu") != 0) return true;
  return dnnl_get_effective_cpu_isa() >= dnnl_cpu_isa_avx512_core;
}

/* ---- graphs and plans ---- */

/* What a hollow convolution leaves out is 0 in w. */
static inline void leave_hollow(const tg_node *node, float *w) {
  if (node->op->id != TG_OP_conv || !((const tg_conv_attr *)node->attr)->hollow) return;
  const tg_param *p = node->param[0];
  for (int64_t i = 0; i < p->shape.dim[1]; i++) w[p->offset + tg_conv_skeleton(&p->shape, i)] = 0;
}

/* The value x as a layer of the network gives it: unchanged. */
static inline tg_value *through_identity(tg_graph *g, tg_value *x, int i) {
  char name[32];
  snprintf(name, sizeof name, "identity%d", i);
  tg_conv_attr point = {.out = x->shape.dim[1], .kernel = {1, 1, 1}};
  tg_value *y =
      x->shape.nd == 2 ? tg_dense(g, name, x, point.out, false) : tg_conv(g, name, x, point);
  snprintf(name, sizeof name, "value%d", i);
  return tg_output(g, name, y); /* so that nothing is folded into it */
}

/* Device memory with these bytes, or with NaN. */
static inline void *on_device(tg_device *d, const void *host, size_t bytes) {
  void *p = NULL, *nan = NULL;
  MUST(d->backend->alloc(d, bytes + 1, &p));
  if (!host) {
    nan = malloc(bytes + 1);
    memset(nan, 0xff, bytes + 1);
  }
  MUST(d->backend->to_device(d, p, host ? host : nan, bytes));
  free(nan);
  return p;
}

static inline float *to_host(tg_device *d, const float *p, size_t n) {
  float *v = malloc((n + 1) * sizeof *v);
  MUST(d->backend->to_host(d, v, p, n * sizeof *v));
  return v;
}

/* Every buffer gets memory that no other one has, so that all of it can be looked at. */
static inline void unshare(tg_plan *p) {
  size_t at = 0;
  for (int i = 0; i < p->buffer_count; i++) {
    p->buffer[i].offset = at;
    at += p->buffer[i].bytes;
  }
  p->scratch_offset = at;
  p->block_bytes = at + ((p->scratch_bytes + 63) & ~(size_t)63);
}

static inline float *read_value(const tg_plan *p, const tg_value *value, int buffer) {
  tg_tensor t = p->tensor[tg_plan_root(p, value)];
  if (buffer != TG_NO_BUFFER) t.data = p->block + p->buffer[buffer].offset;
  float *v = malloc((tg_shape_count(&t.shape) + 1) * sizeof *v);
  MUST(p->device->backend->read(p->device, &t, v));
  return v;
}

/* ---- comparison ---- */

static inline void compare(const char *what, const char *part, const float *have,
                           const double *want, size_t n, double tolerance) {
  double scale = 1e-2; /* numbers here are around 1: what is far below is 0 */
  for (size_t i = 0; i < n; i++) scale = fmax(scale, fabs(want[i]));
  for (size_t i = 0; i < n; i++)
    ck_assert_msg(fabs((double)have[i] - want[i]) <= tolerance * scale,
                  "%s: %s[%zu] is %.9g, must be %.9g to %g of %g", what, part, i, (double)have[i],
                  want[i], tolerance, scale);
}

static inline ref_tensor ref_of(const tg_shape *shape, const float *v) {
  ref_tensor t = ref_alloc(shape->nd, shape->dim);
  for (size_t i = 0; v && i < tg_shape_count(shape); i++) t.v[i] = v[i];
  return t;
}

/* Whether it is there. What fails in another way than by its absence, the tests run into. */
static inline bool device_is_there(void) {
  tg_device *d = NULL;
  tg_status status = tg_device_open(tested_device(), &d);
  if (status == TG_EUNAVAILABLE) printf("%s: %s\n", tested_device(), tg_status_message());
  tg_device_close(d);
  return status != TG_EUNAVAILABLE;
}

/* The same, asked by a child: CUDA is lost to the children of a process that has used it, and Check
 * runs every test in one. */
static inline bool child_finds_device(void) {
  int status = 0;
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    bool there = device_is_there();
    fflush(NULL);
    _exit(there ? 0 : SKIPPED);
  }
  return waitpid(child, &status, 0) != child || !WIFEXITED(status) ||
         WEXITSTATUS(status) != SKIPPED;
}

/* Exit code SKIPPED: the last line says why. */
static inline int run_suite(Suite *suite) {
  SRunner *runner = srunner_create(suite);
  bool forks = srunner_fork_status(runner) == CK_FORK;
  bool there = forks ? child_finds_device() : device_is_there();
  if (there) srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return !there ? SKIPPED : failed != 0;
}

#endif
