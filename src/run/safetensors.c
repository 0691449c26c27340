#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "run/safetensors_parts.h"
#include "run/text.h"

/* The cap of the reference implementation. */
static const uint64_t MAX_HEADER = 100000000;

struct tg_safetensors {
  char *path;
  unsigned char *data; /* the file, mapped */
  size_t size;
  uint64_t begin;        /* where the tensors' bytes begin: offset in the file */
  json_t *header;        /* owns the names */
  tg_st_tensor *tensors; /* in the order of their bytes */
  size_t count;
  char *hash; /* made when first asked for: points at 33 chars, the first one 0 until then */
};

static tg_status bad(const tg_safetensors *f, uint64_t offset, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static tg_status bad(const tg_safetensors *f, uint64_t offset, const char *format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  return tg_status_set(TG_EDATA, "%s: offset %llu: %s", f->path, (unsigned long long)offset, text);
}

static tg_status map_file(tg_safetensors *f) {
  struct stat info;
  tg_status status = TG_OK;
  int fd = open(f->path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) TG_FAIL(TG_ENOINPUT, "%s: %s", f->path, strerror(errno));
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
    TG_DO(tg_status_set(TG_EDATA, "%s: not a file: expected safetensors", f->path));
  f->size = (size_t)info.st_size;
  if (f->size < 8) TG_DO(bad(f, 0, "expected 8 bytes of header length, found %zu", f->size));
  f->data = mmap(NULL, f->size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (f->data == MAP_FAILED) {
    f->data = NULL;
    TG_DO(tg_status_set(TG_ERUNTIME, "%s: cannot map: %s", f->path, strerror(errno)));
  }
done:
  close(fd);
  return status;
}

static tg_status read_header(tg_safetensors *f) {
  uint64_t length = 0;
  for (int i = 0; i < 8; i++) length |= (uint64_t)f->data[i] << 8 * i;
  if (length > MAX_HEADER || length > f->size - 8)
    return bad(f, 0, "the header has %llu bytes: expected at most %llu", (unsigned long long)length,
               (unsigned long long)(f->size - 8 < MAX_HEADER ? f->size - 8 : MAX_HEADER));
  if (length == 0 || f->data[8] != '{') return bad(f, 8, "expected '{'");
  json_error_t error;
  f->header = json_loadb((const char *)f->data + 8, length, JSON_REJECT_DUPLICATES, &error);
  if (!f->header) {
    char shown[TG_SHOWN_CHARS];
    return bad(f, 8 + (uint64_t)(error.position > 0 ? error.position : 0),
               "expected a header in JSON: %s", tg_text_shown(error.text, shown));
  }
  f->begin = 8 + length;
  return TG_OK;
}

static bool read_dtype(const json_t *value, tg_st_dtype *out) {
  for (size_t i = 0; json_is_string(value) && i < tg_st_kind_count; i++)
    if (strcmp(json_string_value(value), tg_st_kinds[i].name) == 0) {
      *out = (tg_st_dtype)i;
      return true;
    }
  return false;
}

static tg_status read_shape(const tg_safetensors *f, const char *name, const json_t *shape,
                            tg_st_tensor *out) {
  size_t most = sizeof out->dim / sizeof *out->dim;
  if (!json_is_array(shape) || json_array_size(shape) > most)
    return bad(f, 8, "tensor '%s': expected a shape of at most %zu dimensions", name, most);
  out->nd = (int)json_array_size(shape);
  for (int i = 0; i < out->nd; i++) {
    const json_t *dim = json_array_get(shape, (size_t)i);
    if (!json_is_integer(dim) || json_integer_value(dim) < 0)
      return bad(f, 8, "tensor '%s': dimension %d: expected an integer from 0", name, i);
    out->dim[i] = json_integer_value(dim);
  }
  return TG_OK;
}

static tg_status read_offsets(const tg_safetensors *f, const char *name, const json_t *offsets,
                              tg_st_tensor *out) {
  const json_t *lo = json_array_get(offsets, 0), *hi = json_array_get(offsets, 1);
  if (json_array_size(offsets) != 2 || !json_is_integer(lo) || !json_is_integer(hi))
    return bad(f, 8, "tensor '%s': expected two integers as data_offsets", name);
  json_int_t begin = json_integer_value(lo), end = json_integer_value(hi);
  uint64_t room = f->size - f->begin, bytes;
  if (begin < 0 || end < begin || (uint64_t)end > room)
    return bad(f, 8, "tensor '%s': data_offsets [%lld, %lld]: expected a range within 0 to %llu",
               name, (long long)begin, (long long)end, (unsigned long long)room);
  if (!tg_st_bytes(out->dtype, out->nd, out->dim, &bytes))
    return bad(f, 8, "tensor '%s': the product of its dimensions is too large", name);
  if ((uint64_t)(end - begin) != bytes)
    return bad(f, f->begin + (uint64_t)begin, "tensor '%s': expected %llu bytes, found %lld", name,
               (unsigned long long)bytes, (long long)(end - begin));
  out->data = f->data + f->begin + begin;
  out->bytes = bytes;
  return TG_OK;
}

static tg_status read_tensor(const tg_safetensors *f, const char *name, const json_t *entry,
                             tg_st_tensor *out) {
  char shown[TG_SHOWN_CHARS];
  tg_text_shown(name, shown);
  const json_t *dtype = json_object_get(entry, "dtype");
  out->name = name;
  if (json_object_size(entry) != 3 || !dtype)
    return bad(f, 8, "tensor '%s': expected dtype, shape and data_offsets", shown);
  if (!read_dtype(dtype, &out->dtype))
    return bad(f, 8, "tensor '%s': expected dtype F32, U64, I64, F64, BF16 or U8", shown);
  TG_TRY(read_shape(f, shown, json_object_get(entry, "shape"), out));
  return read_offsets(f, shown, json_object_get(entry, "data_offsets"), out);
}

static tg_status check_metadata(const tg_safetensors *f, json_t *metadata) {
  const char *key;
  json_t *value;
  if (!json_is_object(metadata)) return bad(f, 8, "__metadata__: expected an object");
  json_object_foreach(metadata, key, value) if (!json_is_string(value)) return bad(
      f, 8, "__metadata__: expected texts only");
  return TG_OK;
}

static int by_place(const void *a, const void *b) {
  const tg_st_tensor *x = a, *y = b;
  const char *p = x->data, *q = y->data;
  if (p != q) return p < q ? -1 : 1;
  return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* Every byte behind the header belongs to exactly one tensor. */
static tg_status check_places(const tg_safetensors *f) {
  uint64_t at = f->begin;
  char shown[TG_SHOWN_CHARS];
  for (size_t i = 0; i < f->count; i++) {
    const tg_st_tensor *t = &f->tensors[i];
    uint64_t begin = (uint64_t)((const unsigned char *)t->data - f->data);
    if (begin != at)
      return bad(f, begin, "tensor '%s' %s: expected it at offset %llu",
                 tg_text_shown(t->name, shown), begin < at ? "overlaps another" : "leaves a hole",
                 (unsigned long long)at);
    at = begin + t->bytes;
  }
  if (at != f->size)
    return bad(f, at, "expected the end of the file, found %llu more bytes",
               (unsigned long long)(f->size - at));
  return TG_OK;
}

static tg_status read_tensors(tg_safetensors *f) {
  const char *name;
  json_t *entry;
  f->tensors = calloc(json_object_size(f->header) + 1, sizeof *f->tensors);
  if (!f->tensors) TG_FAIL(TG_ERUNTIME, "%s: no memory", f->path);
  json_object_foreach(f->header, name, entry) {
    if (strcmp(name, "__metadata__") == 0)
      TG_TRY(check_metadata(f, entry));
    else
      TG_TRY(read_tensor(f, name, entry, &f->tensors[f->count++]));
  }
  qsort(f->tensors, f->count, sizeof *f->tensors, by_place);
  return check_places(f);
}

tg_status tg_safetensors_open(const char *path, tg_safetensors **out) {
  tg_status status = TG_OK;
  tg_safetensors *f = calloc(1, sizeof *f);
  if (!f || !(f->path = strdup(path)) || !(f->hash = calloc(1, 33)))
    TG_DO(tg_status_set(TG_ERUNTIME, "%s: no memory", path));
  TG_DO(map_file(f));
  TG_DO(read_header(f));
  TG_DO(read_tensors(f));
  *out = f;
  f = NULL;
done:
  tg_safetensors_close(f);
  return status;
}

void tg_safetensors_close(tg_safetensors *f) {
  if (!f) return;
  if (f->data) munmap(f->data, f->size);
  json_decref(f->header);
  free(f->tensors);
  free(f->hash);
  free(f->path);
  free(f);
}

size_t tg_safetensors_count(const tg_safetensors *f) {
  return f->count;
}

const tg_st_tensor *tg_safetensors_at(const tg_safetensors *f, size_t i) {
  return &f->tensors[i];
}

const tg_st_tensor *tg_safetensors_find(const tg_safetensors *f, const char *name) {
  for (size_t i = 0; i < f->count; i++)
    if (strcmp(f->tensors[i].name, name) == 0) return &f->tensors[i];
  return NULL;
}

const char *tg_safetensors_hash(const tg_safetensors *f) {
  if (!f->hash[0]) tg_hash_hex(f->data, f->size, f->hash);
  return f->hash;
}
