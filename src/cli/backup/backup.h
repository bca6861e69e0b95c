/* backup.h - `fhirlake backup` and `fhirlake restore`.   Floor: cli. */
#pragma once
int cli_backup(int argc, char **argv);  /* returns the exit status */
int cli_restore(int argc, char **argv); /* returns the exit status */
