/* arena.h - memory that is given back all at once: graphs, plans, configurations. */
#ifndef TARDIGRAD_ARENA_H
#define TARDIGRAD_ARENA_H

#include <stddef.h>

#define TG_ALIGNMENT 64 /* bytes: a cache line, and the widest vector register */

typedef struct tg_arena tg_arena;

/* tg_arena_create - an empty arena, or NULL without memory. */
tg_arena *tg_arena_create(void);
void tg_arena_destroy(tg_arena *arena);

/* tg_arena_alloc - `bytes` zeroed bytes, aligned to 16; NULL without memory.
 * Memory: owned by the arena, valid until it is destroyed. */
void *tg_arena_alloc(tg_arena *arena, size_t bytes);
/* tg_arena_printf - a formatted string in the arena; NULL without memory. */
char *tg_arena_printf(tg_arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* tg_arena_bytes - how many have been given out. */
size_t tg_arena_bytes(const tg_arena *arena);

/* tg_alloc_aligned - zeroed memory aligned to TG_ALIGNMENT, to be given to free(). NULL without
 * memory. bytes = 0 gives a valid pointer. */
void *tg_alloc_aligned(size_t bytes);

#endif
