#!/usr/bin/env python3
"""Packs a wheel of the Python module, the program, and the libraries that it needs.

    python3 python/wheel_builder.py --program build/fhirlake --out dist

It compiles nothing. With --root DIR the program is for another architecture, whose libraries ../packaging/sysroot.sh has put
there. What a machine with glibc has anyway stays out (OF_THE_MACHINE: the list that PEP 600's policies
allow); every other library is copied as it stands, beside its licence. The program alone is changed: its DT_RPATH becomes
$ORIGIN/lib, which loaders use for the libraries of its libraries as well, and it loses its symbols. The tag of the wheel
is the oldest manylinux whose glibc, libstdc++ and libgcc have every version of a symbol that is asked for.

It is the build backend of pyproject.toml as well (PEP 517). `pip install ./python` packs the program that FHIRLAKE_PROGRAM
names, and ends with an error without one: there is no wheel without a program.
Source: PEP 427 and the binary distribution format; PEP 600; auditwheel's policies for the numbers of GCC's libraries.
"""
import argparse
import base64
import hashlib
import io
import os
import pathlib
import re
import shutil
import sys
import tempfile
import zipfile

try:
    import tomllib
except ImportError:
    sys.exit("wheel_builder: packing needs Python 3.11 or later; the wheel itself does with 3.9")

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from libraries import Program, Refused, said, versions  # noqa: E402

OF_THE_MACHINE = {
    "libc.so.6", "libm.so.6", "libmvec.so.1", "libpthread.so.0", "libdl.so.2", "librt.so.1", "libresolv.so.2", "libutil.so.1",
    "libanl.so.1", "libnsl.so.1", "libstdc++.so.6", "libgcc_s.so.1", "libatomic.so.1", "libz.so.1", "libexpat.so.1"}
# versions of symbols that came with a GCC, and the oldest manylinux that has them: libstdc++'s and libgcc's
OF_GCC = {"GLIBCXX": [((3, 4, 24), 28), ((3, 4, 28), 31), ((3, 4, 29), 34), ((3, 4, 30), 35), ((3, 4, 33), 39)],
          "CXXABI": [((1, 3, 11), 28), ((1, 3, 12), 31), ((1, 3, 13), 35), ((1, 3, 15), 39)],
          "GCC": [((7, 0, 0), 28), ((12, 0, 0), 35), ((14, 0, 0), 39)]}
OLDEST = 28  # of 2.x: nobody has tried an older one


# ---- the program and its libraries ----

def oldest_glibc(files, newest):
    """The x of the oldest manylinux_2_x that has what these files ask for; newest: when no number of GCC says so."""
    x = OLDEST
    for file in files:
        needs = said("readelf", "-W", "-V", file).partition("Version needs section")[2]
        for family, text in re.findall(r"Name: (GLIBC|GLIBCXX|CXXABI|GCC)_(\d[\d.]*)", needs):
            version = versions(text)
            if family == "GLIBC":
                x = max(x, version[1])
                continue
            x = max(x, next((glibc for have, glibc in OF_GCC[family] if version <= have), newest))
    return x


def pack_program(program, package):
    """The program and its libraries below package/program/. Returns the glibc that they need, and {package: licence}."""
    at = package / "program"
    (at / "lib").mkdir(parents=True)
    copied = at / "fhirlake"
    shutil.copyfile(program.file, copied)
    copied.chmod(0o755)
    said(program.tool("strip"), copied)
    said("patchelf", "--force-rpath", "--set-rpath", "$ORIGIN/lib", copied)
    found = {name: file for name, file in program.libraries().items() if name not in OF_THE_MACHINE}
    for name, file in found.items():
        shutil.copyfile(file, at / "lib" / name)
        (at / "lib" / name).chmod(0o755)
    x = oldest_glibc([copied, *found.values()], program.glibc())
    (at / "glibc").write_text(f"2.{x}\n")
    return x, program.licences(found.values())


# ---- the wheel ----

def version():
    told = re.search(r"^\s*version: '([^']+)'", (HERE.parent / "meson.build").read_text(), re.M)
    return told[1]


