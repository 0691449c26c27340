/* hyper.h - what optimisers take beside the learning rate: the configuration's keys, and the
 * numbers of one update that are made of them. */
#ifndef TARDIGRAD_HYPER_H
#define TARDIGRAD_HYPER_H

#include <stdbool.h>
#include <stdint.h>

struct tg_optimizer;

/* optimizer.*, as configured; who reads what stands in options.def. */
typedef struct tg_optimizer_keys {
  double beta1, beta2, beta3, alpha, epsilon, trust;
  uint64_t alpha_updates, beta3_updates; /* ademamix: over which alpha and beta3 grow */
  uint64_t k;                            /* lookahead: updates of inner per step of slow weights */
  uint64_t shampoo_every, shampoo_limit;
  double path_clamp;    /* gsgd: ratios of skeletons stay in [path_clamp, 1/path_clamp]; 0: free */
  bool path_norm;       /* gsgd: gradients times norms of weights, as published for batch norm */
  bool path_compensate; /* gsgd: rules compensate path gradients, not gradients of weights */
} tg_optimizer_keys;

/* Numbers of one update, made once on the host, in double and by IEEE operations alone, so that
 * every host and every device has the same. t = update + 1 counts from 1. */
typedef struct tg_factors {
  float keep1, take1; /* beta1, 1 - beta1 */
  float keep2, take2; /* beta2, 1 - beta2 */
  float keep3, take3; /* beta3 of this update, 1 - beta3 */
  float unbias;       /* 1 / (1 - beta1^t): what the first moment lacks while it is young */
  float step;         /* lr * unbias */
  float root;         /* 1 / sqrt(1 - beta2^t): the same for the root of the second moment */
  float mix;          /* ademamix: alpha of this update; lookahead: 1 - alpha */
  float couple;       /* weight decay that is added to the gradient */
  float shrink;       /* lr * weight decay where it is decoupled: w -= shrink w */
  float epsilon;      /* added to a denominator, never 0 */
  bool first;         /* t = 1 */
  bool pull;          /* lookahead: t is a multiple of k */
} tg_factors;

#endif
