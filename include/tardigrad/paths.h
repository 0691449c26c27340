/* paths.h - the path space of ReLU networks: which weights are skeletons, and what stays the same
 * when a hidden unit is rescaled.
 *
 * A path goes from an input to an output of a block through one weight of each layer; its value is
 * their product. Multiplying what enters a hidden unit by c > 0 and dividing what leaves it by c
 * changes weights, and neither a path's value nor the function. Of a block of m weights and biases
 * and H hidden units, m - H paths are a basis: one for each weight that is no skeleton, which goes
 * on through skeletons only, and one for each trained skeleton.
 *
 * A block has node layers 0 (its input) to L (its output) of h_0 .. h_L units: feature maps of a
 * convolution. Layer l, from node layer l-1 to l, is layer[l-1]. Its skeletons are, in the centre
 * tap (kernel / 2 in each dimension),
 *   of the first layer  (t, t mod h_0), t < h_1
 *   of the last         (t mod h_L, t), t < h_{L-1}
 *   of others           (t mod h_l, t mod h_{l-1}), t < max(h_l, h_{l-1})
 * Skeletons of the special layer s, the first of the widest of node layers 1 .. L-1, are trained;
 * all others keep their values. This is a basis where widths rise up to s and fall behind it.
 *
 * Source: Meng et al., "G-SGD: Optimizing ReLU neural networks in its positively scale-invariant
 * space", ICLR 2019. */
#ifndef TARDIGRAD_PATHS_H
#define TARDIGRAD_PATHS_H

#include "tardigrad/graph.h"

#define TG_NOWHERE SIZE_MAX

/* Parts of the rows of a layer behind s, whose sums are made side by side: fixed, so that they
 * repeat, and the same on every device. */
enum { TG_PATH_PARTS = 8 };

typedef struct tg_path_layer {
  const char *name; /* of the node, "layer1.0.conv1" */
  size_t offset;    /* of its weight [out,in,taps] in the vector w */
  size_t out, in, taps, centre;
  size_t bias;         /* of its bias [out], or TG_NOWHERE */
  size_t scale, shift; /* of weight and bias [out] of the batch norm behind it, or TG_NOWHERE */
  bool hollow;         /* its skeletons are 0 in w and stand for 1: a connection beside it */
} tg_path_layer;

typedef struct tg_path_block {
  const char *name;
  int count;   /* layers, L */
  int special; /* s, 1 .. L-1; 0 where L is 1 */
  tg_path_layer *layer;
} tg_path_block;

struct tg_path_work;

typedef struct tg_paths {
  tg_path_block *block;
  size_t count;
  tg_arena *arena;           /* of all of it */
  struct tg_path_work *work; /* scratch memory of an update: one at a time */
} tg_paths;

/* tg_paths_create - the path blocks of a graph (tg_graph_path_block); there may be none. Memory:
 * free with tg_paths_destroy. Names are the graph's, and valid as long as it is. Errors: TG_ECONFIG
 * where a layer is no plain weight, does not follow the one before, or is used twice. */
TG_CHECKED tg_status tg_paths_create(const tg_graph *g, tg_paths **out);
void tg_paths_destroy(tg_paths *paths);
/* tg_paths_check - TG_ECONFIG, with the model's name, where skeletons are no basis: there is no
 * block, or one of a single layer, or one whose hidden widths do not rise and then fall. */
TG_CHECKED tg_status tg_paths_check(const tg_paths *paths, const char *model);

/* tg_path_width - h_n of node layer n, 0 .. L. */
size_t tg_path_width(const tg_path_block *b, int n);
/* tg_path_skeletons - how many skeletons layer l has, 1 .. L. */
size_t tg_path_skeletons(const tg_path_block *b, int l);
/* tg_path_skeleton - the t-th: its position in w. */
size_t tg_path_skeleton(const tg_path_block *b, int l, size_t t);
/* tg_path_rises - whether hidden widths rise up to s and fall behind it. */
bool tg_path_rises(const tg_path_block *b);

