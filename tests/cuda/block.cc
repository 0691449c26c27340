/* block.cc - runs the blocks of a grid one after the other and the threads of a block as fibers:
 * each until it ends or waits; when all others have ended or wait too, the barriers and the warps
 * that are complete go on. */
#include "emulator.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <numeric>

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace tg_emulator {
namespace {

enum thread_state { READY, AT_BARRIER, IN_WARP, ENDED };

struct thread {
  fiber *stack = nullptr;
  thread_state state = READY;
  bool predicate = false; /* of a barrier */
  warp_operation operation = WARP_SYNC;
  unsigned mask = 0;
  int operand = 0, width = 32;
  uint64_t value = 0, result = 0;
};

constexpr int MAX_THREADS = 1024;

/* What a kernel must not read: NaN as a float, -1 as an integer. */
constexpr uint64_t NO_VALUE = ~uint64_t(0);

std::mutex kernel_lock; /* shared memory and the indices are one for all: a kernel at a time */
const kernel_launch *launching;
const std::function<void()> *body;
thread threads[MAX_THREADS];
int thread_count, current = -1;
thread_local bool in_kernel;

std::vector<fiber *> &idle_fibers() {
  static auto *idle = new std::vector<fiber *>;
  return *idle;
}

void thread_entry() {
  for (;;) {
    (*body)();
    threads[current].state = ENDED;
    fiber_suspend();
  }
}

void set_thread(int t) {
  current = t;
  unsigned x = unsigned(t);
  if (blockDim.y == 1 && blockDim.z == 1)
    threadIdx = uint3{x, 0, 0};
  else
    threadIdx = uint3{x % blockDim.x, x / blockDim.x % blockDim.y, x / (blockDim.x * blockDim.y)};
}

void thread_run(int t) {
  thread &self = threads[t];
  if (!self.stack) {
    std::vector<fiber *> &idle = idle_fibers();
    if (idle.empty()) idle.push_back(fiber_new(thread_entry));
    self.stack = idle.back();
    idle.pop_back();
  }
  set_thread(t);
  fiber_resume(self.stack);
  if (self.state == ENDED) { /* it waits in thread_entry for the next thread */
    idle_fibers().push_back(self.stack);
    self.stack = nullptr;
  }
}

/* ---- barriers ---- */

bool release_barrier() {
  int waiting = 0, ended = 0, votes = 0;
  for (int t = 0; t < thread_count; t++) {
    if (threads[t].state == ENDED) ended++;
    if (threads[t].state != AT_BARRIER) continue;
    waiting++;
    votes += threads[t].predicate;
  }
  if (waiting == 0 || waiting + ended < thread_count) return false;
  for (int t = 0; t < thread_count; t++) {
    if (threads[t].state != AT_BARRIER) continue;
    threads[t].result = uint64_t(votes);
    threads[t].state = READY;
  }
  return true;
}

/* ---- warps ---- */

/* The lane whose value `lane` receives: its own where the source would leave the segment. */
int source_lane(int lane, warp_operation operation, int operand, int width) {
  int first = lane & ~(width - 1), last = first + width - 1;
  int source = lane;
  switch (operation) {
  case WARP_SHFL:
    return first | (operand & (width - 1));
  case WARP_UP:
    return source = lane - operand, source < first ? lane : source;
  case WARP_DOWN:
    return source = lane + operand, source > last ? lane : source;
  case WARP_XOR:
    return source = lane ^ operand, source > last ? lane : source;
  default:
    return lane;
  }
}

bool takes_part(int t, const thread &like) {
  return t < thread_count && threads[t].state == IN_WARP && threads[t].mask == like.mask &&
         threads[t].operation == like.operation;
}

/* Whether all threads that `like` waits for are there, or have ended. */
bool warp_complete(int warp, const thread &like) {
  for (int lane = 0; lane < 32; lane++) {
    int t = warp * 32 + lane;
    if (!(like.mask >> lane & 1) || t >= thread_count || threads[t].state == ENDED) continue;
    if (!takes_part(t, like)) return false;
  }
  return true;
}

void warp_exchange(int warp, const thread &like) {
  int first = warp * 32;
  unsigned ballot = 0, there = 0;
  for (int lane = 0; lane < 32; lane++) {
    if (!(like.mask >> lane & 1) || !takes_part(first + lane, like)) continue;
    there |= 1u << lane;
    if (threads[first + lane].value) ballot |= 1u << lane;
  }
  for (int lane = 0; lane < 32; lane++) {
    if (!(there >> lane & 1)) continue;
    thread &t = threads[first + lane];
    int source = source_lane(lane, t.operation, t.operand, t.width);
    bool known = source >= 0 && source < 32 && (there >> source & 1);
    t.result = t.operation == WARP_BALLOT ? ballot
               : known                    ? threads[first + source].value
                                          : NO_VALUE;
  }
  for (int lane = 0; lane < 32; lane++)
    if (there >> lane & 1) threads[first + lane].state = READY;
}

bool release_warps(int first, int last) {
  bool any = false;
  for (int t = first; t < last; t++) {
    if (threads[t].state != IN_WARP || !warp_complete(t / 32, threads[t])) continue;
    thread like = threads[t];
    warp_exchange(t / 32, like);
    any = true;
  }
  return any;
}

[[noreturn]] void die_of_deadlock() {
  static const char *const names[] = {"ended", "wait at __syncthreads()", "wait in a warp"};
  int count[3] = {0, 0, 0}, example[3] = {-1, -1, -1};
  for (int t = 0; t < thread_count; t++) {
    int what = threads[t].state == ENDED ? 0 : threads[t].state == AT_BARRIER ? 1 : 2;
    count[what]++;
    example[what] = t;
  }
  char text[256];
  int length = 0;
  for (int what = 0; what < 3; what++)
    if (count[what])
      length += std::snprintf(text + length, sizeof text - size_t(length), "%s %d %s (thread %d)",
                              length ? "," : "", count[what], names[what], example[what]);
  die("%s: deadlock in block (%u, %u, %u) of %d threads:%s", launching->name, blockIdx.x,
      blockIdx.y, blockIdx.z, thread_count, text);
}

/* ---- grids ---- */

void expect_all_ended() {
  for (int t = 0; t < thread_count; t++)
    if (threads[t].state != ENDED) die_of_deadlock();
}

/* All threads keep pace with each other: none is more than one wait ahead. */
void run_evenly(shuffler &random, std::vector<int> &order) {
  for (;;) {
    random.shuffle(order);
    for (int t : order)
      if (threads[t].state == READY) thread_run(t);
    bool released = release_warps(0, thread_count);
    if (!release_barrier() && !released) return expect_all_ended();
  }
}

bool run_warp(int warp, shuffler &random) {
  int first = warp * 32, last = std::min(first + 32, thread_count);
  std::vector<int> order;
  for (int t = first; t < last; t++)
    if (threads[t].state == READY) order.push_back(t);
  random.shuffle(order);
  for (int t : order) thread_run(t);
  release_warps(first, last);
  return !order.empty();
}

/* Some warps get as far ahead of the others as the barriers allow: one runs only when those before
 * it in the order all wait. Finds values that are used again too early. */
void run_unevenly(shuffler &random) {
  std::vector<int> warps(size_t(thread_count + 31) / 32);
  std::iota(warps.begin(), warps.end(), 0);
  random.shuffle(warps);
  for (;;) {
    auto runs = [&](int warp) { return run_warp(warp, random); };
    if (std::any_of(warps.begin(), warps.end(), runs)) continue;
    if (!release_barrier()) return expect_all_ended();
  }
}

void run_block(shuffler &random, std::vector<int> &order) {
  for (int t = 0; t < thread_count; t++) threads[t].state = READY;
  if (random.natural() || random.below(2))
    run_evenly(random, order);
  else
    run_unevenly(random);
}

/* Runs the blocks in the order first, first + step, ...: any order has its turn, none is stored. */
void run_grid(const kernel_launch &launch, const std::function<void()> &thread_body) {
  if (in_kernel) die("%s: launched from a kernel", launch.name);
  std::lock_guard<std::mutex> lock(kernel_lock);
  in_kernel = true;
  launching = &launch;
  body = &thread_body;
  gridDim = launch.grid;
  blockDim = launch.block;
  thread_count = int(launch.block.x * launch.block.y * launch.block.z);
  uint64_t x = launch.grid.x, y = launch.grid.y, blocks = x * y * launch.grid.z;
  shuffler random;
  uint64_t first = 0, step = 1;
  if (!random.natural()) {
    first = random.below(blocks);
    do step = 1 + random.below(blocks);
    while (std::gcd(step, blocks) != 1);
  }
  std::vector<int> order(static_cast<size_t>(thread_count));
  std::iota(order.begin(), order.end(), 0);
  uint64_t block = first;
  for (uint64_t i = 0; i < blocks; i++, block = (block + step) % blocks) {
    blockIdx = uint3{unsigned(block % x), unsigned(block / x % y), unsigned(block / x / y)};
    run_block(random, order);
  }
  current = -1;
  in_kernel = false;
  check_guards(launch.name);
}

bool legal(const kernel_launch &l) {
  uint64_t n = uint64_t(l.block.x) * l.block.y * l.block.z;
  return n >= 1 && n <= MAX_THREADS && l.block.x <= 1024 && l.block.y <= 1024 && l.block.z <= 64 &&
         l.grid.x >= 1 && l.grid.x <= 2147483647u && l.grid.y >= 1 && l.grid.y <= 65535 &&
         l.grid.z >= 1 && l.grid.z <= 65535;
}

} // namespace

void launch_body(const kernel_launch &launch, cudaStream_t stream,
                 std::function<void()> thread_body) {
  if (device_count() == 0)
    record(cudaErrorNoDevice);
  else if (!legal(launch))
    record(cudaErrorInvalidConfiguration);
  else
    record(enqueue(
        stream, [launch, thread_body] { run_grid(launch, thread_body); }, true));
}

void check_kernel_pointer(const char *kernel, int argument, const void *pointer) {
  if (pointer && !device_can_use(pointer, 0))
    die("%s: argument %d (%p) is no device memory", kernel, argument, pointer);
}

int block_wait(block_operation, bool predicate) {
  if (current < 0) die("__syncthreads() outside a kernel");
  int t = current;
  threads[t].state = AT_BARRIER;
  threads[t].predicate = predicate;
  fiber_suspend();
  return int(threads[t].result);
}

uint64_t warp_wait(warp_operation operation, unsigned mask, uint64_t value, int operand,
                   int width) {
  if (current < 0) die("a warp operation outside a kernel");
  int t = current;
  if (!(mask >> (t % 32) & 1))
    die("%s: lane %d calls a warp operation whose mask %#x does not name it", launching->name,
        t % 32, mask);
  if (width <= 0 || width > 32 || (width & (width - 1)))
    die("%s: a shuffle of width %d", launching->name, width);
  thread &self = threads[t];
  self.state = IN_WARP;
  self.operation = operation;
  self.mask = mask;
  self.value = value;
  self.operand = operand;
  self.width = width;
  fiber_suspend();
  return self.result;
}

} // namespace tg_emulator
