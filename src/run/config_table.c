#include <stdio.h>
#include <string.h>

#include "run/config_parts.h"
#include "tardigrad/registry.h"

#define ROW(section_, key_, kind_, initial_, min_, max_, values_, help_)                           \
  {.section = #section_,                                                                           \
   .key = #key_,                                                                                   \
   .name = #section_ "." #key_,                                                                    \
   .kind = kind_,                                                                                  \
   .offset = offsetof(tg_config, section_##_##key_),                                               \
   .initial = initial_,                                                                            \
   .min = min_,                                                                                    \
   .max = max_,                                                                                    \
   .values = values_,                                                                              \
   .help = help_},

/* Defaults are kept as they are spelled in options.def, and read like any other value. */
#define TG_TEXT(s, k, value, values, help)   ROW(s, k, TG_OPTION_TEXT, value, 0, 0, values, help)
#define TG_INT(s, k, value, min, max, help)  ROW(s, k, TG_OPTION_INT, #value, min, max, "", help)
#define TG_AUTO(s, k, max, help)             ROW(s, k, TG_OPTION_AUTO, "auto", 0, max, "", help)
#define TG_REAL(s, k, value, min, max, help) ROW(s, k, TG_OPTION_REAL, #value, min, max, "", help)
#define TG_BOOL(s, k, value, help)           ROW(s, k, TG_OPTION_BOOL, #value, 0, 0, "", help)
#define TG_INTS(s, k, value, min, max, help) ROW(s, k, TG_OPTION_INTS, value, min, max, "", help)
#define TG_STEPS(s, k, help)                 ROW(s, k, TG_OPTION_STEPS, "", 0, 1e9, "", help)
const tg_option tg_options[] = {
#include "tardigrad/options.def"
#include "tardigrad/options_end.h"
    {.section = "",
     .key = "resume",
     .name = "resume",
     .kind = TG_OPTION_TEXT,
     .offset = offsetof(tg_config, resume),
     .initial = "none",
     .values = "none|auto",
     .help = "auto: go on from the newest whole checkpoint of this run, or start"}};
const size_t tg_option_count = sizeof tg_options / sizeof *tg_options;

#define TG_SECTION(section, help) {#section, help},
const tg_section tg_sections[] = {
#include "tardigrad/options.def"
#include "tardigrad/options_end.h"
};
const size_t tg_section_count = sizeof tg_sections / sizeof *tg_sections;

enum { NAMES = sizeof tg_options / sizeof *tg_options };

const tg_option *tg_option_find(const char *name) {
  for (size_t i = 0; i < tg_option_count; i++)
    if (strcmp(tg_options[i].name, name) == 0) return &tg_options[i];
  return NULL;
}

bool tg_section_known(const char *name) {
  for (size_t i = 0; i < tg_section_count; i++)
    if (strcmp(tg_sections[i].name, name) == 0) return true;
  return false;
}

/* The option whose key is exactly `key`, in whatever section. */
static const char *by_key(const char *key) {
  for (size_t i = 0; i < tg_option_count; i++)
    if (strcmp(tg_options[i].key, key) == 0) return tg_options[i].name;
  return NULL;
}

/* The nearest option of one section: "sync.lamda" is rather sync.lambda than another section's key,
 * however short the whole name is. */
static const char *within(const char *section, size_t length, const char *key) {
  const char *keys[NAMES];
  size_t index[NAMES], count = 0;
  for (size_t i = 0; i < tg_option_count; i++) {
    const char *s = tg_options[i].section;
    if (strlen(s) != length || strncmp(s, section, length) != 0) continue;
    keys[count] = tg_options[i].key;
    index[count++] = i;
  }
  const char *near = tg_nearest(key, keys, count);
  for (size_t i = 0; near && i < count; i++)
    if (keys[i] == near) return tg_options[index[i]].name;
  return NULL;
}

const char *tg_option_nearest(const char *name) {
  const char *dot = strchr(name, '.'), *key = dot ? dot + 1 : name, *near;
  if ((near = by_key(key))) return near;
  if (dot && (near = within(name, (size_t)(dot - name), key))) return near;
  const char *names[NAMES];
  size_t count = 0;
  for (size_t i = 0; dot && i < tg_option_count; i++) names[count++] = tg_options[i].name;
  for (size_t i = 0; !dot && i < tg_section_count; i++) names[count++] = tg_sections[i].name;
  if (!dot) names[count++] = "resume";
  if ((near = tg_nearest(name, names, count))) return near;
  for (size_t i = count = 0; i < tg_option_count; i++) names[count++] = tg_options[i].key;
  near = tg_nearest(key, names, count);
  return near ? by_key(near) : NULL;
}

const char *tg_option_known(const char *name, char *out, size_t bytes) {
  char section[64] = "";
  size_t used = 0, length = strcspn(name, ".");
  if (length < sizeof section) memcpy(section, name, length);
  bool keys = strchr(name, '.') && tg_section_known(section);
  *out = 0;
  for (size_t i = 0; i < (keys ? tg_option_count : tg_section_count); i++) {
    if (keys && strcmp(tg_options[i].section, section) != 0) continue;
    const char *word = keys ? tg_options[i].key : tg_sections[i].name;
    int n = snprintf(out + used, bytes - used, "%s%s", used ? ", " : "", word);
    if (n < 0 || (size_t)n >= bytes - used) break;
    used += (size_t)n;
  }
  return out;
}
