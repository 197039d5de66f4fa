"""The Compose files: each service runs in a network namespace, as a container would."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

import yaml

from parts import PROGRAM, wait_for

CONFIG = pathlib.Path(__file__).resolve().parents[2] / "config"
INSTALLED = pathlib.Path(sys.executable).parent
# What each image runs. The site's image has no entry point.
PROGRAMS = {"forebay": [PROGRAM], "nats:2.12": [INSTALLED / "nats-server"], "chrislusf/seaweedfs:4.48": [INSTALLED / "weed"], "forebay-django": []}


def run(*command, **options):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)


@unittest.skipUnless(os.geteuid() == 0 and shutil.which("ip"), "network namespaces need root and iproute2")
class Services(unittest.TestCase):
    """The services of the Compose file in `directory`."""

    directory = None

    def setUp(self):
        self.file = yaml.safe_load((self.directory / "compose.yaml").read_text())
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="forebay-compose-"))
        self.folder.chmod(0o755)
        self.addCleanup(shutil.rmtree, self.folder)
        self.prefix = f"fb{os.getpid()}"
        self.processes = {}
        self.network()

    def network(self):
        """A switch, and a network for each service with the names of all in its hosts file."""
        switch = f"{self.prefix}-switch"
        self.add_network(switch)
        self.inside(switch, "ip", "link", "add", "bridge", "type", "bridge")
        self.inside(switch, "ip", "link", "set", "bridge", "up")
        addresses = {name: f"10.77.0.{at}" for at, name in enumerate(self.file["services"], 2)}
        hosts = "127.0.0.1 localhost\n" + "".join(f"{address} {name}\n" for name, address in addresses.items())
        for at, (name, address) in enumerate(addresses.items()):
            network = f"{self.prefix}-{name}"
            etc = pathlib.Path("/etc/netns", network)
            etc.mkdir(parents=True)
            self.addCleanup(shutil.rmtree, etc)
            (etc / "hosts").write_text(hosts)
            self.add_network(network)
            run("ip", "link", "add", "eth0", "netns", network, "type", "veth", "peer", "name", f"port{at}", "netns", switch, check=True)
            self.inside(switch, "ip", "link", "set", f"port{at}", "master", "bridge", "up")
            self.inside(network, "ip", "address", "add", f"{address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                self.inside(network, "ip", "link", "set", device, "up")

    def add_network(self, network):
        run("ip", "netns", "add", network, check=True)
        self.addCleanup(run, "ip", "netns", "delete", network)

    def inside(self, network, *command):
        ran = run("ip", "netns", "exec", network, *command)
        self.assertEqual(ran.returncode, 0, ran.stderr)
        return ran.stdout

    def mounted(self, service):
        """The path on this machine of what is mounted into a service, by its path in the container."""
        found = {}
        for volume in service.get("volumes", []):
            source, target = volume.split(":")[:2]
            path = self.directory / source if source.startswith(".") else self.folder / source
            if not source.startswith("."):
                self.assertIn(source, self.file["volumes"])
                path.mkdir(exist_ok=True)
            found[target] = path
        return found

    def placed(self, text, mounts, folder):
        """A text with the paths of this machine. Mounted files are copied, so that the paths in them are right, too."""
        for target, path in mounts.items():
            if path.is_file():
                copy = folder / path.name
                if not copy.exists():  # The service may be reading it.
                    copy.write_text(self.placed(path.read_text(), {t: p for t, p in mounts.items() if p != path}, folder))
                path = copy
            text = text.replace(target, str(path))
        return text

    def command(self, name, *instead):
        """The command of a service as Compose would run it."""
        service = self.file["services"][name]
        folder = self.folder / f"service-{name}"
        folder.mkdir(exist_ok=True)
        command = service.get("command", ["serve", "--config", "/etc/forebay/forebay.toml"])
        command = list(instead) or (command.split() if isinstance(command, str) else command)
        entry = service.get("entrypoint", PROGRAMS[service["image"]])
        command = [self.placed(str(word), self.mounted(service), folder) for word in [*entry, *command]]
        environment = dict(pair.split("=") for pair in service.get("environment", []))
        environment["PATH"] = f"{PROGRAM.parent}:{INSTALLED}:{os.environ['PATH']}"
        shell = f"cd {folder}; hostname {service.get('hostname', name)}; exec \"$@\""
        start = ["ip", "netns", "exec", f"{self.prefix}-{name}", "unshare", "--uts", "sh", "-c", shell, "sh"]
        return [*start, *command], environment

    def start(self, name):
        command, environment = self.command(name)
        log = open(self.folder / f"{name}.log", "a", encoding="utf-8")
        self.addCleanup(log.close)
        self.processes[name] = process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

        def stop():
            process.kill()
            process.wait()

        self.addCleanup(stop)

    def said(self):
        return "\n".join(f"{log.name}: {log.read_text()[-1500:]}" for log in sorted(self.folder.glob("*.log")))

    def forebay(self, name, *arguments):
        command, environment = self.command(name, *arguments)
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    def get(self, name, path):
        """X-Cache of a response, as a viewer gets it."""
        head = self.inside(f"{self.prefix}-{name}", "curl", "-s", "-o", "/dev/null", "-D", "-", f"http://127.0.0.1:8080{path}")
        self.assertIn(" 200", head.splitlines()[0], self.said())
        return re.search(r"x-cache: (\w+)", head, re.IGNORECASE)[1]


class Cluster(Services):
    directory = CONFIG / "cluster"

    def test_three_nodes_are_one_cache(self):
        services = list(self.file["services"])
        nodes = [name for name in services if name.startswith("edge-")]
        self.assertEqual(len(nodes), 3)
        command, environment = self.command("certificates")
        for _ in range(2):
            made = subprocess.run(command, env=environment, capture_output=True, text=True)
            self.assertEqual(made.returncode, 0, made.stderr)
        for name in services:
            if name != "certificates":
                self.start(name)
        ready = lambda: all(self.forebay(name, "cluster", "status").stdout.count(" up ") == 3 for name in nodes)  # noqa: E731
        wait_for("the cluster", ready, self.said, seconds=60)
        # The owner has what another one requested from it.
        self.assertIn([self.get(name, "/index.html") for name in nodes].count("Miss"), (2, 3))
        self.assertEqual([self.get(name, "/index.html") for name in nodes], ["Hit"] * 3)
        owner = self.forebay("edge-1", "cluster", "owner", "/index.html").stdout.strip()
        self.assertIn(owner, nodes)
        # A command of the file's own comments.
        comment = re.search(r"exec edge-1 (forebay purge .*)", (self.directory / "compose.yaml").read_text())[1]
        purged = self.forebay("edge-1", *comment.split()[1:])
        self.assertEqual(purged.returncode, 0, purged.stderr + self.said())
        self.assertIn("Miss", [self.get(name, "/index.html") for name in nodes])
        # A node is cut off: its network is down. The others own its objects at once.
        others = [name for name in nodes if name != owner]
        self.inside(f"{self.prefix}-{owner}", "ip", "link", "set", "eth0", "down")
        begun = time.monotonic()
        self.assertEqual(self.forebay(others[0], "purge", "/index.html").returncode, 0)
        self.assertLess(time.monotonic() - begun, 40)
        for name in others:
            self.get(name, "/index.html")
        self.inside(f"{self.prefix}-{owner}", "ip", "link", "set", "eth0", "up")
        wait_for("the node", ready, self.said, seconds=90)


class Django(Services):
    directory = CONFIG / "django"

    def curl(self, *arguments):
        """Head and body of a response, as a browser on the Docker host gets them."""
        url = arguments[-1]
        (service,) = [name for name, it in self.file["services"].items() if any(f"localhost:{port.split(':')[1]}/" in url for port in it.get("ports", []))]
        jar = self.folder / "cookies"
        command = ["curl", "-s", "-i", "-L", "-b", jar, "-c", jar, *arguments]
        return run("ip", "netns", "exec", f"{self.prefix}-{service}", *command, check=True).stdout

    def test_a_site_uploads_and_forebay_serves(self):
        for name in self.file["services"]:
            self.start(name)
        wait_for("the site", lambda: "csrfmiddlewaretoken" in self.page(), self.said, seconds=90)
        picture = self.folder / "a cat.txt"
        picture.write_text("a cat")
        token = self.token()
        page = self.curl("-F", f"csrfmiddlewaretoken={token}", "-F", f"file=@{picture}", "http://localhost:8000/upload")
        (url,) = re.findall(r'<a href="(http://localhost:8080/[^"]+)">', page)
        got = [self.curl(url) for _ in range(2)]
        self.assertTrue(all(answer.endswith("a cat") for answer in got), got)
        self.assertEqual([re.search(r"(?i)x-cache: (\w+)", answer)[1] for answer in got], ["Miss", "Hit"])
        name = re.search(r'<button name="name" value="([^"]+)">', page)[1]
        page = self.curl("-F", f"csrfmiddlewaretoken={self.token()}", "-F", f"name={name}", "http://localhost:8000/delete")
        self.assertNotIn("<a href", page, self.said())
        self.assertIn(" 404 ", self.curl(url).splitlines()[0], self.said())
        # Viewers do not reach the admin address, and Forebay's key cannot write.
        self.assertEqual(self.file["services"]["forebay"]["ports"], ["127.0.0.1:8080:8080"])
        keys = {"AWS_ACCESS_KEY_ID": "forebay", "AWS_SECRET_ACCESS_KEY": "change-me-reader", "PATH": os.environ["PATH"]}
        put = ["aws", "s3api", "put-object", "--endpoint-url", "http://bucket:8333", "--region", "us-east-1", "--bucket", "media", "--key", "a"]
        inside = ["ip", "netns", "exec", f"{self.prefix}-site"]
        refused = run(*inside, INSTALLED / put[0], *put[1:], env=keys)
        self.assertIn("AccessDenied", refused.stderr)

    def page(self):
        try:
            return self.curl("http://localhost:8000/")
        except subprocess.CalledProcessError:
            return ""

    def token(self):
        return re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', self.page())[1]


if __name__ == "__main__":
    unittest.main()