def metadata(project, text):
    """Core metadata 2.1, of pyproject.toml's [project]."""
    lines = ["Metadata-Version: 2.1", f"Name: {project['name']}", f"Version: {version()}", f"Summary: {project['description']}",
             f"Requires-Python: {project['requires-python']}", f"License: {project['license']}",
             f"Keywords: {','.join(project['keywords'])}"]
    lines += [f"Classifier: {c}" for c in project["classifiers"]]
    lines += [f"Requires-Dist: {d}" for d in project["dependencies"]]
    return "\n".join([*lines, "Description-Content-Type: text/markdown", "", text])


def entry_points(project):
    groups = {"console_scripts": project["scripts"], **project["entry-points"]}
    return "\n".join(f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in names.items()) for group, names in groups.items())


def write_wheel(out, tag, files, level):
    """files: {name: (bytes, mode)}; level: of zlib. The same files are the same bytes: no clock is asked. The wheel appears whole, or not."""
    name = f"fhirlake-{version()}"
    rows = [f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}"
            for path, (data, _) in files.items()]
    record = f"{name}.dist-info/RECORD"
    files = {**files, record: ("\n".join([*rows, f"{record},,", ""]).encode(), 0o644)}
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as pack:
        for path, (data, mode) in files.items():
            info = zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0))
            info.external_attr = (0o100000 | mode) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            pack.writestr(info, data)
    out.mkdir(parents=True, exist_ok=True)
    wheel = out / f"{name}-py3-none-{tag}.whl"
    new = wheel.with_suffix(".new")
    new.write_bytes(body.getvalue())
    new.replace(wheel)
    return wheel


def build(file, out, level=9, root=None):
    """Packs a wheel into out, and returns its path."""
    program, out = Program(file, root), pathlib.Path(out)
    project = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
    info = f"fhirlake-{version()}.dist-info"
    with tempfile.TemporaryDirectory(prefix="fhirlake-wheel-") as stage:
        package = pathlib.Path(stage) / "fhirlake"
        shutil.copytree(HERE / "fhirlake", package, ignore=shutil.ignore_patterns("__pycache__"))
        x, texts = pack_program(program, package)
        tag = f"manylinux_2_{x}_{program.machine()}"
        files = {str(f.relative_to(stage)): (f.read_bytes(), 0o755 if os.access(f, os.X_OK) else 0o644)
                 for f in sorted(package.rglob("*")) if f.is_file()}
    texts = {"LICENSE": (HERE.parent / "LICENSE").read_bytes(), **{f"libraries/{k}": v for k, v in sorted(texts.items())}}
    files |= {f"{info}/licenses/{k}": (v, 0o644) for k, v in texts.items()}
    files[f"{info}/METADATA"] = (metadata(project, (HERE / project["readme"]).read_text()).encode(), 0o644)
    files[f"{info}/entry_points.txt"] = (entry_points(project).encode(), 0o644)
    files[f"{info}/WHEEL"] = (f"Wheel-Version: 1.0\nGenerator: fhirlake\nRoot-Is-Purelib: false\nTag: py3-none-{tag}\n".encode(), 0o644)
    return write_wheel(out, tag, files, level)


# ---- as a build backend ----

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    program = os.environ.get("FHIRLAKE_PROGRAM")
    if not program:
        raise SystemExit("fhirlake's wheel carries the program: ./dev wheel compiles it and packs the wheel. "
                         "For a program that is compiled already: FHIRLAKE_PROGRAM=build/fhirlake pip install ./python")
    return build(program, wheel_directory).name


def build_sdist(sdist_directory, config_settings=None):
    raise SystemExit("fhirlake has no source distribution for Python: ./dev wheel packs the wheel")


def main():
    parser = argparse.ArgumentParser(description="Pack a wheel around a program that is compiled.")
    parser.add_argument("--program", required=True, help="the program")
    parser.add_argument("--out", required=True, help="folder for the wheel; made if it is not there")
    parser.add_argument("--level", type=int, choices=range(1, 10), default=9, metavar="1..9", help="1 packs quickly, 9 small [9]")
    parser.add_argument("--root", metavar="DIR", help="the program is for another architecture, whose libraries are here")
    args = parser.parse_args()
    try:
        print(build(args.program, args.out, args.level, args.root))
    except Refused as fault:
        sys.exit(f"wheel_builder: {fault}")


if __name__ == "__main__":
    main()
