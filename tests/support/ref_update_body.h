/* ref_update_body.h - the reference of ref_update.h for one type: REAL, REF (its server) and
 * NAME(function) are set by the includer. */

void NAME(open)(REF *r, const ref_settings *set, const float *w0) {
  *r = (REF){.set = *set};
  r->w = calloc(set->n, sizeof(REAL));
  r->v = calloc(set->n, sizeof(REAL));
  for (size_t i = 0; i < set->n; i++) r->w[i] = (REAL)w0[i];
  for (int m = 0; m < set->workers; m++) {
    r->bak[m] = calloc(set->n, sizeof(REAL));
    r->ms[m] = calloc(set->n, sizeof(REAL));
    for (size_t i = 0; i < set->n; i++)
      r->bak[m][i] = set->rule == REF_MULTIVERSO ? (REAL)0 : (REAL)w0[i];
  }
}

void NAME(close)(REF *r) {
  free(r->w);
  free(r->v);
  for (int m = 0; m < r->set.workers; m++) {
    free(r->bak[m]);
    free(r->ms[m]);
  }
}

static REAL NAME(compensated)(REF *r, int m, size_t i, REAL g) {
  const ref_settings *s = &r->set;
  if (s->rule == REF_ASGD) return g;
  if (s->rule == REF_MXNET) m = 0;
  REAL lambda = (REAL)s->lambda;
  if (s->rule == REF_DC_A) {
    REAL *ms = &r->ms[s->global_mean_square ? 0 : m][i];
    *ms = (REAL)s->decay * *ms + (1 - (REAL)s->decay) * g * g;
    lambda = lambda / (REAL)sqrt(*ms + (REAL)s->epsilon);
  }
  REAL correction = lambda * g * g * (r->w[i] - r->bak[m][i]);
  if (s->cap > 0) {
    REAL most = (REAL)(s->cap * fabs(g));
    if (correction > most) correction = most;
    if (correction < -most) correction = -most;
  }
  return g + correction;
}

void NAME(push)(REF *r, int m, const float *gradient, double rate) {
  const ref_settings *s = &r->set;
  REAL lr = (REAL)rate, mu = (REAL)s->momentum;
  for (size_t i = 0; i < s->n; i++) {
    REAL g = NAME(compensated)(r, m, i, gradient[i]);
    if (s->rule == REF_MXNET) r->bak[0][i] = r->w[i];
    g += (REAL)s->weight_decay * r->w[i];
    if (s->optimizer != REF_SGD) r->v[i] = mu * r->v[i] + g;
    if (s->optimizer == REF_MOMENTUM) g = r->v[i];
    if (s->optimizer == REF_NESTEROV) g = g + mu * r->v[i];
    r->w[i] = r->w[i] - lr * g;
  }
}

void NAME(pull)(REF *r, int m) {
  if (r->set.rule == REF_MXNET) return;
  for (size_t i = 0; i < r->set.n; i++) r->bak[m][i] = r->w[i];
}
