/* Plans: what lives when, where it lies, and what callers may ask of one. */
#include "../ops/networks.h"

static tg_plan *plan(const network *n, tg_device *d, bool train) {
  tg_plan *p = NULL;
  tg_plan_options options = {.train = train, .precision = TG_F32};
  MUST(tg_plan_create(n->g, d, &options, &p));
  return p;
}

static bool overlap(const tg_buffer *a, const tg_buffer *b) {
  return a->bytes && b->bytes && a->offset < b->offset + b->bytes &&
         b->offset < a->offset + a->bytes;
}

START_TEST(live_buffers_do_not_overlap) {
  network n = network_create(networks[_i].build);
  tg_device *d = NULL;
  MUST(tg_device_open("cpu", &d));
  for (int train = 0; train < 2; train++) {
    tg_plan *p = plan(&n, d, train);
    for (int i = 0; i < p->buffer_count; i++) {
      const tg_buffer *a = &p->buffer[i];
      ck_assert(a->offset % TG_ALIGNMENT == 0);
      ck_assert(a->first <= a->last && a->last < 2 * p->count);
      ck_assert(a->offset + a->bytes <= p->scratch_offset);
      for (int j = 0; j < i; j++) {
        const tg_buffer *b = &p->buffer[j];
        bool together = a->first <= b->last && b->first <= a->last;
        ck_assert_msg(!together || !overlap(a, b), "%s: buffers %d and %d", networks[_i].name, i,
                      j);
      }
    }
    ck_assert(p->scratch_offset + p->scratch_bytes <= tg_plan_bytes(p));
    tg_plan_destroy(p);
  }
  tg_device_close(d);
  network_free(&n);
}
END_TEST

/* In shared memory full of NaN a step gives what it gives where every buffer has its own. */
START_TEST(sharing_memory_changes_nothing) {
  network n = network_create(networks[_i].build);
  step_results own = network_run(&n, "cpu", TG_F32, true);
  step_results shared = network_run(&n, "cpu", TG_F32, false);
  ck_assert_msg(steps_equal(&n, &own, &shared), "%s", networks[_i].name);
  step_free(&own);
  step_free(&shared);
  network_free(&n);
}
END_TEST

/* Nothing of one step is left for the next. */
START_TEST(steps_repeat) {
  network n = network_create(networks[_i].build);
  tg_device *d = NULL;
  MUST(tg_device_open("cpu", &d));
  tg_plan *p = plan(&n, d, true);
  step_results once = network_step(&n, d, p), again = network_step(&n, d, p);
  ck_assert_msg(steps_equal(&n, &once, &again), "%s", networks[_i].name);
  step_free(&once);
  step_free(&again);
  tg_plan_destroy(p);
  tg_device_close(d);
  network_free(&n);
}
END_TEST

static void deep(tg_graph *g, tg_value *x) {
  x = tg_conv2d(g, "in", x, 16, 3, 1, 1, false);
  for (int i = 0; i < 12; i++) {
    char name[32];
    snprintf(name, sizeof name, "layer%d", i);
    x = tg_relu(g, tg_add(g, unit(g, name, x, 16, 1), x));
  }
  classify(g, "loss", x, 1);
}

START_TEST(memory_is_shared) {
  network n = network_create(deep);
  tg_device *d = NULL;
  MUST(tg_device_open("cpu", &d));
  tg_plan *train = plan(&n, d, true), *evaluate = plan(&n, d, false);
  size_t value = 6 * 16 * 8 * 8 * sizeof(float), unshared = tg_plan_unshared_bytes(train);
  ck_assert_msg(tg_plan_bytes(train) < unshared * 7 / 10, "%zu of %zu bytes", tg_plan_bytes(train),
                unshared);
  /* Without a backward pass a few values are alive at a time, however deep the network. */
  ck_assert_msg(tg_plan_bytes(evaluate) < 8 * value, "%zu bytes", tg_plan_bytes(evaluate));
  tg_plan_destroy(train);
  tg_plan_destroy(evaluate);
  tg_device_close(d);
  network_free(&n);
}
END_TEST

