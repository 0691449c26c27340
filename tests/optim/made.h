/* made.h - an optimiser's row for a test, alone or as a wrapper. */
#ifndef OPTIM_MADE_H
#define OPTIM_MADE_H

#include <check.h>

#include "../support/optimizers.h"

/* The optimiser's row, around `inner` if it wraps one. Static memory, until the next call. */
static inline const tg_optimizer *made(const char *name, const char *inner) {
  static tg_optimizer row;
  ck_assert_msg(tg_optimizer_make(name, inner, &row) == TG_OK, "%s", tg_status_message());
  return &row;
}

#endif
