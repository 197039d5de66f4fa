"""Every command of the README is run; one that no rule here knows fails the test."""

import json
import re
import shlex
import subprocess
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
                if "/purge" in line:
                    self.assertEqual(json.loads(output), {"distribution": "default", "paths": 1})
                    self.assertEqual(fetch(self.edge.url + "/photos/cat.jpg")[1]["X-Cache"], "Miss from forebay")
                if "/metrics" in line:
                    self.assertIn("forebay_requests_total", output)
            elif line.startswith("forebay "):
                self.assertTrue(self.run_line(line.replace("forebay", program, 1)))
            elif line.startswith("docker "):
                self.assertTrue((ROOT / "Dockerfile").exists())  # tests/image builds and runs it
            else:
                self.fail(f"no rule runs the README's `{line}`")
        self.assertEqual(heads, ["Miss", "Hit"])
        self.assertGreater(len(seen), 9)
