"""A door for clients that know HealthLake by its name alone: it speaks TLS as healthlake.<region>.amazonaws.com and hands what
comes to a fhirlake, byte for byte, so that signatures hold.

    python3 tests/clients/healthlake_door.py --to 127.0.0.1:8080
    HTTPS_PROXY=http://127.0.0.1:PORT SSL_CERT_FILE=FOLDER/ca.pem  CLIENT...

It is an HTTP proxy for CONNECT, so no name has to be resolved and no port 443 be free; it refuses every other host. The
certificate's authority is made anew each time. For a desk and for tests: where clients are many, put a TLS server with a
certificate of your own in front, and an entry for the name into their resolver."""
import argparse
import datetime
import pathlib
import re
import socket
import ssl
import tempfile
import threading

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def certificates(folder, name):
    """ca.pem, and cert.pem and key.pem of the name."""
    now = datetime.datetime.now(datetime.timezone.utc)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, n)]) for n in ("fhirlake door", name)]
    made = []
    for i, (subject, key) in enumerate(zip(names, keys)):
        builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(names[0]).public_key(key.public_key())
                   .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
                   .not_valid_after(now + datetime.timedelta(days=30))
                   .add_extension(x509.BasicConstraints(ca=i == 0, path_length=None), critical=True)
                   .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
                   .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[0].public_key()), critical=False))
        if i:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        made.append(builder.sign(keys[0], hashes.SHA256()))
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(made[0].public_bytes(pem))
    (folder / "cert.pem").write_bytes(made[1].public_bytes(pem))
    (folder / "key.pem").write_bytes(keys[1].private_bytes(pem, serialization.PrivateFormat.PKCS8,
                                                           serialization.NoEncryption()))


def pump(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    finally:
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Door:
    def __init__(self, to, listen="127.0.0.1:0", region="us-east-1", folder=None):
        self.name = f"healthlake.{region}.amazonaws.com"
        self.to = tuple(to.rsplit(":", 1))
        self.folder = pathlib.Path(folder or tempfile.mkdtemp(prefix="fhirlake-door-"))
        certificates(self.folder, self.name)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.folder / "cert.pem", self.folder / "key.pem")
        host, port = listen.rsplit(":", 1)
        self.socket = socket.create_server((host, int(port)))
        self.address = "%s:%d" % self.socket.getsockname()[:2]

    def serve(self):
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.one, args=(client,), daemon=True).start()

    def one(self, client):
        with client:
            try:
                head = b""
                while b"\r\n\r\n" not in head and len(head) < 8192:
                    if not (more := client.recv(4096)):
                        return
                    head += more
                asked = re.match(rb"CONNECT ([^ :]+):443 ", head)
                if not asked or asked[1].decode().lower() != self.name:
                    client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                    return
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                with self.context.wrap_socket(client, server_side=True) as inside, \
                        socket.create_connection(self.to, 60) as outside:
                    there = threading.Thread(target=pump, args=(inside, outside), daemon=True)
                    there.start()
                    pump(outside, inside)
                    there.join()
            except OSError:
                pass


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", default="127.0.0.1:8080", help="where fhirlake listens")
    parser.add_argument("--listen", default="127.0.0.1:0")
    parser.add_argument("--region", default="us-east-1")
    door = Door(**vars(parser.parse_args()))
    print(f"HTTPS_PROXY=http://{door.address} SSL_CERT_FILE={door.folder}/ca.pem", flush=True)
    door.serve()
