#!/usr/bin/env python3
"""Which file of a folder uses functions of which other file of it.

Usage: tools/callgraph.py [FOLDER...]     prints the circles of each folder of src/, with the functions that close them

A file uses a function when it calls it or takes its address. A folder is one module with all folders below it
(src/rest with src/rest/read). Definitions are found by this project's form: a function begins in the first column and its
brace stands alone. tools/lint.py refuses circles (style: data flows one way).
"""
import collections
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
DEFINITION = re.compile(r"^(?!static\b)(?![ \t#}{])([^\n;{}=#]*?)\b(\w+)\(((?:[^;{}])*?)\)\s*\n\{", re.M)
NO_CODE = re.compile(r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])+'""", re.S)


def code_of(path):
    """The text without comments, strings and tags of structs, which may have the name of a function."""
    text = NO_CODE.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), path.read_text())
    return re.sub(r"\b(struct|enum|union)\s+\w+", r"\1", text)


def uses(folder):
    """{file: {other file: {functions}}} of the .c files below a folder."""
    text = {p: code_of(p) for p in sorted(folder.rglob("*.c"))}
    defined = {m[2]: p for p, t in text.items() for m in DEFINITION.finditer(t)}
    graph = collections.defaultdict(lambda: collections.defaultdict(set))
    for path, t in text.items():
        for name in set(re.findall(r"\b[A-Za-z_]\w*\b", t)):
            if defined.get(name, path) != path:
                graph[path][defined[name]].add(name)
    return graph


def circles(graph):
    """Groups of files that lead to each other (Tarjan's strongly connected components of two files and more)."""
    index, low, stack, found = {}, {}, [], []

    def visit(v):
        index[v] = low[v] = len(index)
        stack.append(v)
        for w in graph.get(v, ()):
            if w not in index:
                visit(w)
                low[v] = min(low[v], low[w])
            elif w in stack:
                low[v] = min(low[v], index[w])
        if low[v] == index[v]:
            group = stack[stack.index(v):]
            del stack[stack.index(v):]
            if len(group) > 1:
                found.append(sorted(group))

    for v in list(graph):
        if v not in index:
            visit(v)
    return found


def faults(folder):
    """One line for each use that is part of a circle."""
    graph = uses(folder)
    for group in circles(graph):
        for a in group:
            for b in group:
                if b in graph[a]:
                    yield a, b, ", ".join(sorted(graph[a][b]))


if __name__ == "__main__":
    names = sys.argv[1:] or sorted(p.name for p in (ROOT / "src").iterdir() if p.is_dir())
    n = 0
    for name in names:
        for a, b, functions in faults(ROOT / "src" / name):
            print(f"{a.relative_to(ROOT)} -> {b.relative_to(ROOT)}: {functions}")
            n += 1
    print(f"{n} uses in circles" if n else "no circles")
    sys.exit(1 if n else 0)
