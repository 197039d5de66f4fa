"""Several nodes with real NATS servers: no node serves what a purge removed that was reported as done."""

import base64
import contextlib
import os
import pathlib
import random
import shutil
import subprocess
import tempfile
import threading
import time
import unittest

import boto3

from cluster_parts import Certificates, Cuttable, Nats, Node, VersionedOrigin
from parts import PROGRAM, fetch, free_port, wait_for

# How long nodes and servers are disturbed. By hand, `FOREBAY_NEMESIS=3600`.
SECONDS = int(os.environ.get("FOREBAY_NEMESIS", "180"))

STREAM = "FOREBAY_media"
PATHS = [f"/{number}.jpg" for number in range(8)]


class Cluster(unittest.TestCase):
    def setUp(self):
        self.nats = Nats(3)
        self.addCleanup(self.nats.stop)
        self.origin = VersionedOrigin.start()
        self.addCleanup(self.origin.stop)

    def directory(self):
        directory = tempfile.mkdtemp(prefix="forebay-cluster-")
        self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
        return directory

    def node(self, name, **options):
        node = Node(name, self.nats, self.origin, **options)
        self.addCleanup(node.stop)
        return node.start()

    def nodes(self, **options):
        return [self.node(f"edge-{number}", **options) for number in range(3)]

    def change(self, node, path):
        """A new version, and a purge of the old one."""
        self.origin.versions[path] = self.origin.versions.get(path, 1) + 1
        self.assertEqual(node.purge(path)[0], 200)
        return self.origin.versions[path]

    def waits(self, what, node, condition):
        wait_for(what, condition, node.program.said, seconds=90)

    def test_a_purge_reaches_every_node(self):
        nodes = self.nodes()
        for number in range(30):
            path = PATHS[number % len(PATHS)]
            for node in nodes:
                node.get(path)
            self.assertTrue(all(node.get(path)[1]["X-Cache"] == "Hit from forebay" for node in nodes))
            version = self.change(nodes[number % 3], path)
            self.assertEqual([node.get(path)[0] for node in nodes], [version] * 3)
        # Not only when messages follow each other.
        time.sleep(3)
        self.change(nodes[1], PATHS[0])
        status = nodes[0].status()
        self.assertEqual(sorted(member["node"] for member in status["members"]), ["edge-1", "edge-2"])
        self.assertTrue(status["has_lease"] and not status["name_conflict"])
        self.assertTrue(all(member["same_configuration"] for member in status["members"]))
        command = [PROGRAM, "cluster", "status", "--admin", nodes[0].admin]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        self.assertIn("Cluster media", shown)
        self.assertEqual(shown.count(" up "), 3, shown)
        self.assertIn(b"forebay_cluster_members 2\n", fetch(nodes[0].admin + "/metrics")[2])
        checks = subprocess.run([PROGRAM, "doctor", "--config", nodes[0].config], capture_output=True, text=True)
        self.assertIn("the stream `FOREBAY_media` has the right settings", checks.stdout)

    def test_a_stopped_node_serves_nothing_old(self):
        nodes = self.nodes()
        self.assertEqual([node.get("/a")[0] for node in nodes], [1] * 3)
        nodes[2].pause()
        # Until its lease has run out, the purge is not done.
        version = self.change(nodes[0], "/a")
        nodes[2].resume()
        self.assertEqual([node.get("/a")[0] for node in nodes], [version] * 3)
        self.waits("the lease", nodes[2], nodes[2].has_lease)
        nodes[2].get("/a")
        self.assertEqual(nodes[2].get("/a")[1]["X-Cache"], "Hit from forebay")

    def test_a_node_that_is_cut_off_validates(self):
        way = Cuttable(self.nats.ports[0])
        self.addCleanup(way.stop)
        near = self.node("near")
        way_url = f'"nats://127.0.0.1:{way.port}"'
        far = self.node("far", servers=way_url)
        careless = self.node("careless", servers=way_url, more='when_isolated = "serve"')
        for node in (far, careless):
            self.assertEqual(node.get("/a")[0], 1)
        way.is_cut = True
        version = self.change(near, "/a")
        self.assertEqual((far.get("/a")[0], near.get("/a")[0]), (version, version))
        self.assertEqual(far.get("/a")[1]["X-Cache"], "RefreshHit from forebay")
        self.assertIn("cut off", fetch(far.admin + "/readyz")[2].decode())
        # The checks of these tests find out if nothing is validated.
        old, fields = careless.get("/a")
        self.assertEqual(old, 1)
        self.assertIn("detail=cut-off", fields["Cache-Status"])
        # Without the origin there is nothing to validate with.
        self.origin.is_down = True
        self.assertEqual(far.get("/a")[0], None)

    def test_without_nats_nothing_is_purged_and_everything_is_validated(self):
        nodes = self.nodes()
        nodes[0].get("/a")
        for at in range(2):
            self.nats.kill(at)
        doctor = [PROGRAM, "doctor", "--config", nodes[0].config]
        # The last server notices after some seconds that it is alone.
        self.waits("a fault", nodes[0], lambda: subprocess.run(doctor, capture_output=True).returncode != 0)
        self.nats.kill(2)
        status, message = nodes[0].purge("/a")
        self.assertEqual(status, 503)
        self.assertIn("the stream of the cluster cannot be written", message)
        self.waits("the end of the lease", nodes[0], lambda: not nodes[0].has_lease())
        self.assertEqual(nodes[0].get("/a")[1]["X-Cache"], "RefreshHit from forebay")
        for at in range(3):
            self.nats.start(at)
        for node in nodes:
            self.waits("the lease", node, node.has_lease)
        nodes[0].get("/a")
        self.assertEqual(nodes[0].get("/a")[1]["X-Cache"], "Hit from forebay")

    def test_a_node_replays_what_it_missed(self):
        near, directory = self.node("near"), self.directory()
        far = self.node("far", disk=directory)
        for path in ("/a", "/b"):
            far.get(path)
        self.waits("the writes", far, lambda: b"forebay_disk_entries 2\n" in fetch(far.admin + "/metrics")[2])
        far.kill()
        version = self.change(near, "/a")
        far.start()
        self.assertEqual(far.get("/b")[1]["X-Cache"], "Hit from forebay")
        self.assertEqual(far.get("/a")[0], version)

    def test_every_node_knows_the_invalidations(self):
        nodes = self.nodes()

        def api(node):
            return boto3.client(
                "cloudfront", endpoint_url=node.admin, region_name="us-east-1",
                aws_access_key_id="any", aws_secret_access_key="any",
            )  # fmt: skip

        def create(node, reference, path="/a"):
            batch = {"CallerReference": reference, "Paths": {"Quantity": 1, "Items": [path]}}
            return api(node).create_invalidation(DistributionId="media", InvalidationBatch=batch)["Invalidation"]["Id"]

        def ids(node):
            page = api(node).list_invalidations(DistributionId="media")["InvalidationList"]
            return [item["Id"] for item in page.get("Items", [])]

        created = [create(nodes[at % 3], f"reference {at}") for at in range(6)]
        for node in nodes:
            for known in created:
                answer = api(node).get_invalidation(DistributionId="media", Id=known)["Invalidation"]
                self.assertEqual((answer["Status"], answer["Id"]), ("Completed", known))
            self.assertEqual(ids(node), created[::-1])
        # The same request at another node is the same invalidation.
        self.assertEqual(create(nodes[2], "reference 0"), created[0])
        with self.assertRaises(nodes and api(nodes[1]).exceptions.InvalidArgument):
            create(nodes[1], "reference 0", "/b")
        # A node that lost everything knows them again.
        nodes[0].kill()
        nodes[0].start()
        self.assertEqual(ids(nodes[0]), created[::-1])

    def test_a_new_stream_makes_everything_stored_invalid(self):
        nodes = self.nodes()
        nodes[1].get("/a")
        self.assertTrue(self.nats.request(f"$JS.API.STREAM.DELETE.{STREAM}")["success"])
        self.origin.versions["/a"] = 2
        self.waits("the new stream", nodes[1], lambda: nodes[1].get("/a")[0] == 2)
        nodes[1].program.wait_to_say("everything stored is invalid, because the stream was created again")
        self.waits("the lease", nodes[1], nodes[1].has_lease)
        self.change(nodes[0], "/a")

    def test_a_stream_with_other_settings_is_not_used(self):
        settings = {"name": STREAM, "subjects": ["fb.media.>"], "storage": "memory"}
        self.nats.request(f"$JS.API.STREAM.CREATE.{STREAM}", settings)
        node = Node("edge-1", self.nats, self.origin)
        self.addCleanup(node.stop)
        node.start(ready=False)
        node.program.wait_to_say("the stream `FOREBAY_media` has other settings")
        status, _, body = fetch(node.admin + "/readyz")
        self.assertEqual((status, b"joining" in body), (503, True))

    def test_a_node_with_another_time_is_named(self):
        node = self.node("edge-1")
        beat = {"member": {"node": "late", "process": 1}, "applied": 0, "digest": None, "configuration": ""}
        for number in (1, 2):
            beat |= {"number": number, "clock": int((time.time() - 3600) * 1000)}
            self.nats.request("fb.media.hb.late.0000000000000001", beat)
        # A slow machine makes it a second more.
        node.program.wait_to_say("its clock is 36")
        command = [PROGRAM, "cluster", "status", "--admin", node.admin]
        shown = subprocess.run(command, capture_output=True, text=True).stdout
        self.assertRegex(shown, r"late .* its clock is 3\d+ s behind this node's")

    def test_others_cannot_read_or_forge_what_nodes_write(self):
        directory = self.directory()
        keys = [base64.b64encode(os.urandom(32)).decode() for _ in range(2)]
        for name, lines in {"old": keys[:1], "both": keys, "other": keys[1:]}.items():
            pathlib.Path(directory, name).write_text("\n".join(lines))
        # While a key is replaced, nodes have different newest keys, and know both.
        pathlib.Path(directory, "new").write_text("\n".join(keys[::-1]))
        nodes = [self.node(f"edge-{name}", more=f'key_file = "{directory}/{name}"') for name in ("both", "new")]
        for node in nodes:
            self.waits("the lease", node, node.has_lease)
            node.get("/secret.jpg")
        for node in nodes:
            version = self.change(node, "/secret.jpg")
            self.assertEqual([other.get("/secret.jpg")[0] for other in nodes], [version] * 2)
            asked = {"last_by_subj": "fb.media.purge.>"}
            message = self.nats.request(f"$JS.API.STREAM.MSG.GET.{STREAM}", asked)["message"]
            self.assertNotIn(b"secret", base64.b64decode(message["data"]))
        # What is not sealed makes everything invalid: it may be a purge.
        self.nats.request(message["subject"], {"distribution": "media", "target": {"path": "/other"}, "soft": False})
        for node in nodes:
            node.program.wait_to_say("everything stored is invalid, because another node found")
        stranger = Node("stranger", self.nats, self.origin, more=f'key_file = "{directory}/other"')
        self.addCleanup(stranger.stop)
        stranger.start(ready=False)
        stranger.program.wait_to_say("`cluster.key_file` has another key")
        pathlib.Path(directory, "bad").write_text("c2hvcnQ=\n")
        bad = Node("bad", self.nats, self.origin, more=f'key_file = "{directory}/bad"')
        self.addCleanup(bad.stop)
        ran = subprocess.run([PROGRAM, "serve", "--config", bad.config], capture_output=True, text=True, timeout=30)
        self.assertIn("is not a key: expected 32 bytes in base64", " ".join(ran.stderr.split()))

    def test_settings_that_lose_purges_are_noticed(self):
        node = self.node("edge-1")
        self.waits("the lease", node, node.has_lease)
        config = self.nats.request(f"$JS.API.STREAM.INFO.{STREAM}")["config"]
        changed = config | {"max_age": 3600 * 10**9, "max_msgs": 1000}
        self.nats.request(f"$JS.API.STREAM.UPDATE.{STREAM}", changed)
        node.program.wait_to_say("`max_msgs` is 1000 instead of 1000000, `max_age` is 3600s instead of 0ns")
        self.waits("the end of the lease", node, lambda: not node.has_lease())
        self.nats.request(f"$JS.API.STREAM.UPDATE.{STREAM}", config)
        self.waits("the lease", node, node.has_lease)

    def test_two_nodes_with_one_name_are_told_apart(self):
        nodes = [self.node("edge"), self.node("edge")]
        for node in nodes:
            node.program.wait_to_say("give each node a name of its own in `cluster.node`")
            self.assertTrue(node.status()["name_conflict"])
            node.get("/a")
        version = self.change(nodes[1], "/a")
        self.assertEqual([node.get("/a")[0] for node in nodes], [version] * 2)
        # A node that ends signs off, so purges do not wait for it.
        nodes[0].stop()
        self.waits("the end of the conflict", nodes[1], lambda: not nodes[1].status()["name_conflict"])
        self.assertEqual(nodes[1].status()["members"], [])


