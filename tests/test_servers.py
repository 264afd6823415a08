"""The servers that other tests rely on do what those tests assume."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import obstore
import psutil
import pytest
import servers.web
from hypothesis import given
from hypothesis import strategies as st
from obstore.exceptions import AlreadyExistsError, GenericError
from obstore.store import HTTPStore
from servers.process import ServerError, ServerProcess, free_port, start_on_free_port
from servers.proxy import DelayProxy, Fault
from servers.request_log import Request, round_trips

SIZE = 3_000_000


@pytest.fixture(scope="module")
def body() -> bytes:
    return np.random.default_rng(0).bytes(SIZE)


@pytest.fixture
def site(tmp_path, body, web):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "body").write_bytes(body)
    return web(tmp_path)


def plain_store(url, **retry):
    return HTTPStore.from_url(url, client_options={"allow_http": True}, retry_config=retry or None)


def call(url, method="GET", data=None, **headers):
    """Return status, headers and body, whatever the status."""
    request = urllib.request.Request(url, data=data, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def spans(count, size, total=SIZE):
    starts = np.random.default_rng(1).integers(0, total - size, count)
    return [(int(start), int(start) + size) for start in starts]


async def read_at_once(store, path, ranges):
    return await asyncio.gather(*(obstore.get_range_async(store, path, start=a, end=b) for a, b in ranges))


def test_nginx_answers_ranges_and_lists_nothing(site, body):
    status, headers, content = call(f"{site.url}/folder/body", Range="bytes=10-99")
    assert (status, content) == (206, body[10:100])
    assert headers["Content-Range"] == f"bytes 10-99/{SIZE}"
    assert call(f"{site.url}/folder/")[0] == 403
    assert call(f"{site.url}/")[0] == 403
    assert call(f"{site.url}/missing")[0] == 404
    assert call(f"{site.url}/folder/body", "PUT", b"x")[0] == 405
    assert call(f"{site.url}/folder/body", **{"If-None-Match": headers["ETag"]})[0] == 304


def test_nginx_serves_what_changes_while_it_runs(site, tmp_path):
    (tmp_path / "later.json").write_text("{}")
    status, headers, content = call(f"{site.url}/later.json")
    assert (status, content, headers["Content-Type"]) == (200, b"{}", "application/json")


def test_without_nginx_the_error_names_the_package(tmp_path, monkeypatch, web):
    monkeypatch.setattr(servers.web.shutil, "which", lambda program, path=None: None)
    with pytest.raises(ServerError, match="apt-get install nginx-light"):
        web(tmp_path)


def test_s3_speaks_what_the_store_needs(bucket, body):
    store = bucket.store()
    obstore.put(store, "a/whole", body, use_multipart=False)
    obstore.put(store, "a/parts", body * 4, use_multipart=True, chunk_size=5 * 2**20)
    assert bytes(obstore.get_range(store, "a/whole", start=5, end=70_005)) == body[5:70_005]
    assert bytes(obstore.get(store, "a/parts").bytes()) == body * 4
    with pytest.raises(AlreadyExistsError, match="a/whole"):
        obstore.put(store, "a/whole", b"other", mode="create", use_multipart=False)
    assert {e["path"]: e["size"] for e in obstore.list(store).collect()} == {"a/whole": SIZE, "a/parts": 4 * SIZE}
    assert obstore.list_with_delimiter(store)["common_prefixes"] == ["a"]


def test_s3_refuses_a_second_conditional_put_with_412(bucket, delay_proxy):
    proxy = delay_proxy(bucket.endpoint, delay_s=0)
    store = bucket.through(proxy.url).store()
    obstore.put(store, "once", b"first", mode="create", use_multipart=False)
    with pytest.raises(AlreadyExistsError, match="once"):
        obstore.put(store, "once", b"second", mode="create", use_multipart=False)
    assert [(r.method, r.status) for r in proxy.requests()] == [("PUT", 200), ("PUT", 412)]
    assert bytes(obstore.get(store, "once").bytes()) == b"first"


def test_s3_storage_options_fit_s3fs(bucket):
    s3fs = pytest.importorskip("s3fs")
    files = s3fs.S3FileSystem(**bucket.storage_options, skip_instance_cache=True)
    files.pipe_file(f"{bucket.name}/folder/one", b"0123456789")
    assert files.cat_file(f"{bucket.name}/folder/one", start=2, end=5) == b"234"
    assert [Path(name).name for name in files.ls(f"{bucket.name}/folder")] == ["one"]


def test_s3_answers_fifty_ranges_at_once(bucket, body):
    obstore.put(bucket.store(), "body", body)
    ranges = spans(50, 80_000)
    answers = asyncio.run(read_at_once(bucket.store(), "body", ranges))
    assert [bytes(answer) for answer in answers] == [body[a:b] for a, b in ranges]


def test_a_deleted_bucket_is_gone(s3):
    made = s3.create_bucket("short-lived")
    obstore.put(made.store(), "one", b"x")
    s3.delete_bucket("short-lived")
    assert call(f"{s3.endpoint}/short-lived")[0] == 404


def test_ranges_through_the_proxy_are_exact_counted_and_late(site, body, delay_proxy):
    proxy = delay_proxy(site.url)
    ranges = spans(40, 80_000)
    answers = asyncio.run(read_at_once(plain_store(proxy.url), "folder/body", ranges))
    assert [bytes(answer) for answer in answers] == [body[a:b] for a, b in ranges]
    seen = proxy.requests()
    assert sorted(r.range for r in seen) == sorted(f"bytes={a}-{b - 1}" for a, b in ranges)
    assert {(r.method, r.path, r.status, r.sent) for r in seen} == {("GET", "/folder/body", 206, 80_000)}
    assert proxy.bytes() == 40 * 80_000
    assert min(r.end - r.start for r in seen) >= 0.0299
    proxy.reset()
    assert proxy.requests() == []


def test_requests_in_sequence_count_as_many_round_trips(site, delay_proxy):
    proxy = delay_proxy(site.url, delay_s=0.001)
    store = plain_store(proxy.url)
    for start in range(7):
        obstore.get_range(store, "folder/body", start=start, length=10)
    assert round_trips(proxy.requests()) == len(proxy.requests()) == 7


def test_requests_at_once_count_as_one_round_trip(site, delay_proxy):
    proxy = delay_proxy(site.url, delay_s=1.0)
    asyncio.run(read_at_once(plain_store(proxy.url), "folder/body", spans(8, 100)))
    assert (len(proxy.requests()), round_trips(proxy.requests())) == (8, 1)


def test_the_proxy_changes_no_header_and_no_byte(site, delay_proxy):
    proxy = delay_proxy(site.url, delay_s=0)
    for method, headers in itertools.product(["GET", "HEAD"], [{}, {"Range": "bytes=-7"}, {"Range": "bytes=9999999-"}]):
        direct, late = (call(f"{url}/folder/body", method, **headers) for url in (site.url, proxy.url))
        assert late[0] == direct[0]
        assert late[2] == direct[2]
        hop = {"connection", "date"}
        assert [h for h in late[1].items() if h[0].lower() not in hop] == [
            h for h in direct[1].items() if h[0].lower() not in hop
        ]
    assert [r.sent for r in proxy.requests() if r.method == "HEAD"] == [0, 0, 0]


def test_s3_works_through_the_proxy(bucket, body, delay_proxy):
    proxy = delay_proxy(bucket.endpoint)
    store = bucket.through(proxy.url).store()
    obstore.put(store, "a", body, use_multipart=False)
    obstore.put(store, "b", body * 4, use_multipart=True, chunk_size=5 * 2**20)
    with pytest.raises(AlreadyExistsError, match="a"):
        obstore.put(store, "a", b"", mode="create", use_multipart=False)
    assert bytes(obstore.get_range(store, "b", start=SIZE - 5, length=10)) == (body * 2)[SIZE - 5 : SIZE + 5]
    assert sorted(e["path"] for e in obstore.list(store).collect()) == ["a", "b"]
    first = proxy.requests()[0]
    assert (first.method, first.path, first.status, first.received) == ("PUT", f"/{bucket.name}/a", 200, SIZE)
    assert [r.status for r in proxy.requests()].count(412) == 1
    assert sum(r.received for r in proxy.requests() if "partNumber" in r.path) == 4 * SIZE


def test_boto3_works_through_the_proxy(bucket, body, delay_proxy):
    boto3 = pytest.importorskip("boto3")
    options = bucket.through(delay_proxy(bucket.endpoint, delay_s=0).url).storage_options
    s3 = boto3.client(
        "s3",
        aws_access_key_id=options["key"],
        aws_secret_access_key=options["secret"],
        **options["client_kwargs"],
    )
    s3.put_object(Bucket=bucket.name, Key="one", Body=body)  # waits for 100 Continue, sends a checksum
    answer = s3.get_object(Bucket=bucket.name, Key="one", Range="bytes=3-8")
    assert answer["Body"].read() == body[3:9]
    s3.close()


CHUNKED = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"5;note=x\\r\\nhello\\r\\n6\\r\\n world\\r\\n0\\r\\nX-Trailer: 1\\r\\n\\r\\n")
        else:
            self.close_connection = True
            self.end_headers()
            self.wfile.write(b"until the end")
    def do_PUT(self):
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("127.0.0.1", %d), Handler).serve_forever()
"""


