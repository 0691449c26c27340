#include "data/files.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { CHUNK = 1 << 16, GZIP_WINDOW = 15 + 16, DEFLATE_BEST_RATIO = 1032 };

struct tg_reader {
  char path[PATH_MAX];
  int file;
  uint64_t file_bytes;
  uint64_t taken;  /* bytes of the file that were read into `in` and used */
  uint64_t offset; /* bytes of content given away */
  bool gzip, member_ended;
  z_stream z; /* next_in, avail_in: what is left of `in`, for plain files too */
  unsigned char in[CHUNK];
};

const char *tg_reader_path(const tg_reader *reader) {
  return reader->path;
}

uint64_t tg_reader_offset(const tg_reader *reader) {
  return reader->offset;
}

/* Reads on once `in` is used up; nothing is added at the end of the file. */
static tg_status refill(tg_reader *r) {
  if (r->z.avail_in > 0) return TG_OK;
  ssize_t got;
  do got = read(r->file, r->in, CHUNK);
  while (got < 0 && errno == EINTR);
  if (got < 0) TG_FAIL(TG_ERUNTIME, "%s: cannot read: %s", r->path, strerror(errno));
  r->z.next_in = r->in;
  r->z.avail_in = (uInt)got;
  r->taken += (uint64_t)got;
  return TG_OK;
}

static uint64_t file_position(const tg_reader *r) {
  return r->taken - r->z.avail_in;
}

static tg_status start_gzip(tg_reader *r) {
  TG_TRY(refill(r));
  r->gzip = r->z.avail_in >= 2 && r->in[0] == 0x1f && r->in[1] == 0x8b;
  if (r->gzip && inflateInit2(&r->z, GZIP_WINDOW) != Z_OK)
    TG_FAIL(TG_ERUNTIME, "%s: no memory to uncompress it", r->path);
  return TG_OK;
}

tg_status tg_reader_open(const char *path, tg_reader **out) {
  tg_status status = TG_OK;
  *out = NULL;
  tg_reader *r = calloc(1, sizeof *r);
  if (!r) TG_FAIL(TG_ERUNTIME, "%s: no memory to read it", path);
  snprintf(r->path, sizeof r->path, "%s", path);
  struct stat about;
  /* Not to be held up by a pipe of that name. */
  r->file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (r->file < 0 || fstat(r->file, &about) != 0) {
    status = tg_status_set(TG_ENOINPUT, "%s: cannot open: %s", path, strerror(errno));
    goto done;
  }
  if (!S_ISREG(about.st_mode)) {
    status = tg_status_set(TG_ENOINPUT, "%s: not a regular file", path);
    goto done;
  }
  r->file_bytes = (uint64_t)about.st_size;
  TG_DO(start_gzip(r));
  *out = r;
done:
  if (status != TG_OK) tg_reader_close(r);
  return status;
}

void tg_reader_close(tg_reader *reader) {
  if (!reader) return;
  if (reader->gzip) inflateEnd(&reader->z);
  if (reader->file >= 0) close(reader->file);
  free(reader);
}

/* A gzip file may be several members, one after the other. */
static tg_status next_member(tg_reader *r) {
  TG_TRY(refill(r));
  if (r->z.avail_in == 0) return TG_OK;
  if (r->z.next_in[0] != 0x1f)
    TG_FAIL(TG_EDATA,
            "%s: offset %" PRIu64 " of the compressed file: expected its end, found %" PRIu64
            " more bytes",
            r->path, file_position(r), r->file_bytes - file_position(r));
  r->member_ended = false;
  if (inflateReset(&r->z) != Z_OK) TG_FAIL(TG_ERUNTIME, "%s: zlib failed", r->path);
  return TG_OK;
}

/* Uncompresses into next_out until it is full or the content ends. */
static tg_status inflate_some(tg_reader *r) {
  while (r->z.avail_out > 0) {
    if (r->member_ended) TG_TRY(next_member(r));
    if (r->member_ended) return TG_OK;
    TG_TRY(refill(r));
    if (r->z.avail_in == 0)
      TG_FAIL(TG_EDATA,
              "%s: offset %" PRIu64 " of the compressed file: expected more gzip data, found the "
              "file's end",
              r->path, file_position(r));
    int code = inflate(&r->z, Z_NO_FLUSH);
    r->member_ended = code == Z_STREAM_END;
    if (code != Z_OK && code != Z_STREAM_END)
      TG_FAIL(TG_EDATA,
              "%s: offset %" PRIu64 " of the compressed file: expected gzip data, found corrupt "
              "data (%s)",
              r->path, file_position(r), r->z.msg ? r->z.msg : "zlib gives no reason");
  }
  return TG_OK;
}

/* As copying, for plain files. */
static tg_status copy_some(tg_reader *r) {
  while (r->z.avail_out > 0) {
    TG_TRY(refill(r));
    if (r->z.avail_in == 0) return TG_OK;
    uInt part = r->z.avail_in < r->z.avail_out ? r->z.avail_in : r->z.avail_out;
    memcpy(r->z.next_out, r->z.next_in, part);
    r->z.next_in += part;
    r->z.avail_in -= part;
    r->z.next_out += part;
    r->z.avail_out -= part;
  }
  return TG_OK;
}

/* Up to `bytes` bytes of content; *got is less only at its end. */
static tg_status read_some(tg_reader *r, void *to, size_t bytes, size_t *got) {
  enum { MOST = 1 << 30 }; /* zlib counts in unsigned int */
  *got = 0;
  while (*got < bytes) {
    uInt want = bytes - *got < MOST ? (uInt)(bytes - *got) : MOST;
    r->z.next_out = (unsigned char *)to + *got;
    r->z.avail_out = want;
    TG_TRY(r->gzip ? inflate_some(r) : copy_some(r));
    *got += want - r->z.avail_out;
    if (r->z.avail_out > 0) break;
  }
  r->offset += *got;
  return TG_OK;
}

tg_status tg_reader_read(tg_reader *reader, size_t bytes, const char *what, void *to) {
  size_t got;
  TG_TRY(read_some(reader, to, bytes, &got));
  if (got < bytes)
    TG_FAIL(TG_EDATA, "%s: offset %" PRIu64 ": expected %s (%zu more bytes), found the file's end",
            reader->path, reader->offset, what, bytes - got);
  return TG_OK;
}

tg_status tg_reader_expect(tg_reader *reader, uint64_t bytes, const char *what) {
  uint64_t holds =
      reader->gzip ? DEFLATE_BEST_RATIO * reader->file_bytes : reader->file_bytes - reader->offset;
  if (bytes > holds)
    TG_FAIL(TG_EDATA,
            "%s: offset %" PRIu64 ": expected %s (%" PRIu64 " bytes), found a file of %" PRIu64
            " bytes",
            reader->path, reader->offset, what, bytes, reader->file_bytes);
  return TG_OK;
}

tg_status tg_reader_end(tg_reader *reader) {
  uint64_t end = reader->offset;
  unsigned char more;
  size_t got;
  TG_TRY(read_some(reader, &more, 1, &got));
  if (got > 0)
    TG_FAIL(TG_EDATA, "%s: offset %" PRIu64 ": expected the file's end, found more bytes",
            reader->path, end);
  return TG_OK;
}

bool tg_file_exists(const char *folder, const char *name, const char *suffix) {
  char path[PATH_MAX];
  int length = snprintf(path, sizeof path, "%s/%s%s", folder, name, suffix);
  return length < (int)sizeof path && access(path, F_OK) == 0;
}
