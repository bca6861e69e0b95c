/* health.h - the command `fhirlake health`: does the server answer?   Floor: cli. */
#pragma once
int cli_health(int argc, char **argv);
