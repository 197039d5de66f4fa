"""Every command of the README is run; one that no rule here knows fails the test."""

import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest

import boto3
from moto.server import ThreadedMotoServer

import parts
from parts import BUCKET, ROOT, fetch


CONFIGURE = """
import django
from django.conf import settings
settings.configure(**{name: value for name, value in globals().items() if name.isupper()})
django.setup()
"""
STORAGES = CONFIGURE + """
from django.core.files.storage import default_storage
assert default_storage.url("photos/cat.jpg") == "https://media.example.com/photos/cat.jpg"
"""
FRONTEND_CACHE = CONFIGURE + """
from wagtail.contrib.frontend_cache.utils import get_backends
(backend,) = get_backends().values()
backend.purge("https://media.example.com/photos/cat.jpg")
"""


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
        self.edge = self.cloudfront = None
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="forebay-readme-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def tearDown(self):
        if self.edge:
            self.assertEqual(self.edge.stop()[0], 0)

    def run_line(self, line):
        run = subprocess.run(line, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(run.returncode, 0, run.stderr)
        return run.stdout

    def here(self, line):
        """Runs a line of the program in a folder of its own, with the store's credentials."""
        environment = {"AWS_ACCESS_KEY_ID": parts.ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": parts.SECRET_KEY}
        line = line.replace("forebay", str(parts.PROGRAM), 1)
        run = subprocess.run(
            line, shell=True, cwd=self.folder, capture_output=True, text=True, timeout=120, check=False,
            env=os.environ | environment,
        )  # fmt: skip
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        return run.stdout

    def init(self, line):
        words = shlex.split(line)
        given = dict(zip(words[2::2], words[3::2]))
        self.assertEqual(given["--bucket"], BUCKET)
        self.assertEqual((given["--region"], given["--listen"]), ("eu-central-1", "127.0.0.1:8080"))
        # The same, before a store that is on this machine, on ports that are free.
        self.port, self.admin = parts.free_port(), parts.free_port()
        line = line.replace("127.0.0.1:8080", f"127.0.0.1:{self.port}")
        self.assertIn("No problems found.", self.here(f"{line} --endpoint {self.store.url} --path-style"))
        file = self.folder / "forebay.toml"
        file.write_text(f'admin = {{ listen = "127.0.0.1:{self.admin}" }}\n{file.read_text()}')

    def serve(self, line):
        words = shlex.split(line)
        self.assertEqual(words, ["forebay", "serve"])
        self.edge = parts.Program(
            f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.admin}", "--config", self.folder / "forebay.toml",
            AWS_ACCESS_KEY_ID=parts.ACCESS_KEY, AWS_SECRET_ACCESS_KEY=parts.SECRET_KEY,
        )  # fmt: skip

    def from_cloudfront(self, line):
        """What `aws cloudfront get-…` and `list-…` print, by moto with a distribution of ours."""
        if not self.cloudfront:
            self.cloudfront = ThreadedMotoServer(port=parts.free_port(), verbose=False)
            self.cloudfront.start()
            self.addCleanup(self.cloudfront.stop)
            url = f"http://127.0.0.1:{self.cloudfront._port}"
            keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
            client = boto3.client("cloudfront", endpoint_url=url, **keys)
            golden = ROOT / "tests/golden/import/django-media/E2EXAMPLE12345.json"
            config = json.loads(golden.read_text())["DistributionConfig"]
            made = client.create_distribution(DistributionConfig=config)["Distribution"]["Id"]
            self.aws = f"AWS_ENDPOINT_URL_CLOUDFRONT={url} AWS_DEFAULT_REGION=us-east-1 AWS_ACCESS_KEY_ID=a AWS_SECRET_ACCESS_KEY=b {pathlib.Path(sys.executable).parent}/aws"
            self.made = made
        command, file = line.split(" > ")
        if " list-" in command and not re.search("list-(public-keys|key-groups|origin-access-controls)$", command):
            # moto knows no lists of policies; that AWS CLI does is what is tried here.
            self.here(f"{self.aws.split()[-1]} {command.removeprefix('aws ')} --generate-cli-skeleton")
        else:
            command = command.replace("--id E2QWRUHEXAMPLE", f"--id {self.made}")
            # moto prints nothing where there is none.
            self.here(f"{self.aws} {command.removeprefix('aws ')} > {file} && [ -s {file} ] || rm {file}")

    def curl(self, line):
        line = line.replace("http://127.0.0.1:8080", self.edge.url).replace("http://127.0.0.1:9145", self.edge.admin)
        return self.run_line(line)

    def was_purged(self):
        self.assertEqual(
            [fetch(self.edge.url + "/photos/cat.jpg")[1]["X-Cache"].split()[0] for _ in range(2)], ["Miss", "Hit"]
        )

    def recipes(self):
        """The settings that the README shows, in Django and Wagtail."""
        text = (ROOT / "README.md").read_text(encoding="utf-8")
        blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        run = {"STORAGES": STORAGES, "WAGTAILFRONTENDCACHE": FRONTEND_CACHE}
        self.assertEqual([block.split(" = ")[0] for block in blocks], list(run))
        environment = {
            "AWS_ENDPOINT_URL_CLOUDFRONT": self.edge.admin, "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "thing",
        }  # fmt: skip
        for block in blocks:
            script = block + run[block.split(" = ")[0]]
            done = subprocess.run(
                [sys.executable, "-c", script], env=os.environ | environment, capture_output=True, text=True, check=False
            )
            self.assertEqual(done.returncode, 0, done.stderr)
        self.was_purged()

    def test_every_command(self):
        program = str(parts.PROGRAM)
        seen, heads = [], []
        for line in commands():
            seen.append(line)
            if line in ("cargo run --release -- demo", "tests/run"):
                continue  # tests/run has just run the former, and is what runs this
            if line == "cargo install --path . --locked":
                self.assertTrue(parts.PROGRAM.exists())  # the same program, built already
            elif line.startswith("forebay init"):
                self.init(line)
            elif line.startswith("forebay doctor"):
                self.assertIn("No problems found.", self.here(line))
            elif line.startswith("forebay serve"):
                self.serve(line)
            elif line.startswith("mkdir "):
                self.here(line)
            elif line.startswith("aws cloudfront "):
                self.from_cloudfront(line)
            elif line.startswith("forebay import"):
                self.assertIn("imported.toml is written.", self.here(line))
                self.here("forebay check --config imported.toml")
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
            elif line.startswith("forebay load"):
                line = line.replace("http://127.0.0.1:8080", self.edge.url)
                self.assertIn("hits        100.00 %", self.here(line))
                self.assertIn("</html>", (self.folder / "load.html").read_text())
            elif line == "forebay check":
                self.assertIn("no faults", self.here(line))
            elif line.startswith("forebay "):
                self.assertTrue(self.run_line(line.replace("forebay", program, 1)))
            elif line.startswith("docker "):
                self.assertTrue((ROOT / "Dockerfile").exists())  # tests/image builds and runs it
            else:
                self.fail(f"no rule runs the README's `{line}`")
        self.assertEqual(heads, ["Miss", "Hit"])
        self.recipes()
        self.assertGreater(len(seen), 9)
