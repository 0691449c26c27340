/* fake.c - the CPU backend behind device-like pointers: bit 62 makes an address that faults where
 * the host touches it, and that kernels mask away. What is wrong between host and device on a GPU
 * is found with it on any machine. */
#include "backend/cpu.h"

static const uintptr_t DEVICE_BIT = (uintptr_t)1 << 62;

static tg_status fake_open(const tg_backend *self, const tg_device_options *o, tg_device **out) {
  return tg_cpu_open_masked(self, ~DEVICE_BIT, o, out);
}

static tg_status fake_alloc(tg_device *d, size_t bytes, void **out) {
  void *p = NULL;
  TG_TRY(tg_cpu_alloc(d, bytes, &p));
  *out = (void *)((uintptr_t)p | DEVICE_BIT);
  return TG_OK;
}

const tg_backend tg_backend_fake = {
    .name = "fake",
    .help = "the cpu backend behind pointers that fault on the host: for tests",
    .host_memory = false,
    .open = fake_open,
    .close = tg_cpu_close,
    .alloc = fake_alloc,
    .free = tg_cpu_free,
    .to_device = tg_cpu_to_device,
    .to_host = tg_cpu_to_host,
    .sync = tg_cpu_sync,
    .copy = tg_cpu_copy,
    .zero = tg_cpu_zero,
    .update = tg_cpu_update,
    .whole_open = tg_cpu_whole_open,
    .whole_close = tg_cpu_whole_close,
    .update_whole = tg_cpu_update_whole,
    .scale = tg_cpu_scale,
    .square_sum = tg_cpu_square_sum,
    .to_host_later = tg_cpu_to_host,
    .square_sum_later = tg_cpu_square_sum,
    .add = tg_cpu_add,
    .add_f32 = tg_cpu_add_f32,
    .read = tg_cpu_read,
    .precision = tg_cpu_precision,
    .kernel = tg_cpu_kernels,
    .describe = tg_cpu_describe,
    .preference = 0};
