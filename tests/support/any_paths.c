#include "any_paths.h"

#include <stdio.h>
#include <stdlib.h>

#include "tardigrad/ops.h"
#include "tardigrad/paths.h"

enum { KEPT = 32, OF_A_UNIT = 5 /* two weights that enter it, two that leave it, a bias */ };

/* Programs that are no tests ask as well: Check's assertions would not do. */
static void must(bool holds, const char *what) {
  if (holds) return;
  fprintf(stderr, "any_paths: %s: %s\n", what, tg_status_message());
  abort();
}

static tg_graph *graph_of(size_t n, bool block) {
  const int64_t units = block ? (int64_t)(n / OF_A_UNIT) : 0, left = (int64_t)n - OF_A_UNIT * units;
  tg_graph *g;
  must(tg_graph_create(&g) == TG_OK, "a graph");
  tg_value *x = tg_input(g, "x", (tg_shape){2, {1, 2}});
  tg_graph_path_block(g, "any");
  if (units > 0) x = tg_dense(g, "leaves", tg_relu(g, tg_dense(g, "enters", x, units, true)), 2, 0);
  tg_graph_path_block(g, NULL);
  if (left > 0) tg_dense(g, "outside", tg_input(g, "one", (tg_shape){2, {1, 1}}), left, false);
  must(tg_graph_status(g) == TG_OK && g->n == n, "a graph of so many parameters");
  return g;
}

static const tg_paths *kept_paths(size_t n, bool block) {
  static struct {
    size_t n;
    bool block;
    tg_paths *paths;
  } kept[KEPT];
  int i = 0;
  while (i < KEPT && kept[i].paths && (kept[i].n != n || kept[i].block != block)) i++;
  must(i < KEPT, "too many sizes");
  if (kept[i].paths) return kept[i].paths;
  kept[i].n = n;
  kept[i].block = block;
  must(tg_paths_create(graph_of(n, block), &kept[i].paths) == TG_OK, "paths");
  return kept[i].paths;
}

const tg_paths *any_paths(size_t n) {
  return kept_paths(n, true);
}

const tg_paths *no_paths(size_t n) {
  return kept_paths(n, false);
}
