"""Latency of hits beside large misses and compressions: Forebay and nginx, in one run.

Hits of 1 KB come at 5,000 a second over 32 connections, first alone, then while a client fetches new objects of 32 MiB
and new texts of 1.2 MB, one after the other, and accepts Brotli and gzip. Each server has two workers, and shares the
two CPUs with the clients and the origin. Figures are milliseconds.
"""

import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading

from servers import FOREBAY, Failed, check, installed, make_certificate, report_of, start, stop, values_of

NGINX = """
worker_processes 2; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.err; user {user};
events {{ worker_connections 4096; }}
http {{
  access_log off; sendfile on; tcp_nodelay on; keepalive_requests 1000000000;
  gzip on; gzip_types text/css; gzip_comp_level 5;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  proxy_cache_path {folder}/cache keys_zone=c:16m max_size=512m use_temp_path=off;
  server {{
    listen 127.0.0.1:{http};
    location / {{
      proxy_pass http://127.0.0.1:{origin}; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_cache c; proxy_cache_key $uri; proxy_cache_valid 1d; proxy_cache_lock on;
    }}
  }}
}}
"""

SERVERS = [
    ("Forebay", None, None, FOREBAY.replace("workers = 1", "workers = 2").replace("compress = false", "compress = true"),
     "{forebay} serve --config {config}", True),
    ("nginx", "nginx", "nginx", NGINX, "nginx -c {config}", False),
]  # fmt: skip

LARGE, TEXT = 32 << 20, 1_200_000


class Disturbance:
    """A client that makes the server busy."""

    def __init__(self, url):
        self.url = url
        self.count = 0
        self.ends = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ends.set()
        self.thread.join()

    def run(self):
        while not self.ends.is_set():
            self.count += 1
            for path in (f"{self.count}/{LARGE}.jpg", f"{self.count}/{TEXT}.css"):
                # In a process of its own, so that it does not wait for the origin's threads.
                command = ["curl", "-s", "-o", "/dev/null", "-H", "Accept-Encoding: br, gzip", f"{self.url}/{path}"]
                subprocess.run(command, check=True)


def hits(values, seconds):
    """Percentiles of latency."""
    command = [
        values["forebay"], "load", f"http://127.0.0.1:{values['http']}/1024.jpg", "--warm", "--rate", "5000",
        "-d", f"{seconds}s", "-c", "32", "-t", "1", "--json",
    ]  # fmt: skip
    report = report_of(command, "hits")
    # A request that found no connection free waited for the server, too; its share is below the percentiles shown.
    late = report["failures"].pop("due, not sent", 0)
    if late > report["requests"] / 1000:
        raise Failed(f"{late} requests were due and not sent")
    check(report, "hits")
    return [report["latency"][part] for part in ("p50", "p99", "p99.9")]


def run(args, origin_port):
    """Measures and prints the table."""
    servers = installed(SERVERS)
    figures = {}
    for _ in range(args.rounds):
        for place, server in enumerate(servers):
            with tempfile.TemporaryDirectory(prefix="compare-mixed-") as folder:
                pathlib.Path(folder).chmod(0o755)
                make_certificate(pathlib.Path(folder))
                more = '[cache]\nmemory = "512MiB"\n'
                values = values_of(place, folder, args.forebay, origin_port, more=more)
                process = start(server, values, args.cpus)
                try:
                    note(figures, "alone", server[0], hits(values, args.seconds))
                    with Disturbance(f"http://127.0.0.1:{values['http']}") as disturbance:
                        note(figures, "beside them", server[0], hits(values, args.seconds))
                    print(f"{server[0]:10} {disturbance.count} large misses and texts", file=sys.stderr)
                finally:
                    stop(process)
    names = [name for name, *_ in servers]
    print("| ms | " + " | ".join(names) + " |\n" + "|---" * (len(names) + 1) + "|")
    for what, row in figures.items():
        cells = (f"{statistics.median(row[name]):.2f}" for name in names)
        print(f"| {what} | " + " | ".join(cells) + " |")


def note(figures, what, name, percentiles):
    for part, figure in zip(("50%", "99%", "99.9%"), percentiles):
        print(f"{name:10} {what}, {part:6} {figure:8.2f}", file=sys.stderr)
        figures.setdefault(f"{what}, {part}", {}).setdefault(name, []).append(figure)
