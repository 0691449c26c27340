/* layout.c - what optimisers of whole tensors need to know of a model. */
#include "tardigrad/optim.h"

tg_status tg_layout_check(const tg_optimizer *o, const tg_layout *layout, size_t n,
                          bool on_device) {
  size_t next = 0;
  if (!o->whole) return TG_OK;
  if (on_device && !o->path_step)
    TG_FAIL(TG_ECONFIG,
            "optimizer.name=%s: works on whole tensors, in host memory only: set server.device=cpu",
            o->name);
  if (o->path_step && !layout->paths)
    TG_FAIL(TG_ECONFIG, "optimizer %s: the layout has no path blocks", o->name);
  for (size_t i = 0; i < layout->count; i++) {
    const tg_part *p = &layout->part[i];
    if (p->offset != next || p->count < 1 || p->rows * p->cols != p->count)
      TG_FAIL(TG_ECONFIG,
              "layout: tensor %zu has %zu x %zu of %zu parameters from %zu, %zu expected", i,
              p->rows, p->cols, p->count, p->offset, next);
    next += p->count;
  }
  if (next != n)
    TG_FAIL(TG_ECONFIG, "optimizer %s: the layout has %zu parameters, the model %zu", o->name, next,
            n);
  return TG_OK;
}
