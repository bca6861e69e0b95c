#pragma once
/* fhirlake verify: an export's files against its manifest, and the manifest against a store.
 * argv[0] is "verify". */
int cli_verify(int argc, char **argv);
