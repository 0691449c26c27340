/* fibers.cc - stacks, and the switch between them: saves what the calling convention asks a
 * function to keep, and no signal mask, so that a switch costs nanoseconds. */
#include "emulator.h"

#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define VALGRIND_STACK_REGISTER(start, end) ((void)(start), (void)(end))
#endif

extern "C" TG_EMULATED_HIDDEN void tg_emulator_switch(void **from, void *to);

#if defined(__x86_64__)
__asm__(".text\n"
        ".hidden tg_emulator_switch\n"
        ".globl tg_emulator_switch\n"
        ".type tg_emulator_switch, @function\n"
        "tg_emulator_switch:\n"
        "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
        "  movq %rsp, (%rdi)\n"
        "  movq %rsi, %rsp\n"
        "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
        "  ret\n"
        ".size tg_emulator_switch, .-tg_emulator_switch\n");
/* From the top: a return address of zero, the entry, six registers. */
enum { FRAME_WORDS = 8, ENTRY_WORD = 6 };
#elif defined(__aarch64__)
__asm__(".text\n"
        ".hidden tg_emulator_switch\n"
        ".globl tg_emulator_switch\n"
        ".type tg_emulator_switch, %function\n"
        "tg_emulator_switch:\n"
        "  sub sp, sp, #160\n"
        "  stp x19, x20, [sp, #0]\n  stp x21, x22, [sp, #16]\n  stp x23, x24, [sp, #32]\n"
        "  stp x25, x26, [sp, #48]\n  stp x27, x28, [sp, #64]\n  stp x29, x30, [sp, #80]\n"
        "  stp d8, d9, [sp, #96]\n  stp d10, d11, [sp, #112]\n"
        "  stp d12, d13, [sp, #128]\n  stp d14, d15, [sp, #144]\n"
        "  mov x9, sp\n  str x9, [x0]\n  mov sp, x1\n"
        "  ldp x19, x20, [sp, #0]\n  ldp x21, x22, [sp, #16]\n  ldp x23, x24, [sp, #32]\n"
        "  ldp x25, x26, [sp, #48]\n  ldp x27, x28, [sp, #64]\n  ldp x29, x30, [sp, #80]\n"
        "  ldp d8, d9, [sp, #96]\n  ldp d10, d11, [sp, #112]\n"
        "  ldp d12, d13, [sp, #128]\n  ldp d14, d15, [sp, #144]\n"
        "  add sp, sp, #160\n"
        "  ret\n"
        ".size tg_emulator_switch, .-tg_emulator_switch\n");
enum { FRAME_WORDS = 20, ENTRY_WORD = 11 };
#else
#error "the switch between fibers is written for x86-64 and aarch64"
#endif

namespace tg_emulator {

/* A kernel's own arrays, and printf. */
constexpr size_t STACK_BYTES = size_t(256) << 10;

struct fiber {
  void *sp;
  char *stack;
  void (*entry)();
  void *kept; /* AddressSanitizer's */
};

namespace {

void *scheduler_sp;
fiber *running;

#if defined(__SANITIZE_ADDRESS__)
void *scheduler_kept;
const void *scheduler_stack;
size_t scheduler_stack_bytes;

void leave(void **kept, const void *stack, size_t bytes) {
  __sanitizer_start_switch_fiber(kept, stack, bytes);
}
void arrive(void *kept, const void **stack, size_t *bytes) {
  __sanitizer_finish_switch_fiber(kept, stack, bytes);
}
void leave_scheduler(fiber *f) {
  leave(&scheduler_kept, f->stack, STACK_BYTES);
}
void arrive_at_scheduler() {
  arrive(scheduler_kept, nullptr, nullptr);
}
void leave_fiber(fiber *f) {
  leave(&f->kept, scheduler_stack, scheduler_stack_bytes);
}
void arrive_at_fiber(fiber *f) {
  arrive(f->kept, &scheduler_stack, &scheduler_stack_bytes);
}
#else
void leave_scheduler(fiber *) {}
void arrive_at_scheduler() {}
void leave_fiber(fiber *) {}
void arrive_at_fiber(fiber *) {}
#endif

void start() {
  arrive_at_fiber(running);
  running->entry();
  die("a fiber has no way back");
}

} // namespace

fiber *fiber_new(void (*entry)()) {
  size_t guard = size_t(sysconf(_SC_PAGESIZE));
  void *memory = mmap(nullptr, guard + STACK_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory, guard, PROT_NONE) != 0)
    die("no memory for the stack of a thread");
  char *stack = static_cast<char *>(memory) + guard;
  VALGRIND_STACK_REGISTER(stack, stack + STACK_BYTES);
  void **frame = reinterpret_cast<void **>(stack + STACK_BYTES) - FRAME_WORDS;
  for (int i = 0; i < FRAME_WORDS; i++) frame[i] = nullptr;
  frame[ENTRY_WORD] = reinterpret_cast<void *>(start);
  return new fiber{frame, stack, entry, nullptr};
}

void fiber_resume(fiber *f) {
  running = f;
  leave_scheduler(f);
  tg_emulator_switch(&scheduler_sp, f->sp);
  arrive_at_scheduler();
}

void fiber_suspend() {
  fiber *self = running;
  leave_fiber(self);
  tg_emulator_switch(&self->sp, scheduler_sp);
  arrive_at_fiber(self);
}

} // namespace tg_emulator
