/* move.h - copies of parts of values, and changes between plain and channels-last order. See
 * kernels.h. Moves are exact; between types they round once. */
#ifndef KERNELS_MOVE_H
#define KERNELS_MOVE_H

/* Which elements along one axis of `from` become which along that axis of `to`. Both are
 * [outer][axis][inner] in memory. For t in [0, count): with u = t - lead,
 *   to[to_start + t] = from[from_start + u / spread * from_step]
 * if spread divides u and 0 <= u / spread < used, else 0. from_step or spread is 1. */
typedef struct tg_cuda_box {
  int64_t outer, inner;
  int64_t to_axis, to_start, count;
  int64_t from_axis, from_start, from_step;
  int64_t lead, spread, used;
} tg_cuda_box;
/* Types may differ; TG_I32 only moves to TG_I32. */
int tg_cuda_move(const tg_cuda_launch *l, const tg_cuda_box *box, tg_dtype from_type,
                 const void *from, tg_dtype to_type, void *to);

/* to [batch][columns][rows] = from [batch][rows][columns]. */
int tg_cuda_permute(const tg_cuda_launch *l, int64_t batch, int64_t rows, int64_t columns,
                    tg_dtype from_type, const void *from, tg_dtype to_type, void *to);

/* A value between plain order, float32, and the device's own: channels-last from three dimensions
 * on. */
int tg_cuda_value_to_last(const tg_cuda_launch *l, const tg_shape *shape, const float *from,
                          tg_dtype to_type, void *to);
int tg_cuda_value_from_last(const tg_cuda_launch *l, const tg_shape *shape, tg_dtype from_type,
                            const void *from, float *to);

/* Weights [K,C,space] as PyTorch has them, float32, and [K,space,C]. */
int tg_cuda_weights_to_last(const tg_cuda_launch *l, tg_dtype to_type, int64_t K, int64_t C,
                            int64_t space, const float *from, void *to);
int tg_cuda_weights_from_last(const tg_cuda_launch *l, tg_dtype from_type, int64_t K, int64_t C,
                              int64_t space, const void *from, float *to);

#endif
