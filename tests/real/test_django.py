"""A Django site keeps its files in the private bucket with django-storages; Chromium gets them from Forebay."""

import datetime
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import trustme
from botocore.signers import CloudFrontSigner
from cryptography.hazmat.primitives.asymmetric import rsa
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from PIL import Image

import parts
from browser import Browser
from parts import BUCKET, fetch, free_port, wait_for
from test_signed import pem, private_pem, sign

HERE = pathlib.Path(__file__).parent
HIT, REFUSED = [200, "Hit from forebay"], [403, "Error from forebay"]

CONFIG = """
[listen]
https = "127.0.0.1:{port}"
tls = {{ certificate = "cert.pem", key = "key.pem" }}
[admin]
listen = "127.0.0.1:{admin}"
[[key_group]]
name = "shop"
[key_group.public_keys]
KSHOP = \"\"\"{key}\"\"\"

[[distribution]]
id = "open"
aliases = ["open.shop.example"]
[[distribution.origin]]
{bucket}
[distribution.default_behavior]
origin = "bucket"
cache_policy = "CachingOptimized"

[[distribution]]
id = "media"
aliases = ["media.shop.example"]
[[distribution.origin]]
{bucket}
[distribution.default_behavior]
origin = "bucket"
cache_policy = "CachingOptimized"
trusted_key_groups = ["shop"]
[[distribution.behavior]]
path_pattern = "/static/fonts/unshared.*"
origin = "bucket"
cache_policy = "CachingOptimized"
[[distribution.behavior]]
path_pattern = "/static/*"
origin = "bucket"
cache_policy = "CachingOptimized"
response_headers_policy = "SimpleCORS"
"""

BUCKET_ORIGIN = """id = "bucket"
bucket = "{bucket}"
region = "us-east-1"
endpoint = "{endpoint}"
path_style = true"""

SITE = """
[[distribution]]
id = "{name}"
aliases = ["{name}.shop.example"]
[[distribution.origin]]
id = "django"
url = "http://127.0.0.1:{port}"
signing = "never"
[distribution.default_behavior]
origin = "django"
cache_policy = "CachingDisabled"
origin_request_policy = "AllViewer"
allowed_methods = "all"
"""


