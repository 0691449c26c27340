/* infer.h - what the shape rules of all ops share. */
#ifndef TARDIGRAD_OPS_INFER_H
#define TARDIGRAD_OPS_INFER_H

#include "tardigrad/graph.h"

/* tg_infer_fail - the graph fails with TG_ECONFIG and "<op> <node>: <message>". */
tg_status tg_infer_fail(tg_graph *g, const tg_node *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* tg_infer_numbers - every input is float: neither labels nor a loss. */
TG_CHECKED tg_status tg_infer_numbers(tg_graph *g, const tg_node *node);

/* tg_infer_dims - input `i` has at least `low` and at most `high` dimensions, which are `meaning`.
 */
TG_CHECKED tg_status tg_infer_dims(tg_graph *g, const tg_node *node, int i, int low, int high,
                                   const char *meaning);

/* tg_infer_axis - `axis` is one of x's. */
TG_CHECKED tg_status tg_infer_axis(tg_graph *g, const tg_node *node, const tg_value *x, int axis);

/* tg_infer_same - inputs 0 and i have equal shapes. */
TG_CHECKED tg_status tg_infer_same(tg_graph *g, const tg_node *node, int i);

/* tg_infer_own_name - no earlier value has the node's name: it will be asked for by that name. */
TG_CHECKED tg_status tg_infer_own_name(tg_graph *g, const tg_node *node);

/* No kernel, stride or padding is larger: sums and products of them stay far from overflow. */
enum { TG_MOST_EXTENT = 1 << 20 };

/* tg_infer_possible - whether a value or a parameter can have this shape. */
TG_CHECKED tg_status tg_infer_possible(tg_graph *g, const tg_node *node, const tg_shape *shape);

/* tg_infer_set - sets the node's shape, if it is a possible one. */
TG_CHECKED tg_status tg_infer_set(tg_graph *g, tg_node *node, tg_shape shape);

#endif
