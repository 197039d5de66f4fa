"""Puts Ansible's collections `amazon.aws` and `community.aws` into a folder, from the package on PyPI that has all of them."""

import pathlib
import subprocess
import sys
import tempfile
import zipfile

PACKAGE = "ansible==12.3.0"
WANTED = ("ansible_collections/amazon/aws/", "ansible_collections/community/aws/")

with tempfile.TemporaryDirectory() as folder:
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, PACKAGE]
    subprocess.run(download, check=True)
    with zipfile.ZipFile(next(pathlib.Path(folder).glob("*.whl"))) as package:
        package.extractall(sys.argv[1], [name for name in package.namelist() if name.startswith(WANTED)])
