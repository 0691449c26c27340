/* cpu_lanes.h - walking a tensor channel by channel, 16 elements at a time, in any layout of one
 * level: plain, channels last, or channels in blocks of 4, 8 or 16 (what oneDNN's convolutions
 * choose).
 *
 * The tensor is seen as groups of channels; a group as vectors of 16 lanes, whose lane l belongs to
 * channel group * period + l % period. Blocked by 16 and channels last: period 16. Blocked by 8:
 * period 8, a vector spans two points. Plain: period 1, a vector spans 16 points of one channel. */
#ifndef TG_BACKEND_CPU_LANES_H
#define TG_BACKEND_CPU_LANES_H

#include "backend/cpu.h"

/* Where a vector is wider than the machine's, a call that passes one has no stable ABI: there are
 * none, everything that handles them is inlined. */
#pragma GCC diagnostic ignored "-Wpsabi"

#define TG_INLINE static inline __attribute__((always_inline))

enum { TG_LANES = 16 };
typedef float tg_lanes __attribute__((vector_size(TG_LANES * sizeof(float))));
typedef int32_t tg_lanes_i32 __attribute__((vector_size(TG_LANES * sizeof(int32_t))));
typedef uint32_t tg_lanes_u32 __attribute__((vector_size(TG_LANES * sizeof(uint32_t))));
typedef uint16_t tg_lanes_u16 __attribute__((vector_size(TG_LANES * sizeof(uint16_t))));

typedef struct tg_lane_walk {
  int64_t channels, groups, period;
  int64_t batches, vectors; /* per group: vectors of 16 lanes, the last of `tail` if tail != 0 */
  int tail, last_width;     /* last_width: lanes in use in the last group's vectors */
  size_t batch_stride, group_stride, vector_stride; /* elements */
} tg_lane_walk;

/* One run of vectors of one group. */
typedef struct tg_lane_run {
  size_t at; /* element of the first vector */
  int64_t count, group;
  size_t stride;
  int width; /* lanes in use: 16, or fewer */
} tg_lane_run;

/* tg_lane_walk_create - how to walk memory so described; false if it cannot be walked. */
bool tg_lane_walk_create(const dnnl_memory_desc_t *desc, tg_lane_walk *out);
/* tg_lane_walk_part - calls f for the runs of part `part` of `parts`, in memory order; runs are at
 * most 1024 vectors long. Which runs a part has depends on nothing else. */
void tg_lane_walk_part(const tg_lane_walk *walk, int part, int parts,
                       void (*f)(void *context, const tg_lane_run *run), void *context);
/* tg_lane_first - the element where channel c begins. */
size_t tg_lane_first(const tg_lane_walk *walk, int64_t c);

/* Parameters of the channels of a group, spread over its lanes. p is by channel, and readable to
 * the end of the last group. */
TG_INLINE tg_lanes tg_lanes_spread(const float *p, const tg_lane_walk *walk, int64_t group) {
  tg_lanes v = {0};
  if (walk->period == TG_LANES) {
    memcpy(&v, p + group * TG_LANES, sizeof v);
    return v;
  }
  for (int l = 0; l < TG_LANES; l++) v[l] = p[group * walk->period + l % walk->period];
  return v;
}

/* bfloat16 and back: to nearest, ties to even; what arithmetic makes of NaN stays NaN. The portable
 * form costs gcc 12 six shuffles a vector, and batch norm a third of its time, so the instructions
 * are named where there are any. */
#if defined(__AVX512BF16__) && defined(__AVX512VL__)
#include <immintrin.h>
TG_INLINE tg_lanes tg_lanes_unpack(tg_lanes_u16 half) {
  return (tg_lanes)_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)half), 16);
}
TG_INLINE tg_lanes_u16 tg_lanes_pack(tg_lanes v) {
  return (tg_lanes_u16)_mm512_cvtneps_pbh((__m512)v);
}
#else
TG_INLINE tg_lanes tg_lanes_unpack(tg_lanes_u16 half) {
  return (tg_lanes)(__builtin_convertvector(half, tg_lanes_u32) << 16);
}
TG_INLINE tg_lanes_u16 tg_lanes_pack(tg_lanes v) {
  tg_lanes_u32 bits = (tg_lanes_u32)v;
  return __builtin_convertvector((bits + 0x7fff + ((bits >> 16) & 1)) >> 16, tg_lanes_u16);
}
#endif

/* What is left of v when it is stored with this type. `type` is a constant wherever these are
 * called, so that one loop becomes one per type. */
TG_INLINE tg_lanes tg_lanes_rounded(tg_lanes v, tg_dtype type) {
  return type == TG_F32 ? v : tg_lanes_unpack(tg_lanes_pack(v));
}

TG_INLINE tg_lanes tg_lanes_load(const void *p, size_t i, tg_dtype type) {
  if (type == TG_F32) {
    tg_lanes v;
    memcpy(&v, (const float *)p + i, sizeof v);
    return v;
  }
  tg_lanes_u16 half;
  memcpy(&half, (const uint16_t *)p + i, sizeof half);
  return tg_lanes_unpack(half);
}

TG_INLINE void tg_lanes_store(void *p, size_t i, tg_lanes v, tg_dtype type) {
  if (type == TG_F32) {
    memcpy((float *)p + i, &v, sizeof v);
    return;
  }
  tg_lanes_u16 half = tg_lanes_pack(v);
  memcpy((uint16_t *)p + i, &half, sizeof half);
}

/* The first `width` lanes; the others are 0, and left alone. */
TG_INLINE tg_lanes tg_lanes_load_some(const void *p, size_t i, int width, tg_dtype type) {
  tg_lanes v = {0};
  for (int l = 0; l < width; l++)
    v[l] = type == TG_F32 ? ((const float *)p)[i + (size_t)l]
                          : tg_bf16_to_f32(((const uint16_t *)p)[i + (size_t)l]);
  return v;
}

TG_INLINE void tg_lanes_store_some(void *p, size_t i, int width, tg_lanes v, tg_dtype type) {
  tg_lanes_u16 half = tg_lanes_pack(v);
  for (int l = 0; l < width; l++)
    if (type == TG_F32)
      ((float *)p)[i + (size_t)l] = v[l];
    else
      ((uint16_t *)p)[i + (size_t)l] = half[l];
}

/* v where mask is set (-1), else 0. */
TG_INLINE tg_lanes tg_lanes_where(tg_lanes_i32 mask, tg_lanes v) {
  return (tg_lanes)((tg_lanes_i32)v & mask);
}

#endif
