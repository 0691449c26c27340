/* topk.c - the largest coordinates only (Deep Gradient Compression; Lin et al., ICLR 2018).
 *
 *   u <- m u + g        momentum correction, m = sync.codec_momentum (m = 0: u is g itself)
 *   v <- v + u          what has not been sent yet
 *   send the k largest |v_i| as (i, v_i); v_i <- 0, and u_i <- 0 with sync.codec_masking
 *
 * k is exact: fraction * n to the nearest, at least 1; of equal |v_i| the first are sent. During
 * sync.codec_warmup_epochs the fraction falls by one and the same factor each epoch: of E epochs,
 * in epoch e it is fraction^((e + 1) / (E + 1)); with E = 4 and fraction = 0.001 these are the
 * paper's 25 %, 6.3 %, 1.6 %, 0.4 %. The epoch is the worker's own, from its step.
 *
 * Body: the indices (uint32 [k], ascending), then the values (float32 [k]).
 *
 * The k-th largest |v_i| is found digit by digit: three passes that count the binary digits of
 * |v_i| (as integers, floats of one sign are in order), each by 10 or 11 bits. */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "codecs/codecs.h"
#include "optim/optimizers.h"

enum { RESIDUAL, VELOCITY };
enum { BINS = 1 << 11, MAX_THREADS = 256 };

static int vectors(const tg_codec_options *o) {
  return o->momentum > 0 ? VELOCITY + 1 : RESIDUAL + 1;
}

/* ---- how many ---- */

static size_t count_of(size_t n, double fraction) {
  size_t k = (size_t)floor(fraction * (double)n + 0.5);
  return k < 1 ? 1 : k > n ? n : k;
}

static size_t count_at(const tg_codec_options *o, uint64_t step) {
  double epoch = floor((double)step * o->epochs_per_step), ramp = ceil(o->warmup_epochs);
  double part = epoch < ramp ? (epoch + 1) / (ramp + 1) : 1;
  return count_of(o->n, part < 1 ? pow(o->fraction, part) : o->fraction);
}

static size_t body_bytes(size_t k) {
  return k * (sizeof(uint32_t) + sizeof(float));
}

/* The fraction only falls. */
static size_t room(const tg_codec_options *o) {
  return body_bytes(count_at(o, 0));
}

/* ---- which ---- */

/* Everything above the threshold, and the first `ties` that equal it. */
typedef struct cut {
  uint32_t threshold;
  size_t ties;
} cut;

static uint32_t size_key(float x) {
  uint32_t key;
  memcpy(&key, &x, sizeof key);
  return key & 0x7FFFFFFFu;
}

static size_t part_begin(size_t n, int i, int parts) {
  return n / (size_t)parts * (size_t)i + n % (size_t)parts * (size_t)i / (size_t)parts;
}

static int team_of(size_t n) {
  int threads = omp_get_max_threads();
  if (n <= TG_CODEC_PARALLEL) return 1;
  return threads < MAX_THREADS ? threads : MAX_THREADS;
}

/* A digit of a key: `most` is its largest value. */
typedef struct digit {
  int shift;
  uint32_t most;
} digit;

/* bin[x]: of the keys that agree with `prefix` above the digit, those in which it is x. */
static void count_digits(const float *v, size_t n, uint32_t prefix, digit d, size_t bin[BINS]) {
  const uint32_t mask = ~(d.most << d.shift | ((1u << d.shift) - 1));
  memset(bin, 0, BINS * sizeof *bin);
#pragma omp parallel num_threads(team_of(n)) if (n > TG_CODEC_PARALLEL)
  {
    size_t own[BINS] = {0};
    int me = omp_get_thread_num(), team = omp_get_num_threads();
    for (size_t i = part_begin(n, me, team); i < part_begin(n, me + 1, team); i++) {
      uint32_t key = size_key(v[i]);
      if ((key & mask) == prefix) own[key >> d.shift & d.most]++;
    }
#pragma omp critical(tg_topk_bins)
    for (size_t i = 0; i < BINS; i++) bin[i] += own[i];
  }
}

static cut find_cut(const float *v, size_t n, size_t k) {
  static const digit digits[] = {{20, (1 << 11) - 1}, {10, (1 << 10) - 1}, {0, (1 << 10) - 1}};
  size_t bin[BINS];
  uint32_t prefix = 0;
  for (int i = 0; i < 3; i++) {
    uint32_t x = digits[i].most;
    count_digits(v, n, prefix, digits[i], bin);
    for (; bin[x] < k; x--) k -= bin[x];
    prefix |= x << digits[i].shift;
  }
  return (cut){prefix, k};
}

/* How many of v [lo,hi) lie above the threshold, and on it. */
static void count_part(const float *v, size_t lo, size_t hi, uint32_t threshold, size_t *above,
                       size_t *on) {
  size_t more = 0, equal = 0;
  for (size_t i = lo; i < hi; i++) {
    uint32_t key = size_key(v[i]);
    more += key > threshold;
    equal += key == threshold;
  }
  *above = more;
  *on = equal;
}

