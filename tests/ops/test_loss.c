/* DEVICE: yes. Losses against the reference: sums, counts and gradients. */
#include "tools.h"

typedef struct loss_case {
  const char *what;
  bool squared_error;
  tg_shape x;
  float weight, scale; /* of the loss; of the logits */
  int ignored;         /* every so manieth label is negative; 0: none */
} loss_case;

static const loss_case cases[] = {
    {"cross-entropy of one class", false, SHAPE(1, 1), 1, 1, 0},
    {"cross-entropy 3x31", false, SHAPE(3, 31), 1, 1, 0},
    {"cross-entropy 257x10, weighted, ignoring", false, SHAPE(257, 10), 0.25f, 4, 3},
    {"cross-entropy 31x257, large logits", false, SHAPE(31, 257), 1, 3e4f, 0},
    {"cross-entropy, everything ignored", false, SHAPE(31, 3), 1, 1, 1},
    {"squared error of one number", true, SHAPE(1, 1), 1, 1, 0},
    {"squared error 257x31, weighted", true, SHAPE(257, 31), 3, 1, 0},
    {"squared error of images", true, SHAPE(3, 31, 5, 7), 1, 1, 0},
    {"squared error of blocks", true, SHAPE(2, 16, 9, 3), -1, 1, 0},
    {"squared error of volumes", true, SHAPE(1, 3, 3, 31, 5), 1, 1, 0},
};

typedef struct setup {
  const loss_case *c;
  tg_graph *g;
  tg_value *side[2]; /* logits; or x and target */
  float *data[2], *w;
  int32_t *label;
} setup;

static setup create(const loss_case *c, bool inside) {
  setup s = {.c = c};
  size_t n = tg_shape_count(&c->x);
  random_state = 88172645463325252u;
  MUST(tg_graph_create(&s.g));
  for (int i = 0; i < 1 + c->squared_error; i++) {
    tg_value *x = tg_input(s.g, i ? "x1" : "x0", c->x);
    x->needs_grad = true;
    s.side[i] = inside ? through_identity(s.g, x, i) : x;
    s.data[i] = random_numbers(n);
    for (size_t j = 0; j < n; j++) s.data[i][j] = as_bf16(s.data[i][j] * c->scale);
  }
  s.label = malloc((size_t)c->x.dim[0] * sizeof *s.label);
  for (int64_t i = 0; i < c->x.dim[0]; i++) {
    bool ignored = c->ignored && i % c->ignored == 0;
    s.label[i] = ignored ? -1 - (int32_t)i : (int32_t)(random_bits() % (uint64_t)c->x.dim[1]);
  }
  if (c->squared_error)
    tg_mean_squared_error(s.g, "loss", s.side[0], s.side[1], c->weight);
  else
    tg_softmax_cross_entropy(s.g, "loss", s.side[0], tg_labels(s.g, "y", c->x.dim[0]), c->weight);
  MUST(tg_graph_status(s.g));
  s.w = calloc(s.g->n + 1, sizeof *s.w);
  for (int i = 0; i < s.g->param_count; i++) {
    const tg_param *p = s.g->param[i];
    for (size_t j = 0; j < p->count; j++)
      s.w[p->offset + j] = j % ((size_t)p->shape.dim[0] + 1) == 0;
  }
  return s;
}

static ref_call reference(const setup *s) {
  ref_call c = {.x_count = 1 + s->c->squared_error, .weight = s->c->weight, .label = s->label};
  for (int i = 0; i < c.x_count; i++) {
    c.x[i] = ref_of(&s->c->x, s->data[i]);
    c.dx[i] = ref_of(&s->c->x, NULL);
  }
  c.y = ref_alloc(1, (int64_t[]){1});
  const ref_op *op = s->c->squared_error ? &ref_squared_error : &ref_cross_entropy;
  op->forward(&c);
  op->backward(&c);
  return c;
}

/* float32 inside, double sums: exp and the softmax round to 2^-24 each, and logits of 3e4 are
 * subtracted exactly. Behind an identity layer in bf16 the operands are still exact. */
