/* report_read.c - metrics.jsonl, read back line by line. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "run/report_parts.h"
#include "run/text.h"

enum { MAX_BINS = 1 << 20 };

/* What any line may hold. */
typedef struct line {
  tg_report_point point;
  double ranks, workers, threads, parameters, memory, train_samples, pushes, compute_s, wait_s,
      network_s, bytes, server_busy, nonfinite, dropped, path_clamps;
  const char *kind, *split, *version, *mpi, *host, *device, *weights_hash;
  json_t *histogram;
} line;

typedef enum { REAL, SIZE, COUNT, TEXT, LIST } value_kind; /* SIZE: a real from 0 */

typedef struct field {
  const char *key;
  value_kind kind;
  size_t offset;
} field;

static const field fields[] = {
    {"kind", TEXT, offsetof(line, kind)},
    {"wall_s", SIZE, offsetof(line, point.wall_s)},
    {"sim_s", SIZE, offsetof(line, point.sim_s)},
    {"update", COUNT, offsetof(line, point.update)},
    {"epoch", SIZE, offsetof(line, point.epoch)},
    {"loss", REAL, offsetof(line, point.loss)},
    {"error", SIZE, offsetof(line, point.error)},
    {"images_per_s", SIZE, offsetof(line, point.images_per_s)},
    {"correction_ratio", SIZE, offsetof(line, point.ratio)},
    {"split", TEXT, offsetof(line, split)},
    {"tardigrad", TEXT, offsetof(line, version)},
    {"mpi", TEXT, offsetof(line, mpi)},
    {"host", TEXT, offsetof(line, host)},
    {"device", TEXT, offsetof(line, device)},
    {"ranks", COUNT, offsetof(line, ranks)},
    {"train_samples", COUNT, offsetof(line, train_samples)},
    {"workers", COUNT, offsetof(line, workers)},
    {"threads", COUNT, offsetof(line, threads)},
    {"parameters", COUNT, offsetof(line, parameters)},
    {"memory_bytes", COUNT, offsetof(line, memory)},
    {"pushes", COUNT, offsetof(line, pushes)},
    {"compute_s", SIZE, offsetof(line, compute_s)},
    {"wait_s", SIZE, offsetof(line, wait_s)},
    {"network_s", SIZE, offsetof(line, network_s)},
    {"bytes", COUNT, offsetof(line, bytes)},
    {"nonfinite", COUNT, offsetof(line, nonfinite)},
    {"dropped", COUNT, offsetof(line, dropped)},
    {"path_clamps", COUNT, offsetof(line, path_clamps)},
    {"server_busy", SIZE, offsetof(line, server_busy)},
    {"weights_hash", TEXT, offsetof(line, weights_hash)},
    {"staleness_histogram", LIST, offsetof(line, histogram)},
};
enum { FIELDS = sizeof fields / sizeof *fields };

/* Where a message points to. */
typedef struct place {
  const char *path;
  unsigned long line;
} place;

static tg_status malformed(const place *at, const char *key, const char *expected) {
  TG_FAIL(TG_EDATA, "%s:%lu: %s: expected %s", at->path, at->line, key, expected);
}

static bool is_count(const json_t *value) {
  return json_is_integer(value) && json_integer_value(value) >= 0;
}

static tg_status check_list(const place *at, const field *f, const json_t *list) {
  if (!json_is_array(list) || json_array_size(list) > MAX_BINS)
    return malformed(at, f->key, "a list of counts");
  for (size_t i = 0; i < json_array_size(list); i++)
    if (!is_count(json_array_get(list, i))) return malformed(at, f->key, "a list of counts");
  return TG_OK;
}

static tg_status take_field(const place *at, const field *f, json_t *value, line *out) {
  void *to = (char *)out + f->offset;
  bool missing = !value || json_is_null(value);
  switch (f->kind) {
  case REAL:
    if (!missing && !json_is_number(value)) return malformed(at, f->key, "a number or null");
    *(double *)to = missing ? NAN : json_number_value(value);
    break;
  case SIZE:
    if (!missing && !(json_number_value(value) >= 0 && json_is_number(value)))
      return malformed(at, f->key, "a number from 0 or null");
    *(double *)to = missing ? NAN : json_number_value(value);
    break;
  case COUNT:
    if (!missing && !is_count(value)) return malformed(at, f->key, "a whole number from 0 or null");
    *(double *)to = missing ? NAN : (double)json_integer_value(value);
    break;
  case TEXT:
    if (!missing && !json_is_string(value)) return malformed(at, f->key, "a text");
    *(const char **)to = missing ? NULL : json_string_value(value);
    break;
  case LIST:
    if (!missing) TG_TRY(check_list(at, f, value));
    *(json_t **)to = missing ? NULL : value;
    break;
  }
  return TG_OK;
}

static tg_status add_point(tg_report_points *points, const tg_report_point *point) {
  if (points->count == points->room) {
    size_t room = points->room ? 2 * points->room : 64;
    tg_report_point *item = realloc(points->item, room * sizeof *item);
    if (!item) TG_FAIL(TG_ERUNTIME, "no memory for %zu lines of metrics", room);
    points->item = item;
    points->room = room;
  }
  points->item[points->count++] = *point;
  return TG_OK;
}

static tg_status keep_text(char **to, const char *text) {
  if (!text) return TG_OK;
  char *copy = strdup(text);
  if (!copy) TG_FAIL(TG_ERUNTIME, "no memory for a line of metrics");
  free(*to);
  *to = copy;
  return TG_OK;
}

static void forget_workers(tg_report_run *run) {
  free(run->worker);
  run->worker = NULL;
  run->worker_lines = 0;
  run->pushes = run->compute_s = run->wait_s = run->network_s = run->bytes = 0;
  run->pushes_least = INFINITY;
  run->pushes_most = 0;
}

