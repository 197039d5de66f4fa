"""Objects that boto3 put into SeaweedFS come back through Forebay as they are."""

import signal
import socket
import subprocess
import tempfile
import unittest
import urllib.parse

import parts
from parts import BUCKET, fetch

# What SeaweedFS itself takes: it folds `//` and refuses dot segments.
KEYS = [
    "a b.txt", "a+b.txt", "a%2Fb.txt", "%41.txt", "trail/x", "é.txt", "e\u0301.txt", "日本/ü.jpg",
    "it's(1)!*~.txt", "a?b#c.txt", "a:b@c,d;e=f&g$h.txt", "100%", '"quoted".txt', "<angle>.txt",
    "{curly}|pipe^.txt", "[square].txt", "`tick`.txt", "...dots", "a/..b/c..", ".hidden", "ends.",
    "emoji 🦀.txt", "a=b", "semi;colon", "tilde~", "UPPER/lower", "very/deep/a/b/c/d.txt", "comma,",
]  # fmt: skip


CROSS_ORIGIN = (
    """
[listen]
http = "127.0.0.1:{port}"
[admin]
listen = "127.0.0.1:{admin}"
[[cache_policy]]
name = "by-origin"
headers = ["Origin"]
"""
    + parts.DISTRIBUTION
    + """[distribution.default_behavior]
origin = "bucket"
cache_policy = "by-origin"
origin_request_policy = "CORS-S3Origin"
"""
)


SIGNED = (
    """
[listen]
http = "127.0.0.1:{port}"
[admin]
listen = "127.0.0.1:{admin}"
[[key_group]]
name = "signers"
[key_group.public_keys]
K1 = \"\"\"
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEA49EmvVPS5742rWsUnXEyZkGSzUL
JsDudZ1TbHM10XdT13wmmBL0HfxS4jTiAyZe47ONLOCwyU9kr6bBtgzOeg==
-----END PUBLIC KEY-----
\"\"\"
"""
    + parts.DISTRIBUTION
    + """[distribution.default_behavior]
origin = "bucket"
cache_policy = "CachingOptimized"
[[distribution.behavior]]
path_pattern = "/private/*"
origin = "bucket"
cache_policy = "CachingOptimized"
trusted_key_groups = ["signers"]
"""
)

# SeaweedFS merges slashes and reads backslashes as slashes.
AROUND = [
    "/private/secret.txt", "//private/secret.txt", "/%2Fprivate/secret.txt", "/private%5csecret.txt",
    "/private\\secret.txt", "/%5cprivate%5csecret.txt", "///private/secret.txt", "/./private/secret.txt",
    "/x/../private/secret.txt", "/x/..%5cprivate/secret.txt", "/x/..%2fprivate/secret.txt", "/%70rivate/secret.txt",
]  # fmt: skip


