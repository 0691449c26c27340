#include "tardigrad/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "run/text.h"
#include "tardigrad/log.h"

enum { MAX_PATH = 4096, MAX_SCALARS = 32, MAX_SCALAR_NAME = 64 };

typedef struct scalar {
  char tag[MAX_SCALAR_NAME];
  float value;
} scalar;

struct tg_metrics {
  char path[MAX_PATH];
  int fd;
  uint64_t bytes; /* of whole lines */
  char *line;     /* under construction; its memory is used again */
  size_t used, room;
  bool no_memory, reported;
  tg_events *events; /* or NULL */
  char kind[16];
  uint64_t update;
  scalar scalars[MAX_SCALARS];
  size_t scalar_count;
};

/* ---- the file ---- */

/* The length of the whole lines among the first `limit` bytes. */
static tg_status whole_lines(const tg_metrics *m, uint64_t limit, uint64_t *out) {
  char block[4096];
  while (limit > 0) {
    size_t n = limit < sizeof block ? (size_t)limit : sizeof block;
    if (pread(m->fd, block, n, (off_t)(limit - n)) != (ssize_t)n)
      TG_FAIL(TG_ERUNTIME, "%s: cannot read: %s", m->path, strerror(errno));
    const char *end = memrchr(block, '\n', n);
    if (end) {
      *out = limit - n + (uint64_t)(end - block) + 1;
      return TG_OK;
    }
    limit -= n;
  }
  *out = 0;
  return TG_OK;
}

/* Lines behind a checkpoint will be written again. After a power cut the file may also be shorter
 * than the checkpoint says: its last lines were not synced. */
static tg_status cut_back(tg_metrics *m, uint64_t keep) {
  struct stat info;
  if (fstat(m->fd, &info) != 0) TG_FAIL(TG_ERUNTIME, "%s: %s", m->path, strerror(errno));
  uint64_t size = (uint64_t)info.st_size;
  if (size < keep)
    tg_warn("%s: %llu bytes, the checkpoint says %llu: lines were lost", m->path,
            (unsigned long long)size, (unsigned long long)keep);
  TG_TRY(whole_lines(m, size < keep ? size : keep, &m->bytes));
  if (ftruncate(m->fd, (off_t)m->bytes) != 0)
    TG_FAIL(TG_ERUNTIME, "%s: cannot cut it back: %s", m->path, strerror(errno));
  return TG_OK;
}

static tg_status open_events(const char *run, tg_events **out) {
  char host[128] = "localhost", path[MAX_PATH];
  gethostname(host, sizeof host - 1);
  int n = snprintf(path, sizeof path, "%s/events.out.tfevents.%lld.%s.%d", run,
                   (long long)time(NULL), host, (int)getpid());
  if (n < 0 || (size_t)n >= sizeof path) TG_FAIL(TG_ERUNTIME, "%s: the path is too long", run);
  return tg_events_open(path, out);
}

tg_status tg_metrics_open(const char *run, uint64_t keep_bytes, bool tensorboard,
                          tg_metrics **out) {
  tg_status status = TG_OK;
  bool anew = keep_bytes == UINT64_MAX;
  tg_metrics *m = calloc(1, sizeof *m);
  if (!m) TG_FAIL(TG_ERUNTIME, "no memory for metrics");
  m->fd = -1;
  int n = snprintf(m->path, sizeof m->path, "%s/metrics.jsonl", run);
  if (n < 0 || (size_t)n >= sizeof m->path)
    TG_DO(tg_status_set(TG_ERUNTIME, "%s: the path is too long", run));
  m->fd = open(m->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | (anew ? O_TRUNC : 0), 0666);
  if (m->fd < 0) TG_DO(tg_status_set(TG_ERUNTIME, "%s: cannot open: %s", m->path, strerror(errno)));
  if (!anew && keep_bytes != TG_METRICS_ALL) TG_DO(cut_back(m, keep_bytes));
  if (tensorboard) TG_DO(open_events(run, &m->events));
  *out = m;
  m = NULL;
done:
  tg_metrics_close(m);
  return status;
}

tg_status tg_metrics_cut(tg_metrics *m, uint64_t keep_bytes) {
  return cut_back(m, keep_bytes);
}

void tg_metrics_close(tg_metrics *m) {
  if (!m) return;
  if (m->fd >= 0) close(m->fd);
  tg_events_close(m->events);
  free(m->line);
  free(m);
}

uint64_t tg_metrics_bytes(const tg_metrics *m) {
  return m->bytes;
}

/* ---- a line ---- */

static void append(tg_metrics *m, const char *text, size_t length) {
  if (m->used + length > m->room) {
    size_t room = 2 * (m->used + length) + 256;
    char *more = realloc(m->line, room);
    if (!more) {
      m->no_memory = true;
      return;
    }
    m->line = more;
    m->room = room;
  }
  memcpy(m->line + m->used, text, length);
  m->used += length;
}

