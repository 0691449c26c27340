/* elementwise.h - activations, sums and biases; and what is done to flat vectors. See kernels.h.
 *
 * n counts elements, in whatever order they lie. Types written twice (x_type, y_type) may differ.
 * Where a gradient has the type of what it comes from it may be written over it. */
#ifndef KERNELS_ELEMENTWISE_H
#define KERNELS_ELEMENTWISE_H

/* y = relu(x), leaky_relu(x), sigmoid(x). NaN stays NaN. y may be x if their types are equal. */
int tg_cuda_relu(const tg_cuda_launch *l, size_t n, tg_dtype x_type, const void *x, tg_dtype y_type,
                 void *y);
int tg_cuda_leaky_relu(const tg_cuda_launch *l, size_t n, float slope, tg_dtype x_type,
                       const void *x, tg_dtype y_type, void *y);
int tg_cuda_sigmoid(const tg_cuda_launch *l, size_t n, tg_dtype x_type, const void *x,
                    tg_dtype y_type, void *y);

/* Gradients from y, which has dy's type. dx may be dy. */
int tg_cuda_relu_backward(const tg_cuda_launch *l, size_t n, tg_dtype y_type, const void *y,
                          const void *dy, tg_dtype x_type, void *dx);
int tg_cuda_sigmoid_backward(const tg_cuda_launch *l, size_t n, tg_dtype y_type, const void *y,
                             const void *dy, tg_dtype x_type, void *dx);
/* sign - what has the sign of x: x itself, or y where the slope is not negative. dx may be dy. */
int tg_cuda_leaky_relu_backward(const tg_cuda_launch *l, size_t n, float slope, tg_dtype sign_type,
                                const void *sign, tg_dtype y_type, const void *dy, tg_dtype x_type,
                                void *dx);

/* y = a + b, or relu(a + b). */
int tg_cuda_sum(const tg_cuda_launch *l, size_t n, tg_dtype a_type, const void *a, tg_dtype b_type,
                const void *b, bool relu, tg_dtype y_type, void *y);
/* da = db = dy, where y > 0 if y is not NULL; da or db may be NULL, and either may be dy. */
int tg_cuda_sum_backward(const tg_cuda_launch *l, size_t n, tg_dtype y_type, const void *y,
                         const void *dy, tg_dtype a_type, void *da, tg_dtype b_type, void *db);

/* y [rows, channels] += bias [channels], which may be NULL; then its ReLU if wanted. This and the
 * next: bias.cu. */
int tg_cuda_bias(const tg_cuda_launch *l, tg_dtype dtype, int64_t rows, int64_t channels,
                 const float *bias, bool relu, void *y);
/* dbias [channels] = sum over rows of dy [rows, channels]. If y is not NULL only dy where y > 0
 * counts, and goes with zeros elsewhere to masked if that is not NULL (it may be dy). scratch holds
 * tg_cuda_bias_bytes, aligned to 8. How the sum is split depends on its size, not on the device. */
size_t tg_cuda_bias_bytes(int64_t rows, int64_t channels);
int tg_cuda_bias_backward(const tg_cuda_launch *l, tg_dtype dtype, int64_t rows, int64_t channels,
                          const void *dy, const void *y, void *masked, float *dbias, void *scratch);

/* dst += src. */
int tg_cuda_add(const tg_cuda_launch *l, tg_dtype dtype, size_t n, void *dst, const void *src);
/* x *= factor. */
int tg_cuda_scale(const tg_cuda_launch *l, size_t n, float factor, float *x);
/* A copy; rounds once, to nearest even. */
int tg_cuda_convert(const tg_cuda_launch *l, size_t n, tg_dtype from_type, const void *from,
                    tg_dtype to_type, void *to);

#endif
