/* any_paths.h - path blocks for n parameters of no particular model. */
#ifndef SUPPORT_ANY_PATHS_H
#define SUPPORT_ANY_PATHS_H

#include <stddef.h>

/* Two dense layers with a bias between them, and what is left over outside; of few parameters
 * nothing is in a block. Memory: kept, and given out again for the same n. */
const struct tg_paths *any_paths(size_t n);

#endif
