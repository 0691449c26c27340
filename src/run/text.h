/* text.h - numbers and foreign words as text, for configurations, metrics and messages. */
#ifndef RUN_TEXT_H
#define RUN_TEXT_H

#include <stddef.h>

enum { TG_REAL_CHARS = 32, TG_SHOWN_CHARS = 64 };

/* tg_text_real - the shortest decimal that strtod reads back to the same finite double, always with
 * a digit before and, where there is an exponent, a point before it, so that YAML 1.1 readers see a
 * number. Returns out. */
const char *tg_text_real(double value, char out[TG_REAL_CHARS]);

/* tg_text_shown - what somebody wrote, fit for a one-line message: control characters and bytes
 * that are no UTF-8 become '?', a long text is cut. Returns out. */
const char *tg_text_shown(const char *text, char out[TG_SHOWN_CHARS]);

/* tg_text_utf8 - bytes of the UTF-8 sequence at text, or 0 where there is none. */
size_t tg_text_utf8(const char *text);

#endif
