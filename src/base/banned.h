/* banned.h - calls this tree does not use, refused at compile time.
 * Unbounded copies, hidden state, unchecked conversions: each has a safer twin in base/.
 * Floor: base. */
#pragma once
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#pragma GCC poison strcpy strcat sprintf vsprintf strtok gets atoi atol atoll gmtime localtime
