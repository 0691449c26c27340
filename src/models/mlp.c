/* mlp.c - dense layers "fc1", "fc2", ... with ReLU between them: one path block. */
#include <stdio.h>

#include "models/models.h"

tg_status tg_build_mlp(const tg_model *self, const tg_model_options *options, tg_graph *g) {
  char name[32];
  tg_value *x = tg_flatten(g, tg_model_input(g, options));
  tg_graph_path_block(g, self->name);
  for (uint32_t i = 0; i < options->hidden_count; i++) {
    if (options->hidden[i] < 1)
      TG_FAIL(TG_ECONFIG, "model %s: hidden layer %u has width %lld, at least 1 is needed",
              self->name, i + 1, (long long)options->hidden[i]);
    snprintf(name, sizeof name, "fc%u", i + 1);
    x = tg_relu(g, tg_dense(g, name, x, options->hidden[i], !options->no_bias));
  }
  snprintf(name, sizeof name, "fc%u", options->hidden_count + 1);
  return tg_model_classify(g, options, name, x, !options->no_bias);
}
