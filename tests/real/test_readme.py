"""Every command of the README is run; one that no rule here knows fails the test."""

import json
import pathlib
import re
import shlex
import subprocess
import sys
import unittest

import parts
from parts import BUCKET, ROOT, fetch


def commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]


class Readme(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.store = parts.SeaweedFS()
        cls.addClassCleanup(cls.store.stop)
        cls.store.s3.put_object(Bucket=BUCKET, Key="photos/cat.jpg", Body=b"cat")

    def setUp(self):
        self.edge = None

    def tearDown(self):
        if self.edge:
            self.assertEqual(self.edge.stop()[0], 0)

    def run_line(self, line):
        run = subprocess.run(line, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(run.returncode, 0, run.stderr)
        return run.stdout

    def serve(self, line):
        words = shlex.split(line)
        given = dict(zip(words[2::2], words[3::2]))
        self.assertEqual(given["--bucket"], BUCKET)
        self.assertEqual((given["--region"], given["--listen"]), ("eu-central-1", "127.0.0.1:8080"))
        # The same, before a store that is on this machine, on ports that are free.
        self.edge = parts.Forebay(self.store.url, "--path-style")

    def curl(self, line):
        line = line.replace("http://127.0.0.1:8080", self.edge.url).replace("http://127.0.0.1:9145", self.edge.admin)
        return self.run_line(line)

    def was_purged(self):
        self.assertEqual(
            [fetch(self.edge.url + "/photos/cat.jpg")[1]["X-Cache"].split()[0] for _ in range(2)], ["Miss", "Hit"]
        )

    def test_every_command(self):
        program = str(parts.PROGRAM)
        seen, heads = [], []
        for line in commands():
            seen.append(line)
            if line in ("cargo run --release -- demo", "tests/run"):
                continue  # tests/run has just run the former, and is what runs this
            if line == "cargo install --path . --locked":
                self.assertTrue(parts.PROGRAM.exists())  # the same program, built already
            elif line.startswith("forebay serve"):
                self.serve(line)
            elif line.startswith("curl"):
                output = self.curl(line)
                if "X-Cache" in output or "x-cache" in output:
                    heads.append(re.search(r"x-cache: (.*?)\s", output, re.IGNORECASE)[1])
                if "/metrics" in line:
                    self.assertIn("forebay_requests_total", output)
            elif line.startswith("forebay purge"):
                admin = self.edge.admin.removeprefix("http://")
                self.assertIn("/photos/* purged", self.run_line(f"{line.replace('forebay', program, 1)} --admin {admin}"))
                self.was_purged()
            elif line.startswith("forebay explain"):
                admin = self.edge.admin.removeprefix("http://")
                line = line.replace("http://127.0.0.1:8080", self.edge.url).replace("forebay", program, 1)
                self.assertIn("Hit: it is fresh", self.run_line(f"{line} --admin {admin}"))
            elif "aws cloudfront" in line:
                aws = f"{pathlib.Path(sys.executable).parent}/aws"
                keys = "AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=thing "
                line = line.replace("http://127.0.0.1:9145", self.edge.admin).replace("aws cloud", f"{aws} cloud")
                self.assertEqual(json.loads(self.run_line(keys + line))["Invalidation"]["Status"], "Completed")
                self.was_purged()
            elif line.startswith("forebay "):
                self.assertTrue(self.run_line(line.replace("forebay", program, 1)))
            elif line.startswith("docker "):
                self.assertTrue((ROOT / "Dockerfile").exists())  # tests/image builds and runs it
            else:
                self.fail(f"no rule runs the README's `{line}`")
        self.assertEqual(heads, ["Miss", "Hit"])
        self.assertGreater(len(seen), 9)
