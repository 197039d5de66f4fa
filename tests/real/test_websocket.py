"""WebSocket with the server and the client of the `websockets` library, and with a browser."""

import asyncio
import logging
import pathlib
import re
import shutil
import ssl
import subprocess
import tempfile
import threading
import unittest

import trustme
from websockets.asyncio import client
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.sync.server import serve

import parts
from browser import Browser
from parts import fetch, free_port

CONFIG = """\
[listen]
http = "127.0.0.1:{port}"
https = "127.0.0.1:{secure}"
tls = {{ certificate = "server.pem", key = "server.pem" }}
drain = "5s"
[admin]
listen = "127.0.0.1:{admin}"
""" + parts.PLAIN_DISTRIBUTION + 'allowed_methods = "all"\norigin_request_policy = "AllViewer"\n'

PAGE = b"""<!DOCTYPE html><h1>Echo</h1><img src="/late.svg"><script>
const socket = new WebSocket("wss://" + location.host + "/browser", ["chat"]);
socket.onopen = () => socket.send("hello");
socket.addEventListener("message", (message) => socket.send("again " + message.data), { once: true });
</script>"""
PICTURE = b'<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"/>'


# The library reports each connection that a test cuts.
logging.getLogger("websockets").setLevel(logging.CRITICAL)


class Server:
    """Echoes messages. `/refused` is answered with 403; requests without a handshake get a page."""

    def __init__(self):
        self.messages, self.headers, self.echoed = [], {}, threading.Event()
        self.server = serve(
            self.echo, "127.0.0.1", 0, process_request=self.answer, subprotocols=["chat"], max_size=None
        )
        self.url = f"http://127.0.0.1:{self.server.socket.getsockname()[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, connection, request):
        self.headers[request.path] = request.headers
        if request.path == "/refused":
            return connection.respond(403, "no\n")
        if "Upgrade" in request.headers:
            return None
        response = connection.respond(200, "")
        response.headers["Cache-Control"] = "no-store"
        is_page = request.path == "/page"
        # The picture arrives once the browser has sent what it received.
        if not is_page and request.path == "/late.svg":
            self.echoed.wait(20)
        response.body = PAGE if is_page else PICTURE
        del response.headers["Content-Length"], response.headers["Content-Type"]
        response.headers["Content-Length"] = str(len(response.body))
        response.headers["Content-Type"] = "text/html" if is_page else "image/svg+xml"
        return response

    def echo(self, connection):
        for message in connection:
            self.messages.append(message)
            if message == "again hello":
                self.echoed.set()
            connection.send(message)

    def stop(self):
        self.server.shutdown()


class Client:
    """A connection over TLS.

    The library's synchronous client reads and writes a TLS connection in two threads at once. OpenSSL does not
    allow that, and a request in a few thousand is never sent.
    """

    def __init__(self, url, **options):
        self.runner = asyncio.Runner()
        try:
            self.socket = self.run(client.connect(url, max_size=None, subprotocols=["chat"], proxy=None, **options))
        except BaseException:
            self.runner.close()
            raise

    def run(self, step):
        async def wait():
            return await step

        return self.runner.run(asyncio.wait_for(wait(), 30))

    def send(self, message):
        self.run(self.socket.send(message))

    def receive(self):
        return self.run(self.socket.recv())

    def ping(self):
        self.run(self.run(self.socket.ping()))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.run(self.socket.close())
        self.runner.close()


class WebSocket(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="forebay-websocket-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.origin = Server()
        self.addCleanup(self.origin.stop)
        authority = trustme.CA()
        self.certificate = authority.issue_cert("localhost", "edge.example")
        self.certificate.private_key_and_cert_chain_pem.write_to_path(self.folder / "server.pem")
        self.tls = ssl.create_default_context()
        authority.configure_trust(self.tls)
        self.port, self.secure, admin = free_port(), free_port(), free_port()
        self.config = self.folder / "forebay.toml"
        text = CONFIG.format(port=self.port, secure=self.secure, admin=admin, origin=self.origin.url)
        self.config.write_text(text)
        self.program = parts.Program(
            f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{admin}", "--config", self.config
        )
        self.addCleanup(self.program.stop)

    def connect(self, path):
        return Client(f"wss://localhost:{self.secure}{path}", ssl=self.tls)

    def logged(self, path):
        """What the access log has about a path."""
        code, lines = self.program.stop()
        self.assertEqual(code, 0, self.program.said)
        return [line for line in lines if line["path"] == path]

    def test_messages_of_all_sizes_arrive_unchanged(self):
        with self.connect("/echo?room=1") as socket:
            self.assertEqual(socket.socket.subprotocol, "chat")
            # What is compressed by the client is decompressed by the server alone.
            self.assertEqual([type(extension).__name__ for extension in socket.socket.protocol.extensions], ["PerMessageDeflate"])
            for message in ["text", b"\0\xff" * 5, "", "long" * 1_000_000, b"x" * 70_000]:
                socket.send(message)
                self.assertEqual(socket.receive(), message)
            socket.ping()
        self.assertEqual(self.origin.headers["/echo?room=1"]["Via"].split()[0], "1.1")
        self.assertEqual(self.origin.headers["/echo?room=1"]["Connection"].lower(), "upgrade")
        (line,) = self.logged("/echo")
        self.assertEqual((line["status"], line["scheme"], line["complete"]), (101, "https", True))
        self.assertEqual((line["result"], line["cache"], line["query"]), ("Miss", "bypass", "room=1"))
        self.assertGreater(line["bytes"], 4000)

    def test_many_at_once_over_plain_http(self):
        sockets = [connect(f"ws://127.0.0.1:{self.port}/many", subprotocols=["chat"]) for _ in range(100)]
        for number, socket in enumerate(sockets):
            socket.send(str(number))
        self.assertEqual([socket.recv(timeout=10) for socket in sockets], [str(number) for number in range(100)])
        metrics = fetch(self.program.admin + "/metrics")[2].decode()
        self.assertIn('forebay_origin_tunnels{distribution="media",origin="origin"} 100', metrics)
        for socket in sockets:
            socket.close()
        self.assertEqual(len(self.logged("/many")), 100)

    def test_a_refusal_is_an_ordinary_response(self):
        with self.assertRaises(InvalidStatus) as refused:
            self.connect("/refused")
        self.assertEqual(refused.exception.response.status_code, 403)
        self.assertIn("from forebay", refused.exception.response.headers["X-Cache"])

    def test_an_upgrade_of_forebay_keeps_them_and_a_stop_closes_them(self):
        with self.connect("/kept") as socket:
            command = [parts.PROGRAM, "upgrade", "--config", self.config]
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            new = int(re.match(r"process (\d+) ", said)[1])
            self.addCleanup(subprocess.run, ["kill", str(new)], check=False)
            socket.send("still here")
            self.assertEqual(socket.receive(), "still here")
            with self.connect("/new") as other:
                other.send("hello")
                self.assertEqual(other.receive(), "hello")
            # It stops the process that it replaced, too.
            subprocess.run(["kill", str(new)], check=True)
            with self.assertRaises(ConnectionClosed):
                socket.receive()
            self.assertEqual(self.program.process.wait(timeout=30), 0)

    def test_a_browser_opens_one(self):
        browser = Browser(self.certificate.cert_chain_pems[0].bytes(), "edge.example")
        self.addCleanup(browser.stop)
        seen = browser.visit(f"https://edge.example:{self.secure}/page")
        self.assertEqual([width for _, width in seen["images"]], [10])
        self.assertEqual(self.origin.messages, ["hello", "again hello"])


if __name__ == "__main__":
    unittest.main()
