/* log.h - words for people, on standard error. Data never goes through here.
 *
 * Rank 0 prints everything; other ranks print warnings and errors only, with their rank in front.
 */
#ifndef TARDIGRAD_LOG_H
#define TARDIGRAD_LOG_H

#include <stdbool.h>

typedef enum { TG_LOG_ERROR, TG_LOG_WARN, TG_LOG_INFO, TG_LOG_DEBUG } tg_log_level;

/* tg_log_setup - sets the rank shown and the most talkative level printed (-q: TG_LOG_WARN). */
void tg_log_setup(int rank, tg_log_level level);

void tg_log(tg_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define tg_info(...)  tg_log(TG_LOG_INFO, __VA_ARGS__)
#define tg_warn(...)  tg_log(TG_LOG_WARN, __VA_ARGS__)
#define tg_error(...) tg_log(TG_LOG_ERROR, __VA_ARGS__)

/* tg_log_progress - redraws the one progress line of this terminal. Does nothing where standard
 * error is not a terminal, on ranks other than 0, or when quiet. Other messages clear it first. */
void tg_log_progress(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* tg_log_progress_end - clears the progress line. */
void tg_log_progress_end(void);
/* tg_log_has_progress - whether tg_log_progress would print: to save the work of formatting. */
bool tg_log_has_progress(void);

#endif
