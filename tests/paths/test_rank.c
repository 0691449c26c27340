/* Structure matrices: their ranks against elimination in double over paths counted in another way,
 * and against the closed form m - H; the chosen paths as a basis; and networks whose widths give
 * none. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "paths/paths_private.h"
#include "tardigrad/rng.h"

enum { MOST_LAYERS = 6, MOST_POSITIONS = 400 };

/* ---- blocks ---- */

typedef struct net {
  tg_path_layer layer[MOST_LAYERS];
  tg_path_block block;
  size_t n; /* positions, unused ones included */
} net;

/* Layers with `taps` each, and biases where the bit of `biased` is set, with gaps between them. */
static void make_net(net *x, const size_t *width, int layers, size_t taps, unsigned biased) {
  memset(x, 0, sizeof *x);
  size_t at = 3;
  for (int l = 0; l < layers; l++) {
    tg_path_layer *y = &x->layer[l];
    *y = (tg_path_layer){.name = "layer",
                         .out = width[l + 1],
                         .in = width[l],
                         .taps = taps,
                         .centre = taps / 2,
                         .bias = TG_NOWHERE,
                         .scale = TG_NOWHERE,
                         .shift = TG_NOWHERE};
    if (biased >> l & 1 && l % 2) { /* before its weight, or behind it */
      y->bias = at;
      at += y->out + 1;
    }
    y->offset = at;
    at += y->out * y->in * taps + 2;
    if (biased >> l & 1 && l % 2 == 0) {
      y->bias = at;
      at += y->out + 5;
    }
  }
  x->n = at;
  x->block = (tg_path_block){.name = "net", .count = layers, .layer = x->layer};
  for (int n = 1; n < layers; n++)
    if (x->block.special == 0 || width[n] > width[x->block.special]) x->block.special = n;
}

/* ---- the reference ---- */

/* Rank of a [rows][cols] by elimination with the largest pivots; destroys it. */
static size_t rank_of(double *a, size_t rows, size_t cols) {
  size_t rank = 0;
  for (size_t c = 0; c < cols && rank < rows; c++) {
    size_t pivot = rank;
    for (size_t r = rank; r < rows; r++)
      if (fabs(a[r * cols + c]) > fabs(a[pivot * cols + c])) pivot = r;
    if (fabs(a[pivot * cols + c]) < 1e-7) continue;
    for (size_t k = 0; k < cols; k++) {
      double t = a[pivot * cols + k];
      a[pivot * cols + k] = a[rank * cols + k];
      a[rank * cols + k] = t;
    }
    for (size_t r = rank + 1; r < rows; r++) {
      double f = a[r * cols + c] / a[rank * cols + c];
      for (size_t k = c; k < cols && f != 0; k++) a[r * cols + k] -= f * a[rank * cols + k];
    }
    rank++;
  }
  return rank;
}

/* How many paths begin at layer `from`, at each unit that it reads. */
static size_t ways(const net *x, int from) {
  size_t count = 1;
  for (int l = from; l < x->block.count; l++) count *= x->layer[l].out * x->layer[l].taps;
  return count;
}

/* Path number k of those that begin at unit i of what layer `from` reads, added to a row. */
static void mark(const net *x, int from, size_t i, size_t k, double *row) {
  for (int l = from; l < x->block.count; l++) {
    const tg_path_layer *y = &x->layer[l];
    size_t tap = k % y->taps, o = k / y->taps % y->out;
    k /= y->taps * y->out;
    row[y->offset + (o * y->in + i) * y->taps + tap] = 1;
    i = o;
  }
}

/* All paths as rows of a [*count][n]. */
static double *all_paths(const net *x, size_t *count) {
  size_t at = 0;
  *count = x->layer[0].in * ways(x, 0);
  for (int l = 0; l < x->block.count; l++)
    if (x->layer[l].bias != TG_NOWHERE) *count += x->layer[l].out * ways(x, l + 1);
  double *a = calloc(*count * x->n, sizeof *a);
  ck_assert_ptr_nonnull(a);
  for (size_t i = 0; i < x->layer[0].in; i++)
    for (size_t k = 0; k < ways(x, 0); k++) mark(x, 0, i, k, a + at++ * x->n);
  for (int l = 0; l < x->block.count; l++)
    for (size_t o = 0; o < x->layer[l].out && x->layer[l].bias != TG_NOWHERE; o++)
      for (size_t k = 0; k < ways(x, l + 1); k++) {
        a[at * x->n + x->layer[l].bias + o] = 1;
        mark(x, l + 1, o, k, a + at++ * x->n);
      }
  ck_assert_uint_eq(at, *count);
  return a;
}

