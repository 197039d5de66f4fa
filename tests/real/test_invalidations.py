"""Purges as AWS's own clients ask for them: boto3, the AWS CLI, Wagtail; and as `forebay purge` does."""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import boto3
import botocore.exceptions
from botocore.config import Config

import parts
from parts import PROGRAM, fetch, free_port

KEY, SECRET, TOKEN = "FOREBAYADMIN", "the secret of the admin", "the-token-of-the-deploy"

CONFIG = """
[listen]
http = "127.0.0.1:{port}"
[admin]
listen = "127.0.0.1:{admin}"
state = "{folder}/state"
{callers}
[[distribution]]
id = "E1MEDIA"
aliases = ["*"]
cache_tag_header = "X-Tags"
[[distribution.origin]]
id = "origin"
url = "http://127.0.0.1:{origin}"
[distribution.default_behavior]
origin = "origin"
cache_policy = "CachingOptimized"
"""

CALLERS = """
[[admin.credential]]
access_key_id = "FOREBAYADMIN"
secret_file = "{folder}/secret"
[[admin.token]]
name = "deploy"
secret_env = "DEPLOY_TOKEN"
"""


class Tagged(parts.Echo):
    """Answers with the path, and with a tag that is the first folder."""

    def do_GET(self):
        self.server.asked.append(self.path)
        content = self.path.encode()
        self.send_response(200)
        for name, value in {
            "Content-Length": len(content), "Cache-Control": "max-age=3600", "ETag": '"tag"',
            "X-Tags": f"all, {self.path.split('/')[1]}",
        }.items():  # fmt: skip
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(content)


class Invalidations(unittest.TestCase):
    callers = CALLERS

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="forebay-purges-"))
        self.addCleanup(shutil.rmtree, self.folder)
        (self.folder / "secret").write_text(SECRET + "\n")
        self.origin = parts.Origin.start()
        self.origin.RequestHandlerClass = Tagged
        self.addCleanup(self.origin.stop)
        self.port, self.admin = free_port(), free_port()
        config = CONFIG.format(
            port=self.port, admin=self.admin, folder=self.folder, origin=self.origin.port,
            callers=self.callers.format(folder=self.folder),
        )  # fmt: skip
        (self.folder / "forebay.toml").write_text(config)
        self.start()

    def start(self, within=()):
        self.url, self.endpoint = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.admin}"
        config = self.folder / "forebay.toml"
        self.edge = parts.Program(self.url, self.endpoint, "--config", config, within=within, DEPLOY_TOKEN=TOKEN)
        self.addCleanup(self.edge.stop)

    def client(self, key=KEY, secret=SECRET):
        return boto3.client(
            "cloudfront", endpoint_url=self.endpoint, region_name="us-east-1", aws_access_key_id=key,
            aws_secret_access_key=secret, config=Config(retries={"max_attempts": 1}),
        )  # fmt: skip

    def invalidate(self, *items, reference=None, client=None, distribution="E1MEDIA"):
        batch = {"Paths": {"Quantity": len(items), "Items": list(items)}, "CallerReference": reference or os.urandom(8).hex()}
        return (client or self.client()).create_invalidation(DistributionId=distribution, InvalidationBatch=batch)

    def seen(self, *paths):
        """How each path is answered: Miss where it was not stored."""
        return [fetch(self.url + path)[1]["X-Cache"].split()[0] for path in paths]

    def code(self, call, *args, **kwargs):
        with self.assertRaises(botocore.exceptions.ClientError) as caught:
            call(*args, **kwargs)
        answer = caught.exception.response
        self.assertTrue(answer["ResponseMetadata"]["RequestId"])
        return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


