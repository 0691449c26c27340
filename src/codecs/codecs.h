/* codecs.h - the rows of codecs.def, for the files that define them, and what they share. */
#ifndef CODECS_CODECS_H
#define CODECS_CODECS_H

#include "tardigrad/codec.h"

#define TG_CODEC(symbol) extern const tg_codec tg_codec_##symbol;
#include "codecs/codecs.def"
#undef TG_CODEC

/* Vectors shorter than this are not worth a team of threads. */
enum { TG_CODEC_PARALLEL = 1 << 16 };

#define TG_CODEC_TAG(a, b, c, d)                                                                   \
  ((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)

#endif
