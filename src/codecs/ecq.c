/* ecq.c - qsgd that remembers what rounding took away (ECQ-SGD; Wu et al., ICML 2018):
 *
 *   q = Q(g + alpha h),   h <- beta h + (g - q)
 *
 * alpha = 0 is qsgd to the bit. */
#include "codecs/quantise.h"

static int vectors(const tg_codec_options *o) {
  (void)o;
  return 1;
}

static size_t encode(const tg_codec_options *o, tg_codec_origin from, const float *g,
                     float *const *state, tg_codec_header *header, unsigned char *body) {
  return tg_quantise(o, from, g, state[0], header, body);
}

const tg_codec tg_codec_ecq = {
    .name = "ecq",
    .help = "qsgd of g + sync.codec_alpha h, h gathers the errors and forgets by sync.codec_beta",
    .tag = TG_CODEC_TAG('E', 'C', 'Q', ' '),
    .vectors = vectors,
    .room = tg_quantise_room,
    .encode = encode,
    .check = tg_quantise_check,
    .decode = tg_quantise_decode,
};