class Boto3(Invalidations):
    def test_what_is_invalidated_is_fetched_anew(self):
        paths = ["/a/1", "/a/2", "/b/1", "/b%20c/%C3%BC~1"]
        self.assertEqual(self.seen(*paths, *paths), ["Miss"] * 4 + ["Hit"] * 4)
        answer = self.invalidate("/a/*", "/b c/ü~1")
        self.assertEqual(answer["ResponseMetadata"]["HTTPStatusCode"], 201)
        invalidation = answer["Invalidation"]
        self.assertRegex(invalidation["Id"], "^I[A-Z0-9]{13}$")
        self.assertTrue(answer["Location"].endswith(f"/2020-05-31/distribution/E1MEDIA/invalidation/{invalidation['Id']}"))
        self.assertEqual(invalidation["InvalidationBatch"]["Paths"]["Items"], ["/a/*", "/b c/ü~1"])
        self.assertEqual(self.seen(*paths), ["Miss", "Miss", "Hit", "Miss"])
        # Its state is known, and a waiter ends at its first look.
        client = self.client()
        got = client.get_invalidation(DistributionId="E1MEDIA", Id=invalidation["Id"])["Invalidation"]
        self.assertEqual((got["Status"], got["CreateTime"]), ("Completed", invalidation["CreateTime"]))
        client.get_waiter("invalidation_completed").wait(
            DistributionId="E1MEDIA", Id=invalidation["Id"], WaiterConfig={"Delay": 60, "MaxAttempts": 1}
        )

    def test_tags_are_invalidated_without_regard_to_case(self):
        self.assertEqual(self.seen("/red/1", "/red/2", "/blue/1"), ["Miss"] * 3)
        self.invalidate("#RED")
        self.assertEqual(self.seen("/red/1", "/red/2", "/blue/1"), ["Miss", "Miss", "Hit"])
        self.invalidate("#all")
        self.assertEqual(self.seen("/red/1", "/blue/1"), ["Miss", "Miss"])

    def test_a_reference_is_used_once_and_survives_a_restart(self):
        first = self.invalidate("/a", reference="release-1")["Invalidation"]
        self.assertEqual(self.seen("/a"), ["Miss"])
        again = self.invalidate("/a", reference="release-1")["Invalidation"]
        self.assertEqual((again["Id"], self.seen("/a")), (first["Id"], ["Hit"]))
        code = self.code(self.invalidate, "/b", reference="release-1")
        self.assertEqual(code, ("InvalidArgument", 400))
        self.edge.stop()
        self.start()
        self.assertEqual(self.invalidate("/a", reference="release-1")["Invalidation"]["Id"], first["Id"])

    def test_the_list_has_pages_the_newest_first(self):
        made = [self.invalidate(f"/{n}")["Invalidation"]["Id"] for n in range(7)]
        pages = self.client().get_paginator("list_invalidations").paginate(
            DistributionId="E1MEDIA", PaginationConfig={"PageSize": 3}
        )
        listed = [[item["Id"] for item in page["InvalidationList"].get("Items", [])] for page in pages]
        self.assertEqual(listed, [made[:3:-1], made[3:0:-1], made[:1]])

    def test_errors_are_those_that_clients_know(self):
        self.assertEqual(self.code(self.invalidate, "/a", client=self.client(secret="wrong")), ("SignatureDoesNotMatch", 403))
        self.assertEqual(self.code(self.invalidate, "/a", client=self.client(key="AKIDOTHER")), ("InvalidClientTokenId", 403))
        self.assertEqual(self.code(self.invalidate, "/a", distribution="E2OTHER"), ("NoSuchDistribution", 404))
        self.assertEqual(self.code(self.invalidate, "a"), ("InvalidArgument", 400))
        self.assertEqual(self.code(self.invalidate, "/a%zz"), ("InvalidArgument", 400))
        self.assertEqual(self.code(self.invalidate, *[f"/{n}" for n in range(3001)]), ("BatchTooLarge", 413))
        batch = {"Paths": {"Quantity": 2, "Items": ["/a"]}, "CallerReference": "x"}
        client = self.client()
        inconsistent = self.code(client.create_invalidation, DistributionId="E1MEDIA", InvalidationBatch=batch)
        self.assertEqual(inconsistent, ("InconsistentQuantities", 400))
        missing = self.code(client.get_invalidation, DistributionId="E1MEDIA", Id="INONE")
        self.assertEqual(missing, ("NoSuchInvalidation", 404))
        marker = self.code(client.list_invalidations, DistributionId="E1MEDIA", Marker="INONE")
        self.assertEqual(marker, ("InvalidArgument", 400))

    def test_a_batch_may_be_as_large_as_at_aws(self):
        paths = [f"/{n}/" + "a" * 900 for n in range(3000)]
        self.assertEqual(len(self.invalidate(*paths)["Invalidation"]["InvalidationBatch"]["Paths"]["Items"]), 3000)

    def test_any_region_may_be_signed_for(self):
        for region in ["eu-central-1", "cn-north-1"]:
            client = boto3.client(
                "cloudfront", endpoint_url=self.endpoint, region_name=region, aws_access_key_id=KEY, aws_secret_access_key=SECRET
            )
            self.assertEqual(self.invalidate("/a", client=client)["ResponseMetadata"]["HTTPStatusCode"], 201)

    def test_nobody_else_may_purge(self):
        target = self.endpoint + "/2020-05-31/distribution/E1MEDIA/invalidation"
        body = b"<InvalidationBatch><Paths><Quantity>1</Quantity><Items><Path>/*</Path></Items></Paths><CallerReference>x</CallerReference></InvalidationBatch>"
        self.assertEqual(fetch(target, "POST", {}, body)[0], 403)
        self.assertEqual(fetch(target, "POST", {"Origin": "https://evil.test"}, body)[0], 403)
        self.assertEqual(fetch(target, "POST", {"Authorization": "Bearer wrong"}, body)[0], 403)
        self.assertEqual(fetch(target, "POST", {"Authorization": f"Bearer {TOKEN}"}, body)[0], 201)
        for token, size in ((TOKEN, 17 << 20), ("wrong", 2 << 20)):
            # Unlike urllib, curl reads the answer if the connection is closed before it has sent everything.
            curl = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", f"Authorization: Bearer {token}", "--data-binary", "@-", target]
            answered = subprocess.run(curl, input=b"x" * size, capture_output=True, check=False)
            self.assertEqual(answered.stdout, b"413", answered.stderr)
        bomb = b'<!DOCTYPE a [<!ENTITY a "aaaaaaaa">]><InvalidationBatch>&a;</InvalidationBatch>'
        self.assertEqual(fetch(target, "POST", {"Authorization": f"Bearer {TOKEN}"}, bomb)[0], 400)
        json = {"Content-Type": "application/json"}
        purge = b'{"distribution": "E1MEDIA", "paths": ["/*"]}'
        self.assertEqual(fetch(self.endpoint + "/purge", "POST", json, purge)[0], 403)
        self.edge.wait_to_say('caller="token:deploy"')
        self.assertNotIn(TOKEN, self.edge.said())


