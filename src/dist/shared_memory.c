#include "dist/shared_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

/* The token stands in a page of its own behind the data. */
static size_t file_bytes(size_t bytes) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  return (bytes + page - 1) / page * page + page;
}

static uint64_t *token_of(const tg_shared *s) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  return (uint64_t *)((char *)s->data + file_bytes(s->bytes) - page);
}

static tg_status map(tg_shared *s) {
  size_t bytes = file_bytes(s->bytes);
  void *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd, 0);
  if (data == MAP_FAILED)
    TG_FAIL(TG_EUNAVAILABLE, "shared memory: mmap of %zu bytes: %s", bytes, strerror(errno));
  (void)madvise(data, bytes, MADV_HUGEPAGE); /* only advice */
  s->data = data;
  return TG_OK;
}

/* The kernel would look for pages until it had none left. */
static bool fits_machine(size_t bytes) {
  return bytes / (size_t)sysconf(_SC_PAGESIZE) < (size_t)sysconf(_SC_PHYS_PAGES);
}

static tg_status create(tg_shared *s) {
  s->fd = memfd_create("tardigrad", MFD_CLOEXEC);
  if (s->fd < 0) TG_FAIL(TG_EUNAVAILABLE, "shared memory: memfd_create: %s", strerror(errno));
  int failed =
      fits_machine(s->bytes) ? posix_fallocate(s->fd, 0, (off_t)file_bytes(s->bytes)) : ENOMEM;
  if (failed)
    TG_FAIL(TG_EUNAVAILABLE, "shared memory: no %zu bytes: %s", s->bytes, strerror(failed));
  return map(s);
}

tg_status tg_shared_create(size_t bytes, tg_shared *out, tg_shared_key *key) {
  tg_shared s = {.bytes = bytes, .fd = -1};
  tg_status status = create(&s);
  *out = (tg_shared){.fd = -1};
  *key = (tg_shared_key){.process = getpid(), .fd = s.fd, .bytes = bytes};
  if (status == TG_OK && getrandom(&key->token, sizeof key->token, 0) != sizeof key->token)
    status = tg_status_set(TG_EUNAVAILABLE, "shared memory: getrandom: %s", strerror(errno));
  if (status != TG_OK) {
    *key = (tg_shared_key){0};
    tg_shared_close(&s);
    return status;
  }
  *token_of(&s) = key->token;
  *out = s;
  return TG_OK;
}

static tg_status open_other(const tg_shared_key *key, tg_shared *s) {
  char path[64];
  struct stat is;
  snprintf(path, sizeof path, "/proc/%" PRId64 "/fd/%" PRId64, key->process, key->fd);
  s->fd = open(path, O_RDWR | O_CLOEXEC);
  if (s->fd < 0) TG_FAIL(TG_EUNAVAILABLE, "shared memory: %s: %s", path, strerror(errno));
  bool same = fstat(s->fd, &is) == 0 && (size_t)is.st_size == file_bytes(key->bytes);
  if (same) TG_TRY(map(s));
  if (!same || *token_of(s) != key->token)
    TG_FAIL(TG_EUNAVAILABLE, "shared memory: %s is something else", path);
  return TG_OK;
}

tg_status tg_shared_open(const tg_shared_key *key, tg_shared *out) {
  tg_shared s = {.bytes = key->bytes, .fd = -1};
  tg_status status = open_other(key, &s);
  if (status != TG_OK) tg_shared_close(&s);
  *out = s;
  return status;
}

void tg_shared_close(tg_shared *s) {
  if (s->data) munmap(s->data, file_bytes(s->bytes));
  if (s->fd >= 0) close(s->fd);
  *s = (tg_shared){.fd = -1};
}
