"""HTTP/3 with clients of others, and with invalid input from frames of our own."""

import asyncio
import hashlib
import http.server
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import unittest

import trustme
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamReset
from curl_cffi import CurlHttpVersion
from curl_cffi import requests as curl

import parts
from browser import Browser
from parts import fetch, free_port, wait_for

# The size of the large download, in MiB.
LARGE = int(os.environ.get("FOREBAY_HTTP3_MIB", "64"))

CONFIG = """\
[listen]
https = "127.0.0.1:{port}"
http3 = true
tls = {{ certificate = "server.pem", key = "server.pem" }}
workers = 2
{limits}
[cache]
memory = "128MiB"
[admin]
listen = "127.0.0.1:{admin}"
[[distribution]]
id = "media"
aliases = ["*"]
{http_version}
[[distribution.origin]]
id = "origin"
url = "{origin}"
signing = "never"
[distribution.default_behavior]
origin = "origin"
cache_policy = "CachingOptimized"
allowed_methods = "all"
"""


# What the browser opens.
PICTURE = b'<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"/>'
BROWSED = {f"/{number}.svg": (PICTURE, "image/svg+xml") for number in range(3)}
BROWSED["/page"] = b"<!DOCTYPE html><h1>Page</h1>" + b"".join(b'<img src="/%d.svg">' % n for n in range(3)), "text/html"


