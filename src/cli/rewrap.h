/* rewrap.h - the command `fhirlake rewrap`.   Floor: cli. */
#pragma once
int cli_rewrap(int argc, char **argv);