/* Outputs are there after the step, whatever was computed since. */
START_TEST(outputs_live_to_the_end) {
  network n = network_create(networks[0].build);
  const tg_node *early = NULL;
  for (int i = 0; i < n.g->node_count && !early; i++)
    if (n.g->node[i]->op->id == TG_OP_relu) early = n.g->node[i];
  ck_assert_ptr_nonnull(tg_output(n.g, "early", early->out));
  ref_graph r = network_reference(&n);
  ref_graph_forward(&r, n.labels);
  tg_device *d = NULL;
  MUST(tg_device_open("fake", &d));
  tg_plan *p = plan(&n, d, true);
  void *block = on_device(d, NULL, tg_plan_bytes(p));
  float *w = on_device(d, n.w, n.g->n * sizeof *w), *g = on_device(d, NULL, n.g->n * sizeof *g);
  float *s = on_device(d, NULL, n.g->ks * sizeof *s);
  tg_plan_place(p, block);
  tg_plan_bind(p, w, g, NULL, s);
  network_write(&n, p);
  MUST(tg_plan_forward(p));
  MUST(tg_plan_backward(p));
  const char *const names[] = {"early", "fc"};
  for (int i = 0; i < 2; i++) {
    const tg_value *value = tg_graph_value(n.g, names[i]);
    size_t count = tg_shape_count(&value->shape);
    float *v = malloc(count * sizeof *v);
    MUST(tg_plan_read(p, names[i], v));
    compare(networks[0].name, names[i], v, r.call[value->index].y.v, count, 1e-5);
    free(v);
  }
  tg_plan_destroy(p);
  void *used[] = {block, w, g, s};
  for (size_t i = 0; i < sizeof used / sizeof *used; i++) d->backend->free(d, used[i]);
  tg_device_close(d);
  ref_graph_free(&r);
  network_free(&n);
}
END_TEST

/* Weights may be elsewhere in every step: workers bind what they were sent. */
START_TEST(bound_again) {
  network n = network_create(networks[0].build);
  tg_device *d = NULL;
  MUST(tg_device_open("cpu", &d));
  tg_plan *p = plan(&n, d, true);
  step_results first = network_step(&n, d, p);
  for (size_t i = 0; i < n.g->n; i++) n.w[i] = -n.w[i];
  step_results other = network_step(&n, d, p);
  ck_assert(!steps_equal(&n, &first, &other));
  for (size_t i = 0; i < n.g->n; i++) n.w[i] = -n.w[i];
  step_results again = network_step(&n, d, p);
  ck_assert(steps_equal(&n, &first, &again));
  step_free(&first);
  step_free(&other);
  step_free(&again);
  tg_plan_destroy(p);
  tg_device_close(d);
  network_free(&n);
}
END_TEST

/* What a plan said of its gradient while it was made. */
typedef struct watcher {
  tg_device *d;
  const float *g;
  size_t n, piece, told, calls;
  float *seen; /* [n] copied when it was said to be final */
} watcher;

static tg_status look(void *self, tg_span span) {
  watcher *w = self;
  ck_assert_uint_eq(span.hi, w->told);
  ck_assert_uint_lt(span.lo, span.hi);
  ck_assert(span.hi - span.lo >= w->piece || span.lo == 0);
  w->told = span.lo;
  w->calls++;
  return w->d->backend->to_host(w->d, w->seen + span.lo, w->g + span.lo,
                                (span.hi - span.lo) * sizeof(float));
}

