/* vector.h - launchers of vector.cu. */
#ifndef KERNELS_VECTOR_H
#define KERNELS_VECTOR_H

/* tg_cuda_square_sum - *out = sum of x[n]^2 in double, in the order of tg_square_sum, to the bit.
 * parts [TG_SUM_PARTS] is scratch. */
int tg_cuda_square_sum(const tg_cuda_launch *l, size_t n, const float *x, double *parts,
                       double *out);

#endif
