#!/usr/bin/env python3
"""Holds what Helm rendered, on standard input, against Kubernetes' own schemas, strictly: no field that
the release does not have, none of a wrong type.

    helm template ... | validate.py VERSION...      such as 1.27 1.37

Prints a line for each mistake, then how many objects were right; those of other makers' kinds are
counted apart. Fails with any mistake.
"""
import sys

import kubernetes_validate
import yaml


def main() -> int:
    mistakes, right, foreign = 0, 0, 0
    objects = [each for each in yaml.safe_load_all(sys.stdin) if each]
    for version in sys.argv[1:]:
        for each in objects:
            name = f"{version}: {each['kind']} {each['metadata']['name']}"
            try:
                kubernetes_validate.validate(each, version, strict=True)
                right += 1
            except kubernetes_validate.SchemaNotFoundError:
                # Whatever has no domain of its own, or one of Kubernetes', is Kubernetes'.
                group = each["apiVersion"].rpartition("/")[0]
                if "." not in group or group.endswith(".k8s.io"):
                    print(f"{name}: {each['apiVersion']} has no such kind")
                    mistakes += 1
                else:
                    foreign += 1
            except kubernetes_validate.ValidationError as error:
                where = ".".join(str(part) for part in error.path)
                print(f"{name}: {where}: {error.message}")
                mistakes += 1
    print(f"{right} right, {mistakes} wrong, {foreign} of other makers")
    return 1 if mistakes or not right else 0


sys.exit(main())
