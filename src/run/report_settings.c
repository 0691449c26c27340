/* report_settings.c - configurations side by side: what differs, and whether it matters. */
#include <stdlib.h>
#include <string.h>

#include "run/config_parts.h"
#include "run/report_parts.h"

size_t tg_report_setting_count(void) {
  return tg_option_count;
}

const char *tg_report_setting_name(size_t i) {
  return tg_options[i].name;
}

static tg_status joined(const tg_config *config, const tg_option *option, char **out) {
  char **words = NULL;
  size_t count, bytes = 1;
  TG_TRY(tg_option_words(config, option, &words, &count));
  for (size_t i = 0; i < count; i++) bytes += strlen(words[i]) + 2;
  char *text = calloc(bytes, 1);
  if (text) {
    for (size_t i = 0; i < count; i++) {
      const char *glue = i == 0 ? "" : option->kind == TG_OPTION_STEPS && i % 2 ? ":" : ", ";
      strcat(strcat(text, glue), words[i]);
    }
  }
  tg_words_free(words);
  if (!text) TG_FAIL(TG_ERUNTIME, "no memory for %s", option->name);
  *out = text;
  return TG_OK;
}

tg_status tg_report_settings(const tg_config *config, char ***out) {
  char **setting = calloc(tg_option_count + 1, sizeof *setting);
  if (!setting) TG_FAIL(TG_ERUNTIME, "no memory for settings");
  *out = setting;
  for (size_t i = 0; i < tg_option_count; i++) TG_TRY(joined(config, &tg_options[i], &setting[i]));
  return TG_OK;
}

void tg_report_settings_free(char **setting) {
  for (size_t i = 0; setting && i < tg_option_count; i++) free(setting[i]);
  free(setting);
}

bool tg_report_matters(const tg_report_run *run, size_t i) {
  const tg_option *o = &tg_options[i];
  static const char *const never[] = {"run", "checkpoint", "metrics", "probe", ""};
  for (size_t k = 0; k < sizeof never / sizeof *never; k++)
    if (strcmp(o->section, never[k]) == 0) return false;
  if (strcmp(o->section, "sim") == 0) return strcmp(run->config->transport_name, "sim") == 0;
  return strcmp(o->name, "data.path") != 0;
}

static bool is_seed(size_t i) {
  return strcmp(tg_options[i].name, "sim.seed") == 0;
}

bool tg_report_same_problem(const tg_report_run *a, const tg_report_run *b) {
  if (!(a->workers == b->workers)) return false;
  for (size_t i = 0; i < tg_option_count; i++)
    if (tg_report_matters(a, i) && !is_seed(i) && strcmp(a->setting[i], b->setting[i]) != 0)
      return false;
  return true;
}
