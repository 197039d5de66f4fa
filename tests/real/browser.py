"""A browser."""

import base64
import hashlib
import json
import pathlib
import shutil
import subprocess

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from test_signed import FOLDER, NODE

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
HERE = pathlib.Path(__file__).parent


class Browser:
    """A headless Chromium that trusts one certificate and finds some hosts on this machine. It speaks HTTP/3 only with
    `quic`, a host and a port."""

    def __init__(self, certificate, hosts, quic=None):
        info = x509.load_pem_x509_certificate(certificate).public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )  # fmt: skip
        trusted = base64.b64encode(hashlib.sha256(info).digest())
        self.process = subprocess.Popen(
            [NODE, HERE / "browser.mjs", FOLDER, CHROMIUM, trusted, hosts, *([quic] if quic else [])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def visit(self, url, **more):
        """What a visitor who was never there before sees of the page."""
        print(json.dumps({"url": url, **more}), file=self.process.stdin, flush=True)
        seen = json.loads(self.process.stdout.readline() or '{"error": "the browser ended"}')
        assert "error" not in seen, seen
        return seen

    def pictures(self, url, **more):
        """For the URL of each picture: its width, the status and X-Cache it came with."""
        seen = self.visit(url, **more)
        return {picture: [width, *seen["answers"][picture]] for picture, width in seen["images"]}

    def stop(self):
        self.process.communicate(timeout=30)
