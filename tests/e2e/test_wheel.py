"""The wheel for Python: packed of the program under test, put into an environment of its own, used there as its documents say.
Only the packing is that of `./dev wheel`: compiling a release takes minutes."""
import base64
import csv
import hashlib
import os
import pathlib
import re
import shutil
import site
import subprocess
import sys
import venv
import zipfile

import pytest

from fhirlake import BIN, ROOT

pytestmark = pytest.mark.once

BUILDER = ROOT / "python" / "wheel_builder.py"
DOCUMENT = ROOT / "docs" / "testing-with-fhirlake.md"

if shutil.which("patchelf") is None:
    pytest.skip("no patchelf: ./dev wheel and ./dev test install it", allow_module_level=True)
if sys.version_info < (3, 11):
    pytest.skip("packing a wheel needs Python 3.11", allow_module_level=True)


def clean(**more):
    """This process's environment, without what would lead to another fhirlake, another AWS or another Python."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("FHIRLAKE", "AWS_", "PYTHON", "PYTEST"))}
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1", **more}


def run(*command, **more):
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, env=clean(), **more)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    done = run(sys.executable, BUILDER, "--program", BIN, "--out", tmp_path_factory.mktemp("dist"), "--level", 1)
    assert done.returncode == 0, done.stderr
    return pathlib.Path(done.stdout.strip())


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """A new environment with the wheel in it. boto3 and pytest are those that run this test: nothing is fetched."""
    home = tmp_path_factory.mktemp("venv")
    venv.create(home, with_pip=True, symlinks=True)
    at = home / "bin" / "python"
    done = run(at, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", wheel)
    assert done.returncode == 0, done.stderr
    packages = run(at, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip()
    pathlib.Path(packages, "of-the-tests.pth").write_text("\n".join(site.getsitepackages()))
    return at


def blocks(document, language):
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text(), re.M | re.S)


def test_the_wheel_is_whole_and_says_what_is_in_it(wheel):
    with zipfile.ZipFile(wheel) as pack:
        info = next(n for n in pack.namelist() if n.endswith("/RECORD"))
        rows = {row[0]: row[1:] for row in csv.reader(pack.read(info).decode().splitlines())}
        assert rows.pop(info) == ["", ""]
        assert sorted(rows) == sorted(n for n in pack.namelist() if n != info)
        for name, (digest, size) in rows.items():
            data = pack.read(name)
            told = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            assert (digest, int(size)) == (f"sha256={told}", len(data)), name
        program = next(i for i in pack.infolist() if i.filename == "fhirlake/program/fhirlake")
        assert (program.external_attr >> 16) & 0o777 == 0o755
        tag = re.search(r"^Tag: (py3-none-manylinux_2_(\d+)_\w+)$", pack.read(info.replace("RECORD", "WHEEL")).decode(), re.M)
        assert wheel.name == f"{info.partition('.dist-info')[0]}-{tag[1]}.whl"
        assert pack.read("fhirlake/program/glibc").decode() == f"2.{tag[2]}\n"
        assert "fhirlake/py.typed" in rows and not [n for n in rows if "__pycache__" in n or "/tests/" in n]
        # what is copied stands beside what its licence says
        libraries = [n for n in rows if n.startswith("fhirlake/program/lib/")]
        licences = [n for n in rows if ".dist-info/licenses/libraries/" in n]
        assert len(libraries) > 10 and len(licences) > len(libraries) / 2


def test_the_same_program_is_the_same_wheel(wheel, tmp_path):
    done = run(sys.executable, BUILDER, "--program", BIN, "--out", tmp_path, "--level", 1)
    assert pathlib.Path(done.stdout.strip()).read_bytes() == wheel.read_bytes()


def test_there_is_no_wheel_without_a_program(tmp_path):
    done = run(sys.executable, BUILDER, "--program", tmp_path / "absent", "--out", tmp_path / "out")
    assert done.returncode == 1 and done.stderr == f"wheel_builder: there is no program at {tmp_path / 'absent'}\n"
    text = tmp_path / "text"
    text.write_text("no program")
    done = run(sys.executable, BUILDER, "--program", text, "--out", tmp_path / "out")
    assert done.returncode == 1 and done.stderr.startswith("wheel_builder: readelf failed on ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("asked, glibc", [("GLIBC_2.17", 28), ("GLIBC_2.34", 34), ("GCC_7.0.0", 28), ("GCC_12.0.0", 35),
                                          ("GLIBCXX_3.4.30", 35), ("CXXABI_1.3.13", 35), ("CXXABI_1.3", 28)])
def test_the_tag_is_the_oldest_glibc_that_has_a_symbols_version(asked, glibc, monkeypatch):
    monkeypatch.syspath_prepend(BUILDER.parent)
    import wheel_builder
    told = f"Version needs section '.gnu.version_r'\n  0x0010:   Name: {asked}  Flags: none"
    monkeypatch.setattr(wheel_builder, "said", lambda *command: told)
    assert wheel_builder.oldest_glibc(["program"], 99) == glibc


def test_pip_in_the_project_says_how_a_wheel_is_made(python):
    done = run(python, "-m", "pip", "install", "--no-deps", "--no-index", "--disable-pip-version-check", ROOT / "python")
    assert done.returncode != 0 and "./dev wheel compiles it and packs the wheel" in done.stdout + done.stderr


def test_the_command_is_the_program(python):
    command = python.parent / "fhirlake"
    assert run(command, "--version").stdout == subprocess.run([BIN, "--version"], capture_output=True, text=True).stdout
    done = run(command, "serve", "--nope", "x")
    assert done.returncode == 2 and "option --nope is not known" in done.stderr


def test_the_program_loads_the_wheels_libraries_and_no_others(python):
    """But for those of glibc, GCC, zlib and expat."""
    script = ("import fhirlake, pathlib\n"
              "with fhirlake.Server() as lake:\n"
              "    keeper = lake._process.pid\n"
              "    server = pathlib.Path(f'/proc/{keeper}/task/{keeper}/children').read_text().strip()\n"
              "    print(pathlib.Path(f'/proc/{server}/maps').read_text())\n")
    done = run(python, "-c", script)
    assert done.returncode == 0, done.stderr
    loaded = {pathlib.Path(p) for p in re.findall(r"(/\S+\.so[.\d]*)$", done.stdout, re.M)}
    ours = {p for p in loaded if p.parent.name == "lib" and p.parent.parent.name == "program"}
    allowed = r"(ld-linux|lib(c|m|pthread|dl|rt|resolv|stdc\+\+|gcc_s|z|expat|nss_\w+))([-.]|$)"
    assert len(ours) > 10 and [p for p in loaded - ours if not re.match(allowed, p.name)] == []


def test_a_machine_that_is_too_old_is_told_so(python):
    needed = pathlib.Path(run(python, "-c", "import fhirlake._program as p; print(p.PACKED / 'glibc')").stdout.strip())
    before = needed.read_text()
    needed.write_text("2.999\n")
    try:
        done = run(python.parent / "fhirlake", "--version")
        assert done.returncode == 1
        assert re.fullmatch(r"fhirlake: fhirlake needs glibc 2\.999 or later, and this machine has glibc 2\.\d+\n", done.stderr)
    finally:
        needed.write_text(before)


def test_the_readmes_first_block_runs(python, tmp_path):
    first = blocks(ROOT / "README.md", "python")[0]
    assert first.startswith("import fhirlake\n") and len(first.splitlines()) == 6
    done = run(python, "-c", first, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"100 patients\n\d{4,} observations in an export\n", done.stdout), done.stdout


def test_the_test_that_the_documents_show_passes(python, tmp_path):
    pipeline, test = blocks(DOCUMENT, "python")[:2]
    (tmp_path / "cohort.py").write_text(pipeline)
    (tmp_path / "test_cohort.py").write_text(test)
    done = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=tmp_path)
    assert done.returncode == 0 and f"{test.count('def test_')} passed" in done.stdout, done.stdout + done.stderr


def test_what_the_documents_say_of_fixtures_is_there(python, tmp_path):
    told = set(re.findall(r"^\| `(fhirlake_\w+)`", DOCUMENT.read_text(), re.M))
    done = run(python, "-m", "pytest", "--fixtures", "-q", "-p", "no:cacheprovider", cwd=tmp_path)
    assert told == set(re.findall(r"^(fhirlake_\w+)", done.stdout, re.M))


def test_the_modules_own_tests_pass(python, tmp_path):
    shutil.copytree(ROOT / "python" / "tests", tmp_path / "tests")
    done = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", "tests", cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr
