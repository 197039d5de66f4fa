"""`forebay warm`: objects of a bucket, of logs and of lists are in the cache afterwards."""

import json
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import parts
from parts import BUCKET, PROGRAM, fetch, free_port, wait_for

KEYS = {"AWS_ACCESS_KEY_ID": parts.ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": parts.SECRET_KEY}
NAMES = ["cat.jpg", "a b & c.jpg", "été?.jpg", "sub/dog.jpg"]


class Warm(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.store = parts.SeaweedFS()
        cls.addClassCleanup(cls.store.stop)
        for name in NAMES:
            cls.store.s3.put_object(Bucket=BUCKET, Key=f"media/photos/{name}", Body=name.encode())
        for number in range(1200):
            cls.store.s3.put_object(Bucket=BUCKET, Key=f"media/many/{number}.txt", Body=b"text")
        cls.store.s3.put_object(Bucket=BUCKET, Key="other/photos/x.jpg", Body=b"x")

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="forebay-warm-"))
        self.addCleanup(shutil.rmtree, self.folder)
        port, admin = free_port(), free_port()
        (self.folder / "forebay.toml").write_text(
            f"""
            [listen]
            http = "127.0.0.1:{port}"
            [admin]
            listen = "127.0.0.1:{admin}"
            """
            + parts.DISTRIBUTION.format(bucket=BUCKET, endpoint=self.store.url)
            + """
            origin_path = "/media"
            [distribution.default_behavior]
            origin = "bucket"
            cache_policy = "CachingOptimized"
            """
        )
        self.url, self.admin = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin}"
        self.edge = parts.Program(self.url, self.admin, "--config", self.folder / "forebay.toml", **KEYS)
        self.addCleanup(self.edge.stop)

    def forebay(self, *arguments, **options):
        command = [PROGRAM, *map(str, arguments)]
        return subprocess.run(command, cwd=self.folder, env=KEYS, capture_output=True, text=True, **options)

    def warm(self, *arguments, **options):
        return self.forebay("warm", self.url, "--rate", "2000", *arguments, **options)

    def result(self, path):
        return fetch(self.url + path)[1]["X-Cache"].split()[0]

    def test_the_objects_of_a_bucket(self):
        ran = self.warm("--prefix", "photos/")
        self.assertEqual((ran.returncode, ran.stderr), (0, ""))
        self.assertIn("4 fetched, 0 in the cache already, 0 failed, 0 not requested", ran.stdout)
        for path in ("cat.jpg", "a%20b%20%26%20c.jpg", "%C3%A9t%C3%A9%3F.jpg", "sub/dog.jpg"):
            self.assertEqual(self.result(f"/photos/{path}"), "Hit", path)
        ran = self.warm("--prefix", "")
        self.assertIn("1200 fetched, 4 in the cache already", ran.stdout, "several pages")
        self.assertIn("no object whose key begins with `none/`", self.warm("--prefix", "/none/").stderr)
        ran = self.warm("--prefix", "photos/", "--distribution", "none")
        self.assertIn("--distribution: media", ran.stderr)
        wrong = subprocess.run(
            [PROGRAM, "warm", self.url, "--prefix", ""], cwd=self.folder, env=KEYS | {"AWS_SECRET_ACCESS_KEY": "wrong"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        self.assertEqual(wrong.returncode, 1)
        self.assertIn("the bucket cannot be listed", wrong.stderr)

    def test_the_most_frequent_of_logs(self):
        logs = self.folder / "logs"
        (logs / "hour=01").mkdir(parents=True)
        line = lambda path: json.dumps({"method": "GET", "path": path}) + "\n"  # noqa: E731
        failed = json.dumps({"method": "GET", "path": "/none.jpg", "status": 404}) + "\n"
        (logs / "a.log").write_text(line("/photos/cat.jpg") * 3 + line("/many/1.txt") + failed * 9)
        (logs / "hour=01" / "b.log").write_text(line("/photos/sub/dog.jpg") * 2)
        ran = self.warm("--access-log", logs, "--top", "2")
        self.assertIn("2 fetched", ran.stdout, ran.stderr)
        self.assertEqual([self.result(path) for path in ("/photos/cat.jpg", "/photos/sub/dog.jpg", "/many/1.txt")], ["Hit", "Hit", "Miss"])
        ran = self.warm("--access-log", "-", input=line("/many/2.txt"))
        self.assertIn("1 fetched", ran.stdout, ran.stderr)

    def test_what_is_left_can_be_requested_later(self):
        (self.folder / "urls.txt").write_text("/none.jpg?Signature=secret\n" + "".join(f"/many/{n}.txt\n" for n in range(50)))
        left = self.folder / "left.txt"
        ran = self.warm("--urls", "urls.txt", "--left", self.folder / "none/left.txt")
        self.assertIn("cannot write", ran.stderr, "before anything is requested")
        ran = self.warm("--urls", "urls.txt", "--left", left)
        self.assertEqual(ran.returncode, 1)
        self.assertIn("50 fetched, 0 in the cache already, 1 failed", ran.stdout)
        self.assertIn("/none.jpg: the server answered 404 Not Found", ran.stderr)
        self.assertNotIn("secret", ran.stdout + ran.stderr)
        self.assertEqual(left.read_text(), "/none.jpg?Signature=secret\n")
        # Interrupted: what was not requested is left, too.
        command = [PROGRAM, "warm", self.url, "--urls", "urls.txt", "--rate", "5", "--left", left]
        started = time.monotonic()
        slow = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        wait_for("some requests", lambda: time.monotonic() > started + 1)
        slow.send_signal(signal.SIGINT)
        self.assertRegex(slow.communicate()[0], r"0 fetched, \d+ in the cache already, 1 failed, \d+ not requested")
        self.assertEqual(slow.returncode, 130)
        count = len(left.read_text().splitlines())
        self.assertTrue(35 < count < 51, count)
        left.write_text(left.read_text().replace("/none.jpg?Signature=secret\n", ""))
        self.assertEqual(self.warm("--urls", left).returncode, 0)

    def test_the_rate_is_bounded(self):
        (self.folder / "urls.txt").write_text("".join(f"/many/{n}.txt\n" for n in range(20)))
        started = time.monotonic()
        ran = self.forebay("warm", self.url, "--urls", "urls.txt", "--rate", "10")
        self.assertEqual(ran.returncode, 0, ran.stderr)
        # The last of 20 requests is due after 1.9 s, and nothing is waited for after it.
        self.assertTrue(1.9 < time.monotonic() - started < 15)

    def test_after_a_purge(self):
        self.result("/photos/cat.jpg")
        purge = ["purge", "--admin", self.admin, "--warm", self.url]
        ran = self.forebay(*purge, "/photos/cat.jpg", "/many/*", f"{self.url}/photos/a b & c.jpg")
        self.assertEqual(ran.returncode, 0, ran.stderr)
        self.assertIn("2 fetched, 0 in the cache already", ran.stdout)
        self.assertEqual([self.result(path) for path in ("/photos/cat.jpg", "/photos/a%20b%20%26%20c.jpg")], ["Hit", "Hit"])

    def test_mistakes(self):
        for arguments, text in [
            (["http://192.0.2.1/", "--urls", "urls.txt"], "add --i-own-this-host"),
            ([self.url], "name a list with --urls"),
            ([self.url + "/a.jpg", "--prefix", ""], "names a path"),
            ([self.url, "--urls", "none.txt"], "cannot read `none.txt`"),
            ([self.url, "--prefix", "", "--rate", "0"], "--rate cannot be 0"),
            ([self.url, "--prefix", "", "--config", "none.toml"], "cannot read `none.toml`"),
        ]:
            (self.folder / "urls.txt").write_text("/a\n")
            ran = self.forebay("warm", *arguments)
            self.assertNotEqual(ran.returncode, 0, arguments)
            self.assertIn(text, " ".join(ran.stderr.split()), arguments)


if __name__ == "__main__":
    unittest.main()
