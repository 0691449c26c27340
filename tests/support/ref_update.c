#include "ref_update.h"

#include <math.h>
#include <stdlib.h>

#define REAL    double
#define REF     ref_double
#define NAME(f) ref_double_##f
#include "ref_update_body.h"
#undef REAL
#undef REF
#undef NAME

#define REAL    float
#define REF     ref_float
#define NAME(f) ref_float_##f
#include "ref_update_body.h"
