#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tardigrad/metrics.h"

/* A record is { u64 length, u32 masked CRC of the length, data, u32 masked CRC of the data }; the
 * data is one tf.Event: { 1: double wall_time, 2: int64 step, 3: string file_version,
 * 5: Summary { 1: Value { 1: string tag, 2: float simple_value } } }.
 * Source: TensorFlow, core/lib/io/record_writer.h and core/util/event.proto. */
enum { MAX_TAG = 256, MAX_RECORD = 512 };

struct tg_events {
  int fd;
  char *path;
  uint32_t crc_table[256];
};

/* CRC-32C, Castagnoli: reflected polynomial 0x82F63B78. */
static void make_crc_table(uint32_t table[256]) {
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t c = i;
    for (int bit = 0; bit < 8; bit++) c = c & 1 ? c >> 1 ^ 0x82F63B78u : c >> 1;
    table[i] = c;
  }
}

/* Masked, because a CRC of data that holds CRCs is weak. */
static uint32_t masked_crc(const uint32_t table[256], const unsigned char *data, size_t bytes) {
  uint32_t c = 0xFFFFFFFFu;
  for (size_t i = 0; i < bytes; i++) c = table[(c ^ data[i]) & 255] ^ c >> 8;
  c = ~c;
  return (c >> 15 | c << 17) + 0xA282EAD8u;
}

/* Bytes of a record or message under construction; sizes are bounded by MAX_TAG. */
typedef struct bytes {
  unsigned char data[MAX_RECORD];
  size_t used;
} bytes;

static void put(bytes *b, const void *data, size_t count) {
  memcpy(b->data + b->used, data, count);
  b->used += count;
}

static void put_little(bytes *b, uint64_t value, int width) {
  for (int i = 0; i < width; i++) b->data[b->used++] = (unsigned char)(value >> 8 * i);
}

static void put_varint(bytes *b, uint64_t value) {
  for (; value >= 128; value >>= 7) b->data[b->used++] = (unsigned char)(value | 128);
  b->data[b->used++] = (unsigned char)value;
}

enum { VARINT = 0, FIXED64 = 1, LENGTH = 2, FIXED32 = 5 };
static void put_key(bytes *b, int field, int type) {
  b->data[b->used++] = (unsigned char)(field << 3 | type);
}

static void put_block(bytes *b, int field, const void *data, size_t count) {
  put_key(b, field, LENGTH);
  put_varint(b, count);
  put(b, data, count);
}

static void put_time(bytes *b, double wall_time) {
  uint64_t bits;
  memcpy(&bits, &wall_time, sizeof bits);
  put_key(b, 1, FIXED64);
  put_little(b, bits, 8);
}

static tg_status write_record(const tg_events *e, const bytes *event) {
  bytes record = {.used = 0};
  put_little(&record, event->used, 8);
  put_little(&record, masked_crc(e->crc_table, record.data, 8), 4);
  put(&record, event->data, event->used);
  put_little(&record, masked_crc(e->crc_table, event->data, event->used), 4);
  ssize_t n = write(e->fd, record.data, record.used);
  if (n != (ssize_t)record.used)
    TG_FAIL(TG_ERUNTIME, "%s: cannot write: %s", e->path, n < 0 ? strerror(errno) : "disk full");
  return TG_OK;
}

tg_status tg_events_open(const char *path, tg_events **out) {
  tg_status status = TG_OK;
  struct timespec now;
  tg_events *e = calloc(1, sizeof *e);
  if (!e) TG_FAIL(TG_ERUNTIME, "%s: no memory", path);
  e->path = strdup(path);
  e->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666);
  if (e->fd < 0 || !e->path)
    TG_DO(tg_status_set(TG_ERUNTIME, "%s: cannot create: %s", path, strerror(errno)));
  make_crc_table(e->crc_table);
  clock_gettime(CLOCK_REALTIME, &now);
  bytes event = {.used = 0};
  put_time(&event, (double)now.tv_sec);
  put_block(&event, 3, "brain.Event:2", strlen("brain.Event:2"));
  TG_DO(write_record(e, &event));
  *out = e;
  e = NULL;
done:
  tg_events_close(e);
  return status;
}

tg_status tg_events_scalar(tg_events *e, const char *tag, uint64_t step, double wall_time,
                           float value) {
  size_t length = strlen(tag);
  if (length > MAX_TAG) TG_FAIL(TG_ERUNTIME, "%s: the tag '%.40s...' is too long", e->path, tag);
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  bytes scalar = {.used = 0}, summary = {.used = 0}, event = {.used = 0};
  put_block(&scalar, 1, tag, length);
  put_key(&scalar, 2, FIXED32);
  put_little(&scalar, bits, 4);
  put_block(&summary, 1, scalar.data, scalar.used);
  put_time(&event, wall_time);
  put_key(&event, 2, VARINT);
  put_varint(&event, step);
  put_block(&event, 5, summary.data, summary.used);
  return write_record(e, &event);
}

void tg_events_close(tg_events *e) {
  if (!e) return;
  if (e->fd >= 0) close(e->fd);
  free(e->path);
  free(e);
}
