"""The access log in CloudFront's formats, read by GoAccess, aws-log-parser and DuckDB."""

import gzip
import json
import pathlib
import shutil
import signal
import subprocess
import tempfile
import unittest

import duckdb
import trustme
from aws_log_parser import AwsLogParser, LogType

import parts
from parts import fetch, free_port

CONFIG = """
[listen]
http = "127.0.0.1:{port}"
https = "127.0.0.1:{secure}"
tls = {{ certificate = "cert.pem", key = "key.pem" }}
[admin]
listen = "127.0.0.1:{admin}"
[access_log]
format = "{format}"
path = "log"
max_file_size = "{size}"
{more}
[[distribution]]
id = "media"
aliases = ["127.0.0.1", "media.example.com"]
[[distribution.origin]]
id = "origin"
url = "http://127.0.0.1:{origin}"
[distribution.default_behavior]
origin = "origin"
cache_policy = "CachingOptimized"
"""


class Log(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="forebay-log-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.origin = parts.Origin.start()
        self.addCleanup(self.origin.stop)
        certificate = trustme.CA().issue_cert("media.example.com")
        certificate.cert_chain_pems[0].write_to_path(self.folder / "cert.pem")
        certificate.private_key_pem.write_to_path(self.folder / "key.pem")

    def serve(self, size="64MiB", format="cloudfront-v1", more="", **environment):
        port, self.secure, admin = free_port(), free_port(), free_port()
        config = self.folder / "forebay.toml"
        config.write_text(
            CONFIG.format(port=port, secure=self.secure, admin=admin, origin=self.origin.port, size=size, format=format, more=more)
        )
        self.url = f"http://127.0.0.1:{port}"
        program = parts.Program(self.url, f"http://127.0.0.1:{admin}", "--config", config, **environment)
        self.addCleanup(program.stop)
        return program

    def curl(self, path, *flags):
        host = "media.example.com"
        curl = ["curl", "-sSk", "--http2", "--resolve", f"{host}:{self.secure}:127.0.0.1", *flags]
        run = subprocess.run([*curl, f"https://{host}:{self.secure}{path}"], capture_output=True, check=True)
        return run.stdout

    def files(self):
        return sorted((self.folder / "log").iterdir())

    def lines(self):
        """Every line as a mapping by the names that the file itself gives; GoAccess must read the same."""
        lines = []
        for file in self.files():
            version, fields, *rest = gzip.decompress(file.read_bytes()).decode("ascii").splitlines()
            self.assertEqual(version, "#Version: 1.0")
            names = fields.removeprefix("#Fields: ").split(" ")
            lines += [dict(zip(names, line.split("\t"), strict=True)) for line in rest]
        text, report = self.folder / "lines", self.folder / "report.json"
        text.write_bytes(b"".join(gzip.decompress(file.read_bytes()) for file in self.files()))
        goaccess = ["goaccess", text, "--log-format=CLOUDFRONT", "--no-global-config", "-o", report]
        subprocess.run(goaccess, stdin=subprocess.DEVNULL, capture_output=True, check=True)
        self.report = json.loads(report.read_text())
        general = self.report["general"]
        self.assertEqual((general["valid_requests"], general["failed_requests"]), (len(lines), 0))
        parsed = list(AwsLogParser(log_type=LogType.CloudFront).read_url(f"file://{text}"))
        self.assertEqual([entry.edge_request_id for entry in parsed], [line["x-edge-request-id"] for line in lines])
        return lines

    def test_goaccess_reads_every_line(self):
        program = self.serve()
        agent = 'quoted "agent"\twith é'.encode()
        ask = lambda name, path, headers={}, **more: fetch(self.url + path, headers={"User-Agent": name} | headers, **more)
        for name in ["miss", "hit"]:
            ask(name, "/a%20b.jpg?Signature=secret", {"Referer": "https://example.com/?a=b c"})
        self.curl("/a%20b.jpg", "-H", b"User-Agent: " + agent, "-r", "1-4")
        ask("head", "/a%20b.jpg", method="HEAD")
        ask("refused", "/a", method="DELETE")
        ask("unknown", "/a", {"Host": "unknown.example.com", "X-Forwarded-For": "192.0.2.1, 192.0.2.2"})
        program.stop()
        self.assertEqual([file.name.split(".")[::3] for file in self.files()], [["media", "gz"], ["none", "gz"]])
        lines = {line["cs(User-Agent)"]: line for line in self.lines()}
        encoded = "quoted%20%22agent%22%09with%20%C3%A9"
        miss, hit, ranged, head, refused, unknown = (
            lines[name] for name in ["miss", "hit", encoded, "head", "refused", "unknown"]
        )

        self.assertEqual((miss["x-edge-result-type"], hit["x-edge-result-type"]), ("Miss", "Hit"))
        self.assertEqual((hit["cs-uri-stem"], hit["cs-uri-query"]), ("/a%2520b.jpg", "Signature=REDACTED"))
        self.assertEqual((hit["cs-protocol"], hit["cs-protocol-version"], hit["ssl-protocol"]), ("http", "HTTP/1.1", "-"))
        self.assertEqual(hit["cs(Referer)"], "https://example.com/?a=b%20c")
        self.assertNotEqual(miss["x-edge-request-id"], hit["x-edge-request-id"])

        self.assertEqual((ranged["sc-status"], ranged["sc-range-start"], ranged["sc-range-end"]), ("206", "1", "4"))
        self.assertEqual((ranged["cs-protocol-version"], ranged["ssl-protocol"]), ("HTTP/2.0", "TLSv1.3"))
        self.assertTrue(ranged["ssl-cipher"].startswith("TLS_"), ranged["ssl-cipher"])
        self.assertEqual((head["cs-method"], head["sc-status"]), ("HEAD", "200"))
        self.assertEqual((refused["sc-status"], refused["x-edge-detailed-result-type"]), ("405", "InvalidRequestMethod"))
        self.assertEqual((unknown["x-host-header"], unknown["x-forwarded-for"]), ("unknown.example.com", "192.0.2.1,%20192.0.2.2"))

    def test_full_files_are_finished(self):
        program = self.serve(size="1KiB")
        for number in range(20):
            fetch(f"{self.url}/{number}")
        parts.wait_for("a full file", lambda: any(file.suffix == ".gz" for file in self.files()), program.said)
        program.stop()
        self.assertGreater(len(self.files()), 3)
        stems = sorted(int(line["cs-uri-stem"][1:]) for line in self.lines())
        self.assertEqual(stems, list(range(20)))

    def test_version_2_in_partitions(self):
        """DuckDB finds the files by their partitions, and has the same values as the fields of version 1."""
        program = self.serve(format="cloudfront-v2", more="hive_directories = true")
        for name in ("miss", "hit"):
            fetch(self.url + "/a.jpg?Signature=secret", headers={"User-Agent": f'{name} "é"'})
        fetch(self.url + "/b.jpg", method="DELETE")
        program.stop()
        (file,) = (self.folder / "log").glob("DistributionId=media/year=*/month=*/day=*/hour=*/*.gz")
        self.assertRegex(file.name, r"^media\.\d{4}-\d\d-\d\d-\d\d\.[0-9a-f]{8}\.gz$")
        query = f"""
            SELECT "cs(User-Agent)", "x-edge-result-type", "sc-status", "cs-uri-query", "DistributionId", "date" = concat_ws('-', year, month, day)
            FROM read_json('{self.folder}/log/**/*.gz', format = 'newline_delimited', hive_partitioning = true, hive_types_autocast = false)
            ORDER BY "time", "x-edge-result-type" DESC
        """
        rows = duckdb.sql(query).fetchall()
        self.assertEqual(len(rows), 3)
        self.assertEqual({row[4] for row in rows}, {"media"})
        self.assertEqual({row[5] for row in rows}, {True})
        by_result = {row[1]: row for row in rows}
        self.assertEqual(set(by_result), {"Miss", "Hit", "Error"})
        self.assertEqual(by_result["Hit"][:4], ("hit%20%22%E9%22", "Hit", "200", "Signature=REDACTED"))
        self.assertEqual(by_result["Error"][2:4], ("405", "-"))

    def test_parquet(self):
        """DuckDB reads it. A reload finishes the files, and the next process finishes those of a killed one."""
        options = dict(format="cloudfront-v2-parquet", more="hive_directories = true")
        log = self.folder / "log"
        finished = lambda: list(log.rglob("*.parquet"))  # noqa: E731
        program = self.serve(size="1KiB", **options)
        for number in range(20):
            fetch(f"{self.url}/{number}.jpg?Signature=secret", headers={"User-Agent": 'an "é"'})
        parts.wait_for("a finished file", finished, program.said)
        program.stop()
        self.assertGreater(len(finished()), 3)
        program = self.serve(size="1MiB", **options)
        count = len(finished())
        fetch(f"{self.url}/20.jpg?Signature=secret", headers={"User-Agent": 'an "é"'})
        parts.wait_for("the file", lambda: list(log.rglob("*.part")), program.said)
        program.process.send_signal(signal.SIGHUP)
        parts.wait_for("the file after the reload", lambda: len(finished()) > count, program.said)
        fetch(f"{self.url}/21.jpg?Signature=secret", headers={"User-Agent": 'an "é"'})
        parts.wait_for("the next file", lambda: list(log.rglob("*.part")), program.said)
        # What waits in memory is written every five seconds.
        parts.wait_for("its lines", lambda: all(file.stat().st_size > 100 for file in log.rglob("*.part")), program.said)
        program.process.kill()
        program.process.wait()
        (left,) = log.rglob("*.part")
        # Its hour is over.
        left.rename(left.with_name("media.2026-01-01-00.0a1b2c3d.parquet.part"))
        program = self.serve(size="1MiB", **options)
        parts.wait_for("the file of the killed process", lambda: not list(log.rglob("*.part")), program.said)
        program.stop()
        query = f"""
            SELECT cs_uri_stem, cs_user_agent, cs_uri_query, sc_status, x_edge_result_type, "DistributionId", "date" = concat_ws('-', year, month, day)
            FROM read_parquet('{log}/**/*.parquet', hive_partitioning = true, hive_types_autocast = false)
        """
        expected = ("an%20%22%E9%22", "Signature=REDACTED", "200", "Miss", "media", True)
        self.assertEqual(sorted(duckdb.sql(query).fetchall()), sorted((f"/{number}.jpg", *expected) for number in range(22)))
        self.assertEqual([file for file in log.rglob("*") if file.is_file() and file.suffix != ".parquet"], [])

    def test_finished_files_are_delivered(self):
        """To a bucket that verifies signatures. What could not be delivered is delivered by the next process."""
        store = parts.SeaweedFS()
        self.addCleanup(store.stop)
        more = (
            f'hive_directories = true\n[access_log.s3]\nbucket = "logs"\nregion = "us-east-1"\nendpoint = "{store.url}"\n'
            'path_style = true\nprefix = "cdn/"'
        )

        def serve(secret):
            keys = {"AWS_ACCESS_KEY_ID": parts.ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": secret}
            return self.serve(size="1KiB", format="cloudfront-v2", more=more, **keys)

        waiting = lambda: list((self.folder / "log").rglob("media.*.gz"))  # noqa: E731
        # Those of another program are left alone.
        (self.folder / "log").mkdir()
        (self.folder / "log/access.log.2.gz").write_bytes(b"")
        program = serve("a wrong secret")
        for number in range(20):
            fetch(f"{self.url}/{number}")
        program.wait_to_say("access logs cannot be delivered", seconds=40)
        self.assertIn("SignatureDoesNotMatch", program.said())
        program.stop()
        self.assertGreater(len(waiting()), 3)
        program = serve(parts.SECRET_KEY)
        for number in range(20, 40):
            fetch(f"{self.url}/{number}")
        parts.wait_for("the delivery", lambda: not waiting(), program.said, seconds=40)
        # What is open at the end is finished and delivered.
        program.stop()
        self.assertEqual(waiting(), [])
        self.assertTrue((self.folder / "log/access.log.2.gz").exists())
        lines = []
        for found in store.s3.list_objects_v2(Bucket="logs")["Contents"]:
            key = found["Key"]
            self.assertRegex(key, r"^cdn/DistributionId=media/year=\d{4}/month=\d\d/day=\d\d/hour=\d\d/media\.[\d-]{13}\.[0-9a-f]{8}\.gz$")
            content = store.s3.get_object(Bucket="logs", Key=key)["Body"].read()
            lines += [json.loads(line) for line in gzip.decompress(content).splitlines()]
        self.assertEqual(sorted(int(line["cs-uri-stem"][1:]) for line in lines), list(range(40)))


if __name__ == "__main__":
    unittest.main()
