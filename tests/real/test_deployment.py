"""The files for Kubernetes and AWS: schemas accept them, they fit together, and they grant what Forebay needs and no more."""

import pathlib
import shutil
import subprocess
import tempfile
import unittest

import boto3
import hcl2
import yaml
from cfnlint.api import lint_all
from moto import mock_aws

import parts

KUBERNETES = parts.ROOT / "config/kubernetes"
AWS = parts.ROOT / "config/aws"
NAMES = {"app.kubernetes.io/name": "forebay"}


def documents(name):
    return list(yaml.safe_load_all((KUBERNETES / name).read_text()))


class Kubernetes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.kustomization = documents("kustomization.yaml")[0]
        cls.all = {(d["kind"], d["metadata"]["name"]): d for name in cls.kustomization["resources"] for d in documents(name)}
        cls.set = cls.all["StatefulSet", "forebay"]["spec"]
        cls.pod = cls.set["template"]["spec"]
        (cls.container,) = cls.pod["containers"]

    def test_the_schemas_of_kubernetes_accept_them(self):
        files = [KUBERNETES / name for name in self.kustomization["resources"]]
        command = [shutil.which("kubernetes-validate", path=str(parts.ROOT / "target/venv/bin")), "--strict", *files]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        # Each file is part of it.
        found = {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"}
        self.assertEqual(found, set(self.kustomization["resources"]))
        self.assertEqual(self.kustomization["configMapGenerator"], [{"name": "forebay", "files": ["forebay.toml"]}])

    def test_each_selects_the_pods_of_the_set(self):
        self.assertEqual(self.set["template"]["metadata"]["labels"], NAMES)
        self.assertEqual(self.set["selector"]["matchLabels"], NAMES)
        for name in ("forebay", "forebay-nodes"):
            self.assertEqual(self.all["Service", name]["spec"]["selector"], NAMES)
        self.assertEqual(self.all["PodDisruptionBudget", "forebay"]["spec"]["selector"]["matchLabels"], NAMES)
        self.assertEqual(self.all["NetworkPolicy", "forebay"]["spec"]["podSelector"]["matchLabels"], NAMES)
        self.assertEqual(self.set["serviceName"], "forebay-nodes")
        self.assertEqual(self.pod["serviceAccountName"], self.all["ServiceAccount", "forebay"]["metadata"]["name"])

    def test_the_configuration_fits_the_pods(self):
        """The files are where the volumes have them, and the ports are those that are open."""
        folder = pathlib.Path(tempfile.mkdtemp(prefix="forebay-kubernetes-"))
        self.addCleanup(shutil.rmtree, folder)
        nodes = [f"forebay-{number}" for number in range(self.set["replicas"])]
        made = [parts.PROGRAM, "cluster", "init", *nodes, "--dir", folder / "peers"]
        subprocess.run(made, check=True, capture_output=True)
        (folder / "admin-token").write_text("0123456789abcdef")
        text = (KUBERNETES / "forebay.toml").read_text()
        mounts = {mount["name"]: mount["mountPath"] for mount in self.container["volumeMounts"]}
        self.assertEqual(set(mounts), {"configuration", "cache", "admin", "peers"})
        self.assertIn(f'path = "{mounts["cache"]}"', text)
        for name, place in (("admin", folder), ("peers", folder / "peers"), ("cache", folder / "cache")):
            self.assertIn(mounts[name], text)
            text = text.replace(mounts[name], str(place))
        for node in nodes:
            (folder / "forebay.toml").write_text(text.replace('name = "media"\npeer', f'name = "media"\nnode = "{node}"\npeer'))
            command = [parts.PROGRAM, "check", "--config", folder / "forebay.toml"]
            run = subprocess.run(command, capture_output=True, text=True, check=False)
            self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        ports = {port["name"]: port["containerPort"] for port in self.container["ports"]}
        for name, key in (("http", "http"), ("admin", "listen"), ("peers", "peer_listen")):
            self.assertIn(f'{key} = "0.0.0.0:{ports[name]}"', text)
        self.assertEqual(self.container["args"], ["serve", "--config", f"{mounts['configuration']}/forebay.toml"])
        grace = self.pod["terminationGracePeriodSeconds"]
        self.assertGreater(grace, 15 + 30, "drain_delay and drain")

    def test_the_monitoring(self):
        rule = documents("monitoring/prometheusrule.yaml")[0]
        alerts = yaml.safe_load((parts.ROOT / "config/prometheus/alerts.yml").read_text())
        self.assertEqual(rule["spec"], alerts)
        monitor = documents("monitoring/servicemonitor.yaml")[0]["spec"]
        service = self.all["Service", "forebay"]
        self.assertEqual(monitor["selector"]["matchLabels"], service["metadata"]["labels"])
        self.assertIn(monitor["endpoints"][0]["port"], [port["name"] for port in service["spec"]["ports"]])
        # The alerts know Forebay by its job.
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
        granted = set()
        for data in terraform["data"]:
            for documents in data.get('"aws_iam_policy_document"', data.get("aws_iam_policy_document", {})).values():
                for statement in documents["statement"]:
                    granted |= {action.strip('"') for action in statement["actions"]}
        self.assertEqual(granted, {"s3:GetObject", "s3:ListBucket", "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:SendMessage"})


if __name__ == "__main__":
    unittest.main()
