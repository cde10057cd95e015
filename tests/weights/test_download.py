"""Against a server on this machine that breaks off, refuses, changes its mind and sends other things than asked for."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kapps.errors import OutputError, WeightsError
from kapps.weights import download
from kapps.weights.download import fetch

CONTENT = bytes(range(256)) * 4000  # 1 MB
SHA256 = hashlib.sha256(CONTENT).hexdigest()
AT_ONCE = (0.0, 0.0, 0.0)


class Server(ThreadingHTTPServer):
    """Serves CONTENT; `plan` says what happens to the next requests."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan: list[str] = []
        self.ranges: list[str | None] = []


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        event = self.server.plan.pop(0) if self.server.plan else "serve"
        if self.path.startswith("/hub/"):
            self.send_response(302)
            self.send_header("Location", "/models/net-1234.pth")
            self.send_header("X-Linked-Etag", f'"{SHA256 if self.path.endswith("right") else "0" * 64}"')
            self.end_headers()
            return
        if event.isdigit():
            self.send_error(int(event))
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and event != "no resume" else 0
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.end_headers()
            return
        part = CONTENT[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(10**12 if event == "huge" else len(part)))
        self.end_headers()
        self.wfile.write(part[: len(part) // 2] if event == "break off" else part)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def url(server):
    return f"http://127.0.0.1:{server.server_port}/models/net-1234.pth"


def test_fetched_once_and_kept(server, url, tmp_path):
    seen = []
    options = {"folder": tmp_path, "checksum": f"sha256:{SHA256}"}
    path = fetch(url, progress=lambda done, total: seen.append((done, total)), **options)
    assert path.read_bytes() == CONTENT
    assert path.name == "net-1234.pth"
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert fetch(url, **options) == path
    assert len(server.ranges) == 1


@pytest.mark.parametrize("checksum", [f"sha256:{SHA256[:8]}", f"md5:{hashlib.md5(CONTENT).hexdigest()}", ""])
def test_checksums_of_publishers(url, tmp_path, checksum):
    assert fetch(url, folder=tmp_path, checksum=checksum).read_bytes() == CONTENT


def test_another_file_than_expected(url, tmp_path):
    with pytest.raises(WeightsError, match=r"expected a file with sha256:0000, got sha256:[0-9a-f]{64}"):
        fetch(url, folder=tmp_path, checksum="sha256:0000")
    assert not list(tmp_path.rglob("net*"))


def test_the_hub_states_a_checksum_itself(server, tmp_path):
    hub = f"http://127.0.0.1:{server.server_port}/hub"
    assert fetch(f"{hub}/right", folder=tmp_path).read_bytes() == CONTENT
    with pytest.raises(WeightsError, match="expected a file with sha256:0000"):
        fetch(f"{hub}/wrong", folder=tmp_path)


def test_broken_connections_are_resumed_where_they_broke(server, url, tmp_path):
    server.plan = ["break off", "break off"]
    assert fetch(url, folder=tmp_path, checksum=f"sha256:{SHA256}", retry_after=AT_ONCE).read_bytes() == CONTENT
    starts = [int(asked.strip("bytes=-")) if asked else 0 for asked in server.ranges]
    assert 0 == starts[0] < len(CONTENT) / 3 < starts[1] < len(CONTENT) / 2 < starts[2]


def test_a_killed_fetch_is_resumed_by_the_next(server, url, tmp_path):
    server.plan = ["break off"]
    with pytest.raises(WeightsError, match="could not be fetched"):
        fetch(url, folder=tmp_path, retry_after=())
    assert fetch(url, folder=tmp_path).read_bytes() == CONTENT
    assert int(server.ranges[-1].strip("bytes=-")) > len(CONTENT) / 3


def test_a_server_that_cannot_resume_sends_all_again(server, url, tmp_path):
    server.plan = ["break off", "no resume"]
    assert fetch(url, folder=tmp_path, retry_after=AT_ONCE).read_bytes() == CONTENT


def test_a_whole_part_needs_nothing_more(server, url, tmp_path):
    path = fetch(url, folder=tmp_path)
    path.rename(path.with_name(path.name + ".part"))
    assert fetch(url, folder=tmp_path, checksum=f"sha256:{SHA256}").read_bytes() == CONTENT


def test_busy_servers_are_asked_again(server, url, tmp_path):
    server.plan = ["503", "429"]
    assert fetch(url, folder=tmp_path, retry_after=AT_ONCE).read_bytes() == CONTENT
    server.plan = ["500"] * 4
    with pytest.raises(WeightsError, match="the server answered 500"):
        fetch(url, folder=tmp_path / "other", retry_after=AT_ONCE)


def test_what_is_not_there_is_not_asked_for_again(server, url, tmp_path):
    server.plan = ["404"]
    with pytest.raises(WeightsError, match="404 Not Found: check the address"):
        fetch(url, folder=tmp_path, retry_after=AT_ONCE)
    assert len(server.ranges) == 1


def test_damage_in_the_cache_is_noticed(server, url, tmp_path):
    path = fetch(url, folder=tmp_path)
    path.write_bytes(b"damaged")
    assert fetch(url, folder=tmp_path, checksum=f"sha256:{SHA256}").read_bytes() == CONTENT


def test_endless_files_are_refused(server, url, tmp_path, monkeypatch):
    server.plan = ["huge"]
    with pytest.raises(WeightsError, match="more than any weights have"):
        fetch(url, folder=tmp_path)
    monkeypatch.setattr(download, "MAX_BYTES", 1000)
    with pytest.raises(WeightsError, match="refused"):
        fetch(url, folder=tmp_path / "b")


def test_no_server(tmp_path):
    with pytest.raises(WeightsError, match="could not be fetched"):
        fetch("http://127.0.0.1:9/x.pth", folder=tmp_path, retry_after=())


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.org/x", "x.pth", "https://"])
def test_other_addresses(url, tmp_path):
    with pytest.raises(WeightsError, match="begins with https://"):
        fetch(url, folder=tmp_path)


def test_a_cache_that_cannot_be_written(url, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="set KAPPS_CACHE"):
        fetch(url, folder=tmp_path / "file")


def test_names_cannot_lead_out_of_the_cache(server, tmp_path):
    path = fetch(f"http://127.0.0.1:{server.server_port}/a/..%2F..%2Fevil", folder=tmp_path)
    assert path.resolve().is_relative_to(tmp_path.resolve())


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("KAPPS_CACHE", str(tmp_path))
    assert download.cache_dir() == tmp_path
    monkeypatch.delenv("KAPPS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert download.cache_dir() == tmp_path / "kapps"
