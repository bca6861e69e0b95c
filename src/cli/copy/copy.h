/* copy.h - `fhirlake copy`: data stores moved between folders and databases.   Floor: cli. */
#pragma once
int cli_copy(int argc, char **argv);
