#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "run/config_parts.h"

enum {
  TRACKED = 8, /* levels of nesting that have a path; deeper ones are only counted */
  DEEPEST = 64 /* libyaml's time grows with the square of the depth: further is not read */
};

typedef struct level {
  bool mapping, key_next;
  size_t index;  /* of the next entry of a list */
  size_t length; /* of the path of what the level is the value of */
} level;

typedef struct walk {
  level stack[TRACKED];
  size_t depth, documents;
  char path[512];
  const char *wanted;
  tg_yaml_place *out;
} walk;

static void note(walk *w, const char *path, const yaml_event_t *event) {
  bool wanted = w->wanted ? path && strcmp(path, w->wanted) == 0 : !path && !w->out->line;
  if (wanted) w->out->line = (unsigned)event->start_mark.line + 1;
}

/* A key, an entry of a list, the value of a key or a document's content begins. */
static void begin(walk *w, const yaml_event_t *event, const char *text) {
  if (w->depth == 0) note(w, NULL, event);
  if (w->depth == 0 || w->depth > TRACKED) return;
  level *l = &w->stack[w->depth - 1];
  if (l->mapping && !l->key_next) {
    l->key_next = true;
    return;
  }
  char *end = w->path + l->length;
  size_t room = sizeof w->path - l->length;
  if (l->mapping)
    snprintf(end, room, "%s%s", l->length ? "." : "", text);
  else
    snprintf(end, room, "[%zu]", l->index++);
  l->key_next = false;
  note(w, w->path, event);
}

static void push(walk *w, bool mapping) {
  if (w->depth < TRACKED)
    w->stack[w->depth] =
        (level){.mapping = mapping, .key_next = mapping, .length = strlen(w->path)};
  w->depth++;
}

static void step(walk *w, const yaml_event_t *event) {
  const char *text;
  switch (event->type) {
  case YAML_DOCUMENT_START_EVENT:
    if (w->documents++ == 1) note(w, TG_YAML_SECOND, event);
    w->path[0] = 0;
    break;
  case YAML_SCALAR_EVENT:
    text = (const char *)event->data.scalar.value;
    if (strlen(text) != event->data.scalar.length && !w->out->nul_line)
      w->out->nul_line = (unsigned)event->start_mark.line + 1;
    begin(w, event, text);
    break;
  case YAML_ALIAS_EVENT:
    begin(w, event, "*");
    break;
  case YAML_MAPPING_START_EVENT:
  case YAML_SEQUENCE_START_EVENT:
    begin(w, event, "?");
    push(w, event->type == YAML_MAPPING_START_EVENT);
    break;
  case YAML_MAPPING_END_EVENT:
  case YAML_SEQUENCE_END_EVENT:
    w->depth--;
    break;
  default:
    break;
  }
}

static void note_problem(const tg_origin *origin, const yaml_parser_t *parser, tg_yaml_place *out) {
  const char *problem = parser->problem ? parser->problem : "?";
  out->bad_line = (unsigned)parser->problem_mark.line + 1;
  if (parser->error == YAML_READER_ERROR) {
    /* Bytes that are no text: known by their offset only. */
    out->bad_line = 1;
    for (size_t i = 0; i < parser->problem_offset && i < origin->length; i++)
      out->bad_line += origin->text[i] == '\n';
  }
  if (parser->context)
    snprintf(out->problem, sizeof out->problem, "%s, %s from line %zu on", problem, parser->context,
             parser->context_mark.line + 1);
  else
    snprintf(out->problem, sizeof out->problem, "%s", problem);
}

tg_status tg_yaml_locate(const tg_origin *origin, const char *path, tg_yaml_place *out) {
  yaml_parser_t parser;
  yaml_event_t event;
  walk w = {.wanted = path, .out = out};
  *out = (tg_yaml_place){.problem = ""};
  if (!yaml_parser_initialize(&parser)) TG_FAIL(TG_ERUNTIME, "%s: no memory", origin->name);
  yaml_parser_set_input_string(&parser, (const unsigned char *)origin->text, origin->length);
  for (bool more = true; more;) {
    if (!yaml_parser_parse(&parser, &event)) {
      note_problem(origin, &parser, out);
      break;
    }
    more = event.type != YAML_STREAM_END_EVENT && w.depth < DEEPEST;
    step(&w, &event);
    yaml_event_delete(&event);
  }
  if (w.depth >= DEEPEST) {
    out->bad_line = (unsigned)parser.mark.line + 1;
    snprintf(out->problem, sizeof out->problem, "nested more than %d deep", DEEPEST);
  }
  yaml_parser_delete(&parser);
  return TG_OK;
}
