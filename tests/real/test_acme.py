"""Automatic certificates, from pebble: the authority for tests of Let's Encrypt."""

import base64
import http.server
import json
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.request

import trustme

import parts
from parts import fetch, free_port, wait_for

CONFIG = """
[listen]
{http}
https = "127.0.0.1:{https}"
{tls}
[listen.acme]
email = "ops@example.com"
directory = "https://localhost:{directory}/dir"
ca_file = "authority.pem"
{more}
[admin]
listen = "127.0.0.1:{admin}"
state = "state"
[[distribution]]
id = "media"
aliases = {aliases}
[[distribution.origin]]
id = "origin"
url = "{origin}"
signing = "never"
[distribution.default_behavior]
origin = "origin"
cache_policy = "CachingOptimized"
viewer_protocol_policy = "redirect-to-https"
"""


class Pebble:
    """An authority that validates on the ports of this test. DNS answers 127.0.0.1 for every host but `elsewhere`."""

    def __init__(self, folder, http, https, validity=3600, external=None):
        self.folder, self.port, self.management = folder, free_port(), free_port()
        names, self.names_management = free_port(), free_port()
        own = trustme.CA()
        own.cert_pem.write_to_path(folder / "authority.pem")
        certificate = own.issue_cert("localhost")
        certificate.private_key_pem.write_to_path(folder / "pebble-key.pem")
        certificate.cert_chain_pems[0].write_to_path(folder / "pebble.pem")
        config = {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{self.management}",
            "certificate": str(folder / "pebble.pem"),
            "privateKey": str(folder / "pebble-key.pem"),
            "httpPort": http,
            "tlsPort": https,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": bool(external),
            "externalAccountMACKeys": external or {},
            "certificateValidityPeriod": validity,
        }
        (folder / "pebble.json").write_text(json.dumps({"pebble": config}))
        self.log = open(folder / "pebble.log", "w", encoding="utf-8")
        self.names = subprocess.Popen(
            ["pebble-challtestsrv", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-http01", "", "-https01", "",
             "-tlsalpn01", "", "-dns01", f"127.0.0.1:{names}", "-management", f"127.0.0.1:{self.names_management}"],
            stdout=self.log, stderr=self.log,
        )  # fmt: skip
        self.own = own
        self.command = ["pebble", "-config", str(folder / "pebble.json"), "-dnsserver", f"127.0.0.1:{names}"]
        self.process = None
        # Also a proof that it runs.
        wait_for("DNS", lambda: self.point("localhost", "127.0.0.1"))
        self.start()

    def start(self):
        environment = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "5", "PATH": "/usr/bin:/bin"}
        self.process = subprocess.Popen(self.command, env=environment, stdout=self.log, stderr=self.log)
        wait_for("pebble", self.root, lambda: (self.folder / "pebble.log").read_text())

    def root(self):
        """The certificate that signs what this process of pebble issues."""
        context = ssl.create_default_context(cafile=self.folder / "authority.pem")
        try:
            with socket.create_connection(("127.0.0.1", self.management)) as plain:
                with context.wrap_socket(plain, server_hostname="localhost") as stream:
                    stream.sendall(b"GET /roots/0 HTTP/1.0\r\nHost: localhost\r\n\r\n")
                    answer = b"".join(iter(lambda: stream.recv(4096), b""))
        except OSError:
            return None
        return answer.split(b"\r\n\r\n", 1)[1].decode()

    def point(self, host, address):
        data = json.dumps({"host": host, "addresses": [address]}).encode()
        try:
            return fetch(f"http://127.0.0.1:{self.names_management}/add-a", method="POST", data=data)[0] == 200
        except OSError:
            return False

    def unpoint(self, host):
        data = json.dumps({"host": host}).encode()
        fetch(f"http://127.0.0.1:{self.names_management}/clear-a", method="POST", data=data)

    def issued(self):
        return (self.folder / "pebble.log").read_text().count("Issued certificate serial")

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def end(self):
        self.stop()
        self.names.kill()
        self.names.wait()
        self.log.close()


class RenewalInfo(http.server.BaseHTTPRequestHandler):
    """Pebble's directory with a place for renewal information (ARI, RFC 9773), which this pebble does not have."""

    def do_GET(self):
        self.server.asked.append(self.path)
        context = ssl.create_default_context(cafile=self.server.pebble.folder / "authority.pem")
        if self.path == "/dir":
            url = f"https://localhost:{self.server.pebble.port}/dir"
            content = json.load(urllib.request.urlopen(url, context=context))
            content["renewalInfo"] = f"https://localhost:{self.server.server_port}/renewal-info"
        else:
            content = {"suggestedWindow": dict(zip(("start", "end"), self.server.window))}
        self.send_response(200)
        self.send_header("Retry-After", "21600")
        content = json.dumps(content).encode()
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass

    @classmethod
    def start(cls, pebble, window):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), cls)
        server.pebble, server.window, server.asked = pebble, window, []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        pebble.own.issue_cert("localhost").configure_cert(context)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server