/* From the end to the beginning, and what was final stays as it was; shared parameters too. */
START_TEST(gradients_are_final_when_they_are_said_to_be) {
  static const size_t pieces[] = {0, 1, 100, 1u << 30};
  network n = network_create(networks[_i].build);
  for (size_t k = 0; k < sizeof pieces / sizeof *pieces; k++) {
    watcher w = {.n = n.g->n, .piece = pieces[k], .told = n.g->n};
    MUST(tg_device_open("fake", &w.d));
    tg_plan *p = plan(&n, w.d, true);
    float *on = on_device(w.d, n.w, w.n * sizeof *on), *g = on_device(w.d, NULL, w.n * sizeof *g);
    float *s = on_device(w.d, NULL, n.g->ks * sizeof *s);
    void *block = on_device(w.d, NULL, tg_plan_bytes(p));
    w.g = g;
    w.seen = malloc(w.n * sizeof *w.seen);
    tg_plan_place(p, block);
    tg_plan_bind(p, on, g, NULL, s);
    tg_plan_watch(p, w.piece, look, &w);
    network_write(&n, p);
    MUST(tg_plan_run(p));
    ck_assert_uint_eq(w.told, 0);
    if (_i == 0 && pieces[k] <= 1) ck_assert_uint_gt(w.calls, 1);
    if (pieces[k] >= w.n) ck_assert_uint_eq(w.calls, 1);
    float *final = to_host(w.d, g, w.n);
    ck_assert_int_eq(memcmp(final, w.seen, w.n * sizeof *final), 0);
    size_t calls = w.calls;
    tg_plan_watch(p, 0, NULL, NULL);
    MUST(tg_plan_run(p));
    ck_assert_uint_eq(w.calls, calls);
    tg_plan_destroy(p);
    void *used[] = {on, g, s, block};
    for (size_t i = 0; i < 4; i++) w.d->backend->free(w.d, used[i]);
    tg_device_close(w.d);
    free(final);
    free(w.seen);
  }
  network_free(&n);
}
END_TEST

START_TEST(wrong_questions_are_answered) {
  network n = network_create(networks[0].build);
  tg_device *d = NULL;
  MUST(tg_device_open("cpu", &d));
  tg_plan *p = plan(&n, d, false);
  void *block = on_device(d, NULL, tg_plan_bytes(p));
  tg_loss_result r;
  tg_plan_place(p, block);
  tg_plan_bind(p, n.w, NULL, n.w, NULL);
  float v[4] = {0};
  ck_assert_int_ne(tg_plan_write(p, "nothing", v, 4), TG_OK);
  ck_assert_msg(strstr(tg_status_message(), "nothing"), "%s", tg_status_message());
  ck_assert_int_ne(tg_plan_write(p, "x", v, 4), TG_OK);
  ck_assert_msg(strstr(tg_status_message(), "4608 bytes"), "%s", tg_status_message());
  ck_assert_int_ne(tg_plan_write(p, "fc", v, 4), TG_OK);
  ck_assert_msg(strstr(tg_status_message(), "fc"), "%s", tg_status_message());
  ck_assert_int_ne(tg_plan_loss(p, "fc", &r), TG_OK);
  ck_assert_int_ne(tg_plan_read(p, "nothing", v), TG_OK);
  ck_assert_int_ne(tg_plan_backward(p), TG_OK);
  ck_assert_msg(strstr(tg_status_message(), "evaluation"), "%s", tg_status_message());
  tg_plan_destroy(p);
  d->backend->free(d, block);
  tg_device_close(d);
  network_free(&n);
}
END_TEST

/* A graph that failed cannot be planned, and says why. */
START_TEST(broken_graphs_are_not_planned) {
  tg_graph *g = NULL;
  tg_device *d = NULL;
  tg_plan *p = NULL;
  MUST(tg_graph_create(&g));
  tg_dense(g, "fc", NULL, 3, true);
  MUST(tg_device_open("cpu", &d));
  ck_assert_int_eq(tg_plan_create(g, d, &(tg_plan_options){.train = true}, &p), TG_ECONFIG);
  ck_assert_str_eq(tg_status_message(), "dense fc: input 0 is missing");
  tg_device_close(d);
  tg_graph_destroy(g);
}
END_TEST

int main(void) {
  Suite *s = suite_create("plan");
  TCase *t = tcase_create("plans");
  tcase_set_timeout(t, 120);
  tcase_add_loop_test(t, live_buffers_do_not_overlap, 0, NETWORKS);
  tcase_add_loop_test(t, sharing_memory_changes_nothing, 0, NETWORKS);
  tcase_add_loop_test(t, steps_repeat, 0, NETWORKS);
  tcase_add_loop_test(t, gradients_are_final_when_they_are_said_to_be, 0, NETWORKS);
  tcase_add_test(t, memory_is_shared);
  tcase_add_test(t, outputs_live_to_the_end);
  tcase_add_test(t, bound_again);
  tcase_add_test(t, wrong_questions_are_answered);
  tcase_add_test(t, broken_graphs_are_not_planned);
  suite_add_tcase(s, t);
  return run_suite(s);
}
