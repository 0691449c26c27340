/* report.h - one page that says how runs went and how they compare.
 *
 * What is chance, here and in the table of bench/scaling.sh: the test errors of two configurations
 * are taken seed by seed, and their difference is called chance unless its 95 % confidence interval
 * (Student's t over the seeds that both have) leaves out 0. One seed in common says nothing. Where
 * a compensating rule's mean correction ratio r is below 1e-2 its difference from asgd is chance
 * whatever the test says: the corrected gradient is then the late gradient, as far as a test error
 * can tell. Nothing is adjusted for the number of comparisons: of twenty without any difference one
 * is expected not to be called chance. */
#ifndef TARDIGRAD_REPORT_H
#define TARDIGRAD_REPORT_H

#include "tardigrad/status.h"

/* tg_report_write - reads config.yaml and metrics.jsonl of `count` run folders and writes a
 * self-contained HTML page (inline style and SVG, no scripts, nothing from outside) to `path`,
 * beside it first and then renamed. Runs that differ in their seeds alone are one configuration:
 * its curves are means with a band from the least to the most. The same input gives the same bytes.
 * Runs need not be finished: what is missing is a dash, and a torn last line is passed over.
 * target: the test error in percent that runs are timed to; NAN: chosen as the page says.
 * Figures are gnuplot's. Where it is not here, fails or takes longer than a minute, the program
 * draws them itself, and the page and a warning say so: a run's end must not depend on it.
 * Errors: TG_EUSAGE (no run, one named twice), TG_ENOINPUT (no such run, no metrics), TG_ECONFIG
 * (config.yaml), TG_EDATA (metrics.jsonl: file and line), TG_ERUNTIME (the page cannot be written;
 * an earlier page is then as it was). */
TG_CHECKED tg_status tg_report_write(const char *const *runs, int count, double target,
                                     const char *path);

#endif