static double *rows_of(const net *x, const tg_path_list *list) {
  double *a = calloc(list->count * x->n + 1, sizeof *a);
  ck_assert_ptr_nonnull(a);
  for (size_t i = 0; i < list->count; i++)
    for (size_t k = 0; k < list->length && list->edge[i * list->length + k] != TG_NOWHERE; k++)
      a[i * x->n + list->edge[i * list->length + k]] += 1;
  return a;
}

/* Where among [count][n] a row is, `taken` left out; count if nowhere. */
static size_t find_row(const double *all, size_t count, size_t n, const double *row,
                       const bool *taken) {
  for (size_t i = 0; i < count; i++)
    if (!(taken && taken[i]) && memcmp(all + i * n, row, n * sizeof *row) == 0) return i;
  return count;
}

/* ---- what holds for every block ---- */

static void check_all(const net *x, size_t rank) {
  size_t count, found;
  double *expected = all_paths(x, &count);
  bool *taken = calloc(count, sizeof *taken);
  tg_path_list list;
  ck_assert_double_eq(tg_path_total(&x->block), (double)count);
  ck_assert_int_eq(tg_path_list_all(&x->block, &list), TG_OK);
  ck_assert_uint_eq(list.count, count);
  double *rows = rows_of(x, &list);
  for (size_t i = 0; i < count; i++) {
    size_t at = find_row(expected, count, x->n, rows + i * x->n, taken);
    ck_assert_uint_lt(at, count);
    taken[at] = true;
  }
  ck_assert_int_eq(tg_path_rank(&x->block, &list, NULL, &found, NULL), TG_OK);
  ck_assert_uint_eq(found, rank);
  ck_assert_uint_eq(rank_of(expected, count, x->n), rank);
  free(taken);
  free(rows);
  free(expected);
  tg_path_list_free(&list);
}

static bool is_skeleton(const net *x, int l, size_t position) {
  for (size_t t = 0; t < tg_path_skeletons(&x->block, l); t++)
    if (tg_path_skeleton(&x->block, l, t) == position) return true;
  return false;
}

/* Chosen paths are paths, as many as the rank, and independent; skeletons are centres; every weight
 * that is no skeleton, and every bias, is in exactly one. */
static void check_basis(const net *x, size_t rank) {
  size_t count, *uses = calloc(x->n, sizeof *uses);
  double *all = all_paths(x, &count);
  tg_path_list basis;
  ck_assert_int_eq(tg_path_list_basis(&x->block, &basis), TG_OK);
  ck_assert_uint_eq(basis.count, rank);
  double *rows = rows_of(x, &basis);
  for (size_t i = 0; i < basis.count; i++) {
    ck_assert_uint_lt(find_row(all, count, x->n, rows + i * x->n, NULL), count);
    for (size_t k = 0; k < x->n; k++) uses[k] += rows[i * x->n + k] != 0;
  }
  for (int l = 1; l <= x->block.count; l++) {
    const tg_path_layer *y = &x->layer[l - 1];
    for (size_t k = y->offset; k < y->offset + y->out * y->in * y->taps; k++)
      ck_assert(is_skeleton(x, l, k) ? (k - y->offset) % y->taps == y->taps / 2 : uses[k] == 1);
    for (size_t o = 0; o < y->out && y->bias != TG_NOWHERE; o++)
      ck_assert_uint_eq(uses[y->bias + o], 1);
  }
  ck_assert_uint_eq(rank_of(rows, basis.count, x->n), rank);
  free(uses);
  free(rows);
  free(all);
  tg_path_list_free(&basis);
}

static double product(const tg_path_list *list, size_t i, const float *w) {
  const size_t *edge = list->edge + i * list->length;
  double value = 1;
  for (size_t k = 0; k < list->length && edge[k] != TG_NOWHERE; k++) value *= (double)w[edge[k]];
  return value;
}

