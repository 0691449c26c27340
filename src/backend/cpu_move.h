/* cpu_move.h - copying a box of one tensor to a box of another, each in whatever blocked layout.
 *
 * oneDNN's reorders cannot cut through a block of channels, and option-A shortcuts do just that
 * (8 zero channels before 16 of nChw16c). Here the runs of elements that are contiguous on both
 * sides are listed once, and copying is a walk along the list. */
#ifndef TG_BACKEND_CPU_MOVE_H
#define TG_BACKEND_CPU_MOVE_H

#include "backend/cpu.h"

/* Indices start, start + step, ... along one axis; all of every other axis. */
typedef struct tg_cpu_box {
  const dnnl_memory_desc_t *desc;
  int axis;
  int64_t start, step;
} tg_cpu_box;

/* `zeros` elements to clear, then `length` to copy: offsets within one sample. */
typedef struct tg_cpu_run {
  size_t from, to, length, zeros;
} tg_cpu_run;

/* All zero: nothing to do, nothing to free. */
typedef struct tg_cpu_move {
  dnnl_data_type_t from_type, to_type;
  size_t samples, from_first, to_first, from_stride, to_stride;
  tg_cpu_run *run;
  size_t run_count, run_room;
  size_t clear_bytes; /* of the target, before anything is copied */
} tg_cpu_move;

/* tg_cpu_move_create - both boxes have the extents of `shape`. fill: what lies outside of the
 * target's box becomes zero. Types: equal, or float32 and bf16. */
TG_CHECKED tg_status tg_cpu_move_create(tg_cpu_move *move, const tg_cpu_box *from,
                                        const tg_cpu_box *to, const tg_shape *shape, bool fill);
/* tg_cpu_move_run - between host addresses. */
void tg_cpu_move_run(const tg_cpu_move *move, const void *from, void *to);
void tg_cpu_move_destroy(tg_cpu_move *move);

/* tg_cpu_part - where index i of dimension `dim` lies: every dimension adds its own part to an
 * offset. */
size_t tg_cpu_part(const dnnl_memory_desc_t *desc, int dim, int64_t i);

/* tg_cpu_desc_like - the format of `like` with other dimensions and another type. */
void tg_cpu_desc_like(const dnnl_memory_desc_t *like, const tg_shape *shape, tg_dtype dtype,
                      dnnl_memory_desc_t *out);

#endif
