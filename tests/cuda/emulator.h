/* emulator.h - what the parts of the emulator know of each other. What it is:
 * include/cuda_runtime.h.
 *
 *   device.cc   devices, errors, environment       fibers.cc  stacks and switches
 *   memory.cc   allocations, guards, copies        block.cc   the threads of a block, launches
 *   queue.cc    work that waits to be run          stream.cc  streams
 *   event.cc    events                             graph.cc   capture and graphs
 *   cublas.cc   cudnn.cc   cudnn_convolution.cc    nccl.cc    nccl_shared.cc */
#ifndef TESTS_CUDA_EMULATOR_H
#define TESTS_CUDA_EMULATOR_H

#include <cuda_runtime.h>

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace tg_emulator {

/* ---- device.cc ---- */

constexpr int MAX_DEVICES = 16;

/* Sets the last error of this thread, unless it is success, and returns it. */
cudaError_t record(cudaError_t error);
/* Prints a message on stderr and aborts. */
[[noreturn]] void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
unsigned long long environment(const char *name, unsigned long long otherwise);
int device_count();
int current_device();
/* One lock for all that the emulator keeps; never held while queued work runs. */
std::recursive_mutex &state_lock();
using locked = std::lock_guard<std::recursive_mutex>;

/* Numbers that shuffle an order. Without a seed it is `natural`. */
class shuffler {
public:
  shuffler();
  bool natural() const { return natural_; }
  uint64_t below(uint64_t n);
  void shuffle(std::vector<int> &order);

private:
  bool natural_;
  uint64_t state_;
};

/* ---- fibers.cc ---- */

struct fiber;
/* A fiber that runs entry(), which must not return, on a stack of its own. */
fiber *fiber_new(void (*entry)());
/* From the scheduler: runs the fiber until it suspends itself. One scheduler at a time. */
void fiber_resume(fiber *f);
void fiber_suspend();

/* ---- memory.cc ---- */

size_t device_memory_used(int device);
/* Whether the device may use [p, p + size). */
bool device_can_use(const void *p, size_t size);
/* Ends the program when somebody wrote over a guard zone; `when` says what ran last. */
void check_guards(const char *when);

/* ---- queue.cc ---- */

using work = std::function<void()>;

/* The work of a stream in its order. Outlives the stream where an event names it. */
struct work_queue {
  std::deque<work> waiting;
  uint64_t given = 0, done = 0; /* how much work, ever */
  std::mutex running;           /* held by who runs its work */
};

/* Whether work waits until somebody waits for it, or runs when it is given. */
bool lazy();
/* Adds work; returns how much work is done once this is. The caller then calls queue_run, unless
 * the work may wait; it must hold the lock for the first and not for the second. */
uint64_t queue_add(work_queue &q, work run);
constexpr uint64_t ALL = ~uint64_t(0);
void queue_run(work_queue &q, uint64_t until);
/* For a question whether it is done: true, or does a little of it, as time goes on meanwhile. */
bool queue_is_done(work_queue &q, uint64_t until);

/* ---- stream.cc, event.cc and graph.cc ---- */

struct node {
  work run;
  std::vector<int> needs; /* nodes that come before */
};

struct capture {
  cudaStreamCaptureMode mode;
  std::thread::id owner;
  cudaStream_t origin;
  bool active = true, valid = true;
  std::vector<node> nodes;
};

/* Gives the work to the stream, or records it where the stream captures. `launches`: a kernel,
 * whose stream must be of the current device. */
cudaError_t enqueue(cudaStream_t stream, work run, bool launches = false);
/* The stream of a handle, the default streams included; null where there is none. */
CUstream_st *stream_find(cudaStream_t stream);
/* Whether work that the stream is given now will run later. */
bool stream_defers(cudaStream_t stream);
/* Runs all that waits: of every stream, or only of those that the default stream waits for. */
void streams_run(bool all);
/* Takes every stream out of a capture that has ended. */
void streams_leave(const std::shared_ptr<capture> &ended);
/* Whether a capture forbids calls that are unsafe in it; if so, it is invalid from now on. */
bool capture_forbids();
/* The same for calls that wait for the whole device or for the default stream. */
bool capture_forbids_waiting();
bool capture_forbids_default_stream();
void capture_add(CUstream_st *stream, work run);
void run_nodes(const std::vector<node> &nodes);

} // namespace tg_emulator

struct CUstream_st {
  unsigned flags = 0;
  int device = 0;
  bool is_default = false; /* the NULL stream: nothing waits in it */
  std::shared_ptr<tg_emulator::work_queue> queue = std::make_shared<tg_emulator::work_queue>();
  std::shared_ptr<tg_emulator::capture> capture; /* that it is part of */
  std::vector<int> tail;                         /* nodes that its next node comes after */
};

#endif
