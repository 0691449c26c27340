#include "run/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *tg_text_real(double value, char out[TG_REAL_CHARS]) {
  int length = 0;
  for (int digits = 15; digits <= 17; digits++) {
    length = snprintf(out, TG_REAL_CHARS, "%.*g", digits, value);
    if (strtod(out, NULL) == value) break;
  }
  char *exponent = strchr(out, 'e');
  if (exponent && !strchr(out, '.')) {
    memmove(exponent + 2, exponent, (size_t)(out + length - exponent) + 1);
    memcpy(exponent, ".0", 2);
  }
  return out;
}

size_t tg_text_utf8(const char *text) {
  const unsigned char *b = (const unsigned char *)text;
  if (b[0] < 0x80) return b[0] != 0;
  size_t bytes = b[0] >= 0xC2 && b[0] < 0xE0   ? 2
                 : b[0] >= 0xE0 && b[0] < 0xF0 ? 3
                 : b[0] >= 0xF0 && b[0] < 0xF5 ? 4
                                               : 0;
  for (size_t i = 1; i < bytes; i++)
    if ((b[i] & 0xC0) != 0x80) return 0;
  /* Overlong forms, surrogates, beyond U+10FFFF. */
  if ((b[0] == 0xE0 && b[1] < 0xA0) || (b[0] == 0xED && b[1] >= 0xA0) ||
      (b[0] == 0xF0 && b[1] < 0x90) || (b[0] == 0xF4 && b[1] >= 0x90))
    return 0;
  return bytes;
}

const char *tg_text_shown(const char *text, char out[TG_SHOWN_CHARS]) {
  size_t used = 0, room = TG_SHOWN_CHARS - 4;
  while (*text) {
    size_t bytes = tg_text_utf8(text);
    if (used + (bytes ? bytes : 1) > room) {
      memcpy(out + used, "...", 3);
      used += 3;
      break;
    }
    if (bytes == 0 || (unsigned char)*text < 0x20 || *text == 0x7F) {
      out[used++] = '?';
      text++;
    } else {
      memcpy(out + used, text, bytes);
      used += bytes;
      text += bytes;
    }
  }
  out[used] = 0;
  return out;
}
