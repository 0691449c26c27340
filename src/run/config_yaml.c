#include <cyaml/cyaml.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run/config_parts.h"

/* libcyaml reads and checks the structure: sections, keys, lists. The values stay words until
 * tg_option_set, because libcyaml 1.3 takes "128x" for 128 and any word for true, and because the
 * command line brings words as well. */
typedef struct list {
  void *item; /* char *[count], or of a schedule char *[count][2] */
  uint32_t count;
} list;

typedef struct words {
#define TG_TEXT(section, key, value, values, help)   char *section##_##key;
#define TG_INT(section, key, value, min, max, help)  char *section##_##key;
#define TG_AUTO(section, key, max, help)             char *section##_##key;
#define TG_REAL(section, key, value, min, max, help) char *section##_##key;
#define TG_BOOL(section, key, value, help)           char *section##_##key;
#define TG_INTS(section, key, value, min, max, help) list section##_##key;
#define TG_STEPS(section, key, help)                 list section##_##key;
#include "tardigrad/options.def"
#include "tardigrad/options_end.h"
  char *resume;
} words;

/* Where the words of each row of tg_options lie. */
#define AT(section, key)                             offsetof(words, section##_##key),
#define TG_TEXT(section, key, value, values, help)   AT(section, key)
#define TG_INT(section, key, value, min, max, help)  AT(section, key)
#define TG_AUTO(section, key, max, help)             AT(section, key)
#define TG_REAL(section, key, value, min, max, help) AT(section, key)
#define TG_BOOL(section, key, value, help)           AT(section, key)
#define TG_INTS(section, key, value, min, max, help) AT(section, key)
#define TG_STEPS(section, key, help)                 AT(section, key)
static const size_t words_offset[] = {
#include "tardigrad/options.def"
#include "tardigrad/options_end.h"
    offsetof(words, resume)};

/* ---- the schema ---- */

#define WORD_VALUE(flags_)                                                                         \
  { CYAML_VALUE_STRING(CYAML_FLAG_POINTER | (flags_), char, 0, CYAML_UNLIMITED) }
#define WORD_FIELD(key_, offset_, flags_)                                                          \
  { .key = key_, .data_offset = offset_, .value = WORD_VALUE(CYAML_FLAG_OPTIONAL | (flags_)) }
#define LIST_FIELD(key_, offset_, flags_, entry_, entry_bytes_)                                    \
  {                                                                                                \
    .key = key_, .data_offset = (offset_) + offsetof(list, item),                                  \
    .count_offset = (offset_) + offsetof(list, count), .count_size = sizeof(uint32_t), .value = {  \
      .type = CYAML_SEQUENCE,                                                                      \
      .flags = CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL | (flags_),                                \
      .data_size = entry_bytes_,                                                                   \
      .sequence = {.entry = entry_, .min = 0, .max = TG_MAX_ITEMS}                                 \
    }                                                                                              \
  }
/* Sections are mappings in the file, and parts of the same struct here. */
#define SECTION_FIELD(key_, fields_)                                                               \
  {                                                                                                \
    .key = key_, .data_offset = 0, .value = {                                                      \
      .type = CYAML_MAPPING,                                                                       \
      .flags = CYAML_FLAG_OPTIONAL,                                                                \
      .data_size = sizeof(words),                                                                  \
      .mapping = {.fields = fields_}                                                               \
    }                                                                                              \
  }

static const cyaml_schema_value_t entry_word = WORD_VALUE(0);
static const cyaml_schema_field_t step_fields[] = {
    {.key = "epoch", .data_offset = 0, .value = WORD_VALUE(0)},
    {.key = "factor", .data_offset = sizeof(char *), .value = WORD_VALUE(0)},
    CYAML_FIELD_END};
static const cyaml_schema_value_t entry_step = {.type = CYAML_MAPPING,
                                                .flags = CYAML_FLAG_FLOW,
                                                .data_size = 2 * sizeof(char *),
                                                .mapping = {.fields = step_fields}};

