"""The parts of a cluster: NATS servers with JetStream, an origin whose objects have versions, and nodes."""

import http.server
import json
import pathlib
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

import parts
from parts import fetch, free_port, wait_for

CONFIG = """\
port = {port}
http = "127.0.0.1:{monitor}"
server_name = "{name}"
jetstream {{ store_dir = "{folder}", sync_interval = always }}
{cluster}
{more}
"""


class Nats:
    """NATS servers that form a cluster, if there are several."""

    def __init__(self, servers=1, more=""):
        self.folder = tempfile.mkdtemp(prefix="forebay-nats-")
        self.ports = [free_port() for _ in range(servers)]
        self.monitors = [free_port() for _ in range(servers)]
        routes = [free_port() for _ in range(servers)]
        for at in range(servers):
            urls = ", ".join(f'"nats://127.0.0.1:{route}"' for route in routes)
            cluster = f"cluster {{ name = test, port = {routes[at]}, routes = [{urls}] }}" if servers > 1 else ""
            config = CONFIG.format(
                port=self.ports[at], monitor=self.monitors[at], name=f"n{at}",
                folder=f"{self.folder}/{at}", cluster=cluster, more=more,
            )  # fmt: skip
            pathlib.Path(self.folder, f"{at}.conf").write_text(config)
        self.processes = [None] * servers
        for at in range(servers):
            self.start(at)
        self.wait()

    def start(self, at):
        program = pathlib.Path(sys.executable).parent / "nats-server"
        with open(f"{self.folder}/{at}.log", "a", encoding="utf-8") as log:
            command = [program, "--config", f"{self.folder}/{at}.conf"]
            self.processes[at] = subprocess.Popen(command, stdout=log, stderr=log)

    def wait(self):
        def ready():
            for port in self.monitors:
                try:
                    if fetch(f"http://127.0.0.1:{port}/healthz")[0] != 200:
                        return False
                except OSError:
                    return False
            return True

        wait_for("NATS", ready, self.said, seconds=60)

    def said(self):
        logs = sorted(pathlib.Path(self.folder).glob("*.log"))
        return "\n".join(log.read_text(encoding="utf-8")[-2000:] for log in logs)

    def urls(self):
        return ", ".join(f'"nats://127.0.0.1:{port}"' for port in self.ports)

    def pause(self, at):
        self.processes[at].send_signal(signal.SIGSTOP)

    def resume(self, at):
        self.processes[at].send_signal(signal.SIGCONT)

    def kill(self, at):
        self.processes[at].kill()
        self.processes[at].wait()

    def wipe(self, at):
        """Removes the files of a server that does not run."""
        shutil.rmtree(f"{self.folder}/{at}", ignore_errors=True)

    def flip_bits(self, at):
        """Flips a bit in each file of messages of a server that does not run; how many."""
        flipped = 0
        for path in pathlib.Path(self.folder, str(at)).rglob("*.blk"):
            content = bytearray(path.read_bytes())
            if content:
                content[random.randrange(len(content))] ^= 1 << random.randrange(8)
                path.write_bytes(content)
                flipped += 1
        return flipped

    def request(self, subject, content=None):
        """Sends a request to JetStream; its answer."""
        payload = json.dumps(content).encode() if content else b""
        with socket.create_connection(("127.0.0.1", self.ports[0]), timeout=20) as connection:
            lines = connection.makefile("rb")
            lines.readline()
            head = f"CONNECT {{}}\r\nSUB answer 1\r\nPUB {subject} answer {len(payload)}\r\n"
            connection.sendall(head.encode() + payload + b"\r\n")
            while not (line := lines.readline()).startswith(b"MSG"):
                if line.startswith(b"PING"):
                    connection.sendall(b"PONG\r\n")
                assert line, "NATS closed the connection"
            return json.loads(lines.read(int(line.split()[-1])))

    def stop(self):
        for process in self.processes:
            process.kill()
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Cuttable:
    """A way to a NATS server that can be cut."""

    def __init__(self, port):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port, self.target, self.is_cut = self.listener.getsockname()[1], port, False
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near = self.listener.accept()[0]
                far = socket.create_connection(("127.0.0.1", self.target), timeout=5)
            except OSError:
                if self.listener.fileno() < 0:
                    return
                near.close()
                continue
            threading.Thread(target=self.carry, args=(near, far), daemon=True).start()

    def carry(self, near, far):
        with near, far:
            try:
                while True:
                    for readable in select.select([near, far], [], [], 1)[0]:
                        content = readable.recv(65536)
                        if not content:
                            return
                        # Like a network that loses everything: neither side learns of it.
                        if not self.is_cut:
                            (far if readable is near else near).sendall(content)
            except OSError:
                pass

    def stop(self):
        self.listener.close()


class VersionedOrigin(http.server.ThreadingHTTPServer):
    """An origin whose objects have versions: the content is the path and the version, and so is the tag."""

    daemon_threads = True
    request_queue_size = 256

    @classmethod
    def start(cls, handler=None):
        server = cls(("127.0.0.1", 0), handler or Versioned)
        server.versions, server.is_down = {}, False
        server.requests, server.lengths, server.pause, server.fields = [], {}, 0, {}
        server.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    def stop(self):
        self.shutdown()
        self.server_close()


