"""A relay of TCP on loopback, for what a test wants to see, or to cut, of a connection."""
import socket
import threading


class Relay:
    """Between clients and a server on loopback. It counts the bytes of answers; who wants more has another _up()."""

    def __init__(self, to):
        self.to, self.lock, self.n_answered = to, threading.Lock(), 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.to))
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            mute = threading.Event()
            threading.Thread(target=self._up, args=(client, server, mute), daemon=True).start()
            threading.Thread(target=self._down, args=(client, server, mute), daemon=True).start()

    def _up(self, client, server, mute):
        try:
            while data := client.recv(1 << 16):
                server.sendall(data)
        except OSError:
            pass
        self._end(client, server)

    def _down(self, client, server, mute):
        """Until the end, or until answers are not to come through any more."""
        try:
            while (data := server.recv(1 << 16)) and not mute.is_set():
                with self.lock:
                    self.n_answered += len(data)
                client.sendall(data)
        except OSError:
            pass
        self._end(client, server)

    @staticmethod
    def _end(*both):
        for one in both:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def took(self, call):
        """What the call gives, and how many bytes of answers came meanwhile."""
        before = self.n_answered
        result = call()
        return result, self.n_answered - before

    def close(self):
        self.listener.close()
