#pragma once
/* fhirlake check: are the files of data stores as they must be? argv[0] is "check". */
int cli_check(int argc, char **argv);
