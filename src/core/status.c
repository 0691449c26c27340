#include "tardigrad/status.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local char message[1024];

tg_status tg_status_set(tg_status code, const char *format, ...) {
  va_list args;
  va_start(args, format);
  /* Formatted aside first: an argument may be the old message itself. */
  char text[sizeof message];
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  snprintf(message, sizeof message, "%s", text);
  return code;
}

const char *tg_status_message(void) {
  return message;
}

const char *tg_status_name(tg_status code) {
  switch (code) {
  case TG_OK:
    return "done";
  case TG_ERUNTIME:
    return "failed";
  case TG_EUSAGE:
    return "usage";
  case TG_EDIVERGED:
    return "diverged";
  case TG_EDATA:
    return "bad data";
  case TG_ENOINPUT:
    return "missing input";
  case TG_EUNAVAILABLE:
    return "not available";
  case TG_EPREEMPTED:
    return "stopped by a signal";
  case TG_ECONFIG:
    return "bad configuration";
  }
  return "failed";
}
