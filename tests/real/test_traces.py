"""Traces arrive at a collector that decodes them with OpenTelemetry's own library, whatever the collector does."""

import contextlib
import http.server
import pathlib
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import unittest

import trustme
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service
from opentelemetry.proto.trace.v1 import trace_pb2 as trace

import parts
from cluster_parts import Certificates, Nats, Node, VersionedOrigin
from parts import fetch, free_port, wait_for

SERVER, CLIENT = trace.Span.SPAN_KIND_SERVER, trace.Span.SPAN_KIND_CLIENT
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Collector(parts.Origin):
    """Keeps the spans that it accepts. `script` holds the answers to the next requests: statuses, or numbers of spans to
    reject."""

    @classmethod
    def start(cls, tls=None):
        server = cls(("127.0.0.1", 0), Receive)
        server.spans, server.resources, server.heads, server.script = [], [], [], []
        server.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    def wait_for(self, count, said):
        """Waits until there are this many spans; all of them."""
        wait_for(f"{count} spans", lambda: len(self.spans) >= count, lambda: f"{self.spans}\n{said()}", seconds=20)
        return list(self.spans)


class Receive(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        server = self.server
        server.heads.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        step = server.script.pop(0) if server.script else 200
        answer = service.ExportTraceServiceResponse()
        if step in (200, "some"):
            message = service.ExportTraceServiceRequest.FromString(content)
            for resource in message.resource_spans:
                server.resources.append(attributes(resource.resource))
                for scope in resource.scope_spans:
                    server.spans += scope.spans
        if step == "some":
            answer.partial_success.rejected_spans = 1
            answer.partial_success.error_message = "the span is too long"
        status, fields = step if isinstance(step, tuple) else (step if isinstance(step, int) else 200, {})
        content = answer.SerializeToString()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(content)))
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


def attributes(of):
    values = {}
    for attribute in of.attributes:
        kind = attribute.value.WhichOneof("value")
        values[attribute.key] = getattr(attribute.value, kind)
    return values


