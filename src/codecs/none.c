/* none.c - gradients travel as the floats that they are. */
#include "codecs/codecs.h"

const tg_codec tg_codec_none = {
    .name = "none",
    .help = "gradients as they are, 4 bytes a coordinate",
};
