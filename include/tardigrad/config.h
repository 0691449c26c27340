/* config.h - the configuration: one struct, made from tardigrad/options.def.
 *
 * Field names are section_key: cfg->train_batch is train.batch, and of a section within a section
 * cfg->optimizer_gsgd_norm is optimizer.gsgd.norm. Precedence: command line, then file, then
 * default. */
#ifndef TARDIGRAD_CONFIG_H
#define TARDIGRAD_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tardigrad/optim.h"

typedef struct tg_int_list {
  int64_t *item;
  uint32_t count;
} tg_int_list;

typedef struct tg_step_list {
  tg_schedule_step *item;
  uint32_t count;
} tg_step_list;

typedef struct tg_config {
#define TG_TEXT(section, key, value, values, help)   char *section##_##key;
#define TG_INT(section, key, value, min, max, help)  int64_t section##_##key;
#define TG_AUTO(section, key, max, help)             int64_t section##_##key;
#define TG_REAL(section, key, value, min, max, help) double section##_##key;
#define TG_BOOL(section, key, value, help)           bool section##_##key;
#define TG_INTS(section, key, value, min, max, help) tg_int_list section##_##key;
#define TG_STEPS(section, key, help)                 tg_step_list section##_##key;
#include "tardigrad/options.def"
#include "tardigrad/options_end.h"
  char *resume; /* none or auto: the key without a section */
} tg_config;

/* tg_config_load - reads a YAML file (libcyaml) and applies count assignments "key=value" from the
 * command line on top. path NULL: defaults only. Lists on the command line: "256,128"; schedules:
 * "80:0.1,120:0.1"; of two assignments to one key the last one counts.
 * Errors: TG_ENOINPUT (no such file), TG_EUSAGE (an assignment without "="), TG_ECONFIG:
 * "file:line: section.key: what is wrong (nearest: ...)", or "command line: section.key: ...", for
 * an unknown key, a wrong type, a value out of range, a key given twice in a file, or settings that
 * contradict each other. Whether models, rules and so on exist is the registries' to say.
 * Memory: free with tg_config_free. */
TG_CHECKED tg_status tg_config_load(const char *path, const char *const *assignments, int count,
                                    tg_config **out);
void tg_config_free(tg_config *config);

/* tg_config_write - the resolved configuration as YAML that tg_config_load reads back to the same
 * values, with each section's keys in the order of options.def. TG_ERUNTIME on I/O errors. */
TG_CHECKED tg_status tg_config_write(const tg_config *config, FILE *out);
/* tg_config_text - the same as a malloc'ed string. */
TG_CHECKED tg_status tg_config_text(const tg_config *config, char **out);
/* tg_config_parse - reads such a text, e.g. one broadcast by rank 0. */
TG_CHECKED tg_status tg_config_parse(const char *text, tg_config **out);

/* tg_config_help - the table of keys for --help. tg_config_man - the same in roff for the man page.
 * tg_config_markdown - the same as a Markdown table for the README. */
void tg_config_help(FILE *out);
void tg_config_man(FILE *out);
void tg_config_markdown(FILE *out);

#endif
