"""What the server tells systemd (Type=notify): datagrams to a socket, as a service manager has one."""
import ctypes
import os
import pathlib
import signal
import socket

import pytest

from fhirlake import Server, wait

pytestmark = [pytest.mark.once, pytest.mark.threads]

SECONDS = 300


class Manager:
    """A socket for NOTIFY_SOCKET: a file, or a name of the abstract space."""

    def __init__(self, name):
        self.name = str(name)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.name.replace("@", "\0", 1) if self.name.startswith("@") else self.name)
        self.socket.settimeout(SECONDS)

    def hears(self):
        return self.socket.recv(4096).decode().split("\n")

    def nothing(self):
        self.socket.setblocking(False)
        try:
            with pytest.raises(BlockingIOError):
                self.socket.recv(4096)
        finally:
            self.socket.settimeout(SECONDS)

    def drain(self):
        self.socket.setblocking(False)
        try:
            while True:
                self.socket.recv(4096)
        except BlockingIOError:
            self.socket.settimeout(SECONDS)


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    m = Manager(tmp_path / "notify" if request.param == "path" else f"@fhirlake-e2e-{os.getpid()}-{tmp_path.name}")
    yield m
    m.socket.close()


def test_ready_reloading_and_stopping_are_told_in_their_order(manager):
    with Server(env={"NOTIFY_SOCKET": manager.name}) as server:
        assert manager.hears() == ["READY=1"]
        server.process.send_signal(signal.SIGHUP)
        told = manager.hears()
        assert told[0] == "RELOADING=1" and told[1].startswith("MONOTONIC_USEC=") and int(told[1].partition("=")[2]) > 0
        assert manager.hears() == ["READY=1"]
        manager.nothing()
    assert manager.hears() == ["STOPPING=1"]
    manager.nothing()


def test_a_file_that_changes_by_itself_is_a_reload(tmp_path):
    manager, callers = Manager(tmp_path / "notify"), tmp_path / "callers"
    callers.write_text("[admin]\naws_access_key_id = AKIAADMIN\naws_secret_access_key = secret-a\n")
    callers.chmod(0o600)
    with Server(None, "--credentials", str(callers), env={"NOTIFY_SOCKET": manager.name}):
        assert manager.hears() == ["READY=1"]
        with callers.open("a") as f:
            f.write("[app]\naws_access_key_id = AKIAAPP\naws_secret_access_key = secret-b\n")
        assert manager.hears()[0] == "RELOADING=1"
        assert manager.hears() == ["READY=1"]


PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17


def stop_threads(process, name):
    """These threads alone stand still from now on. Returns what lets them go on."""
    def ptrace(what, thread):
        assert libc.ptrace(what, thread, None, None) == 0, os.strerror(ctypes.get_errno())

    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    def is_called(thread):
        try:
            return (thread / "comm").read_text().startswith(name)
        except OSError:  # one that has ended meanwhile
            return False

    threads = [int(t.name) for t in pathlib.Path(f"/proc/{process.pid}/task").iterdir() if is_called(t)]
    assert threads
    for thread in threads:
        ptrace(PTRACE_SEIZE, thread)
        ptrace(PTRACE_INTERRUPT, thread)
        os.waitpid(thread, 0x40000000)  # __WALL: a thread is waited for, too
    return lambda: [ptrace(PTRACE_DETACH, thread) for thread in threads]


def test_the_watchdog_is_fed_while_requests_are_taken_and_not_by_a_thread_that_knows_of_itself_alone(tmp_path):
    manager = Manager(tmp_path / "notify")
    with Server(None, "--core-dumps", "yes", env={"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "2000000"}) as server:
        assert manager.hears() == ["READY=1"]
        for _ in range(3):
            assert manager.hears() == ["WATCHDOG=1"]
        go_on = stop_threads(server.process, "MHD")
        wait(lambda: "watchdog state=\"not fed\"" in server.log_text(), {True})
        manager.drain()
        n = server.log_text().count("not fed")
        wait(lambda: server.log_text().count("not fed") > n + 1, {True})
        manager.nothing()
        go_on()
        assert manager.hears() == ["WATCHDOG=1"]


def test_a_watchdog_of_another_process_is_not_fed(tmp_path):
    manager = Manager(tmp_path / "notify")
    env = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}
    with Server(env=env):
        assert manager.hears() == ["READY=1"]
    assert manager.hears() == ["STOPPING=1"]


@pytest.mark.parametrize("env, why", [
    ({"NOTIFY_SOCKET": "relative"}, "NOTIFY_SOCKET names no socket"),
    ({"NOTIFY_SOCKET": "/" + "x" * 200}, "NOTIFY_SOCKET names no socket"),
    ({"NOTIFY_SOCKET": "/nonexistent/notify"}, "NOTIFY_SOCKET names no socket"),
    ({"WATCHDOG_USEC": "soon"}, "WATCHDOG_USEC is no number"),
    ({"WATCHDOG_USEC": "0"}, "WATCHDOG_USEC is no number")], ids=["relative", "long", "absent", "word", "zero"])
def test_what_cannot_be_obeyed_is_a_line_of_the_log_and_the_server_serves(env, why):
    with Server(env=env) as server:
        wait(lambda: server.log_text().count(why), {1})
        assert server.client().list_fhir_datastores()["DatastorePropertiesList"] == []


def test_a_start_that_is_refused_tells_nothing(tmp_path):
    manager = Manager(tmp_path / "notify")
    server = Server(None, "--credentials", str(tmp_path / "absent"), env={"NOTIFY_SOCKET": manager.name})
    with pytest.raises(AssertionError, match="no ready line"):
        server.start()
    manager.nothing()
