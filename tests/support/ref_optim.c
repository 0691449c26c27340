#include "ref_optim.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is(const ref_optim *r, const char *name) {
  const char *own = strcmp(r->name, "lookahead") == 0 ? r->inner : r->name;
  return strcmp(own, name) == 0;
}

static double *zeros(size_t n) {
  return calloc(n + 1, sizeof(double));
}

void ref_optim_open(ref_optim *r, const float *w0) {
  r->t = 0;
  r->w = zeros(r->n);
  r->a = zeros(r->n);
  r->b = zeros(r->n);
  r->c = zeros(r->n);
  r->slow = zeros(r->n);
  for (size_t i = 0; i < r->n; i++) r->w[i] = r->slow[i] = w0[i];
  for (size_t k = 0; k < r->tensors; k++) {
    size_t rows = r->tensor[k].rows, cols = r->tensor[k].cols;
    bool matrices = is(r, "shampoo");
    r->left[k] = matrices ? zeros(rows * rows) : NULL;
    r->right[k] = matrices ? zeros(cols * cols) : NULL;
    r->left_root[k] = matrices ? zeros(rows * rows) : NULL;
    r->right_root[k] = matrices ? zeros(cols * cols) : NULL;
  }
}

void ref_optim_close(ref_optim *r) {
  double *own[] = {r->w, r->a, r->b, r->c, r->slow};
  for (size_t i = 0; i < sizeof own / sizeof *own; i++) free(own[i]);
  for (size_t k = 0; k < r->tensors; k++) {
    free(r->left[k]);
    free(r->right[k]);
    free(r->left_root[k]);
    free(r->right_root[k]);
  }
}

/* ---- one coordinate ---- */

double ref_alpha(const ref_optim *r, int t) {
  return fmin(t * r->alpha / r->alpha_updates, r->alpha);
}

double ref_beta3(const ref_optim *r, int t) {
  double part = t / r->beta3_updates, from = log(r->beta1), to = log(r->beta3);
  if (part >= 1) return r->beta3;
  return fmin(exp(from * to / ((1 - part) * to + part * from)), r->beta3);
}

static double mean(double *m, double beta, double x) {
  return *m = beta * *m + (1 - beta) * x;
}

static double adam(ref_optim *r, size_t i, double g, double scale, double top) {
  double m = mean(&r->a[i], r->beta1, g) / (1 - pow(r->beta1, r->t));
  double v = mean(&r->b[i], r->beta2, g * g);
  if (top >= 0) v = r->c[i] = fmax(r->c[i], v);
  return scale * m / (sqrt(v / (1 - pow(r->beta2, r->t))) + r->epsilon);
}

/* What is taken off weight i, over lr. */
static double direction(ref_optim *r, size_t i, double g) {
  double d = g + r->decay * r->w[i];
  if (is(r, "sgd")) return d;
  if (is(r, "momentum")) return r->a[i] = r->momentum * r->a[i] + d;
  if (is(r, "nesterov")) {
    r->a[i] = r->momentum * r->a[i] + d;
    return d + r->momentum * r->a[i];
  }
  if (is(r, "adam")) return adam(r, i, d, 1, -1);
  if (is(r, "adamw")) return r->decay * r->w[i] + adam(r, i, g, 1, -1);
  if (is(r, "amsgrad")) return adam(r, i, d, 1, 1);
  if (is(r, "diffgrad")) {
    double friction = 1 / (1 + exp(-fabs(r->c[i] - d)));
    r->c[i] = d;
    return adam(r, i, d, friction, -1);
  }
  if (is(r, "ademamix")) {
    double slow = mean(&r->c[i], ref_beta3(r, r->t), g), fast = adam(r, i, g, 1, -1);
    double root = sqrt(r->b[i] / (1 - pow(r->beta2, r->t))) + r->epsilon;
    return fast + ref_alpha(r, r->t) * slow / root + r->decay * r->w[i];
  }
  abort();
}

/* ---- tensors ---- */

static double norm(size_t n, const double *x) {
  double sum = 0;
  for (size_t i = 0; i < n; i++) sum += x[i] * x[i];
  return sqrt(sum);
}

static void lars(ref_optim *r, const ref_tensor *t, size_t at, const double *g, double lr) {
  size_t n = t->rows * t->cols;
  double size = norm(n, r->w + at), slope = norm(n, g), decay = t->weight ? r->decay : 0;
  if (t->weight && size > 0 && slope > 0) lr *= r->trust * size / (slope + decay * size);
  for (size_t i = 0; i < n; i++) {
    double *v = &r->a[at + i], *w = &r->w[at + i];
    *v = r->momentum * *v + lr * (g[i] + decay * *w);
    *w -= *v;
  }
}

static void lamb(ref_optim *r, const ref_tensor *t, size_t at, double *g, double lr) {
  size_t n = t->rows * t->cols;
  double decay = t->weight ? r->decay : 0;
  for (size_t i = 0; i < n; i++) g[i] = adam(r, at + i, g[i], 1, -1) + decay * r->w[at + i];
  double size = norm(n, r->w + at), length = norm(n, g);
  if (t->weight && size > 0 && length > 0) lr *= size / length;
  for (size_t i = 0; i < n; i++) r->w[at + i] -= lr * g[i];
}

