/* codec.h - how a gradient becomes fewer bytes before it leaves a worker, and floats again before
 * the rule takes it.
 *
 * A message is a tg_codec_header and a body that the codec defines. Encoding is a pure function of
 * (gradient, the worker's state, seed, worker, step), so that a run can be replayed; decoding is a
 * pure function of the message. Numbers in messages are the machine's own: ranks are equal
 * machines.
 *
 * Weights are never encoded. What a codec leaves out of a message it keeps in vectors of the worker
 * (residual, momentum), which a checkpoint saves. */
#ifndef TARDIGRAD_CODEC_H
#define TARDIGRAD_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tardigrad/status.h"

enum { TG_CODEC_VECTORS = 2 /* most state vectors per worker */, TG_CODEC_MAX_LEVELS = 32767 };

typedef struct tg_codec_header {
  uint32_t tag;   /* of the codec: tg_codec.tag */
  uint32_t count; /* signsgd: 0; qsgd, ecq: levels; topk: coordinates sent */
  uint64_t n;     /* coordinates of the gradient */
} tg_codec_header;

typedef struct tg_codec_options {
  size_t n;               /* coordinates */
  uint64_t seed;          /* run.seed: of stochastic rounding */
  float momentum;         /* sync.codec_momentum */
  uint32_t levels;        /* sync.codec_levels, at most TG_CODEC_MAX_LEVELS */
  size_t bucket;          /* sync.codec_bucket: coordinates that share a norm */
  float alpha, beta;      /* sync.codec_alpha, sync.codec_beta */
  double fraction;        /* sync.codec_fraction: coordinates sent, of all */
  bool masking;           /* sync.codec_masking */
  double warmup_epochs;   /* sync.codec_warmup_epochs: until `fraction` is reached */
  double epochs_per_step; /* effective epochs in a worker's step, all workers counted */
} tg_codec_options;

/* Which gradient: step `step` of worker `worker`. */
typedef struct tg_codec_origin {
  uint32_t worker;
  uint64_t step;
} tg_codec_origin;

/* One row of codecs/codecs.def. Bodies begin at multiples of 16 bytes. */
typedef struct tg_codec {
  const char *name, *help;
  uint32_t tag; /* four letters, the first the lowest byte; 0 for `none` */
  /* State vectors [n] that a worker keeps, zero at the start. NULL: none. */
  int (*vectors)(const tg_codec_options *o);
  /* Bytes of the largest body. */
  size_t (*room)(const tg_codec_options *o);
  /* encode - writes the body for g [n] and header->count, brings the state up to date, returns the
   * bytes of the body. NULL in `none` alone. */
  size_t (*encode)(const tg_codec_options *o, tg_codec_origin from, const float *g,
                   float *const *state, tg_codec_header *header, unsigned char *body);
  /* check - whether decode can read a body of so many bytes: TG_ERUNTIME says what is wrong. */
  tg_status (*check)(const tg_codec_options *o, const tg_codec_header *header,
                     const unsigned char *body, size_t bytes);
  /* decode - coordinates [lo,hi) of a checked body into g [hi - lo]. */
  void (*decode)(const tg_codec_options *o, const tg_codec_header *header,
                 const unsigned char *body, size_t lo, size_t hi, float *g);
  /* vote - the body of what most of `workers` messages (checked, header included) of one step say,
   * where a codec knows it; else NULL. */
  void (*vote)(const tg_codec_options *o, uint64_t step, const void *const *message,
               uint32_t workers, unsigned char *body);
} tg_codec;

extern const tg_codec *const tg_codecs[];
extern const size_t tg_codec_count;

/* tg_codec_find - the row of that name; TG_ECONFIG names the nearest. */
TG_CHECKED tg_status tg_codec_find(const char *name, const tg_codec **out);

/* A codec at work: options, a message, and the state of some workers. */
typedef struct tg_coder {
  const tg_codec *codec;
  tg_codec_options o;
  uint32_t first, count;  /* workers [first,first+count) have their state here */
  int vectors;            /* per worker */
  float **state;          /* [count * vectors], each [n]; worker by worker */
  float **before;         /* [vectors] after tg_coder_remember */
  unsigned char *message; /* [room] the last message made here */
  size_t bytes, room;     /* its size; the largest possible, header included */
  bool restored;          /* the state came from a checkpoint: workers must be given theirs */
} tg_coder;

/* tg_coder_create - state is zero. TG_ECONFIG where the options do not suit the codec.
 * Memory: vectors * count vectors [n] and a message; free with tg_coder_destroy (NULL is fine). */
TG_CHECKED tg_status tg_coder_create(const tg_codec *codec, const tg_codec_options *options,
                                     uint32_t first, uint32_t count, tg_coder **out);
void tg_coder_destroy(tg_coder *coder);

/* tg_coder_encode - makes coder->message from g [n], host memory, which stays as it is. `from` must
 * be a worker whose state is here. */
void tg_coder_encode(tg_coder *coder, tg_codec_origin from, const float *g);

/* tg_coder_check - whether `bytes` bytes at `message` (aligned to 16) are a whole message of this
 * codec for n coordinates: sizes, counts and indices. TG_ERUNTIME otherwise. Before
 * tg_coder_decode. tg_coder_decode - coordinates [lo,hi) into g [hi-lo]. */
TG_CHECKED tg_status tg_coder_check(const tg_coder *coder, const void *message, size_t bytes);
void tg_coder_decode(const tg_coder *coder, const void *message, size_t lo, size_t hi, float *g);

/* tg_coder_vote - coder->message becomes the majority of checked messages [workers] of one step. */
void tg_coder_vote(tg_coder *coder, uint64_t step, const void *const *message, uint32_t workers);

/* tg_coder_state - vector i of a worker whose state is here, [n]. */
float *tg_coder_state(const tg_coder *coder, uint32_t worker, int i);

/* tg_coder_remember - keeps the state of the only worker here as it is now: what a checkpoint needs
 * while the worker's next gradient is outstanding, since that will be computed again. Without state
 * nothing is done. TG_ERUNTIME without memory. */
TG_CHECKED tg_status tg_coder_remember(tg_coder *coder);

/* tg_codec_bytes - bytes of the largest message, header included; 4n for `none`. */
size_t tg_codec_bytes(const tg_codec *codec, const tg_codec_options *o);

/* tg_codec_check - TG_ECONFIG where it cannot encode so many parameters. */
TG_CHECKED tg_status tg_codec_check(const tg_codec *codec, const tg_codec_options *o);

/* tg_codec_exchanged - bytes that a worker of the synchronous scheme sends and receives where
 * everybody gets every message of so many bytes, rank 0 too. */
uint64_t tg_codec_exchanged(uint32_t workers, uint64_t bytes);

#endif
