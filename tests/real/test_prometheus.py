"""A real Prometheus reads the metrics and evaluates the alert rules."""

import itertools
import json
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest
import urllib.parse

import yaml

import parts
from parts import fetch, free_port, wait_for

RULES = parts.ROOT / "config/prometheus/alerts.yml"
DASHBOARD = parts.ROOT / "config/grafana/forebay.json"

# Metrics that only exist with TLS, a cluster, credentials that expire, the delivery of logs or an origin that has failed.
RARE = (
    "forebay_cluster", "forebay_certificate", "forebay_acme", "forebay_credentials", "forebay_origin_errors",
    "forebay_access_log_lost_files",
)  # fmt: skip

CONFIG = """\
[listen]
http = "127.0.0.1:{port}"
[admin]
listen = "127.0.0.1:{admin}"
[cache.disk]
path = "{folder}/disk"
capacity = "256MiB"
""" + parts.PLAIN_DISTRIBUTION

SCRAPES = """\
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: forebay
    static_configs: [{{targets: ["127.0.0.1:{admin}"]}}]
"""

# For each alert: series with values that do not raise it, and with values that do; a list if there are several causes. The
# test repeats a value without a slope.
RAISING = {
    "ForebayDown": {'up{job="forebay",instance="a"}': ("1", "0")},
    "ForebayServerErrors": {
        'forebay_requests_total{instance="a",distribution="d",status="5xx"}': ("0+1x180", "0+10x180"),
        'forebay_requests_total{instance="a",distribution="d",status="2xx"}': ("0+99x180", "0+90x180"),
    },
    "ForebayOriginFails": [
        {
            'forebay_origin_errors_total{instance="a",distribution="d",origin="o",class="origin-connect"}': ("0+60x180", "0+60x180"),
            'forebay_origin_requests_total{instance="a",distribution="d",origin="o",status="2xx"}': ("0+6000x180", "0+600x180"),
        },
        {
            'forebay_origin_requests_total{instance="a",distribution="d",origin="o",status="5xx"}': ("0+60x180", "0+60x180"),
            'forebay_origin_requests_total{instance="a",distribution="d",origin="o",status="2xx"}': ("0+6000x180", "0+600x180"),
        },
    ],
    "ForebayBucketDenies": {'forebay_origin_mass_denial{instance="a",distribution="d",origin="o"}': ("0", "1")},
    "ForebayReloadFailed": {'forebay_config_last_reload_successful{instance="a"}': ("1", "0")},
    # The time of the tests begins at 0.
    "ForebayCertificateExpires": {
        'forebay_certificate_expiry_timestamp_seconds{instance="a",certificate="c"}': (str(9 * 86400), str(9 * 86400)),
        'forebay_acme_expiry_timestamp_seconds{instance="a",host="h"}': (str(3 * 86400), str(86400)),
        'forebay_acme_expiry_timestamp_seconds{instance="a",host="none yet"}': ("0", "0"),
    },
    "ForebayCredentialsExpire": {
        'forebay_credentials_expiry_timestamp_seconds{instance="a"}': (str(2 * 3600), str(3600)),
    },
    "ForebayWorkerIsStuck": {'forebay_worker_heartbeat_age_seconds{instance="a",worker="0"}': ("0.1", "9")},
    "ForebayWorkersAreLate": {
        'forebay_worker_lag_seconds_bucket{instance="a",le="0.001"}': ("0+60x180", "0+1x180"),
        'forebay_worker_lag_seconds_bucket{instance="a",le="0.1"}': ("0+60x180", "0+60x180"),
        'forebay_worker_lag_seconds_bucket{instance="a",le="+Inf"}': ("0+60x180", "0+60x180"),
    },
    "ForebayFilesRunOut": {
        'process_open_fds{job="forebay",instance="a"}': ("50", "90"),
        'process_max_fds{job="forebay",instance="a"}': ("100", "100"),
    },
    "ForebayLogIsLost": {'forebay_access_log_dropped_total{instance="a"}': ("5", "0+1x180")},
    "ForebayDiskFails": {
        'forebay_disk_corrupt_total{instance="a"}': ("5", "5"),
        'forebay_disk_in_use{instance="a"}': ("1", "0"),
    },
    "ForebayIsCutOff": {'forebay_cluster_lease{instance="a"}': ("1", "0")},
}


def rules():
    return yaml.safe_load(RULES.read_text())["groups"][0]["rules"]


