"""Staging: the running program with a second configuration, until it fails or is promoted."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import parts
from parts import PROGRAM, fetch, free_port, wait_for

CONFIG = """
[listen]
http = "127.0.0.1:{port}"
[admin]
listen = "127.0.0.1:{admin}"
[[distribution]]
id = "media"
aliases = ["*"]
[[distribution.origin]]
id = "origin"
url = "http://127.0.0.1:{origin}"
signing = "never"
[distribution.default_behavior]
origin = "origin"
cache_policy = "CachingDisabled"
response_headers_policy = "{policy}"
"""
STAGING = """
[staging]
file = "staging.toml"
weight = 0.15
header = {{ aws-cf-cd-staging = "yes" }}
"""
POLICY = """
[[response_headers_policy]]
name = "staged"
[[response_headers_policy.custom_header]]
name = "X-Configuration"
value = "staged"
"""


class Staging(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="forebay-staging-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.origins = [parts.Origin.start(), parts.Origin.start()]
        for origin in self.origins:
            self.addCleanup(origin.stop)
        self.port, self.admin = free_port(), free_port()
        self.config, self.staged = self.folder / "forebay.toml", self.folder / "staging.toml"
        self.config.write_text(self.text(0, "SimpleCORS") + STAGING.format())
        self.staged.write_text(self.text(1, "staged") + POLICY)
        url = f"http://127.0.0.1:{self.port}"
        self.edge = parts.Program(url, f"http://127.0.0.1:{self.admin}", "--config", self.config)
        self.addCleanup(self.edge.stop)

    def text(self, origin, policy):
        return CONFIG.format(port=self.port, admin=self.admin, origin=self.origins[origin].port, policy=policy)

    def get(self, **headers):
        status, fields, _ = fetch(f"{self.edge.url}/a", headers={name.replace("_", "-"): value for name, value in headers.items()})
        return status, fields["X-Configuration"]

    def forebay(self, *arguments):
        admin = f"127.0.0.1:{self.admin}"
        command = [PROGRAM, *arguments, "--admin", admin]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)

    def metric(self):
        text = fetch(f"{self.edge.admin}/metrics")[2].decode()
        (line,) = [line for line in text.splitlines() if line.startswith("forebay_staging_active ")]
        return line.split()[1]

    def test_a_part_of_the_requests_is_staged_and_it_is_promoted(self):
        self.assertEqual(self.get(aws_cf_cd_staging="yes"), (200, "staged"))
        seen = [self.get()[1] for _ in range(400)]
        # 60 are expected, with a standard deviation of 7.
        self.assertTrue(25 < seen.count("staged") < 95, seen.count("staged"))
        self.assertEqual(seen.count("staged") + seen.count(None), 400)
        wait_for("the metric", lambda: self.metric() == "1", self.edge.said)
        old, new = self.config.read_text(), self.staged.read_text()
        # Another owner and mode, behind a link.
        file = self.folder / "real.toml"
        self.config.rename(file)
        self.config.symlink_to(file)
        os.chown(file, 65534, 65534)
        file.chmod(0o640)
        promoted = self.forebay("promote")
        self.assertEqual(promoted.returncode, 0, promoted.stderr)
        previous = self.folder / "real.toml.previous"
        self.assertEqual((self.config.read_text(), previous.read_text()), (new, old))
        for path in (file, previous):
            found = path.stat()
            self.assertEqual((found.st_uid, found.st_gid, found.st_mode & 0o777), (65534, 65534, 0o640))
        self.assertTrue(self.config.is_symlink())
        self.assertEqual({self.get() for _ in range(50)}, {(200, "staged")})
        again = self.forebay("promote")
        self.assertEqual(again.returncode, 1)
        self.assertIn("has no table [staging]", again.stderr)

    def test_what_cannot_be_promoted_leaves_everything_as_it_is(self):
        wait_for("the metric", lambda: self.metric() == "1", self.edge.said)
        old = self.config.read_text()
        # Only the running program finds out: the check of files is not part of it.
        self.staged.write_text(self.text(1, "staged").replace('"http://127', '"https://127').replace(
            'signing = "never"', 'signing = "never"\nca_file = "missing.pem"') + POLICY)
        refused = self.forebay("promote")
        self.assertEqual(refused.returncode, 1)
        self.assertIn("is as it was", refused.stderr)
        self.assertIn("missing.pem", refused.stderr)
        self.assertEqual(self.config.read_text(), old)
        self.staged.write_text("[listen]\nhttp = 1")
        refused = self.forebay("promote")
        self.assertEqual(refused.returncode, 1)
        self.assertIn("staging.toml", refused.stderr)
        checked = subprocess.run([PROGRAM, "check"], cwd=self.folder, capture_output=True, text=True, check=False)
        self.assertEqual(checked.returncode, 1)
        self.assertIn("staging.toml", checked.stderr)
        self.assertEqual(self.config.read_text(), old)

    def test_it_ends_by_itself_if_its_requests_fail(self):
        self.origins[1].status = 500
        wait_for("the metric", lambda: self.metric() == "1", self.edge.said)
        for _ in range(30):
            self.assertEqual(self.get(aws_cf_cd_staging="yes")[0], 500)
            self.get()

        def has_ended():
            self.get(aws_cf_cd_staging="yes"), self.get()
            return self.metric() == "0"

        wait_for("the end", has_ended, self.edge.said)
        self.assertIn("the staging configuration ended", self.edge.said())
        self.assertEqual({self.get(aws_cf_cd_staging="yes") for _ in range(20)}, {(200, None)})
        refused = self.forebay("promote")
        self.assertEqual(refused.returncode, 1)
        self.assertIn("serves no requests", refused.stderr)
        # A reload of the same configuration does not begin again, one of another does.
        self.assertEqual(self.forebay("reload").returncode, 0)
        self.assertEqual(self.get(aws_cf_cd_staging="yes"), (200, None))
        self.origins[1].status = 200
        self.staged.write_text(self.staged.read_text().replace('value = "staged"', 'value = "fixed"'))
        self.assertEqual(self.forebay("reload").returncode, 0)
        self.assertEqual(self.get(aws_cf_cd_staging="yes"), (200, "fixed"))


if __name__ == "__main__":
    unittest.main()