class Seaweed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.store = parts.SeaweedFS()
        cls.addClassCleanup(cls.store.stop)
        cls.edge = parts.Forebay(cls.store.url, "--path-style")

    @classmethod
    def tearDownClass(cls):
        code, lines = cls.edge.stop()
        assert code == 0, code
        assert {"Hit", "Miss"} <= {line["result"] for line in lines}, lines[:3]

    def test_no_spelling_of_a_path_gets_around_a_signature(self):
        self.put("private/secret.txt", b"secret")
        self.put("open.txt", b"open")
        port = urllib.parse.urlsplit(self.start(SIGNED).url).port

        # Byte by byte: clients resolve paths themselves.
        def status(path):
            with socket.create_connection(("127.0.0.1", port), timeout=30) as viewer:
                viewer.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
                answer = b"".join(iter(lambda: viewer.recv(4096), b""))
            self.assertNotIn(b"secret", answer.split(b"\r\n\r\n", 1)[1])
            return int(answer[9:12])

        for path in AROUND:
            self.assertIn(status(path), (400, 403), path)
        for path in ("/open.txt", "//open.txt", "/private/../open.txt"):
            self.assertEqual(status(path), 200, path)

    def start(self, config):
        port, admin = parts.free_port(), parts.free_port()
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(config.format(port=port, admin=admin, bucket=BUCKET, endpoint=self.store.url))
            file.flush()
            edge = parts.Program(
                f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin}", "--config", file.name,
                AWS_ACCESS_KEY_ID=parts.ACCESS_KEY, AWS_SECRET_ACCESS_KEY=parts.SECRET_KEY,
            )  # fmt: skip
        self.addCleanup(edge.stop)
        return edge

    def put(self, key, body, **more):
        self.store.s3.put_object(Bucket=BUCKET, Key=key, Body=body, **more)

    def get(self, path, **headers):
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return fetch(self.edge.url + path, headers=names)

    def test_the_bucket_is_private(self):
        self.assertEqual(fetch(f"{self.store.url}/{BUCKET}/ready")[0], 403)

    def test_answers_for_pages_of_other_origins(self):
        rule = {"AllowedOrigins": ["https://shop.example"], "AllowedMethods": ["GET"], "MaxAgeSeconds": 60}
        self.store.s3.put_bucket_cors(Bucket=BUCKET, CORSConfiguration={"CORSRules": [rule]})
        self.addCleanup(self.store.s3.delete_bucket_cors, Bucket=BUCKET)
        self.put("font.woff2", b"font")
        edge = self.start(CROSS_ORIGIN)
        seen = []
        for origin in (None, "https://shop.example", "https://other.example", None, "https://shop.example"):
            headers = fetch(edge.url + "/font.woff2", headers={"Origin": origin} if origin else {})[1]
            seen.append((headers["X-Cache"].split()[0], headers["Access-Control-Allow-Origin"]))
        shop = "https://shop.example"
        self.assertEqual(seen, [("Miss", None), ("Miss", shop), ("Miss", None), ("Hit", None), ("Hit", shop)])

    def test_awkward_keys(self):
        for key in KEYS:
            with self.subTest(key=key):
                body = f"content of {key}".encode()
                self.put(key, body)
                for safe in ("", "/", "/!~*'()"):
                    status, headers, got = self.get("/" + urllib.parse.quote(key, safe=safe))
                    self.assertEqual((status, got), (200, body))
                self.assertEqual(headers["X-Cache"], "Hit from forebay")

    def test_fields_pass_and_secrets_do_not(self):
        self.put("photo.png", b"png", ContentType="image/png", CacheControl="max-age=60", Metadata={"who": "alice"})
        status, headers, _ = self.get("/photo.png")
        self.assertEqual((status, headers["Content-Type"], headers["Cache-Control"]), (200, "image/png", "max-age=60"))
        self.assertFalse([name for name in headers if name.lower().startswith("x-amz")])
        self.assertEqual(self.get("/photo.png", If_None_Match=headers["ETag"])[0], 304)

    def test_large_multipart_objects_in_ranges(self):
        part = bytes(range(256)) * 20480  # 5 MiB
        upload = self.store.s3.create_multipart_upload(Bucket=BUCKET, Key="large.bin")["UploadId"]
        tags = [
            {"PartNumber": n, "ETag": self.store.s3.upload_part(
                Bucket=BUCKET, Key="large.bin", UploadId=upload, PartNumber=n, Body=part)["ETag"]}
            for n in (1, 2, 3)
        ]  # fmt: skip
        self.store.s3.complete_multipart_upload(
            Bucket=BUCKET, Key="large.bin", UploadId=upload, MultipartUpload={"Parts": tags}
        )
        whole = part * 3
        for first, last in [(0, 9), (1048570, 1048585), (5242879, 5242880), (15728630, 15728639)]:
            status, headers, body = self.get("/large.bin", Range=f"bytes={first}-{last}")
            self.assertEqual((status, body), (206, whole[first : last + 1]))
            self.assertEqual(headers["Content-Range"], f"bytes {first}-{last}/{len(whole)}")
        status, headers, body = self.get("/large.bin")
        self.assertEqual((status, body == whole, headers["ETag"][-3:]), (200, True, '-3"'))
        self.assertEqual(self.get("/large.bin", Range="bytes=15728640-")[0], 416)

    def test_an_overwritten_object_is_new_after_a_purge(self):
        self.put("logo.svg", b"old")
        self.assertEqual(self.get("/logo.svg")[2], b"old")
        self.put("logo.svg", b"new")
        self.assertEqual(self.get("/logo.svg")[2], b"old")
        purge = b'{"distribution": "default", "paths": ["/logo.svg"]}'
        status = fetch(self.edge.admin + "/purge", "POST", {"Content-Type": "application/json"}, purge)[0]
        self.assertEqual((status, self.get("/logo.svg")[2]), (200, b"new"))

    def test_missing_objects_and_the_root(self):
        status, headers, body = self.get("/no/such/object")
        self.assertEqual((status, headers["X-Cache"]), (404, "Error from forebay"))
        self.assertNotIn(b"<", body)
        self.assertEqual(self.get("/")[0], 403)
        self.assertEqual(self.get("/a/../ready")[0], 200)

    def test_a_wrong_secret(self):
        edge = parts.Forebay(self.store.url, "--path-style", secret="wrong")
        self.assertEqual(fetch(edge.url + "/ready")[0], 502)
        edge.wait_to_say("the secret access key does not match the access key id")
        self.assertEqual(edge.stop()[0], 0)

    def test_credentials_that_are_corrected_in_their_file(self):
        with tempfile.NamedTemporaryFile("w") as file:
            def write(secret):
                file.seek(0)
                file.write(f"[default]\naws_access_key_id = {parts.ACCESS_KEY}\naws_secret_access_key = {secret}\n")
                file.truncate()
                file.flush()

            write("wrong")
            port, admin = parts.free_port(), parts.free_port()
            flags = ("--bucket", BUCKET, "--region", "us-east-1", "--endpoint", self.store.url, "--path-style")
            edge = parts.Program(
                f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin}", *flags, "--listen", f"127.0.0.1:{port}",
                "--admin", f"127.0.0.1:{admin}", AWS_SHARED_CREDENTIALS_FILE=file.name,
            )  # fmt: skip
            self.addCleanup(edge.stop)
            self.assertEqual(fetch(edge.url + "/ready")[0], 502)
            explain = [parts.PROGRAM, "explain", "--admin", f"127.0.0.1:{admin}", "/ready"]
            said = subprocess.run(explain, capture_output=True, text=True, check=True).stdout
            self.assertRegex(said, r"origin +`bucket` last failed \d+ s ago: S3 answered 403 Forbidden SignatureDoesNotMatch")
            self.assertIn("the secret access key does not match", said)
            write(parts.SECRET_KEY)
            edge.process.send_signal(signal.SIGHUP)
            parts.wait_for("the object", lambda: fetch(edge.url + "/ready")[0] == 200, edge.said, seconds=30)

    def test_a_bucket_that_is_not_there(self):
        edge = parts.Forebay(self.store.url, "--path-style", bucket="no-such-bucket")
        self.assertIn(fetch(edge.url + "/ready")[0], (403, 502))
        edge.stop()