class Versioned(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        version = self.server.versions.get(self.path, 1)
        tag = f'"{version}"'
        content = f"{self.path} {version}".encode()
        same = self.headers.get("If-None-Match") == tag
        if self.server.is_down:
            self.send_error(503)
            return
        self.send_response(304 if same else 200)
        self.send_header("ETag", tag)
        self.send_header("Cache-Control", "max-age=86400")
        if not same:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if not same:
            self.wfile.write(content)

    def log_message(self, *_):
        pass


class Large(http.server.BaseHTTPRequestHandler):
    """Objects of the lengths that the origin says, which are sent slowly if it says so. Counts requests."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(self.server)

    do_HEAD = do_GET

    def answer(self, server):
        wanted = self.headers.get("Range")
        server.requests.append((self.command, self.path, wanted))
        content = large(self.path, server.lengths.get(self.path, 1000))
        if server.is_down:
            self.send_error(503)
            return
        length = len(content)
        start, end = 0, length
        tag = f'"{server.versions.get(self.path, 1)}"'
        if self.headers.get("If-None-Match") == tag:
            self.send_response(304)
            for name, value in {"ETag": tag, "Cache-Control": server.fields.get("Cache-Control", "max-age=86400")}.items():
                self.send_header(name, value)
            self.end_headers()
            return
        if wanted:
            start, end = wanted.removeprefix("bytes=").split("-")
            start, end = int(start), min(int(end or length - 1) + 1, length)
        self.send_response(206 if wanted else 200)
        fields = {"Cache-Control": "max-age=86400", "Content-Type": "image/jpeg"} | server.fields
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("ETag", tag)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{length}")
        is_chunked = "Transfer-Encoding" in fields
        if not is_chunked:
            self.send_header("Content-Length", str(end - start))
        self.end_headers()
        if self.command == "HEAD":
            return
        if is_chunked:
            for part in (content[:10], content[10:]):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                time.sleep(1.5)
            self.wfile.write(b"0\r\n\r\n")
            return
        for at in range(start, end, 65536):
            time.sleep(server.pause)
            self.wfile.write(content[at : min(at + 65536, end)])

    def log_message(self, *_):
        pass


def large(path, length):
    """The content of a large object: no two blocks of it are the same."""
    block = b"".join(b"%s %d\n" % (path.encode(), number) for number in range(length // len(path) + 1))
    return block[:length]


class Certificates:
    """Certificates of nodes, by `forebay cluster init`."""

    def __init__(self, *nodes):
        self.directory = tempfile.mkdtemp(prefix="forebay-certificates-")
        command = [parts.PROGRAM, "cluster", "init", *nodes, "--dir", self.directory]
        subprocess.run(command, check=True, capture_output=True)

    def lines(self, node, port, ca=None):
        """The lines of `[cluster]` that make a node serve its peers."""
        file = f"{self.directory}/{node}"
        return (
            f'peer_listen = "127.0.0.1:{port}"\npeer_certificate = "{file}.pem"\n'
            f'peer_key = "{file}-key.pem"\npeer_ca = "{ca or self.directory}/ca.pem"\n'
        )

    def remove(self):
        shutil.rmtree(self.directory, ignore_errors=True)


NODE = """\
[listen]
http = "127.0.0.1:{port}"
drain = "2s"
[admin]
listen = "127.0.0.1:{admin}"
[cluster]
name = "media"
node = "{name}"
replicas = {replicas}
{more}
[cluster.nats]
servers = [{servers}]
{user}
{disk}
""" + parts.PLAIN_DISTRIBUTION


class Node:
    """A node of a cluster, which can be started again."""

    def __init__(self, name, nats, origin, disk=None, more="", servers=None, user="", within=()):
        self.name, self.port, self.admin_port = name, free_port(), free_port()
        self.url, self.admin = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.admin_port}"
        table = f'[cache.disk]\npath = "{disk}"\ncapacity = "256MiB"' if disk else ""
        config = NODE.format(
            port=self.port, admin=self.admin_port, name=name, replicas=len(nats.ports), more=more,
            servers=servers or nats.urls(), user=user, disk=table, origin=origin.url,
        )  # fmt: skip
        self.folder = tempfile.mkdtemp(prefix="forebay-node-")
        self.config = pathlib.Path(self.folder, "forebay.toml")
        self.config.write_text(config)
        self.program, self.within = None, within

    def start(self, ready=True):
        """Starts it, and waits until it has joined or, if it need not be `ready`, until it answers."""
        self.program = parts.Program(self.url, self.admin, "--config", str(self.config), within=self.within, path="/readyz" if ready else "/healthz")
        return self

    def status(self):
        return json.loads(fetch(self.admin + "/cluster")[2])

    def has_lease(self):
        try:
            return self.status()["has_lease"]
        except OSError:
            return False

    def get(self, path):
        """The version of an object, and where it came from."""
        status, fields, body = fetch(self.url + path)
        if status != 200:
            return None, fields
        name, version = body.decode().rsplit(" ", 1)
        assert name == path, body
        return int(version), fields

    def purge(self, *paths, timeout=60):
        body = json.dumps({"paths": paths}).encode()
        request = urllib.request.Request(
            self.admin + "/purge", data=body, headers={"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def pause(self):
        self.program.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.program.process.send_signal(signal.SIGCONT)

    def kill(self):
        self.program.kill()

    def stop(self):
        if self.program and self.program.process.poll() is None:
            self.resume()
            self.program.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
