"""URLs and cookies that foreign signers made: botocore, the AWS SDK for JavaScript, django-storages."""

import datetime
import itertools
import json
import os
import shutil
import subprocess
import tempfile
import time
import unittest

from botocore.signers import CloudFrontSigner
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

import parts
from parts import ROOT, fetch, free_port

NODE = shutil.which("node") or str(ROOT / "target/venv/bin/node")
FOLDER = ROOT / "target/conformance"
HOST = "media.example.com"

CONFIG = """
[listen]
http = "127.0.0.1:{port}"
workers = 1
[admin]
listen = "127.0.0.1:{admin}"
[[key_group]]
name = "signers"
[key_group.public_keys]
KRSA = \"\"\"{rsa}\"\"\"
KEC = \"\"\"{ec}\"\"\"
[[key_group]]
name = "modern"
sha1 = false
[key_group.public_keys]
KMODERN = \"\"\"{rsa}\"\"\"
[[distribution]]
id = "media"
aliases = ["*"]
[[distribution.origin]]
id = "origin"
url = "http://127.0.0.1:{origin}"
signing = "never"
[distribution.default_behavior]
origin = "origin"
cache_policy = "CachingOptimized"
trusted_key_groups = ["signers", "modern"]
[[distribution.behavior]]
path_pattern = "/all/*"
origin = "origin"
cache_policy = "UseOriginCacheControlHeaders-QueryStrings"
origin_request_policy = "AllViewer"
trusted_key_groups = ["signers"]
"""


def pem(key):
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


def private_pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def sign(key, hash_name):
    algorithm = hashes.SHA1() if hash_name == "SHA1" else hashes.SHA256()
    if isinstance(key, rsa.RSAPrivateKey):
        return lambda message: key.sign(message, padding.PKCS1v15(), algorithm)
    return lambda message: key.sign(message, ec.ECDSA(algorithm))


