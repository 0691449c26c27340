/* elementwise.cu - activations, sums, and flat vectors; compared with relu, leaky_relu, sigmoid and
 * add of tests/support/ref_moves.c.
 *
 * Everything is bound by memory: one pass, every byte once, neighbouring threads on neighbouring
 * 16 bytes. Per element, with |t| the bytes of type t:
 *
 *   forward         |x| + |y|, 1 FLOP (sigmoid about 20)     convert         |from| + |to|, 0 FLOPs
 *   backward        |y| + |dy| + |dx|, 1 to 3 FLOPs          add             3 |t|, 1 FLOP
 *   sum             |a| + |b| + |y|, 1 or 2 FLOPs            scale           8, 1 FLOP
 *   sum backward    |dy| + |y| if masked + |da| + |db|, 0 FLOPs */
#include "kernels/device.cuh"

namespace {

using namespace tg;

/* ---- n elements, one functor: op.at<VEC>(i) does elements i to i + VEC - 1 ---- */

template <int VEC, class Op> __global__ void __launch_bounds__(THREADS) each(size_t n, Op op) {
  size_t packs = n / VEC;
  TG_FOR(i, packs) op.template at<VEC>(i * VEC);
  size_t rest = packs * VEC + size_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (VEC > 1 && rest < n) op.template at<1>(rest);
}

/* Elements in 16 bytes of the widest of these types. */
template <class... T> constexpr int wide_of() {
  return ((sizeof(T) > 2) || ...) ? 4 : 8;
}

template <int VEC, class... T> bool aligned_for(const T *...p) {
  return (aligned(p, VEC * sizeof(T)) && ...);
}

template <int WIDE, class Op> int run(const tg_cuda_launch *l, size_t n, bool wide, const Op &op) {
  if (wide)
    TG_LAUNCH((each<WIDE, Op>), blocks_for(l, n / WIDE), THREADS, l->stream, n, op);
  else
    TG_LAUNCH((each<1, Op>), blocks_for(l, n), THREADS, l->stream, n, op);
  return launched();
}

/* ---- y = f(x) ---- */

struct Same {
  __device__ float operator()(float x) const { return x; }
};
struct Relu { /* a comparison that keeps NaN: it must reach the loss */
  __device__ float operator()(float x) const { return x <= 0 ? 0 : x; }
};
struct LeakyRelu {
  float slope;
  __device__ float operator()(float x) const { return x > 0 ? x : slope * x; }
};
struct Sigmoid {
  __device__ float operator()(float x) const { return 1 / (1 + expf(-x)); }
};
struct Scale {
  float factor;
  __device__ float operator()(float x) const { return factor * x; }
};

template <class F, class X, class Y> struct Map {
  F f;
  const X *x;
  Y *y;
  template <int VEC> __device__ void at(size_t i) const {
    float v[VEC];
    load(x + i, v);
#pragma unroll
    for (int k = 0; k < VEC; k++) v[k] = f(v[k]);
    store(y + i, v);
  }
};

template <class X, class Y, class F>
int map(const tg_cuda_launch *l, size_t n, F f, const void *x, void *y) {
  constexpr int wide = wide_of<X, Y>();
  Map<F, X, Y> op = {f, static_cast<const X *>(x), static_cast<Y *>(y)};
  return run<wide>(l, n, aligned_for<wide>(op.x, op.y), op);
}

template <class F>
int map_types(const tg_cuda_launch *l, size_t n, F f, tg_dtype x_type, const void *x,
              tg_dtype y_type, void *y) {
  TG_BY_TYPE(x_type, X, TG_BY_TYPE(y_type, Y, return map<X, Y>(l, n, f, x, y)));
}

/* ---- dx = f(s, dy), s being x or y ---- */

struct LeakyReluGradient { /* slope 0: ReLU's, where dy may be infinite */
  float slope;
  __device__ float operator()(float s, float dy) const {
    return s > 0 ? dy : slope == 0 ? 0 : slope * dy;
  }
};
struct SigmoidGradient {
  __device__ float operator()(float y, float dy) const { return dy * y * (1 - y); }
};

template <class F, class S, class Y, class X> struct Gradient {
  F f;
  const S *s;
  const Y *dy;
  X *dx;
  template <int VEC> __device__ void at(size_t i) const {
    float v[VEC], d[VEC];
    load(s + i, v);
    load(dy + i, d);
#pragma unroll
    for (int k = 0; k < VEC; k++) d[k] = f(v[k], d[k]);
    store(dx + i, d);
  }
};

template <class S, class Y, class X, class F>
int gradient(const tg_cuda_launch *l, size_t n, F f, const void *s, const void *dy, void *dx) {
  constexpr int wide = wide_of<S, Y, X>();
  Gradient<F, S, Y, X> op = {f, static_cast<const S *>(s), static_cast<const Y *>(dy),
                             static_cast<X *>(dx)};
  return run<wide>(l, n, aligned_for<wide>(op.s, op.dy, op.dx), op);
}

/* ---- sums ---- */

template <class A, class B, class Y> struct Sum {
  const A *a;
  const B *b;
  Y *y;
  bool relu;
  template <int VEC> __device__ void at(size_t i) const {
    float v[VEC], u[VEC];
    load(a + i, v);
    load(b + i, u);
#pragma unroll
    for (int k = 0; k < VEC; k++) v[k] += u[k];
    if (relu)
#pragma unroll
      for (int k = 0; k < VEC; k++) v[k] = Relu()(v[k]);
    store(y + i, v);
  }
};

template <class A, class B, class Y>
int sum(const tg_cuda_launch *l, size_t n, const void *a, const void *b, bool relu, void *y) {
  constexpr int wide = wide_of<A, B, Y>();
  Sum<A, B, Y> op = {static_cast<const A *>(a), static_cast<const B *>(b), static_cast<Y *>(y),
                     relu};
  return run<wide>(l, n, aligned_for<wide>(op.a, op.b, op.y), op);
}

template <class Y, class A, class B> struct SumGradient {
  const Y *y, *dy; /* y, da and db may be NULL */
  A *da;
  B *db;
  template <int VEC> __device__ void at(size_t i) const {
    float d[VEC], v[VEC];
    load(dy + i, d);
    if (y) {
      load(y + i, v);
#pragma unroll
      for (int k = 0; k < VEC; k++) d[k] = v[k] > 0 ? d[k] : 0;
    }
    if (da) store(da + i, d);
    if (db) store(db + i, d);
  }
};

template <class Y, class A, class B>
int sum_gradient(const tg_cuda_launch *l, size_t n, const void *y, const void *dy, void *da,
                 void *db) {
  constexpr int wide = wide_of<Y, A, B>();
  SumGradient<Y, A, B> op = {static_cast<const Y *>(y), static_cast<const Y *>(dy),
                             static_cast<A *>(da), static_cast<B *>(db)};
  return run<wide>(l, n, aligned_for<wide>(op.y, op.dy, op.da, op.db), op);
}

} // namespace

