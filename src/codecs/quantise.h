/* quantise.h - stochastic rounding to a few levels: QSGD's quantiser, which ecq uses too.
 *
 * A bucket of at most `bucket` coordinates has the norm |v|, rounded up to a float. With s levels,
 *
 *   Q(v_i) = |v| sign(v_i) l_i / s,   l_i = floor(x) or floor(x) + 1, x = s |v_i| / |v|,
 *
 * the upper one with probability x - floor(x): E[Q(v)] = v. The random number of coordinate i is
 * number i of the stream (seed, worker, step), whatever the bucket or the thread.
 *
 * Body: the norms (float32 [buckets]), then per bucket the codes of its coordinates, each of
 * 1 + ceil(log2(s + 1)) bits, lowest first: the sign (1 is negative), then the level. A bucket's
 * codes begin at a whole byte. */
#ifndef CODECS_QUANTISE_H
#define CODECS_QUANTISE_H

#include "codecs/codecs.h"

size_t tg_quantise_room(const tg_codec_options *o);

/* tg_quantise - the body of v [n], or of g + alpha h where h is not NULL: then also
 * h <- beta h + (g - Q). Returns its bytes. */
size_t tg_quantise(const tg_codec_options *o, tg_codec_origin from, const float *g, float *h,
                   tg_codec_header *header, unsigned char *body);

TG_CHECKED tg_status tg_quantise_check(const tg_codec_options *o, const tg_codec_header *header,
                                       const unsigned char *body, size_t bytes);

void tg_quantise_decode(const tg_codec_options *o, const tg_codec_header *header,
                        const unsigned char *body, size_t lo, size_t hi, float *g);

#endif
