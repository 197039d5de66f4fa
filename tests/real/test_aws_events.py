"""Events by AWS's own ways: a queue of SQS (moto's), messages of SNS with its signatures, and invalidations that are
created at CloudFront, too."""

import base64
import datetime
import http.server
import json
import pathlib
import shutil
import tempfile
import threading
import time
import unittest

import boto3
import trustme
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from moto.server import ThreadedMotoServer

import parts
from cluster_parts import Nats
from parts import BUCKET, fetch, free_port, wait_for

TOPIC = "arn:aws:sns:us-east-1:111122223333:changes"

CONFIG = """
[listen]
http = "127.0.0.1:{port}"
[admin]
listen = "127.0.0.1:{admin}"
[events]
topics = ["{topic}"]
{queue}
[[distribution]]
id = "media"
aliases = ["*"]
fan_out = "{elsewhere}"
[[distribution.origin]]
id = "bucket"
bucket = "my-media-bucket"
region = "us-east-1"
endpoint = "{endpoint}"
[distribution.default_behavior]
origin = "bucket"
cache_policy = "CachingOptimized"
"""

KEYS = {"aws_access_key_id": parts.ACCESS_KEY, "aws_secret_access_key": parts.SECRET_KEY, "region_name": "us-east-1"}


class Aws(http.server.BaseHTTPRequestHandler):
    """As much of SNS and CloudFront as they are asked for: a certificate, a confirmation, invalidations."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path.endswith(".pem"):
            return self.give(200, self.server.certificate)
        if self.path.startswith("/2020-05-31/"):
            return self.give(*self.server.invalidation)
        self.give(200, b"<ConfirmSubscriptionResponse/>")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, body.decode(), self.headers["Authorization"]))
        self.give(*self.server.invalidation)

    def give(self, status, content):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


class AwsEvents(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.moto = ThreadedMotoServer(port=free_port(), verbose=False)
        cls.moto.start()
        cls.addClassCleanup(cls.moto.stop)
        cls.url = f"http://127.0.0.1:{cls.moto._port}"
        cls.s3, cls.sqs, cls.sns = (
            boto3.client(name, endpoint_url=cls.url, **KEYS) for name in ("s3", "sqs", "sns")
        )
        cls.s3.create_bucket(Bucket=BUCKET)
        cls.authority = trustme.CA(key_type=trustme.KeyType.RSA)
        cls.identity = cls.authority.issue_cert("sns.amazonaws.com", key_type=trustme.KeyType.RSA)

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="forebay-aws-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.aws = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Aws)
        self.aws.asked = []
        self.aws.certificate = self.identity.cert_chain_pems[0].bytes()
        threading.Thread(target=self.aws.serve_forever, daemon=True).start()
        self.addCleanup(self.aws.server_close)
        self.addCleanup(self.aws.shutdown)
        self.aws_url = f"http://127.0.0.1:{self.aws.server_port}"

    def serve(self, queue="", elsewhere="E2ELSEWHERE", cloudfront=None):
        port, admin = free_port(), free_port()
        config = self.folder / "forebay.toml"
        config.write_text(
            CONFIG.format(port=port, admin=admin, topic=TOPIC, queue=queue, elsewhere=elsewhere, endpoint=self.url)
        )
        program = parts.Program(
            f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin}", "--config", config,
            AWS_ACCESS_KEY_ID=parts.ACCESS_KEY, AWS_SECRET_ACCESS_KEY=parts.SECRET_KEY,
            AWS_ENDPOINT_URL_SNS=self.aws_url, AWS_ENDPOINT_URL_CLOUDFRONT=cloudfront or self.aws_url,
        )  # fmt: skip
        self.addCleanup(program.stop)
        return program

    def put(self, key, content):
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=content.encode())

    def served_soon(self, edge, path, expected, seconds=1.0):
        end = time.monotonic() + seconds
        while True:
            content = fetch(edge.url + path)[2].decode()
            if content == expected or time.monotonic() > end:
                return self.assertEqual(content, expected)
            time.sleep(0.01)

    def queue(self, name):
        url = self.sqs.create_queue(QueueName=name)["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        return url.replace("localhost", "127.0.0.1"), arn

    def left(self, url):
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        return sum(map(int, self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"].values()))

    def test_a_queue_of_sqs_tells_of_changes(self):
        url, arn = self.queue("changes")
        events = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]
        self.s3.put_bucket_notification_configuration(
            Bucket=BUCKET, NotificationConfiguration={"QueueConfigurations": [{"QueueArn": arn, "Events": events}]}
        )
        queue = f'[[events.queue]]\nurl = "{url}"\nregion = "us-east-1"'
        edge = self.serve(queue)
        wait_for("the test event's end", lambda: self.left(url) == 0, edge.said)
        for key, path in {"a.jpg": "/a.jpg", "red flower+é.jpg": "/red%20flower+%C3%A9.jpg"}.items():
            self.put(key, "first")
            self.served_soon(edge, path, "first")
            wait_for("the queue's end", lambda: self.left(url) == 0, edge.said)
            fetch(edge.url + path)
            self.assertIn("Hit", fetch(edge.url + path)[1]["X-Cache"])
            self.put(key, "second")
            self.served_soon(edge, path, "second")
            self.s3.delete_object(Bucket=BUCKET, Key=key)
            end = time.monotonic() + 1
            while fetch(edge.url + path)[0] != 404 and time.monotonic() < end:
                time.sleep(0.01)
            self.assertEqual(fetch(edge.url + path)[0], 404)
        # What came through a topic is wrapped; what is not an event stays, and is logged.
        self.put("b.jpg", "first")
        wait_for("the queue's end", lambda: self.left(url) == 0, edge.said)
        record = {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": BUCKET}, "object": {"key": "b.jpg"}}}
        fetch(edge.url + "/b.jpg")
        self.assertIn("Hit", fetch(edge.url + "/b.jpg")[1]["X-Cache"])
        wrapped = {"Type": "Notification", "Message": json.dumps({"Records": [record]})}
        self.sqs.send_message(QueueUrl=url, MessageBody=json.dumps(wrapped))
        wait_for("the purge", lambda: "RefreshHit" in fetch(edge.url + "/b.jpg")[1]["X-Cache"], edge.said, seconds=5)
        self.sqs.send_message(QueueUrl=url, MessageBody="no event")
        edge.wait_to_say("is not an event and stays in the queue")
        self.assertEqual(self.left(url), 1)

    def test_one_queue_serves_a_cluster(self):
        url, arn = self.queue("cluster")
        configuration = {"QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]}
        self.s3.put_bucket_notification_configuration(Bucket=BUCKET, NotificationConfiguration=configuration)
        nats = Nats()
        self.addCleanup(nats.stop)
        queue = f'[[events.queue]]\nurl = "{url}"\nregion = "us-east-1"'
        nats_table = f"[cluster.nats]\nservers = [{nats.urls()}]"
        edges = [
            self.serve(f'{queue}\n[cluster]\nname = "media"\nnode = "{node}"\nreplicas = 1\n{nats_table}')
            for node in ("one", "two")
        ]
        self.put("d.jpg", "first")
        wait_for("the queue's end", lambda: self.left(url) == 0, edges[0].said)
        for version in ("second", "third"):
            for edge in edges:
                fetch(edge.url + "/d.jpg")
                self.assertIn("Hit", fetch(edge.url + "/d.jpg")[1]["X-Cache"])
            self.put("d.jpg", version)
            wait_for("the queue's end", lambda: self.left(url) == 0, edges[0].said)
            self.assertEqual([fetch(edge.url + "/d.jpg")[2].decode() for edge in edges], [version] * 2)

    def test_a_queue_that_is_not_there_is_told(self):
        edge = self.serve(f'[[events.queue]]\nurl = "{self.url}/123456789012/nowhere"\nregion = "us-east-1"')
        edge.wait_to_say("check the URL and the region of the queue")

    def message(self, kind="Notification", topic=TOPIC, version="2", age=0, message=None, **more):
        record = {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": BUCKET}, "object": {"key": "c.jpg"}}}
        at = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=age)
        message = {
            "Type": kind, "MessageId": "1", "TopicArn": topic, "Message": message or json.dumps({"Records": [record]}),
            "Timestamp": at.strftime("%Y-%m-%dT%H:%M:%S.123Z"), "SignatureVersion": version,
            "SigningCertURL": f"{self.aws_url}/SimpleNotificationService-0123abcd.pem",
        } | more  # fmt: skip
        names = ["Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
        text = "".join(f"{name}\n{message[name]}\n" for name in names if name in message)
        key = serialization.load_pem_private_key(self.identity.private_key_pem.bytes(), None)
        digest = hashes.SHA1() if version == "1" else hashes.SHA256()
        message["Signature"] = base64.b64encode(key.sign(text.encode(), padding.PKCS1v15(), digest)).decode()
        return message

    def tell(self, edge, message):
        headers = {"x-amz-sns-message-type": message.get("Type", ""), "Content-Type": "text/plain; charset=UTF-8"}
        status, _, body = fetch(edge.admin + "/events", "POST", headers, json.dumps(message).encode())
        return status, json.loads(body)

    def test_messages_that_sns_signed_purge(self):
        edge = self.serve()
        self.put("c.jpg", "first")
        for version, more in (("1", {}), ("2", {"Subject": "Amazon S3 Notification"})):
            fetch(edge.url + "/c.jpg")
            self.assertIn("Hit", fetch(edge.url + "/c.jpg")[1]["X-Cache"])
            self.assertEqual(self.tell(edge, self.message(version=version, **more)), (200, {"paths": 1}))
            self.assertIn("RefreshHit", fetch(edge.url + "/c.jpg")[1]["X-Cache"])
        self.assertEqual(self.aws.asked.count("/SimpleNotificationService-0123abcd.pem"), 1)

    def test_a_subscription_is_confirmed_for_a_topic_of_ours(self):
        edge = self.serve()
        more = {"Token": "a b&c", "SubscribeURL": "http://169.254.169.254/latest/meta-data"}
        message = self.message("SubscriptionConfirmation", message="You have chosen to subscribe", **more)
        self.assertEqual(self.tell(edge, message)[0], 200)
        topic = TOPIC.replace(":", "%3A").replace("-", "%2D")
        self.assertEqual(self.aws.asked[-1], f"/?Action=ConfirmSubscription&TopicArn={topic}&Token=a%20b%26c")
        edge.wait_to_say("the subscription is confirmed")

    def test_messages_that_sns_did_not_sign_are_refused(self):
        edge = self.serve()
        good = self.message()
        forged = [
            good | {"Message": good["Message"].replace("c.jpg", "d.jpg")},
            good | {"Signature": base64.b64encode(b"EXAMPLE" * 40).decode()},
            good | {"Signature": "no base64"},
            good | {"SignatureVersion": "1"},
            good | {"SignatureVersion": "3"},
            good | {"Type": "SubscriptionConfirmation"},
            good | {"SigningCertURL": "https://sns.us-east-1.amazonaws.com.evil.example/SimpleNotificationService-1.pem"},
            good | {"SigningCertURL": f"{self.aws_url}/../SimpleNotificationService-1.pem"},
            good | {"SigningCertURL": f"{self.aws_url}@evil.example/SimpleNotificationService-1.pem"},
            self.message(topic=TOPIC + "2"),
            self.message(age=2 * 3600),
            self.message(age=-2 * 3600),
        ]
        for message in forged:
            self.assertEqual(self.tell(edge, message)[0], 403, message)
        for message in ({}, {"Type": "Notification"}, good | {"Message": None}):
            self.assertEqual(self.tell(edge, message)[0], 400, message)
        self.assertEqual(self.tell(edge, self.message(message="no event"))[0], 400)
        # moto sends messages of its topics with an invalid signature.
        topic = self.sns.create_topic(Name="changes")["TopicArn"]
        self.sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=edge.admin + "/events")
        self.sns.publish(TopicArn=topic, Message=good["Message"])
        self.assertNotIn(" purged ", edge.said())
        self.assertEqual(self.tell(edge, good), (200, {"paths": 1}))

    def invalidate(self, edge, reference="1", paths=("/a.jpg", "/ü & co/*")):
        client = boto3.client(
            "cloudfront", endpoint_url=edge.admin, config=boto3.session.Config(retries={"total_max_attempts": 1}), **KEYS
        )
        batch = {"Paths": {"Quantity": len(paths), "Items": list(paths)}, "CallerReference": reference}
        return client, lambda: client.create_invalidation(DistributionId="media", InvalidationBatch=batch)["Invalidation"]

    def test_invalidations_are_created_at_cloudfront_too(self):
        cloudfront = boto3.client("cloudfront", endpoint_url=self.url, **KEYS)
        origin = {"Id": "o", "DomainName": "x.s3.amazonaws.com", "S3OriginConfig": {"OriginAccessIdentity": ""}}
        elsewhere = cloudfront.create_distribution(
            DistributionConfig={
                "CallerReference": "1", "Comment": "", "Enabled": True, "Origins": {"Quantity": 1, "Items": [origin]},
                "DefaultCacheBehavior": {"TargetOriginId": "o", "ViewerProtocolPolicy": "allow-all"},
            }
        )["Distribution"]["Id"]  # fmt: skip
        edge = self.serve(elsewhere=elsewhere, cloudfront=self.url)
        _, create = self.invalidate(edge)
        create()
        there = cloudfront.list_invalidations(DistributionId=elsewhere)["InvalidationList"]["Items"]
        self.assertEqual(len(there), 1)
        copy = cloudfront.get_invalidation(DistributionId=elsewhere, Id=there[0]["Id"])["Invalidation"]
        self.assertEqual(copy["InvalidationBatch"]["Paths"]["Items"], ["/a.jpg", "/ü & co/*"])

    def test_an_invalidation_is_complete_when_it_is_so_at_cloudfront(self):
        edge = self.serve()
        self.aws.invalidation = 201, b"<Invalidation><Id>I2THERE</Id><Status>InProgress</Status></Invalidation>"
        client, create = self.invalidate(edge)
        created = create()
        path, body, authorization = self.aws.asked[-1]
        self.assertEqual(path, "/2020-05-31/distribution/E2ELSEWHERE/invalidation")
        self.assertIn("<Path>/ü &amp; co/*</Path>", body)
        self.assertIn("/us-east-1/cloudfront/aws4_request", authorization)
        self.assertEqual(created["Status"], "InProgress")
        status = lambda: client.get_invalidation(DistributionId="media", Id=created["Id"])["Invalidation"]["Status"]
        self.assertEqual(status(), "InProgress")
        self.aws.invalidation = 200, b"<Invalidation><Id>I2THERE</Id><Status>Completed</Status></Invalidation>"
        self.assertEqual(status(), "Completed")
        self.assertEqual(self.aws.asked[-1], "/2020-05-31/distribution/E2ELSEWHERE/invalidation/I2THERE")
        # Once it is complete nobody is asked any more; nor for one that is known.
        before = len(self.aws.asked)
        self.assertEqual((status(), create()["Id"]), ("Completed", created["Id"]))
        listed = client.list_invalidations(DistributionId="media")["InvalidationList"]["Items"]
        self.assertEqual([item["Status"] for item in listed], ["Completed"])
        self.assertEqual(len(self.aws.asked), before)

    def test_what_cloudfront_refuses_is_told_and_tried_again(self):
        edge = self.serve()
        refusal = b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>not you</Message></Error></ErrorResponse>"
        self.aws.invalidation = 403, refusal
        client, create = self.invalidate(edge)
        with self.assertRaisesRegex(client.exceptions.AccessDenied, "invalidated here, but not at CloudFront's E2ELSEWHERE: not you"):
            create()
        self.aws.invalidation = 201, b"<Invalidation><Id>I2THERE</Id><Status>Completed</Status></Invalidation>"
        self.assertEqual(create()["Status"], "Completed")

    def test_copies_are_not_copied(self):
        # Somebody's environment has Forebay in the place of CloudFront.
        port = free_port()
        edge = self.serve(elsewhere="E2ELSEWHERE", cloudfront=f"http://127.0.0.1:{port}")
        client, create = self.invalidate(edge)
        with self.assertRaisesRegex(Exception, "ServiceUnavailable"):
            create()
        headers = {"x-forebay-copy": "1"}
        batch = b"<InvalidationBatch><Paths><Quantity>1</Quantity><Items><Path>/*</Path></Items></Paths><CallerReference>9</CallerReference></InvalidationBatch>"
        status, _, answer = fetch(edge.admin + "/2020-05-31/distribution/media/invalidation", "POST", headers, batch)
        self.assertEqual(status, 400)
        self.assertIn(b"AWS_ENDPOINT_URL_CLOUDFRONT points a Forebay at itself", answer)


if __name__ == "__main__":
    unittest.main()
