/* cuda_rows.h - the launchers of kernels/ *.h on shapes of ResNets, for bench_cuda_kernels.c. */
#ifndef BENCH_CUDA_ROWS_H
#define BENCH_CUDA_ROWS_H

#include "kernels/kernels.h"

/* One launch of a kernel: from where memory is taken, and what it comes to. */
typedef struct tg_bench_run {
  tg_cuda_launch launch;
  bool dry;               /* count the memory that is taken, launch nothing */
  tg_dtype dtype;         /* of values */
  int64_t rows, channels; /* what they mean is the row's */
  char *memory;           /* device memory, filled with small positive numbers; NULL if dry */
  size_t taken;           /* bytes of it */
  const int32_t *labels;  /* device memory, zeros [TG_BENCH_LABELS] */
  double bytes;           /* set by the row: read and written, by the head of its .cu file */
} tg_bench_run;

/* One line of the table. launch() takes memory, the same each time, sets
 * r->bytes and, unless r->dry, launches; returns a cudaError_t. */
typedef struct tg_bench_row {
  const char *kernel, *shape;
  int64_t rows, channels;
  int types; /* TG_BENCH_F32 | TG_BENCH_BF16 */
  int (*launch)(tg_bench_run *r);
} tg_bench_row;

enum { TG_BENCH_F32 = 1, TG_BENCH_BF16 = 2, TG_BENCH_BOTH = 3 };
enum { TG_BENCH_LABELS = 1 << 16 };

/* Of batch norm, biases, losses and pooling; of flat vectors, moves and data; of updates in path
 * space. Their ends have no kernel. */
extern const tg_bench_row tg_bench_layers[], tg_bench_vectors[], tg_bench_paths[];

/* ---- for the rows ---- */

#define LAUNCH(r, call) ((r)->dry ? 0 : (call))

static inline void *take(tg_bench_run *r, double bytes) {
  void *at = r->dry ? NULL : r->memory + r->taken;
  r->taken += ((size_t)bytes + 255) & ~(size_t)255;
  return at;
}

static inline size_t count_of(const tg_bench_run *r) {
  return (size_t)r->rows * (size_t)r->channels;
}

/* Bytes of so many elements of the run's type; a value of that size; one of rows x channels. */
static inline double typed(const tg_bench_run *r, double elements) {
  return elements * (r->dtype == TG_BF16 ? 2 : 4);
}
static inline void *value(tg_bench_run *r, double elements) {
  return take(r, typed(r, elements));
}
static inline void *whole(tg_bench_run *r) {
  return value(r, (double)count_of(r));
}

/* So many values of rows x channels are moved. */
static inline void moves(tg_bench_run *r, double values) {
  r->bytes = typed(r, values * (double)count_of(r));
}

#endif