def test_bodies_of_unknown_length_pass_in_both_directions(delay_proxy):
    process, port = start_on_free_port(lambda port: ServerProcess([sys.executable, "-c", CHUNKED % port]))
    try:
        proxy = delay_proxy(f"http://127.0.0.1:{port}", delay_s=0)
        assert call(f"{proxy.url}/chunked")[2] == b"hello world"
        assert call(f"{proxy.url}/endless")[2] == b"until the end"
        assert (
            call(f"{proxy.url}/", "PUT", iter([b"abc", b"defg"]), **{"Transfer-Encoding": "chunked"})[2] == b"abcdefg"
        )
    finally:
        process.stop()
    assert [(r.sent, r.received) for r in proxy.requests()] == [(11, 0), (13, 0), (7, 7)]


def test_a_server_that_is_not_there_gives_502(delay_proxy):
    proxy = delay_proxy(f"http://127.0.0.1:{free_port()}", delay_s=0)
    assert call(proxy.url)[0] == 502
    assert [r.status for r in proxy.requests()] == [502]


def test_a_proxy_outlives_a_restart_of_its_server(delay_proxy):
    def start(port):
        return ServerProcess([sys.executable, "-c", CHUNKED % port])

    process, port = start_on_free_port(start)
    proxy = delay_proxy(f"http://127.0.0.1:{port}", delay_s=0)
    assert call(f"{proxy.url}/chunked")[2] == b"hello world"
    process.stop()
    process = start(port)
    try:
        process.wait_until_listening(port)
        assert call(f"{proxy.url}/chunked")[2] == b"hello world"
    finally:
        process.stop()


