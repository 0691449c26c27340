#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run/config_parts.h"
#include "run/text.h"

enum { MAX_TEXT = 4095 };

static void *at(const tg_config *config, const tg_option *o) {
  return (char *)(uintptr_t)config + o->offset;
}

/* "-5 is not 0 or more", "0 is not 1 to 4096": numbers as people write them. */
static tg_status out_of_range(const tg_option *o, const tg_origin *origin, const char *path,
                              const char *word) {
  char shown[TG_SHOWN_CHARS], min[TG_REAL_CHARS], max[TG_REAL_CHARS];
  return tg_origin_fail(origin, path, "%s is out of range: %s to %s", tg_text_shown(word, shown),
                        tg_text_real(o->min, min), tg_text_real(o->max, max));
}

static tg_status read_int(const tg_option *o, const tg_origin *origin, const char *path,
                          const char *word, int64_t *out) {
  char shown[TG_SHOWN_CHARS];
  const char *digits = word + (*word == '-' || *word == '+');
  if (!*digits || strspn(digits, "0123456789") != strlen(digits))
    return tg_origin_fail(origin, path, "'%s' is not an integer", tg_text_shown(word, shown));
  errno = 0;
  long long value = strtoll(word, NULL, 10);
  if (errno || (double)value < o->min || (double)value > o->max)
    return out_of_range(o, origin, path, word);
  *out = value;
  return TG_OK;
}

static tg_status read_real(const tg_option *o, const tg_origin *origin, const char *path,
                           const char *word, double *out) {
  char shown[TG_SHOWN_CHARS], *end;
  errno = 0;
  double value = strtod(word, &end);
  /* strtod also takes blanks, hexadecimals, inf and nan. */
  if (end == word || *end || strspn(word, "0123456789+-.eE") != strlen(word))
    return tg_origin_fail(origin, path, "'%s' is not a number", tg_text_shown(word, shown));
  if (errno || value < o->min || value > o->max) return out_of_range(o, origin, path, word);
  *out = value;
  return TG_OK;
}

static bool is_one_of(const char *word, const char *values) {
  size_t length = strlen(word);
  for (const char *v = values; v; v = strchr(v, '|')) {
    v += *v == '|';
    if (strncmp(v, word, length) == 0 && (v[length] == '|' || !v[length])) return length > 0;
  }
  return false;
}

static tg_status read_text(const tg_option *o, const tg_origin *origin, const char *word,
                           char **out) {
  char shown[TG_SHOWN_CHARS];
  if (*o->values && !is_one_of(word, o->values))
    return tg_origin_fail(origin, o->name, "'%s' is not one of %s", tg_text_shown(word, shown),
                          o->values);
  if (strlen(word) > MAX_TEXT)
    return tg_origin_fail(origin, o->name, "longer than %d bytes", MAX_TEXT);
  for (const char *c = word; *c; c += tg_text_utf8(c))
    if (!tg_text_utf8(c) || (unsigned char)*c < 0x20 || *c == 0x7F)
      return tg_origin_fail(origin, o->name, "'%s' holds a control character or is not UTF-8",
                            tg_text_shown(word, shown));
  char *copy = strdup(word);
  if (!copy) TG_FAIL(TG_ERUNTIME, "no memory for %s", o->name);
  free(*out);
  *out = copy;
  return TG_OK;
}

static tg_status read_ints(const tg_option *o, const tg_origin *origin, char *const *words,
                           size_t count, tg_int_list *out) {
  tg_status status = TG_OK;
  int64_t *item = calloc(count + 1, sizeof *item);
  if (!item) TG_FAIL(TG_ERUNTIME, "no memory for %s", o->name);
  for (size_t i = 0; i < count; i++) {
    char path[128];
    snprintf(path, sizeof path, "%s[%zu]", o->name, i);
    TG_DO(read_int(o, origin, path, words[i], &item[i]));
  }
  free(out->item);
  *out = (tg_int_list){item, (uint32_t)count};
  item = NULL;
done:
  free(item);
  return status;
}

static tg_status read_steps(const tg_option *o, const tg_origin *origin, char *const *words,
                            size_t count, tg_step_list *out) {
  tg_status status = TG_OK;
  tg_schedule_step *item = calloc(count / 2 + 1, sizeof *item);
  if (!item) TG_FAIL(TG_ERUNTIME, "no memory for %s", o->name);
  for (size_t i = 0; i < count / 2; i++) {
    char path[128];
    snprintf(path, sizeof path, "%s[%zu].epoch", o->name, i);
    TG_DO(read_real(o, origin, path, words[2 * i], &item[i].epoch));
    if (i > 0 && item[i].epoch <= item[i - 1].epoch)
      TG_DO(tg_origin_fail(origin, path, "epochs must ascend: %s after %s", words[2 * i],
                           words[2 * i - 2]));
    snprintf(path, sizeof path, "%s[%zu].factor", o->name, i);
    TG_DO(read_real(o, origin, path, words[2 * i + 1], &item[i].factor));
    if (item[i].factor <= 0) TG_DO(tg_origin_fail(origin, path, "must be above 0"));
  }
  free(out->item);
  *out = (tg_step_list){item, (uint32_t)(count / 2)};
  item = NULL;
done:
  free(item);
  return status;
}

static tg_status read_bool(const tg_option *o, const tg_origin *origin, const char *word,
                           bool *out) {
  char shown[TG_SHOWN_CHARS];
  if (!is_one_of(word, "true|false"))
    return tg_origin_fail(origin, o->name, "'%s' is neither true nor false",
                          tg_text_shown(word, shown));
  *out = *word == 't';
  return TG_OK;
}

