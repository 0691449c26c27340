/* blocks.c - the path blocks of a graph, and which of their weights are skeletons. */
#include <stdlib.h>
#include <string.h>

#include "paths/paths_private.h"
#include "tardigrad/ops.h"

/* ---- widths and skeletons ---- */

size_t tg_path_width(const tg_path_block *b, int n) {
  return n == 0 ? b->layer[0].in : b->layer[n - 1].out;
}

size_t tg_path_skeletons(const tg_path_block *b, int l) {
  const tg_path_layer *y = &b->layer[l - 1];
  if (l == 1) return y->out;
  if (l == b->count) return y->in;
  return y->out > y->in ? y->out : y->in;
}

size_t tg_path_skeleton(const tg_path_block *b, int l, size_t t) {
  const tg_path_layer *y = &b->layer[l - 1];
  size_t o = t % y->out, i = t % y->in;
  return y->offset + (o * y->in + i) * y->taps + y->centre;
}

bool tg_path_rises(const tg_path_block *b) {
  for (int n = 2; n < b->count; n++) {
    size_t before = tg_path_width(b, n - 1), width = tg_path_width(b, n);
    if (n <= b->special ? width < before : width > before) return false;
  }
  return true;
}

tg_path_counts tg_path_count(const tg_path_block *b) {
  tg_path_counts c = {0};
  for (int l = 1; l <= b->count; l++) {
    const tg_path_layer *y = &b->layer[l - 1];
    c.weights += y->out * y->in * y->taps;
    if (y->bias != TG_NOWHERE) c.biases += y->out;
    if (l < b->count) c.hidden += y->out;
    *(l == b->special ? &c.trained : &c.frozen) += tg_path_skeletons(b, l);
  }
  c.rank = c.weights + c.biases - c.hidden;
  return c;
}

/* ---- from a graph ---- */

static bool is_layer(const tg_node *node, const char *name) {
  return node->path_block && strcmp(node->path_block, name) == 0 &&
         (node->op->id == TG_OP_dense || node->op->id == TG_OP_conv);
}

static tg_status check_layer(const tg_node *node) {
  const char *why = NULL;
  if (node->op->id == TG_OP_conv && ((const tg_conv_attr *)node->attr)->transposed)
    why = "is a transposed convolution";
  for (int i = 0; i < node->param_count; i++)
    if (node->param[i]->uses > 1) why = "shares its weights with another";
  if (why) TG_FAIL(TG_ECONFIG, "path block %s: layer %s %s", node->path_block, node->name, why);
  return TG_OK;
}

static bool is_hollow(const tg_node *node) {
  return node->op->id == TG_OP_conv && ((const tg_conv_attr *)node->attr)->hollow;
}

/* The batch norm that reads what the node computes. */
static const tg_node *norm_behind(const tg_graph *g, const tg_node *node) {
  for (int i = 0; i < g->node_count; i++)
    if (g->node[i]->op->id == TG_OP_batch_norm && g->node[i]->in[0] == node->out) return g->node[i];
  return NULL;
}

static tg_status read_layer(const tg_graph *g, const tg_node *node, tg_path_layer *y) {
  TG_TRY(check_layer(node));
  const tg_param *weight = node->param[0];
  const tg_shape *shape = &weight->shape;
  const tg_node *norm = norm_behind(g, node);
  *y = (tg_path_layer){.name = node->name,
                       .offset = weight->offset,
                       .out = (size_t)shape->dim[0],
                       .in = (size_t)shape->dim[1],
                       .taps = 1,
                       .hollow = is_hollow(node),
                       .bias = node->param_count > 1 ? node->param[1]->offset : TG_NOWHERE,
                       .scale = norm ? norm->param[0]->offset : TG_NOWHERE,
                       .shift = norm ? norm->param[1]->offset : TG_NOWHERE};
  for (int i = 2; i < shape->nd; i++) {
    size_t extent = (size_t)shape->dim[i];
    y->taps *= extent;
    y->centre = y->centre * extent + extent / 2;
  }
  return TG_OK;
}

