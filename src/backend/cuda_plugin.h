/* cuda_plugin.h - what the program and libtardigrad_cuda.so know of each other.
 *
 * The plugin is loaded when a GPU is asked for, and exports one function, tg_cuda_plugin. It has no
 * messages of its own: failures and words for people go through the functions that it is given. */
#ifndef BACKEND_CUDA_PLUGIN_H
#define BACKEND_CUDA_PLUGIN_H

#include <stdint.h>

#include "tardigrad/backend.h"

/* Raised with every change of the structures that cross: backend.h, graph.h, ops.h, server.h. */
enum { TG_CUDA_ABI = 5 };
#define TG_CUDA_ENTRY "tg_cuda_plugin"

typedef struct tg_cuda_host {
  uint32_t abi, row_bytes; /* TG_CUDA_ABI, sizeof(tg_backend) */
  tg_status (*fail)(tg_status code, const char *message);
  void (*log)(int level, const char *message);
} tg_cuda_host;

/* The plugin's row, or NULL where it was built for another program. */
typedef const tg_backend *tg_cuda_entry(const tg_cuda_host *host);

#endif
