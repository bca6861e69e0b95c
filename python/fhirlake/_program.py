"""Where the program is, whether this machine can run it, and the command `fhirlake`, which becomes the program."""
from __future__ import annotations

import os
import pathlib
import sys
from typing import NoReturn, Optional, Union

PACKED = pathlib.Path(__file__).resolve().parent / "program"


class Unusable(RuntimeError):
    """The program is not here, or cannot run on this machine. The text says why, and what would help."""


def glibc() -> Optional[str]:
    """The glibc of this machine ("2.36"), or None where the C library is another one."""
    try:
        told = os.confstr("CS_GNU_LIBC_VERSION")
    except (ValueError, OSError):
        return None
    return told.split()[-1] if told and told.startswith("glibc ") else None


def check_glibc(needed: str, have: Optional[str]) -> None:
    """Raises Unusable when the machine's glibc is older than the needed one."""
    def number(text: str) -> tuple[int, ...]:
        return tuple(int(part) for part in text.split(".")[:2])

    if have is None:
        raise Unusable(f"fhirlake needs glibc {needed} or later, and the C library of this machine is not glibc")
    if number(have) < number(needed):
        raise Unusable(f"fhirlake needs glibc {needed} or later, and this machine has glibc {have}")


def program(path: Union[str, os.PathLike[str], None] = None) -> str:
    """The program: the given one, else the one that FHIRLAKE_BIN names, else the wheel's own. Raises Unusable."""
    given = os.fspath(path) if path is not None else os.environ.get("FHIRLAKE_BIN")
    if given:
        if not os.access(given, os.X_OK) or os.path.isdir(given):
            raise Unusable(f"there is no program at {given}")
        return given
    packed = PACKED / "fhirlake"
    if not packed.is_file():
        raise Unusable("this installation of fhirlake carries no program: install a wheel that `./dev wheel` made, "
                       "or let FHIRLAKE_BIN name a program")
    check_glibc((PACKED / "glibc").read_text().strip(), glibc())
    return str(packed)


def main() -> NoReturn:
    try:
        path = program()
    except Unusable as fault:
        sys.exit(f"fhirlake: {fault}")
    os.execv(path, ["fhirlake", *sys.argv[1:]])
