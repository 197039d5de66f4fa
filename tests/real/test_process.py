"""The program as its operators meet it: signals, addresses, limits, credentials, private certificates."""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import unittest

import trustme

import parts
from parts import fetch, free_port, wait_for

CONFIG = """
[listen]
http = {listen}
{limits}
[admin]
listen = "127.0.0.1:{admin}"
[[distribution]]
id = "media"
aliases = ["*"]
[[distribution.origin]]
id = "origin"
url = "{origin}"
signing = "never"
{trust}
[distribution.default_behavior]
origin = "origin"
cache_policy = "CachingOptimized"
"""

SHOWN = ("successful", "success_timestamp_seconds")


class Process(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="forebay-process-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def origin(self, tls=None):
        server = parts.Origin.start(tls)
        self.addCleanup(server.stop)
        return server

    def serve(self, origin, listen=None, limits="", trust="", host="127.0.0.1", **environment):
        self.port, self.admin = free_port(), free_port()
        listen = (listen or '"{host}:{port}"').format(host=host, port=self.port)
        self.config = self.folder / "forebay.toml"
        self.config.write_text(
            CONFIG.format(listen=listen, limits=limits, admin=self.admin, origin=origin, trust=trust)
        )
        program = parts.Program(
            f"http://{host}:{self.port}", f"http://127.0.0.1:{self.admin}", "--config", self.config, **environment
        )
        self.addCleanup(program.stop)
        return program

    def test_hang_up_reloads_and_loses_nothing(self):
        program = self.serve(f"http://127.0.0.1:{self.origin().port}")
        with socket.create_connection(("127.0.0.1", self.port)) as viewer:
            ask = b"GET /kept HTTP/1.1\r\nHost: h\r\n\r\n"
            viewer.sendall(ask)
            self.assertIn(b"Miss from forebay", viewer.recv(4096))
            text = self.config.read_text()
            self.config.write_text(text.replace('id = "media"', 'id = "media"\ndefault_root_object = "start"'))
            program.process.send_signal(signal.SIGHUP)
            wait_for("the new root", lambda: fetch(program.url + "/")[2] == b"/start", program.said)
            viewer.sendall(ask)
            self.assertIn(b"Hit from forebay", viewer.recv(4096))
            self.config.write_text(text.replace("media", "media\noops"))
            program.process.send_signal(signal.SIGHUP)
            program.wait_to_say("forebay.toml")
            viewer.sendall(ask)
            self.assertIn(b"Hit from forebay", viewer.recv(4096))
        self.assertEqual(fetch(program.url + "/")[2], b"/start")

    def test_a_reload_says_whether_the_new_configuration_is_in_effect(self):
        program = self.serve(f"http://127.0.0.1:{self.origin().port}")
        text = self.config.read_text()

        def reload(changed):
            self.config.write_text(changed)
            command = [parts.PROGRAM, "reload", "--config", self.config]
            run = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"NO_COLOR": "1"})
            return run.returncode, run.stdout + run.stderr

        def reported():
            metrics = fetch(program.admin + "/metrics")[2].decode()
            figures = {name: re.search(rf"forebay_config_last_reload_{name} (\d+)", metrics) for name in SHOWN}
            return [int(found[1]) for found in figures.values()], json.loads(fetch(program.admin + "/readyz")[2])["configuration"]

        (successful, started), status = reported()
        self.assertEqual((successful, list(status)), (1, ["in_effect_since"]))
        code, said = reload(text.replace('id = "media"', 'id = "media"\ndefault_root_object = "start"'))
        self.assertEqual((code, said), (0, "the new configuration is in effect\n"))
        self.assertEqual(fetch(program.url + "/")[2], b"/start")

        # A fault changes nothing and is shown.
        code, said = reload(text.replace("CachingOptimized", "CachingOptimised"))
        self.assertEqual(code, 1)
        self.assertIn("the previous one stays in effect", said)
        self.assertIn("did you mean `CachingOptimized`?", said)
        self.assertEqual(fetch(program.url + "/")[2], b"/start")
        (successful, loaded), status = reported()
        self.assertEqual(successful, 0)
        self.assertGreaterEqual(loaded, started)
        self.assertIn("reload_failed_at", status)
        ca = f'signing = "never"\nca_file = "{self.folder}/missing.pem"'
        code, said = reload(text.replace('"http://', '"https://').replace('signing = "never"', ca))
        self.assertEqual(code, 1)
        self.assertIn("missing.pem", said)

        # What needs a restart is named, and the rest is in effect.
        code, said = reload(text.replace("[admin]", "idle_timeout = \"9s\"\n[admin]"))
        self.assertEqual(code, 0)
        self.assertIn("`listen.idle_timeout` changed; run `forebay upgrade` or restart Forebay to apply the change", said)
        (successful, _), status = reported()
        self.assertEqual((successful, list(status)), (1, ["in_effect_since"]))

        # The admin address answers only callers that may purge.
        self.assertEqual(fetch(program.admin + "/reload")[0], 405)
        self.assertEqual(fetch(program.admin + "/reload", method="POST")[0], 415)
        program.stop()
        code, said = reload(text)
        self.assertEqual(code, 1)
        self.assertIn("cannot reach Forebay", said)

    def test_200_reloads_under_load(self):
        program = self.serve(f"http://127.0.0.1:{self.origin().port}")
        load = self.load(f"{program.url}/a")
        for _ in range(200):
            run = subprocess.run([parts.PROGRAM, "reload", "--config", self.config], capture_output=True, text=True, check=False)
            self.assertEqual(run.returncode, 0, run.stderr)
        self.ends_without_errors(load)

    def test_certificates_that_change_on_disk_are_used(self):
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.folder / "ca.pem")
        https = free_port()

        def issue(*files):
            made = authority.issue_cert("localhost")
            if "key" in files:
                made.private_key_pem.write_to_path(self.folder / "key.pem")
            if "cert" in files:
                made.cert_chain_pems[0].write_to_path(self.folder / "cert.pem")
            return ssl.PEM_cert_to_DER_cert(made.cert_chain_pems[0].bytes().decode())

        def served():
            context = ssl.create_default_context(cafile=self.folder / "ca.pem")
            with socket.create_connection(("127.0.0.1", https)) as plain, context.wrap_socket(plain, server_hostname="localhost") as tls:
                return tls.getpeercert(binary_form=True)

        first = issue("key", "cert")
        limits = f'https = "127.0.0.1:{https}"\ntls = {{ certificate = "cert.pem", key = "key.pem" }}'
        program = self.serve(f"http://127.0.0.1:{self.origin().port}", limits=limits)
        self.assertEqual(served(), first)
        self.assertIn('forebay_certificate_expiry_timestamp_seconds{certificate="', fetch(program.admin + "/metrics")[2].decode())
        load = self.load(f"https://localhost:{https}/a", "--ca", self.folder / "ca.pem")

        # A key without its certificate is not used.
        issue("key")
        program.wait_to_say("the old ones stay in use")
        self.assertEqual(served(), first)
        second = issue("key", "cert")
        wait_for("the second certificate", lambda: served() == second, program.said)
        self.ends_without_errors(load)

    def load(self, *arguments):
        command = [parts.PROGRAM, "load", *arguments, "--duration", "5m", "--rate", "500", "--connections", "8"]
        load = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.addCleanup(load.kill)
        return load

    def ends_without_errors(self, load):
        self.assertIsNone(load.poll())
        load.send_signal(signal.SIGINT)
        self.assertRegex(load.communicate(timeout=60)[0], "errors +0")

    def test_the_wrong_protocol_on_a_port(self):
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.folder / "ca.pem")
        made = authority.issue_cert("localhost")
        made.private_key_pem.write_to_path(self.folder / "key.pem")
        made.cert_chain_pems[0].write_to_path(self.folder / "cert.pem")
        https = free_port()
        limits = f'https = "127.0.0.1:{https}"\ntls = {{ certificate = "cert.pem", key = "key.pem" }}'
        program = self.serve(f"http://127.0.0.1:{self.origin().port}", limits=limits)

        def handshake(port, alpn=(), **trust):
            context = ssl.create_default_context(**trust)
            if alpn:
                context.set_alpn_protocols(alpn)
            with socket.create_connection(("127.0.0.1", port)) as plain, self.assertRaises((ssl.SSLError, ConnectionError)):
                context.wrap_socket(plain, server_hostname="localhost").recv(1)

        status, _, content = fetch(f"http://127.0.0.1:{https}/a")
        self.assertEqual((status, content), (400, b"This port serves HTTPS only: use https:// instead of http://"))
        handshake(self.port)
        program.wait_to_say("a client speaks TLS on a port for plain HTTP")
        # Lines about handshakes are limited in number; the metric counts them all.
        handshake(https)
        program.wait_to_say('reason="refused by the client"')
        handshake(https, alpn=["spdy/1"], cafile=self.folder / "ca.pem")
        with socket.create_connection(("127.0.0.1", https)) as probe:
            probe.sendall(b"\x00\x01garbage")
            probe.recv(100)
        socket.create_connection(("127.0.0.1", https)).close()
        for reason in ("on a plain port", "refused by the client", "no common protocol", "invalid message", "closed by the client"):
            line = f'forebay_tls_handshake_failures_total{{reason="{reason}"}} 1\n'
            wait_for(line, lambda line=line: line in fetch(program.admin + "/metrics")[2].decode())
        _, lines = program.stop()
        self.assertIn("tls-on-plain-port", [line.get("detail") for line in lines])

    def test_http2_by_prior_knowledge(self):
        program = self.serve(f"http://127.0.0.1:{self.origin().port}")
        for _ in range(2):
            command = ["curl", "-s", "--http2-prior-knowledge", "-w", " %{http_version}", program.url + "/a"]
            self.assertEqual(subprocess.run(command, capture_output=True, text=True, check=True).stdout, "/a 2")
        command = [parts.PROGRAM, "load", program.url + "/a", "--http2", "--requests", "2000", "--connections", "4"]
        subprocess.run(command, capture_output=True, check=True)
        # The preface may arrive in pieces. Frame 4 is SETTINGS.
        with socket.create_connection(("127.0.0.1", self.port)) as viewer:
            for piece in (b"PRI * HT", b"TP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"):
                viewer.sendall(piece)
                time.sleep(0.1)
            self.assertEqual(viewer.recv(100)[3], 4)
        # It is not a method of HTTP/1.1.
        with socket.create_connection(("127.0.0.1", self.port)) as viewer:
            viewer.sendall(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
            self.assertIn(b"200 OK", viewer.recv(4096))
            viewer.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            self.assertEqual(viewer.recv(4096), b"")
        _, lines = program.stop()
        self.assertEqual([line["protocol"] for line in lines[:2]], ["HTTP/2"] * 2)

    def test_systemd_hears_what_happens(self):
        address = str(self.folder / "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(address)
            manager.settimeout(20)

            def hear(word):
                """The next message with this word; signs of life come in between."""
                while True:
                    message = manager.recv(4096).decode()
                    if word in message:
                        return message

            program = self.serve(f"http://127.0.0.1:{self.origin().port}", NOTIFY_SOCKET=address, WATCHDOG_USEC="400000")
            self.assertEqual(hear("READY=1"), "READY=1\nSTATUS=serving\n")
            for _ in range(3):
                hear("WATCHDOG=1")
            program.process.send_signal(signal.SIGHUP)
            self.assertIn("MONOTONIC_USEC=", hear("RELOADING=1"))
            self.assertIn("STATUS=serving\n", hear("READY=1"))
            self.config.write_text("oops")
            program.process.send_signal(signal.SIGHUP)
            hear("RELOADING=1")
            self.assertIn("the last reload failed", hear("READY=1"))
            program.process.send_signal(signal.SIGTERM)
            self.assertIn("EXTEND_TIMEOUT_USEC=35000000", hear("STOPPING=1"))

    def test_the_signals_of_nginx(self):
        program = self.serve(f"http://127.0.0.1:{self.origin().port}")
        self.assertEqual(fetch(program.url + "/a")[0], 200)
        program.process.send_signal(signal.SIGUSR1)
        self.assertEqual(fetch(program.url + "/a")[1]["X-Cache"], "Hit from forebay")
        program.process.send_signal(signal.SIGQUIT)
        self.assertEqual(program.process.wait(timeout=40), 0)
        program.wait_to_say(" stopped")

    def test_patterns_that_do_not_do_what_they_seem_to(self):
        program = self.serve(f"http://127.0.0.1:{self.origin().port}")
        behavior = '[[distribution.behavior]]\npath_pattern = "{}"\norigin = "origin"\ncache_policy = "CachingOptimized"\n'
        text = self.config.read_text()

        def check(*patterns):
            self.config.write_text(text + "".join(behavior.format(pattern) for pattern in patterns))
            run = subprocess.run([parts.PROGRAM, "check", "--config", self.config], capture_output=True, text=True, check=False)
            return run.returncode, run.stdout + run.stderr

        code, said = check("*", "/private/*")
        self.assertIn("warning: path pattern /private/* (distribution media): it is never used, because /* comes first", said)
        self.assertEqual(code, 0)
        program.process.send_signal(signal.SIGHUP)
        program.wait_to_say("it is never used, because /* comes first")
        self.assertIn("it matches only this path: write /private/* for everything below it", check("/private/")[1])
        self.assertIn("a pattern is not a regular expression", check("~*.jpg$")[1])
        code, said = check("/a/*", "/b", "/a/*")
        self.assertIn("there is already a behavior for /a/*", said)
        self.assertEqual(code, 1)

    def test_both_families_of_addresses(self):
        origin = f"http://127.0.0.1:{self.origin().port}"
        program = self.serve(origin, listen='"[::]:{port}"')
        for host in ("127.0.0.1", "[::1]"):
            self.assertEqual(fetch(f"http://{host}:{self.port}/both")[2], b"/both")
        _, lines = program.stop()
        self.assertEqual([line["client"] for line in lines], ["127.0.0.1", "::1"])

    def test_connections_beyond_the_limit_wait(self):
        origin = f"http://127.0.0.1:{self.origin().port}"
        self.serve(origin, limits="max_connections = 2\nworkers = 1")
        ask = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"

        def connect(client, timeout):
            return socket.create_connection(("127.0.0.1", self.port), timeout, source_address=(client, 0))

        open_ones = [connect(client, 20) for client in ("127.0.0.2", "127.0.0.3")]
        for viewer in open_ones:
            viewer.sendall(ask)
            self.assertIn(b"200 OK", viewer.recv(4096))
        with connect("127.0.0.4", 0.5) as waiting:
            waiting.sendall(ask)
            self.assertRaises(TimeoutError, waiting.recv, 4096)
            open_ones[0].close()
            waiting.settimeout(20)
            self.assertIn(b"200 OK", waiting.recv(4096))
        open_ones[1].close()

    def test_an_origin_with_a_private_certificate(self):
        authority = trustme.CA()
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(tls)
        origin = f"https://localhost:{self.origin(tls).port}"
        self.assertEqual(fetch(self.serve(origin).url + "/a")[0], 502)
        authority.cert_pem.write_to_path(self.folder / "private-ca.pem")
        trusting = self.serve(origin, trust='ca_file = "private-ca.pem"')
        self.assertEqual(fetch(trusting.url + "/a")[::2], (200, b"/a"))

    def test_session_tokens_are_sent_and_signed(self):
        origin = self.origin()
        endpoint = f"http://127.0.0.1:{origin.port}"
        program = parts.Forebay(endpoint, "--path-style", AWS_SESSION_TOKEN="for/one+session=")
        self.addCleanup(program.stop)
        self.assertEqual(fetch(program.url + "/a")[0], 200)
        (asked,) = origin.asked
        self.assertEqual(asked["x-amz-security-token"], "for/one+session=")
        self.assertIn("x-amz-security-token", asked["authorization"].split("SignedHeaders=")[1].split(",")[0])


if __name__ == "__main__":
    unittest.main()
