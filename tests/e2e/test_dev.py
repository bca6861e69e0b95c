"""./dev itself: what it installs where, and what it says when it cannot. No package is installed: apt, dpkg, clang and id
are stand-ins on the PATH, and single functions are taken from the script."""
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request

import pytest

from fhirlake import NO_FHIR_DATA, ROOT, run

pytestmark = pytest.mark.once

DEV = ROOT / "dev"


def call(text, path=None, stdin=""):
    """Runs shell text with the functions of ./dev; path goes before the PATH."""
    env = dict(os.environ, PATH=f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"])
    return subprocess.run(["bash", "-c", f"source {DEV}\n{text}"], input=stdin, env=env, capture_output=True, text=True)


def stand_in(folder, **programs):
    """Programs on a PATH: each logs how it was called, then runs its shell text."""
    for name, text in programs.items():
        path = folder / name.replace("_", "-")
        path.write_text(f'#!/bin/bash\necho "$(basename "$0") $*" >>{folder}/calls\n{text}\n')
        path.chmod(0o755)
    return folder


def calls(folder):
    return (folder / "calls").read_text()


@pytest.mark.parametrize("says, package", [
    ("Debian clang version 14.0.6\nTarget: x86_64-pc-linux-gnu\n", "libclang-rt-14-dev"),
    ("Ubuntu clang version 18.1.3 (1ubuntu1)\nTarget: x86_64-pc-linux-gnu\n", "libclang-rt-18-dev"),
    ("Debian clang version 19.1.7 (3+b1)\nTarget: aarch64-unknown-linux-gnu\n", "libclang-rt-19-dev"),
    ("clang version 21.1.0 (built from 3.2.1)\nTarget: x86_64-unknown-linux-gnu\n", "libclang-rt-21-dev"),
    ("Ubuntu clang version 100.0.0-++20260101-1~exp1\n", "libclang-rt-100-dev"),
])
def test_the_sanitizers_runtime_is_that_of_the_clang_that_is_there(says, package):
    done = call("clang_runtime_package", stdin=says)
    assert (done.returncode, done.stdout) == (0, package + "\n")


@pytest.mark.parametrize("says", ["", "gcc (Debian 14.2.0-19) 14.2.0\n", "clang version unknown\n"])
def test_a_clang_without_a_number_is_an_error_and_no_package(says, tmp_path):
    done = call("clang_runtime_package", stdin=says)
    assert done.returncode != 0 and done.stdout == ""
    path = stand_in(tmp_path, dpkg_query="echo 'install ok installed'", apt_get="",
                    clang=f'[ "$1" != --version ] || echo -n "{says.strip()}"; [ "$1" = --version ]')
    done = call("setup_clang", path)
    assert done.returncode == 1 and "cannot tell the number of this clang" in done.stderr
    assert "apt-get" not in calls(path)


@pytest.mark.parametrize("words, told", [
    ("build --foo", "unknown option --foo of build"), ("build --release --fast", "unknown option --fast of build"),
    ("build release", 'build takes no "release"'), ("test --logn", "unknown option --logn of test"),
    ("test --quick --fast", "unknown option --fast of test"), ("test -k", "-k needs an expression"), ("lint --fix", "unknown option --fix of lint"),
    ("format --check", "unknown option --check of format"), ("format src/dev.c", 'format takes no "src/dev.c"'),
    ("clients --foo", "unknown option --foo of clients"), ("rocksdb -x", "unknown option -x of rocksdb"),
    ("wheel --release", "unknown option --release of wheel"), ("wheel dist", 'wheel takes no "dist"'),
    ("wheel --for", "wheel --for wants one machine: aarch64 or x86_64"),
    ("image --for sparc", f"image is made for aarch64, or for what runs here ({os.uname().machine}), and not for sparc"),
    ("image --for aarch64 now", "image --for wants one machine: aarch64 or x86_64"),
    ("package --sign", "unknown option --sign of package"),
    ("minio latest", 'minio takes no "latest"'),
    ("keycloak latest", 'keycloak takes no "latest"'),
    ("setup --release", "unknown option --release of setup"), ("coverage --foo", "unknown option --foo of coverage"),
    ("generate --checks", "unknown option --checks of generate"), ("generate types.inc", 'generate takes no "types.inc"'),
])
def test_options_that_a_command_does_not_take_are_refused_before_anything_is_done(words, told, tmp_path):
    """Each program that a command would begin with is a stand-in that fails: it must not have been called."""
    path = stand_in(tmp_path, **dict.fromkeys(("dpkg_query", "apt_get", "apt_cache", "meson", "ninja", "git", "npm"), "exit 1"))
    env = dict(os.environ, PATH=f"{path}:{os.environ['PATH']}")
    done = subprocess.run([str(DEV), *words.split()], env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert done.stderr == f"dev: {told} (see ./dev)\n"
    assert not (path / "calls").exists()


NOTHING = ("dpkg_query", "apt_get", "apt_cache", "meson", "ninja", "git", "npm", "pip")


def dev(tmp_path, words, **more):
    """./dev with those words; whatever a command would begin with is a stand-in that fails and says that it was called."""
    path = stand_in(tmp_path, **dict.fromkeys(NOTHING, "exit 1"))
    env = dict(os.environ, PATH=f"{path}:{os.environ['PATH']}", **more)
    return subprocess.run([str(DEV), *words.split()], env=env, capture_output=True, text=True)


@pytest.mark.parametrize("words, near", [
    ("test stroe/recent", ["store/recent"]), ("test store/recnet", ["store/recent"]), ("test stor", ["store"]),
    ("test e2e/test_rset", ["e2e/test_rest"]), ("test store/recent rset", ["rest"]), ("test tests/unit/xyzzy/test_plugh.c", []),
    ("test --quick fihr", ["fhir"]),
])
def test_a_test_that_is_not_there_is_refused_with_those_whose_names_are_near(words, near, tmp_path):
    done = dev(tmp_path, words)
    assert (done.returncode, done.stdout) == (1, "")
    told = re.fullmatch(r"dev: no test is called \S+?(?:; there is (.+))? \(\./dev test .*see \./dev\)\n", done.stderr)
    assert told, done.stderr
    assert (told[1] or "").split(", ")[:len(near)] == (near or [""])[:len(near)]
    assert bool(told[1]) == bool(near)
    assert not (tmp_path / "calls").exists()


@pytest.mark.parametrize("given, name", [
    ("store/recent", "store/recent"), ("store.recent", "store/recent"), ("tests/unit/store/test_recent.c", "store/recent"),
    ("unit/store/", "store"), ("./tests/e2e/test_rest.py", "e2e/test_rest"), ("e2e/test_rest", "e2e/test_rest"),
])
def test_a_test_is_named_as_people_write_it(given, name):
    assert call(f"test_name {given}").stdout == name + "\n"


def test_the_names_of_tests_choose_what_runs():
    chosen = call('named_tests store/recent codec e2e/test_rest; echo "$UNIT_ROOMS"; printf "%s\n" "${E2E_FILES[@]}"').stdout.split()
    assert chosen == [r"store\.recent$|codec", "tests/e2e/test_rest.py"]
    assert call('named_tests store/recent; echo "$UNIT_ROOMS ${#E2E_FILES[@]}"').stdout.split() == [r"store\.recent$", "0"]


def test_every_unit_test_bears_the_name_of_its_file():
    """./dev test FOLDER/ROOM finds tests/unit/FOLDER/test_ROOM.c and the program that meson makes of it."""
    if not (ROOT / "build" / "build.ninja").exists():
        pytest.skip("nothing was built in build/")
    made = set(re.findall(r"^build tests/unit/(test_\S+):", (ROOT / "build" / "build.ninja").read_text(), re.M))
    files = {f"test_{p.parent.name}.{p.stem.removeprefix('test_')}" for p in (ROOT / "tests" / "unit").glob("*/test_*.c")}
    assert files - made == set()


@pytest.mark.parametrize("words, told", [
    ("demo --foo", "unrecognized arguments: --foo"), ("demo --patients", "expected one argument"),
    ("demo --patients 0", "--patients is at least 1"), ("cluster --patients 3", "--patients is at least 20"),
    ("bench imports", "there is no benchmark imports; there are generate, import,"),
    ("bench import --gb x", "invalid float value: 'x'"), ("fhir-data --foo", "unrecognized arguments: --foo"),
    ("fhir-data --from /dev/null/absent", "--from /dev/null/absent: there is no such file or folder"),
])
def test_arguments_of_python_scripts_are_looked_at_before_anything_is_built(words, told, tmp_path):
    done = dev(tmp_path, words)
    assert done.returncode != 0 and done.stdout == "" and told in done.stderr
    assert not (tmp_path / "calls").exists()


@pytest.mark.parametrize("words", ["build --help", "test -h", "lint --help", "generate --help", "demo --help", "bench -h",
                                   "fhir-data --help", "fresh --help", "help", "--help", ""])
def test_help_is_printed_and_nothing_done(words, tmp_path):
    done = dev(tmp_path, words)
    assert done.returncode == 0 and done.stderr == "" and "usage: ./dev" in done.stdout.lower()
    assert not (tmp_path / "calls").exists()


def test_the_version_of_meson_build_is_the_one_that_is_told_everywhere(server):
    version = re.search(r"^ *version: '(\S+)',$", (ROOT / "meson.build").read_text(), re.M)[1]
    assert run("--version").stdout == f"fhirlake {version}\n"
    assert run("--help").stdout.startswith(f"fhirlake {version}")
    with urllib.request.urlopen(f"{server.url}/health") as answer:
        assert json.load(answer)["version"] == version
    assert server.fhir(server.create_store()).get("metadata").json["software"]["version"] == version


# ---- ./dev fhir-data, in a project of its own ----

FHIR_PACKAGE = "hl7.fhir.r4.examples-4.0.1.tgz"


@pytest.fixture
def elsewhere(tmp_path):
    """A folder with tools/, in which nothing was fetched."""
    shutil.copytree(ROOT / "tools", tmp_path / "project" / "tools")
    return tmp_path / "project"


def fhir_data(project, path, *arguments, npm=None):
    if npm is not None:
        stand_in(path, npm=npm)
    env = dict(os.environ, PATH=f"{path}:{os.environ['PATH']}")
    return subprocess.run([sys.executable, project / "tools" / "fhir_data.py", *arguments], env=env, capture_output=True, text=True)


def test_a_package_that_is_not_the_one_we_know_is_not_kept(elsewhere, tmp_path):
    npm = f'while [ "$1" != --pack-destination ]; do shift; done; echo something else >"$2/{FHIR_PACKAGE}"'
    done = fhir_data(elsewhere, tmp_path, npm=npm)
    assert done.returncode == 1 and "is not hl7.fhir.r4.examples-4.0.1.tgz as we know it" in done.stderr
    (tmp_path / FHIR_PACKAGE).write_text("something else")
    done = fhir_data(elsewhere, tmp_path, "--from", str(tmp_path), npm="exit 1")
    assert done.returncode == 1 and f"{tmp_path / FHIR_PACKAGE} is not hl7.fhir.r4.examples-4.0.1.tgz" in done.stderr
    assert [p for p in (elsewhere / ".deps").rglob("*") if p.is_file()] == []


def test_what_npm_says_is_told_when_it_cannot_fetch(elsewhere, tmp_path):
    done = fhir_data(elsewhere, tmp_path, npm="echo npm error: no network here >&2; exit 1")
    assert done.returncode == 1 and "npm could not fetch hl7.fhir.r4.examples 4.0.1" in done.stderr
    assert "no network here" in done.stderr


def test_without_npm_it_says_how_to_bring_the_package(elsewhere, tmp_path):
    env = {"PATH": str(stand_in(tmp_path, git=""))}
    done = subprocess.run([sys.executable, elsewhere / "tools" / "fhir_data.py"], env=env, capture_output=True, text=True)
    assert done.returncode == 1 and "npm is not here" in done.stderr and "--from" in done.stderr


@pytest.mark.skipif(not (ROOT / ".deps" / "npm" / FHIR_PACKAGE).exists(), reason=NO_FHIR_DATA)
def test_packages_that_were_brought_are_enough_and_nothing_is_done_twice(elsewhere, tmp_path):
    done = fhir_data(elsewhere, tmp_path, "--from", str(ROOT / ".deps" / "npm"), npm="exit 1")
    assert done.returncode == 0, done.stderr
    made = {p: p.stat().st_mtime_ns for p in (elsewhere / ".deps").rglob("*") if p.is_file()}
    assert len([p for p in made if p.suffix == ".ndjson"]) == 8
    assert fhir_data(elsewhere, tmp_path, npm="exit 1").returncode == 0
    assert made == {p: p.stat().st_mtime_ns for p in (elsewhere / ".deps").rglob("*") if p.is_file()}
    damaged = elsewhere / ".deps" / "fhir-r4" / "examples.ndjson"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:1000])
    assert fhir_data(elsewhere, tmp_path, npm="exit 1").returncode == 0 and damaged.read_bytes() == whole
    assert not (tmp_path / "calls").exists()


