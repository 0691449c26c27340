#include <stdio.h>
#include <string.h>

#include "run/config_parts.h"
#include "tardigrad/registry.h"

/* "run", or for a section within a section what TG_DOTTED_ says of it: that brings a second
 * argument along, and otherwise is just a word. */
#define SECOND(first, second, ...) second
#define SECOND_OF(...)             SECOND(__VA_ARGS__)
#define SECTION(section)           SECOND_OF(TG_DOTTED_##section, #section, )

#define ROW(section_, key_, kind_, initial_, min_, max_, values_, help_)                           \
  {.section = SECTION(section_),                                                                   \
   .key = #key_,                                                                                   \
   .name = SECTION(section_) "." #key_,                                                            \
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

#define TG_SECTION(section, help)    {#section, help},
#define TG_INNER(outer, inner, help) {#outer "." #inner, help},
const tg_section tg_sections[] = {
#include "tardigrad/options.def"
#include "tardigrad/options_end.h"
};
const size_t tg_section_count = sizeof tg_sections / sizeof *tg_sections;

enum { NAMES = sizeof tg_options / sizeof *tg_options + sizeof tg_sections / sizeof *tg_sections };

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

/* ---- names that are none ---- */

/* Options and sections, in this order. */
static const char *name_at(size_t i) {
  return i < tg_option_count ? tg_options[i].name : tg_sections[i - tg_option_count].name;
}

static const char *leaf(const char *name) {
  const char *dot = strrchr(name, '.');
  return dot ? dot + 1 : name;
}

/* What is called exactly `key`, in whatever section. */
static const char *by_leaf(const char *key) {
  for (size_t i = 0; i < NAMES; i++)
    if (strcmp(leaf(name_at(i)), key) == 0) return name_at(i);
  return NULL;
}

/* What has the last word of `name`, and is in a section whose name has the first: "optimizer.norm"
 * and "gsgd.norm" are rather optimizer.gsgd.norm than model.norm. */
static const char *by_ends(const char *name) {
  char first[64];
  int length = snprintf(first, sizeof first, "%.*s", (int)strcspn(name, ".") + 1, name);
  if (length >= (int)sizeof first || !strchr(name, '.')) return NULL;
  for (size_t i = 0; i < NAMES; i++)
    if (strcmp(leaf(name_at(i)), leaf(name)) == 0 && strstr(name_at(i), first)) return name_at(i);
  return NULL;
}

static const char *nearest_leaf(const char *key) {
  const char *keys[NAMES];
  for (size_t i = 0; i < NAMES; i++) keys[i] = leaf(name_at(i));
  const char *near = tg_nearest(key, keys, NAMES);
  return near ? by_leaf(near) : NULL;
}

/* How much of a name is the innermost section that there is, with its dot: 15 of
 * "optimizer.gsgd.nrom", 10 of "optimizer.gsdg.norm". */
static size_t known_section(const char *name) {
  char section[64];
  size_t known = 0;
  for (const char *dot = strchr(name, '.'); dot; dot = strchr(dot + 1, '.')) {
    snprintf(section, sizeof section, "%.*s", (int)(dot - name), name);
    if (tg_section_known(section)) known = (size_t)(dot - name) + 1;
  }
  return known;
}

/* The nearest of what begins as `name` does: "sync.lamda" is rather sync.lambda than another
 * section's key, however short the whole name is. */
static const char *nearest_behind(const char *name, size_t length) {
  const char *rest[NAMES];
  size_t count = 0;
  for (size_t i = 0; i < NAMES; i++)
    if (strncmp(name_at(i), name, length) == 0) rest[count++] = name_at(i) + length;
  const char *near = tg_nearest(name + length, rest, count);
  return near ? near - length : NULL;
}

const char *tg_option_nearest(const char *name) {
  const char *near = by_ends(name);
  if (!near) near = by_leaf(leaf(name));
  if (!near) near = nearest_behind(name, known_section(name));
  return near ? near : nearest_leaf(leaf(name));
}

const char *tg_option_known(const char *name, char *out, size_t bytes) {
  size_t used = 0, length = known_section(name);
  *out = 0;
  for (size_t i = 0; i < NAMES; i++) {
    const char *word = name_at(i) + length;
    if (strncmp(name_at(i), name, length) != 0 || strchr(word, '.')) continue;
    if (length == 0 && !tg_section_known(word)) continue;
    int n = snprintf(out + used, bytes - used, "%s%s", used ? ", " : "", word);
    if (n < 0 || (size_t)n >= bytes - used) break;
    used += (size_t)n;
  }
  return out;
}
