#include "tardigrad/rng.h"

#include <math.h>
#include <string.h>

static void round_once(uint32_t c[4], const uint32_t k[2]) {
  uint64_t p0 = (uint64_t)0xD2511F53u * c[0], p1 = (uint64_t)0xCD9E8D57u * c[2];
  uint32_t c1 = c[1], c3 = c[3];
  c[0] = (uint32_t)(p1 >> 32) ^ c1 ^ k[0];
  c[1] = (uint32_t)p1;
  c[2] = (uint32_t)(p0 >> 32) ^ c3 ^ k[1];
  c[3] = (uint32_t)p0;
}

void tg_philox(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4]) {
  uint32_t k[2] = {key[0], key[1]};
  for (int i = 0; i < 4; i++) out[i] = counter[i];
  for (int i = 0; i < 10; i++) {
    round_once(out, k);
    k[0] += 0x9E3779B9u;
    k[1] += 0xBB67AE85u;
  }
}

/* ---- many at once ---- */

enum { LANES = 16 /* blocks side by side: the compiler may use vectors */ };

static void philox_lanes(const tg_rng *r, uint32_t block, uint32_t out[LANES][4]) {
  uint32_t c0[LANES], c1[LANES], c2[LANES], c3[LANES], k0 = r->key[0], k1 = r->key[1];
  for (uint32_t l = 0; l < LANES; l++) {
    c0[l] = block + l;
    c1[l] = r->counter[1];
    c2[l] = r->counter[2];
    c3[l] = r->counter[3];
  }
  for (int i = 0; i < 10; i++) {
#pragma omp simd
    for (uint32_t l = 0; l < LANES; l++) {
      uint64_t p0 = (uint64_t)0xD2511F53u * c0[l], p1 = (uint64_t)0xCD9E8D57u * c2[l];
      c0[l] = (uint32_t)(p1 >> 32) ^ c1[l] ^ k0;
      c1[l] = (uint32_t)p1;
      c2[l] = (uint32_t)(p0 >> 32) ^ c3[l] ^ k1;
      c3[l] = (uint32_t)p0;
    }
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  for (uint32_t l = 0; l < LANES; l++) {
    out[l][0] = c0[l];
    out[l][1] = c1[l];
    out[l][2] = c2[l];
    out[l][3] = c3[l];
  }
}

void tg_rng_numbers(const tg_rng *r, uint64_t first, size_t count, uint32_t *out) {
  uint32_t blocks[LANES][4];
  for (size_t done = 0, skip = first % 4; done < count; skip = 0) {
    size_t left = count - done, have = 4 * LANES - skip, take = left < have ? left : have;
    philox_lanes(r, (uint32_t)((first + done) / 4), blocks);
    memcpy(out + done, &blocks[0][0] + skip, take * sizeof *out);
    done += take;
  }
}

tg_rng tg_rng_open(uint64_t seed, tg_rng_domain domain, uint64_t a, uint64_t b) {
  /* 8 bits of domain, 48 of a, 40 of b fill the three words that name the stream. */
  tg_rng r = {.key = {(uint32_t)seed, (uint32_t)(seed >> 32)}, .used = 4};
  r.counter[1] = (uint32_t)a;
  r.counter[2] = (uint32_t)b;
  r.counter[3] = ((uint32_t)domain << 24) | (uint32_t)((a >> 32) & 0xFFFFu) << 8 |
                 (uint32_t)((b >> 32) & 0xFFu);
  return r;
}

uint32_t tg_rng_u32(tg_rng *r) {
  if (r->used == 4) {
    tg_philox(r->key, r->counter, r->block);
    r->counter[0]++;
    r->used = 0;
  }
  return r->block[r->used++];
}

float tg_rng_float(tg_rng *r) {
  return (float)(tg_rng_u32(r) >> 8) * 0x1p-24f;
}

double tg_rng_double(tg_rng *r) {
  uint64_t hi = tg_rng_u32(r) >> 5, lo = tg_rng_u32(r) >> 6;
  return (double)(hi << 26 | lo) * 0x1p-53;
}

uint32_t tg_rng_below(tg_rng *r, uint32_t n) {
  /* Lemire's multiplication with rejection. */
  uint32_t limit = (uint32_t)(-(int64_t)n) % n;
  uint64_t m;
  do m = (uint64_t)tg_rng_u32(r) * n;
  while ((uint32_t)m < limit);
  return (uint32_t)(m >> 32);
}

double tg_rng_normal(tg_rng *r) {
  double u = 1.0 - tg_rng_double(r), v = tg_rng_double(r);
  return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

void tg_rng_permutation(tg_rng *r, size_t n, uint32_t *out) {
  for (size_t i = 0; i < n; i++) {
    size_t j = tg_rng_below(r, (uint32_t)(i + 1));
    out[i] = out[j];
    out[j] = (uint32_t)i;
  }
}
