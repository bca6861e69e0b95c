/* audit.h - the command `fhirlake audit`.   Floor: cli. */
#pragma once

int cli_audit(int argc, char **argv);
int cli_audit_show(int argc, char **argv); /* argv[0] is "show" */
