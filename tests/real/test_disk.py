"""The disk cache under `kill -9`: no wrong byte, no purged version, and hits after the restart.

`FOREBAY_ROUNDS=1000` kills as many times.
"""

import http.client
import json
import os
import random
import shutil
import subprocess
import tempfile
import threading
import time
import unittest

import parts
from parts import fetch, wait_for

ROUNDS = int(os.environ.get("FOREBAY_ROUNDS", "50"))

KEYS = [f"media/{number}.bin" for number in range(60)]


def content(key, version):
    """Every byte depends on key and version."""
    number = int(key.split("/")[1].split(".")[0])
    length = 3_000_000 if number == 0 else 500 + 3_301 * number
    text = f"{key} version {version}\n".encode()
    return (text * (length // len(text) + 1))[:length]


class Disk(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.store = parts.SeaweedFS()
        cls.addClassCleanup(cls.store.stop)

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="forebay-disk-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.current = dict.fromkeys(KEYS, 1)
        # The version that was current when the last purge of the key was acknowledged.
        self.purged = dict.fromkeys(KEYS, 0)
        self.wrong = []
        for key in KEYS:
            self.put(key, 1)

    def put(self, key, version):
        self.store.s3.put_object(Bucket=parts.BUCKET, Key=key, Body=content(key, version))

    def start(self):
        forebay = parts.Forebay(self.store.url, "--cache-dir", self.folder, "--cache-size", "256MiB")
        self.addCleanup(forebay.stop)
        wait_for("the index", lambda: json.loads(fetch(forebay.admin + "/readyz")[2])["disk"] == "ready", forebay.said)
        return forebay

    def purge(self, forebay, path):
        body = json.dumps({"distribution": "default", "paths": [path]}).encode()
        status, _, said = fetch(forebay.admin + "/purge", "POST", {"Content-Type": "application/json"}, body)
        if status != 200:
            self.wrong.append(f"purge: {status} {said}")

    def get(self, forebay, key):
        """Checks the content; returns whether it was a hit."""
        oldest = self.purged[key]
        status, fields, body = fetch(f"{forebay.url}/{key}")
        if status != 200:
            self.wrong.append(f"{key}: {status}")
            return False
        # The purge may have arrived with this request under way, but never before it.
        versions = range(oldest, self.current[key] + 2)
        if not any(body == content(key, version) for version in versions):
            self.wrong.append(f"{key}: {body[:40]}…, {len(body)} bytes, not of versions {versions}")
        return fields.get("X-Cache", "").startswith("Hit")

    def load(self, forebay, ends):
        while not ends.is_set():
            try:
                self.get(forebay, random.choice(KEYS))
            except (OSError, http.client.HTTPException):
                return

    def change(self, forebay, ends):
        while not ends.is_set():
            key = random.choice(KEYS)
            version = self.current[key] + 1
            self.put(key, version)
            self.current[key] = version
            try:
                self.purge(forebay, f"/{key}")
            except (OSError, http.client.HTTPException):
                return
            self.purged[key] = version

    def test_kills_bring_back_nothing_that_was_purged(self):
        for _ in range(ROUNDS):
            forebay, ends = self.start(), threading.Event()
            for key in KEYS:
                self.get(forebay, key)
            work = [threading.Thread(target=self.load, args=(forebay, ends)) for _ in range(3)]
            work.append(threading.Thread(target=self.change, args=(forebay, ends)))
            for thread in work:
                thread.start()
            time.sleep(random.uniform(0.1, 1.5))
            forebay.kill()
            ends.set()
            for thread in work:
                thread.join(timeout=60)
            self.assertEqual(self.wrong, [])

    def test_hits_after_a_kill(self):
        forebay = self.start()
        for key in KEYS:
            self.get(forebay, key)
        # What is not written yet may be lost. The first object has three slices beside its head.
        entries = f"forebay_disk_entries {len(KEYS) + 3}\n".encode()
        wait_for("the writes", lambda: entries in fetch(forebay.admin + "/metrics")[2], forebay.said)
        forebay.kill()
        forebay = self.start()
        hits = sum(self.get(forebay, key) for key in KEYS)
        self.assertEqual((hits, self.wrong), (len(KEYS), []))

    @unittest.skipUnless(shutil.which("strace"), "strace is not installed")
    def test_a_purge_is_on_disk_before_it_is_acknowledged(self):
        forebay = self.start()
        trace = f"{self.folder}-trace"
        self.addCleanup(os.remove, trace)
        command = ["strace", "-f", "-y", "-s", "32", "-o", trace, "-p", str(forebay.process.pid)]
        calls = "trace=fdatasync,write,writev,sendto,sendmsg"
        with subprocess.Popen([*command, "-e", calls], stderr=subprocess.PIPE, text=True) as strace:
            line = strace.stderr.readline()
            if "attached" not in line:
                strace.terminate()
                self.skipTest(f"the system does not allow it: {line}")
            for number in range(5):
                self.purge(forebay, f"/media/{number}.bin")
            strace.terminate()
        self.assertEqual(self.wrong, [])
        with open(trace) as file:
            lines = file.read().splitlines()
        # If other lines come between, the call ends on the next line of its thread.
        syncs = [n for n, line in enumerate(lines) if "fdatasync(" in line and "/purge.log>" in line]
        ends = []
        for n in syncs:
            thread = lines[n].split()[0]
            of_thread = [m for m in range(n, len(lines)) if lines[m].split()[0] == thread]
            ends.append(next(m for m in of_thread if lines[m].endswith("= 0")))
        answers = [n for n, line in enumerate(lines) if '"HTTP/1.1 200 OK' in line]
        self.assertEqual((len(ends), len(answers)), (5, 5), "\n".join(lines))
        for begin, end, answer in zip([-1, *answers], ends, answers):
            self.assertTrue(begin < end < answer, "\n".join(lines))

    def test_a_full_file_system(self):
        mounted = os.geteuid() == 0 and os.system(f"mount -t tmpfs -o size=70m tmpfs {self.folder}") == 0
        if not mounted:
            self.skipTest("mounting needs root")
        self.addCleanup(os.system, f"umount -l {self.folder}")
        forebay = self.start()
        for version in range(2, 11):
            for key in KEYS:
                self.get(forebay, key)
                self.put(key, version)
                self.current[key] = version
            self.purge(forebay, "/*")
            self.purged = dict(self.current)
        self.assertEqual(self.wrong, [])
        forebay.wait_to_say("the disk is full")
        # Nothing is left for the log of purges: stored objects give way to it.
        with open(os.path.join(self.folder, "other"), "wb", 0) as other:
            with self.assertRaises(OSError):
                while True:
                    other.write(bytes(4096))
        for number in range(200):
            self.purge(forebay, f"/{'x' * 200}{number}")
        self.assertEqual(self.wrong, [])


if __name__ == "__main__":
    unittest.main()