/* Where in `fields` each of them is; a section's begin behind BEFORE_. */
enum {
#define TG_SECTION(s, help)           BEFORE_##s,
#define TG_INNER(s, i, help)          AT_##s##_##i, BEFORE_##s##_##i,
#define TG_TEXT(s, k, v, values, h)   AT_##s##_##k,
#define TG_INT(s, k, v, min, max, h)  AT_##s##_##k,
#define TG_AUTO(s, k, max, h)         AT_##s##_##k,
#define TG_REAL(s, k, v, min, max, h) AT_##s##_##k,
#define TG_BOOL(s, k, v, h)           AT_##s##_##k,
#define TG_INTS(s, k, v, min, max, h) AT_##s##_##k,
#define TG_STEPS(s, k, h)             AT_##s##_##k,
#include "tardigrad/options.def"
#include "tardigrad/options_end.h"
};

/* All sections' fields in one array; a section's begin after the end mark of the one before. Free
 * text is written in quotes, so that other readers do not take it for a number or for nothing. */
#define FIELD(s, k, flags)   WORD_FIELD(#k, offsetof(words, s##_##k), flags),
#define TG_SECTION(s, help)  CYAML_FIELD_END,
#define TG_INNER(s, i, help) SECTION_FIELD(#i, &fields[BEFORE_##s##_##i + 1]), CYAML_FIELD_END,
#define TG_TEXT(s, k, v, values, h)                                                                \
  FIELD(s, k, sizeof(values) == 1 ? CYAML_FLAG_SCALAR_QUOTE_DOUBLE : CYAML_FLAG_DEFAULT)
#define TG_INT(s, k, v, min, max, h)  FIELD(s, k, CYAML_FLAG_DEFAULT)
#define TG_AUTO(s, k, max, h)         FIELD(s, k, CYAML_FLAG_DEFAULT)
#define TG_REAL(s, k, v, min, max, h) FIELD(s, k, CYAML_FLAG_DEFAULT)
#define TG_BOOL(s, k, v, h)           FIELD(s, k, CYAML_FLAG_DEFAULT)
#define TG_INTS(s, k, v, min, max, h)                                                              \
  LIST_FIELD(#k, offsetof(words, s##_##k), CYAML_FLAG_FLOW, &entry_word, sizeof(char *)),
#define TG_STEPS(s, k, h)                                                                          \
  LIST_FIELD(#k, offsetof(words, s##_##k), CYAML_FLAG_DEFAULT, &entry_step, 2 * sizeof(char *)),
static const cyaml_schema_field_t fields[] = {
#include "tardigrad/options.def"
#include "tardigrad/options_end.h"
    CYAML_FIELD_END};

#define TG_SECTION(s, help) SECTION_FIELD(#s, &fields[BEFORE_##s + 1]),
static const cyaml_schema_field_t top_fields[] = {
#include "tardigrad/options.def"
#include "tardigrad/options_end.h"
    WORD_FIELD("resume", offsetof(words, resume), CYAML_FLAG_DEFAULT), CYAML_FIELD_END};

static const cyaml_schema_value_t schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, words, top_fields)};

/* ---- what libcyaml complains about ---- */

typedef struct complaint {
  char what[256];  /* its first line, or "" */
  char where[256]; /* "optimizer.schedule[1]", from the lines of its backtrace */
  unsigned line;   /* of the innermost of these */
} complaint;

static void put_before(complaint *c, const char *name) {
  char rest[sizeof c->where];
  memcpy(rest, c->where, sizeof rest);
  snprintf(c->where, sizeof c->where, "%.60s%s%.150s", name, *rest && *rest != '[' ? "." : "",
           rest);
}

static void listen(cyaml_log_t level, void *context, const char *format, va_list args) {
  (void)level;
  complaint *c = context;
  char text[256], name[64];
  unsigned line = 0, entry;
  vsnprintf(text, sizeof text, format, args);
  text[strcspn(text, "\n")] = 0;
  if (sscanf(text, " in mapping field '%63[^']' (line: %u", name, &line) == 2) {
    put_before(c, name);
  } else if (sscanf(text, " in sequence entry '%u' (line: %u", &entry, &line) == 2) {
    snprintf(name, sizeof name, "[%u]", entry - 1);
    put_before(c, name);
  } else if (sscanf(text, " in mapping (line: %u", &line) != 1 && !strstr(text, "Backtrace") &&
             !*c->what) {
    snprintf(c->what, sizeof c->what, "%s", strncmp(text, "Load: ", 6) ? text : text + 6);
  }
  if (line && !c->line) c->line = line;
}

