/* cudnn_convolution.cc - the arithmetic of the emulator's convolutions: one loop over every product
 * of an input, a weight and an output; the direction says which of the three is the sum. */
#include "cudnn_convolution.h"
#include "elements.h"
#include "emulator.h"

#include <cstring>

namespace tg_emulator {
namespace {

/* visit(x, w, y): offsets of the three for one output position and one position of the filter. */
template <typename F>
void for_channels(const convolution &c, ptrdiff_t x0, ptrdiff_t w0, ptrdiff_t y0, F visit) {
  for (int g = 0; g < c.groups; g++)
    for (int k = 0; k < c.filters; k++) {
      ptrdiff_t filter = ptrdiff_t(g) * c.filters + k;
      ptrdiff_t y = y0 + filter * c.y_step[1], w = w0 + filter * c.w_step[0];
      ptrdiff_t x = x0 + ptrdiff_t(g) * c.channels * c.x_step[1];
      for (int i = 0; i < c.channels; i++, x += c.x_step[1], w += c.w_step[1]) visit(x, w, y);
    }
}

/* Where in dimension d the filter's position r meets the input for the output p; -1: in the
 * padding. */
int meets(const convolution &c, int d, int p, int r) {
  int at = p * c.stride[d] - c.pad[d] + r * c.dilation[d];
  return at >= 0 && at < c.in[d] ? at : -1;
}

template <typename F> void for_filter(const convolution &c, int n, const int p[3], F visit) {
  ptrdiff_t y = n * c.y_step[0];
  for (int d = 0; d < 3; d++) y += p[d] * c.y_step[2 + d];
  int r[3];
  for (r[0] = 0; r[0] < c.kernel[0]; r[0]++)
    for (r[1] = 0; r[1] < c.kernel[1]; r[1]++)
      for (r[2] = 0; r[2] < c.kernel[2]; r[2]++) {
        ptrdiff_t x = n * c.x_step[0], w = 0;
        bool inside = true;
        for (int d = 0; d < 3; d++) {
          int at = meets(c, d, p[d], r[d]);
          inside = inside && at >= 0;
          x += at * c.x_step[2 + d];
          w += r[d] * c.w_step[2 + d];
        }
        if (inside) for_channels(c, x, w, y, visit);
      }
}

template <typename F> void for_products(const convolution &c, F visit) {
  int p[3];
  for (int n = 0; n < c.batch; n++)
    for (p[0] = 0; p[0] < c.out[0]; p[0]++)
      for (p[1] = 0; p[1] < c.out[1]; p[1]++)
        for (p[2] = 0; p[2] < c.out[2]; p[2]++) for_filter(c, n, p, visit);
}

/* out = alpha * sum + beta * out for the elements of a tensor, and for nothing between them. */
void write(const convolution &c, void *out, const std::vector<double> &sum, const int size[5],
           const ptrdiff_t step[5]) {
  for (int a = 0; a < size[0]; a++)
    for (int b = 0; b < size[1]; b++)
      for (int i = 0; i < size[2]; i++)
        for (int j = 0; j < size[3]; j++)
          for (int k = 0; k < size[4]; k++) {
            size_t at = size_t(a * step[0] + b * step[1] + i * step[2] + j * step[3] + k * step[4]);
            double old = c.beta == 0 ? 0 : double(c.beta) * element_get(out, c.is_bf16, at);
            element_set(out, c.is_bf16, at, double(c.alpha) * sum[at] + old);
          }
}

} // namespace

void convolve(const convolution &c) {
  /* A library may leave anything in its workspace: so does this one. */
  if (c.workspace_bytes) std::memset(c.workspace, 0xff, c.workspace_bytes);
  std::vector<float> x, w, y;
  if (c.what != BACKWARD_DATA) x = elements_read(c.x, c.is_bf16, c.x_extent, c.tf32);
  if (c.what != BACKWARD_FILTER) w = elements_read(c.w, c.is_bf16, c.w_extent, c.tf32);
  if (c.what != FORWARD) y = elements_read(c.y, c.is_bf16, c.y_extent, c.tf32);
  std::vector<double> sum(c.what == FORWARD         ? c.y_extent
                          : c.what == BACKWARD_DATA ? c.x_extent
                                                    : c.w_extent);
  double *s = sum.data();
  const float *xp = x.data(), *wp = w.data(), *yp = y.data();
  using at = ptrdiff_t;
  int all_channels = c.groups * c.channels, all_filters = c.groups * c.filters;
  if (c.what == FORWARD) {
    int size[5] = {c.batch, all_filters, c.out[0], c.out[1], c.out[2]};
    for_products(c, [=](at i, at j, at k) { s[k] += double(xp[i]) * double(wp[j]); });
    write(c, c.y, sum, size, c.y_step);
  } else if (c.what == BACKWARD_DATA) {
    int size[5] = {c.batch, all_channels, c.in[0], c.in[1], c.in[2]};
    for_products(c, [=](at i, at j, at k) { s[i] += double(wp[j]) * double(yp[k]); });
    write(c, c.x, sum, size, c.x_step);
  } else {
    int size[5] = {all_filters, c.channels, c.kernel[0], c.kernel[1], c.kernel[2]};
    for_products(c, [=](at i, at j, at k) { s[j] += double(xp[i]) * double(yp[k]); });
    write(c, c.w, sum, size, c.w_step);
  }
}

} // namespace tg_emulator
