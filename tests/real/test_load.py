"""The load generator, as a program: before a real edge, and its page in Chromium."""

import collections
import json
import pathlib
import resource
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import trustme

import parts
from browser import Browser
from parts import BUCKET, free_port, wait_for

CONFIG = (
    """
[listen]
http = "127.0.0.1:{port}"
https = "127.0.0.1:{tls_port}"
tls = {{ certificate = "cert.pem", key = "key.pem" }}
[admin]
listen = "127.0.0.1:{admin}"
"""
    + parts.DISTRIBUTION
    + """[distribution.default_behavior]
origin = "bucket"
cache_policy = "CachingOptimized"
"""
)


class Load(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.store = parts.SeaweedFS()
        cls.addClassCleanup(cls.store.stop)
        for number in range(20):
            cls.store.s3.put_object(Bucket=BUCKET, Key=f"photos/{number}.jpg", Body=b"x" * (1000 + number))
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="forebay-load-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.certificate = trustme.CA().issue_cert("127.0.0.1", "media.example.com")
        (cls.folder / "cert.pem").write_bytes(cls.certificate.cert_chain_pems[0].bytes())
        (cls.folder / "key.pem").write_bytes(cls.certificate.private_key_pem.bytes())
        port, cls.tls_port, admin = free_port(), free_port(), free_port()
        config = CONFIG.format(port=port, tls_port=cls.tls_port, admin=admin, bucket=BUCKET, endpoint=cls.store.url)
        (cls.folder / "forebay.toml").write_text(config)
        cls.edge = parts.Program(
            f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin}", "--config", cls.folder / "forebay.toml",
            AWS_ACCESS_KEY_ID=parts.ACCESS_KEY, AWS_SECRET_ACCESS_KEY=parts.SECRET_KEY,
        )  # fmt: skip
        cls.addClassCleanup(cls.edge.stop)

    def load(self, *arguments, code=0, files=None):
        """What it prints; `files` is how many it may open, or how many first and at most."""

        def limit():
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, files if isinstance(files, tuple) else (files, hard))

        done = subprocess.run(
            [parts.PROGRAM, "load", *arguments], cwd=self.folder, capture_output=True, text=True, timeout=120, check=False,
            preexec_fn=limit if files else None,
        )  # fmt: skip
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout if code == 0 else done.stderr

    def test_a_manifest_by_zipfs_law_and_its_log_again(self):
        (self.folder / "urls.txt").write_text("".join(f"/photos/{number}.jpg\n" for number in range(20)))
        report = json.loads(
            self.load(self.edge.url, "--urls", "urls.txt", "--zipf", "1", "--warm", "-n", "3000", "-c", "8", "--json")
        )
        self.assertEqual((report["requests"], report["urls"], report["statuses"]), (3000, 20, {"200": 3000}))
        self.assertEqual(report["hit_ratio"], 1)
        # Its own clients, of HTTP/2 with TLS, ask for what that log tells, as often as it tells.
        log = self.folder / "access.log"
        written = pathlib.Path(f"/proc/{self.edge.process.pid}/fd/1")
        # The first 20 warmed; the log is written a moment later.
        wait_for("the log", lambda: written.read_text().count("\n") >= 3020)
        log.write_text(written.read_text())
        asked = collections.Counter(json.loads(line)["path"] for line in log.read_text().splitlines())
        self.assertEqual(sum(asked.values()), 3020)
        self.assertGreater(asked["/photos/0.jpg"], 3 * asked["/photos/9.jpg"])
        table = self.load(
            f"https://127.0.0.1:{self.tls_port}", "--access-log", "access.log", "--random", "--http2", "--insecure",
            "-n", "2000", "--ranges", "30", "--range-length", "100B", "--warm",
        )  # fmt: skip
        self.assertIn("HTTP/2 with TLS, 64 connections with 16 streams each", table)
        self.assertRegex(table, r"statuses    200: 1,[34]\d\d, 206: [56]\d\d")

    def test_logs_at_their_own_speed(self):
        combined = '203.0.113.1 - - [25/Nov/2026:01:02:{:02} +0000] "GET /photos/{}.jpg?v=1 HTTP/1.1" 200 1000 "-" "-"\n'
        # In two files, one second without requests.
        for name, seconds in ("b.log", (5, 6)), ("a.log", (8,)):
            lines = [combined.format(second, number) for second in seconds for number in range(10)]
            (self.folder / name).write_text("".join(lines))
        logs = ["--access-log", "b.log", "--access-log", "a.log"]
        report = json.loads(self.load(self.edge.url, *logs, "--speed", "2", "--json"))
        self.assertEqual((report["statuses"], report["speed"], report["rate"]), ({"200": 30}, 2, None))
        # The last is due nine tenths of a second after the third second began.
        self.assertAlmostEqual(report["seconds"], 3.9 / 2, delta=0.5)
        self.assertIn("at 20× the logged speed, for", self.load(self.edge.url, *logs, "--speed", "20"))
        report = json.loads(self.load(self.edge.url, *logs, "--speed", "1", "-d", "1s", "--json"))
        self.assertEqual(report["statuses"], {"200": 10})
        (self.folder / "no-times.log").write_text('{"method":"GET","path":"/photos/1.jpg"}\n')
        self.assertIn("leave out --speed", self.load(self.edge.url, "--access-log", "no-times.log", "--speed", "1", code=1))
        for speed in "0", "-1", "nan":
            self.assertIn("--speed cannot be", self.load(self.edge.url, *logs, "--speed", speed, code=1))
        self.assertIn("--rate", self.load(self.edge.url, *logs, "--speed", "1", "--rate", "5", code=2))

    def test_its_page_shows_what_happened(self):
        page = self.folder / "load.html"
        self.load(f"{self.edge.url}/photos/1.jpg", "-d", "4s", "-r", "500", "--html", page)
        browser = Browser(self.certificate.cert_chain_pems[0].bytes(), "media.example.com")
        self.addCleanup(browser.stop)
        seen = browser.visit(page.as_uri(), screenshot=str(self.folder / "load.png"))
        self.assertEqual(list(seen["answers"]), [page.as_uri()])  # it needs nothing else
        plots = collections.defaultdict(list)
        for title, name, (left, top, right, bottom), plot in seen["curves"]:
            plots[title].append(name)
            # As wide as the run was long, and within its plot.
            self.assertGreater(right - left, (plot[2] - plot[0]) / 2, title)
            self.assertTrue(plot[0] <= left and right <= plot[2] and plot[1] <= top and bottom <= plot[3], title)
        self.assertEqual(
            plots,
            {
                "Latency by percentile": ["latency"],
                "Requests/s": ["requests/s"],
                "Misses": ["misses"],
                "Latency over time": ["p50", "p90", "p99", "p99.9"],
            },
        )

    def test_others_are_left_alone(self):
        refused = self.load("http://192.0.2.1/", code=1)
        self.assertIn("192.0.2.1:80 is not on this machine", refused)
        self.assertIn("--i-own-this-host", refused)
        # Where one says so, it is tried: nobody is there.
        said = self.load("http://192.0.2.1/", "--i-own-this-host", "-n", "2", "--timeout", "200ms", code=1)
        self.assertRegex(" ".join(said.split()), "no connection within 200ms|nreachable|refused")

    def test_more_connections_than_files_are_usually_open(self):
        report = self.load(f"{self.edge.url}/photos/1.jpg", "-c", "300", "-r", "1000", "-d", "1s", "--fail-over-errors", "100%", "--json", files=128)
        report = json.loads(report)
        self.assertEqual(report["requests"] + report["failures"].get("due, not sent", 0), 1000)
        self.assertNotIn("not connected", report["failures"])
        said = self.load(f"{self.edge.url}/photos/1.jpg", "-c", "300", code=1, files=(128, 200))
        self.assertIn("300 connections are more than this process may open", " ".join(said.split()))

    def test_who_interrupts_gets_the_figures(self):
        page = self.folder / "interrupted.html"
        page.write_text("what was there")
        process = subprocess.Popen(
            [parts.PROGRAM, "load", f"{self.edge.url}/photos/1.jpg", "-d", "60s", "--html", page], stdout=subprocess.PIPE, text=True
        )
        time.sleep(2)
        self.assertEqual(page.read_text(), "what was there")
        process.send_signal(signal.SIGINT)
        table, _ = process.communicate(timeout=10)
        self.assertEqual(process.returncode, 130)
        self.assertRegex(table, r"time        [12]\.\d s, then interrupted\n")
        self.assertRegex(table, r"statuses    200: [\d,]+\n")
        self.assertIn("<svg", page.read_text())

    def test_limits_decide_the_exit_code(self):
        url = f"{self.edge.url}/photos/1.jpg"
        self.load(url, "-n", "100", "--max-p99", "20s")
        said = self.load(url, "-n", "100", "--max-p99", "1us", code=1)
        self.assertRegex(said, r"the p99 is .*, longer than --max-p99 1us")
        both = [url, f"{self.edge.url}/photos/none.jpg", "-n", "100", "-c", "1"]
        self.assertIn("50 errors, more than --fail-over-errors 0", self.load(*both, code=1))
        self.assertIn("more than --fail-over-errors 49.5%", self.load(*both, "--fail-over-errors", "49.5%", code=1))
        self.load(*both, "--fail-over-errors", "50")
        self.load(*both, "--fail-over-errors", "50%")

    def test_the_report_says_how_it_was_made(self):
        page = self.folder / "made.html"
        url = f"{self.edge.url}/photos/1.jpg"
        table = self.load(url, "-n", "50", "-H", "Authorization: Bearer secret", "-H", "X-Kind: a b", "--html", page)
        self.assertIn(f"command     forebay load {url} -n 50 -H 'Authorization: …' -H 'X-Kind: a b' --html", table)
        self.assertRegex(table, r"machine     \d+ cores?, .*Linux")
        text = page.read_text()
        self.assertIn(f"<li>{url}</li>", text)
        self.assertNotIn("secret", text)
        # The same words above and below.
        for name in ("requests/s", "hits", "latency p50", "latency p99", "errors"):
            self.assertIn(name, text)

    def test_mistakes_are_told(self):
        for arguments, said in [
            (["nonsense"], "`nonsense` is not a URL"),
            (["http://127.0.0.1:8080/a", "http://127.0.0.1:8081/a"], "test one server at a time"),
            (["http://127.0.0.1:1/a", "--zipf=-1"], "--zipf cannot be -1"),
            (["http://127.0.0.1:1/a", "--rate", "0"], "--rate cannot be 0"),
            (["http://127.0.0.1:1/a", "--ranges", "70", "--conditions", "40"], "together cannot be 110"),
            (["http://127.0.0.1:1/a", "--warm", "-n", "1"], "check that a server listens there"),
            (["http://127.0.0.1:1/", "--urls", "missing.txt"], "cannot read `missing.txt`"),
            (["http://127.0.0.1:1/a", "--urls", "urls.txt"], "`http://127.0.0.1:1/a` would be ignored"),
            (["http://127.0.0.1:1", "http://127.0.0.1:1/b", "--access-log", "a"], "`http://127.0.0.1:1/b` would be ignored"),
            (["http://127.0.0.1:99999/a"], "its port is not between 1 and 65535"),
            (["http://127.0.0.1:1/a", "-d", "0s"], "--duration cannot be 0"),
            (["http://127.0.0.1:1/a", "-c", "2000", "--http2", "-m", "1000"], "cannot be 2000000"),
            (["http://127.0.0.1:1/a", "-H", "Host: a b"], "has an invalid host"),
            (["http://127.0.0.1:1/a", "-H", "Content-Length: 5"], "describes content"),
            (["http://127.0.0.1:1/a", "-n", "1", "--html", self.folder / "in-vain.html"], "onnection refused"),
            (["http://127.0.0.1:1/a", "--html", "missing/load.html"], "cannot write `missing/load.html`"),
            (
                ["http://127.0.0.1:1/a", "--sign-with", "key.pem", "--key-pair-id", "K", "--valid", "10s"],
                "URLs that are valid for 10s expire during a run of 10s",
            ),
        ]:
            self.assertIn(said, " ".join(self.load(*arguments, code=1).split()), arguments)
        self.assertFalse((self.folder / "in-vain.html").exists(), "an empty page is left behind")


if __name__ == "__main__":
    unittest.main()
