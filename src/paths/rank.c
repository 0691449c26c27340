/* rank.c - lists paths one by one, and finds the rank of their structure matrix: what paths.h says
 * of skeletons, checked where there are few enough.
 *
 * The matrix has a row per weight and bias and a column per path, 1 where the path goes through it.
 * Its rank is found modulo a prime, and that is exact where it comes to m - H: modulo a prime it is
 * never above the rank, since a minor that is not 0 modulo a prime is not 0; and the rank is never
 * above m - H, since every hidden unit gives a relation - on each path, as many weights enter it as
 * leave it - and these H relations are independent: in their sum with factors c a weight from unit
 * i to unit o has c_o - c_i, the input and the output having 0, and all of these are 0 only if all
 * c are. The same holds for a list of m - H paths, which is a basis then. */
#include <stdlib.h>
#include <string.h>

#include "tardigrad/paths.h"

/* ---- lists ---- */

static tg_status list_create(size_t count, size_t length, tg_path_list *out) {
  *out = (tg_path_list){.length = length};
  out->edge = malloc((count * length + 1) * sizeof *out->edge);
  if (!out->edge) TG_FAIL(TG_ERUNTIME, "no memory for %zu paths", count);
  for (size_t i = 0; i < count * length; i++) out->edge[i] = TG_NOWHERE;
  return TG_OK;
}

void tg_path_list_free(tg_path_list *list) {
  free(list->edge);
  *list = (tg_path_list){.edge = NULL};
}

static size_t weight_at(const tg_path_layer *y, size_t o, size_t i, size_t tap) {
  return y->offset + (o * y->in + i) * y->taps + tap;
}

double tg_path_total(const tg_path_block *b) {
  double paths = (double)tg_path_width(b, 0);
  for (int l = 0; l < b->count; l++) paths *= (double)(b->layer[l].out * b->layer[l].taps);
  for (int l = 1; l <= b->count; l++) {
    double from = b->layer[l - 1].bias != TG_NOWHERE ? (double)tg_path_width(b, l) : 0;
    for (int k = l; k < b->count; k++) from *= (double)(b->layer[k].out * b->layer[k].taps);
    paths += from;
  }
  return paths;
}

typedef struct walk {
  const tg_path_block *b;
  tg_path_list *list;
  size_t *edge; /* [length] of the path so far */
} walk;

/* All paths that go on from unit i of node layer n with `used` weights behind them. */
static void go_on(walk *x, int n, size_t i, size_t used) {
  if (n == x->b->count) {
    memcpy(x->list->edge + x->list->count * x->list->length, x->edge, used * sizeof *x->edge);
    x->list->count++;
    return;
  }
  const tg_path_layer *y = &x->b->layer[n];
  for (size_t o = 0; o < y->out; o++)
    for (size_t tap = 0; tap < y->taps; tap++) {
      x->edge[used] = weight_at(y, o, i, tap);
      go_on(x, n + 1, o, used + 1);
    }
}

tg_status tg_path_list_all(const tg_path_block *b, tg_path_list *out) {
  double total = tg_path_total(b);
  if (total > TG_MOST_PATHS)
    TG_FAIL(TG_ECONFIG, "path block %s has %.3g paths: more than %d are not listed", b->name, total,
            (int)TG_MOST_PATHS);
  walk x = {.b = b, .list = out, .edge = calloc((size_t)b->count, sizeof *x.edge)};
  if (!x.edge) TG_FAIL(TG_ERUNTIME, "no memory for a path of %d weights", b->count);
  tg_status status = list_create((size_t)total, (size_t)b->count, out);
  for (size_t i = 0; i < tg_path_width(b, 0) && status == TG_OK; i++) go_on(&x, 0, i, 0);
  for (int l = 1; l <= b->count && status == TG_OK; l++)
    for (size_t o = 0; o < tg_path_width(b, l) && b->layer[l - 1].bias != TG_NOWHERE; o++) {
      x.edge[0] = b->layer[l - 1].bias + o;
      go_on(&x, l, o, 1);
    }
  free(x.edge);
  return status;
}

