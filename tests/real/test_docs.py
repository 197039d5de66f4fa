"""Every command and recipe of README.md and docs/ is run. One that no rule here knows fails the test."""

import base64
import http.client
import json
import os
import pathlib
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

import boto3
from moto.server import ThreadedMotoServer

import parts
from parts import BUCKET, PROGRAM, ROOT, fetch, free_port, wait_for

BIN = pathlib.Path(sys.executable).parent
STORE_KEYS = {"AWS_ACCESS_KEY_ID": parts.ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": parts.SECRET_KEY}

CONFIGURE = """
import django
from django.conf import settings
settings.configure(**{name: value for name, value in globals().items() if name.isupper()})
django.setup()
"""
STORAGES = CONFIGURE + """
from django.core.files.storage import default_storage
url = default_storage.url("photos/cat.jpg")
signed = "cloudfront_key" in STORAGES["default"]["OPTIONS"]
assert url.startswith("https://media.example.com/photos/cat.jpg" + ("?Expires=" if signed else "")), url
"""
SIGNED_COOKIES = """
cookies = signed_cookies("http://127.0.0.1:*/photos/*")
print("; ".join(f"{name}={value}" for name, value in cookies.items()))
"""
FRONTEND_CACHE = CONFIGURE + """
from wagtail.contrib.frontend_cache.utils import get_backends
(backend,) = get_backends().values()
backend.purge("https://media.example.com/photos/cat.jpg")
"""

# What is not run here, and where it is.
ELSEWHERE = {
    "cargo run --release -- demo": "tests/run runs it before this",
    "tests/run quick": "tests/run does the same before this",
    "cargo install --path . --locked": "the program is built already",
    "forebay cluster status": "test_cluster.py runs it",
    "forebay upgrade": "test_upgrade.py runs it",
    "config/debian/build": "test_package.py runs it",
    "apt install ./target/debian/": "test_package.py installs it, with dpkg",
    "docker build -t forebay .": "tests/image builds it",
    "docker run --read-only": "tests/image runs it",
}


def blocks(page, language):
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)


def commands(page):
    return [line.strip() for block in blocks(page, "sh") for line in block.splitlines() if line.strip()]


PAGES = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))]