class Traces(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="forebay-traces-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.collector = Collector.start()
        self.addCleanup(self.collector.stop)
        self.origin = parts.Origin.start()
        self.addCleanup(self.origin.stop)

    def start(self, traces="sampling_rate = 100", listen="", endpoint=None, origin=None):
        port, admin = free_port(), free_port()
        config = self.folder / "forebay.toml"
        origin = origin or f"http://127.0.0.1:{self.origin.port}"
        config.write_text(
            f'[listen]\nhttp = "127.0.0.1:{port}"\n{listen}\n[admin]\nlisten = "127.0.0.1:{admin}"\n'
            f'[traces]\nendpoint = "{endpoint or self.collector.url}"\n{traces}\n'
            + parts.PLAIN_DISTRIBUTION.format(origin=origin)
        )
        self.config, self.port = config, port
        self.program = parts.Program(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin}", "--config", config)
        self.addCleanup(self.program.stop)

    def get(self, path, **fields):
        return fetch(self.program.url + path, headers={name.replace("_", "-"): value for name, value in fields.items()})

    def spans(self, count):
        return self.collector.wait_for(count, self.program.said)

    def ended(self):
        """Ends Forebay, which sends what waits; all spans."""
        self.assertEqual(self.program.stop()[0], 0)
        return self.collector.spans

    def metric(self, name):
        lines = fetch(self.program.admin + "/metrics")[2].decode().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith(f"forebay_{name}"))

    def test_a_miss_has_a_span_for_each_side_and_a_hit_one(self):
        self.start()
        before = time.time_ns() // 1_000_000 * 1_000_000
        head = self.get("/a.jpg?token=secret", User_Agent="tester/1")[1]
        self.assertEqual(self.get("/a.jpg")[1]["X-Cache"], "Hit from forebay")
        spans = self.ended()
        viewer, hit = [span for span in spans if span.kind == SERVER]
        (request,) = [span for span in spans if span.kind == CLIENT]
        self.assertEqual((viewer.name, request.name), ("GET", "GET"))
        self.assertEqual((len(viewer.trace_id), len(viewer.span_id), viewer.parent_span_id), (16, 8, b""))
        self.assertEqual((request.trace_id, request.parent_span_id), (viewer.trace_id, viewer.span_id))
        self.assertEqual(
            attributes(viewer),
            {
                "http.request.method": "GET", "url.path": "/a.jpg", "url.scheme": "http", "client.address": "127.0.0.1",
                "network.protocol.version": "1.1", "server.address": "127.0.0.1", "server.port": self.port,
                "user_agent.original": "tester/1", "http.response.status_code": 200, "http.response.body.size": 6,
                "forebay.result": "Miss", "forebay.request_id": head["X-Request-Id"], "forebay.distribution": "media",
                "forebay.complete": True,
            },
        )  # fmt: skip
        self.assertEqual(
            attributes(request),
            {
                "http.request.method": "GET", "url.full": f"http://127.0.0.1:{self.origin.port}/a.jpg",
                "server.address": "127.0.0.1", "server.port": self.origin.port, "http.response.status_code": 200,
            },
        )  # fmt: skip
        self.assertLessEqual(before, viewer.start_time_unix_nano)
        self.assertLessEqual(viewer.start_time_unix_nano, request.start_time_unix_nano)
        # The clock of a span's start counts milliseconds.
        self.assertLessEqual(request.end_time_unix_nano, viewer.end_time_unix_nano + 1_000_000)
        self.assertLessEqual(viewer.end_time_unix_nano, time.time_ns())
        self.assertEqual(attributes(hit)["forebay.result"], "Hit")
        self.assertNotEqual(hit.trace_id, viewer.trace_id)
        resource = self.collector.resources[0]
        self.assertEqual(resource["service.name"], "forebay")
        self.assertEqual(sorted(resource), ["host.name", "service.instance.id", "service.name", "service.version"])
        path, fields = self.collector.heads[0]
        self.assertEqual((path, fields["content-type"]), ("/v1/traces", "application/x-protobuf"))
        # Without `to_origins`, the origin gets no traceparent.
        self.assertNotIn("traceparent", self.origin.asked[0])

    def test_a_trusted_parent_decides(self):
        self.start('sampling_rate = 0\nto_origins = true\nparent = "trusted-proxies"', listen='trusted_proxies = ["127.0.0.1"]')
        self.get("/none.jpg")
        self.get("/not.jpg", traceparent=PARENT[:-1] + "0")
        self.get("/traced.jpg", traceparent=PARENT, tracestate="congo=t61,rojo=1")
        # A key does not depend on it: the next viewer gets what this one fetched.
        self.assertEqual(self.get("/traced.jpg")[1]["X-Cache"], "Hit from forebay")
        viewer, request = sorted(self.ended(), key=lambda span: span.kind)
        self.assertEqual(viewer.trace_id.hex(), PARENT.split("-")[1])
        self.assertEqual(viewer.parent_span_id.hex(), PARENT.split("-")[2])
        self.assertEqual(viewer.trace_state, "congo=t61,rojo=1")
        asked = {fields["path"]: fields for fields in self.origin.asked}
        self.assertEqual(asked["/traced.jpg"]["traceparent"], f"00-{viewer.trace_id.hex()}-{request.span_id.hex()}-01")
        self.assertEqual(asked["/traced.jpg"]["tracestate"], "congo=t61,rojo=1")
        self.assertNotIn("traceparent", asked["/none.jpg"])

    def test_viewers_cannot_begin_traces(self):
        self.start("sampling_rate = 0", listen='trusted_proxies = ["127.0.0.1"]')
        self.get("/a.jpg", traceparent=PARENT)
        self.assertEqual(self.ended(), [])

    def test_viewers_behind_a_proxy_header_cannot_begin_traces(self):
        """Such a proxy passes on what they write."""
        listen = 'trusted_proxies = ["127.0.0.1"]\nproxy_protocol = true'
        self.start('sampling_rate = 0\nparent = "trusted-proxies"', listen=listen)
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            request = f"PROXY TCP4 203.0.113.9 127.0.0.1 4711 80\r\nGET /a.jpg HTTP/1.1\r\nHost: a\r\ntraceparent: {PARENT}\r\n\r\n"
            connection.sendall(request.encode())
            self.assertIn(b" 200 ", connection.recv(4096))
        self.assertEqual(self.ended(), [])

    def test_each_attempt_of_a_failing_origin_has_a_span(self):
        hanging_up = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(hanging_up.close)

        def hang_up():
            while True:
                try:
                    connection = hanging_up.accept()[0]
                except OSError:
                    return
                connection.recv(4096)
                connection.close()

        threading.Thread(target=hang_up, daemon=True).start()
        self.start(origin=f"http://127.0.0.1:{hanging_up.getsockname()[1]}")
        self.assertEqual(self.get("/a.jpg")[0], 502)
        spans = self.ended()
        viewer = next(span for span in spans if span.kind == SERVER)
        attempts = [span for span in spans if span.kind == CLIENT]
        self.assertEqual(len(attempts), 3)
        for attempt in attempts:
            self.assertEqual(attempt.parent_span_id, viewer.span_id)
            self.assertEqual(attempt.status.code, trace.Status.STATUS_CODE_ERROR)
            self.assertEqual(attributes(attempt)["error.type"], "origin-connection")
        self.assertEqual(viewer.status.code, trace.Status.STATUS_CODE_ERROR)
        self.assertEqual(attributes(viewer)["error.type"], "origin-connection")
        self.assertEqual(attributes(viewer)["http.response.status_code"], 502)

    def test_an_outage_of_the_collector_loses_nothing_if_it_is_short(self):
        self.start()
        self.collector.script = [503, (429, {"Retry-After": "1"})]
        for number in range(10):
            self.get(f"/{number}.jpg")
        self.assertEqual(len(self.spans(20)), 20)
        self.assertEqual(len({span.span_id for span in self.collector.spans}), 20)
        wait_for("the count", lambda: self.metric("trace_spans_exported_total") == 20)
        self.assertEqual(self.metric("trace_spans_lost_total"), 0)
        self.assertEqual(len(self.collector.heads), 3)
        self.assertNotIn("the collector", self.program.said())

    def test_what_the_collector_refuses_is_counted_and_reported_once(self):
        self.start()
        # A 400 is final, a part may be rejected, and then all is well again.
        self.collector.script = [400, 400, "some", 200]
        for number in range(4):
            self.get(f"/{number}.jpg")
            wait_for("a request", lambda seen=number: len(self.collector.heads) > seen, self.program.said)
        wait_for("the count", lambda: self.metric("trace_spans_exported_total") == 3, self.program.said)
        lost = fetch(self.program.admin + "/metrics")[2].decode()
        self.assertIn('forebay_trace_spans_lost_total{reason="unsent"} 4', lost)
        self.assertIn('forebay_trace_spans_lost_total{reason="rejected"} 1', lost)
        self.program.wait_to_say("the collector accepts traces again")
        said = self.program.said()
        self.assertEqual(said.count("traces are lost"), 1, said)
        self.assertIn("the collector answered 400", said)

    def test_spans_that_wait_at_the_end_are_sent(self):
        self.start()
        self.get("/a.jpg")
        self.assertEqual(len(self.ended()), 2)

    def test_a_collector_that_does_not_answer_does_not_delay_the_end(self):
        silent = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(silent.close)
        for port in (1, silent.getsockname()[1]):
            self.start(endpoint=f"http://127.0.0.1:{port}")
            self.get("/a.jpg")
            self.assertEqual(self.program.stop()[0], 0)

    def test_a_viewer_that_leaves_is_no_error(self):
        length = 64 << 20
        large = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(large.close)

        def answer():
            connection = large.accept()[0]
            with connection:
                connection.recv(4096)
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nCache-Control: no-store\r\n\r\n"
                with contextlib.suppress(OSError):
                    connection.sendall(head.encode() + bytes(length))

        threading.Thread(target=answer, daemon=True).start()
        self.start(origin=f"http://127.0.0.1:{large.getsockname()[1]}")
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as viewer:
            viewer.sendall(b"GET /a.mp4 HTTP/1.1\r\nHost: a\r\n\r\n")
            self.assertIn(b" 200 ", viewer.recv(4096))
        viewer = next(span for span in self.spans(2) if span.kind == SERVER)
        self.assertEqual(viewer.status.code, trace.Status.STATUS_CODE_UNSET)
        self.assertFalse(attributes(viewer)["forebay.complete"])
        self.assertLess(attributes(viewer)["http.response.body.size"], length)

    def test_a_collector_with_tls_and_a_key(self):
        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        authority.cert_pem.write_to_path(str(self.folder / "ca.pem"))
        (self.folder / "headers").write_text("Authorization: Bearer t0ken\n\nX-Team: media\n")
        self.collector = Collector.start(context)
        self.addCleanup(self.collector.stop)
        url = self.collector.url + "/otlp/traces?tenant=1"
        self.start('sampling_rate = 100\nca_file = "ca.pem"\nheaders_file = "headers"\nservice_name = "media"', endpoint=url)
        self.get("/a.jpg")
        self.ended()
        path, fields = self.collector.heads[0]
        self.assertEqual(path, "/otlp/traces?tenant=1")
        self.assertEqual((fields["authorization"], fields["x-team"]), ("Bearer t0ken", "media"))
        self.assertEqual(self.collector.resources[0]["service.name"], "media")

    def test_a_wrong_file_of_headers_is_named(self):
        self.start()
        self.config.write_text(self.config.read_text().replace("sampling_rate = 100", 'headers_file = "headers"'))
        for line, message in (("no field", "line 2 is not `Name: value`"), ("Host: a", "line 2: Forebay sets `host` itself")):
            (self.folder / "headers").write_text(f"Authorization: fine\n{line}\n")
            command = [parts.PROGRAM, "check", "--config", self.config]
            run = subprocess.run(command, capture_output=True, text=True, check=False)
            self.assertNotEqual(run.returncode, 0)
            self.assertIn(message, run.stdout + run.stderr)
            self.assertIn("traces.headers_file", run.stdout + run.stderr)


