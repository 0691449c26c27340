/* config_parts.h - what the files of the configuration share: the rows of options.def as a table,
 * and where a value was read. */
#ifndef RUN_CONFIG_PARTS_H
#define RUN_CONFIG_PARTS_H

#include <stdbool.h>
#include <stddef.h>

#include "tardigrad/config.h"

enum { TG_MAX_ITEMS = 1024 }; /* of a list */

typedef enum {
  TG_OPTION_TEXT,
  TG_OPTION_INT,
  TG_OPTION_AUTO,
  TG_OPTION_REAL,
  TG_OPTION_BOOL,
  TG_OPTION_INTS,
  TG_OPTION_STEPS
} tg_option_kind;

typedef struct tg_option {
  const char *section, *key; /* section "" for the key without one */
  const char *name;          /* "section.key" */
  tg_option_kind kind;
  size_t offset;       /* of the value in tg_config */
  const char *initial; /* the default as text; "NAN": not set */
  double min, max;     /* of numbers */
  const char *values;  /* of text: "a|b|c", or "" for any */
  const char *help;
} tg_option;

typedef struct tg_section {
  const char *name, *help;
} tg_section;

extern const tg_option tg_options[];
extern const size_t tg_option_count;
extern const tg_section tg_sections[];
extern const size_t tg_section_count;

/* tg_option_find - the row of that name, or NULL. */
const tg_option *tg_option_find(const char *name);
/* tg_option_nearest - what the writer of an unknown "section.key" most likely meant: the name of an
 * option or of a section, or NULL. */
const char *tg_option_nearest(const char *name);
bool tg_section_known(const char *name);
/* tg_option_known - "name, dir, seed": the keys of the section of `name`, or if there is no such
 * section all sections. Returns out. */
const char *tg_option_known(const char *name, char *out, size_t bytes);

/* Where values are written: a file's text, or the command line. */
typedef struct tg_origin {
  const char *name; /* as messages show it; NULL: the command line */
  const char *text;
  size_t length;
  unsigned line; /* shown where a key cannot be located in the text; 0: none */
} tg_origin;

/* tg_origin_fail - TG_ECONFIG with "file:line: path: message", or "command line: path: message".
 * path NULL: the whole file; TG_YAML_SECOND: the second document in it. */
#define TG_YAML_SECOND "---"
tg_status tg_origin_fail(const tg_origin *origin, const char *path, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* tg_option_set - gives an option the value written as `count` words: one, or for lists one per
 * integer and two (epoch, factor) per step of a schedule. TG_ECONFIG as from `origin`. */
TG_CHECKED tg_status tg_option_set(tg_config *config, const tg_option *option,
                                   const tg_origin *origin, char *const *words, size_t count);
/* tg_option_assign - the same from the text of a command line or of a default. */
TG_CHECKED tg_status tg_option_assign(tg_config *config, const tg_option *option,
                                      const tg_origin *origin, const char *text);
/* tg_option_words - the value as malloc'ed words that tg_option_set reads back, ended by NULL;
 * *count = 0 for a number that is not set and for an empty list. */
TG_CHECKED tg_status tg_option_words(const tg_config *config, const tg_option *option,
                                     char ***words, size_t *count);
void tg_words_free(char **words);

/* ---- YAML ---- */

/* tg_yaml_read - sets every option that is written in the file. */
TG_CHECKED tg_status tg_yaml_read(const tg_origin *origin, tg_config *config);
/* tg_yaml_write - every option that is set, as a malloc'ed text. */
TG_CHECKED tg_status tg_yaml_write(const tg_config *config, char **out);

typedef struct tg_yaml_place {
  unsigned line;     /* of the key that was asked for, the last one if it occurs twice; or 0 */
  unsigned nul_line; /* of a zero byte within a value, or 0 */
  unsigned bad_line; /* where the text stops being YAML, or 0 */
  char problem[128]; /* and why */
} tg_yaml_place;

/* tg_yaml_locate - looks for the key at `path` ("optimizer.schedule[1].factor") in a text of any
 * structure; NULL: where it begins; TG_YAML_SECOND: where its second document does. */
TG_CHECKED tg_status tg_yaml_locate(const tg_origin *origin, const char *path, tg_yaml_place *out);

#endif
