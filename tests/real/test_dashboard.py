"""The dashboard in a real browser: what it shows, what it does, and whom it refuses."""

import json
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import mmdb_writer

import parts
from browser import CHROMIUM
from parts import fetch, free_port, wait_for
from test_signed import FOLDER, NODE

CONFIG = """\
[listen]
http = "127.0.0.1:{port}"
trusted_proxies = ["127.0.0.1"]
[geo]
database = "{folder}/countries.mmdb"
[admin]
listen = "127.0.0.1:{admin}"
{tokens}
[admin.prices]
per_gigabyte = 5000000
currency = "EUR"
[cache]
memory = "64MiB"
[cache.disk]
path = "{folder}/disk"
capacity = "256MiB"
""" + parts.PLAIN_DISTRIBUTION

TOKENS = """\
[[admin.token]]
name = "ops"
secret_env = "FOREBAY_TEST_TOKEN"
"""
TOKEN = "a-token-of-sixteen-characters"
ATTACK = "<img src=x onerror=window.injected=1>"
HERE = pathlib.Path(__file__).parent


class Board:
    """A browser that opens dashboards."""

    def __init__(self):
        self.process = subprocess.Popen(
            [NODE, HERE / "dashboard.mjs", FOLDER, CHROMIUM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def visit(self, url, **more):
        print(json.dumps({"url": url, **more}), file=self.process.stdin, flush=True)
        seen = json.loads(self.process.stdout.readline() or '{"error": "the browser ended"}')
        assert "error" not in seen, seen
        return seen

    def stop(self):
        self.process.communicate(timeout=30)


class Dashboard(unittest.TestCase):
    def start(self, tokens=""):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="forebay-dashboard-"))
        self.addCleanup(shutil.rmtree, folder)
        self.origin = parts.Origin.start()
        self.addCleanup(self.origin.stop)
        database = mmdb_writer.MMDBWriter(4, "GeoLite2-Country", languages=["en"])
        database.insert_network(mmdb_writer.IPSet(["192.0.2.0/24"]), {"country": {"iso_code": "DE", "names": {"en": "Germany"}}})
        database.to_db_file(str(folder / "countries.mmdb"))
        port, self.admin_port = free_port(), free_port()
        config = folder / "forebay.toml"
        origin = f"http://127.0.0.1:{self.origin.port}"
        text = CONFIG.format(port=port, admin=self.admin_port, folder=folder, origin=origin, tokens=tokens)
        for name in "broken", "partly":
            origin = parts.Origin.start()
            origin.status = 500
            self.addCleanup(origin.stop)
            text += f'[[distribution.origin]]\nid = "{name}"\nurl = "http://127.0.0.1:{origin.port}"\nsigning = "never"\n'
            text += f'[[distribution.behavior]]\npath_pattern = "/{name}/*"\norigin = "{name}"\ncache_policy = "CachingDisabled"\n'
        self.partly = origin
        # An origin where nothing listens.
        text += '[[distribution.origin]]\nid = "gone"\nurl = "http://127.0.0.1:1"\nsigning = "never"\n'
        text += '[[distribution.behavior]]\npath_pattern = "/gone/*"\norigin = "gone"\ncache_policy = "CachingOptimized"\n'
        config.write_text(text)
        self.admin = f"http://127.0.0.1:{self.admin_port}"
        self.program = parts.Program(
            f"http://127.0.0.1:{port}", self.admin, "--config", config, FOREBAY_TEST_TOKEN=TOKEN
        )
        self.addCleanup(self.program.stop)
        self.board = Board()
        self.addCleanup(self.board.stop)

    def load(self):
        """Hits, misses and errors, some with markup where viewers may write."""
        for number in range(20):
            for _ in range(1 + 10 // (1 + number)):
                fetch(f"{self.program.url}/object-{number}.jpg?secret=value", headers={"Referer": "https://shop.example/page?id=7", "X-Forwarded-For": "192.0.2.1"})
        fetch(f"{self.program.url}/slow.jpg")
        hostile = {"Referer": ATTACK, "User-Agent": ATTACK}
        fetch(f"{self.program.url}/%3Cimg%20src=x%20onerror=window.injected=1%3E", headers=hostile)
        for name in "aabcde":
            fetch(f"{self.program.url}/gone/{name}.jpg", headers=hostile)
        for _ in range(3):
            self.assertEqual(fetch(f"{self.program.url}/broken/a.jpg")[0], 500)
        for status in 500, 200:
            self.partly.status = status
            self.assertEqual(fetch(f"{self.program.url}/partly/a.jpg")[0], status)
        fetch(f"{self.program.url}/a", method="DELETE")

        def counted():
            status, _, content = fetch(f"{self.admin}/api/top", headers=self.headers)
            return status == 200 and sum(row["requests"] for row in json.loads(content)["objects"]) >= 50

        wait_for("the statistics", counted, seconds=20)

    headers = {}

    def test_it_shows_what_happens_at_every_size(self):
        self.start()
        self.load()
        for width, dark in (400, False), (1024, True), (1600, False):
            with self.subTest(width=width), tempfile.NamedTemporaryFile(suffix=".png") as picture:
                seen = self.board.visit(self.admin + "/", width=width, dark=dark, screenshot=picture.name)
                self.assertGreater(pathlib.Path(picture.name).stat().st_size, 20_000)
                self.assertEqual(seen["visible"], ["board"])
                self.assertEqual((seen["faults"], seen["faint"], seen["unnamed"]), ([], [], []))
                self.assertEqual((seen["beyond"], seen["images"], seen["injected"]), ([], 0, None))
                self.assertLessEqual(seen["overflow"], 0)
                for figure, paths, bar, plot in seen["plots"]:
                    self.assertTrue(bar > 20 or (paths and min(paths) > 10), (figure, paths, bar))
                    self.assertGreater(plot, 250, figure)
        self.assertIn("default-src 'none'", seen["policy"])
        self.assertEqual(seen["focused"][:2], ["1 hour", "24 hours"])
        tables = seen["tables"]
        self.assertEqual(tables["objects"][1][:2], ["/object-0.jpg", "11"])
        self.assertEqual(tables["referrers"][1][0], "https://shop.example/page")
        self.assertIn(ATTACK, [row[0] for row in tables["referrers"]])
        self.assertIn("/%3Cimg%20src=x%20onerror=window.injected=1%3E", [row[0] for row in tables["objects"]])
        self.assertIn("Python", [row[0] for row in tables["agents"]])
        errors = {row[2]: row for row in tables["errors"][1:]}
        broken = [row[1:4] for row in tables["errors"] if row[-1] == "broken"]
        self.assertEqual(broken, [["3", "500", "answer of the origin"]])
        self.assertEqual(errors["502"][1:4], ["6", "502", "origin-connect"])
        self.assertEqual(errors["502"][5], "GET /gone/e.jpg, GET /gone/d.jpg, GET /gone/c.jpg and others")
        self.assertIn("origin is running", errors["502"][4])
        self.assertEqual([errors[status][-1] for status in ("502", "405")], ["gone", "–"])
        origins = {row[0].split(", ")[1]: row[2:7] for row in tables["origins"][1:]}
        self.assertEqual(origins["gone"], ["failing", "100.0%", "6", "0", "6"])
        self.assertEqual(origins["broken"], ["failing", "100.0%", "3", "3", "0"])
        self.assertEqual(origins["partly"], ["partly failing", "50.0%", "2", "1", "0"])
        self.assertEqual((origins["origin"][:2], origins["origin"][3:]), (["ok", "0.0%"], ["0", "0"]))
        self.assertIn("of 64 MiB", dict(row[:2] for row in tables["cache"])["Memory"])
        self.assertEqual([row[2] for row in tables["distributions"][1:]], ["/broken/*", "/partly/*", "/gone/*", "Default (*)"])
        countries = {row[0]: row[1] for row in tables["countries"][1:]}
        self.assertEqual((set(countries), countries["Germany"]), ({"Germany", "Unknown"}, tables["referrers"][1][1]))
        _, slow = tables["slow"]
        self.assertEqual((slow[:3], slow[3].split()[1]), (["/slow.jpg", "origin", "1"], "ms"))
        self.assertGreaterEqual(int(slow[3].split()[0]), 300)
        self.assertIn("requests per second", seen["hints"][0].lower())
        self.assertRegex(seen["hints"][2], r"\d\d:\d\d:\d\d.*hits: ")
        self.assertRegex(seen["hints"][1], r"\d\d:\d\d:\d\d.*\nhits: [\d.]+\nvalidated: 0\nmisses: [\d.]+")
        saved = json.loads(fetch(f"{self.admin}/api/traffic")[2])["saved"]
        self.assertEqual((saved["currency"], saved["requests"] > 10), ("EUR", True))
        self.assertAlmostEqual(saved["cost"], saved["bytes"] / 1e9 * 5000000 + saved["requests"] / 1000 * 0.0004)
        self.assertIn(f"{saved['cost']:.2f} EURsaved, at your prices (admin.prices)", seen["tiles"])
        self.assertNotIn("secret", json.dumps(seen))
        day = self.board.visit(self.admin + "/", range="24h")
        self.assertEqual(day["tiles"][0].split("requests")[0], seen["tiles"][0].split("requests")[0])

    def test_it_purges_and_explains(self):
        self.start()
        fetch(self.program.url + "/a.jpg")
        self.assertIn("Hit", fetch(self.program.url + "/a.jpg")[1]["X-Cache"])
        seen = self.board.visit(self.admin + "/", explain="/a.jpg")
        self.assertIn("/a.jpg", seen["explained"])
        seen = self.board.visit(self.admin + "/", purge="/a.jpg\n/b*")
        self.assertIn("purged /a.jpg /b* of media.", seen["purged"])
        self.assertIn("Miss", fetch(self.program.url + "/a.jpg")[1]["X-Cache"])
        wrong = self.board.visit(self.admin + "/", purge="a b#")
        self.assertIn("a b#", wrong["purged"])

    def test_a_token_begins_a_session(self):
        self.start(TOKENS)
        self.headers = {"Authorization": f"Bearer {TOKEN}"}
        self.load()
        shut = self.board.visit(self.admin + "/")
        self.assertEqual(shut["visible"], ["login"])
        self.assertEqual([rows for rows in shut["tables"].values() if rows], [])
        wrong = self.board.visit(self.admin + "/", token="x" * 20)
        self.assertEqual(wrong["visible"], ["login", "notice"])
        seen = self.board.visit(self.admin + "/", token=TOKEN, purge="/a.jpg", logout=True)
        self.assertEqual(seen["visible"], ["board"])
        self.assertIn("purged /a.jpg of media.", seen["purged"])
        (cookie,) = seen["cookies"]
        self.assertEqual((cookie["httpOnly"], cookie["sameSite"]), (True, "Strict"))
        self.assertEqual(seen["after"], [[], ["login"]])
        session = {"Cookie": f"forebay_session={cookie['value']}"}
        self.assertEqual(fetch(f"{self.admin}/api/overview", headers=session)[0], 401)

    def test_other_pages_and_names_are_refused(self):
        self.start()
        own = f"http://127.0.0.1:{self.admin_port}"
        json_type = {"Content-Type": "application/json"}
        purge = b'{"paths": ["/a"]}'
        for headers, status in [
            ({}, 200),
            ({"Origin": own}, 200),
            ({"Origin": "http://evil.example"}, 403),
            ({"Origin": "null"}, 403),
            ({"Sec-Fetch-Site": "same-site"}, 403),
            # A name that an attacker made to lead here.
            ({"Origin": f"http://rebound.example:{self.admin_port}", "Host": f"rebound.example:{self.admin_port}"}, 403),
        ]:
            with self.subTest(headers=headers):
                self.assertEqual(fetch(f"{self.admin}/purge", "POST", json_type | headers, purge)[0], status)
        for host, status in [
            (f"127.0.0.1:{self.admin_port}", 200), (f"localhost:{self.admin_port}", 200), (f"[::1]:{self.admin_port}", 200),
            ("127.0.0.1", 200), (f"rebound.example:{self.admin_port}", 421), ("127.0.0.1.evil.example", 421), ("", 421),
        ]:  # fmt: skip
            for path in "overview", "traffic", "top", "errors", "invalidations", "metrics":
                self.assertEqual(fetch(f"{self.admin}/api/{path}", headers={"Host": host})[0], status, (host, path))
        for headers in {"Host": "rebound.example"}, {"Sec-Fetch-Site": "cross-site"}:
            self.assertIn(fetch(f"{self.admin}/api/logs", headers=headers)[0], (403, 421))
        # The dashboard does not reload.
        self.assertEqual(fetch(f"{self.admin}/reload", "POST", json_type | {"Origin": own}, b"")[0], 403)
        self.assertEqual(fetch(f"{self.admin}/api/top", headers={"Sec-Fetch-Site": "cross-site"})[0], 403)
        seen = self.board.visit(f"http://rebound.example:{self.admin_port}/")
        self.assertEqual(seen["visible"], ["notice"])
        self.assertIn("http://localhost:9145", seen["notice"])
        self.assertEqual(fetch(f"{self.admin}/api/top?range=2h")[0], 400)
        self.assertEqual(fetch(f"{self.admin}/api/none")[0], 404)
        self.assertEqual(fetch(f"{self.admin}/api/top", "POST", json_type, b"{}")[0], 405)

    def test_with_tokens_nothing_is_read_without_one(self):
        self.start(TOKENS)
        for path in "overview", "traffic", "top", "errors", "invalidations", "metrics":
            self.assertEqual(fetch(f"{self.admin}/api/{path}")[0], 401)
            bearer = {"Authorization": f"bearer {TOKEN}"}
            self.assertEqual(fetch(f"{self.admin}/api/{path}", headers=bearer)[0], 200)
        self.assertEqual(fetch(f"{self.admin}/api/logs")[0], 401)
        login = json.dumps({"token": TOKEN}).encode()
        for headers in {"Origin": "http://evil.example"}, {"Origin": "null"}:
            status, answer, _ = fetch(f"{self.admin}/api/login", "POST", headers, login)
            self.assertEqual((status, answer["Set-Cookie"]), (403, None))
        _, answer, _ = fetch(f"{self.admin}/api/login", "POST", {}, login)
        cookie = {"Cookie": answer["Set-Cookie"].split(";")[0], "Content-Type": "application/json"}
        purge = b'{"paths": ["/a"]}'
        self.assertEqual(fetch(f"{self.admin}/purge", "POST", cookie, purge)[0], 200)
        crossed = cookie | {"Origin": "http://evil.example"}
        self.assertEqual(fetch(f"{self.admin}/purge", "POST", crossed, purge)[0], 403)
        self.assertEqual(fetch(f"{self.admin}/api/login", "POST", {}, b"{}")[0], 400)
        self.assertEqual(fetch(f"{self.admin}/api/login", "POST", {}, b"x" * 5000)[0], 413)
        reload = fetch(f"{self.admin}/reload", "POST", cookie, b"")
        self.assertEqual(reload[0], 403, "a session is for the dashboard")
        guesses = [fetch(f"{self.admin}/api/login", "POST", {}, b'{"token": "guess"}')[0] for _ in range(20)]
        self.assertIn(429, guesses)
        self.assertEqual(fetch(f"{self.admin}/purge", "POST", bearer | {"Content-Type": "application/json"}, purge)[0], 200)


if __name__ == "__main__":
    unittest.main()
