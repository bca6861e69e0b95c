"""What no log may have: secrets, tokens, signatures, and what requests say of people. Fhir.call() notes them for each server, and
each server's log is searched for them when it ends."""
import re

MOST = 5000  # of a server: names of large imports are alike
SAID = re.compile(rb'"(?:family|given|line|city|display|birthDate)"\s*:\s*(?:\[\s*)?"([^"\\]{6,80})"')
ASKED = re.compile(r"[?&](?:family|given|name|address[a-z-]*|birthdate|email|phone)(?:(?::|%3A)[a-z]+)?=([^&]{6,80})")
noted = {}  # host:port -> texts


def is_telling(text):
    """A word of ours could stand in a log for other reasons; a name has a capital, and a date digits."""
    return bool(re.search(r"[A-Z]|\d{4}-\d\d-\d\d", text))


def note(netloc, url, headers, data):
    mine = noted.setdefault(netloc, set())
    authorization = headers.get("Authorization", "")
    if authorization.startswith("Bearer ") and len(authorization) > 20:
        mine.add(authorization[7:])
        mine.add(authorization.rsplit(".", 1)[-1])
    elif "Signature=" in authorization:
        mine.add(authorization.rpartition("Signature=")[2])
    if len(mine) < MOST:
        found = [value.decode(errors="replace") for value in SAID.findall((data or b"")[:65536])] + ASKED.findall(url)
        mine.update(value for value in found if is_telling(value))


def told(netloc, text, secrets=()):
    """Those that stand in text as words: the name Export is in no operation."""
    return [value for value in {*noted.pop(netloc, ()), *secrets} if len(value) >= 6 and value in text
            and re.search(rf"(?<![A-Za-z0-9]){re.escape(value)}(?![A-Za-z0-9])", text)]
