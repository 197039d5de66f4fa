"""Nodes fetch objects from each other: a cold object costs one request to the origin in the whole cluster."""

import collections
import concurrent.futures
import socket
import ssl
import subprocess
import time
import unittest
import urllib.request

from cluster_parts import Certificates, Large, Nats, Node, VersionedOrigin, large
from parts import PROGRAM, fetch, free_port, wait_for

MIB = 1 << 20


def count(node, name):
    """A counter of a node."""
    lines = fetch(node.admin + "/metrics")[2].decode().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(f"forebay_{name} "))


class Peers(unittest.TestCase):
    names = ["edge-0", "edge-1", "Edge_2"]

    def setUp(self):
        self.nats = Nats(1)
        self.addCleanup(self.nats.stop)
        self.origin = VersionedOrigin.start(Large)
        self.addCleanup(self.origin.stop)
        self.certificates = Certificates(*self.names)
        self.addCleanup(self.certificates.remove)
        self.ports = {name: free_port() for name in self.names}
        self.nodes = [self.node(name, self.certificates.lines(name, self.ports[name])) for name in self.names]
        self.wait_for_all()

    def wait_for_all(self):
        """Until each node knows the others, and may use what it has stored."""
        for node in self.nodes:
            all_known = lambda: node.has_lease() and len(node.status()["members"]) == 2  # noqa: B023, E731
            wait_for("the others", all_known, node.program.said, seconds=60)

    def node(self, name, more):
        node = Node(name, self.nats, self.origin, more=more)
        self.addCleanup(node.stop)
        return node.start()

    def get(self, node, path, **fields):
        status, head, body = fetch(node.url + path, headers=fields)
        self.assertIn(status, (200, 206), (path, head))
        return head, body

    def owner(self, path, node=None):
        command = [PROGRAM, "cluster", "owner", path, "--admin", (node or self.nodes[0]).admin]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def by_name(self, name):
        return next(node for node in self.nodes if node.name == name)

    def owned_by(self, name, prefix="/of"):
        """A path that this node owns."""
        return next(path for path in (f"{prefix}/{n}.jpg" for n in range(1000)) if self.owner(path) == name)

    def test_a_cold_object_costs_one_request(self):
        paths = [f"/{number}.jpg" for number in range(1000)]
        work = [(node, path) for path in paths for node in self.nodes]
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda item: self.get(*item), work))
        for (_, path), (head, body) in zip(work, answers, strict=True):
            self.assertEqual(body, large(path, 1000))
            self.assertRegex(head["X-Cache"], "Miss from forebay|Hit from forebay")
        asked = collections.Counter(path for _, path, _ in self.origin.requests)
        twice = [request for request in self.origin.requests if asked[request[1]] > 1]
        self.assertEqual((len(self.origin.requests), twice), (1000, []), self.counts())
        # Each node owns a part of them, and all know it.
        owners = [self.owner(path) for path in paths[:30]]
        self.assertEqual(owners, [self.owner(path, self.nodes[2]) for path in paths[:30]])
        self.assertEqual(set(owners), set(self.names))
        for node in self.nodes:
            self.assertGreater(count(node, "cluster_peer_answered_total"), 400, self.counts())
        # They are stored on each node.
        for node in self.nodes:
            self.assertEqual(self.get(node, "/7.jpg")[0]["X-Cache"], "Hit from forebay")

    def counts(self):
        kinds = ["hits", "misses", "refused", "failed", "answered"]
        return [(node.name, {k: count(node, f"cluster_peer_{k}_total") for k in kinds}) for node in self.nodes]

    def test_rewritten_paths_cost_one_request(self):
        """A peer knows neither the viewer's path nor the cookie, but which rules apply."""
        rules = """
            [[distribution.default_behavior.rule]]
            cookie = { theme = "dark" }
            set_request_headers = { X-Theme = "dark" }
            [[distribution.default_behavior.rule]]
            path = "/v1/*"
            rewrite = "/other/{1}"
            [[distribution.behavior]]
            path_pattern = "/other/*"
            origin = "origin"
            cache_policy = "CachingOptimized"
        """
        for node in self.nodes:
            node.config.write_text(node.config.read_text() + rules)
            node.program.stop()
        for node in self.nodes:
            node.start()
        self.wait_for_all()
        for number in range(30):
            for node in self.nodes:
                for cookie in ("theme=light", "theme=dark"):
                    path = f"/other/{number}.jpg"
                    self.assertEqual(self.get(node, f"/v1/{number}.jpg", Cookie=cookie)[1], large(path, 1000))
        asked = collections.Counter(path for _, path, _ in self.origin.requests)
        # The two themes are two objects for the cache.
        self.assertEqual(set(asked.values()), {2}, self.counts())
        self.assertEqual(sum(count(node, "cluster_peer_refused_total") for node in self.nodes), 0)

    def test_the_answer_says_where_it_came_from(self):
        path = self.owned_by("edge-1")
        self.get(self.nodes[1], path)
        time.sleep(2)
        head, _ = self.get(self.nodes[0], path)
        self.assertEqual(head["X-Cache"], "Miss from forebay")
        self.assertIn("detail=OriginShieldHit", head["Cache-Status"])
        # It is as old as that of the peer.
        self.assertGreaterEqual(int(head["Age"]), 2)
        head, _ = self.get(self.nodes[0], path)
        self.assertEqual((head["X-Cache"], int(head["Age"]) >= 2), ("Hit from forebay", True))
        head, _ = self.get(self.nodes[2], self.owned_by("edge-1", "/cold"))
        self.assertNotIn("OriginShieldHit", head["Cache-Status"])

    def test_each_slice_of_a_large_object_costs_one_request(self):
        path = self.owned_by("edge-1", "/large")
        self.origin.lengths[path] = 20 * MIB
        content = large(path, 20 * MIB)
        for node in self.nodes:
            part = self.get(node, path, Range=f"bytes={5 * MIB}-{7 * MIB - 1}")[1]
            self.assertEqual(part, content[5 * MIB : 7 * MIB])
        asked = [wanted for _, _, wanted in self.origin.requests]
        self.assertEqual(len(asked), len(set(asked)), asked)
        self.assertTrue(all(wanted for wanted in asked), asked)
        for node in self.nodes:
            self.assertEqual(self.get(node, path)[1], content)
        asked = [tuple(map(int, wanted.removeprefix("bytes=").split("-"))) for _, _, wanted in self.origin.requests]
        self.assertEqual(sum(end - start + 1 for start, end in asked), 20 * MIB, asked)

    def test_a_dead_owner_costs_one_timeout_at_most(self):
        near, owner = self.nodes[0], self.nodes[1]
        paths = [path for path in (f"/dead/{n}.jpg" for n in range(60)) if self.owner(path) == owner.name]
        self.get(near, paths[0])
        owner.pause()
        begun = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda path: self.get(near, path), paths[1:]))
        lasted = time.monotonic() - begun
        # Other nodes own its objects now.
        self.assertNotEqual(self.owner(paths[0], near), owner.name)
        near.program.wait_to_say("a node does not answer; other nodes fetch its objects from the origin")
        print(f"\n{len(paths) - 1} objects of an owner that does not answer: {lasted:.1f} s")
        self.assertLess(lasted, 10)
        owner.resume()
        wait_for("the owner", lambda: self.owner(paths[0], near) == owner.name or self.get(near, f"/poke/{time.time()}") and False, near.program.said)
        near.program.wait_to_say("the node answers again")

    def test_an_owner_that_dies_within_a_response_is_replaced_by_the_origin(self):
        path = self.owned_by("edge-1", "/dying")
        self.origin.lengths[path], self.origin.pause = 4 * MIB, 0.05
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            got = pool.submit(self.get, self.nodes[0], path)
            wait_for("the request", lambda: self.origin.requests)
            time.sleep(0.5)
            self.nodes[1].kill()
            self.origin.pause = 0
            self.assertEqual(got.result()[1], large(path, 4 * MIB))
        self.assertGreater(len(self.origin.requests), 1)

    def test_only_nodes_of_the_cluster_get_an_answer(self):
        name, port = "edge-1", self.ports["edge-1"]
        others = Certificates("edge-1", "stranger")
        self.addCleanup(others.remove)
        for certificate in (None, f"{others.directory}/edge-1", f"{self.certificates.directory}/edge-0"):
            context = ssl.create_default_context(cafile=f"{self.certificates.directory}/ca.pem")
            context.set_alpn_protocols(["h2"])
            if certificate:
                context.load_cert_chain(f"{certificate}.pem", f"{certificate}-key.pem")
            with socket.create_connection(("127.0.0.1", port)) as raw:
                if certificate and "edge-0" in certificate:
                    with context.wrap_socket(raw, server_hostname=name) as stream:
                        stream.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
                        self.assertTrue(stream.recv(1))
                else:
                    # With TLS 1.3, the refusal arrives with the first bytes.
                    with self.assertRaises(OSError), context.wrap_socket(raw, server_hostname=name) as stream:
                        stream.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
                        if not stream.recv(1):
                            raise OSError("closed")

    def test_a_viewer_cannot_speak_as_a_node(self):
        fields = {"forebay-peer-distribution": "media", "forebay-peer-answer": "hit", "forebay-peer-key": "0"}
        path = self.owned_by("edge-1", "/viewer")
        self.assertEqual(self.get(self.nodes[0], path, **fields)[1], large(path, 1000))
        self.assertEqual(len(self.origin.requests), 1)

    def test_a_stale_response_is_validated_through_the_owner(self):
        self.origin.fields = {"Cache-Control": "max-age=4"}
        path = self.owned_by("edge-1", "/stale")
        for node in self.nodes:
            self.get(node, path)
        time.sleep(5)
        for node in (self.nodes[0], self.nodes[2]):
            head, body = self.get(node, path)
            self.assertEqual((head["X-Cache"], body), ("RefreshHit from forebay", large(path, 1000)))
        # The owner validated it for both.
        self.assertEqual(len(self.origin.requests), 2, self.counts())

    def test_heads_and_errors_come_from_the_owner_too(self):
        path = self.owned_by("edge-1", "/head")
        for node in self.nodes:
            request = urllib.request.Request(node.url + path, method="HEAD")
            with urllib.request.urlopen(request) as answer:
                self.assertEqual((answer.status, answer.headers["Content-Length"]), (200, "1000"))
        self.assertEqual(self.origin.requests, [("HEAD", path, None)])
        # A stored HEAD does not answer a GET.
        for node in self.nodes:
            self.assertEqual(self.get(node, path)[1], large(path, 1000))
        self.assertEqual(len(self.origin.requests), 2, self.origin.requests)

    def test_what_the_origin_forbids_nodes_do_not_share(self):
        # A targeted field counts instead of Cache-Control.
        self.origin.fields = {"Forebay-Cache-Control": "private"}
        path = self.owned_by("edge-1", "/private")
        for node in self.nodes * 2:
            self.assertEqual(self.get(node, path)[0]["X-Cache"], "Miss from forebay")

    def test_a_soft_purge_holds_for_what_nodes_give_each_other(self):
        path = self.owned_by("edge-1", "/soft")
        for node in self.nodes:
            self.get(node, path)
        self.origin.is_down, self.origin.versions[path] = True, 2
        command = [PROGRAM, "purge", path, "--soft", "--admin", self.nodes[0].admin]
        self.assertEqual(subprocess.run(command, capture_output=True).returncode, 0)
        for _ in range(2):
            for node in reversed(self.nodes):
                # It stays in use while the origin fails.
                self.assertEqual(self.get(node, path)[0]["ETag"], '"1"')
        self.origin.is_down = False
        for node in self.nodes:
            wait_for("the new version", lambda: self.get(node, path)[0]["ETag"] == '"2"', node.program.said, seconds=30)

    def test_a_purge_by_tag_reaches_what_peers_gave(self):
        for node in self.nodes:
            node.stop()
        text = 'aliases = ["*"]\ncache_tag_header = "X-Tags"'
        self.nodes = [Node(n, self.nats, self.origin, more=self.certificates.lines(n, self.ports[n])) for n in self.names]
        for node in self.nodes:
            node.config.write_text(node.config.read_text().replace('aliases = ["*"]', text))
            self.addCleanup(node.stop)
            node.start()
        self.wait_for_all()
        self.origin.fields = {"X-Tags": "sale"}
        whole = self.owned_by("edge-1", "/whole")
        # This one is sent on before it is stored.
        slow = self.owned_by("edge-1", "/slow")
        for path in (whole, slow):
            self.origin.fields = {"X-Tags": "sale"} | ({"Transfer-Encoding": "chunked"} if path == slow else {})
            for node in self.nodes:
                self.assertEqual(self.get(node, path)[1], large(path, 1000))
            for node in self.nodes:
                wait_for("a hit", lambda: self.get(node, path)[0]["X-Cache"].startswith("Hit"), node.program.said)
        command = [PROGRAM, "purge", "--tag", "sale", "--admin", self.nodes[2].admin]
        self.assertEqual(subprocess.run(command, capture_output=True).returncode, 0)
        for path in (whole, slow):
            self.assertEqual(self.get(self.nodes[0], path)[0]["X-Cache"], "Miss from forebay")
            self.assertEqual(self.get(self.nodes[2], path)[0]["X-Cache"], "Miss from forebay")

    def test_bad_certificates_are_named(self):
        others = Certificates("edge-3", "edge-4")
        self.addCleanup(others.remove)
        port = free_port()
        for lines, text in [
            (others.lines("edge-3", port, ca=self.certificates.directory), "is not valid for the authority in"),
            (others.lines("edge-4", port), "is not for the node `edge-3`"),
            (others.lines("edge-3", port).replace("edge-3.pem", "missing.pem"), "cannot read"),
            ('peer_key = "k"\n', "peers need `peer_listen`, `peer_certificate`, `peer_ca`"),
        ]:
            node = Node("edge-3", self.nats, self.origin, more=lines)
            self.addCleanup(node.stop)
            ran = subprocess.run([PROGRAM, "serve", "--config", node.config], capture_output=True, text=True, timeout=30)
            self.assertNotEqual(ran.returncode, 0)
            self.assertIn(text, " ".join(ran.stderr.split()).replace("│ ", ""))

    def test_nodes_with_other_configurations_do_not_ask_each_other(self):
        node = Node("edge-0", self.nats, self.origin, more=self.certificates.lines("edge-0", self.ports["edge-0"]))
        self.nodes[0].stop()
        text = node.config.read_text().replace("CachingOptimized", "CachingOptimizedForUncompressedObjects")
        node.config.write_text(text)
        self.addCleanup(node.stop)
        node.start()
        wait_for("the others", lambda: len(node.status()["members"]) == 2, node.program.said)
        self.assertEqual({self.owner(f"/{n}", node) for n in range(20)}, {"edge-0"})
        wait_for("the others", lambda: "edge-0" not in {self.owner(f"/{n}", self.nodes[1]) for n in range(20)})

    def test_a_purge_reaches_what_peers_gave(self):
        path = self.owned_by("edge-1", "/purged")
        for node in self.nodes:
            self.get(node, path)
        self.assertEqual(len(self.origin.requests), 1)
        for at, node in enumerate(self.nodes):
            self.assertEqual(node.purge(path)[0], 200)
            # The first one fetches it again, and the owner has it then.
            results = [self.get(other, path)[0]["X-Cache"].split()[0] for other in reversed(self.nodes)]
            self.assertEqual(results, ["Miss", "Hit", "Miss"])
            self.assertEqual(len(self.origin.requests), at + 2, self.counts())


if __name__ == "__main__":
    unittest.main()
