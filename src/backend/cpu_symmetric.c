#include "backend/cpu_symmetric.h"

#include <cblas.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

/* LAPACK's, column-major. The last two are the lengths of the texts. */
void dsyev_(const char *job, const char *triangle, const int *n, double *a, const int *lda,
            double *eigenvalue, double *work, const int *room, int *info, size_t, size_t);

/* OpenBLAS asks OpenMP how many threads the caller may have. */
static int alone(void) {
  int threads = omp_get_max_threads();
  omp_set_num_threads(1);
  return threads;
}

void tg_gram_add(size_t rows, size_t cols, const float *x, bool right, float *sum) {
  int threads = alone(), r = (int)rows, c = (int)cols;
  if (right)
    cblas_ssyrk(CblasRowMajor, CblasUpper, CblasTrans, c, r, 1, x, c, 1, sum, c);
  else
    cblas_ssyrk(CblasRowMajor, CblasUpper, CblasNoTrans, r, c, 1, x, c, 1, sum, r);
  omp_set_num_threads(threads);
}

/* Every column of the product is that of one column of x, every row that of one row: some of them
 * at a time are copied, and their product comes in their place. */
void tg_multiply_left(size_t rows, size_t cols, const float *a, float *x) {
  float tile[TG_SYMMETRIC_MOST];
  size_t most = TG_SYMMETRIC_MOST / rows;
  int threads = alone(), r = (int)rows, whole = (int)cols;
  for (size_t at = 0; at < cols; at += most) {
    size_t n = cols - at < most ? cols - at : most;
    for (size_t i = 0; i < rows; i++) memcpy(tile + i * n, x + i * cols + at, n * sizeof *x);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, r, (int)n, r, 1, a, r, tile, (int)n, 0,
                x + at, whole);
  }
  omp_set_num_threads(threads);
}

void tg_multiply_right(size_t rows, size_t cols, const float *a, float *x) {
  float tile[TG_SYMMETRIC_MOST];
  size_t most = TG_SYMMETRIC_MOST / cols;
  int threads = alone(), c = (int)cols;
  for (size_t at = 0; at < rows; at += most) {
    size_t n = rows - at < most ? rows - at : most;
    memcpy(tile, x + at * cols, n * cols * sizeof *x);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n, c, c, 1, tile, c, a, c, 0,
                x + at * cols, c);
  }
  omp_set_num_threads(threads);
}

static bool widen(size_t n, const float *a, double *wide) {
  bool finite = true;
  for (size_t i = 0; i < n; i++)
    for (size_t j = i; j < n; j++) {
      wide[i * n + j] = a[i * n + j];
      finite = finite && isfinite(a[i * n + j]);
    }
  return finite;
}

/* Rows of v become eigenvectors. work: [3 n] floats at least. */
static tg_status decompose(size_t n, double *v, double *eigenvalue, double *work, size_t room) {
  int order = (int)n, length = (int)room, info = 0, threads = alone();
  dsyev_("V", "L", &order, v, &order, eigenvalue, work, &length, &info, 1, 1);
  omp_set_num_threads(threads);
  if (info != 0)
    TG_FAIL(TG_ERUNTIME, "eigenvalues of a %zu x %zu matrix do not converge (dsyev: %d)", n, n,
            info);
  return TG_OK;
}

/* sum over i of f(eigenvalue i) v_i v_i^T, f the inverse root: work = diag(f) v, sum = v^T work. */
static void compose(size_t n, const double *v, const double *eigenvalue, double shift, bool quarter,
                    double *work, double *sum) {
  int order = (int)n, threads = alone();
  for (size_t i = 0; i < n; i++) {
    double f = 1 / sqrt((eigenvalue[i] > 0 ? eigenvalue[i] : 0) + shift);
    if (quarter) f = sqrt(f);
    for (size_t j = 0; j < n; j++) work[i * n + j] = f * v[i * n + j];
  }
  cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, order, order, order, 1, v, order, work,
              order, 0, sum, order);
  omp_set_num_threads(threads);
}

/* dsyev is faster with room for blocks of columns than with the 3 n that it needs. */
static size_t room_of(size_t n) {
  return n * n > 34 * n ? n * n : 34 * n;
}

size_t tg_inverse_root_bytes(size_t n) {
  return (2 * n * n + n + room_of(n)) * sizeof(double);
}

tg_status tg_inverse_root(size_t n, const float *a, double shift, bool quarter, float *root) {
  size_t room = room_of(n);
  tg_status status = TG_OK;
  double *v = malloc(tg_inverse_root_bytes(n));
  if (!v) TG_FAIL(TG_ERUNTIME, "no memory for the roots of a %zu x %zu matrix", n, n);
  double *sum = v + n * n, *eigenvalue = sum + n * n, *work = eigenvalue + n;
  if (!widen(n, a, v)) {
    /* What follows from it is not finite either, and is dropped and counted as for any optimiser.
     */
    for (size_t i = 0; i < n * n; i++) root[i] = NAN;
    free(v);
    return TG_OK;
  }
  TG_DO(decompose(n, v, eigenvalue, work, room));
  compose(n, v, eigenvalue, shift, quarter, work, sum);
  for (size_t i = 0; i < n * n; i++) root[i] = (float)sum[i];
done:
  free(v);
  return status;
}
