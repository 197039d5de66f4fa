"""Disk caches side by side: Forebay, nginx's proxy_cache and Traffic Server, in one run.

Each server gets objects of each size, is stopped and started again, and the page cache is dropped (as root). `cold` is
the first request for each object after that, once the memory of Forebay and Traffic Server is full; `warm` are
repeated requests for a sixteenth of the objects. `fill` is the first request of all. Figures are CPU time (user and
system) and the 99th percentile of latency.

Then the files are damaged while the server is stopped, and the objects are requested again.
"""

import http.client
import os
import pathlib
import shutil
import statistics
import sys
import tempfile
import time

from servers import FOREBAY, check, content, cpu_seconds, installed, make_certificate, report_of, start, stop, values_of

# Bytes of an object, and how many there are. The first of them fill the memory, and are not measured.
SETS = {"16 KB": (16 << 10, 32_768), "64 KB": (64 << 10, 8_192), "1 MB": (1 << 20, 1_024)}
MEMORY = 256 << 20
MODES = {"h1": "HTTP/1.1", "tls": "TLS, HTTP/1.1"}

FOREBAY_CACHE = """
[cache]
memory = "256MiB"
[cache.disk]
path = "{cache}"
capacity = "4GiB"
"""

NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.err; user {user};
events {{ worker_connections 4096; }}
http {{
  access_log off; sendfile on; tcp_nodelay on; keepalive_requests 1000000000;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  proxy_cache_path {cache} levels=1:2 keys_zone=c:64m max_size=4g inactive=1d use_temp_path=off;
  server {{
    listen 127.0.0.1:{http}; listen 127.0.0.1:{https} ssl;
    ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem; ssl_protocols TLSv1.3;
    location / {{
      proxy_pass http://127.0.0.1:{origin}; proxy_cache c; proxy_cache_key $uri; proxy_cache_valid 1d;
      add_header X-Cache $upstream_cache_status;
    }}
  }}
}}
"""

# `start` writes a file that names all others.
TRAFFIC_SERVER = """
prefix: /usr
exec_prefix: /usr
bindir: /usr/bin
sbindir: /usr/sbin
sysconfdir: {folder}/ats
datadir: {folder}/ats
includedir: /usr/include
libdir: /usr/lib/trafficserver
libexecdir: /usr/lib/trafficserver/modules
localstatedir: {folder}/ats
runtimedir: {folder}/ats
logdir: {folder}/ats
cachedir: {cache}
"""
TRAFFIC_SERVER_FILES = {
    "records.config": """
