/* shared_memory.h - memory that two processes of one machine both see.
 *
 * It has no name in any file system: whoever is told process and descriptor opens it through /proc,
 * and when both processes are gone, however they ended, nothing is left behind. */
#ifndef DIST_SHARED_MEMORY_H
#define DIST_SHARED_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "tardigrad/status.h"

typedef struct tg_shared {
  void *data; /* page-aligned, zeroed at first; NULL: none */
  size_t bytes;
  int fd;
} tg_shared;

/* What the other process needs to be told. */
typedef struct tg_shared_key {
  int64_t process, fd;
  uint64_t bytes, token; /* the token tells this memory from whatever else has that descriptor */
} tg_shared_key;

/* tg_shared_create - `bytes` of memory, really there: using it cannot fail later. TG_EUNAVAILABLE
 * says why it cannot be had. */
TG_CHECKED tg_status tg_shared_create(size_t bytes, tg_shared *out, tg_shared_key *key);
/* tg_shared_open - the memory that another process created and still has. TG_EUNAVAILABLE as above,
 * for example where the processes live in different containers. */
TG_CHECKED tg_status tg_shared_open(const tg_shared_key *key, tg_shared *out);
/* tg_shared_close - this process's view of it; *s becomes none. */
void tg_shared_close(tg_shared *s);

#endif
