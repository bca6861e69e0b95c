#!/usr/bin/env python3
"""embed.py OUTPUT FILE... - the files of the console as a table for src/console/console.c, made when the program is built.

Their bytes stand behind each other; a row for each file has its name, its type, its entity tag, and where its bytes are.
index.html is the file without a name, too."""
import hashlib
import pathlib
import sys

TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
         ".svg": "image/svg+xml"}


def main(output, *paths):
    rows, numbers, at = [], [], 0
    for path in map(pathlib.Path, paths):
        data = path.read_bytes()
        tag = f'W/\\"{hashlib.sha256(data).hexdigest()[:32]}\\"'
        for name in (path.name, "") if path.name == "index.html" else (path.name,):
            rows.append(f'FILE_OF("{name}", "{TYPES[path.suffix]}", "{tag}", {at}, {len(data)})')
        at += len(data)
        numbers += data
    lines = [",".join(map(str, numbers[i:i + 64])) + "," for i in range(0, len(numbers), 64)]
    pathlib.Path(output).write_text("\n".join(["#ifdef CONSOLE_BYTES", *lines, "#endif", "#ifdef CONSOLE_FILES", *rows, "#endif", ""]))


main(*sys.argv[1:])
