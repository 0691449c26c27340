/* harness.h - runs one op through a real plan and compares value, gradients and statistics with the
 * naive reference in double precision (support/ref_ops.h).
 *
 * Every case runs on cpu and fake (or twice on what TARDIGRAD_TEST_DEVICE names), in float32 and
 * bf16, alone (plain float32 in and out) and inside a network (behind an identity layer, so that it
 * meets the layouts and types that oneDNN chose), in memory that the plan shares between buffers
 * and in memory of its own for each: the results must be equal to the bit. All memory is filled
 * with NaN first, so that whoever reads what nobody wrote is found. The gradients of the reference
 * are checked by central differences. */
#ifndef TEST_OPS_HARNESS_H
#define TEST_OPS_HARNESS_H

#include "tools.h"

typedef struct op_case {
  const char *what;
  const ref_op *ref;
  tg_value *(*build)(tg_graph *g, tg_value *const *x, const struct op_case *c);
  int x_count;
  tg_shape x[REF_INPUTS];
  ref_call call; /* attributes */
  int64_t out;   /* dense, conv */
  bool bias, relu /* behind it */;
  /* Largest error over largest magnitude: [float32, bf16]. */
  double tolerance[2], gradient_tolerance[2];
} op_case;

/* ---- a graph and the numbers that go in ---- */

enum { ALONE, INSIDE, SETTINGS };

typedef struct built {
  const op_case *c;
  tg_graph *g;
  tg_value *x[REF_INPUTS], *op /* before a ReLU */, *y;
  float *data[REF_INPUTS], *target, *w, *b;
} built;

static inline void build_weights(built *b) {
  b->w = malloc((b->g->n + 1) * sizeof *b->w);
  for (int i = 0; i < b->g->param_count; i++) {
    const tg_param *p = b->g->param[i];
    bool identity = strncmp(p->name, "identity", 8) == 0;
    for (size_t j = 0; j < p->count; j++)
      b->w[p->offset + j] = identity ? j % ((size_t)p->shape.dim[0] + 1) == 0 : random_number();
  }
  for (int i = 0; i < b->g->node_count; i++) leave_hollow(b->g->node[i], b->w);
  b->b = malloc((b->g->k + 1) * sizeof *b->b);
  for (size_t j = 0; j < b->g->k; j++) b->b[j] = fabsf(random_number());
}

static inline built build_case(const op_case *c, int setting) {
  built b = {.c = c};
  random_state = 88172645463325252u;
  MUST(tg_graph_create(&b.g));
  for (int i = 0; i < c->x_count; i++) {
    char name[32];
    snprintf(name, sizeof name, "x%d", i);
    tg_value *x = tg_input(b.g, name, c->x[i]);
    ck_assert_msg(x, "%s: %s", c->what, b.g->message);
    b.data[i] = random_numbers(tg_shape_count(&c->x[i]));
    /* Nothing stops at an input here: its gradient is what is looked at. */
    x->needs_grad = true;
    b.x[i] = setting == INSIDE ? through_identity(b.g, x, i) : x;
  }
  b.op = c->build(b.g, b.x, c);
  b.y = c->relu ? tg_relu(b.g, b.op) : b.op;
  tg_value *end = setting == INSIDE ? tg_pad(b.g, b.y, 0, 0, 0) : b.y;
  ck_assert_msg(end, "%s: %s", c->what, b.g->message);
  size_t n = tg_shape_count(&end->shape);
  tg_value *target = tg_input(b.g, "target", end->shape);
  tg_mean_squared_error(b.g, "loss", end, target, (float)n / 2); /* dy = y - target */
  MUST(tg_graph_status(b.g));
  b.target = random_numbers(n);
  build_weights(&b);
  return b;
}

static inline void free_case(built *b) {
  for (int i = 0; i < b->c->x_count; i++) free(b->data[i]);
  free(b->target);
  free(b->w);
  free(b->b);
  tg_graph_destroy(b->g);
}

/* ---- one step of it ---- */

typedef struct results {
  tg_loss_result loss;
  float *y, *dx[REF_INPUTS], *g, *s;
} results;

static inline void free_results(results *r) {
  free(r->y);
  for (int i = 0; i < REF_INPUTS; i++) free(r->dx[i]);
  free(r->g);
  free(r->s);
}

static inline tg_plan *plan_of(const built *b, tg_device *d, tg_dtype precision, bool own_memory) {
  tg_plan_options options = {.train = !b->c->call.evaluate, .precision = precision};
  tg_plan *p = NULL;
  ck_assert_msg(tg_plan_create(b->g, d, &options, &p) == TG_OK, "%s: %s", b->c->what,
                tg_status_message());
  for (int i = 0; i < p->count; i++)
    if (b->g->node[i]->op->id == TG_OP_input) p->step[i].backward = false;
  if (own_memory) unshare(p);
  return p;
}

