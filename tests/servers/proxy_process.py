"""The process behind `servers.proxy.DelayProxy`: one event loop, the standard library only.

``python -m servers.proxy_process HOST PORT`` prints its port, then obeys one JSON command a line on standard input
and answers each with a line. It ends with its input.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from dataclasses import astuple, dataclass, field
from typing import Any

from servers.http_message import BLOCK, Head, read_body, read_head


@dataclass
class Entry:
    """The log entry of a request; the fields of `servers.request_log.Request` in their order."""

    method: str
    path: str
    range: str | None
    status: int = 0
    start: float = field(default_factory=time.monotonic)
    end: float = 0.0
    sent: int = 0
    received: int = 0
    fault: str | None = None


@dataclass(frozen=True)
class Link:
    """One connection to the server behind the proxy."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    used: bool

    @property
    def open(self) -> bool:
        """Whether the server has not closed it."""
        return not (self.writer.is_closing() or self.reader.at_eof())


class Proxy:
    """Passes requests on to one server, late, and writes down what it saw."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.delay_s = 0.0
        self.idle: list[Link] = []
        self.log: list[Entry] = []
        self.since = 0.0
        self.fault: dict[str, Any] | None = None
        self.matched = self.faults = 0

    def obey(self, command: dict[str, Any]) -> Any:
        """Carry out a command from the parent process and return its answer."""
        match command:
            case {"do": "requests"}:
                return [astuple(entry) for entry in self.log]
            case {"do": "reset"}:
                self.log, self.since = [], time.monotonic()
            case {"do": "delay", "delay_s": delay_s}:
                self.delay_s = delay_s
            case {"do": "inject", "fault": fault}:
                self.fault, self.matched, self.faults = fault, 0, 0
        return None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one client connection, one after the other."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while request := await read_head(reader):
                if not await self.exchange(request, reader, writer):
                    break
        writer.close()

    async def exchange(self, request: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; return whether the client's connection stays open."""
        method, path, _ = request.start_line.decode("latin-1").split(" ")
        requested = request.get(b"range")
        entry = Entry(method, path, requested.decode("latin-1") if requested else None)
        entry.fault = self.next_fault(path)
        try:
            if request.get(b"expect"):
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if entry.fault == "error":
                async for _, size in read_body(reader, request):
                    entry.received += size
                await self.refuse(503, b"Service Unavailable", b"injected by the proxy", entry, writer)
                return request.persistent
            try:
                link, answer, asked = await self.ask(request, reader, entry)
            except OSError as unreachable:
                await self.refuse(502, b"Bad Gateway", str(unreachable).encode(), entry, writer)
                return request.persistent
            await asyncio.sleep(asked + self.delay_s - time.monotonic())
            complete = False
            try:
                complete = await self.pass_on(request, answer, link, reader, writer, entry)
            finally:
                if complete and answer.persistent:
                    self.idle.append(Link(link.reader, link.writer, used=True))
                else:
                    link.writer.close()
            return complete and request.persistent
        finally:
            entry.end = time.monotonic()
            if entry.start >= self.since:
                self.log.append(entry)

    def next_fault(self, path: str) -> str | None:
        """Return the kind of fault that the next request gets, if any."""
        fault = self.fault
        if fault is None or fault["path"] not in path:
            return None
        self.matched += 1
        if self.matched % fault["every"] or (fault["times"] is not None and self.faults >= fault["times"]):
            return None
        self.faults += 1
        return str(fault["kind"])

    async def ask(self, request: Head, reader: asyncio.StreamReader, entry: Entry) -> tuple[Link, Head, float]:
        """Send a request with its body to the server; return the head of the answer and when the request was whole.

        Raises
        ------
        OSError
            The server cannot be reached or closes the connection without an answer.
        """
        while True:
            link = await self.connect()
            answer = None
            try:
                link.writer.write(request.encode())
                async for piece, size in read_body(reader, request):
                    entry.received += size
                    with contextlib.suppress(ConnectionError):  # it may answer before it has read everything
                        link.writer.write(piece)
                        await link.writer.drain()
                asked = time.monotonic()
                with contextlib.suppress(ConnectionError):
                    answer = await read_head(link.reader)
            finally:
                if answer is None:
                    link.writer.close()
            if answer is not None:
                return link, answer, asked
            # A connection kept open may have ended just now: try a new one, unless the body is gone with it.
            if not link.used or request.chunked or request.length:
                raise ConnectionError("the server closed the connection without an answer")

    async def connect(self) -> Link:
        """Return a connection to the server, kept open from before where there is one."""
        while self.idle:
            link = self.idle.pop()
            if link.open:
                return link
            link.writer.close()
        return Link(*await asyncio.open_connection(self.host, self.port, limit=BLOCK), used=False)

    async def pass_on(
        self,
        request: Head,
        answer: Head,
        link: Link,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        entry: Entry,
    ) -> bool:
        """Send the server's answer to the client; return whether it went out whole and has an end of its own.

        A faulty answer ends, or stops, after half of its body; one without a body is never sent.
        """
        status = int(answer.start_line.split(b" ")[1])
        empty = entry.method == "HEAD" or status in {204, 304} or answer.length == 0
        endless = not (empty or answer.chunked or answer.length)
        wire = answer.encode(b"Connection: close") if endless else answer.encode()
        if entry.fault and empty:
            return await self.break_off(entry.fault, reader)
        half = (answer.length or 0) // 2
        entry.status = status
        body = read_body(link.reader, Head(b"", ()) if empty else answer, until_close=endless)
        async for piece, size in body:
            if entry.fault and entry.sent + size > half:
                writer.write(wire + piece[: half - entry.sent])
                entry.sent = half
                await writer.drain()
                return await self.break_off(entry.fault, reader)
            writer.write(wire + piece)
            entry.sent += size
            wire = b""
            await writer.drain()
        writer.write(wire)
        return not endless

    async def break_off(self, fault: str, reader: asyncio.StreamReader) -> bool:
        """Return at once for a "cut"; for a "stall", when the client has given up."""
        while fault == "stall" and await reader.read(BLOCK):
            pass
        return False

    async def refuse(self, status: int, reason: bytes, text: bytes, entry: Entry, writer: asyncio.StreamWriter) -> None:
        """Send an answer of the proxy's own."""
        await asyncio.sleep(self.delay_s)
        head = b"HTTP/1.1 %d %b\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
        writer.write(head % (status, reason, len(text)) + (b"" if entry.method == "HEAD" else text))
        entry.status, entry.sent = status, 0 if entry.method == "HEAD" else len(text)


async def main(host: str, port: int) -> None:
    """Run a proxy until standard input ends."""
    proxy = Proxy(host, port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, limit=BLOCK, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        print(json.dumps(proxy.obey(json.loads(line))), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
