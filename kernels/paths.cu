/* paths.cu - one update in path space: gradients of weights become gradients of basis paths, a rule
 * and an optimiser move the paths, and weights follow them.
 *
 * Compared with tg_path_update (src/paths, src/optim/gsgd.c), bit for bit: every operation is the
 * intrinsic that rounds to nearest, in the CPU's order; sums S_j are the CPU's partial sums in the
 * CPU's order. Only the sums for reports differ in their last bits. Seven launches, eight with the
 * published norm, whatever the number of blocks and layers:
 *   take_out        a block of threads for each path block: skeletons are put aside and their
 *                   gradients zeroed, products of skeletons made (p, q, v, and 1 / p, 1 / q)
 *   sum_products    pass 1: 8 bytes a parameter (w, g; w_bak in place of w where paths are
 *                   compensated) of layers other than s: a thread for a column and an eighth of the
 *                   rows, 16 threads for a row; 2 FLOPs. Partial sums, 8 floats a column, stay in
 * L2 find_norms      4 bytes a parameter: w again move_skeletons  a thread for each trained
 * skeleton: S_j, d(v_j), R_j; as many loads in flight as a column has partial sums move pass 2: 12
 * bytes a parameter (w, g read, w written), 8 more for each vector of optimiser or rule state, 4
 * for w_bak (path compensation, or the sum of the gap), 4 for what is sent; 9 FLOPs and those of
 * rule and optimiser. 16 bytes a thread and vector where tensors allow it; factors of rows and
 * columns come from L1 put_back        skeletons add_parts       sums for reports So 20 bytes a
 * parameter for gsgd, 28 for gsgd-momentum, 36 for gsgd-adam; at a server 8 more (w_bak read and
 * written), and 8 more with dc-asgd-a. Compensation of weights (sync.compensation) is a pass before
 * these: 16 bytes with dc-asgd-c, 24 with dc-asgd-a.
 *
 * A rule in path space is one line below, an optimiser one struct and one line. */
#include "kernels/paths.cuh"

