"""Viewers as Forebay tells them apart, shown by foreign programs: decoders, OpenSSL, curl, a geography database."""

import gzip
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import brotli
import mmdb_writer
import trustme

import parts
from parts import fetch, free_port

CONFIG = """
[listen]
{listen}
[admin]
listen = "127.0.0.1:{admin}"
{top}
[[cache_policy]]
name = "own"
enable_accept_encoding_gzip = true
enable_accept_encoding_brotli = true
enable_accept_encoding_zstd = true
headers = ["CloudFront-Viewer-Country"]
[[distribution]]
id = "media"
aliases = ["*"]
{distribution}
[[distribution.origin]]
id = "origin"
url = "http://127.0.0.1:{origin}"
[distribution.default_behavior]
origin = "origin"
cache_policy = "own"
compress = true
{more}
"""

STRICT = """
[[distribution]]
id = "{name}"
aliases = ["{name}.example.com"]
minimum_protocol_version = "{policy}"
http_version = "{http}"
[[distribution.origin]]
id = "origin"
url = "http://127.0.0.1:{origin}"
[distribution.default_behavior]
origin = "origin"
cache_policy = "CachingOptimized"
"""

TEXT = b"".join(b".rule-%d { margin: %dpx }\n" % (n, n % 9) for n in range(3000))


