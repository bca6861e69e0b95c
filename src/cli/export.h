#pragma once
/* fhirlake export: start an export over the API, follow it, show what it wrote. argv[0] is
 * "export". */
int cli_export(int argc, char **argv);
