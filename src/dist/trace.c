/* trace.c - trace.bin: the arrival order of a run, one record per message. */
#include "tardigrad/trace.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tardigrad/log.h"

enum { VERSION = 1, WORKER_BITS = 24, HEADER_BYTES = 32, RECORD_BYTES = 8 };

typedef struct trace_header {
  char magic[8];
  uint32_t version, workers; /* little-endian, as everything in the file */
  uint64_t seed, zero;
} trace_header;
_Static_assert(sizeof(trace_header) == HEADER_BYTES, "the header of trace.bin has 32 bytes");

typedef struct trace_record {
  uint32_t source, print; /* as tg_trace_append gets them */
} trace_record;
_Static_assert(sizeof(trace_record) == RECORD_BYTES, "a record of trace.bin has 8 bytes");

struct tg_trace {
  int fd;
  char *path;
  trace_record *prescribed; /* of the file, from the beginning */
  uint64_t prescribed_count;
  uint64_t count; /* records handled */
  bool warned;    /* that gradients are not the recorded ones */
};

static uint32_t record_of(uint32_t worker, uint32_t kind) {
  return worker | kind << WORKER_BITS;
}

static uint32_t worker_of(uint32_t record) {
  return record & ((1u << WORKER_BITS) - 1);
}

/* ---- reading ---- */

static tg_status read_all(const char *path, int fd, void *data, size_t bytes) {
  size_t at = 0;
  while (at < bytes) {
    ssize_t n = read(fd, (char *)data + at, bytes - at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) TG_FAIL(TG_ERUNTIME, "%s: %s at byte %zu", path, strerror(errno), at);
    if (n == 0) TG_FAIL(TG_EDATA, "%s: ends at byte %zu while it is read", path, at);
    at += (size_t)n;
  }
  return TG_OK;
}

static tg_status read_header(const char *path, int fd, size_t size, uint32_t *workers,
                             uint64_t *seed) {
  trace_header h;
  if (size < sizeof h)
    TG_FAIL(TG_EDATA, "%s: %zu bytes, a trace begins with a header of %d", path, size,
            HEADER_BYTES);
  TG_TRY(read_all(path, fd, &h, sizeof h));
  if (memcmp(h.magic, "TGTRACE1", sizeof h.magic) != 0)
    TG_FAIL(TG_EDATA, "%s: byte 0: not a trace, \"TGTRACE1\" expected", path);
  if (le32toh(h.version) != VERSION)
    TG_FAIL(TG_EDATA, "%s: byte 8: version %u, %d expected", path, le32toh(h.version), VERSION);
  *workers = le32toh(h.workers);
  *seed = le64toh(h.seed);
  if (*workers < 1 || *workers > 1u << WORKER_BITS)
    TG_FAIL(TG_EDATA, "%s: byte 12: %u workers, 1 to %u expected", path, *workers,
            1u << WORKER_BITS);
  return TG_OK;
}

static tg_status read_records(const char *path, int fd, uint32_t workers, trace_record *records,
                              size_t count) {
  TG_TRY(read_all(path, fd, records, count * RECORD_BYTES));
  for (size_t i = 0; i < count; i++) {
    records[i] = (trace_record){le32toh(records[i].source), le32toh(records[i].print)};
    if (worker_of(records[i].source) >= workers)
      TG_FAIL(TG_EDATA, "%s: byte %zu: a record of worker %u, there are %u workers", path,
              HEADER_BYTES + i * RECORD_BYTES, worker_of(records[i].source), workers);
  }
  return TG_OK;
}

/* Everything in an open file; a torn last record does not count. */
static tg_status read_file(const char *path, int fd, uint32_t *workers, uint64_t *seed,
                           trace_record **records, size_t *count) {
  struct stat info;
  if (fstat(fd, &info) != 0) TG_FAIL(TG_ERUNTIME, "%s: %s", path, strerror(errno));
  TG_TRY(read_header(path, fd, (size_t)info.st_size, workers, seed));
  size_t n = ((size_t)info.st_size - HEADER_BYTES) / RECORD_BYTES;
  trace_record *list = malloc((n + 1) * sizeof *list);
  if (!list) TG_FAIL(TG_ERUNTIME, "%s: no memory for %zu records", path, n);
  tg_status status = read_records(path, fd, *workers, list, n);
  if (status != TG_OK) {
    free(list);
    return status;
  }
  *records = list;
  *count = n;
  return TG_OK;
}

