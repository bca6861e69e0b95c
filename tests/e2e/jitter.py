"""A machine that is slower than it is: no test may depend on who of two comes first, and these make the other one come first.

FHIRLAKE_JITTER=clients lets a test's requests and commands wait now and then before they are sent, so that servers seem fast.
FHIRLAKE_JITTER=servers freezes the servers now and then, so that they seem slow."""
import http.client
import os
import random
import signal
import subprocess
import threading
import time

KIND = os.environ.get("FHIRLAKE_JITTER", "")
CHANCE = random.Random()  # its own: tests repeat theirs from a seed


def pause():
    """Mostly short, one in thirty longer than a small job takes."""
    dice = CHANCE.random()
    if dice < 0.03:
        time.sleep(CHANCE.uniform(0.3, 1.5))
    elif dice < 0.4:
        time.sleep(CHANCE.expovariate(1 / 0.02))


def slow_clients():
    putrequest, popen = http.client.HTTPConnection.putrequest, subprocess.Popen.__init__

    def put_later(self, *arguments, **more):
        pause()
        return putrequest(self, *arguments, **more)

    def start_later(self, *arguments, **more):
        pause()
        popen(self, *arguments, **more)
        pause()

    http.client.HTTPConnection.putrequest = put_later
    subprocess.Popen.__init__ = start_later


class Freezer:
    """It freezes servers for some time each, and never thaws one that a test froze."""

    def __init__(self):
        self.lock, self.servers, self.meant = threading.Lock(), {}, set()
        self.popen, self.send_signal = subprocess.Popen.__init__, subprocess.Popen.send_signal

    def begin(self):
        freezer = self

        def start(process, *given, **more):
            freezer.popen(process, *given, **more)
            if isinstance(process.args, list) and process.args[1:2] == ["serve"]:
                with freezer.lock:
                    freezer.servers[process.pid] = process

        def send_signal(process, number):
            with freezer.lock:
                if number == signal.SIGSTOP:
                    freezer.meant.add(process.pid)
                elif number == signal.SIGCONT:
                    freezer.meant.discard(process.pid)
                freezer.send_signal(process, number)

        subprocess.Popen.__init__ = start
        subprocess.Popen.send_signal = send_signal
        threading.Thread(target=self.freeze, daemon=True).start()

    def signal_all(self, pids, number):
        """The ones of them that run and that no test froze."""
        with self.lock:
            for pid in list(self.servers):
                if self.servers[pid].returncode is not None:
                    del self.servers[pid]
            for pid in pids or list(self.servers):
                if pid in self.servers and pid not in self.meant and (pids or CHANCE.random() < 0.5):
                    self.send_signal(self.servers[pid], number)
                    yield pid

    def freeze(self):
        while True:
            time.sleep(CHANCE.uniform(0, 0.3))
            frozen = list(self.signal_all([], signal.SIGSTOP))
            time.sleep(CHANCE.uniform(0, 0.3) if CHANCE.random() < 0.9 else 1)
            if frozen:
                list(self.signal_all(frozen, signal.SIGCONT))


def begin():
    if KIND == "clients":
        slow_clients()
    elif KIND == "servers":
        Freezer().begin()
    elif KIND:
        raise ValueError(f"FHIRLAKE_JITTER={KIND}: clients or servers")
