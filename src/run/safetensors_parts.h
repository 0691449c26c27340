/* safetensors_parts.h - what the reader and the writer of safetensors share. */
#ifndef RUN_SAFETENSORS_PARTS_H
#define RUN_SAFETENSORS_PARTS_H

#include <stdbool.h>
#include <xxhash.h>

#include "tardigrad/checkpoint.h"

typedef struct tg_st_kind {
  const char *name; /* in the header */
  size_t bytes;     /* of one number */
} tg_st_kind;

extern const tg_st_kind tg_st_kinds[]; /* by tg_st_dtype */
extern const size_t tg_st_kind_count;

/* tg_st_bytes - bytes of a tensor; false for a negative dimension or a product beyond int64. */
bool tg_st_bytes(tg_st_dtype dtype, int nd, const int64_t *dim, uint64_t *bytes);

/* tg_hash_text - 32 hex digits and a zero, as xxhsum -H2 prints them. */
void tg_hash_text(XXH128_hash_t hash, char out[33]);

#endif
