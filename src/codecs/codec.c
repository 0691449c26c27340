/* codec.c - codecs by name, and a codec at work. */
#include <stdlib.h>
#include <string.h>

#include "codecs/codecs.h"
#include "tardigrad/arena.h"
#include "tardigrad/registry.h"

const tg_codec *const tg_codecs[] = {
#define TG_CODEC(symbol) &tg_codec_##symbol,
#include "codecs/codecs.def"
#undef TG_CODEC
};
const size_t tg_codec_count = sizeof tg_codecs / sizeof tg_codecs[0];

tg_status tg_codec_find(const char *name, const tg_codec **out) {
  const char *nearest = NULL;
  *out = tg_registry_find(name, (const void *const *)tg_codecs, tg_codec_count, &nearest);
  if (*out) return TG_OK;
  if (nearest) TG_FAIL(TG_ECONFIG, "sync.codec: no codec '%s'; did you mean '%s'?", name, nearest);
  TG_FAIL(TG_ECONFIG, "sync.codec: no codec '%s'; `list codecs` shows what there is", name);
}

size_t tg_codec_bytes(const tg_codec *codec, const tg_codec_options *o) {
  return codec->encode ? sizeof(tg_codec_header) + codec->room(o) : o->n * sizeof(float);
}

uint64_t tg_codec_exchanged(uint32_t workers, uint64_t bytes) {
  return (2 * (uint64_t)workers - 1) * bytes;
}

/* ---- memory ---- */

static void free_vectors(float **vector, size_t count) {
  for (size_t i = 0; vector && i < count; i++) free(vector[i]);
  free(vector);
}

void tg_coder_destroy(tg_coder *c) {
  if (!c) return;
  free_vectors(c->state, (size_t)c->count * (size_t)c->vectors);
  free_vectors(c->before, (size_t)c->vectors);
  free(c->message);
  free(c);
}

static float **make_vectors(size_t count, size_t n) {
  float **vector = calloc(count + 1, sizeof *vector);
  bool enough = vector != NULL;
  for (size_t i = 0; enough && i < count; i++)
    enough = (vector[i] = tg_alloc_aligned(n * sizeof(float)));
  if (enough) return vector;
  free_vectors(vector, count);
  return NULL;
}

/* Messages are sent whole, and indices have 32 bits. */
tg_status tg_codec_check(const tg_codec *codec, const tg_codec_options *o) {
  if (o->n < 1 || o->n > UINT32_MAX)
    TG_FAIL(TG_ECONFIG, "codec %s: %zu parameters, at most %u can be encoded", codec->name, o->n,
            UINT32_MAX);
  size_t bytes = tg_codec_bytes(codec, o);
  if (bytes > INT32_MAX)
    TG_FAIL(TG_ECONFIG,
            "codec %s: messages of %zu bytes for %zu parameters, at most %d can be sent",
            codec->name, bytes, o->n, INT32_MAX);
  return TG_OK;
}

tg_status tg_coder_create(const tg_codec *codec, const tg_codec_options *o, uint32_t first,
                          uint32_t count, tg_coder **out) {
  if (!codec->encode) TG_FAIL(TG_ECONFIG, "codec %s encodes nothing", codec->name);
  TG_TRY(tg_codec_check(codec, o));
  tg_coder *c = calloc(1, sizeof *c);
  if (!c) TG_FAIL(TG_ERUNTIME, "no memory for a codec");
  *c = (tg_coder){.codec = codec, .o = *o, .first = first, .count = count};
  c->vectors = codec->vectors ? codec->vectors(o) : 0;
  c->room = tg_codec_bytes(codec, o);
  c->message = tg_alloc_aligned(c->room);
  c->state = make_vectors((size_t)count * (size_t)c->vectors, o->n);
  if (!c->message || !c->state) {
    tg_coder_destroy(c);
    TG_FAIL(TG_ERUNTIME, "no memory for the residuals of %u workers", count);
  }
  *out = c;
  return TG_OK;
}

tg_status tg_coder_remember(tg_coder *c) {
  if (c->vectors == 0) return TG_OK;
  if (!c->before) c->before = make_vectors((size_t)c->vectors, c->o.n);
  if (!c->before) TG_FAIL(TG_ERUNTIME, "no memory for residuals of %zu parameters", c->o.n);
  for (int i = 0; i < c->vectors; i++) {
    float *to = c->before[i];
    const float *from = c->state[i];
#pragma omp parallel for simd schedule(static) if (c->o.n > 1 << 16)
    for (size_t j = 0; j < c->o.n; j++) to[j] = from[j];
  }
  return TG_OK;
}

float *tg_coder_state(const tg_coder *c, uint32_t worker, int i) {
  return c->state[(size_t)(worker - c->first) * (size_t)c->vectors + (size_t)i];
}

/* ---- messages ---- */

static unsigned char *body_of(tg_coder *c) {
  return c->message + sizeof(tg_codec_header);
}

void tg_coder_encode(tg_coder *c, tg_codec_origin from, const float *g) {
  float *const *state = c->state + (size_t)(from.worker - c->first) * (size_t)c->vectors;
  tg_codec_header header = {.tag = c->codec->tag, .n = c->o.n};
  c->bytes = sizeof header + c->codec->encode(&c->o, from, g, state, &header, body_of(c));
  memcpy(c->message, &header, sizeof header);
}

tg_status tg_coder_check(const tg_coder *c, const void *message, size_t bytes) {
  tg_codec_header header;
  if (bytes < sizeof header || bytes > c->room)
    TG_FAIL(TG_ERUNTIME, "codec %s: a message of %zu bytes, from %zu to %zu were expected",
            c->codec->name, bytes, sizeof header, c->room);
  memcpy(&header, message, sizeof header);
  if (header.tag != c->codec->tag)
    TG_FAIL(TG_ERUNTIME, "codec %s: a message of another codec (tag 0x%08x, expected 0x%08x)",
            c->codec->name, header.tag, c->codec->tag);
  if (header.n != c->o.n)
    TG_FAIL(TG_ERUNTIME, "codec %s: a message of %llu coordinates, expected %zu", c->codec->name,
            (unsigned long long)header.n, c->o.n);
  return c->codec->check(&c->o, &header, (const unsigned char *)message + sizeof header,
                         bytes - sizeof header);
}

void tg_coder_decode(const tg_coder *c, const void *message, size_t lo, size_t hi, float *g) {
  tg_codec_header header;
  memcpy(&header, message, sizeof header);
  c->codec->decode(&c->o, &header, (const unsigned char *)message + sizeof header, lo, hi, g);
}

void tg_coder_vote(tg_coder *c, uint64_t step, const void *const *message, uint32_t workers) {
  tg_codec_header header = {.tag = c->codec->tag, .n = c->o.n};
  c->codec->vote(&c->o, step, message, workers, body_of(c));
  c->bytes = c->room;
  memcpy(c->message, &header, sizeof header);
}
