/* options_end.h - forgets the row macros of options.def, so that it can be expanded again. No
 * guard: included after each expansion. */
#undef TG_SECTION
#undef TG_INNER
#undef TG_TEXT
#undef TG_INT
#undef TG_AUTO
#undef TG_REAL
#undef TG_BOOL
#undef TG_INTS
#undef TG_STEPS