/* ---- sending ---- */

typedef struct sending {
  float *v, *u; /* u: NULL where it stays */
  uint32_t *index;
  float *value;
} sending;

/* Takes what is chosen of v [lo,hi): to `at` and after it, `ties` of those on the threshold. */
static void take_part(const sending *s, size_t lo, size_t hi, uint32_t threshold, size_t at,
                      size_t ties) {
  for (size_t i = lo; i < hi; i++) {
    uint32_t key = size_key(s->v[i]);
    if (key < threshold || (key == threshold && ties == 0)) continue;
    ties -= key == threshold;
    s->index[at] = (uint32_t)i;
    s->value[at++] = s->v[i];
    s->v[i] = 0;
    if (s->u) s->u[i] = 0;
  }
}

static void take(const sending *s, size_t n, cut c) {
  size_t above[MAX_THREADS], on[MAX_THREADS];
#pragma omp parallel num_threads(team_of(n)) if (n > TG_CODEC_PARALLEL)
  {
    int me = omp_get_thread_num(), team = omp_get_num_threads();
    size_t lo = part_begin(n, me, team), hi = part_begin(n, me + 1, team), at = 0, ties = 0;
    count_part(s->v, lo, hi, c.threshold, &above[me], &on[me]);
#pragma omp barrier
    for (int i = 0; i < me; i++) {
      at += above[i];
      ties += on[i];
    }
    ties = ties < c.ties ? ties : c.ties; /* taken before this part */
    take_part(s, lo, hi, c.threshold, at + ties, c.ties - ties);
  }
}

static void accumulate(const tg_codec_options *o, const float *g, float *v, float *u) {
  size_t n = o->n;
  const float m = o->momentum;
  if (!u) {
#pragma omp parallel for simd schedule(static) if (n > TG_CODEC_PARALLEL)
    for (size_t i = 0; i < n; i++) v[i] += g[i];
    return;
  }
#pragma omp parallel for simd schedule(static) if (n > TG_CODEC_PARALLEL)
  for (size_t i = 0; i < n; i++) {
    u[i] = tg_normal_or_zero(m * u[i] + g[i]);
    v[i] += u[i];
  }
}

static size_t encode(const tg_codec_options *o, tg_codec_origin from, const float *g,
                     float *const *state, tg_codec_header *header, unsigned char *body) {
  size_t k = count_at(o, from.step);
  float *u = o->momentum > 0 ? state[VELOCITY] : NULL;
  sending s = {.v = state[RESIDUAL],
               .u = o->masking ? u : NULL,
               .index = (uint32_t *)(void *)body,
               .value = (float *)(void *)(body + k * sizeof(uint32_t))};
  accumulate(o, g, s.v, u);
  take(&s, o->n, find_cut(s.v, o->n, k));
  header->count = (uint32_t)k;
  return body_bytes(k);
}

/* ---- receiving ---- */

static const uint32_t *indices(const unsigned char *body) {
  return (const uint32_t *)(const void *)body;
}

static tg_status check(const tg_codec_options *o, const tg_codec_header *header,
                       const unsigned char *body, size_t bytes) {
  size_t k = header->count;
  if (k > o->n || bytes != body_bytes(k))
    TG_FAIL(TG_ERUNTIME, "codec topk: %zu bytes of %zu coordinates, of %zu, expected %zu", bytes, k,
            o->n, body_bytes(k));
  const uint32_t *index = indices(body);
  for (size_t j = 0; j < k; j++)
    if (index[j] >= o->n || (j > 0 && index[j] <= index[j - 1]))
      TG_FAIL(TG_ERUNTIME, "codec topk: index %u stands at %zu: not ascending, or not below %zu",
              index[j], j, o->n);
  return TG_OK;
}

/* The first of ascending indices that is at least `lo`. */
static size_t first_from(const uint32_t *index, size_t k, size_t lo) {
  size_t begin = 0;
  while (begin < k) {
    size_t middle = begin + (k - begin) / 2;
    if (index[middle] < lo)
      begin = middle + 1;
    else
      k = middle;
  }
  return begin;
}

static void decode(const tg_codec_options *o, const tg_codec_header *header,
                   const unsigned char *body, size_t lo, size_t hi, float *g) {
  size_t k = header->count;
  const uint32_t *index = indices(body);
  const unsigned char *values = body + k * sizeof *index;
  (void)o;
  memset(g, 0, (hi - lo) * sizeof *g);
  for (size_t j = first_from(index, k, lo); j < k && index[j] < hi; j++)
    memcpy(&g[index[j] - lo], values + j * sizeof *g, sizeof *g);
}

const tg_codec tg_codec_topk = {
    .name = "topk",
    .help = "the sync.codec_fraction largest coordinates; the rest is kept for later",
    .tag = TG_CODEC_TAG('T', 'O', 'P', 'K'),
    .vectors = vectors,
    .room = room,
    .encode = encode,
    .check = check,
    .decode = decode,
};
