"""REDbot, the lint for HTTP, finds nothing wrong with what viewers get."""

import json
import pathlib
import subprocess
import sys
import unittest

import parts
from parts import BUCKET, fetch

# What REDbot says of right answers, and why.
EXPLAINED = {
    "DATE_INCORRECT": "it adds Age only where that stands before Date; a stored response keeps the origin's Date",
    "FRESHNESS_HEURISTIC": "the object has no Cache-Control; Forebay does not invent one for browsers",
}


class Redbot(unittest.TestCase):
    def setUp(self):
        store = parts.SeaweedFS()
        self.addCleanup(store.stop)
        self.edge = parts.Forebay(store.url, "--path-style")
        self.addCleanup(self.edge.stop)
        for key, fields in [
            ("notes/cat.txt", {"ContentType": "text/plain", "CacheControl": "max-age=3600"}),
            ("plain.txt", {"ContentType": "text/plain; charset=utf-8"}),
            ("a b (1).txt", {"ContentType": "text/plain", "CacheControl": "max-age=60, must-revalidate"}),
            ("large.bin", {"CacheControl": "max-age=60, stale-while-revalidate=30"}),
        ]:
            body = b"x" * (3 << 20 if key == "large.bin" else 5000)
            store.s3.put_object(Bucket=BUCKET, Key=key, Body=body, **fields)

    def notes(self, path):
        redbot = [pathlib.Path(sys.executable).parent / "redbot", "-o", "har", self.edge.url + path]
        run = subprocess.run(redbot, capture_output=True, text=True, check=True, timeout=60)
        entry = json.loads(run.stdout)["log"]["entries"][0]
        return entry["response"]["status"], entry["_red_messages"]

    def test_nothing_is_wrong(self):
        for path in ["/notes/cat.txt", "/plain.txt", "/a%20b%20(1).txt", "/large.bin", "/missing.txt"]:
            for state in ["unknown", "stored"]:
                with self.subTest(path=path, state=state):
                    status, notes = self.notes(path)
                    self.assertEqual(status, 404 if "missing" in path else 200)
                    self.assertGreater(len(notes), 3)
                    bad = [note for note in notes if note["level"] in ("BAD", "WARN") and note["note_id"] not in EXPLAINED]
                    self.assertEqual(bad, [])
        self.assertEqual(fetch(self.edge.url + "/plain.txt")[1]["X-Cache"], "Hit from forebay")


if __name__ == "__main__":
    unittest.main()
