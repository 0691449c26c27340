/* update.h - launcher of kernels/update.cu: rule, optimiser and w_bak = w in one pass over the flat
 * vectors, as tg_update_apply (tardigrad/server.h) does it on the CPU, to the last bit. */
#ifndef KERNELS_UPDATE_H
#define KERNELS_UPDATE_H

struct tg_hyper; /* tardigrad/rule.h */

enum { TG_CUDA_UPDATE_SLOTS = 4, TG_CUDA_UPDATE_PARTS = 1024 };

/* Vectors begin at the first element of the span and have any alignment of 4 bytes; 16-byte
 * accesses want all but g to be aligned alike. */
typedef struct tg_update_args {
  const char *rule, *optimizer; /* names; host memory */
  const struct tg_hyper *hyper; /* with factors; host memory */
  size_t count;
  const float *g; /* left as it is; NULL: only bak_out is written */
  float *w;
  const float *w_bak; /* NULL: w */
  float *bak_out;     /* may be w_bak; NULL: none */
  bool as_it_is;      /* it becomes w, whatever the rule */
  float *state;       /* of rules that have one */
  float *slot[TG_CUDA_UPDATE_SLOTS];
  float *slow;   /* slow weights of a lookahead around `optimizer`; NULL: none */
  double *sums;  /* [3]: squares of correction, gradient and gap are added; NULL: none */
  double *parts; /* [3 * TG_CUDA_UPDATE_PARTS] of scratch, where there are sums */
} tg_update_args;

/* tg_cuda_update_has_rule, tg_cuda_update_has_optimizer - whether there are kernels of that name.
 */
bool tg_cuda_update_has_rule(const char *name);
bool tg_cuda_update_has_optimizer(const char *name);

/* tg_cuda_update - overwrites w, bak_out, state and slots, adds to the sums. cudaErrorInvalidValue
 * for names without a kernel, or where a vector is missing. */
int tg_cuda_update(const tg_cuda_launch *l, const tg_update_args *a);

#endif
