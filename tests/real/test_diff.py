"""`forebay diff`: finds what differs between Forebay and nginx, and nothing else."""

import gzip
import http.server
import itertools
import json
import pathlib
import shutil
import subprocess
import tempfile
import threading
import time
import unittest

import parts
from parts import BUCKET, PROGRAM, free_port, is_open, wait_for

KEYS = {"AWS_ACCESS_KEY_ID": parts.ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": parts.SECRET_KEY}

# What only a bucket's owner is to see; a location with such lines of its own does not inherit them.
HIDDEN = " ".join(f"proxy_hide_header {name};" for name in ("x-amz-request-id", "seaweed-x-amz-etag", "seaweed-x-amz-owner"))
NGINX = """\
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.err;
events {{}}
http {{
  access_log off; gzip on; gzip_types text/css; gzip_proxied any; gzip_vary on;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  proxy_cache_path {folder}/cached keys_zone=media:1m;
  proxy_cache media; proxy_cache_valid 200 1h; proxy_set_header Origin "";
  {hidden}
  map $http_origin $allowed {{ https://www.example.com $http_origin; }}
  server {{
    listen 127.0.0.1:{port};
    if ($request_method !~ ^(GET|HEAD)$) {{ return 405; }}
    location / {{ proxy_pass {bucket}; }}
    location = /type.html {{ proxy_hide_header Content-Type; {hidden} add_header Content-Type text/plain; proxy_pass {bucket}type.html; }}
    location = /content.txt {{ proxy_pass {bucket}other.txt; }}
    location = /caching.txt {{ add_header Cache-Control no-store; proxy_pass {bucket}caching.txt; }}
    location = /gone.txt {{ return 404; }}
    location = /cors.txt {{ add_header Access-Control-Allow-Origin "*"; proxy_pass {bucket}cors.txt; }}
    location = /allowed.txt {{ add_header Access-Control-Allow-Origin $allowed; proxy_pass {bucket}allowed.txt; }}
    location = /ranges.txt {{ max_ranges 0; proxy_set_header Origin ""; proxy_set_header Range ""; proxy_pass {bucket}ranges.txt; }}
    location = /cut.txt {{ proxy_pass http://127.0.0.1:{cutter}; proxy_cache off; }}
  }}
}}
"""
CONTENT = {
    "same/a.txt": ("text/plain", b"a" * 1000),
    "same/b c.txt": ("text/plain", b"b" * 1000),
    "style.css": ("text/css", b"body { margin: 0 } " * 500),
    "type.html": ("text/html", b"<p>text</p>" * 20),
    "content.txt": ("text/plain", b"one" * 100),
    "other.txt": ("text/plain", b"two" * 100),
    "caching.txt": ("text/plain", b"text" * 100),
    "gone.txt": ("text/plain", b"text" * 100),
    "cors.txt": ("text/plain", b"text" * 100),
    "ranges.txt": ("text/plain", b"text" * 100),
    "allowed.txt": ("text/plain", b"text" * 100),
    "cut.txt": ("text/plain", b"x" * 1000),
}


class Cut(http.server.BaseHTTPRequestHandler):
    """Sends half of what it announces."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"x" * 500)

    def log_message(self, *_):
        pass


class Hostile(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    bomb = gzip.compress(bytes(1 << 20)) * 4096

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        number = next(self.server.numbers)
        content, length = (self.bomb, None) if self.path.startswith("/bomb") else (b"text", None)
        self.send_response(200)
        if self.path.startswith("/bomb"):
            self.send_header("Content-Encoding", "gzip")
        if self.path.startswith("/moody"):
            self.send_header("X-Number", str(number))
        if self.path.startswith("/moody-content"):
            content = b"%08d" % number
        if self.path.startswith("/random"):
            self.send_header(f"x-{number}", "v" * 6000)
        if self.path.startswith("/cut-later") and number % 3 == 0:
            length = 1000
        self.send_header("ETag", '"tag"')
        self.send_header("Content-Length", str(length or len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)
        # The client does not know.
        self.close_connection = length is not None or self.path.startswith("/closes")

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    numbers = itertools.count(1)

    @classmethod
    def start(cls, handler):
        server = cls(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    def stop(self):
        self.shutdown()
        self.server_close()


class Diff(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.store = parts.SeaweedFS(public=True)
        cls.addClassCleanup(cls.store.stop)
        for key, (kind, content) in CONTENT.items():
            cls.store.s3.put_object(Bucket=BUCKET, Key=key, Body=content, ContentType=kind, CacheControl="max-age=60")
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="forebay-diff-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.folder.chmod(0o755)
        cls.edge = parts.Forebay(cls.store.url, "--path-style")
        cls.addClassCleanup(cls.edge.stop)
        port = free_port()
        cls.nginx = f"http://127.0.0.1:{port}"
        cutter, cls.hostile = Server.start(Cut), Server.start(Hostile)
        cls.addClassCleanup(cutter.stop)
        cls.addClassCleanup(cls.hostile.stop)
        bucket = f"{cls.store.url}/{BUCKET}/"
        config = NGINX.format(folder=cls.folder, port=port, bucket=bucket, cutter=cutter.server_port, hidden=HIDDEN)
        (cls.folder / "nginx.conf").write_text(config)
        nginx = subprocess.Popen(["nginx", "-c", cls.folder / "nginx.conf"], stderr=subprocess.DEVNULL)
        cls.addClassCleanup(nginx.wait)
        cls.addClassCleanup(nginx.terminate)
        wait_for("nginx", lambda: is_open(port))
        urls = ["/" + key.replace(" ", "%20") for key in CONTENT if key not in ("other.txt", "cut.txt")]
        (cls.folder / "urls.txt").write_text("\n".join(urls))

    def diff(self, *arguments, servers=None):
        reference, candidate = servers or (self.edge.url, self.nginx)
        rate = [] if "--rate" in arguments else ["--rate", "1000"]
        command = [PROGRAM, "diff", reference, candidate, *rate, *map(str, arguments)]
        return subprocess.run(command, cwd=self.folder, env=KEYS, capture_output=True, text=True, timeout=120)

    def differences(self, *arguments, **options):
        ran = self.diff("--json", *arguments, **options)
        self.assertEqual(ran.stderr, "")
        return json.loads(ran.stdout), ran.returncode

    def wrong(self, found):
        """The wrong differences: URL and aspect, with the requests that have them."""
        wrong = {}
        for group in found["differences"]:
            if group["class"] == "wrong":
                for url in group["urls"]:
                    wrong.setdefault((url, group["aspect"]), []).extend(group["requests"])
        return {key: sorted(set(value)) for key, value in wrong.items()}

    def test_it_finds_what_differs_and_nothing_else(self):
        found, code = self.differences("--urls", "urls.txt")
        self.assertEqual((code, found["objects"], found["objects_left"]), (1, len(CONTENT) - 2, 0))
        self.assertEqual(found["reference_successes"], len(CONTENT) - 2)
        outcomes = [found[name] for name in ("alike", "harmless", "wrong", "not_compared")]
        self.assertEqual((sum(outcomes), outcomes[3]), (found["requests"], 0))
        parts_of_it = ["first bytes", "last bytes"]
        conditions = ["If-Modified-Since", "If-None-Match"]
        whole = ["Accept-Encoding", "CORS", "GET", "HEAD"]
        expected = {
            ("/type.html", "content-type"): [*whole, *parts_of_it],
            ("/content.txt", "content"): ["Accept-Encoding", "CORS", "GET", *parts_of_it],
            ("/content.txt", "etag"): [*whole, *conditions, *parts_of_it],
            ("/caching.txt", "cache-control"): [*whole, *conditions, *parts_of_it],
            ("/gone.txt", "status"): whole,
            ("/cors.txt", "access-control-allow-origin"): [*whole, *parts_of_it],
            ("/ranges.txt", "status"): ["bytes beyond the end", *parts_of_it],
        }
        self.assertEqual(self.wrong(found), {key: sorted(value) for key, value in expected.items()})
        groups = {(group["class"], group["aspect"]): group for group in found["differences"]}
        kind = groups["wrong", "content-type"]
        self.assertEqual((kind["reference"], kind["candidate"]), ("text/html", "text/plain"))
        self.assertEqual(groups["harmless", "content-encoding"]["urls"], ["/style.css"])
        self.assertTrue({("expected", "server"), ("expected", "age")} <= set(groups))
        for server in "reference", "candidate":
            times = [found["first_byte"][server][f"{name}_microseconds"] for name in ("median", "p99", "longest")]
            self.assertEqual(times, sorted(times))
            self.assertGreater(times[0], 20)
        text = self.diff("--urls", "urls.txt").stdout
        for line in (
            "\n  content\n", "    300 bytes, SHA-256 ", "    200 OK  →  404 Not Found\n      4 responses to GET, HEAD, Accept-Encoding, CORS: /gone.txt\n",
            "    206 Partial Content  →  200 OK\n", "      2 responses to first bytes, last bytes: /ranges.txt\n", "10 objects; the reference answered 10 of them with 2xx",
        ):  # fmt: skip
            self.assertIn(line, text)

    def test_a_server_is_like_itself(self):
        same = self.edge.url, self.edge.url
        found, code = self.differences("--urls", "urls.txt", servers=same)
        self.assertEqual((code, found["wrong"]), (0, 0))
        # Error pages have the ID of the request.
        harmless = {group["aspect"] for group in found["differences"] if group["class"] == "harmless"}
        self.assertEqual(harmless, {"content"})
        ran = self.diff("--json", "--urls", "urls.txt", "--error-pages", servers=same)
        found = json.loads(ran.stdout)
        self.assertEqual((ran.returncode, found["wrong"], found["not_compared"] > 0), (2, 0, True))

    def test_servers_that_fail_alike_are_not_compared(self):
        (self.folder / "none.txt").write_text("/no/a.txt\n/no/b.txt\n")
        ran = self.diff("--urls", "none.txt", servers=(self.edge.url, self.edge.url))
        self.assertEqual(ran.returncode, 2)
        self.assertIn("has none of the objects", ran.stderr)
        self.assertIn("the reference answered 0 of them with 2xx", ran.stdout)

    def test_kinds_and_fields_are_chosen(self):
        found, code = self.differences("--urls", "urls.txt", "--only", "head,conditions", "--ignore", "etag,Cache-Control")
        requests = {request for group in found["differences"] for request in group["requests"]}
        self.assertEqual(requests, {"GET", "HEAD", "If-None-Match", "If-Modified-Since"})
        gets = {group["aspect"] for group in found["differences"] if group["requests"] == ["GET"]}
        self.assertEqual(gets, set())
        aspects = {group["aspect"] for group in found["differences"]}
        self.assertEqual(aspects & {"etag", "cache-control"}, set())
        self.assertEqual(code, 1)
        (self.folder / "two.txt").write_text("/same/a.txt\n/caching.txt\n")
        self.assertEqual(self.diff("--urls", "two.txt", "--ignore", "cache-control").returncode, 0)
        (self.folder / "query.txt").write_text("/gone.txt?v=1&Signature=secret&Key-Pair-Id=K&Expires=1\n/same/a.txt\n")
        found, _ = self.differences("--urls", "query.txt", "--only", "get")
        self.assertEqual(self.wrong(found), {("/gone.txt?v=1", "status"): ["GET"]})

    def test_what_only_one_server_allows(self):
        """Without a response to GET, nothing else can be requested."""
        (self.folder / "gone.txt").write_text("/gone.txt\n/same/a.txt\n")
        found, code = self.differences("--urls", "gone.txt", "--only", "ranges")
        self.assertEqual((code, self.wrong(found)), (1, {("/gone.txt", "status"): ["GET"]}))
        (self.folder / "ranges.log").write_text(json.dumps({"method": "GET", "path": "/same/a.txt", "range": "bytes=1-2", "status": 206}) + "\n")
        found, code = self.differences("--access-log", "ranges.log", "--only", "head")
        self.assertEqual((code, found["requests_not_sent"]), (0, ["HEAD"]))

    def test_the_site_of_cors_requests_is_chosen(self):
        site = "https://www.example.com"
        (self.folder / "allowed.txt").write_text("/allowed.txt\n")
        self.assertEqual(self.diff("--urls", "allowed.txt", "--only", "cors").returncode, 0)
        found, code = self.differences("--urls", "allowed.txt", "--only", "cors", "--origin", site)
        (group,) = [group for group in found["differences"] if group["class"] == "wrong"]
        self.assertEqual((code, group["aspect"], group["reference"], group["candidate"]), (1, "access-control-allow-origin", None, site))

    def test_what_the_reference_changes_itself_is_no_fault(self):
        server = f"http://127.0.0.1:{self.hostile.server_port}"
        for path, aspect, expected in ("/moody", "x-number", ("expected", 0)), ("/moody-content", "content", ("not_compared", 2)):
            with self.subTest(path):
                (self.folder / "moody.txt").write_text(f"{path}\n")
                ran = self.diff("--json", "--urls", "moody.txt", "--only", "get", servers=(server, server + "/"))
                found, code = json.loads(ran.stdout), ran.returncode
                classes = {group["aspect"]: group["class"] for group in found["differences"]}
                self.assertEqual((classes[aspect], code), expected)

    def test_hostile_responses(self):
        """What breaks off, decompresses to gigabytes, closes idle connections, or has endless different fields."""
        server = f"http://127.0.0.1:{self.hostile.server_port}"
        for path, only in ("/closes", "get,head,conditions"), ("/bomb", "get"), ("/cut-later", "get"):
            with self.subTest(path):
                (self.folder / "hostile.txt").write_text("".join(f"{path}?{number}\n" for number in range(4)))
                ran = self.diff("--json", "--urls", "hostile.txt", "-c", "1", "--only", only, servers=(server, server + "/"))
                found, is_cut = json.loads(ran.stdout), path == "/cut-later"
                self.assertEqual((ran.returncode != 0, found["wrong"] + found["not_compared"] > 0), (is_cut, is_cut), found)
        (self.folder / "hostile.txt").write_text("".join(f"/random?{number}\n" for number in range(300)))
        found, code = self.differences("--urls", "hostile.txt", "--only", "get", servers=(server, server))
        self.assertEqual(code, 1)
        self.assertTrue(all(len(group["candidate"] or "") <= 201 for group in found["differences"]))

    def test_logs_with_their_ranges(self):
        log = [
            {"method": "GET", "path": "/ranges.txt", "range": "bytes=1-2", "status": 206},
            {"method": "GET", "path": "/same/a.txt", "status": 200},
            {"method": "GET", "path": "/same/a.txt", "status": 200},
            {"method": "POST", "path": "/same/a.txt", "status": 405},
        ]
        (self.folder / "access.log").write_text("".join(json.dumps(line) + "\n" for line in log))
        ran = self.diff("--json", "--access-log", "access.log", "--only", "get")
        self.assertIn("1 are not GET, 0 are in an unknown format", ran.stderr)
        found = json.loads(ran.stdout)
        self.assertEqual((found["objects"], found["requests"], found["wrong"]), (2, 2, 1))
        (status,) = [group for group in found["differences"] if group["class"] == "wrong"]
        self.assertEqual((status["urls"], status["reference"], status["candidate"]), (["/ranges.txt (bytes=1-2)"], "206 Partial Content", "200 OK"))
        found = json.loads(self.diff("--json", "--access-log", "access.log", "--only", "get", "--top", "1").stdout)
        self.assertEqual((found["objects"], found["wrong"]), (1, 0))

    def test_objects_of_each_behavior(self):
        policy = 'origin = "bucket"\ncache_policy = "CachingOptimized"\n'
        (self.folder / "forebay.toml").write_text(
            '[listen]\nhttp = "127.0.0.1:1"\n'
            + parts.DISTRIBUTION.format(bucket=BUCKET, endpoint=self.store.url)
            + f'[distribution.default_behavior]\n{policy}[[distribution.behavior]]\npath_pattern = "/same/*"\n{policy}'
        )
        same = self.edge.url, self.edge.url
        found, code = self.differences("--prefix", "", "--only", "get", servers=same)
        # One more was stored to see whether the store was ready.
        self.assertEqual((code, found["objects"]), (0, len(CONTENT) + 1))
        found, _ = self.differences("--prefix", "", "--per-behavior", "1", "--only", "get", servers=same)
        self.assertEqual(found["objects"], 2)

    def test_responses_that_break_off_are_wrong(self):
        (self.folder / "cut.txt").write_text("/cut.txt\n/same/a.txt\n")
        found, code = self.differences("--urls", "cut.txt", "--only", "get")
        (group,) = [group for group in found["differences"] if group["class"] == "wrong"]
        self.assertEqual((code, group["aspect"], found["objects"], group["reference"]), (1, "response", 2, "200 OK"))
        ran = self.diff("--json", "--urls", "cut.txt", "--only", "get", servers=(self.nginx, self.edge.url))
        found = json.loads(ran.stdout)
        self.assertEqual((ran.returncode, found["wrong"], found["not_compared"]), (2, 0, 1))

    def test_the_rate_is_bounded(self):
        begun = time.monotonic()
        found, _ = self.differences("--urls", "urls.txt", "--only", "get,head", "--rate", "10")
        self.assertEqual(found["requests"], 2 * (len(CONTENT) - 2))
        self.assertGreaterEqual(time.monotonic() - begun, (found["requests"] - 1) / 10)

    def test_what_is_refused(self):
        for arguments, said in [
            (["http://192.0.2.1", self.nginx, "--urls", "urls.txt"], "--i-own-this-host"),
            ([self.edge.url, "http://192.0.2.1", "--urls", "urls.txt"], "--i-own-this-host"),
            ([self.edge.url, self.nginx + "/a", "--urls", "urls.txt"], "names a path"),
            ([self.edge.url, self.nginx], "nothing to request"),
            ([self.edge.url, self.nginx, "--urls", "not-there.txt"], "not-there.txt"),
            ([self.edge.url, "http://127.0.0.1:1", "--urls", "urls.txt"], "the candidate, http://127.0.0.1:1: Connection refused"),
            ([self.edge.url, self.nginx, "--urls", "urls.txt", "--rate", "0"], "--rate cannot be 0"),
        ]:
            with self.subTest(arguments=arguments):
                ran = subprocess.run([PROGRAM, "diff", *arguments], cwd=self.folder, capture_output=True, text=True, timeout=60)
                self.assertEqual((ran.returncode, ran.stdout), (2, ""))
                self.assertIn(said, ran.stderr)


if __name__ == "__main__":
    unittest.main()