static void rotate(size_t n, double *a, double *v, size_t p, size_t q) {
  if (a[p * n + q] == 0) return;
  double theta = (a[q * n + q] - a[p * n + p]) / (2 * a[p * n + q]);
  double t = (theta >= 0 ? 1 : -1) / (fabs(theta) + sqrt(theta * theta + 1));
  double c = 1 / sqrt(t * t + 1), s = t * c;
  for (size_t k = 0; k < n; k++) {
    double x = a[k * n + p], y = a[k * n + q];
    a[k * n + p] = c * x - s * y;
    a[k * n + q] = s * x + c * y;
  }
  for (size_t k = 0; k < n; k++) {
    double x = a[p * n + k], y = a[q * n + k];
    a[p * n + k] = c * x - s * y;
    a[q * n + k] = s * x + c * y;
    x = v[p * n + k], y = v[q * n + k];
    v[p * n + k] = c * x - s * y;
    v[q * n + k] = s * x + c * y;
  }
}

void ref_power(size_t n, const double *matrix, double shift, double power, double *root) {
  double *a = zeros(n * n), *v = zeros(n * n);
  memcpy(a, matrix, n * n * sizeof *a);
  for (size_t i = 0; i < n; i++) v[i * n + i] = 1;
  for (int sweep = 0; sweep < 30; sweep++)
    for (size_t p = 0; p < n; p++)
      for (size_t q = p + 1; q < n; q++) rotate(n, a, v, p, q);
  memset(root, 0, n * n * sizeof *root);
  for (size_t k = 0; k < n; k++) {
    double f = pow(fmax(a[k * n + k], 0) + shift, power);
    for (size_t i = 0; i < n; i++)
      for (size_t j = 0; j < n; j++) root[i * n + j] += f * v[k * n + i] * v[k * n + j];
  }
  free(a);
  free(v);
}

static void product(size_t rows, size_t inner, size_t cols, const double *a, const double *b,
                    double *y) {
  for (size_t i = 0; i < rows; i++)
    for (size_t j = 0; j < cols; j++) {
      double sum = 0;
      for (size_t k = 0; k < inner; k++) sum += a[i * inner + k] * b[k * cols + j];
      y[i * cols + j] = sum;
    }
}

static void gram(size_t rows, size_t cols, const double *g, bool right, double *sum) {
  size_t n = right ? cols : rows, m = right ? rows : cols;
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < n; j++)
      for (size_t k = 0; k < m; k++)
        sum[i * n + j] +=
            right ? g[k * cols + i] * g[k * cols + j] : g[i * cols + k] * g[j * cols + k];
}

static void shampoo(ref_optim *r, size_t k, size_t at, double *g, double lr) {
  size_t rows = r->tensor[k].rows, cols = r->tensor[k].cols, limit = (size_t)r->limit;
  bool matrix = rows > 1 && cols > 1;
  bool left = matrix && rows <= limit, right = matrix && cols <= limit;
  bool anew = r->t <= r->every || (r->t - 1) % r->every == 0;
  double power = left && right ? -0.25 : -0.5, *y = zeros(rows * cols);
  for (size_t i = 0; i < rows * cols; i++) g[i] += r->decay * r->w[at + i];
  if (left) gram(rows, cols, g, false, r->left[k]);
  if (right) gram(rows, cols, g, true, r->right[k]);
  if (left && anew) ref_power(rows, r->left[k], r->epsilon, power, r->left_root[k]);
  if (right && anew) ref_power(cols, r->right[k], r->epsilon, power, r->right_root[k]);
  for (size_t i = 0; !left && !right && i < rows * cols; i++) {
    r->a[at + i] += g[i] * g[i];
    g[i] /= sqrt(r->a[at + i] + r->epsilon);
  }
  if (left) {
    product(rows, rows, cols, r->left_root[k], g, y);
    memcpy(g, y, rows * cols * sizeof *g);
  }
  if (right) {
    product(rows, cols, cols, g, r->right_root[k], y);
    memcpy(g, y, rows * cols * sizeof *g);
  }
  for (size_t i = 0; i < rows * cols; i++) r->w[at + i] -= lr * g[i];
  free(y);
}

void ref_optim_step(ref_optim *r, double *g, double lr) {
  size_t at = 0;
  bool whole = is(r, "lars") || is(r, "lamb") || is(r, "shampoo");
  r->t++;
  for (size_t k = 0; whole && k < r->tensors; at += r->tensor[k].rows * r->tensor[k].cols, k++) {
    if (is(r, "lars")) lars(r, &r->tensor[k], at, g + at, lr);
    if (is(r, "lamb")) lamb(r, &r->tensor[k], at, g + at, lr);
    if (is(r, "shampoo")) shampoo(r, k, at, g + at, lr);
  }
  for (size_t i = 0; !whole && i < r->n; i++) r->w[i] -= lr * direction(r, i, g[i]);
  if (strcmp(r->name, "lookahead") != 0 || r->t % r->k != 0) return;
  for (size_t i = 0; i < r->n; i++)
    r->w[i] = r->slow[i] = r->slow[i] + r->alpha * (r->w[i] - r->slow[i]);
}