static bool begins(const char *text, const char *with) {
  return strncmp(text, with, strlen(with)) == 0;
}

static const char *kind_name(const char *event) {
  return begins(event, "MAPPING")    ? "a mapping of keys"
         : begins(event, "SEQUENCE") ? "a list"
                                     : "a single value";
}

/* A key or section is right, but for being written "train.batch: 3". */
static tg_status with_dots(const tg_origin *origin, const char *path) {
  char how[320] = "";
  size_t used = 0;
  for (const char *word = path, *dot; (dot = strchr(word, '.')); word = dot + 1)
    used += (size_t)snprintf(how + used, sizeof how - used, "'%.*s:', %s", (int)(dot - word), word,
                             strchr(dot + 1, '.') ? "in it " : "and in it ");
  return tg_origin_fail(origin, path, "keys are written below their section: %s'%s: ...'", how,
                        strrchr(path, '.') + 1);
}

static tg_status unknown_key(const tg_origin *origin, const char *where, const char *key) {
  char path[320], known[384];
  snprintf(path, sizeof path, "%s%s%s", where, *where ? "." : "", key);
  if (tg_option_find(path) || tg_section_known(path)) return with_dots(origin, path);
  if (strchr(where, '[')) return tg_origin_fail(origin, path, "unknown key (known: epoch, factor)");
  const char *near = tg_option_nearest(path);
  if (near) return tg_origin_fail(origin, path, "unknown key (nearest: %s)", near);
  return tg_origin_fail(origin, path, "unknown %s (known: %s)", *where ? "key" : "section",
                        tg_option_known(path, known, sizeof known));
}

static tg_status not_yaml(const tg_origin *origin) {
  tg_yaml_place place;
  TG_TRY(tg_yaml_locate(origin, NULL, &place));
  TG_FAIL(TG_ECONFIG, "%s:%u: not YAML: %s", origin->name, place.bad_line, place.problem);
}

static tg_status explain(const tg_origin *file, cyaml_err_t error, complaint *c) {
  tg_origin origin = *file;
  origin.line = c->line;
  const char *what = c->what, *found = strstr(what, ", got event: ");
  const char *where = *c->where ? c->where : NULL;
  if (error == CYAML_ERR_OOM) TG_FAIL(TG_ERUNTIME, "%s: no memory", file->name);
  if (error == CYAML_ERR_LIBYAML_PARSER) return not_yaml(file);
  if (begins(what, "Unexpected key: "))
    return unknown_key(&origin, c->where, what + strlen("Unexpected key: "));
  if (begins(what, "Mapping field already seen"))
    return tg_origin_fail(&origin, where, "given twice");
  if (begins(what, "Missing required mapping field: ")) {
    /* Only steps of the schedule have required keys; the backtrace names the key seen last. */
    if (where) c->where[strcspn(where, "]") + 1] = 0;
    return tg_origin_fail(&origin, where, "lacks '%s'",
                          what + strlen("Missing required mapping field: "));
  }
  if (begins(what, "Ignoring documents"))
    return tg_origin_fail(&origin, TG_YAML_SECOND, "a second document begins: expected one");
  if (error == CYAML_ERR_SEQUENCE_ENTRIES_MAX) {
    c->where[strcspn(c->where, "[")] = 0;
    return tg_origin_fail(&origin, c->where, "more than %d entries", TG_MAX_ITEMS);
  }
  if (error == CYAML_ERR_ALIAS)
    return tg_origin_fail(&origin, where, "aliases are not supported: write the value itself");
  if (begins(what, "Expecting ") && found)
    return tg_origin_fail(&origin, where, "expected %s, found %s",
                          kind_name(what + strlen("Expecting ")),
                          kind_name(found + strlen(", got event: ")));
  /* libcyaml's names for a key that is a list or a mapping itself. */
  if (error == CYAML_ERR_UNEXPECTED_EVENT || error == CYAML_ERR_INTERNAL_ERROR)
    return tg_origin_fail(&origin, NULL, "expected a single word as key");
  return tg_origin_fail(&origin, where, "%s", *what ? what : cyaml_strerror(error));
}

