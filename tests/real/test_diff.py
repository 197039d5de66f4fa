"""`forebay diff`: finds what differs between Forebay and nginx, and nothing else."""

import http.server
import json
import pathlib
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import unittest

import parts
from parts import BUCKET, PROGRAM, free_port, wait_for

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
  server {{
    listen 127.0.0.1:{port};
    if ($request_method !~ ^(GET|HEAD)$) {{ return 405; }}
    location / {{ proxy_pass {bucket}; }}
    location = /type.html {{ proxy_hide_header Content-Type; {hidden} add_header Content-Type text/plain; proxy_pass {bucket}type.html; }}
    location = /content.txt {{ proxy_pass {bucket}other.txt; }}
    location = /caching.txt {{ add_header Cache-Control no-store; proxy_pass {bucket}caching.txt; }}
    location = /gone.txt {{ return 404; }}
    location = /cors.txt {{ add_header Access-Control-Allow-Origin "*"; proxy_pass {bucket}cors.txt; }}
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


class Cutter(http.server.ThreadingHTTPServer):
    daemon_threads = True


def is_open(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


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
        cutter = Cutter(("127.0.0.1", 0), Cut)
        cls.addClassCleanup(cutter.server_close)
        cls.addClassCleanup(cutter.shutdown)
        threading.Thread(target=cutter.serve_forever, daemon=True).start()
        bucket = f"{cls.store.url}/{BUCKET}/"
        config = NGINX.format(folder=cls.folder, port=port, bucket=bucket, cutter=cutter.server_port, hidden=HIDDEN)
        (cls.folder / "nginx.conf").write_text(config)
        nginx = subprocess.Popen(["nginx", "-c", cls.folder / "nginx.conf"], stderr=subprocess.DEVNULL)
        cls.addClassCleanup(nginx.wait)
        cls.addClassCleanup(nginx.terminate)
        wait_for("nginx", lambda: is_open(port))
        urls = ["/" + key.replace(" ", "%20") for key in CONTENT if key != "other.txt"]
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

    def test_it_finds_what_differs_and_nothing_else(self):
        found, code = self.differences("--urls", "urls.txt")
        self.assertEqual((code, found["objects"], found["objects_left"]), (1, len(CONTENT) - 1, 0))
        wrong = {}
        for group in found["differences"]:
            for example in group["examples"]:
                if group["class"] == "wrong":
                    wrong.setdefault((example["path"], group["place"]), []).append(example["request"])
        parts_of_it = ["first bytes", "last bytes"]
        conditions = ["If-None-Match", "If-Modified-Since"]
        whole = ["GET", "HEAD", "Accept-Encoding", "CORS"]
        expected = {
            ("/type.html", "content-type"): [*whole, *parts_of_it],
            ("/content.txt", "content"): ["GET", "Accept-Encoding", "CORS", *parts_of_it],
            ("/content.txt", "etag"): [*whole, *parts_of_it, *conditions],
            ("/caching.txt", "cache-control"): [*whole, *parts_of_it, *conditions],
            ("/gone.txt", "status"): whole,
            ("/cors.txt", "access-control-allow-origin"): [*whole, *parts_of_it],
            ("/ranges.txt", "status"): [*parts_of_it, "beyond the end"],
        }
        self.assertEqual({key: sorted(value) for key, value in wrong.items()}, {key: sorted(value) for key, value in expected.items()})
        places = {group["place"]: group for group in found["differences"]}
        (kind,) = [group for group in found["differences"] if (group["class"], group["place"]) == ("wrong", "content-type")]
        self.assertEqual({(it["reference"], it["candidate"]) for it in kind["examples"]}, {("text/html", "text/plain")})
        self.assertEqual(places["content-encoding"]["class"], "harmless")
        self.assertEqual({example["path"] for example in places["content-encoding"]["examples"]}, {"/style.css"})
        self.assertEqual((places["server"]["class"], places["age"]["class"]), ("expected", "expected"))
        for server in "reference", "candidate":
            median, p99 = (found["first_byte"][server][f"{name}_microseconds"] for name in ("median", "p99"))
            self.assertTrue(50 < median <= p99 < 20_000_000, found["first_byte"])
        text = self.diff("--urls", "urls.txt").stdout
        for line in ("content: viewers get other content", "such as GET of /content.txt", "      candidate  404 Not Found"):
            self.assertIn(line, text)

    def test_a_server_is_like_itself(self):
        found, code = self.differences("--urls", "urls.txt", servers=(self.edge.url, self.edge.url))
        self.assertEqual((code, found["wrong"]), (0, 0))
        # Error pages have the ID of the request.
        harmless = {group["place"] for group in found["differences"] if group["class"] == "harmless"}
        self.assertEqual(harmless, {"content"})

    def test_kinds_and_fields_are_chosen(self):
        found, code = self.differences("--urls", "urls.txt", "--only", "head,conditions", "--ignore", "etag", "--ignore", "Cache-Control")
        requests = {example["request"] for group in found["differences"] for example in group["examples"]}
        self.assertEqual(requests, {"HEAD", "If-None-Match", "If-Modified-Since"})
        places = {group["place"] for group in found["differences"]}
        self.assertEqual(places & {"etag", "cache-control"}, set())
        self.assertEqual(code, 1)
        (self.folder / "two.txt").write_text("/same/a.txt\n/caching.txt\n")
        self.assertEqual(self.diff("--urls", "two.txt", "--ignore", "cache-control").returncode, 0)

    def test_logs_with_their_ranges(self):
        log = [
            {"method": "GET", "path": "/ranges.txt", "range": "bytes=1-2", "status": 206},
            {"method": "GET", "path": "/same/a.txt", "status": 200},
            {"method": "GET", "path": "/same/a.txt", "status": 200},
            {"method": "POST", "path": "/same/a.txt", "status": 405},
        ]
        (self.folder / "access.log").write_text("".join(json.dumps(line) + "\n" for line in log))
        found, _ = self.differences("--access-log", "access.log", "--only", "get")
        self.assertEqual((found["objects"], found["requests"], found["wrong"]), (2, 2, 1))
        (status,) = [group for group in found["differences"] if group["class"] == "wrong"]
        (example,) = status["examples"]
        self.assertEqual(example, {"request": "GET", "path": "/ranges.txt", "reference": "206 Partial Content", "candidate": "200 OK"})
        found, _ = self.differences("--access-log", "access.log", "--only", "get", "--top", "1")
        self.assertEqual((found["objects"], found["wrong"]), (1, 0))

    def test_objects_of_each_behavior(self):
        (self.folder / "forebay.toml").write_text(
            f"""
            [listen]
            http = "127.0.0.1:1"
            [[distribution]]
            id = "media"
            aliases = ["*"]
            [[distribution.origin]]
            id = "bucket"
            bucket = "{BUCKET}"
            region = "us-east-1"
            endpoint = "{self.store.url}"
            path_style = true
            [distribution.default_behavior]
            origin = "bucket"
            cache_policy = "CachingOptimized"
            [[distribution.behavior]]
            path_pattern = "/same/*"
            origin = "bucket"
            cache_policy = "CachingOptimized"
            """
        )
        same = self.edge.url, self.edge.url
        found, code = self.differences("--prefix", "", "--only", "get", servers=same)
        # One more was stored to see whether the store was ready.
        self.assertEqual((code, found["objects"]), (0, len(CONTENT) + 1))
        found, _ = self.differences("--prefix", "", "--per-behavior", "1", "--only", "get", servers=same)
        self.assertEqual(found["objects"], 2)

    def test_responses_that_break_off_are_wrong(self):
        (self.folder / "cut.txt").write_text("/cut.txt\n/same/a.txt\n")
        self.store.s3.put_object(Bucket=BUCKET, Key="cut.txt", Body=b"x" * 1000)
        found, code = self.differences("--urls", "cut.txt", "--only", "get")
        wrong = [group for group in found["differences"] if group["class"] == "wrong"]
        self.assertEqual((code, [group["place"] for group in wrong], found["objects"]), (1, ["response"], 2))
        self.assertEqual(wrong[0]["examples"][0]["reference"], "200 OK")

    def test_the_rate_is_bounded(self):
        begun = time.monotonic()
        found, _ = self.differences("--urls", "urls.txt", "--only", "get,head", "--rate", "10")
        self.assertEqual(found["requests"], 2 * (len(CONTENT) - 1))
        self.assertGreaterEqual(time.monotonic() - begun, (found["requests"] - 1) / 10)

    def test_what_is_refused(self):
        for arguments, said in [
            (["http://192.0.2.1", self.nginx, "--urls", "urls.txt"], "--i-own-this-host"),
            ([self.edge.url, "http://192.0.2.1", "--urls", "urls.txt"], "--i-own-this-host"),
            ([self.edge.url, self.nginx + "/a", "--urls", "urls.txt"], "names a path"),
            ([self.edge.url, self.nginx], "nothing to request"),
            ([self.edge.url, self.nginx, "--urls", "none.txt"], "none.txt"),
            ([self.edge.url, "http://127.0.0.1:1", "--urls", "urls.txt"], "http://127.0.0.1:1: Connection refused"),
            ([self.edge.url, self.nginx, "--urls", "urls.txt", "--rate", "0"], "--rate cannot be 0"),
        ]:
            with self.subTest(arguments=arguments):
                ran = subprocess.run([PROGRAM, "diff", *arguments], cwd=self.folder, capture_output=True, text=True, timeout=60)
                self.assertEqual((ran.returncode, ran.stdout), (1, ""))
                self.assertIn(said, ran.stderr)


if __name__ == "__main__":
    unittest.main()
