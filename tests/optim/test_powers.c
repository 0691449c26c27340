/* The powers, logarithms and exponentials of src/optim, which are made of IEEE operations alone,
 * against the C library's in double. */
#include <check.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "optim/negative_exp.h"
#include "optim/powers.h"

static float of_bits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

/* Every 251st float from 0 to 87, by its bits. */
START_TEST(negative_exp_within_its_bound) {
  double worst = 0;
  float at = 0;
  for (uint32_t bits = 0; bits <= 0x42ae0000; bits += 251) {
    float x = of_bits(bits);
    double error = fabs(tg_negative_exp(x) / exp(-(double)x) - 1);
    if (!(error <= worst)) worst = error, at = x;
  }
  ck_assert_msg(worst <= 2e-7, "exp(-%.9g): off by %.2g", at, worst);
  ck_assert(worst > 1e-8); /* the loop looked at something */
}
END_TEST

START_TEST(negative_exp_at_its_ends) {
  ck_assert(tg_negative_exp(0) == 1);
  ck_assert(tg_negative_exp(FLT_MIN / 4) == 1);
  ck_assert(tg_negative_exp(87) >= FLT_MIN);
  ck_assert(tg_negative_exp(88) == tg_negative_exp(87));
  ck_assert(tg_negative_exp(FLT_MAX) == tg_negative_exp(87));
  ck_assert(tg_negative_exp(INFINITY) == tg_negative_exp(87));
  /* It falls, but for the last bit. */
  for (float x = 0; x < 87; x += 0.01f)
    ck_assert(tg_negative_exp(x + 0.01f) < tg_negative_exp(x) * (1 + FLT_EPSILON));
}
END_TEST

static void near(const char *what, double x, double have, double want, double bound) {
  ck_assert_msg(fabs(have - want) <= bound * fabs(want), "%s of %.17g: %.17g, not %.17g", what, x,
                have, want);
}

START_TEST(powers) {
  const double bases[] = {0, 0.5, 0.9, 0.95, 0.999, 0.9999, 0.999999, 1};
  for (int i = 0; i < 8; i++)
    for (uint64_t t = 1; t < 2000000; t = t * 3 / 2 + 1) {
      double want = pow(bases[i], (double)t);
      if (want > DBL_MIN) near("a power", bases[i], tg_power(bases[i], t), want, 1e-9);
    }
  ck_assert(tg_power(0.9, 0) == 1 && tg_power(0.9, 1) == 0.9 && tg_power(0.9, 2) == 0.9 * 0.9);
  ck_assert(tg_power(0.5, UINT64_MAX) == 0);
}
END_TEST

START_TEST(logarithms) {
  for (double x = 1e-12; x < 1e12; x *= 1.37) near("log", x, tg_log(x), log(x), 1e-14);
  for (int i = 1; i < 50; i++) {
    double x = 1 - pow(0.5, i); /* decays are close below 1 */
    near("log", x, tg_log(x), log(x), 1e-14);
  }
  ck_assert(tg_log(1) == 0);
}
END_TEST

START_TEST(exponentials) {
  for (double x = -700; x < 700; x += 0.37) near("exp", x, tg_exp(x), exp(x), 1e-13);
  ck_assert(tg_exp(0) == 1);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("powers");
  TCase *tc = tcase_create("powers");
  tcase_set_timeout(tc, 120);
  tcase_add_test(tc, negative_exp_within_its_bound);
  tcase_add_test(tc, negative_exp_at_its_ends);
  tcase_add_test(tc, powers);
  tcase_add_test(tc, logarithms);
  tcase_add_test(tc, exponentials);
  suite_add_tcase(suite, tc);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
