/* A training step allocates nothing: calls to the allocator from the program's own code (the
 * library is linked into it; oneDNN, OpenBLAS and OpenMP are not, and keep lists of their own) are
 * counted. VALGRIND: no: it has an allocator of its own. */
#include "../ops/networks.h"

/* Bounds of the program's code, from the linker. */
extern char __executable_start[], etext[];

static bool counting;
static size_t counted;

static inline void count_from(const void *caller) {
  const char *at = caller;
  if (counting && at >= __executable_start && at < etext) counted++;
}

/* The C library's own, under their second names. */
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *p, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);

#ifndef __SANITIZE_ADDRESS__
void *malloc(size_t bytes) {
  count_from(__builtin_return_address(0));
  return __libc_malloc(bytes);
}
void *calloc(size_t count, size_t bytes) {
  count_from(__builtin_return_address(0));
  return __libc_calloc(count, bytes);
}
void *realloc(void *p, size_t bytes) {
  count_from(__builtin_return_address(0));
  return __libc_realloc(p, bytes);
}
void *aligned_alloc(size_t alignment, size_t bytes) {
  count_from(__builtin_return_address(0));
  return __libc_memalign(alignment, bytes);
}
enum { COUNTS = 1 };
#else
enum { COUNTS = 0 }; /* the sanitizer is the allocator */
#endif

START_TEST(a_step_allocates_nothing) {
  for (int bf16 = 0; bf16 <= (int)has_bf16(); bf16++) {
    network n = network_create(networks[_i].build);
    tg_device *d = NULL;
    tg_plan *p = NULL;
    tg_loss_result r;
    tg_plan_options options = {.train = true, .precision = bf16 ? TG_BF16 : TG_F32};
    MUST(tg_device_open("cpu", &d));
    MUST(tg_plan_create(n.g, d, &options, &p));
    void *block = on_device(d, NULL, tg_plan_bytes(p));
    float *g = on_device(d, NULL, n.g->n * sizeof *g), *s = on_device(d, NULL, n.g->ks * sizeof *s);
    tg_plan_place(p, block);
    network_write(&n, p);
    counted = 0;
    counting = true;
    tg_plan_bind(p, n.w, g, NULL, s);
    tg_status status = tg_plan_write(p, "x", n.x, 6 * 3 * 8 * 8 * sizeof *n.x);
    if (status == TG_OK) status = tg_plan_forward(p);
    if (status == TG_OK) status = tg_plan_backward(p);
    if (status == TG_OK) status = tg_plan_loss(p, "loss", &r);
    counting = false;
    MUST(status);
    ck_assert_msg(counted == 0, "%s: %zu allocations in a step", networks[_i].name, counted);
    tg_plan_destroy(p);
    void *used[] = {block, g, s};
    for (size_t i = 0; i < sizeof used / sizeof *used; i++) d->backend->free(d, used[i]);
    tg_device_close(d);
    network_free(&n);
  }
}
END_TEST

/* That counting works at all. */
START_TEST(planning_allocates) {
  network n = network_create(networks[_i].build);
  counted = 0;
  counting = true;
  step_results r = network_run(&n, "cpu", TG_F32, false);
  counting = false;
  ck_assert(counted > 10);
  step_free(&r);
  network_free(&n);
}
END_TEST

int main(void) {
  if (!COUNTS) {
    puts("allocations: AddressSanitizer has an allocator of its own");
    return 77;
  }
  Suite *s = suite_create("allocations");
  TCase *t = tcase_create("step");
  tcase_set_timeout(t, 120);
  tcase_add_loop_test(t, a_step_allocates_nothing, 0, NETWORKS);
  tcase_add_loop_test(t, planning_allocates, 0, 1);
  suite_add_tcase(s, t);
  return run_suite(s);
}
