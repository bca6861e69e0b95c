"""Runs the server for one Python process, and ends it with that process, however that ends.

    python -I -S _keeper.py FOLDER PROGRAM ARGUMENT...

Standard input is a pipe whose other end that process has. A byte comes through it when the server is to end, and the pipe
ends when the process is killed: nothing is asked of it. Then the server gets SIGTERM, after GRACE seconds SIGKILL, and FOLDER is removed (an
empty one: nothing is). Should the keeper itself be killed, the kernel sends the server SIGTERM (PR_SET_PDEATHSIG), and
FOLDER stays. That signal hangs on the thread that started the server, so it cannot be the Python process that asks for it:
its thread may end before it does. The keeper has one that lasts.

The exit status is the server's; 128 and the signal's number where a signal ended it.
"""
import os
import shutil
import signal
import sys
import threading
from typing import NoReturn

GRACE = 20.0
PR_SET_PDEATHSIG = 1


def run(command: "list[str]", keeper: int) -> NoReturn:
    """The child, which becomes the server."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        try:
            import ctypes
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        except (ImportError, OSError, AttributeError):
            pass  # a keeper that is killed then leaves its server; all else holds
        if os.getppid() == keeper:
            os.execv(command[0], command)
    except OSError as fault:
        os.write(2, f"{command[0]}: {fault.strerror}\n".encode())
    finally:
        os._exit(127)


def main() -> NoReturn:
    folder, command = sys.argv[1], sys.argv[2:]
    keeper = os.getpid()
    child = os.fork()
    if child == 0:
        run(command, keeper)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    # the server alone writes to standard output: who reads it sees the end with the server's
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    gone = threading.Event()

    def wait_for_the_end() -> None:
        os.read(0, 1)
        if not gone.is_set():
            os.kill(child, signal.SIGTERM)
        if not gone.wait(GRACE):
            os.kill(child, signal.SIGKILL)

    waits = threading.Thread(target=wait_for_the_end, daemon=True)
    waits.start()
    _, status = os.waitpid(child, 0)
    gone.set()
    if folder:
        waits.join()  # who asked may still read the folder
        shutil.rmtree(folder, ignore_errors=True)
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
    os._exit(code)


if __name__ == "__main__":
    main()
