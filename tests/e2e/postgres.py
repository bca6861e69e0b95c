"""A PostgreSQL server of the tests' own, and databases of it.

FHIRLAKE_E2E_STORE=postgresql has every server of the outside suite keep its data stores there: one server of PostgreSQL for
the whole run, a database for each data folder. It runs as a plain user (root becomes `postgres`, or `nobody`) on a socket
in a folder of its own, in memory where there is room, does not sync, and ends with the tests."""
import atexit
import ctypes
import glob
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid

from relay import Relay

LEAST = 14
INSTALLED = max(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda p: int(re.search(r"/(\d+)/bin", p)[1]), default=None)
ON = os.environ.get("FHIRLAKE_E2E_STORE") == "postgresql"
assert ON or not os.environ.get("FHIRLAKE_E2E_STORE"), "FHIRLAKE_E2E_STORE takes postgresql"
NOT_INSTALLED = "PostgreSQL is not installed"
LATE = "statement timeout"
ACTIVITY = "select pid, datname, backend_type, state, wait_event_type, wait_event, query from pg_stat_activity"


def plain_user():
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            pass
    return None


def swift_folder():
    """Where a server's folder is: in memory where there is room for some more of them, else /tmp. It does not sync, so a disk adds
    nothing but time: a new database is some hundred files."""
    try:
        there = os.statvfs("/dev/shm")
        memory = re.search(r"^MemAvailable:\s+(\d+) kB", pathlib.Path("/proc/meminfo").read_text(), re.M)
        free = min(there.f_bavail * there.f_frsize, int(memory[1]) << 10)
    except (OSError, TypeError):
        return "/tmp"
    return "/dev/shm" if free >= 6 << 30 and os.access("/dev/shm", os.W_OK) else "/tmp"