static tg_status read_block(const tg_graph *g, const char *name, tg_paths *paths) {
  tg_path_block *b = &paths->block[paths->count];
  size_t most = 0;
  *b = (tg_path_block){.name = name};
  for (int i = 0; i < g->node_count; i++) b->count += is_layer(g->node[i], name);
  b->layer = tg_arena_alloc(paths->arena, (size_t)b->count * sizeof *b->layer);
  if (!b->layer) TG_FAIL(TG_ERUNTIME, "no memory for %d layers", b->count);
  for (int i = 0, l = 0; i < g->node_count; i++)
    if (is_layer(g->node[i], name)) TG_TRY(read_layer(g, g->node[i], &b->layer[l++]));
  for (int l = 1; l < b->count; l++)
    if (b->layer[l].in != b->layer[l - 1].out)
      TG_FAIL(TG_ECONFIG, "path block %s: %s reads %zu units and %s before it has %zu", name,
              b->layer[l].name, b->layer[l].in, b->layer[l - 1].name, b->layer[l - 1].out);
  for (int n = 1; n < b->count; n++)
    if (tg_path_width(b, n) > most) {
      most = tg_path_width(b, n);
      b->special = n;
    }
  /* There, and only there, what a hollow layer leaves out are the block's frozen skeletons. */
  for (int l = 1; l <= b->count; l++)
    if (b->layer[l - 1].hollow && l <= b->special)
      TG_FAIL(TG_ECONFIG, "path block %s: layer %s is hollow, and not behind the widest one", name,
              b->layer[l - 1].name);
  paths->count++;
  return TG_OK;
}

static bool is_new(const tg_paths *paths, const char *name) {
  for (size_t i = 0; i < paths->count; i++)
    if (strcmp(paths->block[i].name, name) == 0) return false;
  return true;
}

tg_status tg_paths_create(const tg_graph *g, tg_paths **out) {
  tg_status status = TG_OK;
  tg_paths *paths = calloc(1, sizeof *paths);
  *out = NULL;
  if (paths) paths->arena = tg_arena_create();
  if (paths && paths->arena)
    paths->block = tg_arena_alloc(paths->arena, ((size_t)g->node_count + 1) * sizeof *paths->block);
  if (!paths || !paths->block)
    TG_DO(tg_status_set(TG_ERUNTIME, "no memory for paths of %d nodes", g->node_count));
  for (int i = 0; i < g->node_count; i++) {
    const char *name = g->node[i]->path_block;
    if (name && is_layer(g->node[i], name) && is_new(paths, name))
      TG_DO(read_block(g, name, paths));
  }
  TG_DO(tg_path_work_create(paths, g));
  *out = paths;
  return TG_OK;
done:
  tg_paths_destroy(paths);
  return status;
}

void tg_paths_destroy(tg_paths *paths) {
  if (!paths) return;
  tg_arena_destroy(paths->arena);
  free(paths);
}

tg_status tg_paths_check(const tg_paths *paths, const char *model) {
  if (paths->count == 0)
    TG_FAIL(TG_ECONFIG,
            "model.name=%s has no path blocks: gsgd trains mlp, plain* and resnet* networks",
            model);
  for (size_t i = 0; i < paths->count; i++) {
    const tg_path_block *b = &paths->block[i];
    if (b->count < 2)
      TG_FAIL(TG_ECONFIG, "model.name=%s: path block %s has one layer, and no hidden units", model,
              b->name);
    if (!tg_path_rises(b))
      TG_FAIL(
          TG_ECONFIG,
          "model.name=%s: path block %s: the widths of hidden layers must rise up to the widest "
          "and fall behind it, or skeletons are no basis of its paths",
          model, b->name);
  }
  return TG_OK;
}
