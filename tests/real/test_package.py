"""The Debian package: Debian's own tools install, update and remove it, in a copy of this machine's file system, and the
programs that read its files accept them."""

import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading
import unittest

import parts
from parts import fetch, free_port, wait_for

# What a user of the package relies on.
FILES = {
    "usr/bin/forebay", "usr/lib/systemd/system/forebay.service", "usr/lib/systemd/system/forebay.socket",
    "usr/lib/sysusers.d/forebay.conf", "etc/logrotate.d/forebay", "usr/share/man/man1/forebay.1.gz",
    "usr/share/man/man1/forebay-serve.1.gz", "usr/share/bash-completion/completions/forebay",
    "usr/share/doc/forebay/copyright", "usr/share/doc/forebay/examples/minimal.toml",
}  # fmt: skip

# Answers as systemd would if the service ran, and logs its arguments. The test writes the process ID of the service.
SYSTEMCTL = """\
#!/bin/sh
echo "$@" >> /systemctl.log
case "$*" in
    show*) cat /main-pid ;;
    kill*) kill -s USR2 "$(cat /main-pid)" ;;
esac
"""


def run(*command):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)


@unittest.skipUnless(os.geteuid() == 0 and shutil.which("dpkg-deb"), "installing needs root and dpkg")
class Package(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if run("unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt").returncode:
            raise unittest.SkipTest("this machine does not let root mount file systems")
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="forebay-package-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        for revision in ("1", "2"):
            deb = cls.folder / f"{revision}.deb"
            built = run(parts.ROOT / "config/debian/build", "--fast", "--deb-revision", revision, "--output", deb)
            assert built.returncode == 0, built.stdout + built.stderr

    def setUp(self):
        """A copy of this machine's file system, whose changes are in memory."""
        self.memory = pathlib.Path(tempfile.mkdtemp(prefix="forebay-overlay-"))
        self.addCleanup(self.memory.rmdir)
        self.mount("-t", "tmpfs", "tmpfs", self.memory)
        upper, work, self.root = (self.memory / name for name in ("upper", "work", "root"))
        for folder in (upper, work, self.root):
            folder.mkdir()
        self.mount("-t", "overlay", "overlay", f"-olowerdir=/,upperdir={upper},workdir={work}", self.root)
        self.mount("-t", "proc", "proc", self.root / "proc")
        self.mount("--bind", "/dev", self.root / "dev")
        shutil.copytree(self.folder, self.root / "packages")

    def mount(self, *words):
        mounted = run("mount", *words)
        self.assertEqual(mounted.returncode, 0, mounted.stderr)
        self.addCleanup(run, "umount", "--lazy", words[-1])

    def inside(self, *command):
        done = run("chroot", self.root, *command)
        self.assertEqual(done.returncode, 0, (command, done.stdout, done.stderr))
        return done.stdout + done.stderr

    def install(self, revision):
        # The machine of the tests need not have what the package depends on.
        return self.inside("dpkg", "--install", "--force-depends", f"/packages/{revision}.deb")

    def test_its_files(self):
        listed = run("dpkg-deb", "--contents", self.folder / "1.deb").stdout
        found = {line.split()[5].removeprefix("./") for line in listed.splitlines()}
        self.assertEqual(FILES - found, set())
        fields = run("dpkg-deb", "--field", self.folder / "1.deb").stdout
        self.assertRegex(fields, r"(?m)^Package: forebay$")
        self.assertRegex(fields, r"(?m)^Depends: .*libc6")
        conffiles = run("dpkg-deb", "--info", self.folder / "1.deb", "conffiles").stdout
        self.assertEqual(conffiles.split(), ["/etc/logrotate.d/forebay", "/etc/needrestart/conf.d/forebay.conf"])

    def test_what_it_installs_is_accepted(self):
        self.install(1)
        self.assertIn("forebay:", self.inside("getent", "passwd", "forebay"))
        self.assertTrue((self.root / "etc/forebay").is_dir())
        self.assertEqual(self.inside("forebay", "--version"), f"forebay {self.version()}\n")
        units = ["/usr/lib/systemd/system/forebay.service", "/usr/lib/systemd/system/forebay.socket"]
        self.assertEqual(self.inside("systemd-analyze", "verify", "--man=no", *units), "")
        self.assertIn("considering log /var/log/forebay/*.log", self.inside("logrotate", "--debug", "/etc/logrotate.d/forebay"))
        self.inside("bash", "-n", "/usr/share/bash-completion/completions/forebay")

    def version(self):
        return run(parts.PROGRAM, "--version").stdout.split()[1]

    def test_an_update_loses_no_request_and_a_removal_leaves_nothing(self):
        self.update_under_load(token="")
        updated = (self.root / "systemctl.log").read_text()
        self.assertNotIn("--signal=USR2", updated)
        self.remove()

    def test_an_update_with_a_token_uses_the_signal(self):
        (self.root / "etc/forebay").mkdir()
        (self.root / "etc/forebay/token").write_text("0123456789abcdef")
        self.update_under_load(token='[[admin.token]]\nname = "a"\nsecret_file = "/etc/forebay/token"\n')
        self.assertIn("--signal=USR2", (self.root / "systemctl.log").read_text())

    def update_under_load(self, token):
        self.install(1)
        origin = parts.Origin.start()
        self.addCleanup(origin.stop)
        port, admin = free_port(), free_port()
        (self.root / "etc/forebay/forebay.toml").write_text(
            f'[listen]\nhttp = "127.0.0.1:{port}"\n[admin]\nlisten = "127.0.0.1:{admin}"\nstate = "/var/lib/forebay"\n{token}[access_log]\nformat = "off"\n'
            + parts.PLAIN_DISTRIBUTION.format(origin=f"http://127.0.0.1:{origin.port}")
        )
        self.inside("install", "-d", "-o", "forebay", "/var/lib/forebay", "/var/cache/forebay", "/var/log/forebay")
        # As the unit would start it, in a process namespace that ends with it.
        serve = ["chroot", "--userspec=forebay:forebay", self.root, "forebay", "serve", "--config", "/etc/forebay/forebay.toml"]
        log = open(self.folder / "serve.log", "w", encoding="utf-8")
        self.addCleanup(log.close)
        service = subprocess.Popen([str(word) for word in serve], stdout=log, stderr=log, start_new_session=True)
        self.addCleanup(service.wait)
        (self.root / "main-pid").write_text(str(service.pid))
        self.addCleanup(self.kill_all)
        said = (self.folder / "serve.log").read_text
        ready = lambda: self.answers(admin)  # noqa: E731
        wait_for("Forebay", ready, said)
        systemctl = self.root / "usr/local/sbin/systemctl"
        systemctl.write_text(SYSTEMCTL)
        systemctl.chmod(0o755)
        (self.root / "run/systemd/system").mkdir(parents=True, exist_ok=True)

        statuses, over = [], threading.Event()

        def request():
            while not over.is_set():
                statuses.append(fetch(f"http://127.0.0.1:{port}/{len(statuses) % 10}.jpg")[0])

        def follow():
            """Notes the newest process, as systemd does when Forebay reports it."""
            while not over.is_set():
                (self.root / "main-pid").write_text(str(max(self.processes("serve"), default=service.pid)))
                over.wait(0.05)

        threads = [threading.Thread(target=target) for target in (request, follow)]
        for thread in threads:
            thread.start()
        try:
            updated = self.install(2)
            wait_for("the old process to end", lambda: service.poll() is not None, said)
        finally:
            over.set()
            for thread in threads:
                thread.join()
        self.assertIn("is-active --quiet forebay", (self.root / "systemctl.log").read_text())
        self.assertEqual(set(statuses), {200}, updated + said())
        (running,) = self.processes()
        program = os.stat(f"/proc/{running}/exe")
        self.assertEqual(program.st_ino, os.stat(self.root / "usr/bin/forebay").st_ino)
        self.assertNotIn("the old version still runs", updated)

    def remove(self):
        """The cache may be a mount point."""
        self.mount("-t", "tmpfs", "tmpfs", self.root / "var/cache/forebay")
        (self.root / "var/cache/forebay/file").write_text("")
        self.inside("dpkg", "--remove", "forebay")
        before = run("dpkg-deb", "--info", self.folder / "2.deb", "prerm").stdout
        self.assertIn("deb-systemd-invoke stop forebay.service forebay.socket", before)
        self.assertTrue((self.root / "var/lib/forebay").exists(), "a removal keeps the data")
        self.kill_all()
        self.inside("dpkg", "--purge", "forebay")
        self.assertEqual(list((self.root / "var/cache/forebay").iterdir()), [])
        for path in ("usr/bin/forebay", "var/lib/forebay", "var/log/forebay", "etc/logrotate.d/forebay"):
            self.assertFalse((self.root / path).exists(), path)
        self.assertTrue((self.root / "etc/forebay/forebay.toml").exists(), "the operator's own file stays")

    def answers(self, admin):
        try:
            return fetch(f"http://127.0.0.1:{admin}/readyz")[0] == 200
        except OSError:
            return False

    def processes(self, word=""):
        """The processes that run in the copy of the file system, with this word in their commands."""
        found = []
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(process / "root") == str(self.root) and word in (process / "cmdline").read_text():
                    found.append(int(process.name))
            except OSError:
                pass
        return found

    def kill_all(self):
        for process in self.processes():
            os.kill(process, signal.SIGKILL)


if __name__ == "__main__":
    unittest.main()