def test_no_package_bears_the_number_of_a_compiler():
    names = call('printf "%s\\n" "${PACKAGES[@]}" "${PACKAGES_TEST[@]}"').stdout.split()
    assert "gcc" in names and "clang" in names
    assert [name for name in names if re.search(r"-\d+(\.\d+)?(-|$)", name)] == []


@pytest.mark.skipif(not (shutil.which("clang") and shutil.which("dpkg-query")), reason="no clang from apt here")
def test_fuzzers_link_with_the_clang_of_this_machine():
    assert call("clang_links_fuzzers --say").returncode == 0


CLANG_19 = """
case $1 in --version) echo "Debian clang version 19.1.7 (3+b1)"; exit;; esac
[ -e FOLDER/runtime ] || { echo "ld: cannot find libclang_rt.fuzzer.a" >&2; exit 1; }
"""
APT = 'case "$*" in install*) touch FOLDER/INSTALLED;; esac'


def machine_without_runtime(tmp_path, installed):
    """clang is there, its runtime is not, apt has everything; what apt installs brings the file INSTALLED."""
    return stand_in(tmp_path, clang=CLANG_19.replace("FOLDER", str(tmp_path)), apt_cache="", sudo='"$@"',
                    dpkg_query='case "${@: -1}" in clang) echo "install ok installed";; *) exit 1;; esac',
                    apt_get=APT.replace("FOLDER", str(tmp_path)).replace("INSTALLED", installed))


