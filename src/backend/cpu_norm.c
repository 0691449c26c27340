#include "backend/cpu_norm.h"

#include <math.h>
#include <omp.h>

/* By channel, in scratch; each readable to the end of the last group. */
enum { MEAN, SCALE, SHIFT, BY_DY, BY_X, PLUS, PARAMS };

typedef struct pass {
  const tg_cpu_norm *norm;
  const tg_cpu_norm_args *args;
  float *param[PARAMS];
  double *sums; /* [threads][2][channels] */
  double *mine; /* this thread's */
} pass;

typedef void (*run_function)(void *context, const tg_lane_run *run);

static size_t padded_channels(const tg_cpu_norm *n) {
  return (size_t)(n->walk.groups * TG_LANES);
}

static size_t sums_bytes(const tg_cpu_norm *n) {
  size_t bytes = (size_t)n->threads * 2 * (size_t)n->walk.channels * sizeof(double);
  return (bytes + 63) & ~(size_t)63;
}

size_t tg_cpu_norm_scratch(const tg_cpu_norm *n) {
  return sums_bytes(n) + PARAMS * padded_channels(n) * sizeof(float);
}

/* Parameters of padding are 0, and so is all that is computed there. */
static pass begin(const tg_cpu_norm *n, const tg_cpu_norm_args *args) {
  pass p = {.norm = n, .args = args, .sums = args->scratch};
  float *params = (float *)((char *)args->scratch + sums_bytes(n));
  memset(args->scratch, 0, tg_cpu_norm_scratch(n));
  for (int i = 0; i < PARAMS; i++) p.param[i] = params + (size_t)i * padded_channels(n);
  return p;
}

static double *sums_of(const pass *p, int thread) {
  return p->sums + (size_t)thread * 2 * (size_t)p->norm->walk.channels;
}

static void set_normal(const pass *p, int64_t c, float mean, float deviation) {
  p->param[MEAN][c] = mean;
  p->param[SCALE][c] = p->args->gamma[c] * deviation;
  p->param[SHIFT][c] = p->args->beta[c];
}

/* ---- what the loops are made of; types and `some` (fewer than 16 lanes) are constants there ----
 */

TG_INLINE tg_lanes load(const void *x, size_t i, const tg_lane_run *run, tg_dtype type, bool some) {
  return some ? tg_lanes_load_some(x, i, run->width, type) : tg_lanes_load(x, i, type);
}
TG_INLINE void store(void *x, size_t i, const tg_lane_run *run, tg_lanes v, tg_dtype type,
                     bool some) {
  if (some)
    tg_lanes_store_some(x, i, run->width, v, type);
  else
    tg_lanes_store(x, i, v, type);
}

/* One function per pair of types of x and y. Runs and arguments are taken by value: the compiler
 * then knows that no store changes them. */
#define BY_TYPES(loop)                                                                             \
  TG_INLINE void loop##_by_width(const pass *p, tg_lane_run run, tg_dtype xt, tg_dtype yt) {       \
    if (run.width == TG_LANES)                                                                     \
      loop(p, &run, *p->args, xt, yt, false);                                                      \
    else                                                                                           \
      loop(p, &run, *p->args, xt, yt, true);                                                       \
  }                                                                                                \
  static void loop##_ff(void *p, const tg_lane_run *run) {                                         \
    loop##_by_width(p, *run, TG_F32, TG_F32);                                                      \
  }                                                                                                \
  static void loop##_fh(void *p, const tg_lane_run *run) {                                         \
    loop##_by_width(p, *run, TG_F32, TG_BF16);                                                     \
  }                                                                                                \
  static void loop##_hf(void *p, const tg_lane_run *run) {                                         \
    loop##_by_width(p, *run, TG_BF16, TG_F32);                                                     \
  }                                                                                                \
  static void loop##_hh(void *p, const tg_lane_run *run) {                                         \
    loop##_by_width(p, *run, TG_BF16, TG_BF16);                                                    \
  }                                                                                                \
  static run_function loop##_of(const tg_cpu_norm *n) {                                            \
    if (n->x_type == TG_F32) return n->y_type == TG_F32 ? loop##_ff : loop##_fh;                   \
    return n->y_type == TG_F32 ? loop##_hf : loop##_hh;                                            \
  }

TG_INLINE tg_lanes spread(const pass *p, int param, const tg_lane_run *run) {
  tg_lanes v = tg_lanes_spread(p->param[param], &p->norm->walk, run->group);
  for (int l = run->width; l < TG_LANES; l++) v[l] = 0;
  return v;
}

/* Two sums by lane, each in two chains because addition has a latency. */
typedef struct lane_sums {
  tg_lanes first[2], second[2];
} lane_sums;

TG_INLINE void sum(lane_sums *s, int chain, tg_lanes first, tg_lanes second) {
  s->first[chain] += first;
  s->second[chain] += second;
}

