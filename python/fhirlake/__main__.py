"""Runs a command beside a fhirlake server of its own, for tests in any language.

    python -m fhirlake [--OPTION VALUE]... [--patients N] -- COMMAND [ARGUMENT]...

The command finds the server and its objects by the variables of AWS's SDKs (AWS_ENDPOINT_URL_HEALTHLAKE,
AWS_ENDPOINT_URL_S3, keys, region), and the server's URL in FHIRLAKE. With --patients N there is a data store of so many
synthetic patients, and its id in FHIRLAKE_DATASTORE. Options are those of `fhirlake serve`. Server and data go when the
command ends, with its exit status.
"""
from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from . import Server, ServerError, Unusable


def main() -> int:
    words = sys.argv[1:]
    if "--" not in words or words[-1] == "--" or words[0] in ("-h", "--help"):
        helped = words[:1] in (["-h"], ["--help"])
        print((__doc__ or "").strip(), file=sys.stdout if helped else sys.stderr)
        return 0 if helped else 2
    cut = words.index("--")
    given, command = words[:cut], words[cut + 1:]
    if len(given) % 2 or not all(name.startswith("--") for name in given[::2]):
        print("python -m fhirlake: in front of -- stand options with a value each: --OPTION VALUE", file=sys.stderr)
        return 2
    options: dict[str, Any] = {name[2:].replace("-", "_"): value for name, value in zip(given[::2], given[1::2])}
    patients = options.pop("patients", "0")
    if not patients.isdigit():
        print(f"python -m fhirlake: --patients takes a number, not {patients}", file=sys.stderr)
        return 2
    data = options.pop("data", None)
    try:
        with Server(data, **options) as server:
            env = {**os.environ, **server.environ()}
            env.pop("AWS_SESSION_TOKEN", None)
            env.pop("AWS_PROFILE", None)
            if int(patients):
                env["FHIRLAKE_DATASTORE"] = server.datastore(patients=int(patients))
            try:
                status = subprocess.run(command, env=env).returncode
            except OSError as fault:
                print(f"python -m fhirlake: {command[0]}: {fault.strerror}", file=sys.stderr)
                return 127
            return status if status >= 0 else 128 - status
    except (ServerError, Unusable) as fault:
        print(f"python -m fhirlake: {fault}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
