/* generate.h - `fhirlake generate`: synthetic patients as NDJSON files.   Floor: cli. */
#pragma once
/* argv[0] is "generate". Exit status: 0, 2 for wrong options, 1 for anything else. */
int cli_generate(int argc, char **argv);
