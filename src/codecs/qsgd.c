/* qsgd.c - unbiased rounding to a few levels (Alistarh et al., NeurIPS 2017), with codes of fixed
 * width. */
#include "codecs/quantise.h"

static size_t encode(const tg_codec_options *o, tg_codec_origin from, const float *g,
                     float *const *state, tg_codec_header *header, unsigned char *body) {
  (void)state;
  return tg_quantise(o, from, g, NULL, header, body);
}

const tg_codec tg_codec_qsgd = {
    .name = "qsgd",
    .help = "random rounding to sync.codec_levels levels of a bucket's norm, unbiased",
    .tag = TG_CODEC_TAG('Q', 'S', 'G', 'D'),
    .room = tg_quantise_room,
    .encode = encode,
    .check = tg_quantise_check,
    .decode = tg_quantise_decode,
};
