/* queue.cc - the work of a stream. It runs when it is given, unless the environment asks for
 * laziness: then it runs as late as CUDA allows, when somebody waits for it, which finds host code
 * that does not wait for what it uses. */
#include "emulator.h"

namespace tg_emulator {

bool lazy() {
  return environment("TARDIGRAD_EMULATOR_LAZY", 0) != 0;
}

uint64_t queue_add(work_queue &q, work run) {
  locked lock(state_lock());
  q.waiting.push_back(std::move(run));
  return ++q.given;
}

/* Work may wait for other queues. Nobody waits in a circle: what a queue waits for was given before
 * the wait was, and what is done already is not waited for. */
void queue_run(work_queue &q, uint64_t until) {
  {
    locked lock(state_lock());
    if (until > q.given) until = q.given;
    if (q.done >= until) return;
  }
  std::lock_guard<std::mutex> running(q.running);
  for (;;) {
    work next;
    {
      locked lock(state_lock());
      if (q.done >= until) return;
      next = std::move(q.waiting.front());
      q.waiting.pop_front();
    }
    next();
    locked lock(state_lock());
    q.done++;
  }
}

bool queue_is_done(work_queue &q, uint64_t until) {
  uint64_t next = 0;
  {
    locked lock(state_lock());
    if (until > q.given) until = q.given;
    if (q.done >= until) return true;
    next = q.done + 1;
  }
  queue_run(q, next);
  return false;
}

} // namespace tg_emulator
