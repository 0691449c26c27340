/* cuda.c - the cuda row: finds the plugin, and hands over to it. Knows nothing of CUDA, so that one
 * program serves machines with and without it. */
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/cuda_plugin.h"
#include "tardigrad/log.h"

static const char PLUGIN[] = "libtardigrad_cuda.so";

static tg_status fail(tg_status code, const char *message) {
  return tg_status_set(code, "%s", message);
}

static void speak(int level, const char *message) {
  tg_log((tg_log_level)level, "%s", message);
}

static const tg_cuda_host host = {TG_CUDA_ABI, sizeof(tg_backend), fail, speak};

/* Beside the program; or in ../lib, where `make install` puts it. */
static void *load_near_program(char *why, size_t size) {
  static const char *const places[] = {"", "../lib/"};
  char program[PATH_MAX], path[PATH_MAX + 64];
  ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
  void *library = NULL;
  program[length > 0 ? length : 0] = '\0';
  char *end = strrchr(program, '/');
  if (end) end[1] = '\0';
  for (size_t i = 0; !library && i < sizeof places / sizeof *places; i++) {
    snprintf(path, sizeof path, "%s%s%s", program, places[i], PLUGIN);
    if (access(path, F_OK) != 0) continue;
    library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) snprintf(why, size, "%s", dlerror());
  }
  return library;
}

/* Without the driver's library no GPU can be used, and CUDA's own need not be loaded to find out.
 */
static tg_status check_driver(void) {
  void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
  if (!driver) TG_FAIL(TG_EUNAVAILABLE, "device cuda: no NVIDIA driver (libcuda.so.1) here");
  dlclose(driver);
  return TG_OK;
}

static tg_status load(const tg_backend **row) {
  static const tg_backend *loaded;
  char why[512] = "built without CUDA, no libtardigrad_cuda.so beside the program";
  const char *path = getenv("TARDIGRAD_CUDA_PLUGIN");
  if ((*row = loaded)) return TG_OK;
  if (!path) TG_TRY(check_driver());
  void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : load_near_program(why, sizeof why);
  if (!library) TG_FAIL(TG_EUNAVAILABLE, "device cuda: %s", path ? dlerror() : why);
  tg_cuda_entry *entry;
  /* POSIX lets dlsym's pointer be a function; C has no cast for it. */
  *(void **)&entry = dlsym(library, TG_CUDA_ENTRY);
  loaded = entry ? entry(&host) : NULL;
  if (!loaded) TG_FAIL(TG_EUNAVAILABLE, "device cuda: %s belongs to another version", PLUGIN);
  *row = loaded;
  return TG_OK;
}

static tg_status cuda_open(const tg_backend *self, const tg_device_options *o, tg_device **out) {
  const tg_backend *row;
  (void)self;
  TG_TRY(load(&row));
  return row->open(row, o, out);
}

/* The device that opens has the plugin's row: only what is asked before stands here. */
const tg_backend tg_backend_cuda = {.name = "cuda",
                                    .help = "an NVIDIA GPU: cuDNN, cuBLAS and kernels of our own",
                                    .open = cuda_open,
                                    .preference = 10};
