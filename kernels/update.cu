/* update.cu - what a gradient does to the weights: rule, optimiser, the copy into w_bak and the
 * sums for reports, in one pass.
 *
 * Compared with tg_update_apply (src/dist/update.c, src/rules, src/optim), bit for bit: every
 * operation is written as the intrinsic that rounds to nearest, in the CPU's order, so that nothing
 * is contracted; comparisons choose as the CPU's do. (Only the bits of a NaN are the machine's
 * own.) Bytes per parameter: 12 (sgd without w_bak) to 36 (dc-asgd-a with momentum): g, w, w_bak,
 * state and slot read, w, w_bak, state and slot written. FLOPs: 3 to 24, with one square root and
 * one division in dc-asgd-a. Access: 16 bytes a thread and vector, grid-stride; what lies before
 * the first and behind the last multiple of 16 bytes one by one. g may be aligned differently from
 * the rest. Sums: squares of four neighbours in float, then double: a thread's, the block's tree,
 * the blocks in order. They are not the CPU's to the bit: those depend on its vector width.
 *
 * A new rule or optimiser is one struct here and one line in the tables below. */
#include <float.h>
#include <string.h>

#include "kernels/device.cuh"

extern "C" {
#include "tardigrad/rule.h"
}

namespace {

using namespace tg;

struct Settings {
  float lr, lambda, keep, take, epsilon, cap, momentum, weight_decay;
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

/* ---- rules: what is added to the gradient; gap = w - w_bak ---- */

struct AsItIs {
  static constexpr bool corrects = false, has_state = false;
  static __device__ float correction(const Settings &, float, float, float &) { return 0; }
};

__device__ __forceinline__ float bounded(float correction, float limit) {
  correction = correction < limit ? correction : limit;
  return correction > -limit ? correction : -limit;
}

/* Zheng et al., ICML 2017, with a constant lambda: see src/rules/dc_asgd.c. */
struct DelayCompensated {
  static constexpr bool corrects = true, has_state = false;
  static __device__ float correction(const Settings &h, float g, float gap, float &) {
    float c = mul(g, mul(g, mul(h.lambda, gap)));
    return bounded(c, mul(h.cap, fabsf(g)));
  }
};

/* The same with lambda / sqrt(mean square + epsilon). */
struct DelayCompensatedAdaptive {
  static constexpr bool corrects = true, has_state = true;
  static __device__ float correction(const Settings &h, float g, float gap, float &mean_square) {
    float ms = add(mul(h.keep, mean_square), mul(mul(h.take, g), g));
    ms = ms < FLT_MAX ? ms : FLT_MAX;
    ms = ms < FLT_MIN ? 0 : ms;
    mean_square = ms;
    float square = add(ms, h.epsilon);
    square = square > FLT_MIN ? square : FLT_MIN;
    float c = mul(__fdiv_rn(g, __fsqrt_rn(square)), mul(g, mul(h.lambda, gap)));
    return bounded(c, mul(h.cap, fabsf(g)));
  }
};

/* ---- optimisers: the new weight; slot[s] is state number s of this parameter ---- */

__device__ __forceinline__ float normal_or_zero(float x) {
  return fabsf(x) < FLT_MIN ? 0 : x;
}

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

/* ---- the pass ---- */

enum { VEC = 4, SUMS = 3 };

/* The first `head` elements lie before a multiple of 16 bytes; `packs` groups of VEC follow. */
struct Vectors {
  const float *g;
  float *w;
  const float *w_bak;
  float *bak_out, *state, *slot[TG_CUDA_UPDATE_SLOTS];
  size_t count, head, packs;
  bool g_in_packs;
};

/* N elements in registers. One more slot than there are: an array of none is no C++. */
template <class Optimizer, int N> struct Item {
  float g[N], w[N], gap[N], state[N], slot[Optimizer::slots + 1][N];
};

template <class Rule, class Optimizer, int N>
__device__ __forceinline__ void fetch(const Vectors &v, size_t at, Item<Optimizer, N> &x) {
  float bak[N];
  load<float, N>(v.w + at, x.w);
  if (v.g_in_packs) {
    load<float, N>(v.g + at, x.g);
  } else {
#pragma unroll
    for (int i = 0; i < N; i++) x.g[i] = v.g[at + i];
  }
  load<float, N>(v.w_bak ? v.w_bak + at : v.w + at, bak);
#pragma unroll
  for (int i = 0; i < N; i++) x.gap[i] = sub(x.w[i], bak[i]);
  if (Rule::has_state) load<float, N>(v.state + at, x.state);
#pragma unroll
  for (int s = 0; s < Optimizer::slots; s++) load<float, N>(v.slot[s] + at, x.slot[s]);
}

template <class Rule, class Optimizer, int N>
__device__ __forceinline__ void put(const Vectors &v, size_t at, const Item<Optimizer, N> &x) {
  store<float, N>(v.w + at, x.w);
  if (v.bak_out) store<float, N>(v.bak_out + at, x.w);
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
    float g = x.g[i], slot[Optimizer::slots + 1];
    gradients += g * g;
    gaps += x.gap[i] * x.gap[i];
    if (Rule::corrects) {
      float c = Rule::correction(h, g, x.gap[i], x.state[i]);
      corrections += c * c;
      g = add(g, c);
    }
#pragma unroll
    for (int s = 0; s < Optimizer::slots; s++) slot[s] = x.slot[s][i];
    x.w[i] = Optimizer::step(h, x.w[i], g, slot);
#pragma unroll
    for (int s = 0; s < Optimizer::slots; s++) x.slot[s][i] = slot[s];
  }
  sum[0] += double(corrections);
  sum[1] += double(gradients);
  sum[2] += double(gaps);
  put<Rule, Optimizer, N>(v, at, x);
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

/* ---- tables ---- */

using Launcher = int(const tg_cuda_launch *, const tg_update_args *);

template <class Rule, class Optimizer> int launch(const tg_cuda_launch *l, const tg_update_args *a);

struct OptimizerRow {
  const char *name;
  Launcher *launch;
};

template <class Rule>
constexpr OptimizerRow optimizers[] = {
    {"sgd", launch<Rule, Sgd>},
    {"momentum", launch<Rule, Momentum>},
    {"nesterov", launch<Rule, Nesterov>},
    {nullptr, nullptr},
};

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
  Vectors v = {a->g, a->w, a->w_bak, a->bak_out, a->state, {}, a->count, 0, 0, false};
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
  bool there = a->g && a->w && (!Rule::has_state || a->state) && (!a->sums || a->parts);
  for (int s = 0; s < Optimizer::slots; s++) there = there && a->slot[s];
  return there;
}

Settings settings_of(const tg_hyper *h) {
  return {h->lr,
          h->lambda,
          h->mean_square_decay,
          1 - h->mean_square_decay,
          h->epsilon,
          h->cap > 0 ? h->cap : FLT_MAX,
          h->momentum,
          h->weight_decay};
}

template <class Rule, class Optimizer>
int launch(const tg_cuda_launch *l, const tg_update_args *a) {
  if (!complete<Rule, Optimizer>(a)) return int(cudaErrorInvalidValue);
  Vectors v = vectors_of<Rule, Optimizer>(a);
  unsigned blocks = blocks_for(l, v.packs ? v.packs : v.count);
  if (blocks > TG_CUDA_UPDATE_PARTS) blocks = TG_CUDA_UPDATE_PARTS;
  double *part = a->sums ? a->parts : nullptr;
  TG_LAUNCH((update<Rule, Optimizer>), blocks, THREADS, l->stream, settings_of(a->hyper), v, part);
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
  return row && row->name ? row->launch(l, a) : int(cudaErrorInvalidValue);
}
