/* status.h - how functions fail.
 *
 * Every fallible function returns a tg_status, which is also the exit code of the program when the
 * failure reaches main(). The message is set together with the code, once, where the failure is
 * found, and names the thing and the value that was wrong; callers pass it up untouched. */
#ifndef TARDIGRAD_STATUS_H
#define TARDIGRAD_STATUS_H

typedef enum tg_status {
  TG_OK = 0,
  TG_ERUNTIME = 1,      /* a failure at run time: I/O, memory, a library, a peer */
  TG_EUSAGE = 2,        /* wrong command line */
  TG_EDIVERGED = 3,     /* loss not finite, or gradients not finite too often */
  TG_EDATA = 65,        /* a data file or checkpoint is malformed */
  TG_ENOINPUT = 66,     /* a data set or checkpoint is missing */
  TG_EUNAVAILABLE = 69, /* a device or a rank is not available */
  TG_EPREEMPTED = 75,   /* stopped by a signal after a checkpoint: run again with resume=auto */
  TG_ECONFIG = 78       /* bad configuration */
} tg_status;

#define TG_CHECKED __attribute__((warn_unused_result))

/* tg_status_set - records the message of a failure for this thread and returns `code`.
 * Use TG_FAIL. Messages longer than 1 KiB are cut. */
tg_status tg_status_set(tg_status code, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* tg_status_message - the message of this thread's last failure; "" if there was none.
 * Memory: static per thread, valid until the next failure. */
const char *tg_status_message(void);

/* tg_status_name - "bad configuration" and so on, for messages. */
const char *tg_status_name(tg_status code);

/* TG_FAIL(code, "format", ...) - returns from the function with this failure. */
#define TG_FAIL(code, ...) return tg_status_set((code), __VA_ARGS__)

/* TG_TRY(expression) - passes a failure of the expression up to the caller. */
#define TG_TRY(expression)                                                                         \
  do {                                                                                             \
    tg_status tg_try_ = (expression);                                                              \
    if (tg_try_ != TG_OK) return tg_try_;                                                          \
  } while (0)

/* TG_DO(expression) - the same in a function that holds resources: expects a variable
 * `tg_status status` and a label `done`. */
#define TG_DO(expression)                                                                          \
  do {                                                                                             \
    status = (expression);                                                                         \
    if (status != TG_OK) goto done;                                                                \
  } while (0)

#endif
