/* probe.h - how close each compensation of a late gradient comes to the gradient at the new
 * weights: whether delay compensation can help at all, before anybody trains with it.
 *
 * A gradient g was computed at w_bak and is applied at w. What is compared with the gradient of the
 * same batch at w, g' = g(w), is g + s C (w - w_bak), C one of the curvatures below and s its
 * scale: residual = |g + s C (w - w_bak) - g'| / |g' - g| 1 is no compensation, 0 the gradient at
 * w. Source of the curvatures: Zheng et al., ICML 2017 (the Hessian, G = E[g g'], lambda G,
 * diag(lambda g g), the adaptive lambda); Hutchinson's diagonal as in Yao et al., AAAI 2021. */
#ifndef TARDIGRAD_PROBE_H
#define TARDIGRAD_PROBE_H

#include <stdio.h>

#include "tardigrad/config.h"
#include "tardigrad/worker.h"

typedef enum {
  TG_CURVE_DIAGONAL,   /* diag(g g) of the batch's gradient: dc-asgd-c */
  TG_CURVE_ADAPTIVE,   /* diag(g g / sqrt(mean square + epsilon)): dc-asgd-a */
  TG_CURVE_MEAN,       /* diag(E[g g]) over small batches */
  TG_CURVE_OUTER,      /* G = E[g g^T] over small batches: of a rank of at most their number */
  TG_CURVE_HUTCHINSON, /* an estimate of the Hessian's diagonal */
  TG_CURVE_HESSIAN,    /* the Hessian of the batch's loss */
  TG_CURVES
} tg_curve;

/* tg_curve_name - for tables and JSON. */
const char *tg_curve_name(tg_curve curve);

typedef struct tg_fidelity_options {
  tg_compute *compute; /* gradients of batches, host memory */
  tg_compute *small;   /* of small batches; one sample where the model allows it */
  uint32_t samples;    /* small batches in an expectation */
  uint32_t vectors;    /* random vectors of Hutchinson's estimate */
  double lambda, adaptive_lambda, epsilon; /* the scale s of the first two curvatures; the others
                                              have 1 */
  uint64_t seed;
} tg_fidelity_options;

typedef struct tg_fidelity {
  double distance; /* |w - w_bak| */
  double gradient; /* |g| */
  double change;   /* |g' - g| */
  struct {
    double scale, residual, ratio;    /* ratio = |correction| / |g| */
    double best_scale, best_residual; /* of the scale with the smallest residual: an oracle's */
  } of[TG_CURVES];
} tg_fidelity;

/* tg_fidelity_measure - of worker `worker`'s gradient g [n] of batch `step`, computed at w_bak [n]
 * and applied at w [n]. mean_square [n]: dc-asgd-a's, this gradient included. All host memory;
 * compute->g is overwritten. Products with the Hessian are central differences of gradients.
 * Memory: six vectors of n floats, while it runs. */
TG_CHECKED tg_status tg_fidelity_measure(const tg_fidelity_options *options, uint32_t worker,
                                         uint64_t step, const float *w_bak, const float *w,
                                         const float *g, const float *mean_square,
                                         tg_fidelity *out);

/* tg_fidelity_sharpness - the Hessian's eigenvalue of largest size at w [n], on that batch, by
 * `iterations` of the power method. */
TG_CHECKED tg_status tg_fidelity_sharpness(const tg_fidelity_options *options, uint32_t worker,
                                           uint64_t step, const float *w, int iterations,
                                           double *out);

/* tg_stable_rate - the largest lr * curvature at which gradients of constant delay tau converge on
 * a quadratic: 2 sin(pi / (2 (2 tau + 1))); 2 where the exact Hessian compensates the delay.
 * tg_stable_rate_found - the same, found by bisection with the server of server.h itself: M = tau +
 * 1 workers in turn on f(w) = w^2 / 2. */
double tg_stable_rate(uint64_t tau, bool compensated);
TG_CHECKED tg_status tg_stable_rate_found(uint64_t tau, bool compensated, double *out);

/* tg_probe - `tardigrad probe`: goes from every checkpoint of a run through a few updates of an
 * asynchronous server with `probe.workers` workers in turn, measures, and writes a table or JSON
 * objects, one a line, to `out`. Assignments change the run's configuration. */
TG_CHECKED tg_status tg_probe(const char *run, const char *const *assignments, int count, bool json,
                              FILE *out);

#endif
