/* vector_types.h - the short vectors and dim3 of CUDA, for the emulator (see cuda_runtime.h). */
#ifndef TESTS_CUDA_VECTOR_TYPES_H
#define TESTS_CUDA_VECTOR_TYPES_H

#define TG_EMULATED_VECTOR_1(name, type)                                                           \
  typedef struct name {                                                                            \
    type x;                                                                                        \
  } name;                                                                                          \
  static inline name make_##name(type x) {                                                         \
    name v = {x};                                                                                  \
    return v;                                                                                      \
  }
#define TG_EMULATED_VECTOR_2(name, type, alignment)                                                \
  typedef struct __attribute__((aligned(alignment))) name {                                        \
    type x, y;                                                                                     \
  } name;                                                                                          \
  static inline name make_##name(type x, type y) {                                                 \
    name v = {x, y};                                                                               \
    return v;                                                                                      \
  }
#define TG_EMULATED_VECTOR_3(name, type)                                                           \
  typedef struct name {                                                                            \
    type x, y, z;                                                                                  \
  } name;                                                                                          \
  static inline name make_##name(type x, type y, type z) {                                         \
    name v = {x, y, z};                                                                            \
    return v;                                                                                      \
  }
#define TG_EMULATED_VECTOR_4(name, type, alignment)                                                \
  typedef struct __attribute__((aligned(alignment))) name {                                        \
    type x, y, z, w;                                                                               \
  } name;                                                                                          \
  static inline name make_##name(type x, type y, type z, type w) {                                 \
    name v = {x, y, z, w};                                                                         \
    return v;                                                                                      \
  }

TG_EMULATED_VECTOR_1(float1, float)
TG_EMULATED_VECTOR_2(float2, float, 8)
TG_EMULATED_VECTOR_3(float3, float)
TG_EMULATED_VECTOR_4(float4, float, 16)
TG_EMULATED_VECTOR_2(double2, double, 16)
TG_EMULATED_VECTOR_1(int1, int)
TG_EMULATED_VECTOR_2(int2, int, 8)
TG_EMULATED_VECTOR_3(int3, int)
TG_EMULATED_VECTOR_4(int4, int, 16)
TG_EMULATED_VECTOR_1(uint1, unsigned int)
TG_EMULATED_VECTOR_2(uint2, unsigned int, 8)
TG_EMULATED_VECTOR_3(uint3, unsigned int)
TG_EMULATED_VECTOR_4(uint4, unsigned int, 16)
TG_EMULATED_VECTOR_2(short2, short, 4)
TG_EMULATED_VECTOR_4(short4, short, 8)
TG_EMULATED_VECTOR_2(ushort2, unsigned short, 4)
TG_EMULATED_VECTOR_4(ushort4, unsigned short, 8)
TG_EMULATED_VECTOR_2(char2, signed char, 2)
TG_EMULATED_VECTOR_4(char4, signed char, 4)
TG_EMULATED_VECTOR_2(uchar2, unsigned char, 2)
TG_EMULATED_VECTOR_4(uchar4, unsigned char, 4)
TG_EMULATED_VECTOR_2(longlong2, long long, 16)
TG_EMULATED_VECTOR_2(ulonglong2, unsigned long long, 16)

typedef struct dim3 {
  unsigned int x, y, z;
#ifdef __cplusplus
  constexpr dim3(unsigned int vx = 1, unsigned int vy = 1, unsigned int vz = 1)
      : x(vx), y(vy), z(vz) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
  constexpr operator uint3() const {
    return uint3{x, y, z};
  }
#endif
} dim3;

#endif