void tg_report_forget_end(tg_report_run *run) {
  forget_workers(run);
  run->ended = false;
  run->end = (tg_report_point){NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
  run->server_busy = run->nonfinite = run->dropped = run->path_clamps = NAN;
  free(run->weights_hash);
  free(run->histogram);
  run->weights_hash = NULL;
  run->histogram = NULL;
  run->bins = 0;
}

/* A run that is continued starts again: an end before that was none. */
static tg_status take_start(tg_report_run *run, const line *l) {
  tg_report_forget_end(run);
  run->ranks = l->ranks;
  run->workers = l->workers;
  run->train_samples = l->train_samples;
  run->threads = l->threads;
  run->parameters = l->parameters;
  run->memory = l->memory;
  TG_TRY(keep_text(&run->version, l->version));
  TG_TRY(keep_text(&run->mpi, l->mpi));
  TG_TRY(keep_text(&run->host, l->host));
  return keep_text(&run->device, l->device);
}

static tg_status take_train(tg_report_run *run, const line *l) {
  run->nonfinite = l->nonfinite;
  run->dropped = l->dropped;
  run->path_clamps = l->path_clamps;
  return add_point(&run->train, &l->point);
}

static tg_status take_eval(tg_report_run *run, const line *l) {
  if (l->split && strcmp(l->split, tg_report_split(run)) != 0) return TG_OK;
  return add_point(&run->eval, &l->point);
}

static tg_status take_worker(tg_report_run *run, const line *l) {
  size_t n = run->worker_lines;
  tg_report_worker *more =
      n & (n - 1) ? run->worker : realloc(run->worker, (n ? 2 * n : 1) * sizeof *more);
  if (!more) TG_FAIL(TG_ERUNTIME, "no memory for %zu workers", n);
  run->worker = more;
  run->worker[run->worker_lines++] = (tg_report_worker){l->compute_s, l->wait_s, l->network_s};
  run->network_s += l->network_s;
  run->pushes += l->pushes;
  run->compute_s += l->compute_s;
  run->wait_s += l->wait_s;
  run->bytes += l->bytes;
  run->pushes_least = fmin(run->pushes_least, l->pushes);
  run->pushes_most = fmax(run->pushes_most, l->pushes);
  return TG_OK;
}

static tg_status take_end(tg_report_run *run, const line *l) {
  free(run->histogram);
  run->histogram = NULL;
  run->bins = json_array_size(l->histogram);
  run->histogram = calloc(run->bins + 1, sizeof *run->histogram);
  if (!run->histogram) TG_FAIL(TG_ERUNTIME, "no memory for %zu bins", run->bins);
  for (size_t i = 0; i < run->bins; i++)
    run->histogram[i] = (uint64_t)json_integer_value(json_array_get(l->histogram, i));
  run->ended = true;
  run->end = l->point;
  run->server_busy = l->server_busy;
  run->nonfinite = l->nonfinite;
  run->dropped = l->dropped;
  run->path_clamps = l->path_clamps;
  return keep_text(&run->weights_hash, l->weights_hash);
}

typedef struct handler {
  const char *kind;
  tg_status (*take)(tg_report_run *run, const line *l);
} handler;

static const handler handlers[] = {{"start", take_start},
                                   {"train", take_train},
                                   {"eval", take_eval},
                                   {"worker", take_worker},
                                   {"end", take_end}};

static tg_status take_line(const place *at, json_t *root, tg_report_run *run) {
  line l = {.kind = NULL};
  for (size_t i = 0; i < FIELDS; i++)
    TG_TRY(take_field(at, &fields[i], json_object_get(root, fields[i].key), &l));
  if (!l.kind) return malformed(at, "kind", "start, train, eval, worker or end");
  run->last = l.point;
  /* Kinds that this program does not know are a later one's. */
  for (size_t i = 0; i < sizeof handlers / sizeof *handlers; i++)
    if (strcmp(handlers[i].kind, l.kind) == 0) return handlers[i].take(run, &l);
  return TG_OK;
}

static tg_status not_json(const place *at, const json_error_t *error) {
  char shown[TG_SHOWN_CHARS];
  TG_FAIL(TG_EDATA, "%s:%lu: expected one JSON object: %s", at->path, at->line,
          tg_text_shown(error->text, shown));
}

static tg_status read_lines(FILE *file, place *at, tg_report_run *run) {
  tg_status status = TG_OK;
  char *text = NULL;
  size_t room = 0;
  json_t *root = NULL;
  for (ssize_t length; (length = getline(&text, &room, file)) != -1;) {
    json_error_t error;
    at->line++;
    root = json_loadb(text, (size_t)length, JSON_REJECT_DUPLICATES, &error);
    /* Lines are written whole: one without its end was cut by a crash, or is being written. */
    if (!root && text[length - 1] != '\n' && !run->ended) break;
    if (!root) TG_DO(not_json(at, &error));
    if (!json_is_object(root)) TG_DO(malformed(at, "line", "one JSON object"));
    TG_DO(take_line(at, root, run));
    json_decref(root);
    root = NULL;
  }
  if (ferror(file))
    status = tg_status_set(TG_ERUNTIME, "%s cannot be read: %s", at->path, strerror(errno));
done:
  json_decref(root);
  free(text);
  return status;
}

tg_status tg_report_read_metrics(const char *path, tg_report_run *run) {
  place at = {.path = path};
  FILE *file = fopen(path, "rb");
  if (!file) TG_FAIL(TG_ENOINPUT, "%s: %s", path, strerror(errno));
  tg_status status = read_lines(file, &at, run);
  fclose(file);
  return status;
}
