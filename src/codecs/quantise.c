#include "codecs/quantise.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "optim/optimizers.h"
#include "tardigrad/rng.h"

enum { PIECE = 256 /* coordinates in hand; a multiple of 8 */ };

static size_t smaller(size_t a, size_t b) {
  return a < b ? a : b;
}

/* ---- the body's layout ---- */

static size_t bucket_count(const tg_codec_options *o) {
  return (o->n + o->bucket - 1) / o->bucket;
}

static unsigned width_of(const tg_codec_options *o) {
  unsigned width = 1;
  for (uint32_t most = o->levels; most; most >>= 1) width++;
  return width;
}

/* Bytes of the codes of `count` coordinates. */
static size_t code_bytes(size_t count, unsigned width) {
  return (count * width + 7) / 8;
}

static size_t code_offset(const tg_codec_options *o, size_t bucket, unsigned width) {
  return bucket_count(o) * sizeof(float) + bucket * code_bytes(o->bucket, width);
}

size_t tg_quantise_room(const tg_codec_options *o) {
  unsigned width = width_of(o);
  size_t last = bucket_count(o) - 1;
  return code_offset(o, last, width) + code_bytes(o->n - last * o->bucket, width);
}

/* ---- encoding ---- */

/* Of at least the exact norm, so that no |v_i| is larger; finite. */
static float norm_above(double square) {
  double exact = sqrt(square);
  if (exact >= FLT_MAX) return FLT_MAX;
  float norm = (float)exact;
  return norm < exact ? nextafterf(norm, FLT_MAX) : norm;
}

/* What is sent for coordinates [at, at + count): g, or g + alpha h. */
static const float *source(const tg_codec_options *o, const float *g, const float *h, size_t at,
                           size_t count, float *room) {
  if (!h) return g + at;
  for (size_t j = 0; j < count; j++) room[j] = g[at + j] + o->alpha * h[at + j];
  return room;
}

static float bucket_norm(const tg_codec_options *o, const float *g, const float *h, size_t lo,
                         size_t hi) {
  float room[PIECE];
  double square = 0;
  for (size_t at = lo; at < hi; at += PIECE) {
    size_t count = smaller(hi - at, PIECE);
    const float *v = source(o, g, h, at, count, room);
    double lane[8] = {0};
    size_t j = 0;
    for (; j + 8 <= count; j += 8)
      for (size_t l = 0; l < 8; l++) lane[l] += (double)v[j + l] * v[j + l];
    for (; j < count; j++) square += (double)v[j] * v[j];
    for (size_t l = 0; l < 8; l++) square += lane[l];
  }
  return norm_above(square);
}

/* Of coordinates [at, at + count), uniform in [0,1). */
static void uniforms(const tg_rng *stream, size_t at, size_t count, float *u) {
  uint32_t number[PIECE];
  tg_rng_numbers(stream, at, count, number);
  for (size_t j = 0; j < count; j++) u[j] = (float)(number[j] >> 8) * 0x1p-24f;
}

static float step_of(float norm, uint32_t levels) {
  return norm / (float)levels;
}

/* The level, and 0 where nothing is left of the sign. */
static void round_levels(const float *v, const float *u, size_t count, float norm, uint32_t levels,
                         uint32_t *level) {
  const float s = (float)levels;
  for (size_t j = 0; j < count; j++) {
    float x = norm > 0 ? fabsf(v[j]) / norm * s : 0;
    x = x < s ? x : s;
    uint32_t below = (uint32_t)x;
    level[j] = below + (u[j] < x - (float)below);
  }
}

static void remember(const tg_codec_options *o, const float *g, const float *v, size_t count,
                     const uint32_t *level, float step, float *h) {
  for (size_t j = 0; j < count; j++) {
    float q = (float)level[j] * step;
    h[j] = tg_normal_or_zero(o->beta * h[j] + (g[j] - (v[j] < 0 ? -q : q)));
  }
}

/* Appends codes to a row of bits. */
typedef struct bits {
  unsigned char *at;
  uint64_t held;
  unsigned count;
} bits;

/* Codes have at most 16 bits, fewer than 32 are held in between. */
static void put(bits *b, uint32_t code, unsigned width) {
  b->held |= (uint64_t)code << b->count;
  b->count += width;
  if (b->count < 32) return;
  uint32_t word = (uint32_t)b->held;
  memcpy(b->at, &word, sizeof word);
  b->at += sizeof word;
  b->held >>= 32;
  b->count -= 32;
}

static void put_end(bits *b) {
  for (unsigned at = 0; at < b->count; at += 8) *b->at++ = (unsigned char)(b->held >> at);
}

