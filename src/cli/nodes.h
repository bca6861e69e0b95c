#pragma once
/* fhirlake nodes: the processes of a database, and what each has in hand. argv[0] is "nodes". */
int cli_nodes(int argc, char **argv);