class Acme(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="forebay-acme-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.http, self.https, self.admin = free_port(), free_port(), free_port()
        self.origin = parts.Origin.start()
        self.addCleanup(self.origin.stop)

    def authority(self, **options):
        self.pebble = Pebble(self.folder, self.http, self.https, **options)
        self.addCleanup(self.pebble.end)
        return self.pebble

    def configure(self, *aliases, http=True, more="", tls="", directory=None):
        self.config = self.folder / "forebay.toml"
        self.config.write_text(
            CONFIG.format(
                http=f'http = "127.0.0.1:{self.http}"' if http else "", https=self.https, tls=tls, more=more,
                directory=directory or self.pebble.port, admin=self.admin, aliases=json.dumps(aliases),
                origin=f"http://127.0.0.1:{self.origin.port}",
            )
        )  # fmt: skip

    def serve(self):
        program = parts.Program(f"http://127.0.0.1:{self.http}", f"http://127.0.0.1:{self.admin}", "--config", self.config)
        self.addCleanup(program.stop)
        return program

    def certificate(self, host, root=None):
        """The certificate that a viewer of `host` gets, checked against pebble's root."""
        context = ssl.create_default_context(cadata=root or self.pebble.root())
        try:
            with socket.create_connection(("127.0.0.1", self.https)) as plain:
                with context.wrap_socket(plain, server_hostname=host) as stream:
                    return stream.getpeercert()
        except (ssl.SSLError, ConnectionError):
            return None

    def test_each_host_gets_a_certificate_that_survives_restarts(self):
        pebble = self.authority()
        own = trustme.CA()
        static = own.issue_cert("static.example")
        static.private_key_pem.write_to_path(self.folder / "key.pem")
        static.cert_chain_pems[0].write_to_path(self.folder / "cert.pem")
        tls = 'tls = { certificate = "cert.pem", key = "key.pem" }'
        self.configure("a.example", "b.example", "static.example", tls=tls)
        program = self.serve()
        for host in ("a.example", "b.example"):
            wait_for(f"the certificate of {host}", lambda host=host: self.certificate(host), program.said)
            self.assertEqual(self.certificate(host)["subjectAltName"], (("DNS", host),))
        self.assertEqual(pebble.issued(), 2)
        self.assertIsNone(self.certificate("static.example"))
        self.assertTrue(self.certificate("static.example", root=own.cert_pem.bytes().decode()))
        metrics = fetch(program.admin + "/metrics")[2].decode()
        self.assertRegex(metrics, r'forebay_acme_expiry_timestamp_seconds\{host="a.example"\} \d{10}')
        self.assertIn('forebay_acme_orders_total{outcome="issued"} 2', metrics)
        # Only pending proofs are answered; anything else at that path is an object like any other.
        status, fields, _ = fetch_plain(self.http, "/.well-known/acme-challenge/other", "a.example")
        self.assertEqual((status, fields["location"]), (301, "https://a.example/.well-known/acme-challenge/other"))
        for path in (self.folder / "state/acme").rglob("*"):
            self.assertEqual(path.stat().st_mode & 0o077, 0, path)

        # Without the authority, a restart serves what was issued.
        first, root = self.certificate("a.example"), pebble.root()
        program.stop()
        pebble.stop()
        program = self.serve()
        self.assertEqual(self.certificate("a.example", root), first)
        said = subprocess.run([parts.PROGRAM, "doctor", "--config", self.config], capture_output=True, text=True, check=False).stdout
        self.assertIn("the certificate of a.example is valid for less than a day", said)

    def test_an_authority_that_returns_is_used_by_another_proof(self):
        pebble = self.authority()
        pebble.stop()
        # Port 80 is closed for the authority.
        text = json.loads((self.folder / "pebble.json").read_text())
        text["pebble"]["httpPort"] = free_port()
        (self.folder / "pebble.json").write_text(json.dumps(text))
        self.configure("a.example")
        program = self.serve()
        program.wait_to_say("no certificate was issued, so HTTPS does not work for this host")
        self.assertIn("cannot reach the authority", program.said())
        self.assertEqual(fetch_plain(self.http, "/a", "a.example")[0], 301)
        self.assertIn("a.example has no certificate yet", run("doctor", self.config))
        # The next attempt is a minute after the first, and proves the host in the handshake.
        pebble.start()
        wait_for("the certificate", lambda: self.certificate("a.example"), program.said, seconds=90)

    def test_without_a_plain_listener_the_proof_is_in_the_handshake(self):
        self.authority()
        self.configure("a.example", http=False)
        program = self.serve()
        wait_for("the certificate", lambda: self.certificate("a.example"), program.said)
        # The account stays, with another address.
        program.stop()
        [account] = (self.folder / "state/acme").rglob("account.json")
        before = json.loads(account.read_text())
        self.config.write_text(self.config.read_text().replace("ops@", "dev@"))
        program = self.serve()
        wait_for("the new address", lambda: "dev@example.com" in account.read_text(), program.said)
        self.assertEqual(json.loads(account.read_text()), before | {"email": "dev@example.com"})

    def test_one_host_that_points_elsewhere_does_not_stop_the_others(self):
        pebble = self.authority()
        pebble.point("elsewhere.example", "127.0.0.2")
        self.configure("a.example", "elsewhere.example", "z.example")
        program = self.serve()
        wait_for("the last certificate", lambda: self.certificate("z.example"), program.said)
        program.wait_to_say('host="elsewhere.example"')
        self.assertTrue(self.certificate("a.example"))
        self.assertIn("forebay_acme_orders_total{outcome=\"failed\"} 1", fetch(program.admin + "/metrics")[2].decode())
        # A reload tries again at once.
        pebble.unpoint("elsewhere.example")
        self.assertEqual(run("reload", self.config), None)
        wait_for("the missing certificate", lambda: self.certificate("elsewhere.example"), program.said, seconds=30)

    def test_certificates_are_renewed_under_load(self):
        pebble = self.authority(validity=45)
        self.configure("a.example")
        program = self.serve()
        wait_for("the certificate", lambda: self.certificate("a.example"), program.said)
        first = self.certificate("a.example")["serialNumber"]
        (self.folder / "root.pem").write_text(pebble.root())
        load = subprocess.Popen(
            [parts.PROGRAM, "load", "https://a.example/a", "--connect", f"127.0.0.1:{self.https}", "--ca", self.folder / "root.pem",
             "--duration", "5m", "--rate", "200", "--connections", "4"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.addCleanup(load.kill)
        wait_for("another certificate", lambda: self.certificate("a.example")["serialNumber"] != first, program.said, seconds=60)
        # The authority is gone: the certificate stays in use.
        root = pebble.root()
        pebble.stop()
        program.wait_to_say("a certificate was not renewed; the old one stays in use", seconds=60)
        self.assertTrue(self.certificate("a.example", root))
        self.assertIsNone(load.poll())
        load.send_signal(2)
        self.assertRegex(load.communicate(timeout=60)[0], "errors +0")

    def test_the_authority_suggests_when_to_renew(self):
        pebble = self.authority()
        future, past = ("2037-01-01T00:00:00Z", "2037-01-02T00:00:00Z"), ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")
        suggesting = RenewalInfo.start(pebble, future)
        self.addCleanup(suggesting.server_close)
        self.addCleanup(suggesting.shutdown)
        self.configure("a.example", directory=suggesting.server_port)
        program = self.serve()
        wait_for("the certificate", lambda: self.certificate("a.example"), program.said)
        wait_for("the first request for renewal information", lambda: any("/renewal-info/" in path for path in suggesting.asked), program.said)
        program.stop()
        self.serve().stop()
        self.assertEqual(pebble.issued(), 1)
        # As after a mistake of the authority. It does not make Forebay order again and again.
        suggesting.window = past
        program = self.serve()
        wait_for("another certificate", lambda: pebble.issued() == 2, program.said)
        time.sleep(3)
        self.assertEqual(pebble.issued(), 2)
        self.assertTrue(self.certificate("a.example"))

    def test_a_reload_adds_and_removes_hosts(self):
        pebble = self.authority()
        self.configure("a.example")
        program = self.serve()
        wait_for("the certificate", lambda: self.certificate("a.example"), program.said)
        # The authority has lost its data, and with it the account.
        pebble.stop()
        pebble.start()
        self.configure("b.example")
        self.assertEqual(run("reload", self.config), None)
        wait_for("the other certificate", lambda: self.certificate("b.example"), program.said)
        metrics = fetch(program.admin + "/metrics")[2].decode()
        self.assertNotIn('host="a.example"', metrics)

    def test_an_external_account(self):
        key = base64.urlsafe_b64encode(b"a key of at least thirty-two bytes").decode().rstrip("=")
        self.authority(external={"kid-1": key})
        self.configure("a.example")
        program = self.serve()
        program.wait_to_say("the authority refused")
        program.stop()
        (self.folder / "eab.key").write_text(key + "\n")
        self.configure("a.example", more='external_account_id = "kid-1"\nexternal_account_key_file = "eab.key"')
        program = self.serve()
        wait_for("the certificate", lambda: self.certificate("a.example"), program.said)


def run(command, config, *arguments):
    """What a failing command says."""
    done = subprocess.run([parts.PROGRAM, command, "--config", config, *arguments], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr if done.returncode else None


def fetch_plain(port, path, host):
    """A response that is not followed if it redirects."""
    with socket.create_connection(("127.0.0.1", port)) as stream:
        stream.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: stream.recv(4096), b""))
    head, body = answer.split(b"\r\n\r\n", 1)
    status, *lines = head.decode().split("\r\n")
    fields = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    return int(re.search(r" (\d+)", status)[1]), fields, body


if __name__ == "__main__":
    unittest.main()
