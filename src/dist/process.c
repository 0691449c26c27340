/* process.c - clock, naps, and requests to stop. */
#include <signal.h>
#include <time.h>

#include "tardigrad/transport.h"

static volatile sig_atomic_t stop_flag;

static void note(int signal_number) {
  (void)signal_number;
  stop_flag = 1;
}

void tg_stop_catch(void) {
  struct sigaction action = {.sa_handler = note, .sa_flags = SA_RESTART};
  sigemptyset(&action.sa_mask);
  const int signals[] = {SIGTERM, SIGINT, SIGUSR1};
  for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
    sigaction(signals[i], &action, NULL);
}

bool tg_stop_requested(void) {
  return stop_flag != 0;
}

void tg_stop_request(void) {
  stop_flag = 1;
}

double tg_clock_s(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void tg_nap(double seconds) {
  struct timespec t = {.tv_sec = (time_t)seconds};
  t.tv_nsec = (long)(1e9 * (seconds - (double)t.tv_sec));
  nanosleep(&t, NULL);
}
