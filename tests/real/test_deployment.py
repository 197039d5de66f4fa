"""The files for Kubernetes and AWS: schemas accept them, they fit together, and they grant what Forebay needs and no more."""

import pathlib
import shutil
import subprocess
import sys
import tempfile
import tomllib
import unittest

import boto3
import hcl2
import yaml
from cfnlint.api import lint_all
from moto import mock_aws

import parts

KUBERNETES = parts.ROOT / "config/kubernetes"
AWS = parts.ROOT / "config/aws"


def documents(name):
    return list(yaml.safe_load_all((KUBERNETES / name).read_text()))


class Kubernetes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.kustomization = documents("kustomization.yaml")[0]
        cls.nats = documents("nats/kustomization.yaml")[0]
        cls.files = [*cls.kustomization["resources"], *(f"nats/{name}" for name in cls.nats["resources"])]
        cls.all = {(d["kind"], d["metadata"]["name"]): d for name in cls.files for d in documents(name)}
        cls.set = cls.all["StatefulSet", "forebay"]["spec"]
        cls.pod = cls.set["template"]["spec"]
        (cls.container,) = cls.pod["containers"]

    def test_the_schemas_of_kubernetes_accept_them(self):
        validate = shutil.which("kubernetes-validate", path=str(parts.ROOT / "target/venv/bin"))
        command = [validate, "--strict", *(KUBERNETES / name for name in self.files)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        # Each file is part of it.
        found = {str(path.relative_to(KUBERNETES)) for path in KUBERNETES.rglob("*.yaml")}
        found = {path for path in found if not path.endswith("kustomization.yaml") and not path.startswith("monitoring/")}
        self.assertEqual(found, set(self.files))

    @unittest.skipUnless(shutil.which("kubectl"), "kubectl is not in Debian")
    def test_kustomize_builds_them(self):
        built = subprocess.run(["kubectl", "kustomize", KUBERNETES], capture_output=True, text=True, check=True).stdout
        objects = {(d["kind"], d["metadata"]["name"]): d for d in yaml.safe_load_all(built)}
        (configuration,) = [name for kind, name in objects if kind == "ConfigMap" and name.startswith("forebay-")]
        volumes = objects["StatefulSet", "forebay"]["spec"]["template"]["spec"]["volumes"]
        # Its name changes with its content, so that a change replaces the pods.
        self.assertIn({"name": "configuration", "configMap": {"name": configuration}}, volumes)
        self.assertEqual(len(objects), len(self.all) + 2)

    def test_each_selects_its_pods(self):
        for app in ("forebay", "nats"):
            label = {"app.kubernetes.io/name": app}
            spec = self.all["StatefulSet", app]["spec"]
            self.assertEqual((spec["template"]["metadata"]["labels"], spec["selector"]["matchLabels"]), (label, label))
            self.assertEqual(self.all["PodDisruptionBudget", app]["spec"]["selector"]["matchLabels"], label)
            self.assertEqual(self.all["NetworkPolicy", app]["spec"]["podSelector"]["matchLabels"], label)
            self.assertEqual(self.all["Service", spec["serviceName"]]["spec"]["selector"], label)
            # The names of the pods.
            self.assertEqual(self.all["Service", spec["serviceName"]]["spec"]["clusterIP"], "None")
        for name in ("forebay", "forebay-admin"):
            self.assertEqual(self.all["Service", name]["spec"]["selector"], {"app.kubernetes.io/name": "forebay"})
        self.assertEqual(self.pod["serviceAccountName"], self.all["ServiceAccount", "forebay"]["metadata"]["name"])

    def test_viewers_cannot_reach_the_admin_address(self):
        ports = [port["name"] for port in self.all["Service", "forebay"]["spec"]["ports"]]
        self.assertEqual(ports, ["http"])

    def test_the_configuration_fits_the_pods(self):
        """The files are where the volumes have them, and the ports are those that are open."""
        folder = pathlib.Path(tempfile.mkdtemp(prefix="forebay-kubernetes-"))
        self.addCleanup(shutil.rmtree, folder)
        nodes = [f"forebay-{number}" for number in range(self.set["replicas"])]
        made = [parts.PROGRAM, "cluster", "init", *nodes, "--dir", folder / "peers"]
        subprocess.run(made, check=True, capture_output=True)
        for name in ("admin/admin-token", "nats/password"):
            (folder / name).parent.mkdir()
            (folder / name).write_text("0123456789abcdef")
        text = (KUBERNETES / "forebay.toml").read_text()
        settings = tomllib.loads(text)
        mounts = {mount["name"]: mount["mountPath"] for mount in self.container["volumeMounts"]}
        self.assertEqual(set(mounts), {"configuration", "cache", "admin", "peers", "nats"})
        self.assertEqual(settings["cache"]["disk"]["path"], mounts["cache"])
        for name in ("admin", "peers", "nats"):
            self.assertIn(mounts[name], text)
            text = text.replace(mounts[name], str(folder / name))
        text = text.replace(mounts["cache"], str(folder / "cache"))
        for node in nodes:
            (folder / "forebay.toml").write_text(text.replace("[cluster]\n", f'[cluster]\nnode = "{node}"\n'))
            command = [parts.PROGRAM, "check", "--config", folder / "forebay.toml"]
            run = subprocess.run(command, capture_output=True, text=True, check=False)
            self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        ports = {port["name"]: f"0.0.0.0:{port['containerPort']}" for port in self.container["ports"]}
        listening = {"http": settings["listen"]["http"], "admin": settings["admin"]["listen"], "peers": settings["cluster"]["peer_listen"]}
        self.assertEqual(ports, listening)
        self.assertEqual(self.container["args"], ["serve", "--config", f"{mounts['configuration']}/forebay.toml"])
        drain = 30
        delay = int(settings["listen"]["drain_delay"].removesuffix("s"))
        self.assertGreater(self.pod["terminationGracePeriodSeconds"], delay + drain)

    def test_nats_accepts_its_configuration(self):
        """With the permissions that a cluster of this name needs."""
        server = pathlib.Path(sys.executable).parent / "nats-server"
        environment = {"SERVER_NAME": "nats-0", "NATS_PASSWORD": "a"}
        command = [server, "-t", "-c", KUBERNETES / "nats/nats.conf"]
        run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        self.assertEqual(run.returncode, 0, run.stderr)
        name = tomllib.loads((KUBERNETES / "forebay.toml").read_text())["cluster"]["name"]
        self.assertIn(f'"fb.{name}.>"', (KUBERNETES / "nats/nats.conf").read_text())

    def test_the_monitoring(self):
        rule = documents("monitoring/prometheusrule.yaml")[0]
        alerts = yaml.safe_load((parts.ROOT / "config/prometheus/alerts.yml").read_text())
        self.assertEqual(rule["spec"], alerts)
        monitor = documents("monitoring/servicemonitor.yaml")[0]["spec"]
        selected = monitor["selector"]["matchLabels"]
        services = [d for (kind, _), d in self.all.items() if kind == "Service" and d["metadata"].get("labels") == selected]
        (service,) = services
        self.assertIn(monitor["endpoints"][0]["port"], [port["name"] for port in service["spec"]["ports"]])
        # The alerts select this job.
        self.assertEqual(service["metadata"]["labels"][monitor["jobLabel"]], "forebay")
        component = documents("monitoring/kustomization.yaml")[0]
        self.assertEqual(set(component["resources"]), {"servicemonitor.yaml", "prometheusrule.yaml"})


class Aws(unittest.TestCase):
    def setUp(self):
        self.template = (AWS / "forebay.cloudformation.yaml").read_text()

    def test_the_template_has_no_faults(self):
        faults = [fault for fault in lint_all(self.template) if not fault.rule.id.startswith("I")]
        self.assertEqual([str(fault) for fault in faults], [])

    @mock_aws
    def test_the_stack_can_be_made(self):
        """By moto, which has no queue policies."""
        session = boto3.Session(aws_access_key_id="a", aws_secret_access_key="b", region_name="eu-central-1")
        stacks = session.client("cloudformation")
        parameters = [{"ParameterKey": "Bucket", "ParameterValue": "my-media-bucket"}]
        stacks.create_stack(StackName="forebay", TemplateBody=self.template, Parameters=parameters)
        (stack,) = stacks.describe_stacks(StackName="forebay")["Stacks"]
        made = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
        iam = session.client("iam")
        version = iam.get_policy(PolicyArn=made["PolicyArn"])["Policy"]["DefaultVersionId"]
        policy = iam.get_policy_version(PolicyArn=made["PolicyArn"], VersionId=version)["PolicyVersion"]["Document"]
        self.assertEqual(
            [(statement["Action"], statement["Resource"]) for statement in policy["Statement"]],
            [
                ("s3:GetObject", "arn:aws:s3:::my-media-bucket/*"),
                ("s3:ListBucket", "arn:aws:s3:::my-media-bucket"),
                (["sqs:ReceiveMessage", "sqs:DeleteMessage"], made["QueueArn"]),
            ],
        )

    def test_terraform_grants_the_same(self):
        with open(AWS / "forebay.tf", encoding="utf-8") as file:
            terraform = hcl2.load(file)

        def plain(value):
            return value.strip('"') if isinstance(value, str) else [plain(item) for item in value]

        def named(kind, key):
            return {plain(name): body for data in terraform[kind] for of, named in data.items() if plain(of) == key for name, body in named.items()}

        policies = {
            name: [(plain(statement["actions"]), plain(statement["resources"])) for statement in body["statement"]]
            for name, body in named("data", "aws_iam_policy_document").items()
        }
        queue = ["${aws_sqs_queue.changes.arn}"]
        self.assertEqual(
            policies,
            {
                "changes_from_bucket": [(["sqs:SendMessage"], queue)],
                "forebay": [
                    (["s3:GetObject"], ["${local.bucket_arn}/*"]),
                    (["s3:ListBucket"], ["${local.bucket_arn}"]),
                    (["sqs:ReceiveMessage", "sqs:DeleteMessage"], queue),
                ],
            },
        )
        # Only this bucket may send.
        (sending,) = named("data", "aws_iam_policy_document")["changes_from_bucket"]["statement"]
        conditions = {plain(condition["variable"]): plain(condition["values"]) for condition in sending["condition"]}
        self.assertEqual(conditions["aws:SourceArn"], ["${local.bucket_arn}"])
        (notification,) = named("resource", "aws_s3_bucket_notification").values()
        events = plain(notification["queue"][0]["events"])
        self.assertEqual(events, ["s3:ObjectCreated:*", "s3:ObjectRemoved:*", "s3:LifecycleExpiration:*"])
        for event in events:
            self.assertIn(f'"{event}"', self.template)


if __name__ == "__main__":
    unittest.main()
