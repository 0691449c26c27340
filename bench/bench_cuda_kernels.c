/* bench_cuda_kernels.c - every launcher of kernels/ on shapes of ResNets: bytes per second, beside
 * those of a copy within the device's memory.
 *
 * All of these kernels are bound by memory, so bytes are what counts (cuda_rows.h). Launches are
 * recorded into a graph, as in training, so that their latency is that of a graph's nodes; a turn
 * is one such graph between two events. Each launch works on another part of 2 GiB, round robin, so
 * that no value is found in a cache (50 MB on an H200) because the launch before it left it there;
 * within one launch a kernel that reads a value twice may find it. Kernel and copies take turns:
 *   of_copy            bandwidth over that of a copy of 512 MiB, the ceiling
 *   of_same_size_copy  over that of a copy which moves as many bytes as the kernel, which has the
 *                      same ramps: the fairer neighbour of small launches
 * One JSON object a line; medians over turns.
 *
 *   bench_cuda_kernels [turns [scale]]     scale: shapes so many times smaller; exit 69: no GPU */
#include <cuda_runtime.h>

#include "cuda_rows.h"
#include "turns.h"

enum { LEAST = 4, MOST = 400, SLOTS = 64, BIG_COPIES = 4 };
static const size_t POOL = (size_t)2 << 30;
static const double TURN_S = 2e-3, GUESSED_BYTES_PER_S = 2e12, LATENCY_S = 3e-6;

