/* update.cu - what a gradient does to the weights: rule, optimiser, the copy into w_bak and the
 * sums for reports, in one pass.
 *
 * Compared with tg_update_apply (src/backend/update.c, src/rules, src/optim), bit for bit: every
 * operation is written as the intrinsic that rounds to nearest, in the CPU's order, so that nothing
 * is contracted; comparisons choose as the CPU's do. (Only the bits of a NaN are the machine's
 * own.) Bytes per parameter: 12 (sgd without w_bak) to 52 (dc-asgd-a with ademamix): g, w, w_bak,
 * state and slots read, w, w_bak, state and slots written. FLOPs: 3 to 24, with one square root and
 * one division in dc-asgd-a, as many in adam and its kin, and up to 30 more. Access: 16 bytes a
 * thread and vector, grid-stride; what lies before the first and behind the last multiple of 16
 * bytes one by one. g may be aligned differently from the rest. Sums: squares of four neighbours in
 * float, then double: a thread's, the block's tree, the blocks in order. They are not the CPU's to
 * the bit: those depend on its vector width.
 *
 * A new rule or optimiser is one struct here (or in rules.cuh, if updates in path space have it
 * too) and one line in the tables below. Every rule is compiled with every struct of optimisers:
 * those with as many slots share one, and a switch that goes the same way in all threads. What
 * lookahead does beside its inner optimiser is a pass of its own, every k updates. */
#include "kernels/rules.cuh"