static void encode_bucket(const tg_codec_options *o, const tg_rng *stream, const float *g, float *h,
                          size_t lo, size_t hi, float *norm, unsigned char *codes) {
  float room[PIECE], u[PIECE];
  uint32_t level[PIECE];
  unsigned width = width_of(o);
  bits b = {.at = codes};
  *norm = bucket_norm(o, g, h, lo, hi);
  for (size_t at = lo; at < hi; at += PIECE) {
    size_t count = smaller(hi - at, PIECE);
    const float *v = source(o, g, h, at, count, room);
    uniforms(stream, at, count, u);
    round_levels(v, u, count, *norm, o->levels, level);
    for (size_t j = 0; j < count; j++) put(&b, level[j] << 1 | (level[j] > 0 && v[j] < 0), width);
    if (h) remember(o, g + at, v, count, level, step_of(*norm, o->levels), h + at);
  }
  put_end(&b);
}

size_t tg_quantise(const tg_codec_options *o, tg_codec_origin from, const float *g, float *h,
                   tg_codec_header *header, unsigned char *body) {
  const tg_rng stream = tg_rng_open(o->seed, TG_RNG_CODEC, from.step, from.worker);
  size_t buckets = bucket_count(o);
  unsigned width = width_of(o);
  header->count = o->levels;
#pragma omp parallel for schedule(static) if (o->n > TG_CODEC_PARALLEL)
  for (size_t i = 0; i < buckets; i++) {
    size_t lo = i * o->bucket, hi = lo + smaller(o->bucket, o->n - lo);
    float norm;
    encode_bucket(o, &stream, g, h, lo, hi, &norm, body + code_offset(o, i, width));
    memcpy(body + i * sizeof norm, &norm, sizeof norm);
  }
  return tg_quantise_room(o);
}

/* ---- decoding ---- */

tg_status tg_quantise_check(const tg_codec_options *o, const tg_codec_header *header,
                            const unsigned char *body, size_t bytes) {
  size_t expected = tg_quantise_room(o);
  if (bytes != expected || header->count != o->levels)
    TG_FAIL(TG_ERUNTIME, "codec: %zu bytes of %u levels, expected %zu of %u", bytes, header->count,
            expected, o->levels);
  for (size_t i = 0; i < bucket_count(o); i++) {
    float norm;
    memcpy(&norm, body + i * sizeof norm, sizeof norm);
    if (!(norm >= 0 && norm <= FLT_MAX))
      TG_FAIL(TG_ERUNTIME, "codec: the norm of bucket %zu is %g", i, norm);
  }
  return TG_OK;
}

/* `width` bits, at most 16, from bit `at` on of `bytes` bytes of codes. */
static uint32_t get(const unsigned char *codes, size_t bytes, size_t at, unsigned width) {
  size_t first = at / 8, left = bytes - first;
  uint32_t held = 0;
  memcpy(&held, codes + first, left < sizeof held ? left : sizeof held);
  return held >> at % 8 & ((1u << width) - 1);
}

static float value_of(uint32_t code, float step) {
  float q = (float)(code >> 1) * step;
  return code & 1 ? -q : q;
}

/* Coordinates [lo,hi) of bucket i, counted within it. A level above all is one that no encoder
 * writes: its value is large, no more. */
static void decode_bucket(const tg_codec_options *o, const unsigned char *body, size_t i, size_t lo,
                          size_t hi, unsigned width, float *g) {
  const unsigned char *codes = body + code_offset(o, i, width);
  size_t bytes = code_bytes(smaller(o->bucket, o->n - i * o->bucket), width);
  /* Whole words can be read before `safe`. */
  size_t safe = bytes < sizeof(uint32_t) ? 0 : (8 * (bytes - sizeof(uint32_t)) + 7) / width + 1;
  float norm;
  memcpy(&norm, body + i * sizeof norm, sizeof norm);
  const float step = step_of(norm, o->levels);
  const uint32_t mask = (1u << width) - 1;
  size_t j = lo;
  for (; j < hi && j < safe; j++) {
    uint32_t held;
    memcpy(&held, codes + j * width / 8, sizeof held);
    g[j - lo] = value_of(held >> j * width % 8 & mask, step);
  }
  for (; j < hi; j++) g[j - lo] = value_of(get(codes, bytes, j * width, width), step);
}

void tg_quantise_decode(const tg_codec_options *o, const tg_codec_header *header,
                        const unsigned char *body, size_t lo, size_t hi, float *g) {
  (void)header;
  unsigned width = width_of(o);
  size_t first = lo / o->bucket, last = (hi + o->bucket - 1) / o->bucket;
#pragma omp parallel for schedule(static) if (hi - lo > TG_CODEC_PARALLEL)
  for (size_t i = first; i < last; i++) {
    size_t from = i * o->bucket, begin = from > lo ? from : lo;
    size_t end = smaller(from + o->bucket, hi);
    decode_bucket(o, body, i, begin - from, end - from, width, g + (begin - lo));
  }
}
