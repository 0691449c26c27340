/* optimizers.h - what servers in tests need for any optimiser: the configuration's defaults, and a
 * layout of n parameters. */
#ifndef TESTS_OPTIMIZERS_H
#define TESTS_OPTIMIZERS_H

#include <math.h>

#include "any_paths.h"
#include "tardigrad/optim.h"

static inline tg_optimizer_keys default_keys(const tg_optimizer *o) {
  const tg_optimizer_keys set = {.beta1 = 0.9,
                                 .beta2 = 0.999,
                                 .beta3 = 0.9999,
                                 .alpha = NAN,
                                 .epsilon = NAN,
                                 .trust = 0.001,
                                 .alpha_updates = 200,
                                 .beta3_updates = 200,
                                 .k = 5,
                                 .shampoo_every = 10,
                                 .shampoo_limit = 256};
  return tg_optimizer_keys_of(o, &set);
}

/* A nearly square weight, a bias, and a weight of one dimension; of few parameters one bias. Static
 * memory, until the next call. */
static inline tg_layout any_layout(size_t n) {
  static tg_part part[3];
  size_t rows = (size_t)sqrt((double)n / 2), count = rows * (rows + 1);
  if (rows < 2) {
    part[0] = (tg_part){0, n, n, 1, false};
    return (tg_layout){.part = part, .count = 1, .paths = any_paths(n)};
  }
  size_t bias = (n - count) / 2, rest = n - count - bias;
  part[0] = (tg_part){0, count, rows, rows + 1, true};
  part[1] = (tg_part){count, bias, bias, 1, false};
  part[2] = (tg_part){count + bias, rest, rest, 1, true};
  return (tg_layout){.part = part, .count = 3, .paths = any_paths(n)};
}

#endif
