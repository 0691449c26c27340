/* report_gnuplot.c - figures drawn by gnuplot: one script for all charts of a page, one process.
 *
 * The script holds numbers and texts of this program only: names of runs are put in afterwards
 * (report_svg.c), so that nobody's text is ever read as a command. Script and drawings are memory
 * with a descriptor: no files to clear away, and no pipe on which two processes could wait. */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "run/report_chart.h"
#include "tardigrad/transport.h"

static const double PATIENCE_S = 60;
static const char END[] = "</svg>";

/* ---- the script ---- */

static void ink(FILE *out, tg_ink role, size_t look) {
  fprintf(out, " lc rgb \"#%02xfe%02x\"", (unsigned)role, (unsigned)(look % TG_LOOKS));
}

static void script_ticks(FILE *out, char which, const tg_axis *axis) {
  double tick[TG_MAX_TICKS];
  size_t ticks = tg_axis_ticks(axis, tick);
  fprintf(out, "set %crange [%.17g:%.17g]\n%sset logscale %c\nset %ctics nomirror out scale 0.5 (",
          which, axis->lo, axis->hi, axis->log ? "" : "un", which, which);
  for (size_t i = 0; i < ticks; i++) {
    char text[TG_TICK_CHARS];
    tg_axis_tick_text(axis, tick[i], text);
    fprintf(out, "%s\"%s\" %.15g", i ? "," : "", text, tick[i]);
  }
  fprintf(out, ") offset %s textcolor rgb \"#%02xfe00\"\n", which == 'x' ? "0,0.35" : "0.8,0",
          TG_INK_TICK_TEXT);
}

/* Where we want them: gnuplot would move the label of y out of the drawing for wide numbers. */
static void script_labels(FILE *out, const tg_chart *c, double left) {
  double high = tg_chart_height(c);
  fprintf(out, "set label \"%s\" at screen %.6f,%.6f center textcolor rgb \"#%02xfe00\"\n",
          c->x.label, (left + TG_CHART_WIDTH - TG_CHART_RIGHT) / 2 / TG_CHART_WIDTH, 10 / high,
          TG_INK_LABEL);
  if (c->drawing == TG_DRAW_BARS) return;
  fprintf(out,
          "set label \"%s\" at screen %.6f,%.6f center rotate by 90 textcolor rgb \"#%02xfe00\"\n",
          c->y.label, 8.0 / TG_CHART_WIDTH, (high - TG_CHART_TOP + TG_CHART_BOTTOM) / 2 / high,
          TG_INK_LABEL);
}

static void script_frame(FILE *out, const tg_chart *c) {
  double high = tg_chart_height(c);
  bool bars = c->drawing == TG_DRAW_BARS;
  double left = bars ? TG_CHART_RIGHT : TG_CHART_LEFT;
  fprintf(out,
          "reset session\nset encoding utf8\n"
          "set terminal svg noenhanced size %d,%.0f font \"Arial,12\" linewidth 1\n"
          "unset key\nset border %d",
          TG_CHART_WIDTH, high, bars ? 1 : 3);
  ink(out, TG_INK_AXIS, 0);
  fprintf(out,
          "\nset lmargin at screen %.6f\nset rmargin at screen %.6f\nset tmargin at screen %.6f\n"
          "set bmargin at screen %.6f\n",
          left / TG_CHART_WIDTH, 1 - (double)TG_CHART_RIGHT / TG_CHART_WIDTH,
          1 - TG_CHART_TOP / high, TG_CHART_BOTTOM / high);
  script_ticks(out, 'x', &c->x);
  script_labels(out, c, left);
  if (bars) {
    fprintf(out, "unset ytics\nset yrange [%zu:0]\n", c->count ? c->series[0].count : 1);
    return;
  }
  script_ticks(out, 'y', &c->y);
  fputs("set grid ytics lt 1", out);
  ink(out, TG_INK_GRID, 0);
  fputs("\n", out);
}

/* Beyond the axes a value is as good as just beyond, but gnuplot need not know how far. */
static double tamed(const tg_axis *axis, double v) {
  double room = axis->log ? 1e6 : 9 * (axis->hi - axis->lo);
  return axis->log ? fmin(fmax(v, axis->lo / room), axis->hi * room)
                   : fmin(fmax(v, axis->lo - room), axis->hi + room);
}

static bool has_point(const tg_chart *c, const tg_series *s, size_t i, bool band) {
  return tg_axis_shows(&c->x, s->x[i]) && tg_axis_shows(&c->y, s->y[i]) &&
         (!band || (tg_axis_shows(&c->y, s->lo[i]) && tg_axis_shows(&c->y, s->hi[i])));
}

typedef enum { POINTS, MARKS, BAND } block;