class Sheet(parts.Echo):
    """Answers with a style sheet."""

    def do_GET(self):
        self.server.asked.append({name.lower(): value for name, value in self.headers.items()})
        self.send_response(200)
        for name, value in {"Content-Type": "text/css", "ETag": '"tag"', "Content-Length": len(TEXT)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(TEXT)


class Viewers(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="forebay-viewers-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.origin = parts.Origin.start()
        self.addCleanup(self.origin.stop)

    def serve(self, scheme="http", listen="", **lines):
        self.port, admin = free_port(), free_port()
        listen = f'{scheme} = "127.0.0.1:{self.port}"\n{listen}'
        config = self.folder / "forebay.toml"
        empty = {"top": "", "distribution": "", "more": ""}
        config.write_text(CONFIG.format(**empty | lines | {"listen": listen, "admin": admin, "origin": self.origin.port}))
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        program = parts.Program(self.url, f"http://127.0.0.1:{admin}", "--config", config)
        self.addCleanup(program.stop)
        return program

    def test_decoders_of_others_read_what_is_compressed(self):
        self.origin.RequestHandlerClass = Sheet
        self.serve()
        for coding, decode in {
            "br": brotli.decompress,
            "gzip": gzip.decompress,
            "zstd": lambda body: subprocess.run(["zstd", "-dc"], input=body, stdout=subprocess.PIPE, check=True).stdout,
        }.items():
            with self.subTest(coding):
                _, headers, body = fetch(self.url + "/a.css", headers={"Accept-Encoding": coding})
                seen = headers["Content-Encoding"], headers["Vary"], headers["ETag"], int(headers["Content-Length"])
                self.assertEqual(seen, (coding, "Accept-Encoding", 'W/"tag"', len(body)))
                self.assertLess(len(body), len(TEXT) / 4)
                self.assertEqual(decode(body), TEXT)
                again = fetch(self.url + "/a.css", headers={"Accept-Encoding": coding})
                self.assertEqual((again[1]["X-Cache"], again[2]), ("Hit from forebay", body))
                # curl decodes by itself.
                curl = ["curl", "-sS", "--compressed", "-H", f"Accept-Encoding: {coding}", self.url + "/a.css"]
                self.assertEqual(subprocess.run(curl, stdout=subprocess.PIPE, check=True).stdout, TEXT)

    def test_countries_by_a_database(self):
        database = mmdb_writer.MMDBWriter(4, "GeoLite2-Country", languages=["en"])
        for network, code, name in [("192.0.2.0/24", "DE", "Germany"), ("198.51.100.0/24", "US", "United States")]:
            where = {"country": {"iso_code": code, "names": {"en": name}}}
            database.insert_network(mmdb_writer.IPSet([network]), where)
        database.to_db_file(str(self.folder / "countries.mmdb"))
        systems = mmdb_writer.MMDBWriter(4, "GeoLite2-ASN")
        systems.insert_network(mmdb_writer.IPSet(["192.0.2.0/24"]), {"autonomous_system_number": mmdb_writer.MmdbU32(64496)})
        systems.to_db_file(str(self.folder / "systems.mmdb"))
        databases = f'database = "{self.folder}/countries.mmdb"\nasn_database = "{self.folder}/systems.mmdb"'
        program = self.serve(
            listen='trusted_proxies = ["127.0.0.1"]',
            top=f"[geo]\n{databases}",
            distribution='geo_restriction = { whitelist = ["DE"] }',
            more='origin_request_policy = "AllViewerAndCloudFrontHeaders-2022-06"',
        )
        asked = []
        for client, status in [("192.0.2.1", 200), ("198.51.100.1", 403), ("203.0.113.1", 200)]:
            self.assertEqual(fetch(self.url + "/a", headers={"X-Forwarded-For": client})[0], status, client)
        for fields in self.origin.asked:
            names = ("country", "country-name", "asn")
            asked.append(tuple(fields.get(f"cloudfront-viewer-{name}") for name in names))
        self.assertEqual(asked, [("DE", "Germany", "64496"), (None, None, None)], "the country is in the key")
        lines = program.stop()[1]
        # Threads write their lines each in its time.
        details = {line["client"]: line.get("detail") for line in lines}
        self.assertEqual(set(details), {"192.0.2.1", "198.51.100.1", "203.0.113.1"})
        self.assertEqual(details["198.51.100.1"], "country-denied")

    def openssl(self, host, *flags):
        """The cipher suite that was agreed on, and the protocol; nothing where the handshake failed."""
        client = ["openssl", "s_client", "-connect", f"127.0.0.1:{self.port}", "-servername", host, *flags]
        run = subprocess.run(client, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False)
        said = dict(line.split(": ", 1) for line in run.stdout.splitlines() if ": " in line)
        agreed = [line for line in run.stdout.splitlines() if "Cipher is" in line and "(NONE)" not in line]
        return (agreed[0].split()[-1], said.get("ALPN protocol")) if agreed else None

    def test_openssl_gets_what_each_security_policy_allows(self):
        authority = trustme.CA()
        certificate = authority.issue_cert("*.example.com")
        certificate.cert_chain_pems[0].write_to_path(self.folder / "cert.pem")
        certificate.private_key_pem.write_to_path(self.folder / "key.pem")
        names = {"old": ("TLSv1.2_2021", "http2"), "newer": ("TLSv1.2_2025", "http1.1"), "new": ("TLSv1.3_2025", "http2")}
        more = "".join(
            STRICT.format(name=name, policy=policy, http=http, origin=self.origin.port)
            for name, (policy, http) in names.items()
        )
        self.serve("https", f'tls = {{ certificate = "{self.folder}/cert.pem", key = "{self.folder}/key.pem" }}', more=more)
        both = ["-alpn", "h2,http/1.1"]
        chacha, aes = "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES128-GCM-SHA256"
        for name, flags, expected in [
            ("old", ["-tls1_2", "-cipher", chacha], (chacha, "h2")),
            ("old", ["-tls1_2", "-cipher", aes], (aes, "h2")),
            ("old", ["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"], ("TLS_CHACHA20_POLY1305_SHA256", "h2")),
            ("newer", ["-tls1_2", "-cipher", chacha], None),
            ("newer", ["-tls1_2", "-cipher", aes], (aes, "http/1.1")),
            ("newer", ["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"],
             ("TLS_CHACHA20_POLY1305_SHA256", "http/1.1")),
            ("new", ["-tls1_2"], None),
            ("new", ["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"], None),
            ("new", ["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"], ("TLS_AES_128_GCM_SHA256", "h2")),
            # Who asks for nobody known gets the strictest.
            ("other", ["-tls1_2"], (aes.replace("128", "256").replace("SHA256", "SHA384"), "h2")),
        ]:  # fmt: skip
            with self.subTest(name=name, flags=flags):
                self.assertEqual(self.openssl(f"{name}.example.com", *both, *flags), expected)
        # A handshake for one host is none for another that demands more.
        curl = ["curl", "-sSk", "-o", "/dev/null", "-w", "%{http_code}", "--tls-max", "1.2"]
        curl += ["--resolve", f"old.example.com:{self.port}:127.0.0.1", f"https://old.example.com:{self.port}/a"]
        run = lambda *more: subprocess.run([*curl, *more], stdout=subprocess.PIPE, text=True, check=True).stdout
        self.assertEqual(run(), "200")
        self.assertEqual(run("-H", "Host: new.example.com"), "421")

    def test_curl_tells_its_address_in_a_proxy_header(self):
        program = self.serve(listen='trusted_proxies = ["127.0.0.1"]\nproxy_protocol = true')
        curl = ["curl", "-sS", "--haproxy-protocol", self.url + "/a"]
        self.assertEqual(subprocess.run(curl, stdout=subprocess.PIPE, check=True).stdout, b"/a")
        bare = subprocess.run(["curl", "-sS", self.url + "/a"], capture_output=True, check=False)
        self.assertNotEqual(bare.returncode, 0)
        self.assertEqual([line["client"] for line in program.stop()[1]], ["127.0.0.1"])


if __name__ == "__main__":
    unittest.main()