/* ---- the basis: the routes of paths.h, one weight beside them ---- */

/* From unit i of node layer n back to the input; returns where the path goes on. */
static size_t *route_in(const tg_path_block *b, int n, size_t i, size_t *edge) {
  for (; n >= 1; n--) {
    *edge++ = tg_path_skeleton(b, n, i);
    if (n <= b->special) i %= tg_path_width(b, n - 1);
  }
  return edge;
}

/* From it to the output. */
static size_t *route_out(const tg_path_block *b, int n, size_t i, size_t *edge) {
  for (; n < b->count; n++) {
    *edge++ = tg_path_skeleton(b, n + 1, i);
    if (n >= b->special) i %= tg_path_width(b, n + 1);
  }
  return edge;
}

static bool is_skeleton(const tg_path_block *b, int l, size_t position) {
  for (size_t t = 0; t < tg_path_skeletons(b, l); t++)
    if (tg_path_skeleton(b, l, t) == position) return true;
  return false;
}

/* The paths of layer l: one through every weight that is no skeleton, and from every bias. */
static void list_layer(const tg_path_block *b, int l, tg_path_list *out) {
  const tg_path_layer *y = &b->layer[l - 1];
  for (size_t k = 0; k < y->out * y->in * y->taps; k++) {
    size_t i = k / y->taps % y->in, o = k / y->taps / y->in;
    if (is_skeleton(b, l, y->offset + k)) continue;
    size_t *edge = route_in(b, l - 1, i, out->edge + out->count++ * out->length);
    *edge++ = y->offset + k;
    route_out(b, l, o, edge);
  }
  for (size_t o = 0; o < y->out && y->bias != TG_NOWHERE; o++) {
    size_t *edge = out->edge + out->count++ * out->length;
    *edge++ = y->bias + o;
    route_out(b, l, o, edge);
  }
}

tg_status tg_path_list_basis(const tg_path_block *b, tg_path_list *out) {
  tg_path_counts c = tg_path_count(b);
  if (b->special == 0 || !tg_path_rises(b))
    TG_FAIL(TG_ECONFIG, "path block %s: skeletons are no basis of its paths", b->name);
  TG_TRY(list_create(c.weights + c.biases - c.frozen, (size_t)b->count, out));
  for (size_t j = 0; j < tg_path_width(b, b->special); j++) {
    size_t *edge = route_in(b, b->special, j, out->edge + out->count++ * out->length);
    route_out(b, b->special, j, edge);
  }
  for (int l = 1; l <= b->count; l++) list_layer(b, l, out);
  return TG_OK;
}

/* ---- rank ---- */

#define PRIME 2147483647U /* 2^31 - 1: a sum fits 32 bits, and a product with a sum 64 */

/* Relations that all paths so far satisfy, as the columns of a matrix: at first one per weight, and
 * one less after each path that is independent of those before. */
typedef struct relations {
  const tg_path_block *b;
  uint32_t *at; /* [weights][weights], of which the first `left` columns count */
  size_t weights, left;
  uint32_t *value; /* [weights] of the relations on a path, and then factors */
  size_t *live;    /* [weights] which of them are not 0 */
} relations;

/* Weights and biases of the block, counted through. */
static size_t row_of(const tg_path_block *b, size_t position) {
  size_t row = 0;
  for (int l = 0; l < b->count; l++) {
    const tg_path_layer *y = &b->layer[l];
    size_t count = y->out * y->in * y->taps;
    if (position >= y->offset && position - y->offset < count) return row + position - y->offset;
    row += count;
    if (y->bias == TG_NOWHERE) continue;
    if (position >= y->bias && position - y->bias < y->out) return row + position - y->bias;
    row += y->out;
  }
  return row;
}

static uint32_t power(uint64_t x, uint64_t n) {
  uint64_t result = 1;
  for (; n; n >>= 1, x = x * x % PRIME)
    if (n & 1) result = result * x % PRIME;
  return (uint32_t)result;
}

static uint32_t add(uint32_t a, uint32_t b) {
  return a + b < PRIME ? a + b : a + b - PRIME;
}

