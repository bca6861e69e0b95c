#!/usr/bin/env python3
"""Checks that no compiler makes.

- floors: no file of src/ includes a higher floor, another folder's private header, or a cycle of folders
- circles: no two .c files of a folder of src/ lead to each other by the functions that they use
- rooms: a hand-written file of src/ has at most 500 lines, a folder at most 20 of them, and each .c begins with its story
- columns: a line of C has at most 100
- the way of a request in docs/architecture.md names functions where they are
- trees: no yyjson document is made without an allocator, which is ours and has a budget (codec/json.h)
- documents: every relative link in README and docs/ leads somewhere
- the tables of docs/api-fhir.md are those of the program
- nothing machine-made or personal is in the tree: absolute home paths, private keys
"""
import pathlib
import re
import subprocess
import sys

import callgraph
import gen_api_fhir

ROOT = pathlib.Path(__file__).resolve().parent.parent
FLOOR = {"base": 0, "codec": 1, "callout": 1, "fhir": 2, "search": 2, "fhirpath": 2, "gen": 2, "net": 2, "s3": 2, "audit": 2, "console": 3, "store": 3, "view": 3, "kms": 3, "sink": 3, "auth": 3,
         "query": 4, "event": 4, "job": 5, "backup": 6, "erase": 6, "export": 6, "import": 6, "service": 7, "aws": 8, "rest": 8, "server": 9, "cli": 9}
MAX_LINES = 500
MAX_ROOMS = 20
MAX_COLUMNS = 100
faults = []


def fault(path, line, text):
    faults.append(f"{path.relative_to(ROOT)}:{line}: {text}")


def tracked(pattern):
    out = subprocess.run(["git", "ls-files", pattern], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / p for p in out.stdout.split("\n") if p and (ROOT / p).exists()]


# which argument of yyjson's calls is the allocator; None: the call has none
ALLOCATOR_AT = {"yyjson_mut_doc_new": 0, "yyjson_read_opts": 3, "yyjson_read_file": 2, "yyjson_read_fp": 2,
                "yyjson_doc_mut_copy": 1, "yyjson_mut_doc_mut_copy": 1, "yyjson_mut_doc_imut_copy": 1,
                "yyjson_mut_val_imut_copy": 1, "yyjson_write_opts": 2, "yyjson_mut_write_opts": 2,
                "yyjson_val_write_opts": 2, "yyjson_mut_val_write_opts": 2, "yyjson_read": None, "yyjson_write": None,
                "yyjson_mut_write": None, "yyjson_val_write": None, "yyjson_mut_val_write": None}


def arguments(text, at):
    """Of the call whose bracket opens at `at`."""
    depth, args, one = 0, [], ""
    for c in text[at:]:
        depth += (c in "([{") - (c in ")]}")
        if depth == 0:
            return args + [one.strip()]
        if c == "," and depth == 1:
            args.append(one.strip())
            one = ""
        elif not (c == "(" and depth == 1 and not one and not args):
            one += c
    return args


def check_trees(path, text):
    for m in re.finditer(r"\b(yyjson_\w+)\(", text):
        if m[1] not in ALLOCATOR_AT:
            continue
        at, args = ALLOCATOR_AT[m[1]], arguments(text, m.end() - 1)
        if at is None or at >= len(args) or args[at] in ("NULL", "0"):
            fault(path, text.count("\n", 0, m.start()) + 1, f"{m[1]} without an allocator of ours (json_allocator)")


uses, rooms = {}, {}
for path in tracked("src/*.[ch]") + tracked("src/*.cc") + tracked("src/*.inc"):
    folder = path.relative_to(ROOT / "src").parts[0]
    if folder not in FLOOR:
        fault(path, 1, f"folder {folder} has no floor: add it to tools/lint.py and docs/architecture.md")
        continue
    text = path.read_text()
    check_trees(path, text)
    if path.suffix != ".inc" and text.count("\n") > MAX_LINES:
        fault(path, MAX_LINES, f"{text.count(chr(10))} lines: look for the second room inside")
    if path.suffix in (".c", ".cc"):
        rooms[path.parent] = rooms.get(path.parent, 0) + 1
        if not text.startswith(f"/* {path.name} - "):
            fault(path, 1, f"begins with no story of the room: /* {path.name} - what lives here and how */")
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

for folder, n in rooms.items():
    if n > MAX_ROOMS:
        fault(folder / "meson.build", 1, f"{n} rooms in one folder")
for folder in sorted((ROOT / "src").iterdir()):
    for a, b, functions in callgraph.faults(folder) if folder.is_dir() else ():
        fault(a, 1, f"stands in a circle with {b.relative_to(ROOT)}, by {functions}")
for path in tracked("*.[ch]") + tracked("*.cc"):
    for n, line in enumerate(path.read_text().split("\n"), 1):
        if len(line) > MAX_COLUMNS:
            fault(path, n, f"{len(line)} columns")

way = (ROOT / "docs" / "architecture.md").read_text()
for folder, shown in re.findall(r"^ *(\w+) {2,}(\w+ \(.+)$", way, re.M):
    for function, file in re.findall(r"(\w+) \(([\w/]+\.[ch])\)", shown):
        room = ROOT / "src" / folder / file
        if not room.exists() or not re.search(rf"\b{function}\(|DEFINE_CLEANUP\(.*{function[:-2]}\)", room.read_text()):
            faults.append(f"docs/architecture.md:1: {function} is not in src/{folder}/{file}: run tools/walk.py --write")

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