namespace {

using namespace tg;

/* ---- trained skeletons ---- */

__device__ double sum_of_column(const Tables &t, const Layer &y, uint32_t j, double sum) {
  size_t cols = size_t(y.in) * y.taps;
  const float *part = t.part + y.part;
#pragma unroll 4
  for (size_t i = size_t(j) * y.taps; i < size_t(j + 1) * y.taps; i++)
#pragma unroll
    for (size_t k = 0; k < TG_PATH_PARTS; k++) sum = __dadd_rn(sum, part[k * cols + i]);
  return sum;
}

__device__ double sum_of_row(const Tables &t, const Layer &y, uint32_t j, const float *w,
                             const float *g, double sum) {
  size_t cols = size_t(y.in) * y.taps, row = y.weight + j * cols;
  for (size_t i = cols / LANES * LANES; i < cols; i++)
    sum = __dadd_rn(sum, __dmul_rn(w[row + i], g[row + i]));
#pragma unroll
  for (size_t i = 0; i < LANES; i++) sum = __dadd_rn(sum, t.part[y.part + size_t(j) * LANES + i]);
  if (y.bias != TG_NOWHERE) sum = __dadd_rn(sum, __dmul_rn(w[y.bias + j], g[y.bias + j]));
  return sum;
}

/* S_j, layer by layer in the CPU's order. */
__device__ double sum_of(const Tables &t, const Block &b, uint32_t j, const Vectors &v) {
  double sum = 0;
  for (uint32_t l = 0; l < b.count; l++) {
    const Layer &y = t.layer[b.layer + l];
    if (y.side > 0 && j < y.in) sum = sum_of_column(t, y, j, sum);
    if (y.side < 0 && j < y.out) sum = sum_of_row(t, y, j, v.then, v.g, sum);
  }
  return sum;
}

/* R, in its limits. */
__device__ float ratio_of(const Step &s, float v, float step, double &clamped) {
  double by = nonzero(s.tiny, v, 1, clamped);
  double ratio = __dsub_rn(1, __ddiv_rn(__dmul_rn(s.h.lr, step), by));
  if (s.least > 0 && (ratio < s.least || ratio > s.most)) {
    clamped += 1;
    ratio = ratio > s.most ? s.most : s.least;
  }
  return __double2float_rn(ratio);
}

template <class Rule, class Optimizer>
__device__ void move_skeleton(const Step &s, const Tables &t, const Vectors &v, uint32_t place,
                              double (&sum)[SUMS]) {
  const Block b = t.block[t.owner[place]];
  const Layer &y = t.layer[b.layer + b.special - 1];
  uint32_t j = place - b.trained, e = y.first + j;
  float now = t.now[b.v + j], then = (v.apart ? t.then : t.now)[b.v + j];
  float slot[Optimizer::slots + 1];
  double by = nonzero(s.tiny, then, 1, sum[SUMS - 1]);
  /* The published norm divides here, and multiplies everywhere else. */
  if (t.norm) by = __dmul_rn(by, t.norm[y.norm + j * y.taps + y.centre]);
  double ag = __dmul_rn(value_of(t, y, v.apart ? KEPT_THEN : KEPT_W, j), t.g[place]);
  float d = __double2float_rn(__ddiv_rn(__dsub_rn(ag, sum_of(t, b, j, v)), by));
  if (Rule::corrects) {
    float none = 0, &state = Rule::has_state ? kept(t, KEPT_STATE, e) : none;
    sum[1] += double(d * d);
    float c = Rule::compensate(s.h, d, sub(now, then), state);
    sum[0] += double(c * c);
  }
  for (int i = 0; i < Optimizer::slots; i++) slot[i] = kept(t, KEPT_SLOT + i, e);
  float ratio = ratio_of(s, now, Optimizer::step(s, 0, now, d, slot), sum[SUMS - 1]);
  for (int i = 0; i < Optimizer::slots; i++) kept(t, KEPT_SLOT + i, e) = slot[i];
  kept(t, KEPT_W, e) = mul(kept(t, KEPT_W, e), ratio);
  t.ratio[place] = __fdiv_rn(1.0f, ratio);
}

template <class Rule, class Optimizer>
__global__ void __launch_bounds__(THREADS) move_skeletons(Step s, Tables t, Vectors v) {
  double sum[SUMS] = {0, 0, 0, 0};
  uint32_t place = blockIdx.x * THREADS + threadIdx.x;
  if (place < t.trained) move_skeleton<Rule, Optimizer>(s, t, v, place, sum);
  tell(t.parts, t.blocks + blockIdx.x, sum);
}

/* ---- pass 2 ---- */

/* Factors of a tile's rows and columns; of rows NULL for biases. */
struct Factors {
  const float *c, *u, *row_c, *row_u;
  const float *then_c, *then_u, *row_then_c, *row_then_u;
  const float *r, *row_r, *norm;
  uint32_t in, taps, cols;
};

__device__ Factors factors_of(const Tables &t, const tg_cuda_path_tile &tile, bool apart) {
  Factors f = {};
  f.in = f.taps = f.cols = 1;
  if (tile.kind == TG_CUDA_PATH_OUTSIDE) return f;
  const Layer &y = t.layer[tile.layer];
  const float *ratio = t.ratio + y.trained, *then = apart ? t.then : t.now;
  bool biases = tile.kind == TG_CUDA_PATH_BIASES;
  uint32_t col = biases ? y.q : y.p;
  f.c = t.now + col, f.u = t.now + t.gauge + col;
  f.then_c = then + col, f.then_u = then + t.gauge + col;
  if (biases ? y.side < 0 : y.side > 0) f.r = ratio;
  f.in = f.cols = biases ? y.out : y.in;
  if (biases) return f;
  f.row_c = t.now + y.q, f.row_u = t.now + t.gauge + y.q;
  f.row_then_c = then + y.q, f.row_then_u = then + t.gauge + y.q;
  if (y.side < 0) f.row_r = ratio;
  if (t.norm) f.norm = t.norm + y.norm;
  f.taps = y.taps;
  f.cols = y.in * y.taps;
  return f;
}

/* Where an element lies. */
struct Place {
  uint32_t o, i, tap;
};

__device__ __forceinline__ float factor(const float *row, const float *col, const Place &at) {
  if (!col) return 1;
  return row ? mul(row[at.o], col[at.i]) : col[at.i];
}

__device__ __forceinline__ void go_on(const Factors &f, Place &at) {
  if (++at.tap < f.taps) return;
  at.tap = 0;
  if (++at.i < f.in) return;
  at.i = 0;
  at.o++;
}

template <class Rule, class Optimizer>
__device__ __forceinline__ float moved(const Step &s, const Factors &f, const Place &at, float w,
                                       float g, float then, float &state, float *slot,
                                       float &corrections, float &gradients) {
  float u = factor(f.row_u, f.u, at), p = mul(w, factor(f.row_c, f.c, at));
  float d = mul(g, factor(f.row_then_u, f.then_u, at));
  if (f.norm) d = mul(d, f.norm[at.o * f.taps + at.tap]);
  if (Rule::corrects) {
    gradients += d * d;
    float p_then = mul(then, factor(f.row_then_c, f.then_c, at));
    float c = Rule::compensate(s.h, d, sub(p, p_then), state);
    corrections += c * c;
  }
  float step = Optimizer::step(s, s.h.weight_decay, p, d, slot);
  w = sub(w, mul(mul(s.h.lr, step), u));
  return mul(w, f.r ? f.r[at.i] : f.row_r ? f.row_r[at.o] : 1);
}

template <class Rule, class Optimizer, int N>
__device__ __forceinline__ void move_item(const Step &s, const Vectors &v, const Factors &f,
                                          const tg_cuda_path_tile &tile, size_t e,
                                          double (&sum)[SUMS]) {
  size_t at = tile.at + e;
  float w[N], g[N], then[N] = {}, bak[N] = {}, state[N] = {}, slots[Optimizer::slots + 1][N];
  float corrections = 0, gradients = 0, gaps = 0;
  uint32_t col = tile.col + uint32_t(e);
  Place here = {tile.row + col / f.cols, col % f.cols / f.taps, col % f.taps};
  load<float, N>(v.w + at, w);
  load<float, N>(v.g + at, g);
  if (Rule::corrects) load<float, N>(v.then + at, then);
  if (v.gap) load<float, N>(v.gap + at, bak);
  if (Rule::has_state) load<float, N>(v.state + at, state);
#pragma unroll
  for (int k = 0; k < Optimizer::slots; k++) load<float, N>(v.slot[k] + at, slots[k]);
#pragma unroll
  for (int i = 0; i < N; i++) {
    float slot[Optimizer::slots + 1];
    if (v.gap) gaps += (w[i] - bak[i]) * (w[i] - bak[i]);
#pragma unroll
    for (int k = 0; k < Optimizer::slots; k++) slot[k] = slots[k][i];
    w[i] = moved<Rule, Optimizer>(s, f, here, w[i], g[i], then[i], state[i], slot, corrections,
                                  gradients);
#pragma unroll
    for (int k = 0; k < Optimizer::slots; k++) slots[k][i] = slot[k];
    go_on(f, here);
  }
  sum[0] += double(corrections);
  sum[1] += double(gradients);
  sum[2] += double(gaps);
  store<float, N>(v.w + at, w);
  if (v.bak_out) store<float, N>(v.bak_out + at, w);
  if (Rule::has_state) store<float, N>(v.state + at, state);
#pragma unroll
  for (int k = 0; k < Optimizer::slots; k++) store<float, N>(v.slot[k] + at, slots[k]);
}

template <class Rule, class Optimizer>
__global__ void __launch_bounds__(THREADS) move(Step s, Tables t, Vectors v, size_t first_part) {
  double sum[SUMS] = {0, 0, 0, 0};
  for (uint32_t i = blockIdx.x; i < t.tiles; i += gridDim.x) {
    const tg_cuda_path_tile tile = t.tile[i];
    const Factors f = factors_of(t, tile, v.apart);
    uint32_t head = uint32_t((VEC - tile.at % VEC) % VEC);
    if (head > tile.count || !v.aligned) head = tile.count;
    uint32_t packs = (tile.count - head) / VEC, edges = tile.count - packs * VEC;
    for (uint32_t k = threadIdx.x; k < packs; k += THREADS)
      move_item<Rule, Optimizer, VEC>(s, v, f, tile, head + k * VEC, sum);
    for (uint32_t k = threadIdx.x; k < edges; k += THREADS)
      move_item<Rule, Optimizer, 1>(s, v, f, tile, k < head ? k : k + packs * VEC, sum);
  }
  tell(t.parts, first_part + blockIdx.x, sum);
}

/* ---- compensation of weights ---- */

template <class Rule>
__global__ void __launch_bounds__(THREADS)
    compensate(Settings h, size_t count, const float *w, const float *w_bak, float *state, float *g,
               double *part) {
  double sum[SUMS] = {0, 0, 0, 0};
  TG_FOR(i, count) {
    float gap = sub(w[i], w_bak[i]), d = g[i], none = 0;
    float c = Rule::compensate(h, d, gap, Rule::has_state ? state[i] : none);
    sum[0] += double(c * c);
    sum[1] += double(g[i] * g[i]);
    sum[2] += double(gap * gap);
    g[i] = d;
  }
  if (part) tell(part, blockIdx.x, sum);
}

/* ---- tables ---- */

using Phase = void(const tg_cuda_launch *, const Tables *, const Step *, const Vectors *);

unsigned grid_of(const tg_cuda_launch *l, const Tables *t) {
  unsigned most = unsigned(l->processors) * 8;
  most = most < TG_CUDA_UPDATE_PARTS ? most : unsigned(TG_CUDA_UPDATE_PARTS);
  return t->tiles < most ? t->tiles : most;
}

unsigned blocks_of(unsigned items) {
  return (items + THREADS - 1) / THREADS;
}

template <class Rule, class Optimizer>
void launch_skeletons(const tg_cuda_launch *l, const Tables *t, const Step *s, const Vectors *v) {
  TG_LAUNCH((move_skeletons<Rule, Optimizer>), blocks_of(t->trained), THREADS, l->stream, *s, *t,
            *v);
}

template <class Rule, class Optimizer>
void launch_move(const tg_cuda_launch *l, const Tables *t, const Step *s, const Vectors *v) {
  TG_LAUNCH((move<Rule, Optimizer>), grid_of(l, t), THREADS, l->stream, *s, *t, *v,
            size_t(t->blocks + blocks_of(t->trained)));
}

struct OptimizerRow {
  const char *name;
  int slots;
  Phase *skeletons, *weights;
};

#define TG_ROW(name, Rule, Optimizer)                                                              \
  { name, Optimizer::slots, launch_skeletons<Rule, Optimizer>, launch_move<Rule, Optimizer> }
template <class Rule>
constexpr OptimizerRow optimizers[] = {
    TG_ROW("gsgd", Rule, Plain),           TG_ROW("gsgd-momentum", Rule, Momentum),
    TG_ROW("gsgd-rmsprop", Rule, RmsProp), TG_ROW("gsgd-adam", Rule, Adam),
    {nullptr, 0, nullptr, nullptr},
};

using Compensation = void(const tg_cuda_launch *, unsigned, const tg_update_args *, float *);

template <class Rule>
void launch_compensate(const tg_cuda_launch *l, unsigned blocks, const tg_update_args *a,
                       float *g) {
  TG_LAUNCH(compensate<Rule>, blocks, THREADS, l->stream, settings_of(a->hyper, ONE_KIND), a->count,
            a->w, a->w_bak ? a->w_bak : a->w, a->state, g, a->sums ? a->parts : nullptr);
}

struct RuleRow {
  const char *name;
  bool has_state;
  const OptimizerRow *optimizers;
  Compensation *compensate;
};

constexpr RuleRow rules[] = {
    {"dc-asgd-c", false, optimizers<DelayCompensated>, launch_compensate<DelayCompensated>},
    {"dc-asgd-a", true, optimizers<DelayCompensatedAdaptive>,
     launch_compensate<DelayCompensatedAdaptive>},
    {nullptr, false, optimizers<AsItIs>, nullptr},
};

template <class Row> const Row *find(const Row *row, const char *name) {
  while (row->name && !(name && strcmp(row->name, name) == 0)) row++;
  return row;
}

/* ---- launching ---- */

struct Update {
  const OptimizerRow *row;
  Step s;
  Vectors v;
};

bool all_aligned(const tg_cuda_path_args *a, int slots) {
  bool is = aligned(a->w, 16) && aligned(a->g, 16) && aligned(a->then, 16) &&
            aligned(a->w_bak, 16) && aligned(a->bak_out, 16) && aligned(a->state, 16);
  for (int i = 0; i < slots; i++) is = is && aligned(a->slot[i], 16);
  return is;
}

/* False where something is missing. */
bool prepare(const tg_cuda_path_args *a, Update *u) {
  const RuleRow *rule = find(rules, a->rule);
  const tg_hyper *h = a->hyper;
  const double least = h->keys.path_clamp;
  u->row = find(rule->optimizers, a->optimizer);
  if (!u->row->name || (a->rule && !rule->name) || !a->w || !a->g || !a->then) return false;
  if (rule->has_state && !a->state) return false;
  u->s = {settings_of(h, ONE_KIND), h->factors.unbias / h->factors.root, least > 0 ? 1e-6f : 0,
          least, least > 0 ? 1 / least : 0};
  u->v = {a->w,
          a->then,
          a->w_bak,
          a->bak_out,
          a->g,
          rule->has_state ? a->state : nullptr,
          {},
          a->then != a->w,
          all_aligned(a, u->row->slots)};
  for (int i = 0; i < u->row->slots; i++) {
    u->v.slot[i] = a->slot[i];
    if (!a->slot[i]) return false;
  }
  return true;
}

} // namespace

