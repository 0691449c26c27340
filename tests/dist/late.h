/* late.h - rules that are more than a change of the gradient, each with its optimisers, as rows for
 * tests. */
#ifndef DIST_LATE_H
#define DIST_LATE_H

typedef struct late_row {
  const char *rule, *optimizer;
} late_row;

static const late_row late_rows[] = {
    {"staleness-lr", "sgd"},   {"staleness-lr", "momentum"}, {"gap-aware", "sgd"},
    {"gap-aware", "momentum"}, {"dana-slim", "sgd"},         {"xgrad", "sgd"},
    {"xgrad", "momentum"},     {"dave-rpg", "sgd"},          {"easgd", "sgd"}};
enum { LATE_ROWS = sizeof late_rows / sizeof *late_rows };

#endif
