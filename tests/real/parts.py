"""The foreign parts: a SeaweedFS that verifies signatures, boto3 that fills it, and Forebay before it."""

import http.server
import json
import os
import pathlib
import random
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

import boto3
from botocore.client import Config

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "target/debug/forebay"
BUCKET = "my-media-bucket"

# For all hosts, before a bucket; to be formatted. A default behavior follows.
DISTRIBUTION = """\
[[distribution]]
id = "media"
aliases = ["*"]
[[distribution.origin]]
id = "bucket"
bucket = "{bucket}"
region = "us-east-1"
endpoint = "{endpoint}"
path_style = true
"""

# For all hosts, before a plain origin; to be formatted. More lines of the default behavior may follow.
PLAIN_DISTRIBUTION = """\
[[distribution]]
id = "media"
aliases = ["*"]
[[distribution.origin]]
id = "origin"
url = "{origin}"
signing = "never"
[distribution.default_behavior]
origin = "origin"
cache_policy = "CachingOptimized"
"""

HANDED_OUT = set()
ACCESS_KEY, SECRET_KEY = "AKIDREALPARTS", "realpartssecret"


def free_port():
    """A port that is free, as is its neighbour 10,000 above: SeaweedFS takes both.

    Both lie below the ports that the kernel hands to outgoing connections, so that none of those can take
    them between this look and their use; and none is handed out twice.
    """
    while True:
        port = random.randrange(10_000, 20_000)
        if port in HANDED_OUT:
            continue
        with socket.socket() as one, socket.socket() as two:
            try:
                one.bind(("127.0.0.1", port))
                two.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
        HANDED_OUT.add(port)
        return port


def wait_for(what, condition, said=str, seconds=120):
    """Waits until the condition holds; if it never does, the error tells what the program `said`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come to be in {seconds} s:\n{said()}")


def fetch(url, method="GET", headers=None, data=None):
    """(status, headers, body); errors are answers too."""
    request = urllib.request.Request(url, method=method, headers=headers or {}, data=data)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def is_open(port):
    """Whether something listens on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Origin(http.server.ThreadingHTTPServer):
    """A plain origin that answers with the path, and keeps what it was asked."""

    daemon_threads = True
    status = 200

    @classmethod
    def start(cls, tls=None):
        server = cls(("127.0.0.1", 0), Echo)
        server.asked, server.port = [], server.server_port
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    def stop(self):
        self.shutdown()
        self.server_close()


class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        fields = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append(fields | {"path": self.path})
        # The answer to these takes long.
        if self.path.startswith("/slow"):
            time.sleep(0.3)
        content = self.path.encode().ljust(getattr(self.server, "length", 0), b"x")
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "max-age=3600")
        self.send_header("ETag", '"tag"')
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


class SeaweedFS:
    """A store. It reports changes of objects to the webhook, given as URL and token, if any. Public ones need no signature to be
    read."""

    def __init__(self, webhook=None, public=False):
        self.folder = tempfile.mkdtemp(prefix="forebay-seaweed-")
        if webhook:
            endpoint, token = webhook
            notify = f'[notification.webhook]\nenabled = true\nendpoint = "{endpoint}"\nbearer_token = "{token}"\n'
            pathlib.Path(self.folder, "notification.toml").write_text(notify)
        keys = {
            "identities": [
                {
                    "name": "edge",
                    "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
                    "actions": ["Admin", "Read", "Write", "List"],
                }
            ]
        }
        if public:
            keys["identities"].append({"name": "anonymous", "actions": ["Read"]})
        config = pathlib.Path(self.folder, "keys.json")
        config.write_text(json.dumps(keys))
        master, volume, filer, self.port = (free_port() for _ in range(4))
        self.log = open(pathlib.Path(self.folder, "log"), "w", encoding="utf-8")
        self.process = subprocess.Popen(
            [
                pathlib.Path(sys.executable).parent / "weed", "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
                f"-dir={self.folder}", f"-master.port={master}", f"-volume.port={volume}", "-filer",
                f"-filer.port={filer}", "-s3", f"-s3.port={self.port}", "-s3.port.iceberg=0", "-s3.port.lance=0",
                f"-s3.config={config}", "-volume.max=20", "-master.volumeSizeLimitMB=64",
                "-volume.preStopSeconds=0",
            ],
            stdout=self.log, stderr=self.log, cwd=self.folder,
        )  # fmt: skip
        self.url = f"http://127.0.0.1:{self.port}"
        self.s3 = boto3.client(
            "s3", endpoint_url=self.url, region_name="us-east-1", aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY, config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
        )  # fmt: skip
        self.last_error = None
        wait_for("SeaweedFS", self.ready, self.said)

    def ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"SeaweedFS ended: {self.said()}")
        try:
            self.s3.create_bucket(Bucket=BUCKET)
        except self.s3.exceptions.BucketAlreadyOwnedByYou:
            pass
        except Exception as error:  # any: it is starting
            if "BucketAlreadyExists" not in str(error):
                self.last_error = error
                return False
        try:
            self.s3.put_object(Bucket=BUCKET, Key="ready", Body=b"ready")
            return True
        except Exception as error:
            self.last_error = error
            return False

    def said(self):
        log = pathlib.Path(self.folder, "log").read_text(encoding="utf-8")
        return f"{log[-4000:]}\nlast refusal: {self.last_error}"

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Program:
    """`forebay serve` with `arguments`; its log and its access log are kept. `within` is a command that runs it, and
    `path` is the page of the admin listener that shows that it has started."""

    def __init__(self, url, admin, *arguments, within=(), path="/readyz", **environment):
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("AWS_")
        } | {"AWS_EC2_METADATA_DISABLED": "true"} | environment
        self.log = tempfile.TemporaryFile("w+", encoding="utf-8")
        self.access_log = tempfile.TemporaryFile("w+", encoding="utf-8")
        self.process = subprocess.Popen(
            [*within, PROGRAM, "serve", *arguments], env=environment, stdout=self.access_log, stderr=self.log
        )
        self.url, self.admin, self.path = url, admin, path
        wait_for("Forebay", self.ready, self.said)

    def ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"Forebay ended: {self.said()}")
        try:
            return fetch(self.admin + self.path)[0] == 200
        except OSError:
            return False

    def said(self):
        """The log so far. It is read without moving the file's position, which the process shares."""
        return os.pread(self.log.fileno(), 1 << 24, 0).decode()

    def wait_to_say(self, text, seconds=20):
        """Forebay writes its log from a thread of its own, so a line may follow the response it is about."""
        wait_for(repr(text), lambda: text in self.said(), self.said, seconds=seconds)

    def kill(self):
        """Ends it without a chance to write anything."""
        self.process.kill()
        self.ended = self.process.wait(timeout=20), []
        self.log.close()
        self.access_log.close()

    def stop(self):
        """Ends it as an operator would; its exit code and its access log."""
        if not self.access_log.closed:
            self.process.send_signal(signal.SIGTERM)
            code = self.process.wait(timeout=40)
            self.access_log.seek(0)
            self.ended = code, [json.loads(line) for line in self.access_log]
            self.log.close()
            self.access_log.close()
        return self.ended


class Forebay(Program):
    """`forebay serve` with flags, as the README shows it."""

    def __init__(self, endpoint, *flags, secret=SECRET_KEY, bucket=BUCKET, **environment):
        port, admin = free_port(), free_port()
        super().__init__(
            f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin}", "--bucket", bucket, "--region", "us-east-1",
            "--endpoint", endpoint, "--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}", *flags,
            AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=secret, **environment,
        )  # fmt: skip
