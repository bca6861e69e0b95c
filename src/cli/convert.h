/* convert.h - `fhirlake convert`: a data folder of an older program, for this one.   Floor: cli. */
#pragma once
/* argv[0] is "convert". Exit status: 0, 2 for wrong options, 1 for anything else. */
int cli_convert(int argc, char **argv);
