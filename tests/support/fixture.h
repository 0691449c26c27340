/* fixture.h - temporary files of a test program, and a check that says why a function failed. */
#ifndef TESTS_FIXTURE_H
#define TESTS_FIXTURE_H

#include <check.h>
#include <stddef.h>

#include "tardigrad/status.h"

#define ck_ok(expression)                                                                          \
  do {                                                                                             \
    tg_status ck_ok_ = (expression);                                                               \
    ck_assert_msg(ck_ok_ == TG_OK, "%s: %s (%d)", #expression, tg_status_message(), ck_ok_);       \
  } while (0)

/* Runs a suite on one rank of several (alone: 0): rank 0 reports as CK_VERBOSITY asks, the others
 * report failures only. Returns how many tests failed. Memory: frees the suite. */
int fixture_run(Suite *suite, int rank);

/* A path in a folder of this process, made under $TMPDIR or /tmp when first asked for. */
void fixture_path(const char *name, char *path, size_t size);
/* Removes the folder and the files in it. */
void fixture_end(void);

#endif