tg_status tg_option_set(tg_config *config, const tg_option *o, const tg_origin *origin,
                        char *const *words, size_t count) {
  void *value = at(config, o);
  size_t items = o->kind == TG_OPTION_STEPS ? count / 2 : count;
  if (items > TG_MAX_ITEMS)
    return tg_origin_fail(origin, o->name, "more than %d entries", TG_MAX_ITEMS);
  switch (o->kind) {
  case TG_OPTION_TEXT:
    return read_text(o, origin, words[0], value);
  case TG_OPTION_INT:
    return read_int(o, origin, o->name, words[0], value);
  case TG_OPTION_AUTO:
    return read_int(o, origin, o->name, strcmp(words[0], "auto") == 0 ? "0" : words[0], value);
  case TG_OPTION_REAL:
    return read_real(o, origin, o->name, words[0], value);
  case TG_OPTION_BOOL:
    return read_bool(o, origin, words[0], value);
  case TG_OPTION_INTS:
    return read_ints(o, origin, words, count, value);
  case TG_OPTION_STEPS:
    return read_steps(o, origin, words, count, value);
  }
  return TG_OK;
}

/* Cuts "80:0.1,120:0.1" or "256,128" into words, in place. TG_EUSAGE where the shape is wrong. */
static tg_status split(const tg_option *o, const tg_origin *origin, char *text, char ***out,
                       size_t *count) {
  size_t most = 2;
  for (const char *c = text; *c; c++) most += *c == ',' || *c == ':';
  char **words = calloc(most, sizeof *words);
  if (!words) TG_FAIL(TG_ERUNTIME, "no memory for %s", o->name);
  *out = words;
  *count = 0;
  bool steps = o->kind == TG_OPTION_STEPS;
  for (char *part = *text ? text : NULL, *next; part; part = next) {
    if ((next = strchr(part, ','))) *next++ = 0;
    words[(*count)++] = part;
    char *colon = strchr(part, ':');
    if (steps != !!colon || (colon && strchr(colon + 1, ':')))
      return tg_origin_fail(origin, o->name, "expected %s",
                            steps ? "epoch:factor,epoch:factor,..." : "integers like 256,128");
    if (!colon) continue;
    *colon = 0;
    words[(*count)++] = colon + 1;
  }
  return TG_OK;
}

tg_status tg_option_assign(tg_config *config, const tg_option *o, const tg_origin *origin,
                           const char *text) {
  char *copy = strdup(text), **words = NULL;
  size_t count = 1;
  tg_status status = TG_OK;
  if (!copy) TG_FAIL(TG_ERUNTIME, "no memory for %s", o->name);
  if (o->kind == TG_OPTION_INTS || o->kind == TG_OPTION_STEPS) {
    TG_DO(split(o, origin, copy, &words, &count));
    TG_DO(tg_option_set(config, o, origin, words, count));
  } else {
    TG_DO(tg_option_set(config, o, origin, &copy, 1));
  }
done:
  free(words);
  free(copy);
  return status;
}

void tg_words_free(char **words) {
  for (size_t i = 0; words && words[i]; i++) free(words[i]);
  free(words);
}

static char *int_word(int64_t value) {
  char text[TG_REAL_CHARS];
  snprintf(text, sizeof text, "%lld", (long long)value);
  return strdup(text);
}

static char *real_word(double value) {
  char text[TG_REAL_CHARS];
  return strdup(tg_text_real(value, text));
}

static size_t word_count(const tg_option *o, const void *value) {
  switch (o->kind) {
  case TG_OPTION_REAL:
    return !isnan(*(const double *)value);
  case TG_OPTION_INTS:
    return ((const tg_int_list *)value)->count;
  case TG_OPTION_STEPS:
    return 2 * (size_t)((const tg_step_list *)value)->count;
  default:
    return 1;
  }
}

static char *word_at(const tg_option *o, const void *value, size_t i) {
  switch (o->kind) {
  case TG_OPTION_TEXT:
    return strdup(*(char *const *)value);
  case TG_OPTION_INT:
    return int_word(*(const int64_t *)value);
  case TG_OPTION_AUTO:
    return *(const int64_t *)value ? int_word(*(const int64_t *)value) : strdup("auto");
  case TG_OPTION_REAL:
    return real_word(*(const double *)value);
  case TG_OPTION_BOOL:
    return strdup(*(const bool *)value ? "true" : "false");
  case TG_OPTION_INTS:
    return int_word(((const tg_int_list *)value)->item[i]);
  case TG_OPTION_STEPS: {
    const tg_schedule_step *step = &((const tg_step_list *)value)->item[i / 2];
    return real_word(i % 2 ? step->factor : step->epoch);
  }
  }
  return NULL;
}

tg_status tg_option_words(const tg_config *config, const tg_option *o, char ***words,
                          size_t *count) {
  const void *value = at(config, o);
  *count = word_count(o, value);
  *words = calloc(*count + 1, sizeof **words);
  if (!*words) TG_FAIL(TG_ERUNTIME, "no memory for %s", o->name);
  for (size_t i = 0; i < *count; i++) {
    (*words)[i] = word_at(o, value, i);
    if ((*words)[i]) continue;
    tg_words_free(*words);
    *words = NULL;
    TG_FAIL(TG_ERUNTIME, "no memory for %s", o->name);
  }
  return TG_OK;
}
