"""A running Forebay is replaced by a new process: no request fails, no purge is lost, the cache is kept.

`FOREBAY_UPGRADES=50` makes so many upgrades in the tests under load.
"""

import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

import boto3
import trustme

import cluster_parts
import parts
from parts import fetch, free_port, wait_for

UPGRADES = int(os.environ.get("FOREBAY_UPGRADES", "6"))

CONFIG = """\
[listen]
http = "127.0.0.1:{port}"
drain = "5s"
{listen}
[cache]
memory = "64MiB"
{disk}
[admin]
listen = "127.0.0.1:{admin}"
state = "{folder}/state"
""" + parts.PLAIN_DISTRIBUTION + 'allowed_methods = "all"\n'

HAPROXY = """\
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
listen edges
  bind 127.0.0.1:{port}
  option httpchk GET /readyz
  {servers}
"""


class Changeable(cluster_parts.Versioned):
    """Accepts unsafe requests, too."""

    def do_POST(self):
        self.send_response(204)
        self.end_headers()


PATHS = [f"/{number}" for number in range(40)]


class Upgrade(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="forebay-upgrade-"))
        self.addCleanup(shutil.rmtree, self.folder)
        (self.folder / "state").mkdir()
        self.origin = cluster_parts.VersionedOrigin.start(Changeable)
        self.addCleanup(self.origin.stop)
        self.processes = []
        self.addCleanup(self.kill_all)

    def kill_all(self):
        for process in self.processes:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def start(self, disk=False, listen="", within=(), **environment):
        self.port, self.admin = free_port(), free_port()
        self.config = self.folder / "forebay.toml"
        table = f'[cache.disk]\npath = "{self.folder}/disk"\ncapacity = "256MiB"' if disk else ""
        self.config.write_text(
            CONFIG.format(
                port=self.port, admin=self.admin, listen=listen, disk=table, folder=self.folder, origin=self.origin.url
            )
        )
        program = parts.Program(
            f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.admin}", "--config", self.config,
            within=within, **environment,
        )  # fmt: skip
        self.processes.append(program.process.pid)
        self.program = program
        return program

    def upgrade(self):
        """Replaces the process; its exit code and what it said."""
        command = [parts.PROGRAM, "upgrade", "--config", self.config]
        run = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"NO_COLOR": "1"})
        if found := re.match(r"process (\d+) ", run.stdout):
            self.processes.append(int(found[1]))
        return run.returncode, run.stdout + run.stderr

    def succeed(self):
        code, said = self.upgrade()
        self.assertEqual(code, 0, said + self.program.said())
        self.assertRegex(said, r"^process \d+ \(.*forebay, version .*\) serves now; process \d+ ends with its last request\n$")

    def read(self, path):
        status, fields, content = fetch(self.program.url + path)
        return status, fields["X-Cache"], content

    def purge(self, *paths):
        body = json.dumps({"distribution": "media", "paths": paths}).encode()
        return fetch(self.program.admin + "/purge", "POST", {"Content-Type": "application/json"}, body)

    def under_load(self):
        """Upgrades under load over HTTP/1.1 and HTTP/2, with purges and with connections that stay open."""
        loads = [self.load(self.program.url), self.load(*self.secure, "--http2")]
        stop, faults, figures = threading.Event(), [], {"purges": 0, "reads": 0}

        def change_and_purge():
            """Whatever connection a viewer has, it gets no version older than the last that was purged."""
            kept = [http.client.HTTPConnection("127.0.0.1", self.port, timeout=20) for _ in range(3)]
            for version in range(2, 1 << 30):
                if stop.is_set():
                    return
                path = PATHS[version % len(PATHS)]
                self.origin.versions[path] = version
                try:
                    status, _, said = self.purge(path)
                except OSError as error:
                    status, said = 0, error
                if status != 200:
                    faults.append(f"purge: {status} {said}")
                    continue
                figures["purges"] += 1
                for connection in kept:
                    connection.request("GET", path, headers={"Host": "h"})
                    answer = connection.getresponse()
                    content = answer.read()
                    figures["reads"] += 1
                    if answer.status != 200 or content != f"{path} {version}".encode():
                        faults.append(f"read: {answer.status} {content} instead of {version}")

        changing = threading.Thread(target=change_and_purge)
        changing.start()
        try:
            for _ in range(UPGRADES):
                time.sleep(0.3)
                self.succeed()
        finally:
            stop.set()
            changing.join()
        requests = [re.search("requests  .*", self.ends_without_errors(load))[0] for load in loads]
        self.assertEqual(faults[:4] + faults[-2:], [])
        self.assertGreater(figures["purges"], UPGRADES)
        print(f"{UPGRADES} upgrades: {figures}, {requests} ... ", end="")
        wait_for("the end of the old processes", lambda: not any(map(is_alive, self.processes[:-1])), seconds=30)

    def load(self, *arguments):
        """Sends requests until it is interrupted."""
        load = subprocess.Popen(
            [parts.PROGRAM, "load", *arguments, "--urls", self.urls(), "--random", "--duration", "10m",
             "--rate", "300", "--connections", "64"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.addCleanup(load.kill)
        return load

    def ends_without_errors(self, load):
        self.assertIsNone(load.poll())
        load.send_signal(signal.SIGINT)
        said = load.communicate(timeout=60)[0]
        # What the generator did not send is none of Forebay's business.
        unsent = re.search(r"due, not sent: (\d+)", said)
        errors = int(re.search(r"errors +(\d+)", said)[1])
        self.assertEqual(errors, int(unsent[1]) if unsent else 0, said)
        return said

    def urls(self):
        file = self.folder / "urls"
        file.write_text("\n".join(PATHS) + "\n")
        return file

    def start_with_tls(self, disk):
        authority, port = trustme.CA(), free_port()
        made = authority.issue_cert("localhost")
        authority.cert_pem.write_to_path(self.folder / "ca.pem")
        made.private_key_and_cert_chain_pem.write_to_path(self.folder / "server.pem")
        listen = f'https = "127.0.0.1:{port}"\ntls = {{ certificate = "server.pem", key = "server.pem" }}'
        self.start(disk=disk, listen=listen)
        self.secure = (f"https://localhost:{port}", "--ca", self.folder / "ca.pem")

    def test_upgrades_under_load_lose_nothing(self):
        self.start_with_tls(disk=False)
        self.under_load()

    def test_upgrades_with_a_disk_cache_lose_nothing(self):
        self.start_with_tls(disk=True)
        self.under_load()

    def test_the_contents_of_the_memory_are_kept(self):
        self.start()
        for path in PATHS:
            self.assertEqual(self.read(path)[1], "Miss from forebay")
        self.purge("/1")
        # An unsafe request invalidates what is stored (RFC 9111 §4.4).
        self.origin.versions |= {"/1": 2, "/2": 2}
        fetch(self.program.url + "/2", "POST", data=b"")
        self.succeed()
        found = [self.read(path)[1:] for path in PATHS]
        missed = [number for number, (cache, _) in enumerate(found) if cache != "Hit from forebay"]
        self.assertEqual((missed, found[1][1], found[2][1]), ([1, 2], b"/1 2", b"/2 2"))
        # Also after the next one.
        self.succeed()
        self.assertEqual({self.read(path)[1] for path in PATHS}, {"Hit from forebay"})

    def test_the_contents_of_the_disk_are_kept(self):
        self.start(disk=True)
        for path in PATHS:
            self.read(path)
        self.purge("/1")
        self.succeed()
        found = [self.read(path)[1] for path in PATHS]
        self.assertEqual([number for number, cache in enumerate(found) if cache != "Hit from forebay"], [1])
        # The history of invalidations is there, and the log of purges is written.
        self.assertEqual(self.purge("/2")[0], 200)
        self.succeed()
        self.assertEqual(self.read("/2")[1], "Miss from forebay")

    def test_a_process_that_cannot_start_changes_nothing(self):
        program = self.start(disk=True)
        self.read("/a")
        good = self.config.read_text()
        for text, fault in [
            (good.replace("CachingOptimized", "CachingOptimised"), "did you mean `CachingOptimized`?"),
            # It fails only after it has the disk cache.
            (good.replace('"127.0.0.1:', '"192.0.2.1:', 1), "cannot listen on 192.0.2.1"),
        ]:
            self.config.write_text(text)
            code, said = self.upgrade()
            self.assertEqual(code, 1, said)
            self.assertIn("the running process was not replaced; it continues", said)
            self.assertIn(fault, said)
            self.config.write_text(good)
            self.assertEqual(self.read("/a")[1], "Hit from forebay")
            self.origin.versions["/a"] = self.origin.versions.get("/a", 1) + 1
            self.assertEqual(self.purge("/a")[0], 200)
            self.assertEqual(self.read("/a")[1], "Miss from forebay")
        self.read("/b")
        # What was purged and stored since then is on disk.
        self.assertEqual(program.stop()[0], 0)
        self.restarted = parts.Program(program.url, program.admin, "--config", self.config)
        self.addCleanup(self.restarted.stop)
        self.assertEqual(self.read("/a"), (200, "Hit from forebay", b"/a 3"))
        self.assertEqual(self.read("/b")[1], "Hit from forebay")

    def test_requests_in_progress_are_answered_by_the_old_process(self):
        self.start()
        slow = socket.create_connection(("127.0.0.1", self.port))
        self.addCleanup(slow.close)
        slow.sendall(b"GET /slow HTTP/1.1\r\nHost: h\r\n")
        idle = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        idle.request("GET", "/idle", headers={"Host": "h"})
        self.assertEqual(idle.getresponse().read(), b"/idle 1")
        old = self.processes[0]
        self.succeed()
        self.assertTrue(is_alive(old))
        slow.sendall(b"\r\n")
        answer = slow.makefile("rb").read()
        self.assertIn(b"/slow 1", answer)
        self.assertIn(b"connection: close", answer.lower())
        idle.request("GET", "/idle", headers={"Host": "h"})
        answer = idle.getresponse()
        self.assertEqual((answer.read(), answer.headers["Connection"]), (b"/idle 1", "close"))
        wait_for("the end of the old process", lambda: not is_alive(old), self.program.said)

    def test_a_process_whose_successor_ends_uses_nothing_it_has_stored(self):
        self.start()
        held = self.hold("/a")
        self.succeed()
        os.kill(self.processes[1], signal.SIGKILL)
        time.sleep(0.3)
        self.origin.versions["/a"] = 2
        self.assertIn(b"/a 2", self.ask(held, "/a"))

    def hold(self, path):
        """A connection that has got one answer and stays open. While processes change, an old one may still accept a
        connection, and then closes it after its first response."""
        while True:
            held = socket.create_connection(("127.0.0.1", self.port), timeout=20)
            self.addCleanup(held.close)
            answer = self.ask(held, path)
            self.assertIn(path.encode() + b" 1", answer)
            if b"connection: close" not in answer.lower():
                return held

    def ask(self, held, path):
        held.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        answer = held.recv(4096)
        head, _, content = answer.partition(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", head, re.I)[1])
        while len(content) < length:
            content += held.recv(4096)
        return head + content

    def test_a_purge_takes_effect_in_all_processes_that_still_serve(self):
        self.start()
        held = [self.hold("/a")]
        for _ in range(2):
            self.succeed()
            held.append(self.hold("/a"))
        self.origin.versions["/a"] = 2
        self.assertEqual(self.purge("/a")[0], 200)
        for connection in held:
            self.assertIn(b"/a 2", self.ask(connection, "/a"))

    def test_a_purge_takes_effect_in_a_process_with_another_cache(self):
        self.start()
        for _ in range(5):
            self.assertEqual(self.purge("/other")[0], 200)
        held = self.hold("/a")
        # The new process starts with an empty cache, and another log of purges.
        self.config.write_text(self.config.read_text().replace('"64MiB"', '"64MiB"\nslice = "2MiB"'))
        self.succeed()
        self.assertEqual(self.read("/a")[1], "Miss from forebay")
        self.origin.versions["/a"] = 2
        self.assertEqual(self.purge("/a")[0], 200)
        self.assertIn(b"/a 2", self.ask(held, "/a"))

    def test_unsafe_requests_to_either_process_invalidate_in_both(self):
        self.start()
        held, other = self.hold("/a"), self.hold("/b")
        self.succeed()
        self.assertEqual(self.read("/b")[1], "Hit from forebay")
        self.origin.versions |= {"/a": 2, "/b": 2}
        fetch(self.program.url + "/a", "POST", data=b"")
        other.sendall(b"POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
        self.assertIn(b" 204 ", other.recv(4096))
        wait_for("the invalidation", lambda: self.read("/b")[2] == b"/b 2", seconds=5)
        time.sleep(0.2)
        self.assertIn(b"/a 2", self.ask(held, "/a"))

    def test_unsafe_requests_invalidate_in_a_process_with_another_cache_and_after_it(self):
        self.start(disk=True)
        held = self.hold("/a")
        text = self.config.read_text()
        self.config.write_text(text.replace("/disk", "/other"))
        self.succeed()
        # The oldest process serves its last request, and the newest one must know of it: the one between passes it on,
        # although it has nothing else to do.
        self.succeed()
        time.sleep(0.5)
        oldest, between, _ = self.processes
        self.assertTrue(is_alive(between))
        self.assertEqual([self.read("/a")[1] for _ in range(2)][1], "Hit from forebay")
        self.origin.versions["/a"] = 2
        held.sendall(b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
        self.assertIn(b" 204 ", held.recv(4096))
        wait_for("the end of both", lambda: not is_alive(oldest) and not is_alive(between))
        self.assertEqual(self.read("/a")[2], b"/a 2")

    def test_invalidations_are_known_to_the_new_process(self):
        self.start()
        client = boto3.client(
            "cloudfront", endpoint_url=self.program.admin, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
        )
        batch = {"CallerReference": "1", "Paths": {"Quantity": 1, "Items": ["/*"]}}
        made = client.create_invalidation(DistributionId="media", InvalidationBatch=batch)["Invalidation"]["Id"]
        self.succeed()
        self.assertEqual(client.get_invalidation(DistributionId="media", Id=made)["Invalidation"]["Status"], "Completed")
        again = client.create_invalidation(DistributionId="media", InvalidationBatch=batch | {"CallerReference": "2"})
        self.assertNotEqual(again["Invalidation"]["Id"], made)

    def test_programs_that_do_not_take_over(self):
        link = self.folder / "forebay"
        link.symlink_to(parts.PROGRAM)
        self.port, self.admin = free_port(), free_port()
        self.config = self.folder / "forebay.toml"
        self.config.write_text(
            CONFIG.format(port=self.port, admin=self.admin, listen="", disk="", folder=self.folder, origin=self.origin.url)
        )
        process = subprocess.Popen([link, "serve", "--config", self.config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.processes.append(process.pid)

        def ready():
            try:
                return fetch(f"http://127.0.0.1:{self.admin}/readyz")[0] == 200
            except OSError:
                return False

        wait_for("Forebay", ready)
        self.program = type("Program", (), {"url": f"http://127.0.0.1:{self.port}", "said": staticmethod(str)})
        link.unlink()
        code, said = self.upgrade()
        self.assertEqual(code, 1)
        self.assertIn("cannot be started: No such file", said)
        link.write_text("#!/bin/sh\nexit 3\n")
        link.chmod(0o755)
        code, said = self.upgrade()
        self.assertEqual(code, 1)
        self.assertIn("ended before it was ready (exit status: 3)", said)
        self.assertEqual(self.read("/a")[0], 200)
        # One that does nothing ends with the process that started it.
        link.write_text(f"#!/bin/sh\necho $$ > {self.folder}/pid\nexec sleep 600\n")
        os.kill(process.pid, signal.SIGUSR2)
        pid = self.folder / "pid"
        wait_for("the program", lambda: pid.exists() and pid.read_text().strip())
        self.assertEqual(self.read("/a")[0], 200)
        os.kill(process.pid, signal.SIGTERM)
        self.assertEqual(process.wait(timeout=20), 0)
        self.assertFalse(is_alive(int(pid.read_text())))

    def test_sockets_that_systemd_keeps_survive_restarts(self):
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        self.port, self.admin = listener.getsockname()[1], free_port()
        self.config = self.folder / "forebay.toml"
        self.config.write_text(
            CONFIG.format(port=self.port, admin=self.admin, listen="", disk="", folder=self.folder, origin=self.origin.url)
        )
        self.program = type("Program", (), {"url": f"http://127.0.0.1:{self.port}", "said": staticmethod(str)})
        command = ["sh", "-c", 'export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@"', "sh", parts.PROGRAM, "serve", "--config", self.config]
        for _ in range(3):
            # systemd passes sockets from the file descriptor 3 on.
            process = subprocess.Popen(
                command, pass_fds=[3], preexec_fn=lambda: os.dup2(listener.fileno(), 3),
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            self.processes.append(process.pid)
            self.assertEqual(self.read("/a")[2], b"/a 1")
            self.succeed()
            process.wait(timeout=20)
            self.assertEqual(self.read("/a")[2], b"/a 1")
            os.kill(self.processes[-1], signal.SIGTERM)
            wait_for("the end", lambda: not is_alive(self.processes[-1]), seconds=20)

    def test_systemd_follows_the_new_process(self):
        address = str(self.folder / "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(address)
            manager.settimeout(20)
            self.start(NOTIFY_SOCKET=address, WATCHDOG_USEC="400000")
            first = self.processes[0]
            os.kill(first, signal.SIGUSR2)
            heard = []
            while not any("MAINPID" in message for message in heard):
                heard.append(manager.recv(4096).decode())
            main = int(re.search(r"MAINPID=(\d+)", heard[-1])[1])
            self.processes.append(main)
            wait_for("the end of the old process", lambda: not is_alive(first), self.program.said)
            self.assertTrue(is_alive(main))
            # Only the new process is left to give signs of life.
            manager.setblocking(False)
            try:
                while True:
                    manager.recv(4096)
            except BlockingIOError:
                manager.setblocking(True)
            self.assertEqual(manager.recv(4096), b"WATCHDOG=1\n")
            self.assertEqual(self.read("/a")[0], 200)

    def test_sockets_of_systemd_are_used_and_handed_over(self):
        port, admin = free_port(), free_port()
        self.config = self.folder / "forebay.toml"
        self.config.write_text(
            CONFIG.format(port=port, admin=admin, listen="", disk="", folder=self.folder, origin=self.origin.url)
        )
        # systemd opens the first one as its first connection arrives; Forebay opens the other.
        command = ["systemd-socket-activate", "-l", f"127.0.0.1:{port}", parts.PROGRAM, "serve", "--config", self.config]
        environment = os.environ | {"AWS_EC2_METADATA_DISABLED": "true"}
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.processes.append(process.pid)
        self.port = port

        def read():
            try:
                return fetch(f"http://127.0.0.1:{port}/a")[2]
            except OSError:
                return None

        wait_for("an answer", lambda: read() == b"/a 1")
        self.program = type("Program", (), {"said": staticmethod(str)})
        self.succeed()
        process.wait(timeout=20)
        self.assertEqual(read(), b"/a 1")

    def test_two_behind_a_load_balancer_are_restarted_one_by_one(self):
        port = free_port()
        lines = ""
        edges = []
        for number in range(2):
            edge = (free_port(), free_port(), self.folder / f"{number}.toml")
            listen = 'drain_delay = "2s"'
            (self.folder / f"{number}").mkdir()
            edge[2].write_text(
                CONFIG.format(
                    port=edge[0], admin=edge[1], listen=listen, disk="", folder=self.folder / f"{number}", origin=self.origin.url
                )
            )
            edges.append(edge)
            lines += f"server s{number} 127.0.0.1:{edge[0]} check port {edge[1]} inter 200ms fall 2 rise 1\n"

        def serve(edge):
            url, admin = (f"http://127.0.0.1:{port}" for port in edge[:2])
            program = parts.Program(url, admin, "--config", edge[2])
            self.addCleanup(program.stop)
            return program

        programs = [serve(edge) for edge in edges]
        haproxy = self.folder / "haproxy.cfg"
        haproxy.write_text(HAPROXY.format(port=port, servers=lines))
        balancer = subprocess.Popen(["haproxy", "-db", "-f", haproxy], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.processes.append(balancer.pid)
        url = f"http://127.0.0.1:{port}"

        def up():
            try:
                return fetch(url + "/1")[0] == 200
            except OSError:
                return False

        wait_for("the load balancer", up)
        load = self.load(url)
        for number, edge in enumerate(edges):
            self.assertEqual(programs[number].stop()[0], 0)
            programs[number] = serve(edge)
            time.sleep(1)
        self.ends_without_errors(load)
        balancer.kill()
        balancer.wait()

    def test_a_node_of_a_cluster(self):
        nats = cluster_parts.Nats()
        self.addCleanup(nats.stop)
        one, two = (cluster_parts.Node(name, nats, self.origin) for name in ("one", "two"))
        for node in (one, two):
            node.start()
            self.addCleanup(node.stop)
        for path in PATHS[:5]:
            fetch(one.url + path)
        self.config, self.program = one.config, one.program
        old = one.program.process.pid
        self.succeed()
        found = [fetch(one.url + path)[1]["X-Cache"] for path in PATHS[:5]]
        self.assertEqual(set(found), {"Hit from forebay"}, one.program.said())
        # A purge through the other node reaches the new process.
        self.origin.versions["/0"] = 2
        body = json.dumps({"distribution": "media", "paths": ["/0"]}).encode()
        self.assertEqual(fetch(two.admin + "/purge", "POST", {"Content-Type": "application/json"}, body)[0], 200)
        self.assertEqual(fetch(one.url + "/0")[2], b"/0 2")
        wait_for("the end of the old process", lambda: not is_alive(old), one.program.said)


def is_alive(process):
    """Whether a process runs; one that has ended but was not waited for does not."""
    try:
        state = pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


if __name__ == "__main__":
    unittest.main()