static inline void step(tg_plan *p, const built *b) {
  for (int i = 0; i < b->c->x_count; i++) {
    char name[32];
    snprintf(name, sizeof name, "x%d", i);
    MUST(tg_plan_write(p, name, b->data[i], tg_shape_count(&b->c->x[i]) * sizeof(float)));
  }
  MUST(tg_plan_write(p, "target", b->target, tg_shape_count(&b->y->shape) * sizeof(float)));
  MUST(tg_plan_forward(p));
  if (p->options.train) MUST(tg_plan_backward(p));
}

static inline results run_case(const built *b, const char *device, tg_dtype precision,
                               bool own_memory) {
  tg_device *d = NULL;
  MUST(tg_device_open(device, &d));
  tg_plan *p = plan_of(b, d, precision, own_memory);
  bool train = p->options.train;
  const tg_graph *graph = b->g;
  void *block = on_device(d, NULL, tg_plan_bytes(p));
  float *w = on_device(d, b->w, graph->n * sizeof *w),
        *g = on_device(d, NULL, graph->n * sizeof *g);
  float *s = on_device(d, NULL, graph->ks * sizeof *s);
  float *stats = on_device(d, b->b, graph->k * sizeof *stats);
  tg_plan_place(p, block);
  tg_plan_bind(p, w, train ? g : NULL, train ? NULL : stats, train ? s : NULL);
  step(p, b);
  results r = {.g = to_host(d, g, graph->n), .s = to_host(d, s, graph->ks)};
  MUST(tg_plan_loss(p, "loss", &r.loss));
  if (own_memory) r.y = read_value(p, b->y, TG_NO_BUFFER);
  for (int i = 0; own_memory && train && i < b->c->x_count; i++)
    r.dx[i] = read_value(p, b->x[i], p->grad[tg_plan_root(p, b->x[i])]);
  tg_plan_destroy(p);
  void *used[] = {block, w, g, s, stats};
  for (size_t i = 0; i < sizeof used / sizeof *used; i++) d->backend->free(d, used[i]);
  tg_device_close(d);
  return r;
}

/* ---- comparison ---- */

static inline void compare_equal(const char *what, const built *b, const results *a,
                                 const results *o) {
  ck_assert_msg(memcmp(&a->loss, &o->loss, sizeof a->loss) == 0, "%s: losses %.17g and %.17g", what,
                a->loss.sum, o->loss.sum);
  if (b->c->call.evaluate) return;
  for (size_t i = 0; i < b->g->n; i++)
    ck_assert_msg(memcmp(&a->g[i], &o->g[i], sizeof *a->g) == 0, "%s: g[%zu] is %.9g or %.9g", what,
                  i, (double)a->g[i], (double)o->g[i]);
  for (size_t i = 0; i < b->g->ks; i++)
    ck_assert_msg(memcmp(&a->s[i], &o->s[i], sizeof *a->s) == 0, "%s: s[%zu] is %.9g or %.9g", what,
                  i, (double)a->s[i], (double)o->s[i]);
}

/* ---- the reference ---- */

static inline ref_call ref_of_case(const built *b) {
  ref_call c = b->c->call;
  c.x_count = b->c->x_count;
  for (int i = 0; i < c.x_count; i++) {
    c.x[i] = ref_of(&b->c->x[i], b->data[i]);
    c.dx[i] = ref_of(&b->c->x[i], NULL);
  }
  const tg_node *node = b->op->producer;
  for (int i = 0; i < node->param_count; i++) {
    c.w[i] = ref_of(&node->param[i]->shape, b->w + node->param[i]->offset);
    c.dw[i] = ref_of(&node->param[i]->shape, NULL);
  }
  c.y = ref_of(&b->y->shape, NULL);
  c.dy = ref_of(&b->y->shape, NULL);
  c.mean = calloc((size_t)b->c->x[0].dim[1], sizeof(double));
  c.variance = calloc((size_t)b->c->x[0].dim[1], sizeof(double));
  for (int64_t i = 0; c.evaluate && i < b->c->x[0].dim[1]; i++) {
    c.mean[i] = b->b[i];
    c.variance[i] = b->b[b->c->x[0].dim[1] + i];
  }
  return c;
}

static inline void free_ref(ref_call *c) {
  for (int i = 0; i < c->x_count; i++) {
    ref_free(&c->x[i]);
    ref_free(&c->dx[i]);
  }
  for (int i = 0; i < REF_PARAMS; i++) {
    ref_free(&c->w[i]);
    ref_free(&c->dw[i]);
  }
  ref_free(&c->y);
  ref_free(&c->dy);
  free(c->mean);
  free(c->variance);
}

static inline void ref_value(const op_case *c, ref_call *call) {
  c->ref->forward(call);
  for (size_t i = 0; c->relu && i < ref_count(&call->y); i++) call->y.v[i] = fmax(call->y.v[i], 0);
}