static void append_format(tg_metrics *m, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void append_format(tg_metrics *m, const char *format, ...) {
  char text[128];
  va_list args;
  va_start(args, format);
  int n = vsnprintf(text, sizeof text, format, args);
  va_end(args);
  append(m, text, (size_t)n);
}

/* Text in JSON's quotes. What is no UTF-8 is shown as '?', for it has no place in JSON. */
static void append_quoted(tg_metrics *m, const char *text) {
  char *copy = strdup(text);
  for (char *c = copy; c && *c;) {
    size_t bytes = tg_text_utf8(c);
    if (!bytes) *c = '?';
    c += bytes ? bytes : 1;
  }
  json_t *string = copy ? json_string(copy) : NULL;
  char *quoted = string ? json_dumps(string, JSON_ENCODE_ANY) : NULL;
  if (quoted)
    append(m, quoted, strlen(quoted));
  else
    m->no_memory = true;
  free(quoted);
  json_decref(string);
  free(copy);
}

static void append_key(tg_metrics *m, const char *key) {
  append(m, m->used > 1 ? "," : "", m->used > 1);
  append_quoted(m, key);
  append(m, ":", 1);
}

static void append_real(tg_metrics *m, const char *key, double value) {
  char text[TG_REAL_CHARS];
  append_key(m, key);
  const char *shown = isfinite(value) ? tg_text_real(value, text) : "null";
  append(m, shown, strlen(shown));
}

static void note_scalar(tg_metrics *m, const char *key, double value) {
  bool shown = strcmp(m->kind, "train") == 0 || strcmp(m->kind, "eval") == 0;
  if (!m->events || !shown || m->scalar_count == MAX_SCALARS) return;
  scalar *s = &m->scalars[m->scalar_count++];
  snprintf(s->tag, sizeof s->tag, "%s/%s", m->kind, key);
  s->value = (float)value;
}

void tg_metrics_begin(tg_metrics *m, const char *kind, double wall_s, uint64_t update,
                      double epoch) {
  m->used = 0;
  m->no_memory = false;
  m->scalar_count = 0;
  m->update = update;
  snprintf(m->kind, sizeof m->kind, "%s", kind);
  append(m, "{", 1);
  tg_metrics_text(m, "kind", kind);
  append_real(m, "wall_s", wall_s);
  append_key(m, "update");
  append_format(m, "%llu", (unsigned long long)update);
  append_real(m, "epoch", epoch);
}

void tg_metrics_text(tg_metrics *m, const char *key, const char *value) {
  append_key(m, key);
  append_quoted(m, value);
}

void tg_metrics_real(tg_metrics *m, const char *key, double value) {
  append_real(m, key, value);
  note_scalar(m, key, value);
}

void tg_metrics_count(tg_metrics *m, const char *key, uint64_t value) {
  append_key(m, key);
  append_format(m, "%llu", (unsigned long long)value);
  note_scalar(m, key, (double)value);
}

void tg_metrics_counts(tg_metrics *m, const char *key, const uint64_t *values, uint64_t count) {
  append_key(m, key);
  append(m, "[", 1);
  for (uint64_t i = 0; i < count; i++)
    append_format(m, i ? ",%llu" : "%llu", (unsigned long long)values[i]);
  append(m, "]", 1);
}

/* One write, so that a reader never sees half a line; where it did not fit, none of it stays. */
static tg_status write_line(tg_metrics *m) {
  append(m, "}\n", 2);
  if (m->no_memory) TG_FAIL(TG_ERUNTIME, "%s: no memory for a line", m->path);
  ssize_t n = write(m->fd, m->line, m->used);
  if (n == (ssize_t)m->used) {
    m->bytes += m->used;
    return TG_OK;
  }
  tg_status status = tg_status_set(TG_ERUNTIME, "%s: cannot write: %s", m->path,
                                   n < 0 ? strerror(errno) : "disk full");
  if (n > 0 && ftruncate(m->fd, (off_t)m->bytes) != 0)
    return tg_status_set(TG_ERUNTIME, "%s: half a line was written: %s", m->path, strerror(errno));
  return status;
}

static tg_status write_scalars(tg_metrics *m) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  double wall_time = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
  for (size_t i = 0; i < m->scalar_count; i++)
    TG_TRY(
        tg_events_scalar(m->events, m->scalars[i].tag, m->update, wall_time, m->scalars[i].value));
  return TG_OK;
}

tg_status tg_metrics_end(tg_metrics *m) {
  tg_status status = write_line(m);
  if (status == TG_OK) status = write_scalars(m);
  bool repeated = status != TG_OK && m->reported;
  m->reported |= status != TG_OK;
  return repeated ? TG_OK : status;
}
