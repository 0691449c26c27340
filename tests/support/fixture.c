#include "fixture.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char folder[200];

int fixture_run(Suite *suite, int rank) {
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, rank == 0 ? CK_ENV : CK_SILENT);
  int failed = srunner_ntests_failed(runner);
  TestResult **failure = srunner_failures(runner);
  for (int i = 0; i < failed && rank > 0; i++)
    fprintf(stderr, "rank %d: %s: %s:%d: %s\n", rank, tr_tcname(failure[i]), tr_lfile(failure[i]),
            tr_lno(failure[i]), tr_msg(failure[i]));
  free(failure);
  srunner_free(runner);
  return failed;
}

void fixture_path(const char *name, char *path, size_t size) {
  const char *where = getenv("TMPDIR");
  if (!folder[0]) {
    snprintf(folder, sizeof folder, "%s/tardigrad-test-XXXXXX", where && *where ? where : "/tmp");
    if (!mkdtemp(folder)) {
      perror(folder);
      exit(1);
    }
  }
  snprintf(path, size, "%s/%s", folder, name);
}

void fixture_end(void) {
  DIR *dir = folder[0] ? opendir(folder) : NULL;
  if (!dir) return;
  char path[512];
  for (struct dirent *e; (e = readdir(dir));) {
    snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
    unlink(path);
  }
  closedir(dir);
  rmdir(folder);
  folder[0] = '\0';
}