def test_a_clang_that_links_no_fuzzer_gets_the_runtime_of_its_number(tmp_path):
    path = machine_without_runtime(tmp_path, "runtime")
    done = call("setup_clang", path)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^apt-get install .*", calls(path), re.M) == [
        "apt-get install -y -qq --no-install-recommends libclang-rt-19-dev"]


def test_a_clang_that_links_no_fuzzer_even_then_is_said_before_the_tests_run(tmp_path):
    done = call("setup_clang", machine_without_runtime(tmp_path, "something-else"))
    assert done.returncode == 1
    assert "cannot find libclang_rt.fuzzer.a" in done.stderr
    assert "links no fuzzer, though libclang-rt-19-dev is installed" in done.stderr


def apt_that_lacks(folder, *lacking):
    return stand_in(folder, apt_get="", sudo='"$@"', dpkg_query="exit 1",
                    apt_cache="case ${@: -1} in " + "|".join(lacking) + ") exit 100;; esac")


@pytest.mark.parametrize("wanted, lacking", [
    (["libthis-dev"], ["libthis-dev"]),
    (["gcc", "libthis-dev", "meson"], ["libthis-dev"]),
    (["gcc", "libthis-dev", "meson", "libthat-dev"], ["libthis-dev", "libthat-dev"]),
])
def test_a_needed_package_that_is_not_to_be_had_is_an_error_that_names_it_and_installs_nothing(wanted, lacking, tmp_path):
    path = apt_that_lacks(tmp_path, *lacking)
    done = call("install_packages " + " ".join(wanted), path)
    assert done.returncode == 1
    assert f"not in this machine's apt sources: {' '.join(lacking)}\n" in done.stderr
    assert "/etc/apt/sources.list" in done.stderr  # what to do
    assert " install " not in calls(path)


