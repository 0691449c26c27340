/* tools.h - what the tests of codecs share: numbers, and codecs to work with. */
#ifndef TESTS_CODECS_TOOLS_H
#define TESTS_CODECS_TOOLS_H

#include <check.h>
#include <stdlib.h>

#include "../support/fixture.h"
#include "tardigrad/codec.h"
#include "tardigrad/rng.h"

static inline tg_codec_options codec_defaults(size_t n) {
  return (tg_codec_options){.n = n,
                            .seed = 5,
                            .levels = 7,
                            .bucket = 100,
                            .alpha = 0.2f,
                            .beta = 0.9f,
                            .fraction = 0.1,
                            .masking = true,
                            .epochs_per_step = 0.1};
}

static inline tg_coder *coder_open(const char *name, const tg_codec_options *o, uint32_t workers) {
  const tg_codec *codec;
  tg_coder *coder;
  ck_ok(tg_codec_find(name, &codec));
  ck_ok(tg_coder_create(codec, o, 0, workers, &coder));
  return coder;
}

/* Encodes g and decodes it into out. */
static inline void coder_pass(tg_coder *c, uint32_t worker, uint64_t step, const float *g,
                              float *out) {
  tg_coder_encode(c, (tg_codec_origin){worker, step}, g);
  ck_ok(tg_coder_check(c, c->message, c->bytes));
  tg_coder_decode(c, c->message, 0, c->o.n, out);
}

/* Pseudo-random numbers of very different sizes. */
static inline void fill(float *x, size_t n, uint64_t a, uint64_t b) {
  tg_rng r = tg_rng_open(99, TG_RNG_TEST, a, b);
  for (size_t i = 0; i < n; i++) {
    float size = tg_rng_float(&r);
    x[i] = (2 * tg_rng_float(&r) - 1) * size * size * size;
  }
}

static inline float *numbers(size_t n) {
  float *x = calloc(n + 1, sizeof *x);
  ck_assert_ptr_nonnull(x);
  return x;
}

#endif
