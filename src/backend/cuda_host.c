/* cuda_host.c - the plugin's entry, and the program's words for failures and people. */
#include <stdarg.h>
#include <stdio.h>

#include "backend/cuda_plugin.h"
#include "tardigrad/log.h"

extern const tg_backend tg_cuda_row;

static const tg_cuda_host *host;

__attribute__((visibility("default"))) const tg_backend *tg_cuda_plugin(const tg_cuda_host *h);

const tg_backend *tg_cuda_plugin(const tg_cuda_host *h) {
  if (h->abi != TG_CUDA_ABI || h->row_bytes != sizeof(tg_backend)) return NULL;
  host = h;
  return &tg_cuda_row;
}

tg_status tg_status_set(tg_status code, const char *format, ...) {
  char text[1024];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  return host->fail(code, text);
}

void tg_log(tg_log_level level, const char *format, ...) {
  char text[2048];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  host->log((int)level, text);
}