class Postgres:
    """A server. options: as of `postgres -c`; port: TCP on loopback too; hba: lines of pg_hba.conf, else trust; of: it is a
    standby of that one."""

    def __init__(self, *options, port=None, hba=None, of=None, env=None):
        self.user = plain_user()
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="fhirlake-pg-", dir=swift_folder()))
        self.dir.chmod(0o755)
        if self.user:
            os.chown(self.dir, self.user.pw_uid, self.user.pw_gid)
        self.port, self.options, self.process, self.env = port, options, None, env or {}
        if of:
            subprocess.run([f"{INSTALLED}/pg_basebackup", "-D", self.dir / "data", "-R", "-c", "fast", "-d",
                            f"host={of.dir} {f'port={of.port} ' if of.port else ''}user=fhirlake application_name=standby"],
                           check=True, capture_output=True, cwd="/", **self._as_user())
            self.start()
            return
        subprocess.run([f"{INSTALLED}/initdb", "-D", self.dir / "data", "-U", "fhirlake", "-A", "trust", "-N", "--no-locale",
                        "-E", "UTF8"], check=True, capture_output=True, cwd="/", **self._as_user())
        if hba:
            (self.dir / "data" / "pg_hba.conf").write_text(hba)
        self.start()

    def _as_user(self):
        def child():
            ctypes.CDLL(None).prctl(1, signal.SIGQUIT)  # PR_SET_PDEATHSIG
        env = {**{k: v for k, v in os.environ.items() if not k.startswith("PG")}, **self.env}
        if not self.user:
            return {"preexec_fn": child, "env": env}
        return {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": [], "preexec_fn": child, "env": env}

    def start(self):
        told = ["-c", f"listen_addresses={'127.0.0.1' if self.port else ''}", *(["-p", str(self.port)] if self.port else [])]
        for option in ("fsync=off", "shared_buffers=64MB", "max_connections=300", "autovacuum_naptime=5s", *self.options):
            told += ["-c", option]
        self.process = subprocess.Popen(
            [f"{INSTALLED}/postgres", "-D", self.dir / "data", "-k", self.dir, *told], stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, cwd="/", **self._as_user())
        lines = []
        for line in self.process.stderr:
            lines.append(line)
            if "ready to accept connections" in line or "ready to accept read-only connections" in line:
                break
        else:
            raise AssertionError("PostgreSQL did not start: " + "".join(lines))
        self.log = open(self.dir / "log", "w")
        self._rest = subprocess.Popen(["cat"], stdin=self.process.stderr, stdout=self.log)
        self.process.stderr.close()

    def _processes(self):
        """Children of the server's own."""
        found = []
        for path in glob.glob("/proc/[0-9]*/stat"):
            try:
                with open(path) as f:
                    pid, rest = f.read().split(" (", 1)
            except OSError:
                continue  # it has ended
            if int(rest.rsplit(") ", 1)[1].split()[1]) == self.process.pid:
                found.append(int(pid))
        return found

    def send(self, how):
        """To all of its processes at once; none comes while their parent stands still."""
        self.process.send_signal(signal.SIGSTOP if how != signal.SIGCONT else how)
        for pid in self._processes():
            try:
                os.kill(pid, how)
            except ProcessLookupError:
                pass
        self.process.send_signal(how)

    def crash(self):
        """As a machine that is gone."""
        self.send(signal.SIGKILL)
        self.stop(signal.SIGKILL)

    def stop(self, how=signal.SIGQUIT):
        if self.process:
            self.process.send_signal(how)
            self.process.wait()
            self._rest.wait()
            self.log.close()
            self.process = None

    def close(self):
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    def sql(self, text, database="postgres"):
        """The rows, columns parted by |. A statement that does not end fails, and who may have kept it is told."""
        done = self._psql(text, database)
        if LATE in done.stderr:
            done.stderr += self._psql(ACTIVITY, "postgres").stdout
        assert done.returncode == 0, done.stderr
        return done.stdout.split("\n")[:-1]

    def _psql(self, text, database):
        where = ["-h", self.dir, *(["-p", str(self.port)] if self.port else [])]
        env = {**os.environ, "PGOPTIONS": "-c statement_timeout=100s"}
        return subprocess.run([f"{INSTALLED}/psql", *where, "-U", "fhirlake", "-d", database, "-XAtq", "-v", "ON_ERROR_STOP=1",
                               "-c", text], capture_output=True, text=True, env=env, timeout=200)

    def database(self, *options):
        """A new one: its name."""
        name = "e2e_" + uuid.uuid4().hex
        self.sql(" ".join([f"create database {name}", *options]))
        return name

    def drop(self, database):
        """It waits until every process of the server has taken note, of whatever database. One that waits for a client in the
        middle of a COPY does not, and one that is just beginning can miss it (PostgreSQL to 17). What is not dropped then ends
        with the server."""
        try:
            self.sql(f"drop database if exists {database} with (force)")
        except AssertionError as late:
            if LATE not in str(late):
                raise
            print(f"a database was not dropped: {late}", file=sys.__stderr__)

    def uri(self, database, **options):
        port = {"port": self.port} if self.port else {}
        query = "&".join(f"{k}={v}" for k, v in {"host": self.dir, **port, **options}.items())
        return f"postgresql://fhirlake@/{database}?{query}"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Pair:
    """A primary and its standby, which changes places with it: synchronous, unless it is meant to be behind."""

    def __init__(self, *options, synchronous=True):
        self.options, self.synchronous = options, synchronous
        self.primary = Postgres(*options, port=free_port())
        self.ports = [self.primary.port, free_port()]
        self.standby = None
        self.add_standby()

    def add_standby(self):
        port, = set(self.ports) - {self.primary.port}
        self.standby = Postgres(*self.options, port=port, of=self.primary)
        if self.synchronous:
            self.primary.sql("alter system set synchronous_standby_names = 'standby'")
            self.primary.sql("select pg_reload_conf()")
        wanted = "sync" if self.synchronous else "async"
        end = time.monotonic() + 60
        while self.primary.sql("select sync_state from pg_stat_replication") != [wanted]:
            assert time.monotonic() < end, "the standby does not follow"
            time.sleep(0.02)

    def lose_primary(self):
        """It is gone, and the standby takes over."""
        self.primary.crash()
        self.primary.close()
        self.primary, self.standby = self.standby, None
        assert self.primary.sql("select pg_promote()") == ["t"]

    def uri(self, database, **options):
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        query = "&".join(f"{k}={v}" for k, v in {"target_session_attrs": "read-write", **options}.items())
        return f"postgresql://fhirlake@{hosts}/{database}?{query}"

    def close(self):
        for one in (self.standby, self.primary):
            if one:
                one.close()


class Proxy(Relay):
    """In front of a server. Ends the connection of who sends what it is told, or runs a prepared statement that has it: before it
    reaches the server, or behind the answer, which is lost. Or holds it: nothing more passes, and the server sees no end, as of a
    client that is frozen."""

    COMMIT, COPY, BEGIN = b"Q\0\0\0\x0bcommit\0", b"PGCOPY\n", b"Q\0\0\0\x0abegin\0"

    def __init__(self, to):
        self.cuts, self.n_cut = [], 0
        self.holds, self.held, self.closed, self.freed = [], threading.Event(), threading.Event(), threading.Event()
        super().__init__(to)

    def cut(self, what, behind=False, after=0):
        """The connection of the one who sends it, after so many others did."""
        with self.lock:
            self.cuts.append([what, behind, after])

    def hold(self, what, after=0):
        """The connection of the next one who sends it, after it was sent so often, in front of the server; `held` tells of it.
        `freed` lets all go on."""
        with self.lock:
            self.holds.append([what, after])

    def _is_held(self, data):
        with self.lock:
            for one in self.holds:
                if one[0] in data:
                    one[1] -= 1
                    if one[1] < 0:
                        self.holds.remove(one)
                        self.held.set()
                        return True
        return False

    def _due(self, data):
        with self.lock:
            for one in self.cuts:
                if one[0] in data:
                    one[2] -= 1
                    if one[2] < 0:
                        self.cuts.remove(one)
                        self.n_cut += 1
                        return one
        return None

    @staticmethod
    def _ran(data, prepared):
        """The text of the statement that is run by its name: Parse has said it before Bind."""
        if data[:1] == b"P" and data.count(b"\0", 5) > 1:
            name, text, _ = data[5:].split(b"\0", 2)
            prepared[name] = text
        return prepared.get(data[6:].split(b"\0", 1)[0], b"") if data[:1] == b"B" else b""

    def _up(self, client, server, mute):
        prepared = {}
        try:
            while data := client.recv(1 << 16):
                said = data + self._ran(data, prepared)
                if self._is_held(said):
                    self.freed.wait()
                    if self.closed.is_set():
                        break
                due = self._due(said)
                if due and due[1]:  # whoever comes next is the answer, which is lost
                    mute.set()
                if due is None or due[1]:
                    server.sendall(data)
                if due:
                    break
        except OSError:
            pass
        if not mute.is_set():
            self._end(client, server)

    def close(self):
        self.closed.set()
        self.freed.set()
        super().close()


_server, _databases = None, {}


def server():
    """The one of the whole run."""
    global _server
    if _server is None:
        assert INSTALLED, NOT_INSTALLED
        _server = Postgres()
        atexit.register(_server.close)
    return _server


def database_of(data):
    """URI of the database that goes with a data folder."""
    if str(data) not in _databases:
        _databases[str(data)] = server().database()
    return server().uri(_databases[str(data)])


def asks(data, text):
    """The rows of a question to it."""
    return server().sql(text, _databases[str(data)])


def forget(data):
    if str(data) in _databases:
        server().drop(_databases.pop(str(data)))


# ---- what stands in a database ----

# Rows as they stand in the pages of tables, and beside them: those that are dead and were not cleared away, too.
TUPLES = r"""
with of as (select c.oid, c.reltoastrelid from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where n.nspname like 'fl\_%' and c.relkind = 'r')
select distinct r.id::regclass::text || ': ' || x.t from (select oid as id from of union all select reltoastrelid from of) r
cross join lateral generate_series(0, pg_relation_size(r.id) / 8192 - 1) p
cross join lateral public.heap_page_items(public.get_raw_page(r.id::regclass::text, p::int)) i
cross join unnest(array[{texts}]) x(t) where r.id <> 0 and position(convert_to(x.t, 'UTF8') in i.t_data) > 0"""


def unpack(raw, size):
    """A block of LZ4. Source: its block format."""
    out, at = bytearray(), 0

    def length(n):
        nonlocal at
        if n == 15:
            while True:
                at += 1
                n += raw[at - 1]
                if raw[at - 1] != 255:
                    break
        return n
    while at < len(raw):
        token = raw[at]
        at += 1
        n = length(token >> 4)
        out += raw[at:at + n]
        at += n
        if at == len(raw):
            break
        back = int.from_bytes(raw[at:at + 2], "little")
        at += 2
        for _ in range(length(token & 15) + 4):
            out.append(out[-back])
    assert len(out) == size
    return bytes(out)


def stands_in(where, database, *texts):
    """Where a server has one of the texts: rows of its tables, and what is packed in them."""
    where.sql("create extension if not exists pageinspect schema public", database)
    hits = where.sql(TUPLES.format(texts=", ".join("'" + t.replace("'", "''") + "'" for t in texts)), database)
    for schema in where.sql(r"select nspname from pg_namespace where nspname like 'fl\_%' and nspname <> 'fl_system'", database):
        for row in where.sql(f"select raw_len, encode(body, 'hex') from {schema}.packs", database):
            size, body = row.split("|")
            pack = unpack(bytes.fromhex(body), int(size))
            hits += [f"{schema}.packs: {t}" for t in texts if t.encode() in pack]
    return hits


def rows_with(data, *texts):
    """The same of the database that goes with a data folder."""
    database_of(data)
    return stands_in(server(), _databases[str(data)], *texts)
