/* page.h - for tests of the report: folders of runs with given content, and pages made of them,
 * which must be well-formed and hold nothing from outside. */
#ifndef TESTS_PAGE_H
#define TESTS_PAGE_H

#include <stdbool.h>
#include <stddef.h>

extern char page_folder[64], page_path[96]; /* of this test; the page is written to page_path */
void page_folder_make(void);
void page_folder_remove(void);
/* A run in page_folder; its path, the caller's to free. */
char *page_run(const char *name, const char *config, const char *metrics);
/* page_of - reports the runs and checks that the page is one; the caller frees the text.
 * page_read - the page that is there. */
char *page_of(const char *const *runs, int count);
char *page_read(void);
/* The cell of the column-th run in the row of that label, in the large table. */
void page_expect(const char *page, const char *label, int column, const char *expected);
void page_has(const char *page, const char *text);
void page_has_not(const char *page, const char *text);

/* A run of one worker line, evaluated at epochs 1 and 2: after 5 and 10 s, 50 and 100 s virtual. */
typedef struct page_plan {
  const char *name, *rule, *more; /* more: sections of the configuration */
  int workers, seed;
  bool simulated;
  double first, last, r; /* errors at epochs 1 and 2 */
} page_plan;

enum { PAGE_RUNS = 32 };

typedef struct page_runs {
  char *path[PAGE_RUNS];
  int count;
} page_runs;
char *page_make(const page_plan *p);
page_runs page_make_all(const page_plan *plans, size_t count);
/* The page of runs as planned. */
char *page_with(const page_plan *plans, size_t count);

#endif
