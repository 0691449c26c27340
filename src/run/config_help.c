#include <ctype.h>
#include <math.h>
#include <string.h>

#include "run/config_parts.h"
#include "run/text.h"

enum { LINE = 79, HELP_COLUMN = 28 };

/* From here on a bound is there to catch slips, and of no interest to a reader. */
static const double UNBOUNDED = 1e6;

static const char *range(const tg_option *o, const char *what, char out[96]) {
  char min[TG_REAL_CHARS], max[TG_REAL_CHARS];
  tg_text_real(o->min, min);
  tg_text_real(o->max, max);
  if (o->max >= UNBOUNDED)
    snprintf(out, 96, "%s from %s", what, min);
  else
    snprintf(out, 96, "%s %s to %s", what, min, max);
  return out;
}

static const char *values_of(const tg_option *o, char out[96]) {
  switch (o->kind) {
  case TG_OPTION_TEXT:
    return *o->values ? o->values : "text";
  case TG_OPTION_INT:
    return range(o, "integer", out);
  case TG_OPTION_AUTO:
    return range(o, "auto, or integer", out);
  case TG_OPTION_REAL:
    return range(o, "number", out);
  case TG_OPTION_BOOL:
    return "true|false";
  case TG_OPTION_INTS:
    return "list of integers";
  case TG_OPTION_STEPS:
    return "list of {epoch, factor}";
  }
  return "";
}

static const char *default_of(const tg_option *o) {
  if (strcmp(o->initial, "NAN") == 0) return "not set";
  return *o->initial ? o->initial : "empty";
}

static bool begins_section(size_t i) {
  return i == 0 || strcmp(tg_options[i].section, tg_options[i - 1].section) != 0;
}

static const char *section_help(const char *name) {
  for (size_t i = 0; i < tg_section_count; i++)
    if (strcmp(tg_sections[i].name, name) == 0) return tg_sections[i].help;
  return "without a section";
}

/* Writes words from `column` on, breaking lines before LINE; what is in brackets at the end stays
 * together where a line can hold it. */
static void wrap(FILE *out, const char *text, int column) {
  int at = column;
  for (const char *word = text; *word;) {
    int length = (int)strcspn(word, " "), rest = (int)strlen(word);
    if (*word == '[' && rest <= LINE - column) length = rest;
    if (at > column && at + 1 + length > LINE) {
      fprintf(out, "\n%*s", column, "");
      at = column;
    }
    at += fprintf(out, "%s%.*s", at > column ? " " : "", length, word);
    word += length;
    word += strspn(word, " ");
  }
  fputc('\n', out);
}

void tg_config_help(FILE *out) {
  char buffer[96], text[512];
  fprintf(out, "%-*s%s\n\n", HELP_COLUMN, "section.key=value", "meaning [values; default]");
  for (size_t i = 0; i < tg_option_count; i++) {
    const tg_option *o = &tg_options[i];
    if (begins_section(i))
      fprintf(out, "%s%s%s%s\n", i ? "\n" : "", o->section, *o->section ? ": " : "",
              section_help(o->section));
    fprintf(out, "  %-*s", HELP_COLUMN - 2, o->name);
    snprintf(text, sizeof text, "%s [%s; %s]", o->help, values_of(o, buffer), default_of(o));
    wrap(out, text, HELP_COLUMN);
  }
}

/* Text for roff: no line may begin with its control characters. */
static void roff(FILE *out, const char *text) {
  if (*text == '.' || *text == '\'') fputs("\\&", out);
  for (; *text; text++) {
    if (*text == '-')
      fputs("\\-", out);
    else if (*text == '\\')
      fputs("\\e", out);
    else
      fputc(*text, out);
  }
}

void tg_config_man(FILE *out) {
  char buffer[96];
  for (size_t i = 0; i < tg_option_count; i++) {
    const tg_option *o = &tg_options[i];
    if (begins_section(i)) {
      fprintf(out, ".SS \"%s%s", o->section, *o->section ? ": " : "");
      roff(out, section_help(o->section));
      fputs("\"\n", out);
    }
    fprintf(out, ".TP\n.B ");
    roff(out, o->name);
    fputc('\n', out);
    roff(out, o->help);
    fputs(".\n.br\n", out);
    roff(out, values_of(o, buffer));
    fputs("; default ", out);
    roff(out, default_of(o));
    fputc('\n', out);
  }
}

/* A bar would end the cell, and <name> would be taken for HTML. */
static void cell(FILE *out, const char *text) {
  fputs("| ", out);
  for (; *text; text++) fprintf(out, strchr("|<", *text) ? "\\%c" : "%c", *text);
  fputc(' ', out);
}

void tg_config_markdown(FILE *out) {
  char buffer[96], name[128];
  fputs("| key | values | default | meaning |\n|---|---|---|---|\n", out);
  for (size_t i = 0; i < tg_option_count; i++) {
    const tg_option *o = &tg_options[i];
    snprintf(name, sizeof name, "`%s`", o->name);
    cell(out, name);
    cell(out, values_of(o, buffer));
    cell(out, default_of(o));
    cell(out, o->help);
    fputs("|\n", out);
  }
}
