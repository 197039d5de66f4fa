"""`forebay simulate` against libCacheSim with the same requests, and against a Forebay that serves them."""

import gzip
import json
import pathlib
import random
import shutil
import subprocess
import tempfile
import unittest

import libcachesim

import parts
from parts import PROGRAM, fetch, free_port

POLICIES = {
    "LRU": libcachesim.LRU, "SIEVE": libcachesim.Sieve, "S3-FIFO": libcachesim.S3FIFO, "GDSF": libcachesim.GDSF,
}  # fmt: skip
# S3-FIFO and GDSF leave open how some objects are treated, such as large ones.
TOLERANCES = {"LRU": 0.0001, "SIEVE": 0.0001, "S3-FIFO": 0.005, "GDSF": 0.015}


def zipf(requests, objects, exponent, seed):
    """Requests by Zipf's law, the model of most studies of web caches."""
    choose = random.Random(seed)
    weights = [1 / rank**exponent for rank in range(1, objects + 1)]
    return choose.choices(range(objects), weights, k=requests)


def drifting(requests, seed):
    """Requests of which most are for objects that are new, as of a site with news."""
    choose = random.Random(seed)
    return [max(0, number // 20 - int(choose.expovariate(1 / 200))) for number in range(requests)]


def spread(number, nodes):
    """The node of a number (SplitMix64)."""
    mixed = (number + 1) * 0x9E3779B97F4A7C15 % 2**64
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB % 2**64
    return (mixed ^ mixed >> 31) % nodes


class Simulate(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="forebay-simulate-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def simulate(self, *arguments):
        command = [PROGRAM, "simulate", "--json", *map(str, arguments)]
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
        return json.loads(ran.stdout)

    @staticmethod
    def sizes(objects):
        """Sizes as those of pictures: most are small, some are large."""
        choose = random.Random(1)
        return [int(choose.lognormvariate(10, 1.2)) + 1 for _ in range(objects)]

    def log(self, requests, sizes):
        log = self.folder / "access.log.gz"
        with gzip.open(log, "wt", compresslevel=1) as file:
            for second, object_ in enumerate(requests):
                moment = f"2026-11-25T{second // 36000:02}:{second // 600 % 60:02}:{second // 10 % 60:02}Z"
                line = {"time": moment, "method": "GET", "path": f"/{object_}.jpg", "status": 200, "bytes": sizes[object_]}
                file.write(json.dumps(line) + "\n")
        return log

    def test_policies_agree_with_libcachesim(self):
        for name, requests in {
            "zipf 0.8": zipf(60_000, 5_000, 0.8, 1),
            "zipf 1.1": zipf(60_000, 20_000, 1.1, 2),
            "drifting": drifting(60_000, 3),
        }.items():
            sizes = self.sizes(max(requests) + 1)
            total = sum(sizes[object_] for object_ in set(requests))
            capacities = [total // 50, total // 10, total // 3]
            found = self.simulate("--access-log", self.log(requests, sizes), "--sizes", ",".join(map(str, capacities)))
            self.assertEqual((found["log"]["requests"], found["log"]["working_set"]), (60_000, total))
            for capacity, cache in zip(capacities, found["caches"], strict=True):
                for policy, model in POLICIES.items():
                    other = model(capacity)
                    hits = 0
                    for object_ in requests:
                        request = libcachesim.Request()
                        request.obj_id, request.obj_size = object_, sizes[object_]
                        hits += other.get(request)
                    difference = abs(cache["hit_ratio_by_policy"][policy] - hits / len(requests))
                    self.assertLess(difference, TOLERANCES[policy], (name, capacity, policy))
                self.assertEqual(cache["hit_ratio"], cache["hit_ratio_by_policy"]["LRU"])

    def test_a_sample_predicts_the_whole(self):
        requests = zipf(100_000, 20_000, 0.9, 4)
        sizes = self.sizes(20_000)
        log = self.log(requests, sizes)
        whole = self.simulate("--access-log", log)
        part = self.simulate("--access-log", log, "--max-requests", "30000")
        self.assertGreaterEqual(part["log"]["sampled_one_of"], 4)
        for one, other in zip(whole["caches"][2:], part["caches"][2:], strict=True):
            self.assertAlmostEqual(one["hit_ratio"], other["hit_ratio"], delta=0.04)

    def test_nodes_agree_with_libcachesim(self):
        requests, nodes = zipf(30_000, 3_000, 0.9, 6), 3
        sizes = self.sizes(3_000)
        capacity = sum(sizes[object_] for object_ in set(requests)) // 5
        page = self.folder / "report.html"
        found = self.simulate("--access-log", self.log(requests, sizes), "--sizes", capacity, "--nodes", nodes, "--html", page)
        without, filled = found["caches"][0]["clusters"]
        ids = {object_: number for number, object_ in enumerate(dict.fromkeys(requests))}
        for cluster, has_peer_fill in (without, False), (filled, True):
            caches = [libcachesim.LRU(capacity) for _ in range(nodes)]
            own, peers, origin = 0, 0, 0
            for number, object_ in enumerate(requests):
                request = libcachesim.Request()
                request.obj_id, request.obj_size = object_, sizes[object_]
                node, owner = spread(number, nodes), spread(~ids[object_] % 2**64, nodes)
                if caches[node].get(request):
                    own += 1
                elif has_peer_fill and owner != node and caches[owner].get(request):
                    peers += 1
                else:
                    origin += 1
            self.assertEqual((cluster["nodes"], cluster["peer_fill"], cluster["origin_requests"]), (nodes, has_peer_fill, origin))
            self.assertAlmostEqual(cluster["hit_ratio"], own / len(requests))
            self.assertAlmostEqual(cluster["other_nodes_ratio"], peers / len(requests))
        self.assertLess(filled["origin_requests"], 0.9 * without["origin_requests"])
        text = page.read_text()
        self.assertEqual((text.count("<figure>"), text.count("</html>"), "src=" in text), (4, 1, False))
        for title in "Hit ratio by eviction policy", "Requests of the cluster that reach the bucket", "30000 requests for":
            self.assertIn(title, text)

    def test_it_predicts_what_forebay_does(self):
        """The same requests through a Forebay with this much memory, by either eviction."""
        for eviction, policy in ("lru", "LRU"), ("tiny-lfu", "TinyLFU"):
            with self.subTest(eviction):
                self.predicts(eviction, policy)

    def predicts(self, eviction, policy):
        requests = zipf(6_000, 900, 0.8, 5)
        sizes = [60_000] * 900
        log = self.log(requests, sizes)
        origin = parts.Origin.start()
        origin.length = 60_000
        self.addCleanup(origin.stop)
        port, admin = free_port(), free_port()
        config = self.folder / "forebay.toml"
        lines = f'[listen]\nhttp = "127.0.0.1:{port}"\n[admin]\nlisten = "127.0.0.1:{admin}"\n[cache]\nmemory = "24MiB"\nslice = "64KiB"\neviction = "{eviction}"\n'
        config.write_text(lines + parts.PLAIN_DISTRIBUTION.format(origin=f"http://127.0.0.1:{origin.port}"))
        edge = parts.Program(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin}", "--config", config)
        self.addCleanup(edge.stop)
        hits = sum("Hit" in fetch(f"{edge.url}/{object_}.jpg")[1]["X-Cache"] for object_ in requests)
        # Forebay leaves a part of the memory for responses that are arriving.
        used = next(
            line for line in fetch(edge.admin + "/metrics")[2].decode().splitlines() if line.startswith("forebay_cache_bytes ")
        )
        (cache,) = self.simulate("--access-log", log, "--sizes", int(float(used.split()[1])))["caches"]
        ratio = cache["hit_ratio"] if policy == "LRU" else cache["hit_ratio_by_policy"][policy]
        self.assertAlmostEqual(ratio, hits / len(requests), delta=0.01 if policy == "LRU" else 0.02)

    def test_ttl_and_mistakes(self):
        log = self.log([0, 0, 0, 1] * 100, [100, 100])
        (cache,) = self.simulate("--access-log", log, "--sizes", "1KiB", "--ttl", "10s")["caches"]
        # Ten requests a second for 40 s: each object is confirmed every ten seconds.
        self.assertEqual((cache["origin_requests"], cache["origin_bytes"]), (8, 200))
        # In files that are not in order, and with a signature.
        lines = [json.dumps({"time": f"2026-11-25T01:00:{second:02}Z", "method": "GET", "path": "/a", "query": f"Signature={second}&v=1", "status": 200, "bytes": 9}) for second in range(20)]
        logs = self.folder / "logs"
        logs.mkdir()
        (logs / "1.log").write_text("\n".join(lines[10:]))
        (logs / "2.log").write_text("\n".join(lines[:10]))
        (logs / "3.gz.part").write_text("nonsense")
        found = self.simulate("--access-log", logs, "--ttl", "5s", "--query", "--sizes", "100")
        self.assertEqual((found["log"]["seconds"], found["log"]["objects"], found["log"]["lines_unreadable"]), (19, 1, 0))
        self.assertEqual(found["caches"][0]["origin_requests"], 4)
        (self.folder / "text.log").write_text("nonsense\n")
        for arguments, text in [
            (["--access-log", self.folder / "text.log"], "1 are in no known format"),
            (["--access-log", self.folder / "none.log"], "cannot read"),
        ]:
            ran = subprocess.run([PROGRAM, "simulate", *arguments], capture_output=True, text=True, check=False)
            self.assertEqual(ran.returncode, 1)
            self.assertIn(text, " ".join(ran.stderr.split()))


if __name__ == "__main__":
    unittest.main()