class Users(unittest.TestCase):
    def test_nats_users_may_have_only_what_a_node_needs(self):
        rights = '{ publish: ["fb.media.>", "$JS.API.>"], subscribe: "_INBOX.>" }'
        user = f'{{ user: forebay, password: "s3cret", permissions: {rights} }}'
        # This one cannot write the history.
        fewer = '{ publish: ["fb.media.purge.>", "fb.media.hb.>", "$JS.API.>"], subscribe: "_INBOX.>" }'
        other = f'{{ user: other, password: "s3cret", permissions: {fewer} }}'
        nats = Nats(1, more=f"authorization {{ users = [{user}, {other}] }}")
        self.addCleanup(nats.stop)
        origin = VersionedOrigin.start()
        self.addCleanup(origin.stop)
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("wrong\n")
            file.flush()
            keys = f'user = "forebay"\npassword_file = "{file.name}"'
            node = Node("edge-1", nats, origin, user=keys)
            self.addCleanup(node.stop)
            node.start(ready=False)
            node.program.wait_to_say("no connection to the cluster")
            self.assertIn("authorization violation", node.program.said())
            file.seek(0)
            file.write("s3cret\n")
            file.flush()
            wait_for("the lease", node.has_lease, node.program.said, seconds=60)
            node.get("/a")
            origin.versions["/a"] = 2
            self.assertEqual(node.purge("/a")[0], 200)
            self.assertEqual(node.get("/a")[0], 2)
            for name, finding in [("forebay", "has the right settings"), ("other", "NATS does not answer to `fb.media.history.doctor`")]:
                node.config.write_text(node.config.read_text().replace('user = "forebay"', f'user = "{name}"'))
                checks = subprocess.run([PROGRAM, "doctor", "--config", node.config], capture_output=True, text=True)
                self.assertIn(finding, checks.stdout)
                self.assertEqual("NATS does not answer" in checks.stdout, name == "other", checks.stdout)