@pytest.mark.parametrize("kind", ["error", "cut"])
def test_a_client_that_retries_gets_over_a_fault(site, body, delay_proxy, kind):
    proxy = delay_proxy(site.url, delay_s=0)
    proxy.inject(Fault(kind, times=2, path="body"))
    content = obstore.get(plain_store(proxy.url), "folder/body").bytes()
    assert bytes(content) == body
    assert [r.fault for r in proxy.requests()] == [kind, kind, None]


def test_faults_come_at_every_nth_request_until_they_are_ended(site, delay_proxy):
    proxy = delay_proxy(site.url, delay_s=0)
    proxy.inject(Fault("error", every=3, path="/folder/"))
    statuses = []
    for _ in range(6):
        statuses.append(call(f"{proxy.url}/folder/body", Range="bytes=0-9")[0])
        call(f"{proxy.url}/elsewhere")
    assert statuses == [206, 206, 503, 206, 206, 503]
    proxy.inject(None)
    assert {call(f"{proxy.url}/folder/body", Range="bytes=0-9")[0] for _ in range(3)} == {206}


def test_a_cut_after_a_put_loses_the_answer_and_not_the_object(bucket, delay_proxy):
    proxy = delay_proxy(bucket.endpoint, delay_s=0)
    proxy.inject(Fault("cut", times=1))
    with pytest.raises(ConnectionError, match="closed connection without response"):
        call(f"{proxy.url}/{bucket.name}/key", "PUT", b"there", **{"Content-Type": "application/octet-stream"})
    assert bytes(obstore.get(bucket.store(), "key").bytes()) == b"there"


