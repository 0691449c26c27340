/* cpu_flat.h - a float operand as plain row-major float32: itself where it is, else a copy in
 * scratch. */
#ifndef TG_BACKEND_CPU_FLAT_H
#define TG_BACKEND_CPU_FLAT_H

#include "backend/cpu.h"

/* All zero: nothing to free. */
typedef struct tg_cpu_flat {
  tg_cpu_call in, out;
  bool copied;
  size_t at, inner; /* in scratch: the copy, and what copying needs */
} tg_cpu_flat;

/* tg_cpu_flat_create - for t, an operand of e or its gradient; adds what it needs to e's scratch.
 */
TG_CHECKED tg_status tg_cpu_flat_create(tg_cpu_flat *flat, tg_exec *e, const tg_tensor *t);
/* tg_cpu_flat_read - the address of `data` in plain order; valid until the operand is read again or
 * written. */
TG_CHECKED tg_status tg_cpu_flat_read(tg_cpu_flat *flat, const tg_exec *e, const void *data,
                                      const float **out);
/* tg_cpu_flat_target - where to write what tg_cpu_flat_write then brings to `data`. It may be the
 * memory that tg_cpu_flat_read gave. */
float *tg_cpu_flat_target(const tg_cpu_flat *flat, const tg_exec *e, void *data);
TG_CHECKED tg_status tg_cpu_flat_write(tg_cpu_flat *flat, const tg_exec *e, void *data);
void tg_cpu_flat_destroy(tg_cpu_flat *flat);

#endif
