#!/usr/bin/env python3
"""tidy.py DIR: clang-tidy, as .clang-tidy says, over every .c of src/ that DIR compiles.

A file that passed is not looked at again until it, what it includes, its compiler's arguments or the checks change: DIR has
a list of what passed. ./dev lint calls this."""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
contents = {}


def content(path):
    if path not in contents:
        contents[path] = hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
    return contents[path]


def key_of(entry, checks):
    """What a verdict depends on: the checks, the arguments, and the content of each file of ours that the compiler reads."""
    words = shlex.split(entry["command"])
    at = words.index("-o")
    words = [w for w in words[:at] + words[at + 2:] if not re.match(r"-M[DQF]?$", w)]
    words = [w for i, w in enumerate(words) if not w.endswith((".o", ".o.d")) or words[i - 1] == "-c"]
    read = subprocess.run([*words, "-MM"], cwd=entry["directory"], capture_output=True, text=True)
    files = read.stdout.split(":", 1)[-1].replace("\\\n", " ").split()
    parts = [checks, entry["command"], *(content(os.path.join(entry["directory"], f)) for f in files)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def look(entry, build):
    return subprocess.run(["clang-tidy", "-p", build, "--quiet", entry["file"]], cwd=entry["directory"],
                          capture_output=True, text=True)


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    entries = [e for e in json.loads((build / "compile_commands.json").read_text())
               if (pathlib.Path(e["directory"]) / e["file"]).resolve().is_relative_to(ROOT / "src")]
    if not entries:
        sys.exit(f"{build} compiles nothing of src/")
    version = subprocess.run(["clang-tidy", "--version"], capture_output=True, text=True, check=True).stdout
    checks = version + (ROOT / ".clang-tidy").read_text()
    list_of_passed = build / "tidy-passed.json"
    passed = set(json.loads(list_of_passed.read_text())) if list_of_passed.is_file() else set()
    bad, now = 0, []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        keys = list(pool.map(lambda e: key_of(e, checks), entries))
        todo = [(e, k) for e, k in zip(entries, keys) if k not in passed]
        for (_, key), done in zip(todo, pool.map(lambda t: look(t[0], str(build)), todo)):
            if done.returncode:
                bad += 1
                sys.stderr.write(done.stdout.replace(str(build) + "/../../", "").replace("../../src/", "src/"))
                if not done.stdout:
                    sys.stderr.write(done.stderr)
            else:
                now.append(key)
    list_of_passed.write_text(json.dumps(sorted(passed.intersection(keys) | set(now))))
    print(f"{len(entries)} files, {len(todo)} looked at, {bad} with findings", file=sys.stderr)
    sys.exit(bool(bad))


main()
