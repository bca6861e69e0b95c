/* clients.h - the command `fhirlake client` (clients.c, keygen.c).   Floor: cli. */
#pragma once

int cli_clients(int argc, char **argv);
/* fhirlake client keygen; argv[0] is "keygen". */
int cli_keygen(int argc, char **argv);