class TracesOfACluster(unittest.TestCase):
    def test_a_trace_spans_the_node_that_owns_the_object(self):
        names = ["edge-0", "edge-1"]
        collector = Collector.start()
        self.addCleanup(collector.stop)
        nats = Nats(1)
        self.addCleanup(nats.stop)
        origin = VersionedOrigin.start()
        self.addCleanup(origin.stop)
        certificates = Certificates(*names)
        self.addCleanup(certificates.remove)
        lines = f'[traces]\nendpoint = "{collector.url}"\nsampling_rate = 0\n'
        first = lines.replace("sampling_rate = 0", "sampling_rate = 100")
        ports = {name: free_port() for name in names}
        nodes = []
        for name, traces in zip(names, (first, lines), strict=True):
            node = Node(name, nats, origin, more=certificates.lines(name, ports[name]) + traces)
            self.addCleanup(node.stop)
            nodes.append(node.start())
        for node in nodes:
            both = lambda: node.has_lease() and len(node.status()["members"]) == 1  # noqa: B023, E731
            wait_for("the other", both, node.program.said, seconds=60)
        owner = lambda path: subprocess.run(  # noqa: E731
            [parts.PROGRAM, "cluster", "owner", path, "--admin", nodes[0].admin], capture_output=True, text=True, check=True
        ).stdout.strip()
        path = next(path for path in (f"/{n}.jpg" for n in range(1000)) if owner(path) == names[1])
        self.assertEqual(fetch(nodes[0].url + path)[0], 200)
        spans = collector.wait_for(4, nodes[0].program.said)
        self.assertEqual(len(spans), 4, spans)
        self.assertEqual(len({span.trace_id for span in spans}), 1)
        by_id = {span.span_id: span for span in spans}
        to_origin = next(span for span in spans if attributes(span).get("url.full", "").startswith(origin.url))
        chain = [to_origin]
        while chain[-1].parent_span_id:
            chain.append(by_id[chain[-1].parent_span_id])
        self.assertEqual([span.kind for span in chain], [CLIENT, SERVER, CLIENT, SERVER])
        self.assertTrue(attributes(chain[1])["forebay.peer"])
        instances = {resource["service.instance.id"] for resource in collector.resources}
        self.assertEqual(len(instances), 2)


if __name__ == "__main__":
    unittest.main()
