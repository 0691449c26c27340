/* The fake device: a host that touches device memory faults, and training on it is training on the
 * cpu. */
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "networks.h"

/* How a child ends that reads *p. */
static int end_of_reader(const volatile char *p) {
  fflush(NULL);
  pid_t child = fork();
  ck_assert(child >= 0);
  if (child == 0) {
    const struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    signal(SIGSEGV, SIG_DFL);
    signal(SIGBUS, SIG_DFL);
    char c = *p;
    _exit(c != 0);
  }
  int status = 0;
  ck_assert_int_eq(waitpid(child, &status, 0), child);
  return status;
}

/* SIGBUS is what a processor's stack segment says: the compiler may have used its registers. */
static bool is_fault(int status) {
  return WIFSIGNALED(status) && (WTERMSIG(status) == SIGSEGV || WTERMSIG(status) == SIGBUS);
}

START_TEST(host_faults_on_device_memory) {
  tg_device *d = NULL;
  void *p = NULL;
  char zeros[100];
  MUST(tg_device_open("fake", &d));
  ck_assert(!d->backend->host_memory);
  MUST(d->backend->alloc(d, sizeof zeros, &p));
  int status = end_of_reader(p);
  ck_assert_msg(is_fault(status), "status %d", status);
  status = end_of_reader((char *)p + 50);
  ck_assert_msg(is_fault(status), "status %d", status);
  memset(zeros, 1, sizeof zeros);
  MUST(d->backend->to_host(d, zeros, p, sizeof zeros));
  for (size_t i = 0; i < sizeof zeros; i++) ck_assert_int_eq(zeros[i], 0);
  d->backend->free(d, p);
  tg_device_close(d);
}
END_TEST

START_TEST(host_reads_memory_of_the_cpu) {
  tg_device *d = NULL;
  void *p = NULL;
  MUST(tg_device_open("cpu", &d));
  ck_assert(d->backend->host_memory);
  MUST(d->backend->alloc(d, 100, &p));
  int status = end_of_reader(p);
  ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  d->backend->free(d, p);
  tg_device_close(d);
}
END_TEST

enum { STEPS = 3 };

/* Some steps of gradient descent; the weights end up in w[n]. */
static void train(const network *n, const char *device, tg_dtype precision, float *weights) {
  tg_device *d = NULL;
  tg_plan *p = NULL;
  tg_plan_options options = {.train = true, .precision = precision};
  MUST(tg_device_open(device, &d));
  MUST(tg_plan_create(n->g, d, &options, &p));
  size_t bytes = n->g->n * sizeof(float);
  void *block = on_device(d, NULL, tg_plan_bytes(p));
  float *w = on_device(d, n->w, bytes), *g = on_device(d, NULL, bytes);
  float *s = on_device(d, NULL, n->g->ks * sizeof *s);
  tg_plan_place(p, block);
  tg_plan_bind(p, w, g, NULL, s);
  memcpy(weights, n->w, bytes);
  for (int i = 0; i < STEPS; i++) {
    network_write(n, p);
    MUST(tg_plan_forward(p));
    MUST(tg_plan_backward(p));
    float *gradient = to_host(d, g, n->g->n);
    for (size_t j = 0; j < n->g->n; j++) weights[j] -= 0.05f * gradient[j];
    MUST(d->backend->to_device(d, w, weights, bytes));
    free(gradient);
  }
  tg_plan_destroy(p);
  void *used[] = {block, w, g, s};
  for (size_t i = 0; i < sizeof used / sizeof *used; i++) d->backend->free(d, used[i]);
  tg_device_close(d);
}

START_TEST(training_equals_the_cpus) {
  for (int bf16 = 0; bf16 <= (int)has_bf16(); bf16++) {
    network n = network_create(networks[_i].build);
    float *cpu = malloc(n.g->n * sizeof *cpu), *fake = malloc(n.g->n * sizeof *fake);
    train(&n, "cpu", bf16 ? TG_BF16 : TG_F32, cpu);
    train(&n, "fake", bf16 ? TG_BF16 : TG_F32, fake);
    ck_assert_msg(memcmp(cpu, fake, n.g->n * sizeof *cpu) == 0, "%s", networks[_i].name);
    ck_assert(memcmp(cpu, n.w, n.g->n * sizeof *cpu) != 0);
    free(cpu);
    free(fake);
    network_free(&n);
  }
}
END_TEST

START_TEST(devices_are_found_by_name) {
  tg_device *d = NULL;
  MUST(tg_device_open("auto", &d));
  ck_assert_str_ne(d->backend->name, "fake");
  tg_device_close(d);
  ck_assert_int_eq(tg_device_open("fale", &d), TG_ECONFIG);
  ck_assert_msg(strstr(tg_status_message(), "fake"), "%s", tg_status_message());
}
END_TEST

int main(void) {
  Suite *s = suite_create("fake");
  TCase *t = tcase_create("device");
  tcase_set_timeout(t, 120);
  tcase_add_test(t, host_faults_on_device_memory);
  tcase_add_test(t, host_reads_memory_of_the_cpu);
  tcase_add_loop_test(t, training_equals_the_cpus, 0, NETWORKS);
  tcase_add_test(t, devices_are_found_by_name);
  suite_add_tcase(s, t);
  return run_suite(s);
}