#define CUDA(call)                                                                                 \
  do {                                                                                             \
    cudaError_t error_ = (call);                                                                   \
    if (error_ != cudaSuccess) TG_FAIL(TG_ERUNTIME, "%s: %s", #call, cudaGetErrorString(error_));  \
  } while (0)

typedef struct bench {
  cudaStream_t stream;
  cudaEvent_t start, end;
  char *pool;
  size_t pool_bytes;
  int32_t *labels;
  tg_cuda_launch launch;
  int turns, scale;
  double *kernel, *same, *big; /* [turns] seconds for one launch */
} bench;

/* Launches as a graph; what one of them moves. */
typedef struct recorded {
  cudaGraphExec_t graph;
  int count;
  double bytes;
} recorded;

/* ---- recording ---- */

static tg_bench_run run_of(const bench *b, const tg_bench_row *row, tg_dtype dtype, char *at) {
  int64_t rows = row->rows / b->scale;
  return (tg_bench_run){.launch = b->launch,
                        .dtype = dtype,
                        .rows = rows < 1 ? 1 : rows,
                        .channels = row->channels,
                        .memory = at,
                        .labels = b->labels};
}

/* Memory that a launch takes, and the bytes that it moves. */
static size_t footprint(const bench *b, const tg_bench_row *row, tg_dtype dtype, double *bytes) {
  tg_bench_run r = run_of(b, row, dtype, NULL);
  r.dry = true;
  (void)row->launch(&r);
  *bytes = r.bytes;
  return r.taken;
}

static int count_for(const bench *b, double bytes) {
  if (b->scale > 1) return 2;
  return repetitions(TURN_S, bytes / GUESSED_BYTES_PER_S + LATENCY_S, LEAST, MOST);
}

static size_t slots_for(const bench *b, size_t bytes) {
  size_t slots = b->pool_bytes / bytes;
  return slots < 1 ? 1 : slots > SLOTS ? SLOTS : slots;
}

static tg_status finish(bench *b, recorded *r) {
  cudaGraph_t graph;
  CUDA(cudaStreamEndCapture(b->stream, &graph));
  CUDA(cudaGraphInstantiate(&r->graph, graph, 0));
  CUDA(cudaGraphDestroy(graph));
  CUDA(cudaGraphLaunch(r->graph, b->stream)); /* warms up */
  CUDA(cudaStreamSynchronize(b->stream));
  return TG_OK;
}

static tg_status record_kernel(bench *b, const tg_bench_row *row, tg_dtype dtype, recorded *out) {
  size_t taken = footprint(b, row, dtype, &out->bytes), slots = slots_for(b, taken);
  tg_bench_run first = run_of(b, row, dtype, b->pool);
  out->count = count_for(b, out->bytes);
  CUDA((cudaError_t)row->launch(&first)); /* not while recording: this may load the kernel */
  CUDA(cudaStreamSynchronize(b->stream));
  CUDA(cudaStreamBeginCapture(b->stream, cudaStreamCaptureModeThreadLocal));
  for (int i = 0; i < out->count; i++) {
    tg_bench_run r = run_of(b, row, dtype, b->pool + (size_t)i % slots * taken);
    CUDA((cudaError_t)row->launch(&r));
  }
  return finish(b, out);
}

/* Copies that move so many bytes each, read and written ones counted. */
static tg_status record_copies(bench *b, double bytes, int count, recorded *out) {
  size_t half = ((size_t)(bytes / 2) + 255) & ~(size_t)255, slots = slots_for(b, 2 * half);
  *out = (recorded){.count = count, .bytes = 2 * (double)half};
  CUDA(cudaStreamBeginCapture(b->stream, cudaStreamCaptureModeThreadLocal));
  for (int i = 0; i < count; i++) {
    char *from = b->pool + (size_t)i % slots * 2 * half;
    CUDA(cudaMemcpyAsync(from + half, from, half, cudaMemcpyDeviceToDevice, b->stream));
  }
  return finish(b, out);
}

/* ---- measuring ---- */

static tg_status take_turn(bench *b, const recorded *r, double *each_s) {
  float ms;
  CUDA(cudaEventRecord(b->start, b->stream));
  CUDA(cudaGraphLaunch(r->graph, b->stream));
  CUDA(cudaEventRecord(b->end, b->stream));
  CUDA(cudaEventSynchronize(b->end));
  CUDA(cudaEventElapsedTime(&ms, b->start, b->end));
  *each_s = (double)ms * 1e-3 / r->count;
  return TG_OK;
}

/* Their bandwidth beside ours, in each turn; the median. Overwrites theirs. */
static double of_copy(const bench *b, double *theirs, const recorded *kernel,
                      const recorded *copy) {
  for (int i = 0; i < b->turns; i++) theirs[i] *= kernel->bytes / copy->bytes;
  return median_ratio(theirs, b->kernel, b->turns);
}

static void report(bench *b, const tg_bench_row *row, tg_dtype dtype, const recorded *kernel,
                   const recorded *same, const recorded *big) {
  double of_big = of_copy(b, b->big, kernel, big), of_same = of_copy(b, b->same, kernel, same);
  double s = median(b->kernel, b->turns), gb_per_s = kernel->bytes / 1e9 / s;
  printf("{\"bench\":\"cuda_kernel\",\"kernel\":\"%s\",\"shape\":\"%s\",\"scale\":%d,"
         "\"dtype\":\"%s\",\"bytes\":%.0f,\"us\":%.2f,\"gb_per_s\":%.1f,\"copy_gb_per_s\":%.1f,"
         "\"same_size_copy_gb_per_s\":%.1f,\"of_copy\":%.3f,\"of_same_size_copy\":%.3f,"
         "\"launches\":%d,\"turns\":%d}\n",
         row->kernel, row->shape, b->scale, dtype == TG_BF16 ? "bf16" : "fp32", kernel->bytes,
         s * 1e6, gb_per_s, gb_per_s / of_big, gb_per_s / of_same, of_big, of_same, kernel->count,
         b->turns);
  fflush(stdout);
}

static tg_status measure(bench *b, const tg_bench_row *row, tg_dtype dtype) {
  recorded kernel = {0}, same = {0}, big = {0};
  CUDA(cudaMemsetAsync(b->pool, 0x3c, b->pool_bytes, b->stream)); /* small positive numbers */
  TG_TRY(record_kernel(b, row, dtype, &kernel));
  TG_TRY(record_copies(b, kernel.bytes, kernel.count, &same));
  TG_TRY(record_copies(b, (double)b->pool_bytes / 2, BIG_COPIES, &big));
  for (int i = 0; i < b->turns; i++) {
    TG_TRY(take_turn(b, &kernel, &b->kernel[i]));
    TG_TRY(take_turn(b, &same, &b->same[i]));
    TG_TRY(take_turn(b, &big, &b->big[i]));
  }
  report(b, row, dtype, &kernel, &same, &big);
  CUDA(cudaGraphExecDestroy(kernel.graph));
  CUDA(cudaGraphExecDestroy(same.graph));
  CUDA(cudaGraphExecDestroy(big.graph));
  return TG_OK;
}

static tg_status each_row(bench *b, const tg_bench_row *row,
                          tg_status (*f)(bench *b, const tg_bench_row *row, tg_dtype dtype)) {
  for (; row->kernel; row++) {
    if (row->types & TG_BENCH_F32) TG_TRY(f(b, row, TG_F32));
    if (row->types & TG_BENCH_BF16) TG_TRY(f(b, row, TG_BF16));
  }
  return TG_OK;
}

/* ---- beginning and end ---- */

static tg_status make_room(bench *b, const tg_bench_row *row, tg_dtype dtype) {
  double bytes;
  size_t taken = footprint(b, row, dtype, &bytes), copied = (size_t)bytes + 1024;
  if (b->pool_bytes < taken) b->pool_bytes = taken;
  if (b->pool_bytes < copied) b->pool_bytes = copied;
  return TG_OK;
}

static tg_status find_device(bench *b) {
  int count = 0;
  struct cudaDeviceProp is;
  cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || count == 0)
    TG_FAIL(TG_EUNAVAILABLE, "no GPU: %s",
            error != cudaSuccess ? cudaGetErrorString(error) : "none is visible");
  CUDA(cudaGetDeviceProperties(&is, 0));
  CUDA(cudaStreamCreateWithFlags(&b->stream, cudaStreamNonBlocking));
  b->launch = (tg_cuda_launch){b->stream, is.multiProcessorCount};
  return TG_OK;
}

