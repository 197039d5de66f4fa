"""From nothing to a bucket that is served: `forebay init`, `forebay doctor`, and every file that they write."""

import datetime
import json
import os
import pathlib
import pty
import re
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest

import boto3
import moto
import trustme
import yaml
from moto.server import ThreadedMotoServer

import parts
from parts import BUCKET, PROGRAM, fetch, free_port

CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "NO_COLOR", "CLICOLOR"))} | {
    "AWS_EC2_METADATA_DISABLED": "true"
}
KEYS = {"AWS_ACCESS_KEY_ID": parts.ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": parts.SECRET_KEY}

DJANGO = """
import sys
import django
from django.conf import settings
import forebay_django
settings.configure(STORAGES=forebay_django.STORAGES)
django.setup()
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
print(default_storage.url(default_storage.save("photos/a b.txt", ContentFile(b"by django"))))
"""

TRANSCRIPT = """\
Bucket: My Bucket
✖ `My Bucket` is not a valid bucket name: use 3 to 63 lower-case letters, digits, dots and hyphens, beginning and ending with a letter or digit (some other stores also allow capitals and `_`)
Bucket: my-media-bucket
URL of the store, if it is not AWS: {store}
Region [us-east-1]: 
Host that viewers will use (empty: any): a b
✖ `a b` is not a valid alias
Host that viewers will use (empty: any): https://media.example.com/
TLS certificate (PEM file), unless a load balancer terminates TLS: 
Object to return for `/`, such as index.html, if any: index.html
Distribution ID [E…]: E2QWRUHEXAMPLE
Also write a systemd unit? y/n [n]: maybe
Please answer y or n.
Also write a systemd unit? y/n [n]: y
Wrote {folder}/forebay.toml, {folder}/forebay-iam-policy.json, {folder}/forebay_django.py, {folder}/forebay.service, {folder}/forebay.sysusers

addresses
  ✔ 127.0.0.1:{port} is free
"""


DOCTOR = """
[listen]
https = "127.0.0.1:{port}"
tls = [{{ certificate = "{name}.pem", key = "{name}.key" }}]
[admin]
listen = "off"
[access_log]
format = "cloudfront-v1"
path = "{log}"
[[distribution]]
id = "media"
aliases = ["media.example.com"]
[[distribution.origin]]
id = "bucket"
bucket = "my-media-bucket"
region = "us-east-1"
endpoint = "{store}"
[distribution.default_behavior]
origin = "bucket"
cache_policy = "CachingOptimized"
viewer_protocol_policy = "redirect-to-https"
"""


class Setup(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.store = parts.SeaweedFS()
        cls.addClassCleanup(cls.store.stop)
        cls.store.s3.put_object(Bucket=BUCKET, Key="photos/cat.jpg", Body=b"cat")

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="forebay-setup-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def run_program(self, *words, **environment):
        run = subprocess.run(
            [PROGRAM, *words], env=CLEAN | KEYS | environment, capture_output=True, text=True, timeout=60, check=False
        )
        return run.returncode, run.stdout + run.stderr

    def init(self, *more, **environment):
        self.port = free_port()
        said = ""
        for kind in (["--systemd", *more], ["--compose", "--force", *(flag for flag in more if flag != "--force")]):
            code, part = self.run_program(
                "init", "--bucket", BUCKET, "--region", "us-east-1", "--endpoint", self.store.url, "--path-style",
                "--dir", str(self.folder), "--listen", f"127.0.0.1:{self.port}", *map(str, kind), **environment,
            )  # fmt: skip
            said += part
            self.assertEqual(code, 0, said)
        return said

    def serve(self, command, folder):
        """`forebay serve …` as a file has it, with another folder in the place of /etc/forebay."""
        words = command.replace("/etc/forebay", str(folder)).split()
        self.assertEqual(words[0], "serve")
        program = parts.Program(f"http://127.0.0.1:{self.port}", "http://127.0.0.1:9145", *words[1:], **KEYS)
        self.addCleanup(program.stop)
        return program

    def test_what_init_writes_works(self):
        said = self.init()
        self.assertIn("No problems found.", said)
        self.assertIn("✔ /photos/cat.jpg can be read with GET", said)
        compose = yaml.safe_load((self.folder / "compose.yaml").read_text())["services"]["forebay"]
        self.assertEqual(compose["volumes"], [".:/etc/forebay:ro"])
        edge = self.serve(compose["command"], self.folder)
        self.assertEqual(fetch(edge.url + "/photos/cat.jpg")[2], b"cat")
        # Django uploads, and its URL leads to Forebay.
        upload = subprocess.run(
            [sys.executable, "-c", DJANGO], env=CLEAN | KEYS, cwd=self.folder, capture_output=True, text=True, check=True
        )
        url = upload.stdout.strip()
        self.assertEqual(url, f"http://localhost:{self.port}/photos/a%20b.txt")
        self.assertEqual(fetch(url)[2], b"by django")
        # A second one beside it sees that it runs.
        code, said = self.run_program("doctor", "--config", str(self.folder / "forebay.toml"))
        self.assertEqual(code, 0, said)
        self.assertIn("✔ 127.0.0.1:9145 belongs to the Forebay that is running", said)
        self.assertIn(f"✔ 127.0.0.1:{self.port} belongs to the Forebay that is running", said)
        flags = ("--bucket", BUCKET, "--region", "us-east-1", "--listen", f"127.0.0.1:{self.port}", "--dir", str(self.folder / "other"))
        code, said = self.run_program("init", "--yes", "--offline", *flags)
        self.assertIn(f"✖ 127.0.0.1:{self.port} is in use by a Forebay that serves other distributions", said)
        self.assertEqual(code, 1)

    def test_the_compose_file_mounts_certificate_and_key(self):
        elsewhere = pathlib.Path(tempfile.mkdtemp(prefix="forebay-tls-"))
        self.addCleanup(shutil.rmtree, elsewhere)
        issued = trustme.CA().issue_cert("media.example.com")
        (elsewhere / "live").mkdir()
        issued.cert_chain_pems[0].write_to_path(elsewhere / "a.crt")
        issued.private_key_pem.write_to_path(elsewhere / "a-1.key")
        # As certbot has it: the key is a link to its version.
        (elsewhere / "live/a.key").symlink_to("../a-1.key")
        (elsewhere / "a-1.key").chmod(0o600)
        elsewhere.chmod(0o755)
        said = self.init("--offline", "--domain", "media.example.com", "--certificate", elsewhere / "a.crt", "--key", elsewhere / "live/a.key")
        compose = yaml.safe_load((self.folder / "compose.yaml").read_text())["services"]["forebay"]
        mounts = [str(path) for path in (elsewhere, elsewhere / "live")]
        self.assertEqual(compose["volumes"], [".:/etc/forebay:ro", *(f"{path}:{path}:ro" for path in mounts)])
        self.assertEqual(compose["pull_policy"], "never")
        self.assertIn("docker build -t forebay .", said)
        (line,) = re.findall(r"sudo chgrp 65532 .*", said)
        if os.getuid() == 0:
            as_container = ["setpriv", "--reuid", "65532", "--regid", "65532", "--clear-groups", "cat", elsewhere / "live/a.key"]
            self.assertNotEqual(subprocess.run(as_container, capture_output=True, check=False).returncode, 0)
            subprocess.run(line.replace("sudo ", ""), shell=True, check=True)
            self.assertIn(b"PRIVATE KEY", subprocess.run(as_container, capture_output=True, check=True).stdout)

    def test_the_policy_is_one_of_iam(self):
        self.init("--offline")
        policy = (self.folder / "forebay-iam-policy.json").read_text()
        with moto.mock_aws():
            iam = boto3.client("iam", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
            iam.create_user(UserName="forebay")
            # IAM looks whether a policy is one.
            with self.assertRaisesRegex(Exception, "MalformedPolicyDocument"):
                iam.put_user_policy(UserName="forebay", PolicyName="no", PolicyDocument=policy.replace("s3:", "s3"))
            iam.put_user_policy(UserName="forebay", PolicyName="read", PolicyDocument=policy)
        self.assertEqual(
            [(s["Action"], s["Resource"]) for s in json.loads(policy)["Statement"]],
            [("s3:GetObject", [f"arn:aws:s3:::{BUCKET}/*"]), ("s3:ListBucket", [f"arn:aws:s3:::{BUCKET}"])],
        )

    def test_the_unit_is_one_of_systemd(self):
        self.init("--offline")
        unit = self.folder / "forebay.service"
        # systemd finds the program only where it is installed, and so is its page.
        text = unit.read_text().replace("=forebay ", f"={PROGRAM} ").replace("Documentation=man:forebay(1)\n", "")
        unit.write_text(text)
        verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
        self.assertEqual((verified.returncode, verified.stderr), (0, ""))
        users = self.folder / "forebay.sysusers"
        root = self.folder / "root"
        (root / "etc").mkdir(parents=True)
        made = subprocess.run(["systemd-sysusers", f"--root={root}", users], capture_output=True, text=True, check=False)
        self.assertEqual(made.returncode, 0, made.stderr)
        self.assertIn("\nforebay:", "\n" + (root / "etc/passwd").read_text())

    def test_init_overwrites_nothing(self):
        self.init("--offline")
        before = (self.folder / "forebay.toml").read_text()
        for file in ("forebay.toml", "forebay_django.py"):
            (self.folder / file).unlink()
        code, said = self.run_program("init", "--bucket", "other", "--region", "eu-west-1", "--dir", str(self.folder), "--offline")
        self.assertEqual(code, 1)
        self.assertIn("already exists", said)
        self.assertFalse((self.folder / "forebay.toml").exists())
        self.init("--offline", "--force")
        self.assertNotEqual(before, "")

    def test_the_bucket_goes_into_the_path_where_its_host_does_not_resolve(self):
        host = socket.gethostname()
        try:
            socket.gethostbyname(host)
        except OSError:
            self.skipTest(f"{host} has no address")
        flags = ("--bucket", BUCKET, "--region", "us-east-1", "--listen", f"127.0.0.1:{free_port()}", "--dir", str(self.folder))
        code, said = self.run_program("init", "--yes", "--admin", "off", "--endpoint", f"http://{host}:1", *flags)
        self.assertEqual(code, 1)
        self.assertIn("The store expects the bucket's name in the path (--path-style).", said)
        self.assertIn(f"{host}:1: the server cannot be reached", said)
        self.assertIn("path_style = true\n", (self.folder / "forebay.toml").read_text())
        # Credentials were found, so nothing needs to be said about them.
        self.assertNotIn("Give Forebay credentials", said)

    def test_init_refuses_what_cannot_be(self):
        for flags, expected in (
            (["--bucket", "a/b", "--region", "x"], "is not a valid bucket name"),
            (["--bucket", BUCKET, "--region", "a b"], "is not a valid region"),
            (["--bucket", BUCKET, "--region", "eu-west-1", "--domain", "a b"], "is not a valid alias"),
            ([], "no bucket given"),
            (["--bucket", BUCKET, "--region", "eu-west-1", "--listen-tls", "[::]:8443"], "--listen-tls needs a certificate"),
            (["--bucket", BUCKET, "--region", "mars"], "--region: `mars` is not an AWS region"),
            (["--bucket", BUCKET, "--region", "eu-west-1", "--listen", "here"], "--listen: `here` is not an address"),
            (["--bucket", BUCKET, "--region", "eu-west-1", "--admin", "there"], "--admin: `there` is not an address"),
            (["--bucket", BUCKET], "the bucket's region is unknown"),
        ):
            code, said = self.run_program("init", "--yes", "--offline", "--dir", str(self.folder / "new"), *flags)
            self.assertEqual(code, 1, said)
            self.assertIn(expected, said)
            self.assertFalse((self.folder / "new").exists())

    def dialogue(self, answers, *flags):
        """`init` in a terminal: its exit code, and what the terminal shows."""
        ours, theirs = pty.openpty()
        dialogue = subprocess.Popen(
            [PROGRAM, "init", "--dir", self.folder, *flags], env=CLEAN | KEYS | {"TERM": "xterm"}, stdin=theirs, stdout=theirs, stderr=theirs
        )
        self.addCleanup(dialogue.kill)
        os.close(theirs)
        said = ""

        def listen():
            nonlocal said
            try:
                self.assertTrue(select.select([ours], [], [], 30)[0], said)
                said += os.read(ours, 4096).decode().replace("\r\n", "\n")
                return True
            except OSError:  # it has ended
                return False

        for answer in answers:
            while not said.endswith(": "):
                self.assertTrue(listen(), said)
            lines = said.count("\n")
            os.write(ours, f"{answer}\n".encode())
            while said.count("\n") == lines:  # until it is echoed
                self.assertTrue(listen(), said)
        while listen():
            pass
        os.close(ours)
        return dialogue.wait(timeout=10), said

    def test_prompts_for_a_certificate(self):
        issued = trustme.CA().issue_cert("media.example.com")
        issued.cert_chain_pems[0].write_to_path(self.folder / "a.crt")
        issued.private_key_pem.write_to_path(self.folder / "a.key")
        port = free_port()
        files = (self.folder / "a.crt", "", self.folder / "a.key")
        answers = (BUCKET, self.store.url, "", "media.example.com", *files, "", "", "y")
        flags = ("--path-style", "--listen", f"127.0.0.1:{port}", "--listen-tls", f"127.0.0.1:{port + 10_000}", "--admin", "off")
        code, said = self.dialogue(answers, *flags)
        self.assertEqual(code, 0, said)
        self.assertIn("✖\x1b[0m a certificate needs its key\n", said)
        self.assertIn("a certificate covers media.example.com", said)
        name = f"media.example.com:{port + 10_000}"
        self.assertIn(f"curl -sS -o /dev/null -D - https://{name}/KEY --connect-to {name}:127.0.0.1:{port + 10_000}\n", said)
        self.assertIn(f"sudo install -m 640 -g forebay {self.folder}/a.crt {self.folder}/a.key /etc/forebay/tls/", said)
        self.assertIn("User=forebay\n", (self.folder / "forebay.service").read_text())

    def test_whoever_is_at_the_keyboard_is_asked(self):
        port = free_port()
        answers = ("My Bucket", BUCKET, self.store.url, "", "a b", "https://media.example.com/", "", "index.html", "E2QWRUHEXAMPLE")
        code, said = self.dialogue((*answers, "maybe", "y"), "--path-style", "--listen", f"127.0.0.1:{port}")
        self.assertEqual(code, 0, said)
        expected = TRANSCRIPT.format(store=self.store.url, folder=self.folder, port=port)
        self.assertIn("\x1b[", said)  # a terminal gets colours
        said = re.sub(r"\x1b\[[0-9]*m", "", said)
        said = re.sub(r"\[E[A-Z0-9]{13}\]", "[E…]", said)
        self.assertEqual(said[: len(expected)], expected)
        self.assertIn('id = "E2QWRUHEXAMPLE"', (self.folder / "forebay.toml").read_text())
        self.assertIn("forebay.service", {path.name for path in self.folder.iterdir()})
        self.assertNotIn("compose.yaml", {path.name for path in self.folder.iterdir()})

    def test_the_doctor_knows_who_asks(self):
        server = ThreadedMotoServer(port=free_port(), verbose=False)
        server.start()
        self.addCleanup(server.stop)
        address = f"http://127.0.0.1:{server._port}"
        code, said = self.run_program(
            "doctor", "--bucket", "forebay-has-no-such-bucket", "--region", "eu-central-1", "--listen", "127.0.0.1:0",
            "--admin", "off", AWS_ENDPOINT_URL_STS=address,
        )  # fmt: skip
        self.assertIn("✔ the credentials belong to arn:aws:sts::123456789012:user/moto", said)
        self.assertEqual(code, 1)  # AWS itself is not reached from a test

    def test_the_doctor_looks_at_certificates_and_folders(self):
        authority = trustme.CA()
        now = datetime.datetime.now(datetime.UTC)

        def certificate(name, host="media.example.com", **validity):
            issued = authority.issue_cert(host, **validity)
            issued.private_key_pem.write_to_path(self.folder / f"{name}.key")
            issued.cert_chain_pems[0].write_to_path(self.folder / f"{name}.pem")

        year = {"not_before": now - datetime.timedelta(days=10), "not_after": now + datetime.timedelta(days=355)}
        certificate("good", **year)
        month = {"not_before": now - datetime.timedelta(days=24), "not_after": now + datetime.timedelta(days=6)}
        certificate("due", **month)
        certificate("ended", not_after=now - datetime.timedelta(days=1))
        certificate("ends", not_after=now + datetime.timedelta(days=3))
        certificate("early", not_before=now + datetime.timedelta(days=30))
        certificate("other", host="other.example.com")
        certificate("key")
        (self.folder / "key.pem").write_bytes((self.folder / "good.pem").read_bytes())
        (self.folder / "cut.pem").write_text((self.folder / "good.pem").read_text()[:500])
        (self.folder / "cut.key").write_bytes((self.folder / "good.key").read_bytes())
        (self.folder / "a-file").write_text("")
        config = self.folder / "forebay.toml"

        def doctor(name, log="log", more=""):
            config.write_text(
                DOCTOR.format(store=self.store.url, folder=self.folder, name=name, log=log, more=more, port=free_port())
            )
            return self.run_program("doctor", str(config))

        code, said = doctor("good")
        self.assertEqual(code, 0, said)
        self.assertRegex(said, r"✔ .*good.pem is valid for \d+ days\n  ✔ a certificate covers media.example.com")
        # A certificate is due in the last third of its lifetime, be that a year or a week.
        code, said = doctor("due")
        self.assertEqual(code, 0, said)
        self.assertRegex(said, r"! .*due.pem expires in [56] days\n      → renew it")
        for name, expected in {
            "ended": r"✖ .*ended.pem has expired\n      → renew it",
            "ends": r"✖ .*ends.pem expires in [23] days\n      → renew it",
            "early": r"✖ .*early.pem becomes valid in 30 days",
            "other": r"✖ no certificate covers media.example.com\n      → add a certificate for this host",
            "key": r"✖ the key .*key.key. does not match the certificate .*key.pem.\n      → use the key",
            "cut": r"✖ cannot read .*cut.pem.: the PEM text is cut off: `-----END CERTIFICATE-----` is missing\n",
            "none": r"✖ cannot read .*none.pem.*\n      → correct the path",
        }.items():
            code, said = doctor(name)
            self.assertEqual(code, 1, said)
            self.assertRegex(said, expected)
        code, said = doctor("good", log="a-file")
        self.assertRegex(said, r"✖ .*a-file is a file, not a directory")
        self.assertEqual(code, 1)
        # `serve` tells of the same, and how to mend it.
        doctor("none")
        code, said = self.run_program("serve", "--config", str(config))
        self.assertEqual(code, 1)
        self.assertRegex(said, r"cannot read .*none.pem[\s\S]*help: correct the path")

    def test_the_doctor_tells_what_is_wrong(self):
        def doctor(*more, **environment):
            return self.run_program(
                "doctor", "--bucket", BUCKET, "--region", "us-east-1", "--endpoint", self.store.url, "--listen",
                "127.0.0.1:0", "--admin", "off", *more, **environment,
            )  # fmt: skip

        doubled = ("--endpoint", f"{self.store.url}/{BUCKET}", "--path-style")
        code, said = self.run_program("doctor", "--bucket", BUCKET, "--region", "us-east-1", "--admin", "off", "--listen", "127.0.0.1:0", *doubled)
        self.assertIn(f"→ remove the bucket's name, `{BUCKET}`, from the endpoint: Forebay adds it", said)
        self.assertEqual(code, 1)

        code, said = doctor("--sample", "photos/cat.jpg", "--json")
        self.assertEqual((code, json.loads(said)["works"]), (0, True))
        code, said = doctor("--sample", "photos/dog.jpg")
        self.assertIn("✖ /photos/dog.jpg: S3 answered 404 Not Found NoSuchKey\n      → name an existing object", said)
        self.assertEqual(code, 1)
        code, said = doctor(AWS_SECRET_ACCESS_KEY="guessed")
        self.assertIn("SignatureDoesNotMatch\n      → the secret access key does not match", said)
        self.assertEqual(code, 1)
        code, said = doctor(AWS_ACCESS_KEY_ID="")
        self.assertRegex(said, r"✖ no credentials found: neither the environment, .*\n *→ set AWS_ACCESS_KEY_ID, too: only AWS_SECRET_ACCESS_KEY is set")
        self.assertIn("! not checked, because there are no credentials", said)
        self.assertEqual(code, 1)


if __name__ == "__main__":
    unittest.main()
