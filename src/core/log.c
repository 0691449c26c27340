#include "tardigrad/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The one piece of process-wide state below cli/: who speaks, and how much. */
static struct {
  int rank;
  tg_log_level level;
  bool line_shown;
} out = {.rank = 0, .level = TG_LOG_INFO};

void tg_log_setup(int rank, tg_log_level level) {
  out.rank = rank;
  out.level = level;
}

bool tg_log_has_progress(void) {
  return out.rank == 0 && out.level >= TG_LOG_INFO && isatty(STDERR_FILENO);
}

void tg_log_progress_end(void) {
  if (!out.line_shown) return;
  fputs("\r\033[K", stderr);
  fflush(stderr);
  out.line_shown = false;
}

void tg_log(tg_log_level level, const char *format, ...) {
  if (level > out.level || (out.rank != 0 && level > TG_LOG_WARN)) return;
  char text[2048];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  tg_log_progress_end();
  const char *kind = level == TG_LOG_ERROR ? "error: " : level == TG_LOG_WARN ? "warning: " : "";
  /* One write per line, so that lines of several ranks do not mix. */
  char line[2200];
  if (out.rank != 0)
    snprintf(line, sizeof line, "tardigrad: [rank %d] %s%s\n", out.rank, kind, text);
  else
    snprintf(line, sizeof line, "tardigrad: %s%s\n", kind, text);
  fputs(line, stderr);
  fflush(stderr);
}

void tg_log_progress(const char *format, ...) {
  if (!tg_log_has_progress()) return;
  char text[512];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  fprintf(stderr, "\r%s\033[K", text);
  fflush(stderr);
  out.line_shown = true;
}
