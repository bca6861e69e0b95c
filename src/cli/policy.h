/* policy.h - the command `fhirlake policy`.   Floor: cli. */
#pragma once
/* argv[0] is "policy". Exit status: 0 allowed, 1 denied, 2 it cannot be told. */
int cli_policy(int argc, char **argv);
