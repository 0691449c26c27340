/* signsgd.c - one bit a coordinate (Bernstein et al., ICML 2018, signSGD and Signum; ICLR 2019,
 * majority vote).
 *
 *   sync.codec_momentum = 0   bit of sign(g)
 *   else, Signum              m <- mu m + (1 - mu) g, bit of sign(m)
 *
 * Bit i of the body is bit i % 8 of byte i / 8: 1 is -1, 0 is +1. ceil(n / 8) bytes.
 *
 * One bit has no place for zero. A coordinate that is exactly 0, and one on which the workers are
 * evenly split, counts as -1 where coordinate + step is odd and as +1 where it is even: from step
 * to step it changes sides, so weights that nobody wants moved stay within one step of where they
 * are, and no bit is spent. */
#include <string.h>

#include "codecs/codecs.h"
#include "optim/optimizers.h"

enum { WORD = 64 };

static int vectors(const tg_codec_options *o) {
  return o->momentum > 0;
}

static size_t room(const tg_codec_options *o) {
  return (o->n + 7) / 8;
}

/* Coordinates of a word, from a multiple of 64 on, that count as -1 where nothing decides. */
static uint64_t odd_ones(uint64_t step) {
  return step % 2 ? 0x5555555555555555u : 0xAAAAAAAAAAAAAAAAu;
}

/* Word i of a body; what lies behind its end is 0. */
static uint64_t load(const unsigned char *body, size_t bytes, size_t i) {
  uint64_t word = 0;
  size_t at = i * sizeof word;
  memcpy(&word, body + at, bytes - at < sizeof word ? bytes - at : sizeof word);
  return word;
}

static void store(unsigned char *body, size_t bytes, size_t i, uint64_t word) {
  size_t at = i * sizeof word;
  memcpy(body + at, &word, bytes - at < sizeof word ? bytes - at : sizeof word);
}

/* Bits of up to 64 numbers; zero has the sign of `otherwise`. */
static uint64_t signs(const float *x, size_t count, uint64_t otherwise) {
  uint64_t negative = 0, zero = 0;
  for (size_t j = 0; j < count; j++) {
    negative |= (uint64_t)(x[j] < 0) << j;
    zero |= (uint64_t)(x[j] == 0) << j;
  }
  return negative | (zero & otherwise);
}

static void follow(size_t count, float mu, const float *g, float *m) {
  for (size_t j = 0; j < count; j++) m[j] = tg_normal_or_zero(mu * m[j] + (1 - mu) * g[j]);
}

static size_t encode(const tg_codec_options *o, tg_codec_origin from, const float *g,
                     float *const *state, tg_codec_header *header, unsigned char *body) {
  size_t n = o->n, bytes = room(o), words = (n + WORD - 1) / WORD;
  uint64_t otherwise = odd_ones(from.step);
  float *m = o->momentum > 0 ? state[0] : NULL;
  (void)header;
#pragma omp parallel for schedule(static) if (n > TG_CODEC_PARALLEL)
  for (size_t i = 0; i < words; i++) {
    size_t lo = i * WORD, count = n - lo < WORD ? n - lo : WORD;
    if (m) follow(count, o->momentum, g + lo, m + lo);
    store(body, bytes, i, signs((m ? m : g) + lo, count, otherwise));
  }
  return bytes;
}

static tg_status check(const tg_codec_options *o, const tg_codec_header *header,
                       const unsigned char *body, size_t bytes) {
  size_t expected = room(o);
  if (bytes != expected || header->count != 0)
    TG_FAIL(TG_ERUNTIME, "codec signsgd: %zu bytes of signs (count %u), expected %zu (0)", bytes,
            header->count, expected);
  if (o->n % 8 && body[expected - 1] >> o->n % 8)
    TG_FAIL(TG_ERUNTIME, "codec signsgd: signs of more than %zu coordinates", o->n);
  return TG_OK;
}

static void decode(const tg_codec_options *o, const tg_codec_header *header,
                   const unsigned char *body, size_t lo, size_t hi, float *g) {
  (void)o, (void)header;
#pragma omp parallel for simd schedule(static) if (hi - lo > TG_CODEC_PARALLEL)
  for (size_t i = lo; i < hi; i++) g[i - lo] = body[i / 8] >> i % 8 & 1 ? -1.0f : 1.0f;
}

/* ---- majority ---- 64 coordinates at a time: how many voted -1 is a number of which each word
 * holds one binary digit for all of them. */

enum { DIGITS = 25 /* of a number of workers */ };

static void count_one(uint64_t digit[DIGITS], uint64_t vote) {
  for (int d = 0; vote && d < DIGITS; d++) {
    uint64_t carry = digit[d] & vote;
    digit[d] ^= vote;
    vote = carry;
  }
}

/* Where more than half of the workers are counted, or just half and `otherwise` says so. */
static uint64_t majority(const uint64_t digit[DIGITS], uint32_t workers, uint64_t otherwise) {
  uint64_t more = 0, equal = ~(uint64_t)0;
  for (int d = DIGITS - 1; d >= 0; d--) {
    uint64_t half = workers / 2 >> d & 1 ? ~(uint64_t)0 : 0;
    more |= equal & digit[d] & ~half;
    equal &= ~(digit[d] ^ half);
  }
  return workers % 2 ? more : more | (equal & otherwise);
}

static void vote(const tg_codec_options *o, uint64_t step, const void *const *message,
                 uint32_t workers, unsigned char *body) {
  size_t n = o->n, bytes = room(o), words = (n + WORD - 1) / WORD;
  uint64_t otherwise = odd_ones(step);
#pragma omp parallel for schedule(static) if (n > TG_CODEC_PARALLEL)
  for (size_t i = 0; i < words; i++) {
    uint64_t digit[DIGITS] = {0};
    for (uint32_t m = 0; m < workers; m++)
      count_one(digit, load((const unsigned char *)message[m] + sizeof(tg_codec_header), bytes, i));
    uint64_t most = majority(digit, workers, otherwise);
    size_t left = n - i * WORD;
    if (left < WORD) most &= ((uint64_t)1 << left) - 1;
    store(body, bytes, i, most);
  }
}

const tg_codec tg_codec_signsgd = {
    .name = "signsgd",
    .help = "signs, 1 bit a coordinate; of a momentum with sync.codec_momentum (Signum)",
    .tag = TG_CODEC_TAG('S', 'I', 'G', 'N'),
    .vectors = vectors,
    .room = room,
    .encode = encode,
    .check = check,
    .decode = decode,
    .vote = vote,
};