class Rules(unittest.TestCase):
    def test_each_alert_is_raised_by_its_cause_alone(self):
        self.assertEqual([rule["alert"] for rule in rules()], list(RAISING))
        tests = []
        for rule in rules():
            causes = RAISING[rule["alert"]]
            for cause, count in itertools.product(causes if isinstance(causes, list) else [causes], (0, 1)):
                series = [
                    {"series": name, "values": values[count] if "x" in values[count] else values[count] + "+0x180"}
                    for name, values in cause.items()
                ]
                tests.append(
                    {
                        "interval": "1m",
                        "input_series": series,
                        "promql_expr_test": [
                            {
                                "expr": f'count(ALERTS{{alertname="{rule["alert"]}",alertstate="firing"}}) or vector(0)',
                                "eval_time": "90m",
                                "exp_samples": [{"labels": "{}", "value": count}],
                            }
                        ],
                    }
                )
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "tests.yml")
            file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
            for command in (["promtool", "check", "rules", str(RULES)], ["promtool", "test", "rules", str(file)]):
                run = subprocess.run(command, capture_output=True, text=True, check=False)
                self.assertEqual(run.returncode, 0, run.stdout + run.stderr)

    def test_each_alert_is_in_the_documentation(self):
        text = (parts.ROOT / "docs/operating.md").read_text()
        for rule in rules():
            self.assertIn(f"| `{rule['alert']}` |", text)


class Prometheus(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="forebay-prometheus-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.origin = parts.Origin.start()
        port, self.admin, self.port = free_port(), free_port(), free_port()
        config = self.folder / "forebay.toml"
        origin = f"http://127.0.0.1:{self.origin.port}"
        config.write_text(CONFIG.format(port=port, admin=self.admin, folder=self.folder, origin=origin))
        admin = f"http://127.0.0.1:{self.admin}"
        self.program = parts.Program(f"http://127.0.0.1:{port}", admin, "--config", config)
        self.addCleanup(self.program.stop)
        scrapes = self.folder / "prometheus.yml"
        scrapes.write_text(SCRAPES.format(rules=RULES, admin=self.admin))
        self.prometheus = subprocess.Popen(
            ["prometheus", f"--config.file={scrapes}", f"--storage.tsdb.path={self.folder}/data",
             f"--web.listen-address=127.0.0.1:{self.port}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.addCleanup(self.prometheus.wait)
        self.addCleanup(self.prometheus.kill)

    def query(self, expression):
        """The results of an expression."""
        url = f"http://127.0.0.1:{self.port}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
        try:
            status, _, content = fetch(url)
        except OSError:
            return []
        if status == 503:
            return []  # It is still starting.
        self.assertEqual(status, 200, content)
        return json.loads(content)["data"]["result"]

    def test_it_reads_the_metrics_and_raises_nothing_without_a_cause(self):
        for _ in range(3):
            self.assertEqual(fetch(self.program.url + "/a")[0], 200)
        wait_for("the requests", lambda: self.query('forebay_requests_total{result="Hit"} >= 2'), seconds=30)
        (up,) = self.query('up{job="forebay"}')
        self.assertEqual(up["value"][1], "1")
        (build,) = self.query("forebay_build_info")
        self.assertRegex(build["metric"]["version"], r"^\d+\.\d+\.\d+")
        for name in ("process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_max_fds"):
            (found,) = self.query(name)
            self.assertGreaterEqual(float(found["value"][1]), 0)
        (started,) = self.query("time() - process_start_time_seconds")
        self.assertTrue(0 < float(started["value"][1]) < 120, started)
        # The rules name metrics that exist, unless a cluster or TLS would have to be there.
        exported = fetch(self.program.admin + "/metrics")[2].decode()
        for rule in rules():
            for name in re.findall(r"(?:forebay|process)_\w+", rule["expr"]):
                if not name.startswith(RARE):
                    self.assertRegex(exported, rf"(?m)^{name}[ {{]", rule["alert"])
        self.assertEqual(self.query("ALERTS"), [])

    def test_every_panel_of_the_dashboard_shows_something(self):
        paths = iter(range(100_000))

        def rates():
            # A miss, then a hit.
            path = f"/{next(paths)}"
            for _ in range(2):
                self.assertEqual(fetch(self.program.url + path)[0], 200)
            return len(self.query("rate(forebay_requests_total[30s]) > 0")) >= 2

        wait_for("rates", rates, seconds=60)
        board = json.loads(DASHBOARD.read_text())
        panels = [panel for panel in board["panels"] if panel["type"] != "row"]
        self.assertGreater(len(panels), 20)
        for panel in panels:
            for target in panel["targets"]:
                expression = target["expr"].replace("$__rate_interval", "1m")
                expression = re.sub(r"\$(instance|distribution)", ".*", expression)
                found = self.query(expression)
                if not any(name in expression for name in RARE):
                    self.assertTrue(found, expression)
                for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
                    for series in found:
                        self.assertIn(label, series["metric"], expression)
        for variable in board["templating"]["list"][1:]:
            metric, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"]).groups()
            self.assertIn(label, self.query(metric)[0]["metric"])

    def test_an_origin_that_is_down_is_pending(self):
        self.origin.stop()

        def pending():
            fetch(self.program.url + "/gone")
            return self.query('ALERTS{alertname="ForebayServerErrors"}')

        wait_for("the alert", pending, seconds=60)


if __name__ == "__main__":
    unittest.main()
