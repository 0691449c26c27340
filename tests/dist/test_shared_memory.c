/* test_shared_memory.c - memory between two processes, and every way in which it is refused. */
#include <check.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../support/fixture.h"
#include "dist/shared_memory.h"

enum { BYTES = 10000 }; /* not a multiple of a page */

/* 0: another process saw what was written, and its writing is seen here. */
static int other_process(const tg_shared_key *key) {
  pid_t child = fork();
  if (child == 0) {
    tg_shared theirs;
    if (tg_shared_open(key, &theirs) != TG_OK) _exit(1);
    char *data = theirs.data;
    bool seen = data[0] == 'a' && data[BYTES - 1] == 'z';
    data[1] = 'b';
    tg_shared_close(&theirs);
    _exit(seen ? 0 : 2);
  }
  int status = -1;
  waitpid(child, &status, 0);
  return status;
}

START_TEST(is_seen_by_both) {
  tg_shared ours;
  tg_shared_key key;
  ck_ok(tg_shared_create(BYTES, &ours, &key));
  char *data = ours.data;
  for (size_t i = 0; i < BYTES; i++) ck_assert_int_eq(data[i], 0);
  data[0] = 'a';
  data[BYTES - 1] = 'z';
  ck_assert_int_eq(other_process(&key), 0);
  ck_assert_int_eq(data[1], 'b');
  tg_shared_close(&ours);
  ck_assert_ptr_null(ours.data);
  tg_shared_close(&ours);
}
END_TEST

static void refused(const tg_shared_key *key, const char *why) {
  tg_shared s;
  ck_assert_int_eq(tg_shared_open(key, &s), TG_EUNAVAILABLE);
  ck_assert_msg(strstr(tg_status_message(), why) != NULL, "%s", tg_status_message());
  ck_assert_ptr_null(s.data);
}

START_TEST(is_not_mistaken_for_something_else) {
  tg_shared first, second;
  tg_shared_key key, other, wrong;
  ck_ok(tg_shared_create(BYTES, &first, &key));
  ck_ok(tg_shared_create(BYTES, &second, &other));
  wrong = key;
  wrong.fd = other.fd; /* of the same size */
  refused(&wrong, "is something else");
  wrong = key;
  wrong.bytes += 100000;
  refused(&wrong, "is something else");
  wrong = key;
  wrong.fd = 0;
  wrong.bytes = 1;
  refused(&wrong, "/fd/0");
  tg_shared_close(&first);
  tg_shared_close(&second);
  refused(&key, "No such file");
}
END_TEST

START_TEST(says_that_there_is_not_enough) {
  tg_shared s;
  tg_shared_key key;
  ck_assert_int_eq(tg_shared_create((size_t)1 << 60, &s, &key), TG_EUNAVAILABLE);
  ck_assert_ptr_nonnull(strstr(tg_status_message(), "shared memory"));
  ck_assert_ptr_null(s.data);
  ck_assert_uint_eq(key.bytes, 0);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("shared memory");
  TCase *tc = tcase_create("shared memory");
  tcase_add_test(tc, is_seen_by_both);
  tcase_add_test(tc, is_not_mistaken_for_something_else);
  tcase_add_test(tc, says_that_there_is_not_enough);
  suite_add_tcase(suite, tc);
  return fixture_run(suite, 0) != 0;
}
