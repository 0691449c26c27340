/* rules.cuh - what the kernels of updates share: hyper-parameters, arithmetic that is rounded where
 * the CPU's is, the rules that correct a gradient, running means. Of update.cu and paths.cu. */
#ifndef KERNELS_RULES_CUH
#define KERNELS_RULES_CUH

#include <float.h>
#include <string.h>

#include "kernels/device.cuh"

extern "C" {
#include "tardigrad/rule.h"
}

namespace tg {

enum Kind { ONE_KIND, ADAM, ADAMW, AMSGRAD, ADEMAMIX, DIFFGRAD };

struct Settings {
  float lr, lambda, keep, take, epsilon, cap, momentum, weight_decay;
  float step_keep, step_take, prediction, elasticity, workers;
  tg_factors f;
  Kind kind;
};

__device__ __forceinline__ float mul(float x, float y) {
  return __fmul_rn(x, y);
}
__device__ __forceinline__ float add(float x, float y) {
  return __fadd_rn(x, y);
}
__device__ __forceinline__ float sub(float x, float y) {
  return __fsub_rn(x, y);
}

/* ---- rules: rows of tg_rule (tardigrad/rule.h), one parameter at a time ---- */

/* What a rule does not say otherwise. */
struct AsItIs {
  static constexpr bool corrects = false, has_state = false, steps = false, settles = false,
                        serves = false;
  /* Changes the gradient, gives what was put to it; gap = w - w_bak. */
  static __device__ float compensate(const Settings &, float &, float, float &) { return 0; }
  /* The new weight in place of the optimiser's; `correction` is what was put to the gradient. */
  static __device__ float step(const Settings &, float w, float, float, float &, float &) {
    return w;
  }
  static __device__ void settle(const Settings &, float, float, float &) {}
  static __device__ float serve(const Settings &, float w, float) { return w; }
};

__device__ __forceinline__ float bounded(float correction, float limit) {
  correction = correction < limit ? correction : limit;
  return correction > -limit ? correction : -limit;
}

/* Zheng et al., ICML 2017, with a constant lambda: see src/rules/dc_asgd.c. */
struct DelayCompensated : AsItIs {
  static constexpr bool corrects = true;
  static __device__ float compensate(const Settings &h, float &g, float gap, float &) {
    float c = bounded(mul(g, mul(g, mul(h.lambda, gap))), mul(h.cap, fabsf(g)));
    g = add(g, c);
    return c;
  }
};

/* The same with lambda / sqrt(mean square + epsilon). */
struct DelayCompensatedAdaptive : AsItIs {
  static constexpr bool corrects = true, has_state = true;
  static __device__ float compensate(const Settings &h, float &g, float gap, float &mean_square) {
    float ms = add(mul(h.keep, mean_square), mul(mul(h.take, g), g));
    ms = ms < FLT_MAX ? ms : FLT_MAX;
    ms = ms < FLT_MIN ? 0 : ms;
    mean_square = ms;
    float square = add(ms, h.epsilon);
    square = square > FLT_MIN ? square : FLT_MIN;
    float c = mul(__fdiv_rn(g, __fsqrt_rn(square)), mul(g, mul(h.lambda, gap)));
    c = bounded(c, mul(h.cap, fabsf(g)));
    g = add(g, c);
    return c;
  }
};

/* ---- for optimisers ---- */

__device__ __forceinline__ float normal_or_zero(float x) {
  return fabsf(x) < FLT_MIN ? 0 : x;
}

/* src/optim/optimizers.h: tg_mean_square. */
__device__ __forceinline__ float mean_of_squares(const Settings &h, float mean, float g) {
  float v = add(mul(h.f.keep2, mean), mul(mul(h.f.take2, g), g));
  v = v < FLT_MAX ? v : FLT_MAX;
  return v < FLT_MIN ? 0 : v;
}

__device__ __forceinline__ float mean_of(float keep, float take, float mean, float g) {
  return normal_or_zero(add(mul(keep, mean), mul(take, g)));
}

static inline Settings settings_of(const tg_hyper *h, Kind kind) {
  return {h->lr,
          h->lambda,
          h->mean_square_decay,
          1 - h->mean_square_decay,
          h->epsilon,
          h->cap > 0 ? h->cap : FLT_MAX,
          h->momentum,
          h->weight_decay,
          1 - tg_step_take(h),
          tg_step_take(h),
          h->prediction_steps,
          h->elasticity,
          h->workers,
          h->factors,
          kind};
}

} // namespace tg

#endif
