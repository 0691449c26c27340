/* node.c - how a graph grows. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tardigrad/graph.h"

tg_status tg_graph_create(tg_graph **out) {
  tg_graph *g = calloc(1, sizeof *g);
  if (g) g->arena = tg_arena_create();
  if (!g || !g->arena) {
    free(g);
    TG_FAIL(TG_ERUNTIME, "no memory for a graph");
  }
  *out = g;
  return TG_OK;
}

void tg_graph_destroy(tg_graph *g) {
  if (!g) return;
  free(g->node);
  free(g->param);
  free(g->stat);
  tg_arena_destroy(g->arena);
  free(g);
}

tg_status tg_graph_status(const tg_graph *g) {
  if (g->status == TG_OK) return TG_OK;
  TG_FAIL(g->status, "%s", g->message);
}

tg_status tg_graph_fail(tg_graph *g, tg_status code, const char *format, ...) {
  if (g->status != TG_OK) return g->status; /* the first failure is the cause */
  va_list args;
  va_start(args, format);
  vsnprintf(g->message, sizeof g->message, format, args);
  va_end(args);
  g->status = code;
  return tg_status_set(code, "%s", g->message);
}

tg_value *tg_graph_value(const tg_graph *g, const char *name) {
  for (int i = 0; i < g->node_count; i++)
    if (strcmp(g->node[i]->out->name, name) == 0) return g->node[i]->out;
  return NULL;
}

void tg_graph_path_block(tg_graph *g, const char *name) {
  g->path_block = name ? tg_arena_printf(g->arena, "%s", name) : NULL;
  if (name && !g->path_block) tg_graph_fail(g, TG_ERUNTIME, "no memory for a graph");
}

/* The list with room for one more pointer, or NULL without memory (the old list stays valid). */
static void *grown(void *list, int count, int *room) {
  if (count < *room) return list;
  int wanted = *room ? 2 * *room : 64;
  void *more = realloc(list, (size_t)wanted * sizeof(void *));
  if (more) *room = wanted;
  return more;
}

static tg_status out_of_memory(tg_graph *g) {
  return tg_graph_fail(g, TG_ERUNTIME, "no memory for a graph of %d nodes", g->node_count);
}

static tg_node *new_node(tg_graph *g, const tg_op *op, const char *name, const void *attr,
                         size_t attr_bytes) {
  tg_node *node = tg_arena_alloc(g->arena, sizeof *node);
  tg_value *out = tg_arena_alloc(g->arena, sizeof *out);
  void *copy = tg_arena_alloc(g->arena, attr_bytes ? attr_bytes : 1);
  char *own_name = name ? tg_arena_printf(g->arena, "%s", name)
                        : tg_arena_printf(g->arena, "%s_%d", op->name, g->node_count);
  if (!node || !out || !copy || !own_name) return NULL;
  if (attr_bytes) memcpy(copy, attr, attr_bytes);
  *node = (tg_node){.op = op,
                    .index = g->node_count,
                    .name = own_name,
                    .attr = copy,
                    .out = out,
                    .path_block = g->path_block};
  *out = (tg_value){.index = node->index, .name = own_name, .producer = node};
  return node;
}

tg_value *tg_graph_add(tg_graph *g, const tg_op *op, const char *name, const void *attr,
                       size_t attr_bytes, int in_count, tg_value *const *in) {
  if (g->status != TG_OK) return NULL;
  tg_node *node = new_node(g, op, name, attr, attr_bytes);
  if (!node) {
    out_of_memory(g);
    return NULL;
  }
  if (in_count > TG_MAX_INPUTS) {
    tg_graph_fail(g, TG_ECONFIG, "%s %s: %d inputs, at most %d are possible", op->name, node->name,
                  in_count, TG_MAX_INPUTS);
    return NULL;
  }
  for (int i = 0; i < in_count; i++) {
    if (!in[i]) {
      tg_graph_fail(g, TG_ECONFIG, "%s %s: input %d is missing", op->name, node->name, i);
      return NULL;
    }
    node->in[i] = in[i];
  }
  node->in_count = in_count;
  tg_status status = op->infer(g, node);
  if (status != TG_OK) {
    tg_graph_fail(g, status, "%s", tg_status_message());
    return NULL;
  }
  tg_value *out = node->out;
  out->needs_grad = node->param_count > 0;
  for (int i = 0; i < in_count; i++) {
    in[i]->uses++;
    out->needs_grad |= in[i]->needs_grad;
  }
  tg_node **nodes = grown(g->node, g->node_count, &g->node_room);
  if (!nodes) {
    out_of_memory(g);
    return NULL;
  }
  g->node = nodes;
  g->node[g->node_count++] = node;
  return out;
}

