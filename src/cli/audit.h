/* audit.h - the command `fhirlake audit`.   Floor: cli. */
#pragma once

int cli_audit(int argc, char **argv);
