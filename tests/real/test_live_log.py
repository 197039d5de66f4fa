"""`forebay logs` against a running Forebay."""

import http.client
import json
import pathlib
import re
import shutil
import subprocess
import tempfile
import threading
import unittest

import parts
from parts import fetch, free_port, wait_for

CONFIG = """\
[listen]
http = "127.0.0.1:{port}"
[admin]
listen = "127.0.0.1:{admin}"
[access_log]
format = "off"
""" + parts.PLAIN_DISTRIBUTION


class Reader:
    """`forebay logs` with these arguments; its lines are kept."""

    def __init__(self, program, *arguments):
        command = [parts.PROGRAM, "logs", "--admin", program.admin, *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines, self.faults = [], []
        for kept, stream in (self.lines, self.process.stdout), (self.faults, self.process.stderr):
            threading.Thread(target=lambda kept=kept, stream=stream: kept.extend(stream), daemon=True).start()

    def stop(self):
        self.process.kill()
        self.process.wait()


class LiveLog(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="forebay-live-log-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.origin = parts.Origin.start()
        self.addCleanup(self.origin.stop)
        self.config = self.folder / "forebay.toml"
        port, admin = free_port(), free_port()
        origin = f"http://127.0.0.1:{self.origin.port}"
        self.config.write_text(CONFIG.format(port=port, admin=admin, origin=origin))
        self.program = parts.Program(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin}", "--config", self.config)
        self.addCleanup(self.program.stop)

    def read(self, *arguments):
        reader = Reader(self.program, *arguments)
        self.addCleanup(reader.stop)

        def reads():
            # Until it reads, requests are not for it.
            fetch(f"{self.program.url}/probe/{len(reader.lines)}", method="DELETE")
            return reader.lines

        if not arguments or arguments == ("--json",):
            wait_for("the reader", reads, seconds=20)
            reader.lines.clear()
        return reader

    def test_it_shows_requests_as_they_end(self):
        reader = self.read("--json")
        plain = self.read()
        self.assertEqual(fetch(self.program.url + "/a.jpg?size=1&Signature=secret")[0], 200)
        found = lambda reader: [line for line in reader.lines if "/a.jpg" in line]
        wait_for("the line", lambda: found(reader) and found(plain), seconds=20)
        line = json.loads(found(reader)[0])
        self.assertEqual((line["status"], line["result"], line["path"]), (200, "Miss", "/a.jpg"))
        self.assertRegex(found(plain)[0], r"^\d\d:\d\d:\d\d\.\d{3}Z 200 Miss +6 B +[\d.]+ ms GET 127\.0\.0\.1:\d+/a\.jpg\?size=1")
        self.assertNotIn("secret", found(reader)[0] + found(plain)[0])

    def test_filters_select(self):
        readers = {
            name: self.read("--json", "-n", "1", *arguments)
            for name, arguments in {
                "status": ("--status", "4xx-5xx"),
                "result": ("--result", "hit", "-f"),
                "path": ("--path", "/photos/a&b/"),
                "distribution": ("--distribution", "media"),
            }.items()
        }

        def request():
            for path in "/photos/a&b/1.jpg", "/b", "/b":
                fetch(self.program.url + path)
            fetch(self.program.url + "/c", method="PUT", data=b"x")
            return all(reader.lines for reader in readers.values())

        wait_for("a line for each", request, seconds=30)
        lines = {name: json.loads(reader.lines[0]) for name, reader in readers.items()}
        self.assertGreaterEqual(lines["status"]["status"], 400)
        self.assertEqual(lines["result"]["result"], "Hit")
        self.assertEqual(lines["path"]["path"], "/photos/a&b/1.jpg")
        self.assertEqual(lines["distribution"]["distribution"], "media")
        self.assertEqual(readers["status"].process.wait(timeout=20), 0)

    def test_wrong_filters_say_what_is_right(self):
        for arguments, expected in [
            (("--status", "7xx"), "404, 5xx or 4xx-5xx"),
            (("--result", "maybe"), "Hit, RefreshHit, Miss"),
            (("--distribution", "other"), "use one of: media"),
        ]:
            command = [parts.PROGRAM, "logs", "--admin", self.program.admin, *arguments]
            run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
            self.assertEqual(run.returncode, 1)
            self.assertIn(expected, run.stderr)
        readers = [Reader(self.program, "--path", "/x") for _ in range(17)]
        for reader in readers:
            self.addCleanup(reader.stop)
        wait_for("one to be refused", lambda: any(reader.process.poll() == 1 for reader in readers), seconds=30)
        (refused,) = [reader for reader in readers if reader.process.poll() is not None]
        wait_for("its reason", lambda: "16 programs" in "".join(refused.faults), seconds=20)
        # The place of one that is gone is free.
        next(reader for reader in readers if reader is not refused).stop()

        def admitted():
            late = self.read("--path", "/late", "-n", "1")
            for _ in range(10):
                fetch(self.program.url + "/late")
            return late.lines or late.process.poll() == 0

        wait_for("a free place", admitted, seconds=60)

    def test_it_goes_on_after_a_restart(self):
        reader = self.read("--json")
        code, _ = self.program.stop()
        self.assertEqual(code, 0)
        wait_for("the end", lambda: any("connecting again" in line for line in reader.faults), seconds=20)
        self.program = parts.Program(self.program.url, self.program.admin, "--config", self.config)
        self.addCleanup(self.program.stop)

        def again():
            fetch(self.program.url + "/again")
            return any("/again" in line for line in reader.lines)

        wait_for("a line of the new process", again, seconds=30)

    def test_it_follows_an_upgrade(self):
        reader = self.read("--json")
        kept = http.client.HTTPConnection(self.program.url.removeprefix("http://"))
        self.addCleanup(kept.close)
        kept.request("GET", "/kept")
        kept.getresponse().read()
        command = [parts.PROGRAM, "upgrade", "--config", self.config]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        new = re.match(r"process (\d+) ", said)[1]
        self.addCleanup(subprocess.run, ["kill", new], check=False)

        def again():
            fetch(self.program.url + "/again")
            return any("/again" in line for line in reader.lines)

        wait_for("a line of the new process", again, seconds=30)
        self.assertIn("connecting again", "".join(reader.faults))


if __name__ == "__main__":
    unittest.main()
