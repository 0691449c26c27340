/* graph.h - a network as a static graph of ops.
 *
 * A model file builds the graph once (ops.h has the builders); shapes are inferred and parameters
 * laid out as it grows. A graph holds no numbers: plan.h gives it memory and kernels, any number of
 * times. Nodes are in topological order because an op can only be given values that exist.
 *
 * Names are identity: asking twice for a parameter of the same name and shape gives the same
 * parameter, so that layers are shared by giving them the same name.
 *
 * Errors are sticky: after the first failed builder every further one returns NULL, and
 * tg_graph_status says what was wrong; builders accept NULL inputs. So models need no checks. */
#ifndef TARDIGRAD_GRAPH_H
#define TARDIGRAD_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tardigrad/arena.h"
#include "tardigrad/status.h"

enum { TG_MAX_DIMS = 5, TG_MAX_INPUTS = 8, TG_MAX_PARAMS = 4, TG_MAX_STATS = 2 };

typedef enum { TG_F32, TG_BF16, TG_I32 } tg_dtype;
/* tg_dtype_bytes - size of one element. */
size_t tg_dtype_bytes(tg_dtype dtype);

typedef struct tg_shape {
  int nd;
  int64_t dim[TG_MAX_DIMS]; /* batch, channels, then space: [B,C,(D,)H,W], or [B,features] */
} tg_shape;

size_t tg_shape_count(const tg_shape *shape); /* elements */
bool tg_shape_equal(const tg_shape *a, const tg_shape *b);
/* "[128,16,32,32]" into text[size]; returns text. */
const char *tg_shape_text(const tg_shape *shape, char *text, size_t size);

typedef struct tg_graph tg_graph;
typedef struct tg_node tg_node;

/* An edge: what one op computes and others read. */
typedef struct tg_value {
  int index; /* among the graph's values; also its producer's index */
  const char *name;
  tg_shape shape;
  tg_node *producer;
  int uses;        /* consumers; outputs of the graph count as one */
  bool needs_grad; /* a parameter lies before it */
  bool keep_f32;   /* float32 whatever the precision: inputs, logits, losses */
  bool labels;     /* int32 */
  bool output;     /* read from outside: its memory lives until the end of the step */
} tg_value;

typedef enum { TG_INIT_WEIGHT, TG_INIT_BIAS, TG_INIT_ONE, TG_INIT_ZERO } tg_init_kind;

/* A part of the flat vectors w and g, in PyTorch's layout and under PyTorch's name. */
typedef struct tg_param {
  const char *name; /* "layer1.0.conv1.weight" */
  tg_shape shape;
  size_t offset, count; /* floats */
  tg_init_kind init;
  int64_t fan_in, fan_out; /* of the weight it is, or of the weight that a bias stands beside */
  int uses;
} tg_param;

/* A part of the vector b of running statistics. */
typedef struct tg_stat {
  const char *name; /* "bn1.running_mean" */
  size_t offset, count;
  float initial;
} tg_stat;

/* One use of a running statistic: in training a node writes the batch's value to s[s_offset...];
 * the owner of b folds it: b = (1-momentum) b + momentum s. A shared layer has several uses. */
typedef struct tg_stat_use {
  const tg_stat *stat;
  size_t s_offset;
  float momentum;
} tg_stat_use;

/* One row of ops/ops.def: what is the same on every backend. Kernels are in backend.h. */
typedef struct tg_op {
  const char *name, *help;
  int id;    /* TG_OP_<name>: index into a backend's kernel table */
  bool loss; /* its value is a scalar that backward starts from */
  /* infer - checks inputs and attributes, sets the value's shape, declares parameters and
   * statistics. */
  tg_status (*infer)(tg_graph *g, tg_node *node);
} tg_op;

struct tg_node {
  const tg_op *op;
  int index;
  const char *name; /* "layer1.0.conv1", or the op's name and number */
  const void *attr; /* the op's attributes, see ops.h */
  tg_value *in[TG_MAX_INPUTS];
  int in_count;
  tg_value *out;
  tg_param *param[TG_MAX_PARAMS];
  int param_count;
  tg_stat_use stat[TG_MAX_STATS];
  int stat_count;
  const char *path_block; /* whose layer it is, see tg_graph_path_block; or NULL */
};

struct tg_graph {
  tg_arena *arena;
  tg_status status; /* sticky */
  char message[512];
  tg_node **node;
  int node_count, node_room;
  tg_param **param;
  int param_count, param_room;
  tg_stat **stat;
  int stat_count, stat_room;
  size_t n;               /* parameters: length of w and g */
  size_t k;               /* running statistics: length of b */
  size_t ks;              /* batch statistics: length of s */
  const char *path_block; /* of nodes to come, or NULL */
};

TG_CHECKED tg_status tg_graph_create(tg_graph **out);
void tg_graph_destroy(tg_graph *g);
/* tg_graph_status - TG_OK, or the first failure of a builder, with its message set again. */
TG_CHECKED tg_status tg_graph_status(const tg_graph *g);

/* tg_graph_value - the value of that name, or NULL: inputs and outputs by their names. */
tg_value *tg_graph_value(const tg_graph *g, const char *name);

/* tg_graph_path_block - weights of dense and convolution nodes that are added from now on are, in
 * this order, the layers of the path block of that name (paths.h); NULL: of none. Between them lies
 * nothing but what is positively scale-invariant: ReLU, pooling, batch norm. */
void tg_graph_path_block(tg_graph *g, const char *name);

/* ---- for ops ---- */

/* tg_graph_add - appends a node: copies attr[attr_bytes] into the graph, infers its shape. name may
 * be NULL. Returns its value, or NULL after a failure. */
tg_value *tg_graph_add(tg_graph *g, const tg_op *op, const char *name, const void *attr,
                       size_t attr_bytes, int in_count, tg_value *const *in);
/* tg_graph_fail - makes the graph fail with this message (sticky); returns the code. */
tg_status tg_graph_fail(tg_graph *g, tg_status code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* tg_node_param - declares the parameter <node>.<suffix>, or shares the one of that name. */
TG_CHECKED tg_status tg_node_param(tg_graph *g, tg_node *node, const char *suffix, tg_shape shape,
                                   tg_init_kind init, int64_t fan_in, int64_t fan_out);
/* tg_node_stat - declares or shares the running statistic <node>.<suffix>, and one use of it. */
TG_CHECKED tg_status tg_node_stat(tg_graph *g, tg_node *node, const char *suffix, size_t count,
                                  float initial, float momentum);

/* Ids of ops, from ops/ops.def. */
enum tg_op_id {
#define TG_OP(name) TG_OP_##name,
#include "tardigrad/ops.def"
#undef TG_OP
  TG_OP_COUNT
};
#define TG_OP(name) extern const tg_op tg_op_##name;
#include "tardigrad/ops.def"
#undef TG_OP

#endif