/* What each relation comes to on a path; returns how many are not 0. */
static size_t evaluate(relations *r, const size_t *edge, size_t length) {
  size_t live = 0;
  memset(r->value, 0, r->left * sizeof *r->value);
  for (size_t k = 0; k < length && edge[k] != TG_NOWHERE; k++) {
    const uint32_t *row = r->at + row_of(r->b, edge[k]) * r->weights;
    for (size_t c = 0; c < r->left; c++) r->value[c] = add(r->value[c], row[c]);
  }
  for (size_t c = 0; c < r->left; c++)
    if (r->value[c]) r->live[live++] = c;
  return live;
}

/* Gives up the first relation that is not 0 on a path, and takes so much of it off the others that
 * they become 0. */
static void satisfy(relations *r, size_t live) {
  size_t gone = r->live[0];
  uint64_t inverse = power(r->value[gone], PRIME - 2);
  for (size_t k = 1; k < live; k++)
    r->value[r->live[k]] = (uint32_t)(PRIME - r->value[r->live[k]] * inverse % PRIME);
  for (size_t e = 0; e < r->weights; e++) {
    uint32_t *row = r->at + e * r->weights;
    uint64_t x = row[gone];
    for (size_t k = 1; k < live && x; k++) {
      size_t c = r->live[k];
      row[c] = (uint32_t)((row[c] + r->value[c] * x) % PRIME);
    }
    row[gone] = row[r->left - 1];
  }
  r->left--;
}

static void take(relations *r, const tg_path_list *list) {
  for (size_t i = 0; i < list->count; i++) {
    size_t live = evaluate(r, list->edge + i * list->length, list->length);
    if (live) satisfy(r, live);
  }
}

tg_status tg_path_rank(const tg_path_block *b, const tg_path_list *list, const tg_path_list *more,
                       size_t *rank, size_t *with_more) {
  tg_path_counts c = tg_path_count(b);
  size_t m = c.weights + c.biases;
  tg_status status = TG_OK;
  relations r = {.b = b, .weights = m, .left = m};
  if (m > TG_MOST_PATH_WEIGHTS)
    TG_FAIL(TG_ECONFIG, "path block %s has %zu weights and biases: a rank of at most %d is found",
            b->name, m, (int)TG_MOST_PATH_WEIGHTS);
  r.at = calloc(m * m, sizeof *r.at);
  r.value = calloc(m, sizeof *r.value);
  r.live = calloc(m, sizeof *r.live);
  if (!r.at || !r.value || !r.live)
    TG_DO(tg_status_set(TG_ERUNTIME, "no memory for a rank of %zu", m));
  for (size_t e = 0; e < m; e++) r.at[e * m + e] = 1;
  take(&r, list);
  *rank = m - r.left;
  if (!more) goto done;
  take(&r, more);
  *with_more = m - r.left;
done:
  free(r.at);
  free(r.value);
  free(r.live);
  return status;
}

tg_status tg_path_verify(const tg_path_block *b, tg_path_check *out) {
  tg_path_list all = {.edge = NULL}, basis = {.edge = NULL};
  tg_path_counts c = tg_path_count(b);
  tg_status status = TG_OK;
  *out = (tg_path_check){.paths = tg_path_total(b)};
  if (out->paths > TG_MOST_PATHS || c.weights + c.biases > TG_MOST_PATH_WEIGHTS) return TG_OK;
  out->done = true;
  TG_DO(tg_path_list_all(b, &all));
  if (b->special > 0 && tg_path_rises(b)) TG_DO(tg_path_list_basis(b, &basis));
  TG_DO(tg_path_rank(b, &all, &basis, &out->rank, &out->joint));
  TG_DO(tg_path_rank(b, &basis, NULL, &out->basis_rank, NULL));
  out->basis = basis.count;
  out->holds = out->rank == c.rank && out->joint == c.rank && out->basis == c.rank &&
               out->basis_rank == c.rank;
done:
  tg_path_list_free(&all);
  tg_path_list_free(&basis);
  return status;
}
