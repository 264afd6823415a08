"""Imitates, on this machine's loopback, a DOI resolver, a Dataverse repository and the storage it redirects to."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

DOI = "10.18710/JX6JXF"


class DataverseServer:
    """Serves some files as a dataset while its context lasts.

    Parameters
    ----------
    files : mapping of str to bytes
        The dataset's files.
    restricted : bool, optional
        Whether they may not be fetched without leave.
    ranges : bool, optional
        Whether the storage honours Range; without, it answers 200 and the whole file.
    answer : str, optional
        What the native API answers in place of the dataset.
    """

    def __init__(
        self, files: Mapping[str, bytes], *, restricted: bool = False, ranges: bool = True, answer: str | None = None
    ) -> None:
        self.files = dict(files)
        self.restricted = restricted
        self.ranges = ranges
        self.answer = answer
        self.requests: list[tuple[str, str]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.requests.append(("GET", self.path))
                server.reply(self)

            def do_HEAD(self) -> None:
                server.requests.append(("HEAD", self.path))
                self.send_answer(403, b"a signed address is for GET alone")

            def send_answer(self, code: int, body: bytes, **headers: str) -> None:
                self.send_response(code)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def resolver(self) -> str:
        return f"{self.url}/doi"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def reply(self, handler: Any) -> None:
        parts = urlsplit(handler.path)
        match parts.path.split("/")[1:]:
            case ["doi", *name] if "/".join(name) == DOI:
                handler.send_answer(302, b"", Location=f"/moved/citation?persistentId=doi:{DOI}")
            case ["doi", *name] if "/".join(name) == "10.1/elsewhere":
                handler.send_answer(302, b"", Location="/a-journal")
            case ["a-journal"]:
                handler.send_answer(200, b"<html>")
            case ["moved", "api", "datasets", ":persistentId", ""]:
                self._dataset(handler, parse_qs(parts.query)["persistentId"])
            case ["moved", "api", "access", "datafile", number]:
                if self.restricted:
                    handler.send_answer(403, b'{"status":"ERROR","message":"not permitted"}')
                else:
                    handler.send_answer(303, b"", Location=f"/storage/{number}?X-Amz-Signature=a%2Fb")
            case ["storage", number]:
                self._file(handler, list(self.files.values())[int(number)])
            case _:
                handler.send_answer(404, b'{"status":"ERROR","message":"not found"}')

    def _dataset(self, handler: Any, persistent_id: list[str]) -> None:
        if persistent_id != [f"doi:{DOI}"]:
            handler.send_answer(404, b'{"status":"ERROR","message":"Dataset with Persistent ID not found."}')
            return
        files = [
            {
                "label": name,
                "restricted": self.restricted,
                "dataFile": {
                    "id": number,
                    "filename": name,
                    "contentType": "application/zip",
                    "filesize": len(data),
                    "md5": hashlib.md5(data).hexdigest(),
                    "checksum": {"type": "MD5", "value": hashlib.md5(data).hexdigest()},
                },
            }
            for number, (name, data) in enumerate(self.files.items())
        ]
        answer = self.answer or json.dumps({"status": "OK", "data": {"latestVersion": {"files": files}}})
        handler.send_answer(200, answer.encode())

    def _file(self, handler: Any, data: bytes) -> None:
        wanted = handler.headers["Range"]
        if wanted is None or not self.ranges:
            handler.send_answer(200, data)
            return
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start, stop = int(first), min(int(last or len(data) - 1) + 1, len(data))
        handler.send_answer(206, data[start:stop], Content_Range=f"bytes {start}-{stop - 1}/{len(data)}")
