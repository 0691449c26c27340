/* rng.h - counter-based random numbers (Philox4x32-10; Salmon et al., SC 2011).
 *
 * A stream is a pure function of (seed, domain, a, b): whoever asks, on whatever rank and in
 * whatever order, gets the same numbers. Nothing is ever drawn from a shared state. */
#ifndef TARDIGRAD_RNG_H
#define TARDIGRAD_RNG_H

#include <stddef.h>
#include <stdint.h>

/* What a stream is for: two domains never share numbers. Append only: runs are replayed. */
typedef enum {
  TG_RNG_INIT = 1,    /* a = index of the parameter */
  TG_RNG_PERMUTE = 2, /* a = epoch */
  TG_RNG_AUGMENT = 3, /* a = epoch, b = sample */
  TG_RNG_SIM = 4,     /* a = worker */
  TG_RNG_DATA = 5,    /* synthetic data: a = split, b = sample */
  TG_RNG_NODE = 6,    /* sampling ops: a = step, b = node */
  TG_RNG_GOSSIP = 7,  /* partners: a = worker, b = step */
  TG_RNG_PROBE = 20,  /* a = push, b = vector */
  TG_RNG_CODEC = 12,  /* stochastic rounding: a = step, b = worker; number i is coordinate i's */
  TG_RNG_TEST = 99
} tg_rng_domain;

typedef struct tg_rng {
  uint32_t key[2];
  uint32_t counter[4]; /* counter[0] counts blocks; the others name the stream */
  uint32_t block[4];
  int used; /* numbers of `block` already given away; 4 = draw a new block */
} tg_rng;

/* tg_philox - one block of Philox4x32-10: out = bijection(counter) under key. */
void tg_philox(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4]);

/* tg_rng_open - the stream (seed, domain, a, b), at its beginning. a and b are taken modulo 2^48
 * and 2^40. */
tg_rng tg_rng_open(uint64_t seed, tg_rng_domain domain, uint64_t a, uint64_t b);

uint32_t tg_rng_u32(tg_rng *r);
/* tg_rng_numbers - numbers [first,first+count) of a stream from its beginning, as tg_rng_u32 gives
 * them one by one, into out [count]; r stays as it is. The fast way to many of them. */
void tg_rng_numbers(const tg_rng *r, uint64_t first, size_t count, uint32_t *out);
/* Uniform in [0,1), 24 and 53 bits. */
float tg_rng_float(tg_rng *r);
double tg_rng_double(tg_rng *r);
/* Uniform in [0,n), without bias. n > 0. */
uint32_t tg_rng_below(tg_rng *r, uint32_t n);
/* Standard normal (Box-Muller, double precision; one number per call, no hidden state). */
double tg_rng_normal(tg_rng *r);

/* tg_rng_permutation - fills out[n] with a uniform permutation of 0..n-1 (Fisher-Yates). */
void tg_rng_permutation(tg_rng *r, size_t n, uint32_t *out);

#endif