static tg_status open_file(const char *path, int flags, int *fd) {
  *fd = open(path, flags | O_CLOEXEC);
  if (*fd < 0)
    TG_FAIL(errno == ENOENT ? TG_ENOINPUT : TG_ERUNTIME, "%s: %s", path, strerror(errno));
  return TG_OK;
}

/* One field of all records, as an array of its own. */
static uint32_t *column(const trace_record *records, size_t count, bool prints) {
  uint32_t *list = malloc((count + 1) * sizeof *list);
  for (size_t i = 0; list && i < count; i++)
    list[i] = prints ? records[i].print : records[i].source;
  return list;
}

tg_status tg_trace_read(const char *path, uint32_t *workers, uint64_t *seed, uint32_t **records,
                        uint32_t **prints, size_t *count) {
  int fd;
  trace_record *all;
  TG_TRY(open_file(path, O_RDONLY, &fd));
  tg_status status = read_file(path, fd, workers, seed, &all, count);
  close(fd);
  if (status != TG_OK) return status;
  *records = column(all, *count, false);
  if (prints) *prints = column(all, *count, true);
  free(all);
  if (*records && (!prints || *prints)) return TG_OK;
  free(*records);
  TG_FAIL(TG_ERUNTIME, "%s: no memory for %zu records", path, *count);
}

/* ---- writing ---- */

static tg_status write_whole(const tg_trace *t, const void *data, size_t bytes) {
  ssize_t n;
  do n = write(t->fd, data, bytes);
  while (n < 0 && errno == EINTR);
  if (n != (ssize_t)bytes)
    TG_FAIL(TG_ERUNTIME, "%s: cannot write %zu bytes: %s", t->path, bytes,
            n < 0 ? strerror(errno) : "the disk is full");
  return TG_OK;
}

static tg_status make(const char *path, tg_trace **out) {
  tg_trace *t = calloc(1, sizeof *t);
  char *name = strdup(path);
  if (!t || !name) {
    free(t);
    free(name);
    TG_FAIL(TG_ERUNTIME, "%s: no memory for a trace", path);
  }
  t->path = name;
  t->fd = -1;
  *out = t;
  return TG_OK;
}

void tg_trace_close(tg_trace *t) {
  if (!t) return;
  if (t->fd >= 0) {
    fdatasync(t->fd);
    close(t->fd);
  }
  free(t->prescribed);
  free(t->path);
  free(t);
}

tg_status tg_trace_create(const char *path, uint32_t workers, uint64_t seed, tg_trace **out) {
  tg_status status = TG_OK;
  trace_header h = {.magic = {'T', 'G', 'T', 'R', 'A', 'C', 'E', '1'},
                    .version = htole32(VERSION),
                    .workers = htole32(workers),
                    .seed = htole64(seed)};
  tg_trace *t = NULL;
  TG_TRY(make(path, &t));
  t->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666);
  if (t->fd < 0) {
    status = tg_status_set(TG_ERUNTIME, "%s: cannot create: %s", path, strerror(errno));
    goto done;
  }
  TG_DO(write_whole(t, &h, sizeof h));
  *out = t;
  return TG_OK;
done:
  tg_trace_close(t);
  return status;
}

static tg_status check_open(const tg_trace *t, uint32_t workers, uint64_t seed,
                            uint32_t file_workers, uint64_t file_seed) {
  if (file_workers != workers)
    TG_FAIL(TG_EDATA, "%s: byte 12: a trace of %u workers, this run has %u", t->path, file_workers,
            workers);
  if (file_seed != seed)
    TG_FAIL(TG_EDATA, "%s: byte 16: a trace of seed %llu, this run has %llu", t->path,
            (unsigned long long)file_seed, (unsigned long long)seed);
  if (t->prescribed_count < t->count)
    TG_FAIL(TG_EDATA, "%s: %llu records, the checkpoint was made after %llu", t->path,
            (unsigned long long)t->prescribed_count, (unsigned long long)t->count);
  return TG_OK;
}

