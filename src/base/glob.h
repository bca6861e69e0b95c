/* glob.h - patterns of text: "*" stands for any run of bytes, "?" for any one byte. Floor: base. */
#pragma once
#include "base/sv.h"

/* Does the pattern stand for the whole text?
 *   nocase  letter case of ASCII does not count */
bool glob_matches(sv pattern, sv text, bool nocase);
