/* skip.cu - x + factor z, z with other channels or a stride; compared with ref_skip and the hollow
 * ref_conv of tests/support.
 *
 * Bound by memory: one pass, every byte once, neighbouring threads on neighbouring 16 bytes. Per
 * element, with |t| the bytes of type t: forward |x| + |z| + |y| (+ |y| with an addend), 2 to 4
 * FLOPs; backward |dy| (+ |y| if masked) + |dz|, 1 FLOP. Where z has x's shape it is one row, and
 * no index is divided. tg_cuda_hollow writes C numbers of a weight. */
#include "kernels/device.cuh"

namespace {

using namespace tg;

/* ---- where things meet; channels in packs ---- */

template <class Index> struct Geometry {
  Index z_space[3], y_space[3], z_packs, y_packs, stride;
  bool direct; /* z lies as y does */
};

/* Row of z (a sample and a point) that row of y takes. */
template <class Index>
__device__ __forceinline__ Index row_of_z(const Geometry<Index> &g, Index row) {
  Index w = row % g.y_space[2], rest = row / g.y_space[2];
  Index h = rest % g.y_space[1];
  rest /= g.y_space[1];
  Index d = rest % g.y_space[0], b = rest / g.y_space[0];
  Index plane = (b * g.z_space[0] + d * g.stride) * g.z_space[1] + h * g.stride;
  return plane * g.z_space[2] + w * g.stride;
}

/* Whether a row of z is taken, and by which row of y. */
template <class Index>
__device__ __forceinline__ bool taken(const Geometry<Index> &g, Index row, Index *out) {
  Index w = row % g.z_space[2], rest = row / g.z_space[2];
  Index h = rest % g.z_space[1];
  rest /= g.z_space[1];
  Index d = rest % g.z_space[0], b = rest / g.z_space[0];
  if (w % g.stride != 0 || h % g.stride != 0 || d % g.stride != 0) return false;
  Index plane = (b * g.y_space[0] + d / g.stride) * g.y_space[1] + h / g.stride;
  *out = plane * g.y_space[2] + w / g.stride;
  return true;
}

/* ---- kernels ---- */

template <class X, class Z, class Y> struct Operands {
  const X *x;
  const Z *z;
  const Y *addend; /* or NULL */
  Y *y;
  float factor;
  bool relu;
};

template <class Index, int VEC, class X, class Z, class Y>
__global__ void __launch_bounds__(THREADS)
    forward_kernel(size_t n, Geometry<Index> g, Operands<X, Z, Y> o) {
  TG_FOR(i, n) {
    float v[VEC], u[VEC], sum[VEC] = {};
    load(o.x + i * VEC, v);
    if (g.direct) {
      load(o.z + i * VEC, sum);
    } else {
      Index row = Index(i) / g.y_packs, pack = Index(i) - row * g.y_packs;
      size_t first = size_t(row_of_z(g, row)) * g.z_packs;
      for (Index t = pack; t < g.z_packs; t += g.y_packs) {
        load(o.z + (first + t) * VEC, u);
#pragma unroll
        for (int k = 0; k < VEC; k++) sum[k] += u[k];
      }
    }
#pragma unroll
    for (int k = 0; k < VEC; k++) v[k] += o.factor * sum[k];
    if (o.addend) {
      load(o.addend + i * VEC, u);
#pragma unroll
      for (int k = 0; k < VEC; k++) v[k] += u[k];
    }
    if (o.relu)
#pragma unroll
      for (int k = 0; k < VEC; k++) v[k] = v[k] <= 0 ? 0 : v[k]; /* NaN stays NaN */
    store(o.y + i * VEC, v);
  }
}

template <class Index, int VEC, class Z, class Y>
__global__ void __launch_bounds__(THREADS)
    backward_kernel(size_t n, Geometry<Index> g, float factor, const Y *y, const Y *dy, Z *dz) {
  TG_FOR(i, n) {
    float d[VEC] = {}, v[VEC];
    size_t at = i;
    bool used = true;
    if (!g.direct) {
      Index row = Index(i) / g.z_packs, pack = Index(i) - row * g.z_packs, of_y = 0;
      used = taken(g, row, &of_y);
      at = size_t(of_y) * g.y_packs + pack % g.y_packs;
    }
    if (used) {
      load(dy + at * VEC, d);
      if (y) load(y + at * VEC, v);
#pragma unroll
      for (int k = 0; k < VEC; k++) d[k] = y && !(v[k] > 0) ? 0 : factor * d[k];
    }
    store(dz + i * VEC, d);
  }
}

__global__ void __launch_bounds__(THREADS)
    hollow_kernel(size_t C, int64_t K, int64_t taps, int64_t centre, float *dw) {
  TG_FOR(t, C) dw[(int64_t(t) % K * int64_t(C) + int64_t(t)) * taps + centre] = 0;
}

/* ---- launching ---- */

int64_t rows(const tg_cuda_skip *s, const int64_t space[3]) {
  return s->batch * space[0] * space[1] * space[2];
}

bool is_direct(const tg_cuda_skip *s) {
  return s->inputs == s->outputs && rows(s, s->z_space) == rows(s, s->y_space);
}

template <class Index> Geometry<Index> geometry(const tg_cuda_skip *s, int vec) {
  Geometry<Index> g = {};
  for (int i = 0; i < 3; i++) {
    g.z_space[i] = Index(s->z_space[i]);
    g.y_space[i] = Index(s->y_space[i]);
  }
  g.z_packs = Index(s->inputs / vec);
  g.y_packs = Index(s->outputs / vec);
  g.stride = Index(s->stride);
  g.direct = is_direct(s);
  return g;
}

bool is_small(const tg_cuda_skip *s) {
  return rows(s, s->z_space) * s->inputs < INT32_MAX &&
         rows(s, s->y_space) * s->outputs < INT32_MAX;
}

/* Elements in 16 bytes of the widest of these types. */
template <class... T> constexpr int wide_of() {
  return ((sizeof(T) > 2) || ...) ? 4 : 8;
}

bool in_packs(const tg_cuda_skip *s, int vec) {
  return s->inputs % vec == 0 && s->outputs % vec == 0;
}

template <class Index, int VEC, class X, class Z, class Y>
int launch_forward(const tg_cuda_launch *l, const tg_cuda_skip *s, const Operands<X, Z, Y> &o) {
  size_t n = size_t(rows(s, s->y_space)) * size_t(s->outputs) / VEC;
  TG_LAUNCH((forward_kernel<Index, VEC, X, Z, Y>), blocks_for(l, n), THREADS, l->stream, n,
            geometry<Index>(s, VEC), o);
  return launched();
}

template <class X, class Z, class Y>
int forward(const tg_cuda_launch *l, const tg_cuda_skip *s, const Operands<X, Z, Y> &o) {
  constexpr int wide = wide_of<X, Z, Y>();
  bool packs = in_packs(s, wide) && aligned(o.x, wide * sizeof(X)) &&
               aligned(o.z, wide * sizeof(Z)) && aligned(o.addend, wide * sizeof(Y)) &&
               aligned(o.y, wide * sizeof(Y));
  if (!is_small(s)) return launch_forward<uint64_t, 1>(l, s, o);
  return packs ? launch_forward<uint32_t, wide>(l, s, o) : launch_forward<uint32_t, 1>(l, s, o);
}

template <class Index, int VEC, class Z, class Y>
int launch_backward(const tg_cuda_launch *l, const tg_cuda_skip *s, const Y *y, const Y *dy,
                    Z *dz) {
  size_t n = size_t(rows(s, s->z_space)) * size_t(s->inputs) / VEC;
  TG_LAUNCH((backward_kernel<Index, VEC, Z, Y>), blocks_for(l, n), THREADS, l->stream, n,
            geometry<Index>(s, VEC), s->factor, y, dy, dz);
  return launched();
}

template <class Z, class Y>
int backward(const tg_cuda_launch *l, const tg_cuda_skip *s, const Y *y, const Y *dy, Z *dz) {
  constexpr int wide = wide_of<Z, Y>();
  bool packs = in_packs(s, wide) && aligned(y, wide * sizeof(Y)) && aligned(dy, wide * sizeof(Y)) &&
               aligned(dz, wide * sizeof(Z));
  if (!is_small(s)) return launch_backward<uint64_t, 1>(l, s, y, dy, dz);
  return packs ? launch_backward<uint32_t, wide>(l, s, y, dy, dz)
               : launch_backward<uint32_t, 1>(l, s, y, dy, dz);
}

template <class X, class Z, class Y>
int forward_of(const tg_cuda_launch *l, const tg_cuda_skip *s, const void *x, const void *z,
               const void *addend, bool relu, void *y) {
  Operands<X, Z, Y> o = {static_cast<const X *>(x),
                         static_cast<const Z *>(z),
                         static_cast<const Y *>(addend),
                         static_cast<Y *>(y),
                         s->factor,
                         relu};
  return forward(l, s, o);
}

template <class Z, class Y>
int backward_of(const tg_cuda_launch *l, const tg_cuda_skip *s, const void *y, const void *dy,
                void *dz) {
  return backward(l, s, static_cast<const Y *>(y), static_cast<const Y *>(dy),
                  static_cast<Z *>(dz));
}

} // namespace

extern "C" int tg_cuda_skip_forward(const tg_cuda_launch *l, const tg_cuda_skip *s, const void *x,
                                    const void *z, const void *addend, bool relu, void *y) {
  TG_BY_TYPE(s->x_type, X,
             TG_BY_TYPE(s->z_type, Z,
                        TG_BY_TYPE(s->y_type, Y,
                                   return forward_of<X, Z, Y>(l, s, x, z, addend, relu, y))));
}

extern "C" int tg_cuda_skip_backward(const tg_cuda_launch *l, const tg_cuda_skip *s, const void *y,
                                     const void *dy, void *dz) {
  TG_BY_TYPE(s->z_type, Z, TG_BY_TYPE(s->y_type, Y, return backward_of<Z, Y>(l, s, y, dy, dz)));
}

extern "C" int tg_cuda_hollow(const tg_cuda_launch *l, int64_t K, int64_t C, int64_t taps,
                              int64_t centre, float *dw) {
  TG_LAUNCH(hollow_kernel, blocks_for(l, size_t(C)), THREADS, l->stream, size_t(C), K, taps, centre,
            dw);
  return launched();
}
