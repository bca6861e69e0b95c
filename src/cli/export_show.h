/* export_show.h - what people see of an export: how far it is, and what it wrote.   Floor: cli. */
#pragma once
#include "base/sv.h"

#include <stdio.h>

#define EXPORT_MANIFEST_DEPTH 64u /* nesting of a manifest */

struct export_state { /* of a job, as Describe tells it; views */
    sv status, message, folder;
    double submit_s, end_s; /* epoch seconds; 0: not told */
};
struct export_progress {
    bool tty;
    bool shown; /* a bar stands on the screen */
    char last[256];
};
/* On a terminal a bar that moves; else a line whenever the text changes. To standard error. */
void export_progress_show(struct export_progress *p, const struct export_state *st);
void export_progress_end(struct export_progress *p);

/* The files of a manifest as a tree, a count and a size for each type, then the sums and the rate.
 * ERR_INVALID: not a manifest. */
MUST_USE err_code export_show_tree(sv manifest, const struct export_state *st, FILE *f,
                                   struct err *e);
