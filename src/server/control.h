/* control.h - the socket of a running server, for commands of this machine.   Floor: server. */
#pragma once

#define CONTROL_NAME "control" /* in the data folder */
