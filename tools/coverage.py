#!/usr/bin/env python3
"""coverage.py DIR: which lines of src/ the programs of a build with -Db_coverage=true ran, per folder.

gcov says it of each object file; a line counts as covered when any object's copy of it ran. ./dev coverage calls this."""
import collections
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LEAST = 10


def lines_of(notes):
    """(file below src/, line, times) of one object file."""
    done = subprocess.run(["gcov", "--json-format", "--stdout", str(notes)], capture_output=True, text=True, cwd=notes.parent)
    for text in done.stdout.splitlines():
        for file in json.loads(text)["files"]:
            path = pathlib.Path(os.path.normpath(build / file["file"]))
            if path.is_relative_to(ROOT / "src"):
                for line in file["lines"]:
                    yield path.relative_to(ROOT / "src"), line["line_number"], line["count"]


def print_rows(rows):
    for name, covered, lines in rows:
        print(f"{name:36} {covered:7,} of {lines:7,} {covered / lines:7.1%}")


build = pathlib.Path(sys.argv[1]).resolve()
ran = collections.defaultdict(bool)
with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    for found in pool.map(lambda notes: list(lines_of(notes)), sorted((build / "src").rglob("*.gcno"))):
        for path, line, times in found:
            ran[path, line] |= times > 0
files = collections.defaultdict(lambda: [0, 0])
folders = collections.defaultdict(lambda: [0, 0])
for (path, _), covered in ran.items():
    for key, table in ((path, files), (path.parts[0], folders)):
        table[key][0] += covered
        table[key][1] += 1
if not files:
    sys.exit(f"{build} has no notes of gcov: is it built with -Db_coverage=true?")
print_rows((f"src/{name}", *counts) for name, counts in sorted(folders.items()))
print_rows([("all", sum(c for c, _ in folders.values()), sum(n for _, n in folders.values()))])
print(f"\nthe {LEAST} files with the most lines that did not run")
worst = sorted(files.items(), key=lambda item: item[1][0] - item[1][1])[:LEAST]
print_rows((f"src/{path}", *counts) for path, counts in worst)