static void script_block(FILE *out, const tg_chart *c, size_t k, block what) {
  const tg_series *s = &c->series[k];
  static const char letter[] = {'p', 'm', 'b'};
  fprintf(out, "$%c%zu << EOD\n", letter[what], k);
  for (size_t i = 0; i < s->count; i++) {
    if (what == MARKS && !tg_series_marked(s, i)) continue;
    if (!has_point(c, s, i, what == BAND))
      fputs(what == MARKS ? "" : "\n", out);
    else if (what == BAND)
      fprintf(out, "%.17g %.8g %.8g\n", s->x[i], tamed(&c->y, s->lo[i]), tamed(&c->y, s->hi[i]));
    else
      fprintf(out, "%.17g %.8g\n", s->x[i], tamed(&c->y, s->y[i]));
  }
  fputs("EOD\n", out);
}

/* A bar of the histogram is two points; the outline begins and ends at zero. */
static void script_outline(FILE *out, const tg_chart *c, size_t k) {
  const tg_series *s = &c->series[k];
  fprintf(out, "$p%zu << EOD\n%.8g 0\n", k, s->x[0]);
  for (size_t i = 0; i + 1 < s->count; i++)
    fprintf(out, "%.8g %.8g\n%.8g %.8g\n", s->x[i], s->y[i], s->x[i + 1], s->y[i]);
  fprintf(out, "%.8g 0\nEOD\n", s->x[s->count - 1]);
}

/* dt: gnuplot's own dashes only say that there are some; the page's come from the look. */
static void plot_lines(FILE *out, const tg_chart *c) {
  const char *glue = "plot ";
  for (size_t k = 0; k < c->count; k++) {
    const tg_series *s = &c->series[k];
    if (s->lo) {
      fprintf(out, "%s$b%zu using 1:2:3 with filledcurves", glue, k);
      ink(out, TG_INK_BAND, s->look);
      glue = ", ";
    }
    fprintf(out, "%s$p%zu with lines", glue, k);
    ink(out, s->guide ? TG_INK_GUIDE : TG_INK_LINE, s->look);
    glue = ", ";
    if (s->guide) continue;
    fprintf(out, ", $m%zu with points pt 7 ps 0.5", k);
    ink(out, TG_INK_MARK, s->look);
  }
  if (!isnan(c->limit)) {
    fprintf(out, "%s%.15g with lines", glue, c->limit);
    ink(out, TG_INK_LIMIT, 0);
  }
  fputs("\n", out);
}

static void script_lines(FILE *out, const tg_chart *c) {
  for (size_t k = 0; k < c->count; k++) {
    if (c->series[k].lo) script_block(out, c, k, BAND);
    script_block(out, c, k, POINTS);
    if (!c->series[k].guide) script_block(out, c, k, MARKS);
  }
  plot_lines(out, c);
}

static void script_steps(FILE *out, const tg_chart *c) {
  for (size_t k = 0; k < c->count; k++) script_outline(out, c, k);
  for (size_t k = 0; k < c->count; k++) {
    fprintf(out, "%s$p%zu with lines", k ? ", " : "plot ", k);
    ink(out, TG_INK_STEPS, c->series[k].look);
  }
  fputs("\n", out);
}

static void script_bars(FILE *out, const tg_chart *c) {
  size_t bars = c->count ? c->series[0].count : 0;
  for (size_t i = 0; i < bars; i++)
    fprintf(out, "set label \"@%zu@\" at 0,%.3f left textcolor rgb \"#%02xfe00\"\n", i,
            (double)i + 8.0 / TG_CHART_BAR, TG_INK_NAME);
  for (size_t k = 0; k < c->count; k++) {
    fprintf(out, "$p%zu << EOD\n", k);
    for (size_t i = 0; i < bars; i++) {
      double from = 0;
      for (size_t j = 0; j < k; j++) from += fmax(0, c->series[j].y[i]);
      if (c->series[k].y[i] > 0)
        fprintf(out, "%.6f %.4f %.6f %.6f %.4f %.4f\n", from, i + 0.5, from,
                from + c->series[k].y[i], (double)i + 17.0 / TG_CHART_BAR,
                (double)i + 30.0 / TG_CHART_BAR);
    }
    fputs("EOD\n", out);
  }
  fputs("set style fill solid noborder\n", out);
  for (size_t k = 0; k < c->count; k++) {
    fprintf(out, "%s$p%zu using 1:2:3:4:5:6 with boxxyerror", k ? ", " : "plot ", k);
    ink(out, TG_INK_BAR, c->series[k].look);
  }
  fputs("\n", out);
}

static void script_chart(FILE *out, const tg_chart *c) {
  script_frame(out, c);
  if (c->drawing == TG_DRAW_BARS)
    script_bars(out, c);
  else if (c->drawing == TG_DRAW_STEPS)
    script_steps(out, c);
  else
    script_lines(out, c);
}

/* ---- the process ---- */

typedef enum { SCRIPT, DRAWINGS, WORDS, STREAMS } stream;

