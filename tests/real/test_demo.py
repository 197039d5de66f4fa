"""The demo's tour: every command works, in any order, and shows what it promises."""

import re
import signal
import subprocess
import unittest

from parts import PROGRAM, ROOT, free_port


class Demo(unittest.TestCase):
    def test_every_stop_in_reverse_order(self):
        port, admin = free_port(), free_port()
        demo = subprocess.Popen(
            [PROGRAM, "demo", "--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}"],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        text = []

        def end():
            demo.send_signal(signal.SIGTERM)
            demo.wait(timeout=30)
            demo.stdout.close()

        self.addCleanup(end)
        for line in demo.stdout:
            text.append(line)
            if "Ctrl-C" in line:
                break
        stops = re.findall(r"\d\. (.*)\n   (.*)\n   look for: (.*)\n", "".join(text))
        self.assertEqual(len(stops), 9, text)
        for title, command, shows in reversed(stops):
            run = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual(run.returncode, 0, (title, command, run.stdout, run.stderr))
            self.assertIn(shows, run.stdout, (title, command))


if __name__ == "__main__":
    unittest.main()
