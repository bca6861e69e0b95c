#!/usr/bin/env python3
"""Checks that no compiler makes.

- floors: no file of src/ includes a higher floor, another folder's private header, or a cycle of folders
- rooms: a hand-written file of src/ stays under 800 lines
- documents: every relative link in README and docs/ leads somewhere
- the tables of docs/api-fhir.md are those of the program
- nothing machine-made or personal is in the tree: absolute home paths, private keys
"""
import pathlib
import re
import subprocess
import sys

import gen_api_fhir

ROOT = pathlib.Path(__file__).resolve().parent.parent
FLOOR = {"base": 0, "codec": 1, "fhir": 2, "search": 2, "gen": 2, "net": 2, "s3": 2, "store": 3, "sink": 3,
         "job": 4, "service": 5, "server": 6, "cli": 6}
MAX_LINES = 800
faults = []


def fault(path, line, text):
    faults.append(f"{path.relative_to(ROOT)}:{line}: {text}")


def tracked(pattern):
    out = subprocess.run(["git", "ls-files", pattern], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / p for p in out.stdout.split("\n") if p and (ROOT / p).exists()]


uses = {}
for path in tracked("src/*.[ch]") + tracked("src/*.inc"):
    folder = path.relative_to(ROOT / "src").parts[0]
    if folder not in FLOOR:
        fault(path, 1, f"folder {folder} has no floor: add it to tools/lint.py and docs/architecture.md")
        continue
    text = path.read_text()
    if path.suffix != ".inc" and text.count("\n") > MAX_LINES:
        fault(path, MAX_LINES, f"{text.count(chr(10))} lines: look for the second room inside")
    for n, line in enumerate(text.split("\n"), 1):
        m = re.match(r'\s*#\s*include\s+"([^"/]+)/([^"]+)"', line)
        if not m or m[1] not in FLOOR:
            continue
        other = m[1]
        if FLOOR[other] > FLOOR[folder]:
            fault(path, n, f"{folder} (floor {FLOOR[folder]}) includes {other} (floor {FLOOR[other]})")
        if other != folder:
            uses.setdefault(folder, set()).add(other)
            if m[2].endswith("_private.h"):
                fault(path, n, f"{m[0].strip()} is private to {other}")
for a in uses:
    for b in uses[a]:
        if a in uses.get(b, ()):
            faults.append(f"src: {a} and {b} include each other")

for path in tracked("*.md"):
    for n, line in enumerate(path.read_text().split("\n"), 1):
        for target in re.findall(r"\]\(([^)#\s]+)", line):
            if "://" not in target and not (path.parent / target).exists():
                fault(path, n, f"link to {target} leads nowhere")

if gen_api_fhir.stale():
    faults.append("docs/api-fhir.md:1: its tables are not those of the program: run tools/gen_api_fhir.py")

for path in tracked("*"):
    if path.suffix in (".png", ".zst", ".gz"):
        continue
    try:
        text = path.read_text()
    except UnicodeDecodeError:
        continue
    for n, line in enumerate(text.split("\n"), 1):
        if re.search(r"/(home|Users)/[a-z]", line) or "BEGIN " + "PRIVATE KEY" in line:
            fault(path, n, "a personal path or a private key")
    if path.stat().st_size > 1 << 20:
        fault(path, 1, "larger than 1 MiB")

print("\n".join(sorted(faults)) or "floors, rooms and links are in order")
sys.exit(1 if faults else 0)