def make_font(path):
    """A font in which an A is three times as wide as it is high."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 900), (2900, 900), (2900, 0)):
        pen.lineTo(corner)
    pen.closePath()
    font = FontBuilder(1000)
    font.setupGlyphOrder([".notdef", "A"])
    font.setupCharacterMap({ord("A"): "A"})
    font.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "A": pen.glyph()})
    font.setupHorizontalMetrics({".notdef": (500, 0), "A": (3000, 0)})
    font.setupHorizontalHeader(ascent=900, descent=-100)
    font.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.font.flavor = "woff2"
    font.save(path)


def hence(**duration):
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(**duration)


class Site:
    """The Django project; `shop` is what its settings are made of."""

    def __init__(self, port, shop):
        self.url, self.local = shop["url"], f"http://127.0.0.1:{port}/"
        self.environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "django_site.settings", "SHOP": json.dumps(shop), "PYTHONPATH": str(HERE),
            "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip
        self.log = open(pathlib.Path(shop["folder"], "log"), "a+", encoding="utf-8")
        self.manage("migrate", "--run-syncdb")
        self.manage("collectstatic", "--no-input")
        self.process = self.start("runserver", "--noreload", "--nostatic", f"127.0.0.1:{port}")

    def start(self, *arguments):
        command = [sys.executable, "-m", "django", *arguments]
        return subprocess.Popen(command, env=self.environment, stdout=self.log, stderr=self.log)

    def manage(self, *arguments):
        code = self.start(*arguments).wait()
        assert code == 0, self.said()

    def ready(self):
        assert self.process.poll() is None, f"Django ended: {self.said()}"
        try:
            return fetch(self.local)[0] == 200
        except OSError:
            return False

    def said(self):
        self.log.seek(0)
        return self.log.read()

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()


class Django(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="forebay-shop-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.store = parts.SeaweedFS()
        cls.addClassCleanup(cls.store.stop)
        cls.fonts = cls.folder / "fonts"
        cls.fonts.mkdir()
        for name in ("wide", "unshared"):
            make_font(cls.fonts / f"{name}.woff2")
        cls.key, cls.refused = rsa.generate_private_key(65537, 2048), set()
        certificate = trustme.CA().issue_cert("*.shop.example")
        certificate.private_key_pem.write_to_path(cls.folder / "key.pem")
        certificate.cert_chain_pems[0].write_to_path(cls.folder / "cert.pem")
        cls.port, admin = free_port(), free_port()
        cls.sites = {name: free_port() for name in ("plain", "signing", "styled", "foldered")}
        bucket = BUCKET_ORIGIN.format(bucket=BUCKET, endpoint=cls.store.url)
        config = cls.folder / "forebay.toml"
        config.write_text(
            CONFIG.format(port=cls.port, admin=admin, key=pem(cls.key), bucket=bucket)
            + "".join(SITE.format(name=name, port=port) for name, port in cls.sites.items())
        )
        cls.open, cls.media = f"open.shop.example:{cls.port}", f"media.shop.example:{cls.port}"
        cls.edge = parts.Program(
            f"https://{cls.media}", f"http://127.0.0.1:{admin}", "--config", config,
            AWS_ACCESS_KEY_ID=parts.ACCESS_KEY, AWS_SECRET_ACCESS_KEY=parts.SECRET_KEY,
        )  # fmt: skip
        cls.addClassCleanup(cls.edge.stop)
        cls.browser = Browser(certificate.cert_chain_pems[0].bytes(), "*.shop.example")
        cls.addClassCleanup(cls.browser.stop)

    @classmethod
    def tearDownClass(cls):
        """The log has the reason of each refusal. (Of its own accord, Chromium asks for an icon.)"""
        code, lines = cls.edge.stop()
        assert code == 0, code
        assert {(line["scheme"], line["protocol"]) for line in lines} == {("https", "HTTP/2")}
        refused = {(line["path"], line.get("detail")) for line in lines if line["status"] == 403}
        refused = {pair for pair in refused if pair[0] != "/favicon.ico"}
        assert refused == cls.refused, refused ^ cls.refused

    def site(self, name, files, **media):
        """A site whose files are at the host `files`; `media` are more options of its storage of pictures."""
        bucket = {
            "bucket_name": BUCKET, "custom_domain": files, "endpoint_url": self.store.url, "region_name": "us-east-1",
            "addressing_style": "path", "access_key": parts.ACCESS_KEY, "secret_key": parts.SECRET_KEY,
        }  # fmt: skip
        url, folder = f"https://{name}.shop.example:{self.port}", tempfile.mkdtemp(dir=self.folder)
        shop = {"url": url, "folder": folder, "fonts": str(self.fonts), "bucket": bucket, "media": media}
        site = Site(self.sites[name], shop)
        self.addCleanup(site.stop)
        wait_for("Django", site.ready, site.said)
        return site

    def signing_site(self, name):
        return self.site(name, self.media, cloudfront_key_id="KSHOP", cloudfront_key=private_pem(self.key))

    def picture(self, name, size=(64, 48)):
        """A file that compresses badly."""
        path = self.folder / name
        Image.effect_noise(size, 100).save(path)
        return str(path)

    def expect_refusal(self, url, reason):
        """What the page gets of a refused picture; the log is to have the reason."""
        self.refused.add((url.split("?")[0].removeprefix(f"https://{self.media}"), reason))
        return [0, *REFUSED]

    def signer(self):
        return CloudFrontSigner("KSHOP", sign(self.key, "SHA1"))

    def cookies(self, resource, until):
        signer = self.signer()
        policy = signer.build_policy(resource, until).encode()
        spell = lambda data: signer._url_b64encode(data).decode()
        values = {"Policy": spell(policy), "Signature": spell(signer.rsa_signer(policy)), "Key-Pair-Id": "KSHOP"}
        common = {"domain": ".shop.example", "path": "/", "secure": True, "httpOnly": True, "sameSite": "Lax"}
        return [{"name": f"CloudFront-{name}", "value": value, **common} for name, value in values.items()]

    def test_a_picture_of_a_private_bucket_is_shown(self):
        """It is of several slices; what has the same name is kept beside it."""
        site = self.site("plain", self.open)
        path = self.picture("Été à la mer (1).png", (1600, 1200))
        self.assertGreater(os.path.getsize(path), 1 << 20)
        first, second = self.browser.pictures(site.url, upload=[path, path])
        self.assertEqual(first, f"https://{self.open}/photos/%C3%89t%C3%A9_%C3%A0_la_mer_1.png")
        self.assertTrue(second.startswith(first.replace(".png", "_")), second)
        self.assertEqual(self.browser.pictures(site.url), {first: [1600, *HIT], second: [1600, *HIT]})
        for url in (first, second):
            self.assertEqual(fetch(url.replace(f"https://{self.open}", f"{self.store.url}/{BUCKET}"))[0], 403)

    def test_a_signed_picture_is_shown_to_the_bearer_of_its_url(self):
        site = self.signing_site("signing")
        self.browser.visit(site.url, upload=[self.picture("one.png"), self.picture("two.png")])
        shown = self.browser.pictures(site.url)
        self.assertEqual(list(shown.values()), [[64, *HIT], [64, *HIT]])
        (one, terms), (two, _) = (url.split("?") for url in shown)
        until = int(terms.split("Expires=")[1].split("&")[0])
        good = self.signer().generate_presigned_url(one, date_less_than=hence(hours=1))
        wrong = {
            one: "signed-unsigned",
            f"{two}?{terms}": "signed-wrong-signature",
            f"{one}?{terms}".replace(f"={until}", f"={until + 1}"): "signed-wrong-signature",
            self.signer().generate_presigned_url(one, date_less_than=hence(hours=-1)): "signed-expired",
        }
        shown = self.browser.pictures(site.url, extra=[good, *wrong])
        self.assertEqual(shown[good], [64, *HIT])
        for url, reason in wrong.items():
            with self.subTest(url=url, reason=reason):
                self.assertEqual(shown[url], self.expect_refusal(url, reason))

    def test_static_files_are_public_beside_private_pictures(self):
        """To the fonts, the page is of another origin: the one that is served without CORS is not taken."""
        site = self.signing_site("styled")
        self.browser.visit(site.url, upload=[self.picture("three.png")])
        (signed,) = self.browser.pictures(site.url)
        unsigned = signed.split("?")[0]
        seen = self.browser.visit(site.url, extra=[unsigned], fonts=["20px Wide", "20px Unshared"])
        self.assertEqual([width for _, width in seen["images"]], [64, 0])
        self.assertEqual(seen["answers"][unsigned], self.expect_refusal(unsigned, "signed-unsigned")[1:])
        self.assertEqual(seen["fonts"], {"20px Wide": True, "20px Unshared": False})
        self.assertEqual((seen["color"], seen["width"]), ("rgb(1, 2, 3)", 3 * 3 * 20))
        for path in ("css/site.css", "fonts/wide.woff2"):
            self.assertEqual(seen["answers"][f"https://{self.media}/static/{path}"], HIT)

    def test_cookies_open_a_folder(self):
        site = self.site("foldered", self.media, location="private")
        self.browser.visit(site.url, upload=[self.picture(f"{number}.png") for number in range(4)])
        urls = [f"https://{self.media}/private/photos/{number}.png" for number in range(4)]
        other = f"https://{self.media}/other/0.png"
        folder = f"https://{self.media}/private/*"
        self.assertEqual(
            self.browser.pictures(site.url), {url: self.expect_refusal(url, "signed-unsigned") for url in urls}
        )
        shown = self.browser.pictures(site.url, cookies=self.cookies(folder, hence(hours=1)), extra=[other])
        self.assertEqual(shown.pop(other), self.expect_refusal(other, "signed-other-resource"))
        self.assertEqual({url: answer[:2] for url, answer in shown.items()}, {url: [64, 200] for url in urls})
        self.assertEqual(
            self.browser.pictures(site.url, cookies=self.cookies(folder, hence(hours=-1))),
            {url: self.expect_refusal(url, "signed-expired") for url in urls},
        )


if __name__ == "__main__":
    unittest.main()
