#!/usr/bin/env python3
"""Keycloak as `./dev keycloak` brought it, in memory, on a free port, with an administrator.

Prints one JSON line: where it listens and who administers it; or {"skip": "..."} when Keycloak or Java is not there;
or nothing, when it does not start.
Ends when its standard input does. What it writes goes to a copy of its own, made of links.
"""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
KEYCLOAK = pathlib.Path(os.environ.get("FHIRLAKE_KEYCLOAK", ROOT / ".deps" / "keycloak"))
ADMIN, PASSWORD = "admin", "admin-of-a-test"


def free_ports(n):
    held = [socket.socket() for _ in range(n)]
    for s in held:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports


def copy_of(folder, home):
    """Its jars are linked; the small rest, which a start may write to, is copied."""
    def link_or_copy(source, target):
        if source.endswith(".jar"):
            os.symlink(source, target)
        else:
            shutil.copy2(source, target)
    shutil.copytree(folder.resolve(), home, copy_function=link_or_copy, ignore=shutil.ignore_patterns("data"))


def main():
    if not (KEYCLOAK / "bin" / "kc.sh").exists():
        print(json.dumps({"skip": "no Keycloak: run ./dev keycloak"}), flush=True)
        return
    if shutil.which("java") is None:
        print(json.dumps({"skip": "no Java"}), flush=True)
        return
    folder = tempfile.mkdtemp(prefix="fhirlake-keycloak-")
    home = pathlib.Path(folder) / "keycloak"
    copy_of(KEYCLOAK, home)
    port, management = free_ports(2)
    env = {"PATH": os.environ["PATH"], "HOME": folder, "KC_BOOTSTRAP_ADMIN_USERNAME": ADMIN,
           "KC_BOOTSTRAP_ADMIN_PASSWORD": PASSWORD, "JAVA_OPTS_KC_HEAP": "-Xms64m -Xmx512m"}
    server = subprocess.Popen(["bash", home / "bin" / "kc.sh", "start-dev", "--db=dev-mem", "--cache=local",
                               "--http-host=127.0.0.1", f"--http-port={port}", f"--http-management-port={management}"],
                              env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    try:
        said = []
        for line in server.stdout:  # until it says that it listens
            said.append(line)
            if "Listening on:" in line:
                break
        else:
            print("".join(said[-40:]), file=sys.stderr)
            sys.exit("Keycloak does not start")
        threading.Thread(target=server.stdout.read, daemon=True).start()
        print(json.dumps({"url": f"http://127.0.0.1:{port}", "admin": ADMIN, "password": PASSWORD}), flush=True)
        sys.stdin.read()
    finally:
        try:
            os.killpg(server.pid, signal.SIGKILL)  # the shell and its Java
        except ProcessLookupError:
            pass
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
