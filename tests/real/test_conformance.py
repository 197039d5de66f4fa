"""The public suite of tests for HTTP caches (https://cache-tests.fyi), against config/conformance.toml.

`conformance.json` holds what is expected of each test: true, or the reason why it does not pass; null where the
outcome depends on the moment. A difference fails this test; after it was argued, `FOREBAY_WRITE_EXPECTED=1` writes it.
"""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import parity
from parts import PROGRAM, ROOT, free_port, is_open, wait_for

EXPECTED = pathlib.Path(__file__).with_name("conformance.json")
SUITE = ROOT / "target/conformance/node_modules/http-cache-tests"
NODE = shutil.which("node") or str(ROOT / "target/venv/bin/node")


class Conformance(unittest.TestCase):
    maxDiff = None

    def start(self, command, port, **options):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)
        wait_for(f"a listener on port {port}", lambda: is_open(port))

    def run_suite(self):
        folder = tempfile.mkdtemp(prefix="forebay-conformance-")
        self.addCleanup(shutil.rmtree, folder)
        origin, edge = free_port(), free_port()
        settings = {
            "npm_config_protocol": "http", "npm_config_port": str(origin), "npm_config_pidfile": f"{folder}/pid",
            "npm_config_base": f"http://127.0.0.1:{edge}", "npm_package_config_id": "",
        }
        options = {"cwd": SUITE, "env": os.environ | settings}
        self.start([NODE, "--no-warnings", "server/server.mjs"], origin, **options)
        config = pathlib.Path(folder, "conformance.toml")
        text = (ROOT / "config/conformance.toml").read_text()
        config.write_text(text.replace(":8001", f":{origin}").replace(":8002", f":{edge}"))
        self.start([PROGRAM, "serve", "--config", config], edge)
        run = subprocess.run([NODE, "--no-warnings", "cli.mjs"], capture_output=True, check=True, timeout=600, **options)
        return {name: outcome is True for name, outcome in json.loads(run.stdout).items()}

    def test_every_outcome_is_the_expected_one(self):
        outcomes = self.run_suite()
        self.assertGreater(len(outcomes), 300)
        expected = json.loads(EXPECTED.read_text()) if EXPECTED.exists() else {}
        if os.environ.get("FOREBAY_WRITE_EXPECTED"):
            reason = lambda name: expected.get(name) if expected.get(name) is not True else "a reason is missing"
            table = {
                name: None if name in expected and expected[name] is None else passed or reason(name) or "a reason is missing"
                for name, passed in outcomes.items()
            }
            EXPECTED.write_text(json.dumps(table, indent=1) + "\n")
            expected = table
        certain = {name: value is True for name, value in expected.items() if value is not None}
        self.assertEqual({name: outcomes.get(name) for name in certain}, certain)
        self.assertEqual(set(outcomes), set(expected))
        self.assertNotIn("a reason is missing", expected.values())


class Parity(unittest.TestCase):
    def test_each_behavior_names_tests_that_exist(self):
        known = parity.known_tests()
        for behavior in parity.behaviors():
            self.assertEqual([name for name in behavior["tests"] if name not in known], [], behavior["name"])

    def test_the_page_is_current(self):
        """FOREBAY_WRITE_EXPECTED=1 writes the table of CloudFront's behavior; benches/conformance writes the rest."""
        text = parity.PAGE.read_text()
        if os.environ.get("FOREBAY_WRITE_EXPECTED"):
            text = parity.with_current_table(text)
            parity.PAGE.write_text(text)
        self.assertEqual(parity.with_current_table(text), text)


if __name__ == "__main__":
    unittest.main()