/* ---- reading and writing ---- */

static tg_status take(const tg_origin *origin, const words *w, tg_config *config) {
  for (size_t i = 0; i < tg_option_count; i++) {
    const tg_option *o = &tg_options[i];
    const void *p = (const char *)w + words_offset[i];
    if (o->kind == TG_OPTION_INTS || o->kind == TG_OPTION_STEPS) {
      const list *l = p;
      size_t per_item = o->kind == TG_OPTION_STEPS ? 2 : 1;
      /* libcyaml leaves an empty list as if it were not there. */
      tg_yaml_place place = {.line = 0};
      if (!l->item) TG_TRY(tg_yaml_locate(origin, o->name, &place));
      if (l->item || place.line)
        TG_TRY(tg_option_set(config, o, origin, l->item, l->count * per_item));
    } else if (*(char *const *)p) {
      TG_TRY(tg_option_set(config, o, origin, p, 1));
    }
  }
  return TG_OK;
}

tg_status tg_yaml_read(const tg_origin *origin, tg_config *config) {
  complaint c = {.what = ""};
  cyaml_config_t options = {.log_fn = listen,
                            .log_ctx = &c,
                            .mem_fn = cyaml_mem,
                            .log_level = CYAML_LOG_WARNING,
                            .flags = CYAML_CFG_NO_ALIAS};
  words *w = NULL;
  tg_yaml_place place;
  tg_status status = TG_OK;
  cyaml_err_t error = cyaml_load_data((const uint8_t *)origin->text, origin->length, &options,
                                      &schema, (cyaml_data_t **)&w, NULL);
  if (error != CYAML_OK || *c.what) TG_DO(explain(origin, error, &c));
  TG_DO(tg_yaml_locate(origin, NULL, &place));
  if (place.nul_line)
    TG_DO(tg_status_set(TG_ECONFIG, "%s:%u: a value holds a zero byte", origin->name,
                        place.nul_line));
  if (w) TG_DO(take(origin, w, config));
done:
  cyaml_free(&options, &schema, w, 0);
  return status;
}

static tg_status give(const tg_config *config, words *w) {
  for (size_t i = 0; i < tg_option_count; i++) {
    const tg_option *o = &tg_options[i];
    void *p = (char *)w + words_offset[i];
    char **text;
    size_t count;
    TG_TRY(tg_option_words(config, o, &text, &count));
    if (o->kind == TG_OPTION_INTS || o->kind == TG_OPTION_STEPS) {
      size_t per_item = o->kind == TG_OPTION_STEPS ? 2 : 1;
      *(list *)p = (list){text, (uint32_t)(count / per_item)};
    } else {
      *(char **)p = text[0];
      free(text);
    }
  }
  return TG_OK;
}

static void give_back(words *w) {
  for (size_t i = 0; i < tg_option_count; i++) {
    void *p = (char *)w + words_offset[i];
    if (tg_options[i].kind == TG_OPTION_INTS || tg_options[i].kind == TG_OPTION_STEPS)
      tg_words_free(((list *)p)->item);
    else
      free(*(char **)p);
  }
}

tg_status tg_yaml_write(const tg_config *config, char **out) {
  complaint c = {.what = ""};
  cyaml_config_t options = {.log_fn = listen,
                            .log_ctx = &c,
                            .mem_fn = cyaml_mem,
                            .log_level = CYAML_LOG_WARNING,
                            .flags = CYAML_CFG_STYLE_BLOCK};
  words w = {0};
  char *text = NULL;
  size_t length = 0;
  tg_status status = TG_OK;
  TG_DO(give(config, &w));
  cyaml_err_t error = cyaml_save_data(&text, &length, &options, &schema, &w, 0);
  if (error != CYAML_OK)
    TG_DO(tg_status_set(TG_ERUNTIME, "cannot write the configuration: %s %s", cyaml_strerror(error),
                        c.what));
  *out = strndup(text, length);
  if (!*out) TG_DO(tg_status_set(TG_ERUNTIME, "no memory for the configuration"));
done:
  cyaml_mem(NULL, text, 0);
  give_back(&w);
  return status;
}
