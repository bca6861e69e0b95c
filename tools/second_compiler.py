#!/usr/bin/env python3
"""second_compiler.py DIR: the warnings of DIR's compiler for every file of ours that it would compile, and no code.

A whole build by the second compiler says the same and takes several times as long."""
import concurrent.futures
import json
import os
import pathlib
import shlex
import subprocess
import sys


def check(entry):
    words = shlex.split(entry["command"])
    at = words.index("-o")
    del words[at:at + 2]
    return subprocess.run([*words, "-fsyntax-only"], cwd=entry["directory"], capture_output=True, text=True)


def main():
    entries = [e for e in json.loads((pathlib.Path(sys.argv[1]) / "compile_commands.json").read_text())
               if ".deps" not in e["file"]]
    bad = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in pool.map(check, entries):
            sys.stderr.write(done.stderr)
            bad += done.returncode != 0
    print(f"{len(entries)} files, {bad} with warnings", file=sys.stderr)
    sys.exit(bool(bad or not entries))


main()