/* The value of a basis path: as the products of gauges have it, and weight by weight. */
static void check_values(const net *x) {
  const tg_path_block *b = &x->block;
  float w[MOST_POSITIONS], v[8], store[2][MOST_LAYERS + 1][8], *p[MOST_LAYERS + 1],
      *q[MOST_LAYERS + 1];
  tg_gauge gauge = {.p = p, .q = q, .v = v};
  tg_rng r = tg_rng_open(5, TG_RNG_TEST, x->n, 0);
  tg_path_list basis;
  for (size_t k = 0; k < x->n; k++) w[k] = 0.5f + (float)tg_rng_below(&r, 1000) / 1000;
  for (int n = 0; n <= b->count; n++) {
    p[n] = store[0][n];
    q[n] = store[1][n];
  }
  tg_gauge_read(b, w, &gauge);
  ck_assert_int_eq(tg_path_list_basis(b, &basis), TG_OK);
  size_t at = 0;
  for (size_t j = 0; j < tg_path_width(b, b->special); j++)
    ck_assert_double_eq_tol(gauge.v[j], product(&basis, at++, w), 1e-5 * gauge.v[j]);
  for (int l = 1; l <= b->count; l++) {
    const tg_path_layer *y = &b->layer[l - 1];
    for (size_t k = 0; k < y->out * y->in * y->taps; k++) {
      double c = (double)p[l - 1][k / y->taps % y->in] * q[l][k / y->taps / y->in];
      if (is_skeleton(x, l, y->offset + k)) continue;
      double value = product(&basis, at++, w);
      ck_assert_double_eq_tol((double)w[y->offset + k] * c, value, 1e-5 * value);
    }
    for (size_t o = 0; o < y->out && y->bias != TG_NOWHERE; o++) {
      double value = product(&basis, at++, w);
      ck_assert_double_eq_tol((double)w[y->bias + o] * q[l][o], value, 1e-5 * value);
    }
  }
  ck_assert_uint_eq(at, basis.count);
  tg_path_list_free(&basis);
}

static void check_net(const net *x, size_t rank) {
  tg_path_check c;
  check_all(x, rank);
  check_basis(x, rank);
  check_values(x);
  ck_assert_int_eq(tg_path_verify(&x->block, &c), TG_OK);
  ck_assert(c.done && c.holds);
  ck_assert(c.rank == rank && c.basis == rank && c.basis_rank == rank && c.joint == rank);
}

/* ---- the networks of the specification ---- */

static const struct {
  size_t width[MOST_LAYERS + 1];
  int layers;
  size_t taps, weights, hidden, rank;
} known[] = {
    {{2, 2, 1}, 2, 1, 6, 2, 4},         {{2, 2, 2}, 2, 1, 8, 2, 6},
    {{2, 2, 2, 1}, 3, 1, 10, 4, 6},     {{3, 3, 3, 3}, 3, 1, 27, 6, 21},
    {{3, 2, 4, 3, 2}, 4, 1, 32, 9, 23}, {{2, 4, 2, 3}, 3, 1, 22, 6, 16},
    {{2, 2, 2, 1}, 3, 3, 30, 4, 26},    {{1, 2, 2}, 2, 9, 54, 2, 52},
};

START_TEST(rank_is_weights_less_hidden_units) {
  net x;
  make_net(&x, known[_i].width, known[_i].layers, known[_i].taps, 0);
  tg_path_counts c = tg_path_count(&x.block);
  ck_assert(c.weights == known[_i].weights && c.biases == 0);
  ck_assert(c.hidden == known[_i].hidden && c.rank == known[_i].rank);
  ck_assert(c.frozen == c.hidden && c.trained == tg_path_width(&x.block, x.block.special));
  check_net(&x, known[_i].rank);
}
END_TEST

/* A bias of every layer is an edge from a constant source: it adds to the weights, and to no units.
 */
START_TEST(biases_are_edges_too) {
  net x;
  make_net(&x, known[_i].width, known[_i].layers, known[_i].taps, ~0U);
  tg_path_counts c = tg_path_count(&x.block);
  size_t biases = 0;
  for (int n = 1; n <= known[_i].layers; n++) biases += known[_i].width[n];
  ck_assert(c.biases == biases && c.rank == known[_i].rank + biases);
  check_net(&x, c.rank);
}
END_TEST

/* Widths from 1 to 5 that rise and fall, 2 to 5 layers, 1, 3 or 9 taps, any biases; of a size that
 * the reference can take. */
START_TEST(random_networks) {
  tg_rng r = tg_rng_open(11, TG_RNG_TEST, (uint64_t)_i, 0);
  static const size_t taps[] = {1, 1, 3, 9};
  net x;
  for (;;) {
    size_t width[MOST_LAYERS + 1];
    int layers = 2 + (int)tg_rng_below(&r, 4),
        top = 1 + (int)tg_rng_below(&r, (uint32_t)layers - 1);
    for (int n = 0; n <= layers; n++) width[n] = 1 + tg_rng_below(&r, 5);
    for (int n = 2; n < layers; n++)
      if (n <= top ? width[n] < width[n - 1] : width[n] > width[n - 1]) width[n] = width[n - 1];
    make_net(&x, width, layers, taps[tg_rng_below(&r, 4)], tg_rng_u32(&r));
    if (tg_path_total(&x.block) <= 1500 && x.n <= MOST_POSITIONS) break;
  }
  ck_assert(tg_path_rises(&x.block));
  check_net(&x, tg_path_count(&x.block).rank);
}
END_TEST

