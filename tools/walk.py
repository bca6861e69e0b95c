#!/usr/bin/env python3
"""Draws the way of two requests through the floors, from a trace of every function that the server entered.

Usage: tools/walk.py             print the picture
       tools/walk.py --write     put it into docs/architecture.md, between its marks

It builds the program once more in build/walk with -finstrument-functions, starts it with tools/walk/trace.c preloaded, and
asks StartFHIRExportJob and one search with a chain and _include. The calls of the threads that served a request become a tree;
what stays within a folder is left out, and so are base, codec, fhir and search, which everybody uses, and functions that
only hand out what is there. A line is a folder
that is entered: from which function, in which file. Where the way goes on with another thread, a new tree begins.
"""
import collections
import os
import pathlib
import signal
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "walk"
DOCUMENT = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- the way of two requests: tools/walk.py -->", "<!-- end of the way -->"
EVERYBODYS = {"base", "codec", "fhir", "search"}
PLANES = {"aws", "rest"}  # a tree that enters neither is a thread's own housekeeping, or the job that was started
READS = {"http_header_get", "http_exchange_request", "datastore_of"}  # they hand out what is there already


def build():
    if not (BUILD / "build.ninja").exists():
        subprocess.run(["meson", "setup", BUILD, ROOT, "-Dc_args=-finstrument-functions", "-Doptimization=0"],
                       check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", BUILD, "fhirlake"], check=True, stdout=subprocess.DEVNULL)
    library = BUILD / "trace.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-D_GNU_SOURCE", "-o", library, ROOT / "tools" / "walk" / "trace.c"],
                   check=True)
    return library


def names_of(addresses):
    """{address: (function, path below src/)} of the program."""
    out = subprocess.run(["addr2line", "-f", "-e", BUILD / "fhirlake"], text=True, check=True, capture_output=True,
                         input="".join(f"{a:#x}\n" for a in addresses)).stdout.split("\n")
    names = {}
    for a, function, place in zip(addresses, out[::2], out[1::2]):
        path = pathlib.Path(os.path.normpath(BUILD / place.split(":")[0]))
        names[a] = (function, str(path.relative_to(ROOT / "src")) if path.is_relative_to(ROOT / "src") else None)
    return names


class Call:
    def __init__(self, function=None, path=None):
        self.function, self.path, self.calls = function, path, []

    @property
    def folder(self):
        return self.path.split("/")[0] if self.path else None


def trees(path):
    """Of each thread, in the order of their first calls: a root whose calls are those that nobody made."""
    notes = list(struct.iter_unpack("=IIQ", path.read_bytes()))
    names = names_of(sorted({n[2] for n in notes}))
    stacks = {}
    for thread, entered, address in notes:
        stack = stacks.setdefault(thread, [Call()])
        if entered:
            call = Call(*names[address])
            stack[-1].calls.append(call)
            stack.append(call)
        elif len(stack) > 1:
            stack.pop()
    return [s[0] for s in stacks.values()]


def entered(call, folder):
    """The calls below `call` that enter another folder, in order, through whatever stays within."""
    for c in call.calls:
        if c.function in READS:
            continue
        if c.path is None or c.folder in EVERYBODYS or c.folder == folder:
            yield from entered(c, folder)
        else:
            yield c


def lines(calls, folder, depth):
    """Calls into one folder are one line; what they lead to stands below it together."""
    groups = collections.OrderedDict()
    for root in calls:
        for c in entered(root, folder):
            groups.setdefault(c.folder, []).append(c)
    for name, group in groups.items():
        seen = list(collections.OrderedDict.fromkeys((c.path, c.function) for c in group))
        shown = ", ".join(f"{f} ({p[len(name) + 1:]})" for p, f in seen[:3])
        yield f"{'  ' * depth}{name:<{max(0, 22 - 2 * depth)}} {shown}{' ...' if len(seen) > 3 else ''}"
        yield from lines(group, name, depth + 1)


def enters_plane(call):
    return call.folder in PLANES or any(enters_plane(c) for c in call.calls)


def picture(path):
    out = []
    for root in trees(path):
        root.calls = [c for c in root.calls if enters_plane(c)]
        if root.calls:
            out += list(lines([root], None, 0)) + [""]
    return "\n".join(out).rstrip()


def traced(server, trace, ask):
    time.sleep(0.5)
    server.process.send_signal(signal.SIGUSR1)
    time.sleep(0.1)
    ask()
    time.sleep(0.3)
    server.process.send_signal(signal.SIGUSR2)
    size = -1
    while not trace.exists() or trace.stat().st_size != size:
        size = trace.stat().st_size if trace.exists() else -1
        time.sleep(0.3)
    shown = picture(trace)
    trace.unlink()
    return shown


def walk():
    library = build()
    os.environ["FHIRLAKE_BIN"] = str(BUILD / "fhirlake")
    sys.path.insert(0, str(ROOT / "tests" / "e2e"))
    import fhirlake
    with tempfile.TemporaryDirectory() as folder:
        trace = pathlib.Path(folder) / "trace"
        env = {"LD_PRELOAD": str(library), "WALK_OUT": str(trace)}
        with fhirlake.Server(None, "--workers", "1", env=env) as server:
            client = server.client()
            store = server.create_store(client)
            fhir = server.fhir(store)
            fhir.put("Patient/p", {"resourceType": "Patient", "id": "p", "name": [{"family": "Doe"}]})
            fhir.put("Observation/o", {"resourceType": "Observation", "id": "o", "status": "final",
                                                   "code": {"text": "x"}, "subject": {"reference": "Patient/p"}})
            search = traced(server, trace, lambda: fhir.get(
                "Observation?subject:Patient.name=doe&_include=Observation:subject"))
            export = traced(server, trace, lambda: client.start_fhir_export_job(
                DatastoreId=store, DataAccessRoleArn=fhirlake.ROLE, OutputDataConfig={"S3Configuration": {
                    "S3Uri": "s3://bucket/out/", "KmsKeyId": fhirlake.KEY}}))
    return (f"StartFHIRExportJob:\n\n```\n{export}\n```\n\n"
            f"A search, `GET Observation?subject:Patient.name=doe&_include=Observation:subject`:\n\n```\n{search}\n```\n")


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["--write"]):
        sys.exit(__doc__)
    shown = walk()
    if sys.argv[1:]:
        text = DOCUMENT.read_text()
        a, b = text.index(BEGIN) + len(BEGIN), text.index(END)
        DOCUMENT.write_text(f"{text[:a]}\n{shown}{text[b:]}")
    else:
        print(shown)