/* ---- launchers ---- */

extern "C" int tg_cuda_relu(const tg_cuda_launch *l, size_t n, tg_dtype x_type, const void *x,
                            tg_dtype y_type, void *y) {
  return map_types(l, n, Relu(), x_type, x, y_type, y);
}

extern "C" int tg_cuda_leaky_relu(const tg_cuda_launch *l, size_t n, float slope, tg_dtype x_type,
                                  const void *x, tg_dtype y_type, void *y) {
  if (slope == 0) return tg_cuda_relu(l, n, x_type, x, y_type, y); /* 0 * infinity is NaN */
  return map_types(l, n, LeakyRelu{slope}, x_type, x, y_type, y);
}

extern "C" int tg_cuda_sigmoid(const tg_cuda_launch *l, size_t n, tg_dtype x_type, const void *x,
                               tg_dtype y_type, void *y) {
  return map_types(l, n, Sigmoid(), x_type, x, y_type, y);
}

extern "C" int tg_cuda_relu_backward(const tg_cuda_launch *l, size_t n, tg_dtype y_type,
                                     const void *y, const void *dy, tg_dtype x_type, void *dx) {
  return tg_cuda_leaky_relu_backward(l, n, 0, y_type, y, y_type, dy, x_type, dx);
}

extern "C" int tg_cuda_leaky_relu_backward(const tg_cuda_launch *l, size_t n, float slope,
                                           tg_dtype sign_type, const void *sign, tg_dtype y_type,
                                           const void *dy, tg_dtype x_type, void *dx) {
  LeakyReluGradient f = {slope};
  TG_BY_TYPE(sign_type, S,
             TG_BY_TYPE(y_type, Y,
                        TG_BY_TYPE(x_type, X, return gradient<S, Y, X>(l, n, f, sign, dy, dx))));
}

extern "C" int tg_cuda_sigmoid_backward(const tg_cuda_launch *l, size_t n, tg_dtype y_type,
                                        const void *y, const void *dy, tg_dtype x_type, void *dx) {
  SigmoidGradient f;
  TG_BY_TYPE(y_type, Y, TG_BY_TYPE(x_type, X, return gradient<Y, Y, X>(l, n, f, y, dy, dx)));
}

extern "C" int tg_cuda_sum(const tg_cuda_launch *l, size_t n, tg_dtype a_type, const void *a,
                           tg_dtype b_type, const void *b, bool relu, tg_dtype y_type, void *y) {
  TG_BY_TYPE(
      a_type, A,
      TG_BY_TYPE(b_type, B, TG_BY_TYPE(y_type, Y, return sum<A, B, Y>(l, n, a, b, relu, y))));
}

extern "C" int tg_cuda_sum_backward(const tg_cuda_launch *l, size_t n, tg_dtype y_type,
                                    const void *y, const void *dy, tg_dtype a_type, void *da,
                                    tg_dtype b_type, void *db) {
  TG_BY_TYPE(y_type, Y,
             TG_BY_TYPE(a_type, A,
                        TG_BY_TYPE(b_type, B, return sum_gradient<Y, A, B>(l, n, y, dy, da, db))));
}

extern "C" int tg_cuda_add(const tg_cuda_launch *l, tg_dtype dtype, size_t n, void *dst,
                           const void *src) {
  return tg_cuda_sum(l, n, dtype, dst, dtype, src, false, dtype, dst);
}

extern "C" int tg_cuda_scale(const tg_cuda_launch *l, size_t n, float factor, float *x) {
  return map<float, float>(l, n, Scale{factor}, x, x);
}

extern "C" int tg_cuda_convert(const tg_cuda_launch *l, size_t n, tg_dtype from_type,
                               const void *from, tg_dtype to_type, void *to) {
  return map_types(l, n, Same(), from_type, from, to_type, to);
}