/* ---- networks without a basis ---- */

START_TEST(widths_that_fall_and_rise_again_give_none) {
  static const size_t width[] = {3, 4, 2, 4, 2};
  net x;
  tg_path_list basis;
  tg_path_check check;
  make_net(&x, width, 4, 1, 0);
  tg_path_counts c = tg_path_count(&x.block);
  ck_assert(c.rank == 26 && c.weights - c.frozen == 24);
  check_all(&x, 26);
  ck_assert_int_eq(tg_path_list_basis(&x.block, &basis), TG_ECONFIG);
  ck_assert_str_eq(tg_status_message(), "path block net: skeletons are no basis of its paths");
  ck_assert_int_eq(tg_path_verify(&x.block, &check), TG_OK);
  ck_assert(check.done && !check.holds);
  ck_assert(check.rank == 26 && check.basis == 0 && check.basis_rank == 0);
}
END_TEST

START_TEST(one_layer_has_no_hidden_units) {
  static const size_t width[] = {3, 2};
  net x;
  tg_path_check check;
  make_net(&x, width, 1, 1, 1);
  check_all(&x, 8);
  ck_assert_int_eq(tg_path_verify(&x.block, &check), TG_OK);
  ck_assert(check.done && !check.holds && check.rank == 8);
}
END_TEST

/* ---- what could go wrong is found ---- */

START_TEST(what_is_no_basis_is_told_apart) {
  static const size_t width[] = {2, 2, 2, 1};
  net x;
  tg_path_list basis;
  size_t rank, joint;
  make_net(&x, width, 3, 3, 0);
  ck_assert_int_eq(tg_path_list_basis(&x.block, &basis), TG_OK);
  size_t length = basis.length, *last = basis.edge + (basis.count - 1) * length;
  /* One less, or one twice. */
  basis.count--;
  ck_assert_int_eq(tg_path_rank(&x.block, &basis, NULL, &rank, NULL), TG_OK);
  ck_assert_uint_eq(rank, 25);
  basis.count++;
  memcpy(last, basis.edge, length * sizeof *last);
  ck_assert_int_eq(tg_path_rank(&x.block, &basis, &basis, &rank, &joint), TG_OK);
  ck_assert(rank == 25 && joint == 25);
  /* One that enters unit 0 and goes on from unit 1. */
  tg_path_list all;
  ck_assert_int_eq(tg_path_list_all(&x.block, &all), TG_OK);
  last[0] = x.layer[0].offset;
  last[1] = x.layer[1].offset + 3;
  last[2] = x.layer[2].offset;
  ck_assert_int_eq(tg_path_rank(&x.block, &all, &basis, &rank, &joint), TG_OK);
  ck_assert(rank == 26 && joint == 27);
  tg_path_list_free(&all);
  tg_path_list_free(&basis);
}
END_TEST

START_TEST(large_blocks_are_left_alone) {
  static const size_t many_paths[] = {9, 9, 9, 9, 9, 9, 9}, many_weights[] = {3000, 2, 1};
  net x;
  tg_path_list list;
  tg_path_check check;
  size_t rank;
  make_net(&x, many_paths, 6, 1, 0);
  ck_assert_int_eq(tg_path_list_all(&x.block, &list), TG_ECONFIG);
  ck_assert_str_eq(tg_status_message(),
                   "path block net has 4.78e+06 paths: more than 400000 are not listed");
  ck_assert_int_eq(tg_path_verify(&x.block, &check), TG_OK);
  ck_assert(!check.done && !check.holds);
  make_net(&x, many_weights, 2, 1, 0);
  ck_assert_int_eq(tg_path_verify(&x.block, &check), TG_OK);
  ck_assert(!check.done && !check.holds);
  ck_assert_int_eq(tg_path_list_all(&x.block, &list), TG_OK);
  ck_assert_int_eq(tg_path_rank(&x.block, &list, NULL, &rank, NULL), TG_ECONFIG);
  tg_path_list_free(&list);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("rank");
  TCase *cases = tcase_create("rank");
  tcase_set_timeout(cases, 60);
  tcase_add_loop_test(cases, rank_is_weights_less_hidden_units, 0, sizeof known / sizeof *known);
  tcase_add_loop_test(cases, biases_are_edges_too, 0, sizeof known / sizeof *known);
  tcase_add_loop_test(cases, random_networks, 0, 12);
  tcase_add_test(cases, widths_that_fall_and_rise_again_give_none);
  tcase_add_test(cases, one_layer_has_no_hidden_units);
  tcase_add_test(cases, what_is_no_basis_is_told_apart);
  tcase_add_test(cases, large_blocks_are_left_alone);
  suite_add_tcase(suite, cases);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