extern "C" bool tg_cuda_path_has_rule(const char *name) {
  return find(rules, name)->name;
}

extern "C" bool tg_cuda_path_has_optimizer(const char *name) {
  return find(optimizers<AsItIs>, name)->name;
}

extern "C" size_t tg_cuda_path_parts(const tg_cuda_path_tables *t) {
  return size_t(t->blocks) + blocks_of(t->trained) + TG_CUDA_UPDATE_PARTS;
}

extern "C" int tg_cuda_path_move(const tg_cuda_launch *l, const tg_cuda_path_tables *t,
                                 const tg_cuda_path_args *a) {
  Update u;
  if (!prepare(a, &u)) return int(cudaErrorInvalidValue);
  u.row->weights(l, t, &u.s, &u.v);
  return launched();
}

extern "C" int tg_cuda_path_update(const tg_cuda_launch *l, const tg_cuda_path_tables *t,
                                   const tg_cuda_path_args *a) {
  Update u;
  if (!prepare(a, &u)) return int(cudaErrorInvalidValue);
  path_take_out(l, t, &u.v, u.s.tiny, u.row->slots);
  int error = tg_cuda_path_sums(l, t, a);
  if (error) return error;
  if (t->norm) path_find_norms(l, t, a->then);
  u.row->skeletons(l, t, &u.s, &u.v);
  u.row->weights(l, t, &u.s, &u.v);
  path_put_back(l, t, &u.v, u.row->slots);
  path_add_parts(l, t->parts, t->blocks + blocks_of(t->trained) + grid_of(l, t), a->sums,
                 t->clamped);
  return launched();
}

extern "C" int tg_cuda_path_compensate(const tg_cuda_launch *l, const tg_update_args *a, float *g) {
  const RuleRow *rule = find(rules, a->rule);
  unsigned blocks = blocks_for(l, a->count);
  if (!rule->name || (rule->has_state && !a->state)) return int(cudaErrorInvalidValue);
  if (blocks > TG_CUDA_UPDATE_PARTS) blocks = TG_CUDA_UPDATE_PARTS;
  rule->compensate(l, blocks, a, g);
  if (a->sums) path_add_parts(l, a->parts, blocks, a->sums, nullptr);
  return launched();
}