class Signed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.rsa, cls.ec = rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())
        cls.origin = parts.Origin.start()
        cls.addClassCleanup(cls.origin.stop)
        port, admin = free_port(), free_port()
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
            config.write(CONFIG.format(
                port=port, admin=admin, rsa=pem(cls.rsa), ec=pem(cls.ec), origin=cls.origin.port
            ))  # fmt: skip
            config.flush()
            cls.edge = parts.Program(
                f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin}", "--config", config.name
            )
        cls.expected = []

    @classmethod
    def tearDownClass(cls):
        """The log has the reason for each answer, and no signature."""
        code, lines = cls.edge.stop()
        assert code == 0, code
        details = [line.get("detail") if line["status"] == 403 else None for line in lines]
        wrong = [pair for pair in itertools.zip_longest(details, cls.expected) if pair[0] != pair[1]]
        assert not wrong, wrong[:5]
        assert all("Signature=" not in line.get("query", "").replace("Signature=REDACTED", "") for line in lines)

    def ask(self, url, reason=None, cookies=None, code=None):
        """Fetches a URL of the public host from the edge; it is served, or refused for the reason."""
        headers = {"Host": HOST} | ({"Cookie": cookies} if cookies else {})
        address = url.replace(f"http://{HOST}", self.edge.url)
        status, fields, content = fetch(address, headers=headers)
        type(self).expected.append(reason)
        self.assertEqual(status, 403 if reason else 200, f"{url} {cookies} {content}")
        if reason:
            self.assertEqual((fields["Content-Type"], fields["Cache-Status"]), ("text/xml", "Forebay"))
            self.assertIn(f"<Code>{code or 'AccessDenied'}</Code>".encode(), content)
        return fields

    def signers(self):
        for key, name in ((self.rsa, "KRSA"), (self.ec, "KEC")):
            for algorithm in ("SHA1", "SHA256"):
                yield key, name, algorithm

    def test_urls_of_botocore(self):
        later, before = (datetime.datetime.now() + datetime.timedelta(hours=hours) for hours in (1, -1))
        for (key, name, algorithm), custom in itertools.product(self.signers(), (False, True)):
            signer, suffix = CloudFrontSigner(name, sign(key, algorithm)), f"&Hash-Algorithm={algorithm}"

            def make(url, until, pattern=None, **more):
                if not custom:
                    return signer.generate_presigned_url(url, date_less_than=until) + suffix
                policy = signer.build_policy(pattern or url, until, **more)
                return signer.generate_presigned_url(url, policy=policy) + suffix

            url = f"http://{HOST}/b/{name}%20{algorithm}/%C3%A9.jpg?v=1&w=2"
            good = make(url, later)
            with self.subTest(name=name, algorithm=algorithm, custom=custom):
                self.ask(good)
                self.ask(make(f"http://{HOST}/b/plain.jpg", later))
                self.ask(make(url, before), "signed-expired")
                self.ask(url, "signed-unsigned", code="MissingKey")
                self.ask(good.replace("/b/", "/c/"), "signed-other-resource" if custom else "signed-wrong-signature")
                self.ask(good.replace("v=1", "v=2"), "signed-other-resource" if custom else "signed-wrong-signature")
                self.ask(good.replace(f"Id={name}", "Id=KOTHER"), "signed-unknown-key", code="InvalidKey")
                self.ask(good.replace(f"&Key-Pair-Id={name}", ""), "signed-no-key-pair-id", code="MissingKey")
                self.ask(good.replace("Signature=", "Signature=*"), "signed-bad-signature", code="MalformedSignature")
                self.ask(good.replace("Signature=", "Sig="), "signed-no-signature")
                self.ask(good + "&Expires=9999999999", "signed-bad-terms" if custom else "signed-repeated")
                self.ask(good.replace(f"={algorithm}", "=MD5"), "signed-unknown-hash")
                other = {"SHA1": "SHA256", "SHA256": "SHA1"}[algorithm]
                self.ask(good.replace(f"={algorithm}", f"={other}"), "signed-wrong-signature")
                wrong_key = self.ec if key is self.rsa else self.rsa
                forged = CloudFrontSigner(name, sign(wrong_key, algorithm)).generate_presigned_url(
                    url, date_less_than=later
                )
                self.ask(forged + suffix, "signed-wrong-signature")
                if custom:
                    self.ask(make(url, later, f"http://{HOST}/b/*"))
                    self.ask(make(url, later, "http*://*/*.jpg?*"))
                    self.ask(make(url, later, f"http://{HOST}/other/*"), "signed-other-resource")
                    self.ask(make(url, later, ip_address="127.0.0.0/8"))
                    self.ask(make(url, later, ip_address="192.0.2.1"), "signed-other-address")
                    self.ask(make(url, later, date_greater_than=before))
                    self.ask(make(url, later, date_greater_than=later), "signed-too-early")

    def test_urls_and_cookies_of_the_javascript_sdk(self):
        later, before = int(time.time() + 3600), int(time.time() - 3600)
        wanted, checks = [], []
        for (key, name, algorithm), cookies in itertools.product(self.signers(), (False, True)):
            for number, (more, reason) in enumerate([
                ({}, None), ({"dateGreaterThan": before}, None), ({"ipAddress": "127.0.0.1/32"}, None),
                ({"dateLessThan": before}, "signed-expired"), ({"dateGreaterThan": later}, "signed-too-early"),
                ({"ipAddress": "192.0.2.0/24"}, "signed-other-address"),
            ]):  # fmt: skip
                url = f"http://{HOST}/js/{name}/{algorithm}/{number}.jpg"
                instant = lambda seconds: datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat()
                more = {k: instant(v) if isinstance(v, int) else v for k, v in more.items()}
                wanted.append({
                    "url": url, "keyPairId": name, "privateKey": private_pem(key), "algorithm": algorithm,
                    "dateLessThan": instant(later), "cookies": cookies,
                } | more)  # fmt: skip
                checks.append((url, reason))
        run = subprocess.run(
            [NODE, ROOT / "tests/real/sign.mjs", FOLDER], input=json.dumps(wanted), capture_output=True, text=True, check=True
        )
        for (url, reason), made in zip(checks, json.loads(run.stdout), strict=True):
            with self.subTest(url=url, reason=reason):
                if isinstance(made, str):
                    self.ask(made, reason)
                    continue
                cookies = "; ".join(f"{name}={value}" for name, value in made.items())
                self.ask(url, reason, cookies=f"session=1; {cookies}")
                wrong = cookies.replace("Signature=", "Signature=*")
                self.ask(url, "signed-bad-signature", cookies=wrong, code="MalformedSignature")

    def test_cookies_for_a_folder(self):
        signer = CloudFrontSigner("KRSA", sign(self.rsa, "SHA1"))
        until = datetime.datetime.now() + datetime.timedelta(hours=1)
        policy = signer.build_policy(f"http://{HOST}/folder/*", until).encode()
        spell = lambda data: signer._url_b64encode(data).decode()
        cookies = "; ".join([
            f"CloudFront-Policy={spell(policy)}", f"CloudFront-Signature={spell(signer.rsa_signer(policy))}",
            "CloudFront-Key-Pair-Id=KRSA",
        ])  # fmt: skip
        for number in range(20):
            self.ask(f"http://{HOST}/folder/{number}.jpg?x={number}", cookies=cookies)
        self.ask(f"http://{HOST}/other/1.jpg", "signed-other-resource", cookies=cookies)

    def test_a_group_may_refuse_sha1(self):
        until = datetime.datetime.now() + datetime.timedelta(hours=1)
        for algorithm, reason in (("SHA1", "signed-sha1"), ("SHA256", None)):
            signer = CloudFrontSigner("KMODERN", sign(self.rsa, algorithm))
            url = signer.generate_presigned_url(f"http://{HOST}/modern.jpg", date_less_than=until)
            self.ask(f"{url}&Hash-Algorithm={algorithm}", reason)

    def test_signatures_are_not_in_the_key_nor_seen_by_the_origin(self):
        signer = CloudFrontSigner("KRSA", sign(self.rsa, "SHA1"))
        now = datetime.datetime.now()
        for minutes in range(1000):
            until = now + datetime.timedelta(minutes=minutes + 10)
            self.ask(signer.generate_presigned_url(f"http://{HOST}/one.jpg", date_less_than=until))
            self.ask(signer.generate_presigned_url(f"http://{HOST}/all/one.jpg?v=1", date_less_than=until))
        asked = [fields for fields in self.origin.asked if fields["path"].endswith("one.jpg") or "all/" in fields["path"]]
        self.assertEqual(sorted(fields["path"] for fields in asked), ["/all/one.jpg?v=1", "/one.jpg"])

    def test_what_django_storages_makes(self):
        os.environ.pop("DJANGO_SETTINGS_MODULE", None)
        from django.conf import settings

        settings.configured or settings.configure(USE_TZ=True)
        from storages.backends.s3 import S3Storage

        storage = S3Storage(
            bucket_name="media", custom_domain=HOST, cloudfront_key_id="KRSA", url_protocol="http:",
            cloudfront_key=private_pem(self.rsa).encode(), access_key="x", secret_key="y",
        )  # fmt: skip
        for name in ("photo.jpg", "2026/11/a b (1).jpg", "日本/é.jpg", "a+b&c.jpg"):
            url = storage.url(name)
            self.ask(url)
            self.ask(url.replace(".jpg", ".png"), "signed-wrong-signature")

    def test_tls_that_ends_in_front_is_named_once(self):
        """django-storages signs https://, and a load balancer passes plain HTTP on: the log and `explain` name the fix."""
        signer = CloudFrontSigner("KRSA", sign(self.rsa, "SHA1"))
        until = datetime.datetime.now() + datetime.timedelta(hours=1)
        url = signer.generate_presigned_url(f"https://{HOST}/behind.jpg", date_less_than=until)
        plain = url.replace("https:", "http:")
        # Unsigned URLs before it do not use up the hint.
        self.ask(f"http://{HOST}/behind.jpg", "signed-unsigned", code="MissingKey")

        def hints():
            # The same is tried at most once a second.
            self.ask(plain, "signed-wrong-signature")
            return self.edge.said().count("for another scheme or host")

        parts.wait_for("the hint", hints, self.edge.said)
        for _ in range(3):
            self.ask(plain, "signed-wrong-signature")
        said = self.edge.said()
        self.assertEqual(said.count("for another scheme or host"), 1)
        self.assertIn(f'signed_for="https://{HOST}" received_for="http://{HOST}"', said)
        self.assertIn('set `public_scheme = \\"https\\"`', said.replace('\\\\', '\\'))
        explained = subprocess.run(
            [parts.PROGRAM, "explain", plain, "--admin", self.edge.admin], capture_output=True, text=True, check=True
        ).stdout
        self.assertIn(f"the signature is for https://{HOST}, but the request's URL is http://{HOST}/behind.jpg", explained)
        self.assertIn('set `public_scheme = "https"` in distribution media', explained)


if __name__ == "__main__":
    unittest.main()