def test_every_package_that_is_to_be_had_is_installed_at_once(tmp_path):
    path = apt_that_lacks(tmp_path, "libother-dev")
    assert call("install_packages gcc meson", path).returncode == 0
    assert calls(path).rstrip().endswith("install -y -qq --no-install-recommends gcc meson")


@pytest.mark.parametrize("apt", ['case "$*" in update*) exit 100;; esac', 'case "$*" in install*) exit 100;; esac'])
def test_an_apt_that_fails_stops_the_command(apt, tmp_path):
    path = stand_in(tmp_path, apt_get=apt, apt_cache="", sudo='"$@"', dpkg_query="exit 1")
    done = call("install_packages gcc; echo went on", path)
    assert done.returncode == 1 and done.stdout == ""
    assert "dev: apt-get" in done.stderr


@pytest.mark.parametrize("arguments, says", [
    (["13"], "needs root"),
    (["11"], "no release 11 here: 12 or 13"),
    (["trixie"], "no release trixie here: 12 or 13"),
    (["13", "--only"], "--only needs a value"),
    (["--mirror"], "--mirror needs a value"),
    (["--unknown"], "Usage: ./dev fresh"),
])
def test_fresh_says_what_it_needs_and_makes_nothing(arguments, says, tmp_path):
    path = stand_in(tmp_path, id="echo 1000")
    (tmp_path / "roots").mkdir()
    done = subprocess.run([DEV, "fresh", *arguments], capture_output=True, text=True,
                          env=dict(os.environ, PATH=f"{path}:{os.environ['PATH']}", TMPDIR=str(tmp_path / "roots")))
    assert done.returncode != 0 and says in done.stderr
    assert list((tmp_path / "roots").iterdir()) == []