typedef struct tg_path_counts {
  size_t weights, biases; /* of the block */
  size_t hidden;          /* units, H */
  size_t rank;            /* weights + biases - H */
  size_t frozen, trained; /* skeletons */
} tg_path_counts;
tg_path_counts tg_path_count(const tg_path_block *b);

/* ---- whether skeletons are a basis: small blocks, path by path ---- */

enum { TG_MOST_PATHS = 400000, TG_MOST_PATH_WEIGHTS = 5000 };

/* Paths, as positions in w. One that begins at a bias, an edge from a source that is always 1, is
 * shorter: TG_NOWHERE is behind it. */
typedef struct tg_path_list {
  size_t count, length; /* length: L */
  size_t *edge;         /* [count][length] */
} tg_path_list;

/* tg_path_total - how many paths a block has, from biases too. */
double tg_path_total(const tg_path_block *b);
/* tg_path_list_all - all of them; TG_ECONFIG where they are more than TG_MOST_PATHS.
 * tg_path_list_basis - the chosen ones: skeleton paths first, then one per other weight and per
 * bias, layer by layer; TG_ECONFIG where skeletons are no basis. Memory: free with
 * tg_path_list_free. */
TG_CHECKED tg_status tg_path_list_all(const tg_path_block *b, tg_path_list *out);
TG_CHECKED tg_status tg_path_list_basis(const tg_path_block *b, tg_path_list *out);
void tg_path_list_free(tg_path_list *list);

/* tg_path_rank - the rank, modulo 2^31 - 1, of the structure matrix of a list, and with those of
 * `more` (may be NULL) besides. Never above the rank over the rational numbers, and equal to it
 * where it is m - H: see rank.c. Errors: TG_ECONFIG for more than TG_MOST_PATH_WEIGHTS weights. */
TG_CHECKED tg_status tg_path_rank(const tg_path_block *b, const tg_path_list *list,
                                  const tg_path_list *more, size_t *rank, size_t *with_more);

typedef struct tg_path_check {
  double paths;
  bool done;         /* few enough paths and weights to see */
  bool holds;        /* all that follows is weights + biases - hidden units */
  size_t rank;       /* of all paths */
  size_t basis;      /* chosen paths; 0 where skeletons are no basis */
  size_t basis_rank; /* their rank */
  size_t joint;      /* of both together: above `rank` if a chosen one is no combination of paths */
} tg_path_check;
/* tg_path_verify - lists a block's paths and finds ranks, if it is small enough. */
TG_CHECKED tg_status tg_path_verify(const tg_path_block *b, tg_path_check *out);

/* What skeletons are before training. */
typedef enum {
  TG_SKELETON_NONE,     /* what the model's initialisation made of them */
  TG_SKELETON_ONES,     /* 1, as published: the function changes */
  TG_SKELETON_SIGNS,    /* 1 or -1, with the sign they had: the function changes */
  TG_SKELETON_CANONICAL /* frozen ones become 1 or -1 by rescaling units: the function does not */
} tg_skeleton_kind;

/* tg_paths_init - skeletons of w [n]. Errors: TG_ECONFIG where a skeleton is 0 that rescaling
 * would have to make 1. */
TG_CHECKED tg_status tg_paths_init(const tg_paths *paths, tg_skeleton_kind kind, float *w);

/* tg_path_update - `whole` of optimisers in path space (optim.h): one update of u->w by the
 * gradient g [n] with the optimiser's path_step. layout->paths must pass tg_paths_check. Of the
 * rule's sums it adds those of a compensation in path space. */
struct tg_update;
struct tg_update_sums;
struct tg_layout;
TG_CHECKED tg_status tg_path_update(const struct tg_update *u, const struct tg_layout *layout,
                                    float *g, struct tg_update_sums *sums);
/* tg_paths_bytes - of the memory that an update works with. */
size_t tg_paths_bytes(const tg_paths *paths);
/* tg_paths_clamped - how many ratios and denominators the updates made with these paths have kept
 * in limits (optimizer.gsgd.clamp), since tg_paths_create. */
uint64_t tg_paths_clamped(const tg_paths *paths);
/* tg_paths_tell_clamped - what a device that makes the updates has counted so far. */
void tg_paths_tell_clamped(const tg_paths *paths, uint64_t count);

#endif