static void add_sums(const pass *p, const tg_lane_run *run, const lane_sums *s) {
  const tg_lane_walk *walk = &p->norm->walk;
  tg_lanes first = s->first[0] + s->first[1], second = s->second[0] + s->second[1];
  for (int l = 0; l < run->width; l++) {
    int64_t c = run->group * walk->period + l % walk->period;
    if (c >= walk->channels) continue;
    p->mine[c] += (double)first[l];
    p->mine[walk->channels + c] += (double)second[l];
  }
}

TG_INLINE tg_lanes normal(tg_lanes x, tg_lanes mean, tg_lanes scale, tg_lanes shift) {
  return (x - mean) * scale + shift;
}

/* Where ReLU lets through; NaN passes, so that divergence is seen. */
TG_INLINE tg_lanes_i32 is_open(tg_lanes v) {
  return ~(v <= 0);
}

/* ---- forward ---- */

/* Sums of x - k and (x - k)^2, k a sample of the channel: one pass, without the cancellation that
 * sums of x and x^2 suffer from. */
TG_INLINE void moments(const pass *p, const tg_lane_run *run, tg_cpu_norm_args a, tg_dtype xt,
                       tg_dtype yt, bool some) {
  (void)yt;
  const tg_lanes k = spread(p, MEAN, run);
  lane_sums s = {0};
  size_t at = run->at;
  int64_t i = 0;
  for (; i + 2 <= run->count; i += 2, at += 2 * run->stride) {
    tg_lanes d = load(a.x, at, run, xt, some) - k;
    tg_lanes e = load(a.x, at + run->stride, run, xt, some) - k;
    sum(&s, 0, d, d * d);
    sum(&s, 1, e, e * e);
  }
  if (i < run->count) {
    tg_lanes d = load(a.x, at, run, xt, some) - k;
    sum(&s, 0, d, d * d);
  }
  add_sums(p, run, &s);
}
BY_TYPES(moments)

TG_INLINE void normalise(const pass *p, const tg_lane_run *run, tg_cpu_norm_args a, tg_dtype xt,
                         tg_dtype yt, bool some) {
  const tg_lanes mean = spread(p, MEAN, run), scale = spread(p, SCALE, run),
                 shift = spread(p, SHIFT, run);
  const bool relu = p->norm->relu;
  size_t at = run->at;
  for (int64_t i = 0; i < run->count; i++, at += run->stride) {
    tg_lanes v = normal(load(a.x, at, run, xt, some), mean, scale, shift);
    if (a.addend) v += load(a.addend, at, run, yt, some);
    if (relu) v = tg_lanes_where(is_open(v), v);
    store(a.y, at, run, v, yt, some);
  }
}
BY_TYPES(normalise)

static void set_samples(const pass *p) {
  const tg_cpu_norm *n = p->norm;
  for (int64_t c = 0; c < n->walk.channels; c++) {
    size_t i = tg_lane_first(&n->walk, c);
    p->param[MEAN][c] = n->x_type == TG_F32 ? ((const float *)p->args->x)[i]
                                            : tg_bf16_to_f32(((const uint16_t *)p->args->x)[i]);
  }
}

static void finish_moments(const pass *p, int64_t c, int threads) {
  const tg_cpu_norm *n = p->norm;
  const tg_cpu_norm_args *a = p->args;
  double s = 0, q = 0, count = (double)n->count;
  for (int t = 0; t < threads; t++) {
    s += sums_of(p, t)[c];
    q += sums_of(p, t)[n->walk.channels + c];
  }
  double mean = s / count, variance = q / count - mean * mean;
  if (variance < 0) variance = 0;
  mean += (double)p->param[MEAN][c];
  a->mean[c] = (float)mean;
  a->deviation[c] = (float)(1 / sqrt(variance + (double)n->epsilon));
  set_normal(p, c, a->mean[c], a->deviation[c]);
  if (!a->batch_stat[0]) return;
  a->batch_stat[0][c] = (float)mean;
  a->batch_stat[1][c] = (float)(count > 1 ? variance * (count / (count - 1)) : variance);
}

void tg_cpu_norm_forward(const tg_cpu_norm *n, const tg_cpu_norm_args *args) {
  const pass whole = begin(n, args);
  const bool train = !args->running[0];
  if (train) set_samples(&whole);
#pragma omp parallel num_threads(n->threads)
  {
    int thread = omp_get_thread_num(), threads = omp_get_num_threads();
    pass p = whole;
    p.mine = sums_of(&p, thread);
    if (train) tg_lane_walk_part(&n->walk, thread, threads, moments_of(n), &p);
#pragma omp barrier
#pragma omp for schedule(static)
    for (int64_t c = 0; c < n->walk.channels; c++) {
      if (train)
        finish_moments(&p, c, threads);
      else
        set_normal(&p, c, args->running[0][c], 1 / sqrtf(args->running[1][c] + n->epsilon));
    }
    tg_lane_walk_part(&n->walk, thread, threads, normalise_of(n), &p);
  }
}

/* ---- backward ---- */