class Origin(http.server.BaseHTTPRequestHandler):
    """`/cut` breaks off, `/large` is large, `/slow` is late; content is answered with its digest."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = self.path.split("?")[0]
        if path in BROWSED:
            content, media_type = BROWSED[path]
            self.send_response(200)
            for name, value in {"Content-Length": len(content), "Content-Type": media_type, "Cache-Control": "max-age=3600"}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(content)
            return
        if path == "/slow":
            time.sleep(1)
        length = LARGE << 20 if path == "/large" else 100_000 if path == "/cut" else len(path)
        start, end = 0, length
        if (wanted := self.headers.get("Range")) and path == "/large":
            start, end = wanted.removeprefix("bytes=").split("-")
            start, end = int(start), min(int(end or length - 1) + 1, length)
        self.send_response(206 if wanted and path == "/large" else 200)
        if wanted and path == "/large":
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{length}")
        self.send_header("Content-Length", str(end - start))
        self.send_header("Cache-Control", "no-store" if path == "/cut" else "max-age=3600")
        self.send_header("ETag", '"tag"')
        self.send_header("Connection", "keep-alive")
        self.end_headers()
        if path == "/large":
            for place in range(start, end, 1 << 20):
                self.wfile.write(block(place, min(place + (1 << 20), end)))
        elif path == "/cut":
            self.wfile.write(b"x" * 40_000)
            self.close_connection = True
        else:
            self.wfile.write(path.encode())

    def do_POST(self):
        if self.path == "/refuses":
            self.send_response(403)
            self.send_header("Content-Length", "0")
            self.end_headers()
            self.rfile.read(int(self.headers["Content-Length"]))
            return
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.digested.append(content)
        digest = hashlib.sha256(content).hexdigest().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(digest)))
        self.end_headers()
        self.wfile.write(digest)

    def log_message(self, *_):
        pass


def block(start, end):
    """Bytes of the large object: every eight name their place."""
    first, last = start // 8, -(-end // 8)
    whole = b"".join(number.to_bytes(8, "big") for number in range(first, last))
    return whole[start - first * 8 : end - first * 8]


class Http3(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="forebay-http3-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.origin = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Origin)
        self.origin.daemon_threads, self.origin.digested = True, []
        threading.Thread(target=self.origin.serve_forever, daemon=True).start()
        self.addCleanup(self.origin.server_close)
        self.addCleanup(self.origin.shutdown)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.folder / "ca.pem")
        self.certificate = authority.issue_cert("localhost", "edge.example")
        self.certificate.private_key_and_cert_chain_pem.write_to_path(self.folder / "server.pem")

    def start(self, limits="", http_version=""):
        self.port, self.admin = free_port(), free_port()
        self.config = self.folder / "forebay.toml"
        self.config.write_text(
            CONFIG.format(
                port=self.port, admin=self.admin, limits=limits, http_version=http_version,
                origin=f"http://127.0.0.1:{self.origin.server_port}",
            )
        )  # fmt: skip
        self.url = f"https://localhost:{self.port}"
        self.program = parts.Program(self.url, f"http://127.0.0.1:{self.admin}", "--config", self.config)
        self.addCleanup(self.program.stop)
        return self.program

    def curl(self, path, method="GET", version=CurlHttpVersion.V3ONLY, **options):
        return curl.request(method, self.url + path, verify=str(self.folder / "ca.pem"), http_version=version, timeout=60, **options)

    def test_three_clients_get_what_they_ask_for(self):
        program = self.start()
        answer = self.curl("/a")
        self.assertEqual((answer.status_code, answer.content, answer.http_version), (200, b"/a", 30))
        self.assertEqual(answer.headers["x-cache"], "Miss from forebay")
        self.assertRegex(answer.headers["via"], r"^3 ")
        self.assertNotIn("connection", answer.headers)
        self.assertNotIn("alt-svc", answer.headers)
        self.assertEqual(self.curl("/a").headers["x-cache"], "Hit from forebay")
        self.assertEqual(self.curl("/a", headers={"If-None-Match": '"tag"'}).status_code, 304)
        part = self.curl("/a", headers={"Range": "bytes=1-1"})
        self.assertEqual((part.status_code, part.content), (206, b"a"))
        head = self.curl("/a", method="HEAD")
        self.assertEqual((head.status_code, head.content, head.headers["content-length"]), (200, b"", "2"))

        # The others learn of HTTP/3 from `Alt-Svc`.
        other = self.curl("/a", version=CurlHttpVersion.V1_1)
        self.assertEqual(other.headers["alt-svc"], f'h3=":{self.port}"; ma=86400')
        run = subprocess.run(
            ["gtlsclient", "-q", f"--download={self.folder}", "127.0.0.1", str(self.port), self.url + "/named"],
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        self.assertEqual((self.folder / "named").read_bytes(), b"/named", run.stderr)
        _, log = program.stop()
        self.assertEqual(log[0]["protocol"], "HTTP/3")

    def test_a_browser(self):
        program = self.start()
        browser = Browser(self.certificate.cert_chain_pems[0].bytes(), "edge.example", f"edge.example:{self.port}")
        self.addCleanup(browser.stop)
        for _ in range(2):
            seen = browser.visit(f"https://edge.example:{self.port}/page")
            self.assertEqual([width for _, width in seen["images"]], [10, 10, 10])
        _, log = program.stop()
        pages = [line for line in log if line["path"] == "/page"]
        self.assertEqual([(line["protocol"], line["result"]) for line in pages], [("HTTP/3", "Miss"), ("HTTP/3", "Hit")])
        self.assertEqual({line["protocol"] for line in log}, {"HTTP/3"})

    def load(self, *arguments):
        """What `forebay load --http3` says."""
        command = [parts.PROGRAM, "load", "--http3", *arguments]
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        return run.stdout + run.stderr

    def test_load_over_http3(self):
        self.start()
        trust = ["--ca", self.folder / "ca.pem"]
        said = self.load(self.url + "/a", *trust, "--warm", "-n", "2000", "-c", "8", "-m", "4")
        self.assertIn("HTTP/3, 8 connections with 4 streams each", said)
        self.assertRegex(said, r"requests +2,000[ ,]")
        self.assertRegex(said, r"hits +100.00%")
        self.assertRegex(said, r"errors +0\n")
        # A response that breaks off is an error, also at the end of a stream.
        said = self.load(self.url + "/cut", *trust, "-n", "10", "-c", "2")
        self.assertRegex(said, r"failures +cut off: 10 ")
        self.assertIn("trusted authority", self.load(self.url + "/a", "-n", "1"))
        nothing = f"https://localhost:{free_port()}/a"
        self.assertIn("does not answer over UDP", self.load(nothing, *trust, "-n", "1"))
        self.assertIn("--http3 needs TLS", self.load("http://localhost/a", "-n", "1"))

    def test_content_of_requests(self):
        self.start()
        for content in (b"", b"short", os.urandom(3_000_000)):
            answer = self.curl("/digest", method="POST", data=content)
            self.assertEqual(answer.content, hashlib.sha256(content).hexdigest().encode())
        # The origin answers before it reads the content.
        self.assertEqual(self.curl("/refuses", method="POST", data=os.urandom(2_000_000)).status_code, 403)
        self.assertEqual(self.curl("/a").content, b"/a")

    def test_a_response_that_is_cut_looks_cut(self):
        self.start()
        with self.assertRaises(curl.exceptions.RequestException):
            self.curl("/cut")
        self.assertEqual(self.curl("/a").content, b"/a")

    def test_a_large_download_and_slow_readers(self):
        program = self.start()
        answer = self.curl("/large", stream=True)
        place, memory = 0, []
        for chunk in answer.iter_content():
            self.assertEqual(chunk, block(place, place + len(chunk)))
            place += len(chunk)
            memory.append(resident(program.process.pid))
        self.assertEqual(place, LARGE << 20)
        self.assertLess(max(memory), 400 << 20)

        async def stall():
            """Connections that request the object and read nothing of it."""
            async with self.connect(max_data=100_000, max_stream_data=100_000) as client:
                for _ in range(4):
                    client.request("/large")
                await asyncio.sleep(1)

        async def many():
            await asyncio.gather(*(stall() for _ in range(20)))

        before = resident(program.process.pid)
        asyncio.run(many())
        self.assertLess(resident(program.process.pid) - before, 100 << 20)
        self.assertEqual(self.curl("/a").content, b"/a")

    def test_hosts_without_http3(self):
        self.start(http_version='http_version = "http2"')
        with self.assertRaises(curl.exceptions.RequestException):
            self.curl("/a")
        self.assertNotIn("alt-svc", self.curl("/a", version=CurlHttpVersion.V2TLS).headers)

    def test_clients_prove_their_address_under_load(self):
        self.start(limits="max_connections = 64\nmax_connections_per_client = 64")

        async def fill():
            async with asyncio.TaskGroup() as group:
                for _ in range(24):
                    group.create_task(self.ask_slowly())
                await asyncio.sleep(0.5)
                # It still gets an answer, after a retry.
                return await asyncio.to_thread(lambda: self.curl("/a").content)

        self.assertEqual(asyncio.run(fill()), b"/a")
        metrics = fetch(self.program.admin + "/metrics")[2].decode()
        self.assertRegex(metrics, r"forebay_quic_retries_total [1-9]")

    async def ask_slowly(self):
        async with self.connect() as client:
            client.request("/slow")
            await asyncio.sleep(1.5)

    def connect(self, **options):
        configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name="localhost", **options)
        configuration.load_verify_locations(str(self.folder / "ca.pem"))
        return connect("127.0.0.1", self.port, configuration=configuration, create_protocol=Client)

    def test_invalid_input(self):
        program = self.start()
        get = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"localhost"), (b":path", b"/a")]

        async def outcome(send):
            async with self.connect() as client:
                stream = client._quic.get_next_available_stream_id()
                send(client, stream)
                client.transmit()
                return await asyncio.wait_for(client.outcome(stream), 20)

        def fields(*more, without=()):
            kept = [(name, value) for name, value in get if name not in without]
            return lambda client, stream: client.http.send_headers(stream, [*kept, *more], end_stream=True)

        def raw(*frames, end=True):
            return lambda client, stream: client._quic.send_stream_data(stream, b"".join(frames), end_stream=end)

        def frame(kind, content):
            return encode_uint_var(kind) + encode_uint_var(len(content)) + content

        self.assertEqual(asyncio.run(outcome(fields())), 200)
        self.assertEqual(asyncio.run(outcome(fields((b"te", b"trailers")))), 200)
        for name, send in {
            "a field of connections": fields((b"connection", b"close")),
            "chunks": fields((b"transfer-encoding", b"chunked")),
            "an upgrade": fields((b"upgrade", b"websocket")),
            "te": fields((b"te", b"gzip")),
            "no method": fields(without=[b":method"]),
            "no path": fields(without=[b":path"]),
            "an unknown pseudo field": fields((b":odd", b"x")),
            "two authorities": fields((b"host", b"other.example")),
            "content without a head": raw(frame(0, b"content")),
            "settings on a request": raw(frame(4, b"")),
            "a frame of HTTP/2": raw(frame(2, b"12345")),
            "half a frame": raw(encode_uint_var(1) + encode_uint_var(100) + b"short"),
            "an invalid head": raw(frame(1, b"\xff" * 40)),
            "nothing": raw(b""),
        }.items():
            with self.subTest(name):
                result = asyncio.run(outcome(send))
                self.assertTrue(result == "reset" or result == "closed" or 400 <= result < 500, result)
        self.assertEqual(asyncio.run(outcome(fields((b"x-long", b"x" * 40_000)))), 431)
        with self.subTest("more content than announced"):
            def longer(client, stream):
                client.http.send_headers(stream, [(b":method", b"POST"), *get[1:], (b"content-length", b"3")])
                client.http.send_data(stream, b"longer", end_stream=True)
            result = asyncio.run(outcome(longer))
            self.assertTrue(result in ("reset", "closed") or result >= 400, result)

            # The same while the client may still send more.
            def open_end(client, stream):
                client.http.send_headers(stream, [(b":method", b"POST"), *get[1:], (b"content-length", b"1")])
                client.http.send_data(stream, b"longer", end_stream=False)
            result = asyncio.run(outcome(open_end))
            self.assertTrue(result in ("reset", "closed") or result >= 400, result)

        with self.subTest("the end of the content"):
            def post(*frames):
                def send(client, stream):
                    client.http.send_headers(stream, [(b":method", b"POST"), *get[1:3], (b":path", b"/digest")])
                    client._quic.send_stream_data(stream, b"".join(frames), end_stream=True)
                return send

            # An empty frame is not the end.
            self.assertEqual(asyncio.run(outcome(post(frame(0, b"one"), frame(0, b""), frame(0, b"two")))), 200)
            self.assertEqual(self.origin.digested[-1], b"onetwo")
            # The end within a frame is not the end of the content either.
            result = asyncio.run(outcome(post(encode_uint_var(0) + encode_uint_var(100) + b"short")))
            self.assertTrue(result in ("reset", "closed") or result >= 400, result)
            self.assertNotIn(b"short", self.origin.digested)

        def after_head(*frames):
            def send(client, stream):
                client.http.send_headers(stream, [(b":method", b"POST"), *get[1:]])
                client._quic.send_stream_data(stream, b"".join(frames))
            return send

        def control(*frames):
            def send(client, stream):
                # It has sent its settings there.
                client._quic.send_stream_data(client.http._local_control_stream_id, b"".join(frames))
            return send

        for name, send in {
            "a frame of the control stream, too short": after_head(frame(3, b"")),
            "an identifier that is missing": control(frame(0xD, b"")),
            "bytes behind an identifier": control(frame(0xD, b"\x00\x21" + b"\xff" * 8)),
            "content on the control stream": control(frame(0, b"content")),
            "settings again": control(frame(4, b"")),
        }.items():
            with self.subTest(name):
                self.assertEqual(asyncio.run(outcome(send)), "closed")

        async def endless(kind):
            """A frame that never ends, which the server must not keep."""
            async with self.connect() as client:
                stream = client._quic.get_next_available_stream_id()
                if kind == "control":
                    stream = client.http._local_control_stream_id
                client._quic.send_stream_data(stream, encode_uint_var(0x21) + encode_uint_var(1 << 40))
                ended = client.ended.setdefault(stream, asyncio.get_event_loop().create_future())
                for _ in range(6_000):
                    client._quic.send_stream_data(stream, bytes(65536))
                    client.transmit()
                    await asyncio.sleep(0.001)
                    if ended.done():
                        return ended.result()
                return "endless"

        # On a control stream, frames that mean nothing have no limit, and take no memory.
        for kind, end in (("control", "endless"), ("request", "closed")):
            with self.subTest(f"an endless frame, {kind}"):
                before = resident(program.process.pid)
                self.assertEqual(asyncio.run(endless(kind)), end)
                self.assertLess(resident(program.process.pid) - before, 100 << 20)

        # Packets that are none, and frames of unknown kinds.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as garbage:
            for length in (0, 1, 5, 20, 100, 1200, 1400):
                for _ in range(50):
                    garbage.sendto(os.urandom(length), ("127.0.0.1", self.port))
                    garbage.sendto(b"\xc0\x00\x00\x00\x01" + os.urandom(length), ("127.0.0.1", self.port))

        def grease(client, stream):
            client._quic.send_stream_data(stream, frame(0x21 + 0x1F * 7, b"grease"))
            fields()(client, stream)

        self.assertEqual(asyncio.run(outcome(grease)), 200)

        async def resets():
            """A client that requests and resets at once, again and again."""
            async with self.connect() as client:
                for _ in range(2_000):
                    stream = client._quic.get_next_available_stream_id()
                    try:
                        client.http.send_headers(stream, [*get[:3], (b":path", b"/slow?%d" % stream)])
                        client._quic.reset_stream(stream, 0x10C)
                    except Exception:  # no more streams: the limit holds
                        pass
                    client.transmit()
                await asyncio.sleep(0.5)

        asyncio.run(resets())
        self.assertEqual(self.curl("/a").content, b"/a")
        self.assertNotIn("panicked", program.said())

    def test_an_upgrade_leaves_the_port_to_the_new_process(self):
        program = self.start()
        processes = [program.process.pid]

        async def across():
            async with self.connect() as client:
                slow = client.request("/slow")
                client.transmit()
                await asyncio.sleep(0.2)
                command = [parts.PROGRAM, "upgrade", "--config", self.config]
                run = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
                said = (await run.communicate())[0].decode()
                processes.append(int(re.match(r"process (\d+)", said)[1]))
                # The old process answers what was on its way.
                return await asyncio.wait_for(client.outcome(slow), 20)

        try:
            self.assertEqual(asyncio.run(across()), 200)

            def again():
                try:
                    return self.curl("/a").content == b"/a"
                except curl.exceptions.RequestException:
                    return False

            wait_for("HTTP/3 of the new process", again, program.said, seconds=30)
        finally:
            for process in processes[1:]:
                os.kill(process, 9)


class Client(QuicConnectionProtocol):
    """A client of HTTP/3 that notes how each request ends: a status, `reset` or `closed`."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.http = H3Connection(self._quic)
        self.ended = {}

    def request(self, path):
        stream = self._quic.get_next_available_stream_id()
        fields = {":method": "GET", ":scheme": "https", ":authority": "localhost", ":path": path}
        self.http.send_headers(stream, [(name.encode(), value.encode()) for name, value in fields.items()], end_stream=True)
        self.transmit()
        return stream

    def end(self, stream, how):
        future = self.ended.setdefault(stream, asyncio.get_event_loop().create_future())
        if not future.done():
            future.set_result(how)

    def quic_event_received(self, event):
        if isinstance(event, StreamReset):
            self.end(event.stream_id, "reset")
        if isinstance(event, ConnectionTerminated):
            self.is_closed = True
            for stream in list(self.ended):
                self.end(stream, "closed")
        for received in self.http.handle_event(event):
            if isinstance(received, HeadersReceived):
                self.end(received.stream_id, int(dict(received.headers)[b":status"]))
            elif isinstance(received, DataReceived):
                pass

    async def outcome(self, stream):
        future = self.ended.setdefault(stream, asyncio.get_event_loop().create_future())
        if getattr(self, "is_closed", False):
            self.end(stream, "closed")
        return await future


def resident(process):
    pages = pathlib.Path(f"/proc/{process}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGESIZE")


if __name__ == "__main__":
    unittest.main()
