/* view.h - `fhirlake view`: a ViewDefinition over the files of an export.   Floor: cli. */
#pragma once
/* argv[0] is "view". Exit status: 0, 2 for wrong options or a view that is none, 1 for anything
 * else. */
int cli_view(int argc, char **argv);
