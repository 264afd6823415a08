"""A plain web server that serves a folder and cannot list it: nginx."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

from servers.process import ServerError, ServerProcess, start_on_free_port

if TYPE_CHECKING:
    import os
    from types import TracebackType

# One process without a master: it reads what its user can read, and ends by one signal.
# All paths are relative to the prefix, a private folder in which `root` links to the folder that is served.
# tcp_nopush stays off: a corked 80 kB range over loopback takes 44 ms instead of 0.2.
CONFIG = """\
daemon off;
master_process off;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    types {{
        application/json json;
        text/css css;
        text/html html;
        text/javascript js mjs;
        application/wasm wasm;
        image/png png;
    }}
    default_type application/octet-stream;
    sendfile on;
    keepalive_timeout 3600s;
    keepalive_requests 1000000000;
    absolute_redirect off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{port} backlog=2048;
        root root;
        autoindex off;
    }}
}}
"""


class WebServer:
    """nginx on a free loopback port, from entering to leaving the context.

    It answers ranges (206), sends strong validators, refuses to list a folder (403) and to write (405).

    Parameters
    ----------
    folder : path
        What to serve; files may change while the server runs.

    Raises
    ------
    ServerError
        nginx is not installed or did not start.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder).resolve()
        self.url = ""

    def __enter__(self) -> Self:
        program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/bin")
        if program is None:
            raise ServerError("nginx is not installed; the tests serve files with it: apt-get install nginx-light")
        self._prefix = tempfile.TemporaryDirectory(prefix="nginx-")
        prefix = Path(self._prefix.name)
        (prefix / "root").symlink_to(self.folder, target_is_directory=True)

        def start(port: int) -> ServerProcess:
            (prefix / "nginx.conf").write_text(CONFIG.format(port=port))
            return ServerProcess([program, "-p", str(prefix), "-c", "nginx.conf"])

        try:
            self.process, port = start_on_free_port(start)
        except BaseException:
            self._prefix.cleanup()
            raise
        self.url = f"http://127.0.0.1:{port}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.stop()
        self._prefix.cleanup()
