#include "tardigrad/config.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "run/config_parts.h"
#include "run/text.h"

enum { MAX_FILE = 1 << 20, MAX_NAME = 255 };

/* The command line has no lines. */
static const tg_origin command_line = {.name = NULL};

tg_status tg_origin_fail(const tg_origin *origin, const char *path, const char *format, ...) {
  char what[640], shown[TG_SHOWN_CHARS] = "", prefix[320];
  va_list args;
  va_start(args, format);
  vsnprintf(what, sizeof what, format, args);
  va_end(args);
  if (!origin->name) {
    snprintf(prefix, sizeof prefix, "command line");
  } else {
    tg_yaml_place place;
    TG_TRY(tg_yaml_locate(origin, path, &place));
    unsigned line = origin->line && !(path && place.line) ? origin->line : place.line;
    snprintf(prefix, sizeof prefix, line ? "%.250s:%u" : "%.250s", origin->name, line);
  }
  bool named = path && strcmp(path, TG_YAML_SECOND) != 0;
  if (named) tg_text_shown(path, shown);
  return tg_status_set(TG_ECONFIG, "%s: %s%s%s", prefix, shown, named ? ": " : "", what);
}

static tg_status set_defaults(tg_config *config) {
  static const tg_origin defaults = {.name = "defaults", .text = ""};
  for (size_t i = 0; i < tg_option_count; i++) {
    const tg_option *o = &tg_options[i];
    void *value = (char *)config + o->offset;
    if (o->kind == TG_OPTION_REAL && strcmp(o->initial, "NAN") == 0)
      *(double *)value = NAN;
    else
      TG_TRY(tg_option_assign(config, o, &defaults, o->initial));
  }
  return TG_OK;
}

static tg_status read_file(const char *path, char **text, size_t *length) {
  struct stat info;
  tg_status status = TG_OK;
  FILE *file = NULL;
  char *buffer = NULL;
  if (stat(path, &info) != 0) TG_FAIL(TG_ENOINPUT, "%s: %s", path, strerror(errno));
  if (S_ISDIR(info.st_mode))
    TG_FAIL(TG_ENOINPUT, "%s: a folder: expected a configuration file", path);
  if (!(file = fopen(path, "rb"))) TG_FAIL(TG_ENOINPUT, "%s: %s", path, strerror(errno));
  if (!(buffer = malloc(MAX_FILE + 1))) TG_DO(tg_status_set(TG_ERUNTIME, "no memory for %s", path));
  *length = fread(buffer, 1, MAX_FILE + 1, file);
  if (ferror(file)) TG_DO(tg_status_set(TG_ENOINPUT, "%s: %s", path, strerror(errno)));
  if (*length > MAX_FILE)
    TG_DO(tg_status_set(TG_ECONFIG, "%s: larger than %d bytes: not a configuration", path,
                        (int)MAX_FILE));
  *text = buffer;
  buffer = NULL;
done:
  free(buffer);
  fclose(file);
  return status;
}

/* ---- settings that contradict each other ---- */

typedef struct loaded {
  tg_config *config;
  const tg_origin *file;
  const char *const *assignments;
  int assignment_count;
} loaded;

/* Who is to be told: the command line if the key was given there, else the file. */
static const tg_origin *origin_of(const loaded *l, const char *name) {
  size_t length = strlen(name);
  for (int i = 0; i < l->assignment_count; i++)
    if (strncmp(l->assignments[i], name, length) == 0 && l->assignments[i][length] == '=')
      return &command_line;
  return l->file;
}

