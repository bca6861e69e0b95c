"""What a compiled program loads: which libraries, where they are, of which packages, and which glibc they want.

The wheel (wheel_builder.py) and the image (../packaging/image.py) ask the same questions. A program of this machine is asked
by ldd. One of another architecture is not run here: with `root`, the folder that ../packaging/sysroot.sh made, its libraries
are followed by the names that they need, as a loader does.
"""
import os
import pathlib
import platform
import re
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
MACHINES = {"Advanced Micro Devices X86-64": "x86_64", "AArch64": "aarch64"}


class Refused(Exception):
    pass


def said(*command):
    """What a tool prints, or an error that says which tool and why."""
    try:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=dict(os.environ, LC_ALL="C"))
    except FileNotFoundError:
        raise Refused(f"needs {command[0]}, which is not here (./dev wheel installs it)") from None
    if done.returncode != 0:
        raise Refused(f"{command[0]} failed on {command[-1]}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def versions(text):
    return tuple(map(int, text.split(".")))


class Program:
    """A program, and the machine that it is for: this one, or one whose packages are unpacked in `root`."""

    def __init__(self, file, root=None):
        self.file = pathlib.Path(file).resolve()
        self.root = pathlib.Path(root).resolve() if root else None
        if not self.file.is_file():
            raise Refused(f"there is no program at {self.file}")

    def machine(self):
        """x86_64 or aarch64."""
        told = re.search(r"^\s*Machine:\s+(.*\S)", said("readelf", "-W", "-h", self.file), re.M)
        machine = MACHINES.get(told[1]) if told else None
        if machine is None:
            raise Refused(f"{self.file} is for {told[1] if told else 'no machine'}: x86_64 and aarch64 are packed")
        if self.root is None and machine != platform.machine():
            raise Refused(f"{self.file} is for {machine}, and this is {platform.machine()}: its libraries are wanted (--root)")
        return machine

    def tool(self, name):
        """binutils' tool for that machine."""
        return name if self.machine() == platform.machine() else f"{self.machine()}-linux-gnu-{name}"

    def loader(self):
        """The path by which it names its loader."""
        told = re.search(r"Requesting program interpreter: (\S+)\]", said("readelf", "-W", "-l", self.file))
        if told is None:
            raise Refused(f"{self.file} is no program that a loader starts")
        return told[1]

    def here(self, path):
        """The file of this machine that a path of the program's machine is."""
        return (self.root / path.lstrip("/") if self.root else pathlib.Path(path)).resolve()

    def libraries(self):
        """{soname: file} of all that is loaded: those of its libraries and glibc's own too, the loader not."""
        found = self._followed() if self.root else self._asked()
        found.pop(pathlib.Path(self.loader()).name, None)
        lost = [name for name, at in found.items() if at is None]
        if lost:
            raise Refused(f"{self.file} needs {lost[0]}, which is not {'in ' + str(self.root) if self.root else 'on this machine'}")
        return found

    def _asked(self):
        told = re.findall(r"^\s*(\S+) => (not found|/\S+)", said("ldd", self.file), re.M)
        return {name: None if at == "not found" else pathlib.Path(at).resolve() for name, at in told}

    def _followed(self):
        folders = [self.root / part / f"{self.machine()}-linux-gnu" for part in ("lib", "usr/lib")]
        found, ask = {}, [self.file]
        while ask:
            for name in re.findall(r"\(NEEDED\)\s+Shared library: \[(.*)\]", said("readelf", "-W", "-d", ask.pop())):
                if name not in found:
                    found[name] = next(((folder / name).resolve() for folder in folders if (folder / name).is_file()), None)
                    ask += [found[name]] if found[name] else []
        return found

    def glibc(self):
        """The x of its machine's glibc 2.x."""
        if self.root is None:
            return versions(os.confstr("CS_GNU_LIBC_VERSION").split()[1])[1]
        libc = next(self.root.glob(f"*lib/{self.machine()}-linux-gnu/libc.so.6"))
        return max(int(x) for x in re.findall(r"Name: GLIBC_2\.(\d+)", said("readelf", "-W", "-V", libc)))

    def licences(self, files):
        """{package: text}: what Debian says about each of these files, and about what is linked into the program."""
        docs = self.here("/usr/share/doc")
        within = [p for p in docs.iterdir() if re.fullmatch(
            r"(librocksdb|libgflags|libsnappy|libbz2|liblz4|libxxhash|libyyjson|libssl)-dev|gcc-\d+-base", p.name)]
        packages = {p.name: (p / "copyright").read_bytes() for p in within if (p / "copyright").exists()}
        yyjson = HERE.parent / ".deps" / "yyjson" / "LICENSE"  # where Debian has no package of it
        if yyjson.exists():
            packages["yyjson"] = yyjson.read_bytes()
        for package in self._owners(files):
            packages[package] = (docs / package / "copyright").read_bytes()
        return packages

    def _owners(self, files):
        # a package knows a file by the name it was packed under, which may be without /usr
        names = [name for file in files for name in (str(file), re.sub(r"^/usr(?=/lib)", "", str(file)))]
        if self.root is None:  # dpkg reads all its lists for each question
            told = subprocess.run(["dpkg-query", "-S", *names], capture_output=True, text=True).stdout if names else ""
            return {line.split(": ")[0].split(",")[0].split(":")[0] for line in told.splitlines()}
        wanted = {"/" + str(file.relative_to(self.root)) for file in files if file.is_relative_to(self.root)}
        lists = (self.root / "var/lib/dpkg/info").glob("*.list")
        return {at.stem for at in lists if wanted & {*at.read_text().splitlines()}}
