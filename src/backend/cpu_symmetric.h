/* cpu_symmetric.h - symmetric matrices in host memory, for optimisers that precondition: OpenBLAS
 * and the LAPACK in it. Row-major float32. Each call computes in the calling thread alone, so that
 * results do not depend on the number of threads; call from several at once. */
#ifndef BACKEND_CPU_SYMMETRIC_H
#define BACKEND_CPU_SYMMETRIC_H

#include <stdbool.h>
#include <stddef.h>

#include "tardigrad/status.h"

/* tg_gram_add - sum += x x^T with x [rows,cols]: the upper triangle of sum [rows,rows]; or, with
 * `right`, sum += x^T x: that of sum [cols,cols]. */
void tg_gram_add(size_t rows, size_t cols, const float *x, bool right, float *sum);

/* tg_multiply_left - x [rows,cols] = a [rows,rows] x, tg_multiply_right - x = x a [cols,cols], in
 * place; a has at most TG_SYMMETRIC_MOST rows. Nothing is allocated. */
enum { TG_SYMMETRIC_MOST = 16384 };
void tg_multiply_left(size_t rows, size_t cols, const float *a, float *x);
void tg_multiply_right(size_t rows, size_t cols, const float *a, float *x);

/* tg_inverse_root - root [n,n] = (a + shift I)^(-1/2), or ^(-1/4) with `quarter`, for a symmetric a
 * [n,n] without negative eigenvalues (what rounding made negative counts as 0), of which the upper
 * triangle is read; not a number where a is not finite. In double, by eigenvalues. Errors:
 * TG_ERUNTIME without memory, or where the eigenvalues do not converge. */
TG_CHECKED tg_status tg_inverse_root(size_t n, const float *a, double shift, bool quarter,
                                     float *root);
/* tg_inverse_root_bytes - memory that it takes meanwhile. */
size_t tg_inverse_root_bytes(size_t n);

#endif