namespace {

using namespace tg;

/* ---- rules: delay compensation is in rules.cuh ---- */

/* src/rules/gap_aware.c */
struct GapAware : AsItIs {
  static constexpr bool corrects = true, has_state = true, settles = true;
  static __device__ float compensate(const Settings &, float &g, float gap, float &mean) {
    float step = add(__fsqrt_rn(mean), 1e-12f), raw = g;
    g = __fdiv_rn(raw, add(1.0f, __fdiv_rn(fabsf(gap), step)));
    return sub(g, raw);
  }
  static __device__ void settle(const Settings &h, float before, float w, float &mean) {
    float step = sub(before, w);
    float m = add(mul(h.step_keep, mean), mul(mul(h.step_take, step), step));
    m = m < FLT_MAX ? m : FLT_MAX;
    mean = m < FLT_MIN ? 0 : m;
  }
};

/* src/rules/dana_slim.c */
struct DanaSlim : AsItIs {
  static constexpr bool has_state = true, steps = true;
  static __device__ float step(const Settings &h, float w, float, float g, float &velocity,
                               float &correction) {
    float d = add(g, mul(h.weight_decay, w));
    float v = add(mul(h.momentum, velocity), d);
    velocity = fabsf(v) < FLT_MIN ? 0 : v;
    correction = mul(h.momentum, velocity);
    return sub(w, mul(h.lr, add(d, correction)));
  }
};

/* src/rules/xgrad.c */
struct XGrad : AsItIs {
  static constexpr bool has_state = true, settles = true, serves = true;
  static __device__ void settle(const Settings &, float before, float w, float &last) {
    last = sub(before, w);
  }
  static __device__ float serve(const Settings &h, float w, float last) {
    return h.prediction == 0 ? w : sub(w, mul(h.prediction, last));
  }
};

/* src/rules/dave_rpg.c */
struct DaveRpg : AsItIs {
  static constexpr bool has_state = true, steps = true;
  static __device__ float step(const Settings &h, float w, float z, float g, float &own, float &) {
    float x = sub(z, mul(h.lr, add(g, mul(h.weight_decay, z))));
    float next = add(w, __fdiv_rn(sub(x, own), h.workers));
    own = add(own, mul(h.workers, sub(next, w)));
    return next;
  }
};

/* src/rules/easgd.c */
struct ElasticAveraging : AsItIs {
  static constexpr bool has_state = true, steps = true, serves = true;
  static __device__ float step(const Settings &h, float w, float, float g, float &own, float &) {
    float d = mul(h.elasticity, sub(g, w));
    own = sub(g, d);
    return add(w, d);
  }
  static __device__ float serve(const Settings &, float, float own) { return own; }
};

/* ---- optimisers: the new weight; slot[s] is state number s of this parameter ---- */

struct Sgd {
  static constexpr int slots = 0;
  static __device__ float step(const Settings &h, float w, float g, float *) {
    return sub(w, mul(h.lr, add(g, mul(h.weight_decay, w))));
  }
};

struct Momentum {
  static constexpr int slots = 1;
  static __device__ float step(const Settings &h, float w, float g, float *slot) {
    float v = add(mul(h.momentum, slot[0]), add(g, mul(h.weight_decay, w)));
    slot[0] = normal_or_zero(v);
    return sub(w, mul(h.lr, slot[0]));
  }
};

struct Nesterov {
  static constexpr int slots = 1;
  static __device__ float step(const Settings &h, float w, float g, float *slot) {
    float d = add(g, mul(h.weight_decay, w));
    float v = add(mul(h.momentum, slot[0]), d);
    slot[0] = normal_or_zero(v);
    return sub(w, mul(h.lr, add(d, mul(h.momentum, slot[0]))));
  }
};

/* x / (sqrt(square) root + epsilon) */
__device__ __forceinline__ float over_root(const Settings &h, float x, float square) {
  return __fdiv_rn(x, add(mul(__fsqrt_rn(square), h.f.root), h.f.epsilon));
}

/* src/optim/negative_exp.h, line by line. */
__device__ __forceinline__ float negative_exp(float x) {
  int bits = __float_as_int(x);
  bits = bits < 0x42ae0000 ? bits : 0x42ae0000;
  x = __int_as_float(bits);
  int k = int(add(mul(x, 1.44269504f), 0.5f));
  float r = sub(mul(float(k), 0.693359375f), x);
  r = sub(r, mul(float(k), 2.12194440e-4f));
  float p = 1.98412698e-4f;
  p = add(mul(p, r), 1.38888889e-3f);
  p = add(mul(p, r), 8.33333333e-3f);
  p = add(mul(p, r), 4.16666667e-2f);
  p = add(mul(p, r), 1.66666667e-1f);
  p = add(mul(p, r), 0.5f);
  p = add(mul(p, r), 1);
  p = add(mul(p, r), 1);
  return mul(p, __int_as_float((127 - k) * (1 << 23)));
}

/* adam, adamw */
struct TwoMoments {
  static constexpr int slots = 2;
  static __device__ float step(const Settings &h, float w, float g, float *slot) {
    float d = h.kind == ADAM ? add(g, mul(h.f.couple, w)) : g;
    slot[0] = mean_of(h.f.keep1, h.f.take1, slot[0], d);
    slot[1] = mean_of_squares(h, slot[1], d);
    float move = mul(h.f.step, over_root(h, slot[0], slot[1]));
    if (h.kind == ADAMW) move = add(mul(h.f.shrink, w), move);
    return sub(w, move);
  }
};

/* amsgrad, ademamix, diffgrad */
struct ThreeMoments {
  static constexpr int slots = 3;
  static __device__ float step(const Settings &h, float w, float g, float *slot) {
    float d = h.kind == ADEMAMIX ? g : add(g, mul(h.f.couple, w));
    slot[0] = mean_of(h.f.keep1, h.f.take1, slot[0], d);
    slot[1] = mean_of_squares(h, slot[1], d);
    if (h.kind == AMSGRAD) {
      slot[2] = slot[2] > slot[1] ? slot[2] : slot[1];
      return sub(w, mul(h.f.step, over_root(h, slot[0], slot[2])));
    }
    if (h.kind == ADEMAMIX) {
      slot[2] = mean_of(h.f.keep3, h.f.take3, slot[2], d);
      float both = add(mul(slot[0], h.f.unbias), mul(h.f.mix, slot[2]));
      return sub(w, add(mul(h.f.shrink, w), mul(h.lr, over_root(h, both, slot[1]))));
    }
    float friction = add(1, negative_exp(fabsf(sub(slot[2], d))));
    slot[2] = d;
    return sub(w, mul(h.f.step, over_root(h, __fdiv_rn(slot[0], friction), slot[1])));
  }
};

/* ---- the pass ---- */

enum { VEC = 4, SUMS = 3 };

/* The first `head` elements lie before a multiple of 16 bytes; `packs` groups of VEC follow. */
struct Vectors {
  const float *g;
  float *w;
  const float *w_bak;
  float *bak_out, *state, *slot[TG_CUDA_UPDATE_SLOTS];
  size_t count, head, packs;
  bool g_in_packs, as_it_is;
};

/* N elements in registers. One more slot than there are: an array of none is no C++. */
template <class Optimizer, int N> struct Item {
  float g[N], w[N], bak[N], gap[N], state[N], slot[Optimizer::slots + 1][N];
};

template <class Rule, class Optimizer, int N>
__device__ __forceinline__ void fetch(const Vectors &v, size_t at, Item<Optimizer, N> &x) {
  load<float, N>(v.w + at, x.w);
  if (v.g_in_packs) {
    load<float, N>(v.g + at, x.g);
  } else {
#pragma unroll
    for (int i = 0; i < N; i++) x.g[i] = v.g[at + i];
  }
  load<float, N>(v.w_bak ? v.w_bak + at : v.w + at, x.bak);
#pragma unroll
  for (int i = 0; i < N; i++) x.gap[i] = sub(x.w[i], x.bak[i]);
  if (Rule::has_state) load<float, N>(v.state + at, x.state);
#pragma unroll
  for (int s = 0; s < Optimizer::slots; s++) load<float, N>(v.slot[s] + at, x.slot[s]);
}

template <class Rule, class Optimizer, int N>
__device__ __forceinline__ void put(const Settings &h, const Vectors &v, size_t at,
                                    const Item<Optimizer, N> &x) {
  store<float, N>(v.w + at, x.w);
  if (v.bak_out && Rule::serves) {
    float out[N];
#pragma unroll
    for (int i = 0; i < N; i++) out[i] = v.as_it_is ? x.w[i] : Rule::serve(h, x.w[i], x.state[i]);
    store<float, N>(v.bak_out + at, out);
  } else if (v.bak_out) {
    store<float, N>(v.bak_out + at, x.w);
  }
  if (Rule::has_state) store<float, N>(v.state + at, x.state);
#pragma unroll
  for (int s = 0; s < Optimizer::slots; s++) store<float, N>(v.slot[s] + at, x.slot[s]);
}

template <class Rule, class Optimizer, int N>
__device__ __forceinline__ void update_item(const Settings &h, const Vectors &v, size_t at,
                                            double (&sum)[SUMS]) {
  Item<Optimizer, N> x;
  float corrections = 0, gradients = 0, gaps = 0;
  fetch<Rule, Optimizer, N>(v, at, x);
#pragma unroll
  for (int i = 0; i < N; i++) {
    float g = x.g[i], before = x.w[i], c = 0, slot[Optimizer::slots + 1];
    gradients += g * g;
    gaps += x.gap[i] * x.gap[i];
    if (Rule::corrects) c = Rule::compensate(h, g, x.gap[i], x.state[i]);
#pragma unroll
    for (int s = 0; s < Optimizer::slots; s++) slot[s] = x.slot[s][i];
    x.w[i] = Rule::steps ? Rule::step(h, before, x.bak[i], g, x.state[i], c)
                         : Optimizer::step(h, before, g, slot);
    corrections += c * c;
    if (Rule::settles) Rule::settle(h, before, x.w[i], x.state[i]);
#pragma unroll
    for (int s = 0; s < Optimizer::slots; s++) x.slot[s][i] = slot[s];
  }
  sum[0] += double(corrections);
  sum[1] += double(gradients);
  sum[2] += double(gaps);
  put<Rule, Optimizer, N>(h, v, at, x);
}

template <class Rule, class Optimizer>
__global__ void __launch_bounds__(THREADS) update(Settings h, Vectors v, double *part) {
  double sum[SUMS] = {0, 0, 0};
  TG_FOR(i, v.packs) update_item<Rule, Optimizer, VEC>(h, v, v.head + i * VEC, sum);
  size_t edges = v.count - v.packs * VEC;
  TG_FOR(i, edges)
  update_item<Rule, Optimizer, 1>(h, v, i < v.head ? i : i + v.packs * VEC, sum);
  if (!part) return;
  for (int s = 0; s < SUMS; s++) {
    double all = block_sum(sum[s]);
    if (threadIdx.x == 0) part[size_t(blockIdx.x) * SUMS + s] = all;
  }
}

/* Without a gradient: what a worker is sent. Seldom, so one by one. */
template <class Rule> __global__ void __launch_bounds__(THREADS) serve(Settings h, Vectors v) {
  TG_FOR(i, v.count) {
    float state = Rule::has_state ? v.state[i] : 0;
    v.bak_out[i] = v.as_it_is ? v.w[i] : Rule::serve(h, v.w[i], state);
  }
}

/* One block: each thread adds every 256th block's sums; what they come to is added to what stands
 * there. */
__global__ void __launch_bounds__(THREADS)
    add_parts(const double *part, unsigned parts, double *sums) {
  for (int s = 0; s < SUMS; s++) {
    double sum = 0;
    for (unsigned i = threadIdx.x; i < parts; i += THREADS) sum += part[size_t(i) * SUMS + s];
    sum = block_sum(sum);
    if (threadIdx.x == 0) sums[s] += sum;
  }
}

/* ---- lookahead: slow weights begin as w, and pull it back every k updates ---- */

__global__ void __launch_bounds__(THREADS) begin_slow(size_t count, const float *w, float *slow) {
  TG_FOR(i, count) slow[i] = w[i];
}

__global__ void __launch_bounds__(THREADS)
    pull_back(size_t count, float mix, float *w, float *slow, float *bak_out) {
  TG_FOR(i, count) {
    float s = sub(w[i], mul(mix, sub(w[i], slow[i])));
    slow[i] = s;
    w[i] = s;
    if (bak_out) bak_out[i] = s;
  }
}

/* ---- tables ---- */

using Launcher = int(const tg_cuda_launch *, const tg_update_args *);

template <class Rule, class Optimizer, Kind kind>
int launch(const tg_cuda_launch *l, const tg_update_args *a);

struct OptimizerRow {
  const char *name;
  Launcher *launch;
};

template <class Rule>
constexpr OptimizerRow optimizers[] = {
    {"sgd", launch<Rule, Sgd, ONE_KIND>},
    {"momentum", launch<Rule, Momentum, ONE_KIND>},
    {"nesterov", launch<Rule, Nesterov, ONE_KIND>},
    {"adam", launch<Rule, TwoMoments, ADAM>},
    {"adamw", launch<Rule, TwoMoments, ADAMW>},
    {"amsgrad", launch<Rule, ThreeMoments, AMSGRAD>},
    {"ademamix", launch<Rule, ThreeMoments, ADEMAMIX>},
    {"diffgrad", launch<Rule, ThreeMoments, DIFFGRAD>},
    {nullptr, nullptr},
};

/* Of rules that make the step themselves. */
template <class Rule>
constexpr OptimizerRow own_step[] = {{"sgd", launch<Rule, Sgd, ONE_KIND>}, {nullptr, nullptr}};

struct RuleRow {
  const char *name;
  const OptimizerRow *optimizers;
};

constexpr RuleRow rules[] = {
    {"sgd", optimizers<AsItIs>},
    {"ssgd", optimizers<AsItIs>},
    {"asgd", optimizers<AsItIs>},
    {"dc-asgd-c", optimizers<DelayCompensated>},
    {"dc-asgd-a", optimizers<DelayCompensatedAdaptive>},
    {"staleness-lr", optimizers<AsItIs>},
    {"gap-aware", optimizers<GapAware>},
    {"dana-slim", own_step<DanaSlim>},
    {"xgrad", optimizers<XGrad>},
    {"dave-rpg", own_step<DaveRpg>},
    {"easgd", own_step<ElasticAveraging>},
    {"ssp", optimizers<AsItIs>},
    {"ssgd-backup", optimizers<AsItIs>},
    {"ringmaster", optimizers<AsItIs>},
    {nullptr, nullptr},
};

/* The row of that name, or the last, which has none. */
template <class Row> const Row *find(const Row *row, const char *name) {
  while (row->name && strcmp(row->name, name) != 0) row++;
  return row;
}

/* ---- launching ---- */

/* Floats from p to the next multiple of 16 bytes. */
size_t head_of(const void *p) {
  return (16 - reinterpret_cast<unsigned long long>(p) % 16) % 16 / sizeof(float);
}

template <class Rule, class Optimizer> Vectors vectors_of(const tg_update_args *a) {
  Vectors v = {a->g, a->w, a->w_bak, a->bak_out, a->state, {}, a->count, 0, 0, false, a->as_it_is};
  size_t head = head_of(a->w);
  bool alike = (!a->w_bak || head_of(a->w_bak) == head) &&
               (!a->bak_out || head_of(a->bak_out) == head) &&
               (!Rule::has_state || head_of(a->state) == head);
  for (int s = 0; s < Optimizer::slots; s++) {
    v.slot[s] = a->slot[s];
    alike = alike && head_of(a->slot[s]) == head;
  }
  if (!alike || a->count < head) return v;
  v.head = head;
  v.packs = (a->count - head) / VEC;
  v.g_in_packs = head_of(a->g) == head;
  return v;
}

template <class Rule, class Optimizer> bool complete(const tg_update_args *a) {
  bool there =
      (a->g || a->bak_out) && a->w && (!Rule::has_state || a->state) && (!a->sums || a->parts);
  for (int s = 0; s < Optimizer::slots; s++) there = there && a->slot[s];
  return there;
}

template <class Rule, class Optimizer, Kind kind>
int launch(const tg_cuda_launch *l, const tg_update_args *a) {
  if (!complete<Rule, Optimizer>(a)) return int(cudaErrorInvalidValue);
  Vectors v = vectors_of<Rule, Optimizer>(a);
  unsigned blocks = blocks_for(l, v.packs && a->g ? v.packs : v.count);
  if (!a->g) {
    TG_LAUNCH((serve<Rule>), blocks, THREADS, l->stream, settings_of(a->hyper, kind), v);
    return launched();
  }
  if (blocks > TG_CUDA_UPDATE_PARTS) blocks = TG_CUDA_UPDATE_PARTS;
  double *part = a->sums ? a->parts : nullptr;
  TG_LAUNCH((update<Rule, Optimizer>), blocks, THREADS, l->stream, settings_of(a->hyper, kind), v,
            part);
  int error = launched();
  if (error || !part) return error;
  TG_LAUNCH(add_parts, 1, THREADS, l->stream, part, blocks, a->sums);
  return launched();
}

} // namespace

extern "C" bool tg_cuda_update_has_rule(const char *name) {
  return find(rules, name)->name;
}

extern "C" bool tg_cuda_update_has_optimizer(const char *name) {
  return find(optimizers<AsItIs>, name)->name;
}

extern "C" int tg_cuda_update(const tg_cuda_launch *l, const tg_update_args *a) {
  const RuleRow *rule = find(rules, a->rule);
  const OptimizerRow *row = rule->name ? find(rule->optimizers, a->optimizer) : nullptr;
  if (!row || !row->name) return int(cudaErrorInvalidValue);
  if (!a->slow || !a->g) return row->launch(l, a);
  const tg_factors &f = a->hyper->factors;
  unsigned blocks = blocks_for(l, a->count);
  int error = 0;
  if (f.first) {
    TG_LAUNCH(begin_slow, blocks, THREADS, l->stream, a->count, a->w, a->slow);
    error = launched();
  }
  if (!error) error = row->launch(l, a);
  if (error || !f.pull) return error;
  TG_LAUNCH(pull_back, blocks, THREADS, l->stream, a->count, f.mix, a->w, a->slow, a->bak_out);
  return launched();
}
