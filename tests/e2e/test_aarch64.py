"""The wheel and the image for aarch64, packed of what `./dev wheel --for aarch64` compiled, and run by qemu-user: a server, a create and
a read, a search, an import and an export. Without that program it is skipped: nothing else of the tests compiles for another machine."""
import gzip
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

import fhirlake
from fhirlake import ROOT, generate, patient, read_export

LIBRARIES = pathlib.Path(os.environ.get("FHIRLAKE_ARM64", ROOT / ".deps" / "arm64"))
PROGRAM = ROOT / "build" / "wheel-aarch64" / "fhirlake"
QEMU = shutil.which("qemu-aarch64-static")

pytestmark = pytest.mark.once
if os.uname().machine != "x86_64" or not (PROGRAM.exists() and LIBRARIES.exists() and QEMU):
    pytest.skip("nothing was compiled for aarch64: ./dev wheel --for aarch64", allow_module_level=True)


def packed(out, packer):
    done = subprocess.run([sys.executable, ROOT / packer, "--program", PROGRAM, "--root", LIBRARIES, "--out", out, "--level", "1"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return pathlib.Path(done.stdout.strip())


@pytest.fixture(scope="module")
def image_root(tmp_path_factory):
    """The layers of the image, one over the other."""
    at = tmp_path_factory.mktemp("root")
    archive = packed(tmp_path_factory.mktemp("dist"), "packaging/image.py")
    assert archive.name.endswith("-arm64-oci.tar")
    with tarfile.open(archive) as tar:
        told = json.load(tar.extractfile("manifest.json"))[0]
        config = json.load(tar.extractfile(told["Config"]))
        index = json.load(tar.extractfile("index.json"))
        assert (config["architecture"], config["os"], config["variant"]) == ("arm64", "linux", "v8")
        assert index["manifests"][0]["platform"] == {"architecture": "arm64", "os": "linux", "variant": "v8"}
        for layer in told["Layers"]:
            subprocess.run(["tar", "-xf", "-", "-C", at, "--no-same-owner"], input=gzip.decompress(tar.extractfile(layer).read()), check=True)
    yield at
    subprocess.run(["chmod", "-R", "u+w", at], check=False)


def runner(folder, root, program):
    """A command that runs the program with the libraries of that root, and none of this machine."""
    at = folder / "fhirlake"
    at.write_text(f"#!/bin/sh\nexec {QEMU} -L {root} {program} \"$@\"\n")
    at.chmod(0o755)
    return at


def machine_of(file):
    told = subprocess.run(["readelf", "-h", file], capture_output=True, text=True, check=True).stdout
    return next(line.split(":")[1].strip() for line in told.splitlines() if "Machine:" in line)


def all_of_it(tmp_path, program, monkeypatch):
    monkeypatch.setattr(fhirlake, "BIN", program)
    files = generate(tmp_path / "population", 20)
    with fhirlake.Server(tmp_path / "data") as server:
        store = server.create_store()
        fhir = server.fhir(store)
        made = fhir.post("Patient", patient("x"))
        assert made.status == 201, made.body
        assert fhir.get(f"Patient/{made.json['id']}").json == made.json
        shutil.copytree(tmp_path / "population", server.data / "objects" / "input" / "population")
        assert server.wait_import(store, server.start_import(store, "s3://input/population/"))["JobStatus"] == "COMPLETED"
        assert fhir.get("Patient?_summary=count").json["total"] == 21
        done = server.export_all(store)
        assert done["JobStatus"] == "COMPLETED", done
        _, resources = read_export(server.folder(done["OutputDataConfig"]["S3Configuration"]["S3Uri"]))
        assert len(resources) == 1 + sum(len(list(file.open())) for file in files)


def test_the_image_runs_with_its_own_libraries(image_root, tmp_path, monkeypatch):
    files = [f for f in [image_root / "usr/bin/fhirlake", *(image_root / "usr/lib").rglob("*.so*"), *(image_root / "lib").rglob("*.so*")] if f.is_file()]
    assert len(files) > 20 and {machine_of(f) for f in files} == {"AArch64"}
    assert (image_root / "usr/share/doc/libcurl4/copyright").exists() and (image_root / "usr/share/doc/libc6/copyright").exists()
    all_of_it(tmp_path, runner(tmp_path, image_root, image_root / "usr/bin/fhirlake"), monkeypatch)


def test_the_wheel_is_for_aarch64_and_its_program_runs_with_its_libraries(tmp_path):
    wheel = packed(tmp_path / "dist", "python/wheel_builder.py")
    assert wheel.name.endswith("_aarch64.whl") and "manylinux_2_" in wheel.name
    with zipfile.ZipFile(wheel) as z:
        z.extractall(tmp_path / "wheel")
    program = tmp_path / "wheel/fhirlake/program"
    (program / "fhirlake").chmod(0o755)
    files = [program / "fhirlake", *(program / "lib").iterdir()]
    assert len(files) > 20 and {machine_of(f) for f in files} == {"AArch64"}
    names = {f.name for f in files}
    assert "libcurl.so.4" in names and not names & {"libc.so.6", "libm.so.6", "ld-linux-aarch64.so.1"}
    # glibc alone is the machine's: the rest of that root is not there
    root = tmp_path / "machine"
    for name in ("ld-linux-aarch64.so.1", "libc.so.6", "libm.so.6", "libresolv.so.2", "libstdc++.so.6", "libgcc_s.so.1", "libz.so.1",
                 "libexpat.so.1", "libpthread.so.0", "libdl.so.2", "librt.so.1"):
        here = next((p for part in ("lib", "usr/lib") for p in [LIBRARIES / part / "aarch64-linux-gnu" / name] if p.exists()), None)
        if here:
            (root / "lib/aarch64-linux-gnu").mkdir(parents=True, exist_ok=True)
            shutil.copy(here.resolve(), root / "lib/aarch64-linux-gnu" / name)
    shutil.copy((LIBRARIES / "lib/aarch64-linux-gnu/ld-linux-aarch64.so.1").resolve(), root / "lib/ld-linux-aarch64.so.1")
    done = subprocess.run([QEMU, "-L", root, program / "fhirlake", "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("fhirlake "), done.stderr


def test_a_program_of_another_machine_without_its_libraries_is_refused(tmp_path):
    for packer in ("python/wheel_builder.py", "packaging/image.py"):
        done = subprocess.run([sys.executable, ROOT / packer, "--program", PROGRAM, "--out", tmp_path / "out"], capture_output=True, text=True)
        assert done.returncode == 1 and "is for aarch64, and this is x86_64" in done.stderr, done.stderr
        done = subprocess.run([sys.executable, ROOT / packer, "--program", PROGRAM, "--root", tmp_path, "--out", tmp_path / "out"],
                              capture_output=True, text=True)
        assert done.returncode == 1 and "which is not in" in done.stderr, done.stderr
    assert not (tmp_path / "out").exists()
