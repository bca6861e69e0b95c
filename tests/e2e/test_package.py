"""The Debian package: packed of the program under test, and looked at. Nothing is installed."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from fhirlake import BIN, ROOT, run

pytestmark = pytest.mark.once

PACKER = ROOT / "packaging" / "deb.sh"

if shutil.which("dh") is None:
    pytest.skip("no debhelper: ./dev package and ./dev test install it", allow_module_level=True)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    done = subprocess.run([PACKER, BIN, out], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return pathlib.Path(done.stdout.strip())


@pytest.fixture(scope="module")
def root(package, tmp_path_factory):
    """The package's files."""
    at = tmp_path_factory.mktemp("root")
    subprocess.run(["dpkg-deb", "-x", package, at], check=True)
    return at


def commands():
    return [name for name in re.findall(r"^  ([a-z]+)  ", run("--help").stdout, re.M) if name not in ("help", "version")]


def options(*words):
    return re.findall(r"^  (--[a-z0-9-]+)", run(*words, "--help").stdout, re.M)


def test_the_package_names_what_it_needs_and_its_own_version(package):
    told = subprocess.run(["dpkg-deb", "-f", package], capture_output=True, text=True, check=True).stdout
    version = run("--version").stdout.split()[1]
    assert re.search(rf"^Version: {re.escape(version)}\+\w+[\d.]*$", told, re.M)
    needs = re.search(r"^Depends: (.*)$", told, re.M)[1]
    assert all(name in needs for name in ("libc6", "librocksdb", "libmicrohttpd", "libgnutls"))
    # a small Debian has no /bin/kill, which the unit's ExecReload asks for
    unit = (ROOT / "packaging" / "debian" / "fhirlake.service").read_text()
    assert "procps" in needs or "/bin/kill" not in unit


def test_the_installed_program_runs_and_its_configuration_is_read(root, tmp_path):
    program, conf = root / "usr/bin/fhirlake", root / "etc/fhirlake/fhirlake.conf"
    assert subprocess.run([program, "--version"], capture_output=True, text=True).stdout == run("--version").stdout
    # every option that the file shows is one, and what is switched off would be taken
    every = tmp_path / "every.conf"
    every.write_text(re.sub(r"^#(?=[a-z])", "", conf.read_text(), flags=re.M) + "nope = x\n")
    done = subprocess.run([program, "serve", "--config", every], capture_output=True, text=True)
    assert done.returncode == 2 and "nope" in done.stderr


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_the_unit_is_well_formed_and_leaves_the_service_little(root):
    unit = next(root.rglob("fhirlake.service"))
    text = unit.read_text()
    assert "ExecStart=/usr/bin/fhirlake serve --config /etc/fhirlake/fhirlake.conf" in text
    assert "Type=notify" in text and re.search(r"^WatchdogSec=", text, re.M)
    here = root / "verify" / "fhirlake.service"  # where the program of this package stands in for the installed one
    here.parent.mkdir()
    here.write_text(text.replace("/usr/bin/fhirlake", str(root / "usr/bin/fhirlake")).replace("Documentation=", "#"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", here], capture_output=True, text=True)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "fhirlake" in line]) == (0, []), done.stderr
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=20", unit], capture_output=True, text=True)
    told = re.search(r"exposure level for fhirlake.service: ([\d.]+)", done.stdout)
    assert done.returncode == 0 and float(told[1]) <= 2.0, done.stdout[-200:]


def test_the_manual_has_each_command_and_each_option(root):
    def page(name):
        text = subprocess.run(["gzip", "-dc", root / "usr/share/man" / f"man{name[-1]}" / f"{name}.gz"], capture_output=True, text=True, check=True).stdout
        return text.replace("\\-", "-")

    assert len(commands()) > 10
    for name in commands():
        text = page(f"fhirlake-{name}.1")
        assert options(name) == re.findall(r"^\\fB(--[a-z0-9-]+)\\fR", text, re.M), name
    assert [o[2:] for o in options("serve") if o != "--config"] == re.findall(r"^\\fB([a-z0-9-]+)\\fR = ", page("fhirlake.conf.5"), re.M)
    assert "--resource" in page("fhirlake-audit-show.1") and "--algorithm" in page("fhirlake-client-keygen.1") and ".B serve" in page("fhirlake.1")


def complete(root, *words):
    script = f"source {root}/usr/share/bash-completion/completions/fhirlake; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _fhirlake; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    return subprocess.run(["bash", "-c", script, "bash", "fhirlake", *words], capture_output=True, text=True, check=True, cwd=root).stdout.split()


def test_bash_completes_commands_options_and_values(root):
    assert sorted(complete(root, "")) == sorted([*commands(), "help", "version"])
    assert complete(root, "ver") == ["verify", "version"]
    for name in commands():
        assert set(options(name)) <= set(complete(root, name, "--"))
    assert complete(root, "serve", "--auth", "x") == [] and complete(root, "serve", "--plain-http", "y") == ["yes"]
    for words, values in ((("serve", "--auth"), "sigv4 none"), (("serve", "--log-level"), "debug info warn error off"), (("serve", "--tls"), "self-signed"),
                          (("view", "--format"), "csv ndjson parquet"), (("backup", "--s3-addressing"), "auto path virtual"), (("serve", "--store"), "rocksdb"),
                          (("client", "keygen", "--algorithm"), "ES384 RS384"), (("check", "--store"), ""), (("audit", "show", "--operation"), "")):
        assert complete(root, *words, "") == values.split(), words
    assert {"none", "healthlake", "etc"} <= set(complete(root, "serve", "--quotas", "")) and complete(root, "serve", "--roles", "no") == ["none"]
    assert complete(root, "serve", "--config", "et") == ["etc"]
    assert "show" in complete(root, "audit", "") and "--resource" in complete(root, "audit", "show", "--re")
    assert complete(root, "check", "us") == ["usr"]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh here")
def test_zsh_reads_its_completion(root):
    subprocess.run(["zsh", "-n", root / "usr/share/zsh/vendor-completions/_fhirlake"], check=True)


def test_what_cannot_be_packed_is_refused(tmp_path):
    def packed(program):
        return subprocess.run([PACKER, program, tmp_path / "out"], capture_output=True, text=True)

    done = packed(tmp_path / "absent")
    assert done.returncode == 1 and "there is no program at" in done.stderr
    if shutil.which("patchelf"):
        bound = tmp_path / "bound"
        shutil.copyfile(BIN, bound)
        os.chmod(bound, 0o755)
        subprocess.run(["patchelf", "--set-rpath", str(tmp_path), bound], check=True)
        done = packed(bound)
        assert done.returncode == 1 and "looks for libraries where a package has none" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_help_of_another_form_is_an_error_of_the_manual(tmp_path):
    fake = tmp_path / "fake"
    fake.write_text("#!/bin/sh\ncase $1 in --version) echo fake 1;; *) echo '  serve  something';; esac\n")
    fake.chmod(0o755)
    done = subprocess.run([ROOT / "packaging" / "manual.py", "--program", fake, "--out", tmp_path / "out"], capture_output=True, text=True)
    assert done.returncode == 1 and "the help of serve does not begin with its usage" in done.stderr
