"""Certificates for tests: an authority, and what it issues, as files."""
import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

KINDS = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}


def write(path, data):
    """As those who renew certificates do: whole, and in place of what was there."""
    new = path.with_name(path.name + ".new")
    new.write_bytes(data)
    new.chmod(0o600)
    new.rename(path)
    return path


def name(common):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def pem_key(key, password=None):
    cipher = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, cipher)


class Authority:
    """Whoever trusts `ca` trusts what `issue` makes."""

    def __init__(self, folder, common="test authority"):
        self.folder, self.common = folder, common
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign(name(common), self.key.public_key(), (-30, 365), [
            (x509.BasicConstraints(ca=True, path_length=None), True),
            (x509.KeyUsage(False, False, False, False, False, True, True, False, False), True)])
        self.ca = write(folder / f"{common.replace(' ', '-')}.pem", self.pem(self.certificate))

    def _sign(self, subject, public, days, extensions):
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(name(self.common)).public_key(public)
                   .serial_number(x509.random_serial_number())
                   .not_valid_before(now + datetime.timedelta(days=days[0]))
                   .not_valid_after(now + datetime.timedelta(days=days[1]))
                   .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
                   .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False))
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self.key, hashes.SHA256())

    @staticmethod
    def pem(certificate):
        return certificate.public_bytes(serialization.Encoding.PEM)

    def make(self, common="server", kind="server", names=(), days=(-1, 300), key=None):
        """(certificate, key); names of a server are those of this machine when none are given."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        names = list(names) or ([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
                                if kind == "server" else [])
        more = [(x509.BasicConstraints(ca=False, path_length=None), True)]
        if kind:
            more.append((x509.ExtendedKeyUsage([KINDS[kind]]), False))
        if names:
            more.append((x509.SubjectAlternativeName(names), False))
        return self._sign(name(common), key.public_key(), days, more), key

    def issue(self, file, **what):
        """Paths of certificate and key."""
        certificate, key = self.make(**what)
        return (write(self.folder / f"{file}.pem", self.pem(certificate)),
                write(self.folder / f"{file}.key", pem_key(key)))


def weak_key():
    return rsa.generate_private_key(public_exponent=65537, key_size=1024)
