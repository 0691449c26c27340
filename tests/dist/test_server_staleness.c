/* Staleness: updates applied between a worker's pull and its push. */
#include <math.h>

#include "cluster.h"

/* Seconds that worker m computes for its gradient `step`. */
typedef double (*speed)(uint32_t m, uint64_t step);
static double equal(uint32_t m, uint64_t step) {
  (void)m;
  (void)step;
  return 1;
}
static double one_slow(uint32_t m, uint64_t step) {
  (void)step;
  return m == 3 ? 5 : 1;
}
static double exponential(uint32_t m, uint64_t step) {
  return -log((cluster_random(m, step, 8) + 1.0001) / 2.0002);
}
static double heavy(uint32_t m, uint64_t step) {
  return (m + 1) * exp(2 * cluster_random(m, step, 9));
}

typedef struct tally {
  uint64_t sum[CLUSTER_WORKERS], count[CLUSTER_WORKERS], total;
} tally;

/* Runs `updates` of an asgd server with workers of these speeds, earliest first. */
static tally staleness_of(uint32_t workers, speed seconds, double updates) {
  tg_server_options o = cluster_options("asgd", "sgd", workers, 1, updates);
  tally t = {0};
  double due[CLUSTER_WORKERS];
  cluster c;
  cluster_open(&c, &o);
  for (uint32_t m = 0; m < workers; m++) due[m] = seconds(m, 0) + m * 1e-6;
  while (!tg_server_finished(c.server)) {
    uint32_t next = workers;
    for (uint32_t m = 0; m < workers; m++)
      if (cluster_busy(&c, m) && (next == workers || due[m] < due[next])) next = m;
    ck_assert(cluster_answer(&c, next, 0) == TG_OK);
    due[next] += seconds(next, c.inbox[next].step);
    if (!c.event.applied) continue;
    t.sum[next] += c.event.staleness;
    t.count[next]++;
    t.total += c.event.staleness;
  }
  cluster_close(&c);
  return t;
}

START_TEST(mean_staleness_is_workers_less_one) {
  /* One gradient in flight per worker, the last M updates by M workers: the staleness of all T
   * updates adds up to (M-1) T - M (M-1) / 2, whatever the speeds. */
  const speed speeds[] = {equal, one_slow, exponential, heavy};
  const uint32_t workers[] = {1, 2, 4, 9, 16};
  const uint64_t updates = 3000;
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 5; j++) {
      uint32_t m = workers[j];
      tally t = staleness_of(m, speeds[i], (double)updates);
      ck_assert_uint_eq(t.total, (m - 1) * updates - m * (m - 1) / 2);
    }
}
END_TEST

START_TEST(staleness_of_each_worker) {
  tally t = staleness_of(4, one_slow, 16000);
  const double expected[] = {2.2, 2.2, 2.2, 15.0};
  for (int m = 0; m < 4; m++)
    ck_assert_double_eq_tol((double)t.sum[m] / (double)t.count[m], expected[m], 0.02);
  t = staleness_of(8, equal, 800);
  for (int m = 0; m < 8; m++)
    ck_assert_double_eq_tol((double)t.sum[m] / (double)t.count[m], 7, 0.1);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("staleness");
  TCase *tc = tcase_create("staleness");
  tcase_set_timeout(tc, 120);
  tcase_add_test(tc, mean_staleness_is_workers_less_one);
  tcase_add_test(tc, staleness_of_each_worker);
  suite_add_tcase(suite, tc);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