static void compare_loss(const char *what, const ref_call *c, const tg_loss_result *r) {
  ck_assert_msg(fabs(r->sum - c->loss) <= 1e-6 * fabs(c->loss), "%s: sum %.9g, must be %.9g", what,
                r->sum, c->loss);
  ck_assert_msg((int64_t)r->counted == c->counted, "%s: %d counted", what, (int)r->counted);
  ck_assert_msg((int64_t)r->correct == c->correct, "%s: %d correct, must be %d", what,
                (int)r->correct, (int)c->correct);
}

static void check(const setup *s, const char *device, tg_dtype precision, const char *what) {
  tg_device *d = NULL;
  tg_plan *p = NULL;
  tg_loss_result r = {0};
  tg_plan_options options = {.train = true, .precision = precision};
  MUST(tg_device_open(device, &d));
  MUST(tg_plan_create(s->g, d, &options, &p));
  for (int i = 0; i < p->count; i++)
    if (s->g->node[i]->op->id == TG_OP_input) p->step[i].backward = false;
  unshare(p);
  void *block = on_device(d, NULL, tg_plan_bytes(p));
  float *w = on_device(d, s->w, s->g->n * sizeof *w), *g = on_device(d, NULL, s->g->n * sizeof *g);
  tg_plan_place(p, block);
  tg_plan_bind(p, w, g, NULL, NULL);
  for (int i = 0; i < 1 + s->c->squared_error; i++)
    MUST(tg_plan_write(p, i ? "x1" : "x0", s->data[i], tg_shape_count(&s->c->x) * sizeof(float)));
  if (!s->c->squared_error)
    MUST(tg_plan_write(p, "y", s->label, (size_t)s->c->x.dim[0] * sizeof *s->label));
  MUST(tg_plan_forward(p));
  MUST(tg_plan_backward(p));
  MUST(tg_plan_loss(p, "loss", &r));
  ref_call c = reference(s);
  compare_loss(what, &c, &r);
  float mean = 0;
  MUST(tg_plan_read(p, "loss", &mean));
  compare(what, "loss", &mean, c.y.v, 1, 1e-6);
  for (int i = 0; i < c.x_count; i++) {
    float *dx = read_value(p, s->side[i], p->grad[s->side[i]->index]);
    /* Gradients are divided by the batch: compared as if they were not. */
    for (size_t j = 0; j < ref_count(&c.dx[i]); j++) {
      dx[j] *= (float)c.counted;
      c.dx[i].v[j] *= (double)c.counted;
    }
    compare(what, "dx", dx, c.dx[i].v, ref_count(&c.dx[i]), 1e-6);
    free(dx);
    ref_free(&c.x[i]);
    ref_free(&c.dx[i]);
  }
  ref_free(&c.y);
  tg_plan_destroy(p);
  void *used[] = {block, w, g};
  for (size_t i = 0; i < sizeof used / sizeof *used; i++) d->backend->free(d, used[i]);
  tg_device_close(d);
}

static void free_setup(setup *s) {
  free(s->data[0]);
  free(s->data[1]);
  free(s->w);
  free(s->label);
  tg_graph_destroy(s->g);
}

START_TEST(one_case) {
  const char *const device[] = {tested_device(), other_device()};
  for (int i = 0; i < 8; i++) {
    bool inside = i & 1, bf16 = i & 2;
    if (bf16 && !has_bf16()) continue;
    char what[128];
    snprintf(what, sizeof what, "%s, %s, %s, %s", cases[_i].what, device[i / 4],
             bf16 ? "bf16" : "fp32", inside ? "inside" : "alone");
    setup s = create(&cases[_i], inside);
    check(&s, device[i / 4], bf16 ? TG_BF16 : TG_F32, what);
    free_setup(&s);
  }
}
END_TEST

