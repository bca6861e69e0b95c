"""Requests below a data store's FHIR API, signed, without a library for FHIR."""
from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, Iterator, Mapping, Optional, Union

Body = Union[Mapping[str, Any], list[Any], str, bytes, None]
FHIR = "application/fhir+json"
PATCH = "application/json-patch+json"


class FhirError(RuntimeError):
    """An answer of 400 or more. `status` is its number, `outcome` the OperationOutcome, where the answer is one."""

    def __init__(self, status: int, text: str, outcome: Optional[dict[str, Any]]) -> None:
        super().__init__(f"{status}: {text}")
        self.status, self.outcome = status, outcome


class Fhir:
    """The FHIR API of one data store. Paths stand below `base`; an absolute URL below it is taken too, as links are."""

    def __init__(self, base: str, keys: Optional[tuple[str, str]], region: str, ca: Optional[str] = None) -> None:
        self.base = base
        """http://127.0.0.1:PORT/datastore/ID/r4, for another client"""
        self._keys, self._region = keys, region
        handlers: list[Any] = [urllib.request.ProxyHandler({})]
        if ca:
            handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca)))
        self._opener = urllib.request.build_opener(*handlers)

    def get(self, path: str, **headers: str) -> Any:
        """GET; the answer's JSON. A query may be typed as it is read: Patient?name=Müller&_sort=-birthdate"""
        return self.request("GET", path, **headers)

    def post(self, path: str, body: Body, **headers: str) -> Any:
        return self.request("POST", path, body, **headers)

    def put(self, path: str, body: Body, **headers: str) -> Any:
        return self.request("PUT", path, body, **headers)

    def patch(self, path: str, operations: Body, **headers: str) -> Any:
        """JSON Patch."""
        return self.request("PATCH", path, operations, **{"Content_Type": PATCH, **headers})

    def delete(self, path: str, **headers: str) -> Any:
        return self.request("DELETE", path, **headers)

    def create(self, resource: Mapping[str, Any]) -> Any:
        """The resource as it was stored, with its id."""
        return self.post(resource["resourceType"], resource)

    def search(self, path: str) -> Iterator[Any]:
        """Each resource that a search finds, page after page: search("Observation?code=8867-4&_count=100")"""
        while path:
            page = self.get(path)
            for entry in page.get("entry", ()):
                yield entry["resource"]
            path = next((link["url"] for link in page.get("link", ()) if link["relation"] == "next"), "")

    def request(self, method: str, path: str, body: Body = None, **headers: str) -> Any:
        """One request; the answer's JSON, or None where it has none. headers: If_None_Exist="...". Raises FhirError."""
        url = path if path.startswith(self.base) else f"{self.base}/{path.lstrip('/')}".rstrip("/")
        front, mark, query = url.partition("?")
        # as it has to be before it is signed; what is encoded already stays
        url = urllib.parse.quote(front, safe="/:%$~") + mark + urllib.parse.quote(query, safe="=&%-_.~+")
        data = body if isinstance(body, bytes) or body is None else (
            body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)).encode()
        sent = {"Accept": FHIR, **({} if data is None else {"Content-Type": FHIR}),
                **{k.replace("_", "-"): v for k, v in headers.items()}}
        request = urllib.request.Request(url, data, self._signed(method, url, data, sent), method=method)
        try:
            with self._opener.open(request) as answer:
                text = answer.read()
        except urllib.error.HTTPError as refused:
            with refused:
                raise self._fault(refused.code, refused.read()) from None
        return json.loads(text) if text else None

    @staticmethod
    def _fault(status: int, text: bytes) -> FhirError:
        try:
            outcome = json.loads(text)
            said = " | ".join(issue.get("details", {}).get("text") or issue.get("diagnostics", "") for issue in outcome["issue"])
        except (ValueError, KeyError, TypeError):
            return FhirError(status, text.decode(errors="replace")[:500], None)
        return FhirError(status, said, outcome)

    def _signed(self, method: str, url: str, data: Optional[bytes], headers: dict[str, str]) -> dict[str, str]:
        if self._keys is None:
            return headers
        import botocore.auth
        import botocore.awsrequest
        import botocore.credentials
        request = botocore.awsrequest.AWSRequest(method, url, headers, data)
        botocore.auth.SigV4Auth(botocore.credentials.Credentials(*self._keys), "healthlake", self._region).add_auth(request)
        return dict(request.headers.items())