static tg_status set_up(bench *b) {
  TG_TRY(find_device(b));
  CUDA(cudaEventCreate(&b->start));
  CUDA(cudaEventCreate(&b->end));
  b->pool_bytes = POOL / (size_t)b->scale;
  TG_TRY(each_row(b, tg_bench_layers, make_room));
  TG_TRY(each_row(b, tg_bench_vectors, make_room));
  TG_TRY(each_row(b, tg_bench_paths, make_room));
  CUDA(cudaMalloc((void **)&b->pool, b->pool_bytes));
  CUDA(cudaMalloc((void **)&b->labels, TG_BENCH_LABELS * sizeof *b->labels));
  CUDA(cudaMemsetAsync(b->labels, 0, TG_BENCH_LABELS * sizeof *b->labels, b->stream));
  b->kernel = calloc((size_t)b->turns, sizeof *b->kernel);
  b->same = calloc((size_t)b->turns, sizeof *b->same);
  b->big = calloc((size_t)b->turns, sizeof *b->big);
  if (!b->kernel || !b->same || !b->big) TG_FAIL(TG_ERUNTIME, "no memory for %d turns", b->turns);
  return TG_OK;
}

static tg_status run(bench *b) {
  TG_TRY(set_up(b));
  TG_TRY(each_row(b, tg_bench_layers, measure));
  TG_TRY(each_row(b, tg_bench_vectors, measure));
  return each_row(b, tg_bench_paths, measure);
}

int main(int argc, char **argv) {
  bench b = {.turns = argc > 1 ? atoi(argv[1]) : 11, .scale = argc > 2 ? atoi(argv[2]) : 1};
  if (b.turns < 1 || b.scale < 1) {
    fputs("usage: bench_cuda_kernels [turns [scale]]\n", stderr);
    return TG_EUSAGE;
  }
  tg_status status = run(&b);
  (void)cudaFree(b.pool);
  (void)cudaFree(b.labels);
  free(b.kernel);
  free(b.same);
  free(b.big);
  return status == TG_OK ? 0 : failed("bench_cuda_kernels", status);
}