/* The reference's own gradient. */
START_TEST(reference_agrees_with_differences) {
  setup s = create(&cases[_i], false);
  ref_call c = reference(&s);
  const ref_op *op = s.c->squared_error ? &ref_squared_error : &ref_cross_entropy;
  for (int k = 0; k < 20 && s.c->scale < 10; k++) {
    int side = (int)(random_bits() % (uint64_t)c.x_count);
    size_t at = random_bits() % ref_count(&c.x[side]);
    const double h = 1e-4, kept = c.x[side].v[at];
    c.x[side].v[at] = kept + h;
    op->forward(&c);
    double above = c.y.v[0];
    c.x[side].v[at] = kept - h;
    op->forward(&c);
    double slope = s.c->weight * (above - c.y.v[0]) / (2 * h);
    c.x[side].v[at] = kept;
    ck_assert_msg(fabs(slope - c.dx[side].v[at]) <= 1e-8 + 1e-5 * fabs(slope), "%s: %g or %g",
                  s.c->what, c.dx[side].v[at], slope);
  }
  for (int i = 0; i < c.x_count; i++) {
    ref_free(&c.x[i]);
    ref_free(&c.dx[i]);
  }
  ref_free(&c.y);
  free_setup(&s);
}
END_TEST

/* A plan for cross-entropy over 3 samples of 4 classes; forward with these logits and labels. */
static tg_status cross_entropy_of(const float logits[12], const int32_t labels[3],
                                  tg_loss_result *out) {
  tg_graph *g = NULL;
  tg_device *d = NULL;
  tg_plan *p = NULL;
  MUST(tg_graph_create(&g));
  tg_value *x = tg_input(g, "x", (tg_shape)SHAPE(3, 4)), *y = tg_labels(g, "y", 3);
  tg_softmax_cross_entropy(g, "loss", x, y, 1);
  MUST(tg_graph_status(g));
  MUST(tg_device_open("fake", &d));
  MUST(tg_plan_create(g, d, &(tg_plan_options){.train = false}, &p));
  void *block = on_device(d, NULL, tg_plan_bytes(p));
  tg_plan_place(p, block);
  tg_plan_bind(p, NULL, NULL, NULL, NULL);
  MUST(tg_plan_write(p, "x", logits, 12 * sizeof *logits));
  MUST(tg_plan_write(p, "y", labels, 3 * sizeof *labels));
  tg_status status = tg_plan_forward(p);
  if (status == TG_OK) MUST(tg_plan_loss(p, "loss", out));
  tg_plan_destroy(p);
  d->backend->free(d, block);
  tg_device_close(d);
  tg_graph_destroy(g);
  return status;
}

START_TEST(label_out_of_range_is_named) {
  tg_loss_result r;
  const float logits[12] = {0};
  ck_assert_int_eq(cross_entropy_of(logits, (int32_t[]){0, 4, 1}, &r), TG_EDATA);
  ck_assert_str_eq(tg_status_message(), "loss: sample 1 has label 4, but there are 4 classes");
}
END_TEST

/* What is not a number reaches the loss, where the run is stopped. */
START_TEST(not_a_number_is_not_hidden) {
  const float bad[] = {NAN, INFINITY};
  for (int i = 0; i < 2; i++) {
    float logits[12] = {0};
    tg_loss_result r;
    logits[6] = bad[i];
    MUST(cross_entropy_of(logits, (int32_t[]){0, 1, 2}, &r));
    ck_assert(!isfinite(r.sum));
  }
}
END_TEST

/* Of equal logits the first is the answer. */
START_TEST(ties_go_to_the_first) {
  const float logits[12] = {1, 1, 0, 0, 0, 2, 2, 2, 0, 0, 0, 0};
  tg_loss_result r;
  MUST(cross_entropy_of(logits, (int32_t[]){0, 2, 0}, &r));
  ck_assert_uint_eq(r.correct, 2);
}
END_TEST

int main(void) {
  Suite *s = suite_create("loss");
  TCase *t = tcase_create("cases");
  int count = sizeof cases / sizeof *cases;
  tcase_set_timeout(t, 120);
  tcase_add_loop_test(t, one_case, 0, count);
  tcase_add_loop_test(t, reference_agrees_with_differences, 0, count);
  tcase_add_test(t, label_out_of_range_is_named);
  tcase_add_test(t, not_a_number_is_not_hidden);
  tcase_add_test(t, ties_go_to_the_first);
  suite_add_tcase(s, t);
  return run_suite(s);
}