/* 1/2 sum (y - target)^2. */
static inline double ref_objective(const built *b, ref_call *call) {
  double sum = 0;
  ref_value(b->c, call);
  for (size_t i = 0; i < ref_count(&call->y); i++)
    sum += 0.5 * pow(call->y.v[i] - (double)b->target[i], 2);
  return sum;
}

static inline void central_difference(const built *b, ref_call *call, ref_tensor *at,
                                      const ref_tensor *g, size_t i) {
  const double h = 1e-5, kept = at->v[i];
  at->v[i] = kept + h;
  double above = ref_objective(b, call);
  at->v[i] = kept - h;
  double below = ref_objective(b, call);
  at->v[i] = kept;
  double slope = (above - below) / (2 * h);
  ck_assert_msg(fabs(slope - g->v[i]) <= 1e-5 * fmax(1, fabs(slope)),
                "%s: the reference's gradient %zu is %.9g, differences say %.9g", b->c->what, i,
                g->v[i], slope);
}

/* A few coordinates of every operand; not where one forward pass is long. */
static inline void check_reference(const built *b) {
  ref_call call = ref_of_case(b);
  size_t n = ref_count(&call.y);
  bool cheap = !call.w[0].v || n * ref_count(&call.w[0]) < 3000000;
  if (!cheap || call.evaluate) goto done;
  ref_value(b->c, &call);
  for (size_t i = 0; i < n; i++) {
    bool dead = b->c->relu && call.y.v[i] <= 0;
    call.dy.v[i] = dead ? 0 : call.y.v[i] - (double)b->target[i];
  }
  b->c->ref->backward(&call);
  for (int k = 0; k < 4; k++) {
    for (int i = 0; i < call.x_count; i++)
      central_difference(b, &call, &call.x[i], &call.dx[i], random_bits() % ref_count(&call.x[i]));
    for (int i = 0; i < REF_PARAMS; i++)
      if (call.w[i].v)
        central_difference(b, &call, &call.w[i], &call.dw[i],
                           random_bits() % ref_count(&call.w[i]));
  }
done:
  free_ref(&call);
}

/* ---- one case ---- */

/* The gradient that the op was given, from the value that it computed: errors do not add up. */
static inline void gradient_given(const built *b, const results *r, bool rounded, ref_call *call) {
  for (size_t i = 0; i < ref_count(&call->y); i++) {
    float dy = r->y[i] - b->target[i];
    if (rounded) dy = as_bf16(dy);
    call->dy.v[i] = b->c->relu && !(r->y[i] > 0) ? 0 : (double)dy;
  }
}

static inline void compare_with_reference(const char *what, const built *b, const results *r,
                                          tg_dtype precision, int setting) {
  const op_case *c = b->c;
  bool bf16 = precision == TG_BF16;
  ref_call call = ref_of_case(b);
  ref_value(c, &call);
  compare(what, "y", r->y, call.y.v, ref_count(&call.y), c->tolerance[bf16]);
  if (call.evaluate) goto done;
  gradient_given(b, r, bf16 && setting == INSIDE, &call);
  c->ref->backward(&call);
  for (int i = 0; i < call.x_count; i++)
    compare(what, "dx", r->dx[i], call.dx[i].v, ref_count(&call.dx[i]),
            c->gradient_tolerance[bf16]);
  const tg_node *node = b->op->producer;
  for (int i = 0; i < node->param_count; i++)
    compare(what, node->param[i]->name, r->g + node->param[i]->offset, call.dw[i].v,
            node->param[i]->count, c->gradient_tolerance[bf16]);
  if (c->ref == &ref_batch_norm) {
    size_t channels = (size_t)c->x[0].dim[1];
    compare(what, "mean", r->s, call.mean, channels, c->tolerance[bf16]);
    compare(what, "variance", r->s + channels, call.variance, channels, c->tolerance[bf16]);
  }
done:
  free_ref(&call);
}

static inline void check_setting(const built *b, tg_dtype precision, int setting) {
  char what[160];
  snprintf(what, sizeof what, "%s, %s, %s", b->c->what, precision == TG_BF16 ? "bf16" : "fp32",
           setting == INSIDE ? "inside" : "alone");
  results own = run_case(b, tested_device(), precision, true);
  results shared = run_case(b, tested_device(), precision, false);
  results fake = run_case(b, other_device(), precision, false);
  compare_with_reference(what, b, &own, precision, setting);
  compare_equal(what, b, &own, &shared);
  compare_equal(what, b, &own, &fake);
  free_results(&own);
  free_results(&shared);
  free_results(&fake);
}

static inline void check_case(const op_case *c) {
  for (int setting = 0; setting < SETTINGS; setting++) {
    built b = build_case(c, setting);
    if (setting == ALONE) check_reference(&b);
    check_setting(&b, TG_F32, setting);
    if (has_bf16()) check_setting(&b, TG_BF16, setting);
    free_case(&b);
  }
}

#endif
