"""What is overwritten in a bucket is served new: SeaweedFS tells of it by its webhook, S3 (as moto plays it) by records."""

import json
import pathlib
import shutil
import tempfile
import time
import unittest

import boto3
import moto

import parts
from parts import BUCKET, fetch, free_port

TOKEN = "the-token-of-the-bucket"

CONFIG = """
[listen]
http = "127.0.0.1:{port}"
[admin]
listen = "127.0.0.1:{admin}"
[[admin.token]]
name = "bucket"
secret_env = "EVENTS_TOKEN"
[[distribution]]
id = "media"
aliases = ["127.0.0.1"]
[[distribution.origin]]
id = "bucket"
bucket = "my-media-bucket"
region = "us-east-1"
endpoint = "{endpoint}"
[distribution.default_behavior]
origin = "bucket"
cache_policy = "CachingOptimized"
[[distribution]]
id = "below"
aliases = ["below.example.com"]
[[distribution.origin]]
id = "bucket"
bucket = "my-media-bucket"
region = "us-east-1"
endpoint = "{endpoint}"
origin_path = "/media"
[distribution.default_behavior]
origin = "bucket"
cache_policy = "CachingOptimized"
"""


class Events(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="forebay-events-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        port, admin = free_port(), free_port()
        cls.events = f"http://127.0.0.1:{admin}/events"
        cls.store = parts.SeaweedFS(webhook=(cls.events, TOKEN))
        cls.addClassCleanup(cls.store.stop)
        config = cls.folder / "forebay.toml"
        config.write_text(CONFIG.format(port=port, admin=admin, endpoint=cls.store.url))
        cls.edge = parts.Program(
            f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin}", "--config", config, EVENTS_TOKEN=TOKEN,
            AWS_ACCESS_KEY_ID=parts.ACCESS_KEY, AWS_SECRET_ACCESS_KEY=parts.SECRET_KEY,
        )  # fmt: skip
        cls.addClassCleanup(cls.edge.stop)

    def get(self, path, host=None):
        status, headers, body = fetch(self.edge.url + path, headers={"Host": host} if host else {})
        return status, headers["X-Cache"].split()[0], body.decode()

    def put(self, key, content):
        self.store.s3.put_object(Bucket=BUCKET, Key=key, Body=content.encode())

    def soon(self, path, expected):
        """A second after the bucket changed, at most, the path is answered with this content, or this status."""
        end = time.monotonic() + 1
        while True:
            status, _, content = self.get(path)
            seen = content if status == 200 else status
            if seen == expected or time.monotonic() > end:
                return self.assertEqual(seen, expected)
            time.sleep(0.01)

    def purges(self):
        metrics = fetch(self.edge.admin + "/metrics")[2].decode()
        return sum(float(line.split()[-1]) for line in metrics.splitlines() if line.startswith("forebay_purges_total"))

    def tell(self, content, token=TOKEN, content_type="application/json"):
        headers = {"Authorization": f"Bearer {token}", "Content-Type": content_type}
        status, _, answer = fetch(self.events, "POST", headers, content.encode())
        return status, json.loads(answer)

    def test_what_seaweedfs_overwrites_and_deletes(self):
        for key, path in {"a.jpg": "/a.jpg", "red flower+é.jpg": "/red%20flower+%C3%A9.jpg"}.items():
            before = self.purges()
            self.put(key, "first")
            # SeaweedFS tells of it a little later, and that purges, too.
            parts.wait_for("what SeaweedFS tells", lambda seen=before: self.purges() > seen, self.edge.said)
            self.assertEqual(self.get(path)[::2], (200, "first"))
            self.assertEqual(self.get(path), (200, "Hit", "first"))
            self.put(key, "second")
            self.soon(path, "second")
            self.store.s3.delete_object(Bucket=BUCKET, Key=key)
            self.soon(path, 404)

    def record_of_s3(self, key, act):
        """The message that S3 sends when `act` is done with a bucket of ours."""
        with moto.mock_aws():
            credentials = {"region_name": "us-east-1", "aws_access_key_id": "a", "aws_secret_access_key": "b"}
            s3, sqs = boto3.client("s3", **credentials), boto3.client("sqs", **credentials)
            queue = sqs.create_queue(QueueName="changes")["QueueUrl"]
            arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
            s3.create_bucket(Bucket=BUCKET)
            events = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]
            s3.put_bucket_notification_configuration(
                Bucket=BUCKET, NotificationConfiguration={"QueueConfigurations": [{"QueueArn": arn, "Events": events}]}
            )
            act(s3)
            messages = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
            return [message["Body"] for message in messages]

    def test_records_of_s3_purge_in_each_distribution(self):
        before = self.purges()
        self.put("media/b c.jpg", "first")
        # Once in each distribution, for SeaweedFS tells of it too.
        parts.wait_for("what SeaweedFS tells", lambda: self.purges() >= before + 2, self.edge.said)
        time.sleep(0.2)
        hosts = {"/media/b%20c.jpg": None, "/b%20c.jpg": "below.example.com"}
        for path, host in hosts.items():
            self.get(path, host)
            self.assertEqual(self.get(path, host), (200, "Hit", "first"))
        messages = self.record_of_s3(
            "media/b c.jpg", lambda s3: s3.put_object(Bucket=BUCKET, Key="media/b c.jpg", Body=b"second")
        )
        records = [message for message in messages if "Records" in message]
        self.assertEqual(len(records), 1)
        for message in messages:
            self.assertEqual(self.tell(message)[0], 200, message)
        for path, host in hosts.items():
            # It is the same as before: validated, not fetched.
            self.assertEqual(self.get(path, host), (200, "RefreshHit", "first"))
            self.assertEqual(self.get(path, host), (200, "Hit", "first"))

    def test_what_is_no_event_is_refused(self):
        event = '{"Records": []}'
        self.assertEqual(self.tell(event), (200, {"paths": 0}))
        self.assertEqual(self.tell('{"Service": "Amazon S3", "Event": "s3:TestEvent"}'), (200, {"paths": 0}))
        self.assertEqual(self.tell(event, token="guessed")[0], 403)
        self.assertEqual(self.tell(event, content_type="text/plain")[0], 415)
        self.assertEqual(self.tell(event[:9])[0], 400)
        self.assertEqual(self.tell(" " * 2_000_000 + event)[0], 413)
        status, headers, _ = fetch(self.events)
        self.assertEqual((status, headers["Allow"]), (405, "POST"))


if __name__ == "__main__":
    unittest.main()