class Nemesis(Cluster):
    """Nodes and servers are stopped, killed and cut off while objects change."""

    def setUp(self):
        super().setUp()
        self.ways = [Cuttable(port) for port in self.nats.ports]
        for way in self.ways:
            self.addCleanup(way.stop)
        self.directories = [self.directory(), self.directory(), None]
        certificates = Certificates(*[f"edge-{at}" for at in range(3)])
        self.addCleanup(certificates.remove)
        self.members = [
            self.node(
                f"edge-{at}",
                disk=self.directories[at],
                servers=f'"nats://127.0.0.1:{way.port}"',
                more=certificates.lines(f"edge-{at}", free_port()),
                # Its machine was started long before the others.
                within=["unshare", "-T", "--boottime", "1000000"] if at == 2 and os.geteuid() == 0 else [],
            )
            for at, way in enumerate(self.ways)
        ]
        self.completed = dict.fromkeys(PATHS, 0)
        self.flips, self.was_deleted = 0, False
        self.wrong, self.counts = [], {"hits": 0, "reads": 0, "purges": 0, "refused": 0}
        self.ends = threading.Event()

    def read(self):
        while not self.ends.is_set():
            node, path = random.choice(self.members), random.choice(PATHS)
            least = self.completed[path]
            try:
                version, fields = node.get(path)
            except OSError:
                time.sleep(0.05)
                continue
            self.counts["reads"] += 1
            if version is not None:
                self.counts["hits"] += fields["X-Cache"].startswith("Hit")
                if version < least:
                    self.wrong.append(f"{node.name} served version {version} of {path}, not {least}")

    def write(self, path):
        while not self.ends.is_set():
            node = random.choice(self.members)
            self.origin.versions[path] = version = self.origin.versions.get(path, 1) + 1
            try:
                status, _ = node.purge(path, timeout=60)
            except OSError:
                continue
            if status == 200:
                self.counts["purges"] += 1
                self.completed[path] = max(self.completed[path], version)
            else:
                self.counts["refused"] += 1
            time.sleep(random.uniform(0, 0.2))

    def disturb(self):
        at, lasts = random.randrange(3), random.choice([0.5, 2, 8, 25])
        node, way = self.members[at], self.ways[at]
        match random.randrange(9):
            case 0:
                node.pause()
                self.ends.wait(lasts)
                node.resume()
            case 1:
                way.is_cut = True
                self.ends.wait(lasts)
                way.is_cut = False
            case 2 | 3 as choice:
                node.kill()
                if choice == 3 and self.directories[at]:
                    shutil.rmtree(self.directories[at])
                    os.mkdir(self.directories[at])
                self.ends.wait(lasts)
                node.start(ready=False)
            case 4:
                # A server that lost its disk gets the stream from the others.
                self.nats.kill(at)
                self.nats.wipe(at)
                self.nats.start(at)
            case 5:
                self.nats.kill(at)
                self.flips += self.nats.flip_bits(at)
                self.nats.start(at)
            case 6 if not self.was_deleted:
                # Once: the new stream has other NATS servers' files, and everything becomes invalid.
                self.was_deleted = True
                with contextlib.suppress(OSError, AssertionError):
                    self.nats.request(f"$JS.API.STREAM.DELETE.{STREAM}")
            case 7:
                self.nats.pause(at)
                self.ends.wait(lasts)
                self.nats.resume(at)
            case _:
                self.nats.kill(at)
                self.ends.wait(lasts)
                self.nats.start(at)
        self.ends.wait(random.uniform(1, 6))

    def test_disturbed_nodes_serve_nothing_old(self):
        work = [threading.Thread(target=self.read) for _ in range(4)]
        work += [threading.Thread(target=self.write, args=(path,)) for path in PATHS[:3]]
        for thread in work:
            thread.start()
        end = time.monotonic() + SECONDS
        while time.monotonic() < end and not self.wrong:
            self.disturb()
        self.ends.set()
        for thread in work:
            thread.join(timeout=90)
        peers = [fetch(node.admin + "/metrics")[2].decode() for node in self.members]
        self.counts["from peers"] = sum(
            int(line.split()[1])
            for text in peers
            for line in text.splitlines()
            if line.startswith(("forebay_cluster_peer_hits_total ", "forebay_cluster_peer_misses_total "))
        )
        self.counts["flipped bits"] = self.flips
        print(f"\n{SECONDS} s: {self.counts}")
        self.assertEqual(self.wrong, [])
        # Otherwise nothing was shown.
        self.assertTrue(self.counts["hits"] > 100 and self.counts["purges"] > 10, self.counts)


for name in [name for name in dir(Cluster) if name.startswith("test_")]:
    setattr(Nemesis, name, None)