def test_yyjson_comes_from_its_package_however_much_apt_has_to_say(tmp_path):
    """A reader that leaves early kills the writer; with pipefail that once read as 'not packaged', every other time."""
    long_answer = "for n in {1..20000}; do echo Candidate: 0.10; done"
    path = stand_in(tmp_path, pkg_config="exit 1", sudo='"$@"', dpkg_query="exit 1", apt_get="", apt_cache=long_answer)
    done = call(f"DEPS={tmp_path}/deps; setup_yyjson", path)
    assert done.returncode == 0, done.stderr
    assert calls(path).rstrip().endswith("install -y -qq --no-install-recommends libyyjson-dev")


@pytest.mark.parametrize("printed, counts", [
    ("1..3\nok 1 - a: one\nok 2 # SKIP a: two\nnot ok 3 - a: three\n# not ok - tests\n", "1 1 1"),
    ("1..3\nok 1 - a: one\nnot ok 2 # SKIP a: two\nok 3 - a: three\n# ok - tests\n", "2 0 1"),  # cmocka of Debian 12
    ("1..2\nok 1 - a: one # SKIP no data\nnot ok 2 - a: two # SKIP no data\n", "0 0 2"),
    ("1..2\nnot ok 1 - a: skip_is_a_word_here\nok 2 - a: SKIP_too\n", "1 1 0"),
    ("Segmentation fault\n", "0 0 0"),
    ("", "0 0 0"),
])
def test_a_skipped_unit_test_counts_as_skipped_in_every_release_of_cmocka(printed, counts):
    assert call("tap_counts", stdin=printed).stdout.strip() == counts


# ---- the parts of all tests ----

PARTS = """
log() { echo "$1 $$ $2" >>"$LOG"; }
unit_test() {
    local kind
    kind=$(part_kind unit_test "$@")
    log + $kind; sleep 0.05; log - $kind
    [ "$2" != dies ] || exit 3
    count 2 0 1
}
fuzz_target() { log + works; sleep 0.05; log - works; count 0 1; }
beside() { # until one that waits has begun: it does so beside the first build
    local turn
    for turn in {1..600}; do grep -q '^+ .* waits' "$LOG" && return; sleep 0.1; done
}
sanitized() { log + builds; beside; log - builds; [ "$1" != build/broken ] || exit 1; }
JOBS=2
for i in 1 2 3 4 5 6 7; do echo "unit_test build w$i"; echo "unit_test build/asan s$i"; done >"$LOG.parts"
echo "fuzz_target 5 f" >>"$LOG.parts"
echo "unit_test build/tsan dies" >>"$LOG.parts"
for build in $BUILDS; do echo "sanitized build/$build"; done >>"$LOG.parts"
test_parts <"$LOG.parts"
echo "$PASSED $FAILED $SKIPPED"
"""


def parts_run(log):
    """Each line of what a run of PARTS logged: whether one began, its kind, and how many of each kind run then."""
    running = {"builds": 0, "works": 0, "waits": 0}
    for line in log.read_text().splitlines():
        sign, _, kind = line.split()
        running[kind] += 1 if sign == "+" else -1
        yield sign == "+", kind, dict(running)