static tg_status check_name(const loaded *l) {
  const char *name = l->config->run_name;
  const tg_origin *origin = origin_of(l, "run.name");
  char shown[TG_SHOWN_CHARS];
  if (!*name) return tg_origin_fail(origin, "run.name", "empty: expected the name of a folder");
  if (strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
    return tg_origin_fail(origin, "run.name",
                          "'%s' is not the name of one folder (run.dir is "
                          "the folder that holds it)",
                          tg_text_shown(name, shown));
  if (strlen(name) > MAX_NAME)
    return tg_origin_fail(origin, "run.name", "longer than %d bytes", MAX_NAME);
  return TG_OK;
}

static tg_status check(const loaded *l) {
  const tg_config *c = l->config;
  TG_TRY(check_name(l));
  if (!*c->run_dir)
    return tg_origin_fail(origin_of(l, "run.dir"), "run.dir", "empty: expected a folder");
  if (strcmp(c->sim_order, "trace") == 0 && !*c->sim_trace)
    return tg_origin_fail(origin_of(l, "sim.order"), "sim.order",
                          "trace needs sim.trace, the trace.bin of a recorded run");
  if (c->sim_slow_workers > c->sim_workers)
    return tg_origin_fail(origin_of(l, "sim.slow_workers"), "sim.slow_workers",
                          "%lld slow workers are more than sim.workers=%lld",
                          (long long)c->sim_slow_workers, (long long)c->sim_workers);
  if (!isnan(c->optimizer_warmup_start) && c->optimizer_warmup_epochs == 0)
    return tg_origin_fail(origin_of(l, "optimizer.warmup_start"), "optimizer.warmup_start",
                          "needs optimizer.warmup_epochs above 0");
  return TG_OK;
}

/* ---- loading ---- */

static tg_status assign(tg_config *config, const char *assignment) {
  char name[128], shown[TG_SHOWN_CHARS];
  const char *equals = strchr(assignment, '=');
  if (!equals || equals == assignment)
    TG_FAIL(TG_EUSAGE, "command line: '%s': expected section.key=value",
            tg_text_shown(assignment, shown));
  snprintf(name, sizeof name, "%.*s", (int)(equals - assignment), assignment);
  const tg_option *option = tg_option_find(name);
  if (option) return tg_option_assign(config, option, &command_line, equals + 1);
  if (tg_section_known(name))
    return tg_origin_fail(&command_line, name, "a section: expected %s.key=value", name);
  const char *near = tg_option_nearest(name);
  if (near) return tg_origin_fail(&command_line, name, "unknown key (nearest: %s)", near);
  char known[384];
  return tg_origin_fail(&command_line, name, "unknown key (known: %s)",
                        tg_option_known(name, known, sizeof known));
}

static tg_status load(const tg_origin *file, const char *const *assignments, int count,
                      tg_config **out) {
  tg_status status = TG_OK;
  loaded l = {.file = file, .assignments = assignments, .assignment_count = count};
  tg_config *config = l.config = calloc(1, sizeof *config);
  if (!config) TG_FAIL(TG_ERUNTIME, "no memory for the configuration");
  TG_DO(set_defaults(config));
  TG_DO(tg_yaml_read(file, config));
  for (int i = 0; i < count; i++) TG_DO(assign(config, assignments[i]));
  TG_DO(check(&l));
  *out = config;
  config = NULL;
done:
  tg_config_free(config);
  return status;
}

tg_status tg_config_load(const char *path, const char *const *assignments, int count,
                         tg_config **out) {
  char *text = NULL;
  tg_origin file = {.name = path ? path : "defaults", .text = ""};
  if (path) TG_TRY(read_file(path, &text, &file.length));
  if (text) file.text = text;
  tg_status status = load(&file, assignments, count, out);
  free(text);
  return status;
}

tg_status tg_config_parse(const char *text, tg_config **out) {
  tg_origin origin = {.name = "configuration", .text = text, .length = strlen(text)};
  return load(&origin, NULL, 0, out);
}

void tg_config_free(tg_config *config) {
  for (size_t i = 0; config && i < tg_option_count; i++) {
    void *value = (char *)config + tg_options[i].offset;
    if (tg_options[i].kind == TG_OPTION_TEXT) free(*(char **)value);
    if (tg_options[i].kind == TG_OPTION_INTS) free(((tg_int_list *)value)->item);
    if (tg_options[i].kind == TG_OPTION_STEPS) free(((tg_step_list *)value)->item);
  }
  free(config);
}

tg_status tg_config_text(const tg_config *config, char **out) {
  return tg_yaml_write(config, out);
}

tg_status tg_config_write(const tg_config *config, FILE *out) {
  char *text = NULL;
  TG_TRY(tg_config_text(config, &text));
  bool written = fputs(text, out) >= 0 && fflush(out) == 0;
  free(text);
  if (!written) TG_FAIL(TG_ERUNTIME, "cannot write the configuration: %s", strerror(errno));
  return TG_OK;
}