static tg_status start(const int fd[STREAMS], pid_t *child) {
  char *const arguments[] = {"gnuplot", "-d", "-", NULL}; /* -d: without anybody's settings */
  const char *path = getenv("PATH");
  char *search = NULL;
  if (asprintf(&search, "PATH=%s", path ? path : "/usr/bin:/bin") < 0)
    TG_FAIL(TG_ERUNTIME, "no memory for gnuplot");
  char *const environment[] = {search, "LC_ALL=C.UTF-8", "HOME=/nonexistent", NULL};
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawn_file_actions_init(&files);
  posix_spawnattr_init(&attributes);
  for (int i = 0; i < STREAMS; i++) posix_spawn_file_actions_adddup2(&files, fd[i], i);
  posix_spawn_file_actions_addclosefrom_np(&files, STREAMS); /* MPI's connections are not its */
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  int error = posix_spawnp(child, arguments[0], &files, &attributes, arguments, environment);
  posix_spawn_file_actions_destroy(&files);
  posix_spawnattr_destroy(&attributes);
  free(search);
  if (error == ENOENT) TG_FAIL(TG_EUNAVAILABLE, "gnuplot is not here (Debian: gnuplot-nox)");
  if (error) TG_FAIL(TG_ERUNTIME, "gnuplot cannot be started: %s", strerror(error));
  return TG_OK;
}

static tg_status wait_for(pid_t child) {
  double until = tg_clock_s() + PATIENCE_S;
  int how = 0;
  pid_t done;
  while ((done = waitpid(child, &how, WNOHANG)) != child) {
    if (done < 0 && errno != EINTR) TG_FAIL(TG_ERUNTIME, "gnuplot: %s", strerror(errno));
    if (tg_clock_s() > until) {
      kill(child, SIGKILL);
      while (waitpid(child, &how, 0) < 0 && errno == EINTR) continue;
      TG_FAIL(TG_ERUNTIME, "gnuplot took longer than %.0f s", PATIENCE_S);
    }
    tg_nap(0.002);
  }
  if (!WIFEXITED(how) || WEXITSTATUS(how) != 0)
    TG_FAIL(TG_ERUNTIME, "gnuplot failed (%s %d)", WIFEXITED(how) ? "exit" : "signal",
            WIFEXITED(how) ? WEXITSTATUS(how) : WTERMSIG(how));
  return TG_OK;
}

/* All that a descriptor holds, as text; the caller frees it. */
static tg_status read_all(int fd, char **out) {
  off_t size = lseek(fd, 0, SEEK_END), done = 0;
  char *text = size < 0 ? NULL : malloc((size_t)size + 1);
  if (!text) TG_FAIL(TG_ERUNTIME, "no memory for what gnuplot drew");
  for (ssize_t n; done < size && (n = pread(fd, text + done, (size_t)(size - done), done)) > 0;)
    done += n;
  text[done] = 0;
  *out = text;
  return TG_OK;
}

static tg_status write_script(const tg_figure *figure, size_t figures, int fd) {
  FILE *out = fdopen(dup(fd), "w");
  if (!out) TG_FAIL(TG_ERUNTIME, "gnuplot: its script: %s", strerror(errno));
  for (size_t i = 0; i < figures; i++)
    for (size_t k = 0; k < figure[i].charts; k++) script_chart(out, &figure[i].chart[k]);
  if (fclose(out) != 0 || lseek(fd, 0, SEEK_SET) != 0)
    TG_FAIL(TG_ERUNTIME, "gnuplot: its script: %s", strerror(errno));
  return TG_OK;
}

/* ---- the drawings ---- */

static void forget(tg_figure *figure, size_t figures) {
  for (size_t i = 0; i < figures; i++)
    for (size_t k = 0; k < figure[i].charts; k++) {
      free(figure[i].chart[k].svg);
      figure[i].chart[k].svg = NULL;
    }
}

/* One drawing follows the other, in the order of the script. */
static tg_status deal_out(const char *text, tg_figure *figure, size_t figures) {
  for (size_t i = 0; i < figures; i++)
    for (size_t k = 0; k < figure[i].charts; k++) {
      const char *end = strstr(text, END);
      if (!end) TG_FAIL(TG_ERUNTIME, "gnuplot did not draw all figures");
      TG_TRY(tg_svg_inline(&figure[i].chart[k], text, end, &figure[i].chart[k].svg));
      text = end + sizeof END - 1;
    }
  return TG_OK;
}

tg_status tg_gnuplot_draw(tg_figure *figure, size_t figures) {
  tg_status status = TG_OK;
  static const char *const names[STREAMS] = {"script", "drawings", "words"};
  int fd[STREAMS] = {-1, -1, -1};
  char *text = NULL;
  pid_t child;
  for (int i = 0; i < STREAMS; i++)
    if ((fd[i] = memfd_create(names[i], MFD_CLOEXEC)) < 0)
      TG_DO(tg_status_set(TG_ERUNTIME, "gnuplot: no memory: %s", strerror(errno)));
  TG_DO(write_script(figure, figures, fd[SCRIPT]));
  TG_DO(start(fd, &child));
  TG_DO(wait_for(child));
  TG_DO(read_all(fd[DRAWINGS], &text));
  TG_DO(deal_out(text, figure, figures));
done:
  if (status != TG_OK) forget(figure, figures);
  for (int i = 0; i < STREAMS; i++)
    if (fd[i] >= 0) close(fd[i]);
  free(text);
  return status;
}
