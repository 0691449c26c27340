#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "run/safetensors_parts.h"

const tg_st_kind tg_st_kinds[] = {
    [TG_ST_F32] = {"F32", 4}, [TG_ST_U64] = {"U64", 8},   [TG_ST_I64] = {"I64", 8},
    [TG_ST_F64] = {"F64", 8}, [TG_ST_BF16] = {"BF16", 2}, [TG_ST_U8] = {"U8", 1}};
const size_t tg_st_kind_count = sizeof tg_st_kinds / sizeof *tg_st_kinds;

bool tg_st_bytes(tg_st_dtype dtype, int nd, const int64_t *dim, uint64_t *bytes) {
  *bytes = tg_st_kinds[dtype].bytes;
  bool empty = false;
  for (int i = 0; i < nd; i++) {
    if (dim[i] < 0) return false;
    empty |= dim[i] == 0;
  }
  for (int i = 0; i < nd && !empty; i++)
    if (__builtin_mul_overflow(*bytes, (uint64_t)dim[i], bytes)) return false;
  if (empty) *bytes = 0;
  return *bytes <= INT64_MAX;
}

void tg_hash_text(XXH128_hash_t hash, char out[33]) {
  XXH128_canonical_t bytes;
  XXH128_canonicalFromHash(&bytes, hash);
  for (size_t i = 0; i < sizeof bytes.digest; i++)
    snprintf(out + 2 * i, 3, "%02x", bytes.digest[i]);
}

void tg_hash_hex(const void *data, size_t bytes, char out[33]) {
  tg_hash_text(XXH3_128bits(data, bytes), out);
}

/* A file being written, and the hash of what it holds so far. */
typedef struct sink {
  const char *path;
  int fd;
  size_t bytes;
  XXH3_state_t *hash;
} sink;

static tg_status sink_write(sink *s, const void *data, size_t bytes) {
  const char *p = data;
  XXH3_128bits_update(s->hash, data, bytes);
  s->bytes += bytes;
  while (bytes > 0) {
    ssize_t n = write(s->fd, p, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) TG_FAIL(TG_ERUNTIME, "%s: cannot write: %s", s->path, strerror(errno));
    p += n;
    bytes -= (size_t)n;
  }
  return TG_OK;
}

/* The place of a tensor's bytes, and its entry in the header. */
static tg_status describe(const char *path, const tg_st_tensor *t, uint64_t *offset,
                          json_t *header) {
  uint64_t bytes;
  if (!tg_st_bytes(t->dtype, t->nd, t->dim, &bytes))
    TG_FAIL(TG_ERUNTIME, "%s: the shape of '%s' is impossible", path, t->name);
  if (strcmp(t->name, "__metadata__") == 0 || json_object_get(header, t->name))
    TG_FAIL(TG_ERUNTIME, "%s: two tensors are called '%s'", path, t->name);
  json_t *shape = json_array();
  for (int i = 0; i < t->nd; i++) json_array_append_new(shape, json_integer(t->dim[i]));
  json_t *entry =
      json_pack("{s:s, s:o, s:[I, I]}", "dtype", tg_st_kinds[t->dtype].name, "shape", shape,
                "data_offsets", (json_int_t)*offset, (json_int_t)(*offset + bytes));
  if (!entry || json_object_set_new(header, t->name, entry) != 0)
    TG_FAIL(TG_ERUNTIME, "%s: cannot describe '%s'", path, t->name);
  *offset += bytes;
  return TG_OK;
}

static tg_status write_header(sink *s, json_t *header) {
  char *text = json_dumps(header, JSON_COMPACT);
  if (!text) TG_FAIL(TG_ERUNTIME, "%s: no memory for the header", s->path);
  size_t length = strlen(text), padded = (length + 7) & ~(size_t)7;
  unsigned char prefix[8];
  for (int i = 0; i < 8; i++) prefix[i] = (unsigned char)((uint64_t)padded >> 8 * i);
  tg_status status = TG_OK;
  TG_DO(sink_write(s, prefix, sizeof prefix));
  TG_DO(sink_write(s, text, length));
  TG_DO(sink_write(s, "       ", padded - length));
done:
  free(text);
  return status;
}

/* The widest types first, so that every tensor is aligned to its type. */
static tg_status write_all(sink *s, const tg_st_tensor *tensors, size_t count, json_t *header) {
  uint64_t offset = 0;
  for (size_t width = 8; width > 0; width /= 2)
    for (size_t i = 0; i < count; i++)
      if (tg_st_kinds[tensors[i].dtype].bytes == width)
        TG_TRY(describe(s->path, &tensors[i], &offset, header));
  TG_TRY(write_header(s, header));
  for (size_t width = 8; width > 0; width /= 2)
    for (size_t i = 0; i < count; i++) {
      uint64_t bytes = 0;
      if (tg_st_kinds[tensors[i].dtype].bytes != width) continue;
      if (tg_st_bytes(tensors[i].dtype, tensors[i].nd, tensors[i].dim, &bytes) && bytes)
        TG_TRY(sink_write(s, tensors[i].data, bytes));
    }
  return TG_OK;
}

static json_t *new_header(const char *const (*metadata)[2], size_t count) {
  json_t *header = json_object(), *words = json_object();
  for (size_t i = 0; i < count; i++)
    json_object_set_new(words, metadata[i][0], json_string(metadata[i][1]));
  if (count)
    json_object_set_new(header, "__metadata__", words);
  else
    json_decref(words);
  return header;
}

tg_status tg_safetensors_write(const char *path, const tg_st_tensor *tensors, size_t count,
                               const char *const (*metadata)[2], size_t metadata_count,
                               size_t *bytes, char *hash_hex) {
  tg_status status = TG_OK;
  struct stat info;
  char part[4096];
  /* Written beside and renamed, unless the name is a pipe or a device. */
  bool direct = stat(path, &info) == 0 && !S_ISREG(info.st_mode);
  int n = snprintf(part, sizeof part, direct ? "%s" : "%s.part", path);
  if (n < 0 || (size_t)n >= sizeof part) TG_FAIL(TG_ERUNTIME, "%s: the path is too long", path);
  sink s = {.path = path, .fd = -1, .hash = XXH3_createState()};
  json_t *header = new_header(metadata, metadata_count);
  if (!s.hash || !header) TG_DO(tg_status_set(TG_ERUNTIME, "%s: no memory", path));
  XXH3_128bits_reset(s.hash);
  s.fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (s.fd < 0) TG_DO(tg_status_set(TG_ERUNTIME, "%s: cannot create: %s", path, strerror(errno)));
  TG_DO(write_all(&s, tensors, count, header));
  if (!direct && (fsync(s.fd) != 0 || rename(part, path) != 0))
    TG_DO(tg_status_set(TG_ERUNTIME, "%s: cannot write: %s", path, strerror(errno)));
  if (bytes) *bytes = s.bytes;
  if (hash_hex) tg_hash_text(XXH3_128bits_digest(s.hash), hash_hex);
done:
  if (s.fd >= 0) close(s.fd);
  if (status != TG_OK && s.fd >= 0 && !direct) unlink(part);
  json_decref(header);
  XXH3_freeState(s.hash);
  return status;
}
