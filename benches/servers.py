"""Servers to compare, and what they fetch from."""

import functools
import http.server
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import time
import urllib.request

# `listen` are further lines of the first table, `more` further tables.
FOREBAY = """
[listen]
http = "127.0.0.1:{http}"
https = "127.0.0.1:{https}"
tls = {{ certificate = "{folder}/cert.pem", key = "{folder}/key.pem" }}
workers = 1
{listen}
[admin]
listen = "127.0.0.1:{admin}"
[access_log]
path = "/dev/null"
{more}[[distribution]]
id = "compare"
aliases = ["*"]
[[distribution.origin]]
id = "origin"
url = "http://127.0.0.1:{origin}"
signing = "never"
[distribution.default_behavior]
origin = "origin"
cache_policy = "CachingOptimized"
compress = false
"""


def content(number, length):
    """The content of an object: one letter, by its number."""
    return bytes([97 + number % 26]) * length


@functools.cache
def rules(length):
    return "".join(f".c{line} {{ margin: {line % 97}px {line % 13}em }}\n" for line in range(length // 20)).encode()


def text(number, length):
    """A text that compresses like others, by its number."""
    return (f"/* {number} */".encode() + rules(length)).ljust(length)[:length]


class Origin(http.server.BaseHTTPRequestHandler):
    """Gives as many bytes as the path says: /LENGTH.jpg, or /NUMBER/LENGTH.jpg for one of many objects. Text with .css."""

    protocol_version = "HTTP/1.1"
    # Otherwise each response waits for an acknowledgement of its head.
    disable_nagle_algorithm = True

    def do_GET(self):
        name, kind = self.path.strip("/").rsplit(".", 1)
        *number, length = name.split("/")
        number, length = int(number[0]) if number else 23, int(length)
        is_text = kind == "css"
        self.send_response(200)
        for name, value in {
            "Content-Type": "text/css" if is_text else "image/jpeg", "Content-Length": str(length),
            "Cache-Control": "public, max-age=86400", "ETag": f'"{length:x}"', "Last-Modified": "Sun, 06 Nov 1994 08:49:37 GMT",
        }.items():  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text(number, length) if is_text else content(number, length))

    def log_message(self, *_):
        pass


class OriginServer(http.server.ThreadingHTTPServer):
    """Takes as many connections at once as caches open."""

    request_queue_size = 256

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Origin)


class Failed(Exception):
    """The comparison is not valid."""


def cpu_seconds(pid):
    """Of a process and its living children, user and system."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        threads = pathlib.Path(f"/proc/{pid}/task").glob("*/children")
        return own + sum(cpu_seconds(child) for thread in threads for child in thread.read_text().split())
    except OSError:
        return 0.0


def installed(servers):
    """Those whose program is here."""
    return [server for server in servers if not server[1] or shutil.which(server[1])]


def values_of(place, folder, forebay, origin_port, **more):
    """What the configuration and the command of a server name; `place` is its place in the list."""
    port = 20_000 + 10 * place
    return {
        "folder": folder, "forebay": str(forebay), "http": port, "https": port + 1, "admin": port + 2,
        "origin": origin_port, "user": "root", "listen": "", "more": "", **more,
    }  # fmt: skip


def report_of(command, what):
    """The report of `forebay load`, which exits with an error if there were failures."""
    done = subprocess.run(command, capture_output=True)
    if not done.stdout:
        raise Failed(f"{what}: {done.stderr.decode()}")
    return json.loads(done.stdout)


def check(report, what):
    """Fails unless every request of a load got a 200."""
    if report["failures"] or list(report["statuses"]) != ["200"]:
        raise Failed(f"{what}: {report['statuses']} {report['failures']} {report['reasons']}")


def start(server, values, cpu):
    name, _, _, config, command, _ = server
    path = pathlib.Path(values["folder"]) / (re.sub(r"\W", "", name) + ".conf")
    path.write_text(config.format(**values))
    command = shlex.split(command.format(config=path, **values))
    process = subprocess.Popen(
        ["taskset", "-c", cpu, *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )
    for _ in range(100):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{values['http']}/1024.jpg", timeout=5).read()
            return process
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.1)
    stop(process)
    raise Failed(f"{name} does not start: {process.stderr.read().decode(errors='replace')[-2000:]}")


def stop(process):
    if process.poll() is not None:
        return
    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=10)
    except (ProcessLookupError, subprocess.TimeoutExpired):
        os.killpg(process.pid, signal.SIGKILL)


def make_certificate(folder):
    """A certificate and its key, in two files and in one."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
         "-keyout", folder / "key.pem", "-out", folder / "cert.pem", "-subj", "/CN=compare"],
        check=True, capture_output=True,
    )  # fmt: skip
    (folder / "both.pem").write_text((folder / "cert.pem").read_text() + (folder / "key.pem").read_text())