CONFIG proxy.config.http.server_ports STRING {http} {https}:ssl
CONFIG proxy.config.admin.user_id STRING #-1
CONFIG proxy.config.exec_thread.autoconfig.enabled INT 0
CONFIG proxy.config.exec_thread.limit INT 1
CONFIG proxy.config.cache.dir.sync_frequency INT 1
CONFIG proxy.config.cache.ram_cache.size INT 268435456
CONFIG proxy.config.http.insert_response_via_str INT 2
CONFIG proxy.config.http.response_via_str STRING ats
CONFIG proxy.config.ssl.server.cert.path STRING {folder}
CONFIG proxy.config.ssl.server.private_key.path STRING {folder}
CONFIG proxy.config.log.logging_enabled INT 0
""",
    "storage.config": "{cache} 4G\n",
    "remap.config": "map / http://127.0.0.1:{origin}/\n",
    "ssl_multicert.config": "dest_ip=* ssl_cert_name=cert.pem ssl_key_name=key.pem\n",
}

SERVERS = [
    ("Forebay", None, None, FOREBAY, "{forebay} serve --config {config}", True),
    ("nginx", "nginx", "nginx", NGINX, "nginx -c {config}", True),
    ("Traffic Server", "traffic_server", "trafficserver", TRAFFIC_SERVER, "traffic_server --run-root={config}", True),
]


class Subject:
    """A server with a disk cache of its own, which outlives restarts."""

    def __init__(self, server, values, cpus):
        self.server, self.values = server, {**values, "more": FOREBAY_CACHE.format(**values)}
        self.server_cpu, self.load_cpu = cpus.split(",")
        self.name = server[0]
        self.process = None
        pathlib.Path(values["cache"]).mkdir()
        if self.name == "Traffic Server":
            folder = pathlib.Path(values["folder"]) / "ats"
            shutil.copytree("/etc/trafficserver", folder, dirs_exist_ok=True)
            for name, text in TRAFFIC_SERVER_FILES.items():
                (folder / name).write_text(text.format(**values))

    def start(self):
        self.process = start(self.server, self.values, self.server_cpu)
        time.sleep(1)

    def stop(self):
        stop(self.process)

    def restart(self):
        """With nothing in memory."""
        time.sleep(2)
        self.stop()
        os.sync()
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("3")
        self.start()

    def written(self):
        """Bytes that its processes gave to devices."""
        pids = [self.process.pid]
        for pid in pids:
            for thread in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
                pids += [int(child) for child in thread.read_text().split()]
        lines = "\n".join(pathlib.Path(f"/proc/{pid}/io").read_text() for pid in pids)
        return sum(int(line.split()[1]) for line in lines.splitlines() if line.startswith("write_bytes"))

    def pass_over(self, mode, size, numbers, times=1):
        """Requests each object; returns CPU microseconds a request and the p99 of latency in milliseconds."""
        names = pathlib.Path(self.values["folder"]) / "urls"
        names.write_text("".join(f"/{number}/{size}.jpg\n" for number in numbers))
        scheme, port = ("https", self.values["https"]) if mode == "tls" else ("http", self.values["http"])
        command = [
            "taskset", "-c", self.load_cpu, self.values["forebay"], "load", f"{scheme}://127.0.0.1:{port}", "-t", "1",
            "--urls", names, "-c", "16", "-n", str(len(numbers) * times), "--json",
            *(["--insecure"] if mode == "tls" else []),
        ]  # fmt: skip
        before = cpu_seconds(self.process.pid)
        report = report_of(command, self.name)
        # The last records of a fill are written a second later.
        time.sleep(1.5)
        spent = cpu_seconds(self.process.pid) - before
        check(report, self.name)
        return spent / report["requests"] * 1e6, report["latency"]["p99"]

    def get(self, path):
        """Status, content, and whether it was a hit."""
        connection = http.client.HTTPConnection("127.0.0.1", self.values["http"], timeout=3)
        connection.request("GET", path)
        response = connection.getresponse()
        body = b""
        try:
            while part := response.read1(1 << 16):
                body += part
        except (OSError, http.client.HTTPException):
            # It was cut, and what arrived is the answer.
            pass
        state = f"{response.getheader('X-Cache', '')} {response.getheader('Via', '')}"
        return response.status, body, "Hit" in state or "HIT" in state or "[cH" in state or "[cR" in state


def measure(subject, sizes, modes, figures):
    for label in sizes:
        size, count = SETS[label]
        before = subject.written()
        spent, _ = subject.pass_over("h1", size, range(count))
        time.sleep(2)
        os.sync()
        megabytes = size * count / (1 << 20)
        note(figures, f"fill, {label}: CPU µs a MiB", subject.name, spent * count / megabytes)
        note(figures, f"fill, {label}: bytes written for a byte", subject.name, (subject.written() - before) / size / count)
    for mode in modes:
        subject.restart()
        for label in sizes:
            size, count = SETS[label]
            first = MEMORY // size
            subject.pass_over(mode, size, range(first))
            spent, latency = subject.pass_over(mode, size, range(first, count))
            note(figures, f"cold, {MODES[mode]}, {label}: CPU µs", subject.name, spent)
            note(figures, f"cold, {MODES[mode]}, {label}: p99 ms", subject.name, latency)
            few = range(count // 16)
            subject.pass_over(mode, size, few, 3)
            spent, latency = subject.pass_over(mode, size, few, 16)
            note(figures, f"warm, {MODES[mode]}, {label}: CPU µs", subject.name, spent)
            note(figures, f"warm, {MODES[mode]}, {label}: p99 ms", subject.name, latency)


def note(figures, what, name, figure):
    print(f"{name:15} {what:44} {figure:10.2f}", file=sys.stderr)
    figures.setdefault(what, {}).setdefault(name, []).append(figure)


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))


def damage(cache, how, letters):
    """Damages what is stored of the first objects. Returns whether something was found."""
    if how == "nothing damaged":
        return True
    wanted = [letter * 4096 for letter in letters]
    files = [path for path in pathlib.Path(cache).rglob("*") if path.is_file()]
    if how == "two files swapped":
        whole = [path for path in files if any(part in path.read_bytes() for part in wanted)]
        if len(whole) < 2:
            return False
        beside = whole[0].with_name("beside")
        whole[0].rename(beside)
        whole[1].rename(whole[0])
        beside.rename(whole[1])
        return True
    found = False
    for path in files:
        with open(path, "rb") as file:
            text = file.read()
        places = [text.find(part) for part in wanted]
        places = [place for place in places if place >= 0]
        if not places:
            continue
        found = True
        if how == "one bit flipped":
            for place in places:
                flip(path, place + 2000)
        else:
            os.truncate(path, places[0] + 3000)
    return found


def corruption(server, values, args, table):
    """What each server gives after its files were damaged."""
    size = 200_000
    for how in ["nothing damaged", "one bit flipped", "file cut", "two files swapped"]:
        values = {**values, "cache": f"{values['cache']}-{how.replace(' ', '-')}"}
        subject = Subject(server, values, args.cpus)
        subject.start()
        try:
            # Traffic Server writes once several MB are together.
            for number in range(2, 62):
                subject.get(f"/{number % 24 + 2}/{size + number}.jpg")
            for number in range(2):
                subject.get(f"/{number}/{size}.jpg")
            for number in range(62, 122):
                subject.get(f"/{number % 24 + 2}/{size + number}.jpg")
            time.sleep(4)
            subject.stop()
            if not damage(values["cache"], how, [b"a", b"b"]):
                table.setdefault(how, {})[subject.name] = "does not apply"
                continue
            pathlib.Path("/proc/sys/vm/drop_caches").write_text("3")
            subject.start()
            said = set()
            for number in range(2):
                status, body, is_hit = subject.get(f"/{number}/{size}.jpg")
                how_many = "right bytes" if body == content(number, size) else f"WRONG BYTES ({len(body)} of {size})"
                said.add(f"{status} {'hit' if is_hit else 'miss'}, {how_many}")
            table.setdefault(how, {})[subject.name] = "; ".join(sorted(said))
        finally:
            subject.stop()
            shutil.rmtree(values["cache"], ignore_errors=True)


def run(args, origin_port):
    """Measures and prints all tables."""
    servers = installed(SERVERS)
    sizes = [size for size in args.sizes.split(",") if size in SETS] or list(SETS)
    modes = [mode for mode in args.modes.split(",") if mode in MODES]
    figures, damages = {}, {}
    # Not /tmp, which may be in memory.
    with tempfile.TemporaryDirectory(prefix="compare-disk-", dir=args.folder) as folder:
        pathlib.Path(folder).chmod(0o755)
        make_certificate(pathlib.Path(folder))
        for number in range(args.rounds):
            for place, server in enumerate(servers):
                values = values_of(place, folder, args.forebay, origin_port, cache=f"{folder}/cache-{place}")
                subject = Subject(server, values, args.cpus)
                subject.start()
                try:
                    measure(subject, sizes, modes, figures)
                finally:
                    subject.stop()
                    shutil.rmtree(values["cache"], ignore_errors=True)
                if number == 0:
                    corruption(server, values, args, damages)
    names = [name for name, *_ in servers]
    for head, rows in [("", figures), ("damage", damages)]:
        print(f"\n| {head} | " + " | ".join(names) + " |\n" + "|---" * (len(names) + 1) + "|")
        for what, row in rows.items():
            print(f"| {what} | " + " | ".join(cell(row.get(name)) for name in names) + " |")


def cell(figures):
    if isinstance(figures, list):
        return f"{statistics.median(figures):.2f}"
    return figures or "–"