class Distributions(Invalidations):
    """What clients look up before they invalidate: which distribution has this alias, or this origin."""

    def setUp(self):
        super().setUp()
        self.edge.stop()
        config = (self.folder / "forebay.toml").read_text().replace('aliases = ["*"]', 'aliases = ["media.example.com", "*.cdn.example"]', 1)
        second = config[config.index("[[distribution]]") :].replace("E1MEDIA", "E2OTHER")
        second = second.replace('"media.example.com", "*.cdn.example"', '"other.example.com"')
        second += """
[[distribution.behavior]]
path_pattern = "/private/*"
origin = "origin"
cache_policy = "CachingDisabled"
viewer_protocol_policy = "redirect-to-https"
allowed_methods = "all"
"""
        (self.folder / "forebay.toml").write_text(config + second)
        self.start()

    def test_boto3_lists_and_gets(self):
        client = self.client()
        pages = client.get_paginator("list_distributions").paginate(PaginationConfig={"PageSize": 1})
        listed = [item for page in pages for item in page["DistributionList"]["Items"]]
        self.assertEqual([item["Id"] for item in listed], ["E1MEDIA", "E2OTHER"])
        self.assertEqual(listed[0]["Aliases"]["Items"], ["media.example.com", "*.cdn.example"])
        self.assertEqual(listed[0]["DomainName"], "media.example.com")
        origin = listed[1]["Origins"]["Items"][0]
        self.assertEqual((origin["Id"], origin["DomainName"], origin["CustomOriginConfig"]["HTTPPort"]), ("origin", "127.0.0.1", self.origin.port))
        behavior = listed[1]["CacheBehaviors"]["Items"][0]
        self.assertEqual((behavior["PathPattern"], behavior["ViewerProtocolPolicy"], behavior["MaxTTL"]), ("/private/*", "redirect-to-https", 0))
        self.assertEqual((listed[0]["Status"], listed[0]["Enabled"]), ("Deployed", True))
        got = client.get_distribution(Id="E2OTHER")
        config = client.get_distribution_config(Id="E2OTHER")
        self.assertEqual(got["ETag"], config["ETag"])
        self.assertRegex(got["ETag"], "^E[A-Z0-9]+$")
        self.assertEqual(got["Distribution"]["DistributionConfig"], config["DistributionConfig"])
        self.assertEqual(config["DistributionConfig"]["Aliases"]["Items"], ["other.example.com"])
        self.assertEqual(client.list_streaming_distributions()["StreamingDistributionList"]["Quantity"], 0)

    def test_errors_are_in_the_form_that_clients_read(self):
        client = self.client()
        self.assertEqual(self.code(client.get_distribution, Id="E9"), ("NoSuchDistribution", 404))
        self.assertEqual(self.code(client.list_distributions, Marker="E9"), ("InvalidArgument", 400))
        self.assertEqual(self.code(client.list_functions), ("NotImplemented", 501))
        self.assertEqual(self.code(client.delete_distribution, Id="E1MEDIA"), ("NotImplemented", 501))
        self.assertEqual(self.code(self.client(secret="wrong").list_distributions), ("SignatureDoesNotMatch", 403))
        self.assertEqual(fetch(self.endpoint + "/2020-05-31/distribution")[0], 403)

    def test_the_aws_cli_finds_a_distribution_by_alias_and_by_origin(self):
        aws = [pathlib.Path(sys.executable).parent / "aws", "cloudfront", "list-distributions", "--output", "text", "--query"]
        environment = os.environ | {
            "AWS_ENDPOINT_URL_CLOUDFRONT": self.endpoint, "AWS_DEFAULT_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip
        for query, expected in [
            ("DistributionList.Items[?contains(Aliases.Items, 'other.example.com')].Id", "E2OTHER"),
            ("DistributionList.Items[?Origins.Items[?DomainName=='127.0.0.1']].Id", "E1MEDIA\tE2OTHER"),
        ]:
            run = subprocess.run([*aws, query], env=environment, capture_output=True, text=True, check=False, timeout=60)
            self.assertEqual((run.returncode, run.stdout.strip()), (0, expected), run.stderr)


    def test_calls_of_deployment_tools(self):
        """What s3deploy, Terraform's action and W3 Total Cache send, by their sources."""
        client = self.client()
        # s3deploy reads the paths of the origins, then invalidates with a time as the reference.
        got = client.get_distribution(Id="E1MEDIA")["Distribution"]["DistributionConfig"]
        self.assertEqual([origin["OriginPath"] for origin in got["Origins"]["Items"]], [""])
        self.invalidate("/a/*", reference="20261128120000", client=client)
        # `aws_cloudfront_create_invalidation` accepts such ids only, and polls until the invalidation is complete.
        self.assertRegex("E1MEDIA", "^[A-Z0-9]+$")
        self.assertEqual(client.get_distribution(Id="E1MEDIA")["Distribution"]["Status"], "Deployed")
        made = self.invalidate("/b", client=client)["Invalidation"]
        got = client.get_invalidation(DistributionId="E1MEDIA", Id=made["Id"])["Invalidation"]
        self.assertEqual(got["Status"], "Completed")
        # W3 Total Cache looks for the distribution by the domain of its origin.
        listed = client.list_distributions()["DistributionList"]["Items"]
        domains = {item["Id"]: [origin["DomainName"] for origin in item["Origins"]["Items"]] for item in listed}
        self.assertEqual(domains, {"E1MEDIA": ["127.0.0.1"], "E2OTHER": ["127.0.0.1"]})

    def test_ansible_invalidates_by_alias(self):
        collections = parts.ROOT / "target/ansible"
        if not (collections / "ansible_collections").is_dir():
            self.fail("tests/run installs Ansible's collections into target/ansible")
        environment = os.environ | {
            "AWS_ENDPOINT_URL_CLOUDFRONT": self.endpoint, "AWS_DEFAULT_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_EC2_METADATA_DISABLED": "true", "ANSIBLE_HOME": str(self.folder / "ansible"),
            "ANSIBLE_COLLECTIONS_PATH": str(collections), "ANSIBLE_PYTHON_INTERPRETER": sys.executable, "NO_COLOR": "1",
        }  # fmt: skip

        def run(**arguments):
            ansible = [pathlib.Path(sys.executable).parent / "ansible", "localhost", "-m", "community.aws.cloudfront_invalidation"]
            arguments = json.dumps({"alias": "media.example.com", "caller_reference": "release-7"} | arguments)
            done = subprocess.run([*ansible, "-a", arguments], env=environment, capture_output=True, text=True, check=False, timeout=120)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            # localhost | CHANGED => {…}
            return json.loads(done.stdout[done.stdout.index("{") :]) | {"said": done.stdout + done.stderr}

        first = run(target_paths=["/a/*", "/b"])
        self.assertTrue(first["changed"], first)
        self.assertEqual(first["invalidation"]["status"], "Completed")
        again = run(target_paths=["/a/*", "/b"])
        self.assertEqual(again["invalidation"]["id"], first["invalidation"]["id"], "the same reference, the same paths")
        other = run(target_paths=["/c"])
        self.assertFalse(other["changed"])
        self.assertIn("not modifiable", other["said"])


class OtherClients(Invalidations):
    def environment(self, **more):
        return os.environ | {
            "AWS_ENDPOINT_URL_CLOUDFRONT": self.endpoint, "AWS_DEFAULT_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_EC2_METADATA_DISABLED": "true", "NO_COLOR": "1",
        } | more  # fmt: skip

    def run_program(self, *arguments, given="", **environment):
        return subprocess.run(
            arguments, env=self.environment(**environment), input=given, capture_output=True, text=True, check=False, timeout=60
        )

    def test_the_aws_cli(self):
        aws = [pathlib.Path(sys.executable).parent / "aws", "cloudfront"]
        self.assertEqual(self.seen("/a/1"), ["Miss"])
        made = self.run_program(
            *aws, "create-invalidation", "--distribution-id", "E1MEDIA", "--paths", "/a/*", "/é b",
            "--query", "Invalidation.Id", "--output", "text",
        )  # fmt: skip
        self.assertEqual(made.returncode, 0, made.stderr)
        self.assertEqual(self.seen("/a/1"), ["Miss"])
        waited = self.run_program(
            *aws, "wait", "invalidation-completed", "--distribution-id", "E1MEDIA", "--id", made.stdout.strip()
        )
        self.assertEqual(waited.returncode, 0, waited.stderr)

    def test_wagtails_frontend_cache(self):
        self.assertEqual(self.seen("/blog/", "/about/"), ["Miss", "Miss"])
        script = """
import django
from django.conf import settings
settings.configure()
django.setup()
from wagtail.contrib.frontend_cache.backends import CloudfrontBackend
CloudfrontBackend({"DISTRIBUTION_ID": "E1MEDIA"}).purge("https://media.example.com/blog/")
"""
        purged = self.run_program(sys.executable, "-c", script)
        self.assertEqual(purged.returncode, 0, purged.stderr)
        self.assertEqual(self.seen("/blog/", "/about/"), ["Miss", "Hit"])

    def purge(self, *arguments, **more):
        admin = f"127.0.0.1:{self.admin}"
        return self.run_program(PROGRAM, "purge", "--admin", admin, "--distribution", "E1MEDIA", *arguments, **more)

    def test_forebay_purge(self):
        paths = ["/a/1", "/b/1", "/c/1"]
        self.assertEqual(self.seen(*paths), ["Miss"] * 3)
        for arguments, given, said, seen in [
            (["/a/1"], "", "/a/1 purged in distribution E1MEDIA", ["Miss", "Hit", "Hit"]),
            (["--tag", "b"], "", "#b purged in distribution E1MEDIA", ["Hit", "Miss", "Hit"]),
            (["--from", "-"], "/a/*\n\n/c/*\n", "2 items purged in distribution E1MEDIA", ["Miss", "Hit", "Miss"]),
            (["--all"], "", "/* purged in distribution E1MEDIA", ["Miss"] * 3),
        ]:
            run = self.purge(*arguments, given=given)
            self.assertEqual((run.returncode, run.stdout.strip()), (0, said), run.stderr)
            self.assertEqual(self.seen(*paths), seen)
        many = "".join(f"/{n}\n" for n in range(7000))
        self.assertEqual(self.purge("--from", "-", given=many).stdout.splitlines()[-2:], ["7000 of 7000 …", "7000 items purged in distribution E1MEDIA"])

    def test_forebay_purge_softly(self):
        self.assertEqual(self.seen("/a/1", "/b/1"), ["Miss", "Miss"])
        run = self.purge("--soft", "/a/*")
        self.assertEqual((run.returncode, run.stdout.strip()), (0, "/a/* marked as stale in distribution E1MEDIA"))
        # Our origin knows no conditions: it sends the object anew.
        self.assertEqual(self.seen("/a/1", "/b/1", "/a/1"), ["Miss", "Hit", "Hit"])

    def test_forebay_purge_says_what_is_wrong(self):
        wrong = self.purge("/a", AWS_SECRET_ACCESS_KEY="wrong")
        self.assertEqual(wrong.returncode, 1)
        self.assertIn("FOREBAY_ADMIN_TOKEN", wrong.stderr)
        self.assertEqual(self.purge("/a", FOREBAY_ADMIN_TOKEN=TOKEN).returncode, 0)
        self.assertIn("cannot purge `a`", self.purge("a").stderr)
        self.assertEqual(self.purge().returncode, 2)


class FullDisk(Invalidations):
    """The state folder is a file system of 256 kB that only this process sees."""

    def start(self):
        state = self.folder / "state"
        state.mkdir(exist_ok=True)
        mounted = 'mount -t tmpfs -o size=256k,mode=0700 tmpfs "$0" && exec "$@"'
        within = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mounted, state)
        allowed = subprocess.run([*within, "true"], capture_output=True, text=True, check=False)
        if allowed.returncode != 0:
            self.skipTest(f"this system does not let us mount a file system: {allowed.stderr.strip()}")
        super().start(within)
        self.state = pathlib.Path(f"/proc/{self.edge.process.pid}/root{state}")

    def fill(self):
        """Writes until nothing more fits."""
        with open(self.state / "filler", "ab", buffering=0) as filler:
            for size in (4096, 1):
                with contextlib.suppress(OSError):
                    while filler.write(b"x" * size):
                        pass

    def test_an_invalidation_is_stored_whole_or_refused(self):
        first = self.invalidate("/a/*")["Invalidation"]["Id"]
        journal = next(path for path in self.state.iterdir() if path.name.startswith("invalidations"))
        before = journal.read_bytes()
        self.fill()
        # The last page of the journal may still take a few.
        accepted, code = [first], None
        while code is None:
            try:
                accepted.append(self.invalidate("/b/*", "/" + "c" * 200)["Invalidation"]["Id"])
            except botocore.exceptions.ClientError as error:
                code = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
        self.assertEqual(code[1], 503, code)
        lines = journal.read_bytes()
        self.assertTrue(lines.startswith(before) and lines.endswith(b"\n"))
        self.assertEqual(len(lines.splitlines()), len(accepted))
        self.assertEqual((fetch(self.url + "/a/1")[0], fetch(self.endpoint + "/readyz")[0]), (200, 200))
        (self.state / "filler").unlink()
        accepted.append(self.invalidate("/d/*")["Invalidation"]["Id"])
        pages = self.client().get_paginator("list_invalidations").paginate(DistributionId="E1MEDIA")
        listed = [item["Id"] for page in pages for item in page["InvalidationList"]["Items"]]
        self.assertEqual(listed, accepted[::-1])

    def test_a_full_disk_and_a_torn_line_do_not_keep_it_from_starting(self):
        first = self.invalidate("/a/*")["Invalidation"]["Id"]
        journal = next(path for path in self.state.iterdir() if path.name.startswith("invalidations"))
        torn = journal.read_bytes() + b'{"id":"ITORN'
        state = self.folder / "state"
        self.edge.stop()
        (self.folder / "torn").write_bytes(torn)
        filled = (
            'mount -t tmpfs -o size=256k,mode=0700 tmpfs "$0" && cp "$0/../torn" "$0/$1" && '
            '{ head -c 1M /dev/zero > "$0/filler" 2> /dev/null; shift; exec "$@"; }'
        )
        within = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", filled, state, journal.name)
        Invalidations.start(self, within)
        listed = self.client().list_invalidations(DistributionId="E1MEDIA")["InvalidationList"]
        self.assertEqual([item["Id"] for item in listed["Items"]], [first])
        self.assertEqual(fetch(self.url + "/a/1")[0], 200)


class Unconfigured(Invalidations):
    """Without credentials and tokens, whoever is on this machine may purge."""

    callers = ""

    def test_any_local_client_may(self):
        self.assertEqual(self.seen("/a"), ["Miss"])
        self.invalidate("/*", client=self.client(key="any", secret="thing"))
        self.assertEqual(self.seen("/a"), ["Miss"])


if __name__ == "__main__":
    unittest.main()