/* The gradient behind the ReLU. */
TG_INLINE tg_lanes gradient(const tg_cpu_norm_args *a, bool relu, size_t at, const tg_lane_run *run,
                            tg_lanes x, const tg_lanes *param, tg_dtype yt, bool some) {
  tg_lanes g = load(a->dy, at, run, yt, some);
  if (a->dy_too) g = tg_lanes_rounded(g + load(a->dy_too, at, run, yt, some), yt);
  if (a->y_was)
    g = tg_lanes_where(is_open(load(a->y_was, at, run, yt, some)), g);
  else if (relu)
    g = tg_lanes_where(is_open(normal(x, param[MEAN], param[SCALE], param[SHIFT])), g);
  return g;
}

/* Sums of g and g (x - mean); the addend's gradient is g. */
TG_INLINE void gradient_sum(lane_sums *s, int chain, const tg_cpu_norm_args *a, bool relu,
                            size_t at, const tg_lane_run *run, const tg_lanes *param, tg_dtype xt,
                            tg_dtype yt, bool some) {
  tg_lanes x = load(a->x, at, run, xt, some);
  tg_lanes g = gradient(a, relu, at, run, x, param, yt, some);
  if (a->d_addend) {
    store(a->d_addend, at, run, g, yt, some);
    g = tg_lanes_rounded(g, yt); /* as the second pass will see it */
  }
  sum(s, chain, g, g * (x - param[MEAN]));
}

TG_INLINE void gradient_sums(const pass *p, const tg_lane_run *run, tg_cpu_norm_args a, tg_dtype xt,
                             tg_dtype yt, bool some) {
  const bool relu = p->norm->relu;
  tg_lanes param[PARAMS];
  for (int i = MEAN; i <= SHIFT; i++) param[i] = spread(p, i, run);
  lane_sums s = {0};
  size_t at = run->at;
  int64_t i = 0;
  for (; i + 2 <= run->count; i += 2, at += 2 * run->stride) {
    gradient_sum(&s, 0, &a, relu, at, run, param, xt, yt, some);
    gradient_sum(&s, 1, &a, relu, at + run->stride, run, param, xt, yt, some);
  }
  if (i < run->count) gradient_sum(&s, 0, &a, relu, at, run, param, xt, yt, some);
  add_sums(p, run, &s);
}
BY_TYPES(gradient_sums)

TG_INLINE void input_gradient(const pass *p, const tg_lane_run *run, tg_cpu_norm_args a,
                              tg_dtype xt, tg_dtype yt, bool some) {
  const bool relu = p->norm->relu;
  tg_lanes param[PARAMS];
  for (int i = 0; i < PARAMS; i++) param[i] = spread(p, i, run);
  size_t at = run->at;
  for (int64_t i = 0; i < run->count; i++, at += run->stride) {
    tg_lanes x = load(a.x, at, run, xt, some);
    tg_lanes g = a.d_addend ? load(a.d_addend, at, run, yt, some)
                            : gradient(&a, relu, at, run, x, param, yt, some);
    tg_lanes dx = param[BY_DY] * g + (param[BY_X] * (x - param[MEAN]) + param[PLUS]);
    store(a.dx, at, run, dx, xt, some);
  }
}
BY_TYPES(input_gradient)

/* Ioffe & Szegedy 2015, section 3, gathered by what multiplies g, x - mean and 1. */
static void finish_gradients(const pass *p, int64_t c, int threads) {
  const tg_cpu_norm_args *a = p->args;
  double s = 0, q = 0, count = (double)p->norm->count, deviation = (double)a->deviation[c];
  for (int t = 0; t < threads; t++) {
    s += sums_of(p, t)[c];
    q += sums_of(p, t)[p->norm->walk.channels + c];
  }
  double by_dy = (double)a->gamma[c] * deviation;
  a->dgamma[c] = (float)(q * deviation);
  a->dbeta[c] = (float)s;
  p->param[BY_DY][c] = (float)by_dy;
  p->param[BY_X][c] = (float)(-by_dy * deviation * deviation * q / count);
  p->param[PLUS][c] = (float)(-by_dy * s / count);
}

void tg_cpu_norm_backward(const tg_cpu_norm *n, const tg_cpu_norm_args *args) {
  const pass whole = begin(n, args);
  for (int64_t c = 0; c < n->walk.channels; c++)
    set_normal(&whole, c, args->mean[c], args->deviation[c]);
#pragma omp parallel num_threads(n->threads)
  {
    int thread = omp_get_thread_num(), threads = omp_get_num_threads();
    pass p = whole;
    p.mine = sums_of(&p, thread);
    tg_lane_walk_part(&n->walk, thread, threads, gradient_sums_of(n), &p);
#pragma omp barrier
#pragma omp for schedule(static)
    for (int64_t c = 0; c < n->walk.channels; c++) finish_gradients(&p, c, threads);
    if (args->dx) tg_lane_walk_part(&n->walk, thread, threads, input_gradient_of(n), &p);
  }
}