tg_status tg_trace_open(const char *path, uint32_t workers, uint64_t seed, uint64_t from,
                        tg_trace **out) {
  tg_status status = TG_OK;
  uint32_t file_workers;
  uint64_t file_seed;
  size_t count;
  tg_trace *t = NULL;
  TG_TRY(make(path, &t));
  /* Not O_APPEND: Linux's pwrite would append too. */
  TG_DO(open_file(path, O_RDWR, &t->fd));
  TG_DO(read_file(path, t->fd, &file_workers, &file_seed, &t->prescribed, &count));
  t->prescribed_count = count;
  t->count = from;
  TG_DO(check_open(t, workers, seed, file_workers, file_seed));
  if (ftruncate(t->fd, (off_t)(HEADER_BYTES + count * RECORD_BYTES)) != 0) {
    status = tg_status_set(TG_ERUNTIME, "%s: cannot drop a torn record: %s", path, strerror(errno));
    goto done;
  }
  if (lseek(t->fd, 0, SEEK_END) < 0)
    TG_DO(tg_status_set(TG_ERUNTIME, "%s: cannot find its end: %s", path, strerror(errno)));
  *out = t;
  return TG_OK;
done:
  tg_trace_close(t);
  return status;
}

/* ---- the order ---- */

int tg_trace_next(const tg_trace *t) {
  return t->count < t->prescribed_count ? (int)worker_of(t->prescribed[t->count].source) : -1;
}

/* The gradient is not the one that was recorded, so this machine computes differently: the file
 * must tell of the run that goes on. */
static tg_status reprint(tg_trace *t, uint32_t print) {
  if (!t->warned)
    tg_warn("%s: record %llu: the gradient computed again differs from the recorded one (another "
            "machine, or other threads)",
            t->path, (unsigned long long)t->count);
  t->warned = true;
  uint32_t bytes = htole32(print);
  off_t at = (off_t)(HEADER_BYTES + t->count * RECORD_BYTES + sizeof bytes);
  if (pwrite(t->fd, &bytes, sizeof bytes, at) != (ssize_t)sizeof bytes)
    TG_FAIL(TG_ERUNTIME, "%s: cannot write: %s", t->path, strerror(errno));
  return TG_OK;
}

static tg_status follow(tg_trace *t, trace_record record) {
  uint32_t wanted = t->prescribed[t->count].source;
  if (record.source != wanted)
    TG_FAIL(TG_ERUNTIME,
            "%s: record %llu is a message of kind %u from worker %u, but one of kind %u from "
            "worker %u was taken",
            t->path, (unsigned long long)t->count, wanted >> WORKER_BITS, worker_of(wanted),
            record.source >> WORKER_BITS, worker_of(record.source));
  return record.print == t->prescribed[t->count].print ? TG_OK : reprint(t, record.print);
}

tg_status tg_trace_append(tg_trace *t, uint32_t worker, uint32_t kind, uint32_t print) {
  trace_record record = {record_of(worker, kind), print};
  if (t->count < t->prescribed_count) {
    TG_TRY(follow(t, record));
  } else {
    trace_record bytes = {htole32(record.source), htole32(record.print)};
    TG_TRY(write_whole(t, &bytes, sizeof bytes));
  }
  t->count++;
  return TG_OK;
}

static uint32_t mix(uint32_t h, uint64_t x) {
  /* FNV-1a over the eight bytes. */
  for (int i = 0; i < 8; i++) h = (h ^ (uint32_t)(x >> 8 * i & 0xFF)) * 16777619u;
  return h;
}

static uint64_t bits(double x) {
  uint64_t u;
  memcpy(&u, &x, sizeof u);
  return u;
}

uint32_t tg_trace_print(const tg_msg *m) {
  uint32_t h = 2166136261u;
  if (m->kind != TG_MSG_PUSH) return 0; /* evaluations change nothing, and replay skips them */
  if (m->flags & TG_FLAG_NONFINITE) return mix(h, TG_FLAG_NONFINITE);
  h = mix(mix(h, m->version), m->step);
  return mix(mix(mix(h, bits(m->loss_sum)), bits(m->gradient_norm)), m->correct);
}

uint64_t tg_trace_count(const tg_trace *t) {
  return t->count;
}

tg_status tg_trace_sync(const tg_trace *t) {
  if (fdatasync(t->fd) != 0) TG_FAIL(TG_ERUNTIME, "%s: %s", t->path, strerror(errno));
  return TG_OK;
}
