/* serve.h - `fhirlake serve`: puts the rooms together, prints the ready line, waits for SIGTERM.
 * Floor: server. */
#pragma once

/* argv[0] is "serve". Exit status: 0 after a clean stop, 2 for wrong options, 1 for anything
 * else. */
int serve_main(int argc, char **argv);
