/* paths.cuh - what paths.cu and paths_sums.cu share. */
#ifndef KERNELS_PATHS_CUH
#define KERNELS_PATHS_CUH

#include "kernels/rules.cuh"

namespace tg {

enum { KEPT_W, KEPT_THEN, KEPT_STATE, KEPT_SLOT };
enum { SUMS = TG_CUDA_PATH_SUMS, LANES = TG_SUM_LANES, VEC = 4 };

using Tables = tg_cuda_path_tables;
using Layer = tg_cuda_path_layer;
using Block = tg_cuda_path_block;

struct Step {
  Settings h;
  float young;        /* adam: what 1 / root lacks while it is young */
  float tiny;         /* denominators stay as far from 0 */
  double least, most; /* of ratios; 0: free */
};

struct Vectors {
  float *w;
  const float *then, *gap; /* gap: w_bak for its sum, or NULL */
  float *bak_out, *g, *state, *slot[TG_CUDA_UPDATE_SLOTS];
  bool apart;   /* then is not w */
  bool aligned; /* all to 16 bytes */
};

__device__ __forceinline__ size_t skeleton_at(const Layer &y, uint32_t t) {
  return y.weight + (size_t(t % y.out) * y.in + t % y.in) * y.taps + y.centre;
}

__device__ __forceinline__ float &kept(const Tables &t, int what, uint32_t e) {
  return t.kept[size_t(what) * t.skeletons + e];
}

__device__ __forceinline__ float value_of(const Tables &t, const Layer &y, int what, uint32_t i) {
  return y.hollow ? 1.0f : kept(t, what, y.first + i);
}

/* What is divided by: with a clamp not nearer to 0 than tiny, and counted. */
__device__ __forceinline__ float nonzero(float tiny, float c, int uses, double &clamped) {
  if (!(fabsf(c) < tiny)) return c;
  clamped += uses;
  return c < 0 ? -tiny : tiny;
}

/* This block's row of parts; what a thread has none of is 0. */
__device__ __forceinline__ void tell(double *parts, size_t row, const double (&sum)[SUMS]) {
  for (int s = 0; s < SUMS; s++) {
    double all = block_sum(sum[s]);
    if (threadIdx.x == 0) parts[row * SUMS + s] = all;
  }
}

/* ---- optimisers: by how much, times lr, path values go down ---- */

struct Plain {
  static constexpr int slots = 0;
  static __device__ float step(const Step &, float decay, float p, float d, float *) {
    return add(d, mul(decay, p));
  }
};

struct Momentum {
  static constexpr int slots = 1;
  static __device__ float step(const Step &s, float decay, float p, float d, float *slot) {
    slot[0] = normal_or_zero(add(mul(s.h.momentum, slot[0]), add(d, mul(decay, p))));
    return slot[0];
  }
};

struct RmsProp {
  static constexpr int slots = 1;
  static __device__ float step(const Step &s, float decay, float p, float d, float *slot) {
    float g = add(d, mul(decay, p));
    slot[0] = mean_of_squares(s.h, slot[0], g);
    return __fdiv_rn(g, add(__fsqrt_rn(slot[0]), s.h.f.epsilon));
  }
};

struct Adam {
  static constexpr int slots = 2;
  static __device__ float step(const Step &s, float decay, float p, float d, float *slot) {
    float g = add(d, mul(decay, p));
    slot[0] = mean_of(s.h.f.keep1, s.h.f.take1, slot[0], g);
    slot[1] = mean_of_squares(s.h, slot[1], g);
    return mul(s.young, __fdiv_rn(slot[0], add(__fsqrt_rn(slot[1]), s.h.f.epsilon)));
  }
};

/* ---- launches of paths_sums.cu ---- */

/* Of the kernels of the same names; `slots` of the optimiser. */
void path_take_out(const tg_cuda_launch *l, const Tables *t, const Vectors *v, float tiny,
                   int slots);
void path_put_back(const tg_cuda_launch *l, const Tables *t, const Vectors *v, int slots);
void path_find_norms(const tg_cuda_launch *l, const Tables *t, const float *w);
/* sums, clamped NULL: none. */
void path_add_parts(const tg_cuda_launch *l, const double *part, unsigned parts, double *sums,
                    uint64_t *clamped);

} // namespace tg

#endif