def test_each_part_runs_once_and_those_that_work_leave_room_for_those_that_wait(tmp_path):
    log = tmp_path / "log"
    done = call(f"LOG={log} BUILDS='asan tsan'\n{PARTS}")
    assert done.stdout == "28 2 14\n", done.stdout + done.stderr
    assert "unit_test build/tsan dies ended early" in done.stderr and "18 parts in" in done.stderr
    for told in ("fuzzers: build/fuzz .* 0 passed, 1 failed", "unit tests: build/asan .* 14 passed, 0 failed, 7 skipped",
                 "unit tests: build/tsan .* 0 passed, 1 failed", "unit tests: build .* 14 passed, 0 failed, 7 skipped",
                 "compiling: build/asan +[0-9]+ s\n", "compiling: build/tsan +[0-9]+ s\n"):
        assert re.search(told, done.stderr), told
    left, together = {"builds": 2, "works": 9, "waits": 7}, 0
    for began, kind, running in parts_run(log):
        left[kind] -= began
        together = max(together, running["builds"] * running["waits"])
        assert running["waits"] <= 4 and running["works"] <= 4 and running["builds"] <= 1
        assert not (began and kind == "works") or left["builds"] == running["builds"] == 0, "it may not be compiled yet"
        assert not began or running["works"] <= 2 or left["waits"] == 0, "those that wait want a processor now and then"
    assert left == {"builds": 0, "works": 0, "waits": 0}
    assert together, "what waits runs while a build is made"


def test_after_a_build_that_failed_nothing_more_begins(tmp_path):
    log = tmp_path / "log"
    done = call(f"LOG={log} BUILDS='broken asan'\n{PARTS}")
    assert "sanitized build/broken ended early" in done.stderr
    assert re.search(r"a build failed: \d+ parts are not run", done.stderr), done.stderr
    kinds = [kind for began, kind, _ in parts_run(log) if began]
    assert "works" not in kinds and kinds.count("builds") == 1
    assert int(done.stdout.split()[1]) == 1, done.stdout


def test_groups_have_each_file_once_and_those_on_a_database_leave_out_what_says_nothing_of_it(monkeypatch):
    def dealt(n, *args):
        return sorted(call(f"for i in $(seq 0 {n - 1}); do group_files $i {n} {' '.join(args)}; done").stdout.split())

    monkeypatch.delenv("FHIRLAKE_E2E_STORE", raising=False)
    monkeypatch.delenv("FHIRLAKE_LONG", raising=False)
    suite = {str(p.relative_to(ROOT)): p.read_text() for p in (ROOT / "tests" / "e2e").glob("test_*.py")}
    assert dealt(4) == sorted(suite)
    assert dealt(3, "-m", "sanitize") == sorted(n for n, t in suite.items() if "mark.sanitize" in t)
    monkeypatch.setenv("FHIRLAKE_E2E_STORE", "postgresql")
    there = dealt(4)
    assert len(there) == len(set(there)) and "tests/e2e/test_rest.py" in there
    for name in suite.keys() - set(there):
        assert re.search(r"^pytestmark = .*mark\.(files|once)", suite[name], re.M), name


def test_a_suite_that_does_not_begin_is_one_failure_that_says_where_to_look():
    done = call('PYTHON=false FAILURES=$(mktemp)\noutside build/fhirlake\necho "$PASSED $FAILED $SKIPPED"\ncat "$FAILURES"; rm "$FAILURES"')
    assert "0 1 0" in done.stdout.splitlines(), done.stdout
    assert "pytest has not begun (1): why is told above" in done.stdout + done.stderr and "Traceback" not in done.stderr


def test_a_name_that_no_test_has_is_an_error():
    done = call("""
install_packages() { :; }; setup_python() { :; }; setup_readers() { :; }; try_fhir_data() { :; }; try_oidc() { :; }; try_browser() { :; }
build_default() { :; }; outside() { :; }
cmd_test e2e/test_dev -k nothing_is_called_that""")
    assert done.returncode != 0 and "no test has a name like that (-k nothing_is_called_that)" in done.stderr, (done.stdout, done.stderr)
