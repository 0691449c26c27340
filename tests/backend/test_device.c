/* Devices by name, and what the CPU device does beside running kernels. */
#include <check.h>
#include <omp.h>
#include <stdlib.h>

#include "backend/cpu.h"

#define MUST(expression)                                                                           \
  ck_assert_msg((expression) == TG_OK, "%s: %s", #expression, tg_status_message())

START_TEST(opened_by_name) {
  tg_device *d = NULL;
  MUST(tg_device_open("cpu", &d));
  ck_assert_str_eq(d->backend->name, "cpu");
  ck_assert_ptr_nonnull(strstr(d->backend->describe(d), "oneDNN"));
  tg_device_close(d);
  MUST(tg_device_open("fake", &d));
  ck_assert_str_eq(d->backend->name, "fake");
  ck_assert(!d->backend->host_memory);
  tg_device_close(d);
  tg_device_close(NULL);
}
END_TEST

START_TEST(auto_never_takes_the_fake_one) {
  tg_device *d = NULL;
  MUST(tg_device_open("auto", &d));
  ck_assert_int_gt(d->backend->preference, 0);
  ck_assert_str_ne(d->backend->name, "fake");
  tg_device_close(d);
}
END_TEST

START_TEST(unknown_names_are_refused) {
  tg_device *d = NULL;
  ck_assert_int_eq(tg_device_open("cpuu", &d), TG_ECONFIG);
  ck_assert_ptr_null(d);
  ck_assert_ptr_nonnull(strstr(tg_status_message(), "\"cpuu\""));
  ck_assert_ptr_nonnull(strstr(tg_status_message(), "\"cpu\""));
  ck_assert_int_eq(tg_device_open("abacus", &d), TG_ECONFIG);
  ck_assert_ptr_nonnull(strstr(tg_status_message(), "\"abacus\""));
}
END_TEST

START_TEST(memory_is_zeroed_and_aligned) {
  const char *const names[] = {"cpu", "fake"};
  for (int k = 0; k < 2; k++) {
    tg_device *d = NULL;
    MUST(tg_device_open(names[k], &d));
    for (size_t bytes = 0; bytes < 300; bytes += 77) {
      void *p = NULL;
      MUST(d->backend->alloc(d, bytes, &p));
      const unsigned char *host = tg_cpu_host(d, p);
      ck_assert_uint_eq((uintptr_t)host % 64, 0);
      for (size_t i = 0; i < bytes; i++) ck_assert_uint_eq(host[i], 0);
      d->backend->free(d, p);
    }
    void *p = NULL;
    ck_assert_int_eq(d->backend->alloc(d, SIZE_MAX - 100, &p), TG_ERUNTIME);
    tg_device_close(d);
  }
}
END_TEST

/* Odd channels, so that blocks have padding: it stays zero, and is not read. */
static tg_tensor blocked(tg_dtype dtype, dnnl_memory_desc_t *layout) {
  tg_tensor t = {.shape = {4, {2, 19, 3, 5}}, .dtype = dtype};
  const dnnl_dims_t dims = {2, 19, 3, 5};
  ck_assert(dnnl_memory_desc_init_by_tag(layout, 4, dims, tg_cpu_dtype(dtype), dnnl_nChw16c) ==
            dnnl_success);
  tg_cpu_place(&t, layout);
  ck_assert_ptr_eq(t.layout, layout);
  ck_assert_uint_eq(t.bytes, 2 * 32 * 15 * tg_dtype_bytes(dtype));
  return t;
}

static float number(int i) {
  return (float)(i % 31 - 15) * 0.125f;
}

static void fill(tg_device *d, const tg_tensor *t, void *p) {
  float plain[2 * 19 * 15];
  dnnl_memory_desc_t from, to;
  for (int i = 0; i < 2 * 19 * 15; i++) plain[i] = number(i);
  tg_cpu_plain_desc(&t->shape, TG_F32, &from);
  tg_cpu_desc(t, &to);
  tg_cpu_call copy = {0};
  MUST(tg_cpu_copy_create(&copy, d, &from, &to));
  void *scratch = NULL;
  MUST(tg_cpu_alloc(d, copy.scratch_bytes, &scratch));
  MUST(tg_cpu_copy_run(&copy, plain, p, scratch));
  free(scratch);
  tg_cpu_call_destroy(&copy);
}

START_TEST(gradients_add_up_in_any_layout) {
  tg_device *d = NULL;
  MUST(tg_device_open(_i & 1 ? "fake" : "cpu", &d));
  dnnl_memory_desc_t layout;
  tg_tensor t = blocked(_i & 2 ? TG_BF16 : TG_F32, &layout);
  if (tg_cpu_precision(d, t.dtype) == t.dtype) {
    void *p = NULL;
    MUST(d->backend->alloc(d, t.bytes, &t.data));
    MUST(d->backend->alloc(d, t.bytes, &p));
    fill(d, &t, t.data);
    fill(d, &t, p);
    MUST(d->backend->add(d, &t, t.data, p));
    float sum[2 * 19 * 15];
    MUST(d->backend->read(d, &t, sum));
    for (int i = 0; i < 2 * 19 * 15; i++) ck_assert(sum[i] == 2 * number(i));
    d->backend->free(d, t.data);
    d->backend->free(d, p);
  }
  tg_device_close(d);
}
END_TEST

START_TEST(plain_is_recognised_by_its_order) {
  dnnl_memory_desc_t d;
  const dnnl_dims_t points = {4, 32, 1, 1}, image = {4, 32, 2, 2}, odd = {4, 20, 1, 1};
  ck_assert(dnnl_memory_desc_init_by_tag(&d, 4, points, dnnl_f32, dnnl_nChw16c) == dnnl_success);
  ck_assert(tg_cpu_is_plain(&d));
  ck_assert(dnnl_memory_desc_init_by_tag(&d, 4, points, dnnl_f32, dnnl_nhwc) == dnnl_success);
  ck_assert(tg_cpu_is_plain(&d));
  ck_assert(dnnl_memory_desc_init_by_tag(&d, 4, image, dnnl_f32, dnnl_nchw) == dnnl_success);
  ck_assert(tg_cpu_is_plain(&d));
  ck_assert(dnnl_memory_desc_init_by_tag(&d, 4, image, dnnl_f32, dnnl_nhwc) == dnnl_success);
  ck_assert(!tg_cpu_is_plain(&d));
  ck_assert(dnnl_memory_desc_init_by_tag(&d, 4, image, dnnl_f32, dnnl_nChw16c) == dnnl_success);
  ck_assert(!tg_cpu_is_plain(&d));
  ck_assert(dnnl_memory_desc_init_by_tag(&d, 4, odd, dnnl_f32, dnnl_nChw16c) == dnnl_success);
  ck_assert(!tg_cpu_is_plain(&d));
}
END_TEST

int main(void) {
  Suite *s = suite_create("device");
  TCase *t = tcase_create("cpu");
  tcase_add_test(t, opened_by_name);
  tcase_add_test(t, auto_never_takes_the_fake_one);
  tcase_add_test(t, unknown_names_are_refused);
  tcase_add_test(t, memory_is_zeroed_and_aligned);
  tcase_add_loop_test(t, gradients_add_up_in_any_layout, 0, 4);
  tcase_add_test(t, plain_is_recognised_by_its_order);
  suite_add_tcase(s, t);
  SRunner *r = srunner_create(s);
  srunner_run_all(r, CK_ENV);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed != 0;
}