tg_status tg_node_param(tg_graph *g, tg_node *node, const char *suffix, tg_shape shape,
                        tg_init_kind init, int64_t fan_in, int64_t fan_out) {
  char *name = tg_arena_printf(g->arena, "%s.%s", node->name, suffix);
  if (!name) return out_of_memory(g);
  if (node->param_count == TG_MAX_PARAMS)
    return tg_graph_fail(g, TG_ECONFIG, "%s: more than %d parameters", node->name, TG_MAX_PARAMS);
  for (int i = 0; i < g->param_count; i++) {
    tg_param *p = g->param[i];
    if (strcmp(p->name, name) != 0) continue;
    char have[64], want[64];
    if (!tg_shape_equal(&p->shape, &shape))
      return tg_graph_fail(g, TG_ECONFIG, "parameter %s is shared with shape %s but wanted as %s",
                           name, tg_shape_text(&p->shape, have, sizeof have),
                           tg_shape_text(&shape, want, sizeof want));
    p->uses++;
    node->param[node->param_count++] = p;
    return TG_OK;
  }
  tg_param *p = tg_arena_alloc(g->arena, sizeof *p);
  if (!p) return out_of_memory(g);
  *p = (tg_param){.name = name,
                  .shape = shape,
                  .offset = g->n,
                  .count = tg_shape_count(&shape),
                  .init = init,
                  .fan_in = fan_in,
                  .fan_out = fan_out,
                  .uses = 1};
  tg_param **params = grown(g->param, g->param_count, &g->param_room);
  if (!params) return out_of_memory(g);
  g->param = params;
  g->param[g->param_count++] = p;
  g->n += p->count;
  node->param[node->param_count++] = p;
  return TG_OK;
}

tg_status tg_node_stat(tg_graph *g, tg_node *node, const char *suffix, size_t count, float initial,
                       float momentum) {
  char *name = tg_arena_printf(g->arena, "%s.%s", node->name, suffix);
  if (!name) return out_of_memory(g);
  if (node->stat_count == TG_MAX_STATS)
    return tg_graph_fail(g, TG_ECONFIG, "%s: more than %d statistics", node->name, TG_MAX_STATS);
  tg_stat *stat = NULL;
  for (int i = 0; i < g->stat_count && !stat; i++)
    if (strcmp(g->stat[i]->name, name) == 0) stat = g->stat[i];
  if (stat && stat->count != count)
    return tg_graph_fail(g, TG_ECONFIG,
                         "statistic %s is shared with %zu numbers but wanted with %zu", name,
                         stat->count, count);
  if (!stat) {
    stat = tg_arena_alloc(g->arena, sizeof *stat);
    if (!stat) return out_of_memory(g);
    *stat = (tg_stat){.name = name, .offset = g->k, .count = count, .initial = initial};
    tg_stat **stats = grown(g->stat, g->stat_count, &g->stat_room);
    if (!stats) return out_of_memory(g);
    g->stat = stats;
    g->stat[g->stat_count++] = stat;
    g->k += count;
  }
  node->stat[node->stat_count++] =
      (tg_stat_use){.stat = stat, .s_offset = g->ks, .momentum = momentum};
  g->ks += count;
  return TG_OK;
}
