"""Functions of CloudFront that the importer makes rules of: Node runs them, and Forebay answers alike."""

import http.client
import json
import pathlib
import shutil
import subprocess
import tempfile
import unittest
import urllib.parse

import parts
from parts import PROGRAM, ROOT, free_port

NODE = shutil.which("node") or str(ROOT / "target/venv/bin/node")
HOSTS = ("example.com", "www.example.com")
PATHS = (
    "/", "/a", "/a.txt", "/docs/", "/docs/a", "/docs/a.b/", "/docs/a.b/c", "/old/about", "/old/team", "/old/blog/x/y", "/old/blogs",
    "/caf%C3%A9", "/caf%C3%A9/", "/a%20b", "/a//b/",
)  # fmt: skip
FIELDS = ({}, {"authorization": "Basic YW5uYTpvcGVuIHNlc2FtZQ=="}, {"authorization": "Basic YW5uYTpv"}, {"user-agent": "BadBot/1.0"})

INDEX = """
    if (request.uri.endsWith('/')) { request.uri += 'index.html'; }
    else if (!request.uri.includes('.')) { request.uri += '/index.html'; }
"""
PASSWORD = """
    const expected = 'Basic ' + Buffer.from('anna:open sesame').toString('base64');
    if (!request.headers.authorization || request.headers.authorization.value !== expected) {
        return { statusCode: 401, headers: { 'www-authenticate': { value: 'Basic realm="Preview"' } } };
    }
"""
BOTS = """
    if (request.headers['user-agent'] && request.headers['user-agent'].value.startsWith('BadBot')) { return { statusCode: 403 }; }
"""
APPLICATION = """
    if (!request.uri.includes('.')) { request.uri = '/index.html'; }
"""


def function(body):
    return f"function handler(event) {{ const request = event.request; {body} return request; }}"


def golden(name):
    return (ROOT / f"tests/golden/import/functions/{name}.js").read_text(encoding="utf-8")


FUNCTIONS = {
    "site": golden("site"),
    "old-pages": golden("old-pages"),
    "index": function(INDEX),
    "password": function(PASSWORD),
    "password-index": function(PASSWORD + INDEX),
    "bots": function(BOTS + INDEX),
    "application": function(APPLICATION),
}
RUN = """
const [code, events] = JSON.parse(require('fs').readFileSync(0));
const handler = new Function(code + '; return handler;')();
console.log(JSON.stringify(events.map(event => handler(event))));
"""


class Functions(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.origin = parts.Origin.start()
        cls.addClassCleanup(cls.origin.stop)

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="forebay-functions-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def serve(self, code):
        """Imports a distribution with a function, before the echo."""
        document = json.loads((ROOT / "tests/golden/import/website/E2EXAMPLE12345.json").read_text(encoding="utf-8"))
        config = document["DistributionConfig"]
        config["CustomErrorResponses"], config["DefaultRootObject"] = {"Quantity": 0}, ""
        behavior = config["DefaultCacheBehavior"]
        association = {"FunctionARN": "arn:aws:cloudfront::111122223333:function/it", "EventType": "viewer-request"}
        behavior["FunctionAssociations"] = {"Quantity": 1, "Items": [association]}
        behavior["ViewerProtocolPolicy"] = "allow-all"
        behavior["CachePolicyId"] = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"  # CachingDisabled
        target = behavior["TargetOriginId"]
        custom = {"HTTPPort": self.origin.server_port, "HTTPSPort": 443, "OriginProtocolPolicy": "http-only"}
        config["Origins"]["Items"] = [{"Id": target, "DomainName": "127.0.0.1", "CustomOriginConfig": custom}]
        (self.folder / "E2EXAMPLE12345.json").write_text(json.dumps(document))
        (self.folder / "it.js").write_text(code)
        port, admin = free_port(), free_port()
        file = self.folder / "forebay.toml"
        command = [PROGRAM, "import", "cloudfront", self.folder, "--tls-ends-before", "--output", file]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        text = file.read_text().replace('"[::]:8080"', f'"127.0.0.1:{port}"')
        file.write_text(f'{text}\n[admin]\nlisten = "127.0.0.1:{admin}"\n')
        url = f"http://127.0.0.1:{port}"
        edge = parts.Program(url, f"http://127.0.0.1:{admin}", "--config", file)
        self.addCleanup(edge.stop)
        return port

    def test_forebay_answers_as_the_function_does(self):
        for name, code in FUNCTIONS.items():
            port = self.serve(code)
            requests = [(host, path, fields) for host in HOSTS for path in PATHS for fields in FIELDS]
            events = [
                {"request": {"uri": path, "headers": {"host": {"value": host}} | {key: {"value": value} for key, value in fields.items()}}}
                for host, path, fields in requests
            ]  # fmt: skip
            ran = subprocess.run(
                [NODE, "-e", RUN], input=json.dumps([code, events]), capture_output=True, text=True, check=False
            )  # fmt: skip
            self.assertEqual(ran.returncode, 0, ran.stderr)
            for (host, path, fields), result in zip(requests, json.loads(ran.stdout), strict=True):
                with self.subTest(function=name, host=host, path=path, fields=fields):
                    self.check(port, (host, path, fields), result, INDEX in code or name == "site")
            self.doCleanups()
            self.setUp()

    def check(self, port, request, result, is_index):
        host, path, fields = request
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.putrequest("GET", path, skip_host=True)
        for name, value in {"host": host, **fields}.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        content = answer.read().decode()
        connection.close()
        if "statusCode" in result:
            self.assertEqual(answer.status, result["statusCode"])
            for name, field in result.get("headers", {}).items():
                self.assertIn(answer.headers[name].split(",")[0], field["value"])
        elif answer.status == 400:
            # A path that servers read in different ways.
            self.assertIn("//", path)
        else:
            self.assertEqual(answer.status, 200)
            # The difference that the report names.
            expected = {"/docs/a.b/c": "/docs/a.b/c/index.html"}.get(result["uri"], result["uri"]) if is_index else result["uri"]
            self.assertEqual(urllib.parse.unquote(content), urllib.parse.unquote(expected))


if __name__ == "__main__":
    unittest.main()