class Docs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.store = parts.SeaweedFS()
        cls.addClassCleanup(cls.store.stop)
        for name in ("cat", "dog"):
            cls.store.s3.put_object(Bucket=BUCKET, Key=f"photos/{name}.jpg", Body=name.encode())

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="forebay-docs-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.port, self.admin = free_port(), free_port()
        self.edge = self.cloudfront = None
        self.addCleanup(lambda: self.edge and self.edge.stop())
        # The commands, as after an installation.
        (self.folder / "bin").mkdir()
        (self.folder / "bin/forebay").symlink_to(PROGRAM)
        (self.folder / "bin/aws").symlink_to(BIN / "aws")

    def shell(self, line, check=True, **environment):
        """Runs a line in the page's folder, with this test's ports."""
        line = line.replace("127.0.0.1:8080", f"127.0.0.1:{self.port}")
        line = line.replace("127.0.0.1:9145", f"127.0.0.1:{self.admin}")
        path = f"{self.folder}/bin:{os.environ['PATH']}"
        run = subprocess.run(
            line, shell=True, cwd=self.folder, capture_output=True, text=True, timeout=180, check=False,
            env=os.environ | STORE_KEYS | {"PATH": path} | environment,
        )  # fmt: skip
        if check:
            self.assertEqual(run.returncode, 0, f"{line}\n{run.stdout}{run.stderr}")
        return run.stdout

    def init(self, line="forebay init --bucket my-media-bucket --region eu-central-1 --distribution-id E1MEDIA --listen 127.0.0.1:8080"):
        """As written, but before a store on this machine."""
        said = self.shell(f"{line} --endpoint {self.store.url} --path-style --admin 127.0.0.1:9145")
        self.assertIn("No problems found.", said)

    def serve(self):
        self.edge = parts.Program(
            f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.admin}", "--config", self.folder / "forebay.toml",
            **STORE_KEYS,
        )  # fmt: skip

    def was_purged(self):
        results = [fetch(f"{self.edge.url}/photos/cat.jpg")[1]["X-Cache"].split()[0] for _ in range(2)]
        self.assertEqual(results, ["Miss", "Hit"])

    def trust(self, said):
        """Adds the lines that `keys new` printed to the configuration, and reloads it."""
        group = re.search(r"\[\[key_group\]\].*?\n\"\"\"\n", said, re.DOTALL)[0]
        file = self.folder / "forebay.toml"
        text = file.read_text().replace("compress = true", 'compress = true\ntrusted_key_groups = ["signers"]')
        file.write_text(f"{text}\n{group}")
        self.edge.process.send_signal(signal.SIGHUP)
        wait_for("the reload", lambda: fetch(f"{self.edge.url}/photos/cat.jpg")[0] == 403, self.edge.said)

    def encrypt_cache(self, key):
        """Adds an encrypted disk cache to the configuration."""
        self.cache_on_disk(f'encryption_key_file = "{key}"\n')

    def cache_on_disk(self, more=""):
        """Adds a disk cache with one object to the configuration, and serves with it."""
        file = self.folder / "forebay.toml"
        if "\n[cache.disk]" not in file.read_text():
            disk = f'\n[cache.disk]\npath = "{self.folder}/cache"\ncapacity = "128MiB"\n{more}'
            file.write_text(file.read_text() + disk)
            self.edge.stop()
            self.serve()
            fetch(f"{self.edge.url}/photos/cat.jpg")
            self.edge.stop()
            self.serve()

    def from_cloudfront(self, line):
        """What `aws cloudfront get-…` and `list-…` print, by moto with a distribution of ours."""
        if not self.cloudfront:
            self.cloudfront = ThreadedMotoServer(port=free_port(), verbose=False)
            self.cloudfront.start()
            self.addCleanup(self.cloudfront.stop)
            url = f"http://127.0.0.1:{self.cloudfront._port}"
            self.moto = {"AWS_ENDPOINT_URL_CLOUDFRONT": url, "AWS_DEFAULT_REGION": "us-east-1"}
            client = boto3.client(
                "cloudfront", endpoint_url=url, aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1"
            )
            golden = ROOT / "tests/golden/import/django-media/E2EXAMPLE12345.json"
            config = json.loads(golden.read_text())["DistributionConfig"]
            self.made = client.create_distribution(DistributionConfig=config)["Distribution"]["Id"]
            code = (ROOT / "tests/golden/import/functions/site.js").read_bytes()
            runtime = {"Comment": "", "Runtime": "cloudfront-js-2.0"}
            client.create_function(Name="index-documents", FunctionConfig=runtime, FunctionCode=code)
        if " get-function " in line:
            self.shell(line, **self.moto)
            return
        command, file = line.split(" > ")
        if " list-" in command and not re.search("list-(public-keys|key-groups|origin-access-controls)$", command):
            # moto knows no lists of policies; that AWS CLI does is what is tried here.
            self.shell(f"{command} --generate-cli-skeleton")
        else:
            # moto prints nothing if there is none.
            command = command.replace("--id E2QWRUHEXAMPLE", f"--id {self.made}")
            self.shell(f"{command} > {file} && [ -s {file} ] || rm {file}", **self.moto)

    def follow(self, line):
        """Reads one line of a command that does not end by itself."""
        path = f"{self.folder}/bin:{os.environ['PATH']}"
        environment = os.environ | {"PATH": path}
        reader = subprocess.Popen(f"exec {line}", shell=True, cwd=self.folder, stdout=subprocess.PIPE, env=environment)
        self.addCleanup(reader.wait)
        self.addCleanup(reader.kill)

        def reads():
            fetch(self.edge.url + "/", "DELETE")
            return select.select([reader.stdout], [], [], 0.2)[0]

        wait_for("a line", reads, seconds=20)
        self.assertIn(b" 405 ", reader.stdout.readline())
        reader.stdout.close()

    def htpasswd(self, line):
        """It asks for the password twice."""
        self.shell(f"printf 'open sesame' | {line.replace(' -cB ', ' -icB ')}")

    def run_command(self, line):
        expected = {
            "forebay doctor": "No problems found.",
            "forebay check": "no errors",
            "forebay promote": "promoted staging.toml: all requests use it",
            "forebay reload": "the new configuration is in effect",
            "forebay health": "ready",
            "forebay import": "Wrote imported.toml.",
            "curl -s http://127.0.0.1:9145/metrics": "forebay_requests_total",
            "curl -s http://127.0.0.1:9145/healthz": "ok",
            "curl -s 'http://127.0.0.1:9145/api/top": '"objects"',
            "forebay load": "hits        100.00%",
            "forebay warm": "2 fetched, 0 in the cache already, 0 failed, 0 not requested; 6 B received",
        }
        if any(line.startswith(start) for start in ELSEWHERE):
            return
        if line.startswith("forebay init"):
            self.init(line)
        elif line.startswith("forebay diff"):
            line = line.replace("https://d111111abcdef8.cloudfront.net", self.edge.url).replace("imported.toml", "forebay.toml")
            self.assertRegex(self.shell(line), "for 3 objects; the reference answered 3 of them with 2xx\nresponses: .* 0 wrong, 0 not compared")
        elif line.startswith("forebay simulate"):
            (self.folder / "cloudfront-logs").mkdir()
            fields = ["-"] * 33
            fields[:4], fields[5], fields[7:9], fields[30] = ["2026-11-25", "01:02:03", "X", "500"], "GET", ["/a.jpg", "200"], "400"
            (self.folder / "cloudfront-logs/E1.log").write_text("\t".join(fields) + "\n")
            self.assertIn("1 requests for 1 objects of 400 B together", self.shell(line))
        elif line == "cp forebay.toml staging.toml":
            self.shell(line)
            (block,) = blocks("docs/staging.md", "toml")
            file = self.folder / "forebay.toml"
            file.write_text(f"{file.read_text()}\n{block}")
        elif line.startswith("htpasswd"):
            self.htpasswd(line)
        elif line.startswith("forebay logs"):
            self.follow(line)
        elif line == "forebay serve":
            self.serve()
        elif line.startswith("aws cloudfront "):
            self.from_cloudfront(line)
        elif line.startswith("export "):
            self.environment = dict(word.split("=", 1) for word in line.removeprefix("export ").split())
        elif line.startswith(("forebay purge", "curl -s http://127.0.0.1:9145/purge")):
            for name in ("cat", "dog"):
                fetch(f"{self.edge.url}/photos/{name}.jpg")
            self.shell(line)
            if "(1)" not in line:
                self.was_purged()
        elif "aws cloudfront create-invalidation" in line:
            self.assertEqual(json.loads(self.shell(line))["Invalidation"]["Status"], "Completed")
            self.was_purged()
        elif line.startswith("forebay cache"):
            self.cache_on_disk()
            self.assertRegex(self.shell(line), "responses +1\n")
        elif line.startswith("openssl rand"):
            self.shell(line)
            self.encrypt_cache(line.split(" > ")[1])
        elif line.startswith("forebay keys new"):
            self.trust(self.shell(line))
        elif line.startswith("curl") and "forebay sign" in line:
            self.assertEqual(self.shell(line).strip(), "200")
        elif line.startswith("forebay sign"):
            said = self.shell(line)
            self.assertRegex(said, "CloudFront-Policy=" if "--cookies" in line else "Signature=")
        elif line.startswith("forebay explain"):
            why = "expired|does not match" if "Signature" in line else "Hit: it is fresh|Miss: nothing is stored"
            self.assertRegex(self.shell(line), why)
        elif line.startswith("curl -s -o /dev/null -D -"):
            self.heads.append(re.search(r"x-cache: (\w+)", self.shell(line), re.IGNORECASE)[1])
        elif line.startswith(("mkdir ", "install ", "printf ", "openssl ", "forebay cluster init", "forebay completions", "forebay man")):
            self.shell(line)
        else:
            known = [text for start, text in expected.items() if line.startswith(start)]
            self.assertTrue(known, f"no rule runs `{line}`")
            self.assertIn(known[0], self.shell(line))

    def test_every_command(self):
        self.assertGreater(len(PAGES), 10)
        for page in PAGES:
            lines = commands(page)
            with self.subTest(page):
                self.heads, self.environment = [], {}
                if page != "README.md" and lines:
                    self.init()
                    self.serve()
                for line in lines:
                    self.run_command(line)
                if page == "README.md":
                    self.assertEqual(self.heads, ["Miss", "Hit"])
                if page == "docs/load-testing.md":
                    self.assertIn("</html>", (self.folder / "load.html").read_text())
                if page == "docs/moving-from-cloudfront.md":
                    self.shell("forebay check --config imported.toml")
                self.doCleanups()
                self.setUp()

    def test_every_recipe_in_python(self):
        self.init()
        self.serve()
        keys = self.shell("forebay keys new --id K2JCJMDEHXQW5F --dir .")
        environment = {
            "AWS_ENDPOINT_URL_CLOUDFRONT": self.edge.admin, "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "thing",
        }  # fmt: skip
        found = [(page, block) for page in PAGES for block in blocks(page, "python")]
        self.assertEqual(len(found), 5)
        storages = ""
        for page, block in found:
            if "STORAGES = " in block:
                storages = block
            elif "STORAGES[" in block:
                block = storages + block
            script = block.replace("127.0.0.1:9145", f"127.0.0.1:{self.admin}").replace("/etc/myproject", str(self.folder))
            if "STORAGES = " in block:
                script += STORAGES
            elif "WAGTAILFRONTENDCACHE" in block:
                script += FRONTEND_CACHE
            elif "signed_cookies" in block:
                script += SIGNED_COOKIES
            else:
                fetch(f"{self.edge.url}/photos/cat.jpg")
            done = subprocess.run(
                [sys.executable, "-c", script], env=os.environ | environment, cwd=self.folder, capture_output=True,
                text=True, check=False,
            )  # fmt: skip
            self.assertEqual(done.returncode, 0, (page, done.stderr))
            if "signed_cookies" in block:
                cookies = done.stdout.strip()
            elif "STORAGES = " not in block:
                self.was_purged()
        self.trust(keys)
        for headers, expected in (({}, 403), ({"Cookie": cookies}, 200)):
            self.assertEqual(fetch(f"{self.edge.url}/photos/cat.jpg", headers=headers)[0], expected)

    def test_every_piece_of_configuration_has_known_keys(self):
        """Each key in a TOML block is one of the reference."""
        reference = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
        known = set(re.findall(r"^\* \*\*`([^`]+)`\*\*", reference, re.MULTILINE)) | {"K2JCJMDEHXQW5F"}
        for page in PAGES:
            for block in blocks(page, "toml"):
                if "notification.webhook" in block:
                    continue  # of SeaweedFS
                for key in re.findall(r"^(\w+) = ", block, re.MULTILINE):
                    self.assertIn(key, known, (page, block))

    def test_the_rules_do_what_their_page_says(self):
        page = "docs/rules.md"
        (listed,) = [block for block in blocks(page, "text") if "/old-shop" in block]
        explained = blocks(page, "text")[-1]
        for rules, path, status, location in [
            ("www.example.com", "/a?b=c", 301, "https://example.com/a?b=c"),
            ("/blog/*", "/blog/a/b", 302, "/articles/a/b"),
            ("/blog/*", "/2026/11/snow", 308, "/articles/snow"),
            ("redirects.txt", "/old-shop", 301, "/shop"),
            ("redirects.txt", "/cat.jpg", 302, "/photos/cat.jpg"),
            ("redirects.txt", "/caf%C3%A9", 301, "https://cafe.example.com/"),
            ("directory_index", "/pages/a/", 302, "/pages/a"),
            ("BadBot", "/photos/cat.jpg", 403, None),
        ]:
            (block,) = [block for block in blocks(page, "toml") if rules in block]
            with self.subTest(rules=rules, path=path):
                self.init()
                (self.folder / "redirects.txt").write_text(listed)
                file = self.folder / "forebay.toml"
                file.write_text(f"{file.read_text()}\n{block}")
                self.serve()
                headers = {"Host": "www.example.com", "User-Agent": "A BadBot/1.0"}
                # It follows no redirects.
                connection = http.client.HTTPConnection("127.0.0.1", self.port)
                connection.request("GET", path, headers=headers)
                answer = connection.getresponse()
                self.assertEqual((answer.status, answer.headers["Location"]), (status, location))
                connection.close()
                self.doCleanups()
                self.setUp()
        (block,) = [block for block in blocks(page, "toml") if "preview.htpasswd" in block]
        (command,) = [line for line in commands(page) if line.startswith("htpasswd")]
        self.init()
        self.htpasswd(command)
        file = self.folder / "forebay.toml"
        file.write_text(f"{file.read_text()}\n{block}")
        self.serve()
        password = base64.b64encode(b"anna:open sesame").decode()
        for headers, expected in (({}, 401), ({"Authorization": f"Basic {password}"}, 404)):
            # The bucket has no such object.
            self.assertEqual(fetch(f"{self.edge.url}/preview/a", headers=headers)[0], expected)
        self.doCleanups()
        self.setUp()
        (block,) = [block for block in blocks(page, "toml") if "/releases/{1}" in block]
        self.init()
        file = self.folder / "forebay.toml"
        file.write_text(f"{file.read_text()}\n{block}")
        self.serve()
        self.assertEqual(self.shell("forebay explain http://127.0.0.1:8080/v2/cat.jpg"), explained)

    def test_links_lead_somewhere(self):
        def anchors(path):
            titles = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}

        for page in [*PAGES, "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "benches/README.md"]:
            text = (ROOT / page).read_text(encoding="utf-8")
            for link in re.findall(r"\]\(([^)]+)\)", text):
                if link.startswith("http"):
                    continue
                file, _, anchor = link.partition("#")
                target = ROOT / pathlib.Path(page).parent / file if file else ROOT / page
                self.assertTrue(target.exists(), (page, link))
                if anchor:
                    self.assertIn(anchor, anchors(target), (page, link))


if __name__ == "__main__":
    unittest.main()