def test_a_stalled_answer_ends_when_the_client_gives_up(site, delay_proxy):
    proxy = delay_proxy(site.url, delay_s=0)
    proxy.inject(Fault("stall"))
    store = HTTPStore.from_url(
        proxy.url, client_options={"allow_http": True, "timeout": "500ms"}, retry_config={"max_retries": 0}
    )
    with pytest.raises(GenericError, match=r"(?i)time"):
        obstore.get_range(store, "folder/body", start=0, end=1000)
    (request,) = _eventually(proxy.requests)
    assert (request.fault, request.sent) == ("stall", 500)


def _eventually(requests):
    """Ask until there is something: the proxy learns a moment later that its client has gone."""
    while not (seen := requests()):
        time.sleep(0.01)
    return seen


def test_a_proxy_needs_a_server_and_says_when_it_has_ended(delay_proxy):
    with pytest.raises(ServerError, match="use http://host:port"):
        DelayProxy("https://host/path")
    proxy = delay_proxy("http://127.0.0.1:9")
    os.kill(proxy.process.pid, signal.SIGKILL)
    with pytest.raises(ServerError, match="the proxy has ended"):
        proxy.requests()


def test_a_server_that_cannot_start_says_why():
    with pytest.raises(ServerError, match=r"(?s)exit code 1.*no good"):
        start_on_free_port(lambda port: ServerProcess([sys.executable, "-c", "import sys; sys.exit('no good')"]))


ORPHANS = """
import sys
sys.path.insert(0, sys.argv[1])
from servers.proxy import DelayProxy
from servers.s3 import S3Server
from servers.web import WebServer
s3 = S3Server().__enter__()
web = WebServer(sys.argv[1]).__enter__()
proxy = DelayProxy(web.url).__enter__()
print(s3.process.pid, web.process.pid, proxy.process.pid, flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("how", ["exit", "kill"])
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a process to the life of its parent")
def test_no_server_outlives_the_process_that_started_it(how, tmp_path):
    parent = subprocess.Popen(
        [sys.executable, "-c", ORPHANS, str(Path(__file__).parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    with parent:
        started = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        if how == "kill":
            parent.kill()
        else:
            parent.stdin.write("\n")
    assert len(started) == 3
    _, alive = psutil.wait_procs(started, timeout=30)
    assert alive == []


def test_a_cluster_replaces_a_killed_worker_and_finishes_the_work(cluster, client):
    before = set(cluster.worker_pids().values())
    assert len(before) == 2
    assert set(client.run(os.getpid).values()) == before
    futures = client.map(_square_slowly, range(20), pure=False)
    killed = cluster.kill_worker()
    assert killed in before
    assert client.gather(futures) == [i * i for i in range(20)]
    client.wait_for_workers(2, timeout=60)
    after = set(cluster.worker_pids().values())
    assert killed not in after


def _square_slowly(i):
    time.sleep(0.05)
    return i * i


def test_a_client_is_the_default_scheduler(client):
    import dask

    assert dask.delayed(os.getpid)().compute() != os.getpid()


def test_no_client_remains_after_its_test():
    import dask

    assert dask.delayed(os.getpid)().compute() == os.getpid()


intervals = st.lists(
    st.tuples(st.integers(0, 30), st.integers(1, 8)).map(lambda pair: (pair[0], pair[0] + pair[1])), max_size=8
)


def request_at(interval):
    return Request("GET", "/", None, 200, interval[0], interval[1], 0, 0)


@given(intervals)
def test_round_trips_is_the_longest_chain(log):
    def chain(chosen):
        ordered = sorted(chosen)
        return all(later[0] >= earlier[1] for earlier, later in itertools.pairwise(ordered))

    longest = max(n for n in range(len(log) + 1) for chosen in itertools.combinations(log, n) if chain(chosen))
    assert round_trips(map(request_at, log)) == longest


@given(intervals, st.randoms())
def test_round_trips_does_not_depend_on_order_and_never_falls(log, random):
    shuffled = random.sample(log, len(log))
    assert round_trips(map(request_at, shuffled)) == round_trips(map(request_at, log))
    assert round_trips(map(request_at, log[1:])) <= round_trips(map(request_at, log)) <= len(log)
