#!/usr/bin/env python3
"""Runs a program under a seccomp profile in the format of container runtimes, as they would.

    run-under.py PROFILE [--without SYSCALL,...] -- PROGRAM [ARGUMENT...]

For trying a profile without a container runtime. Needs Debian's python3-seccomp.
"""
import json
import os
import sys

import seccomp


def main() -> None:
    words = sys.argv[1:]
    split = words.index("--")
    options, program = words[:split], words[split + 1 :]
    without = set(options[2].split(",")) if len(options) > 2 else set()
    with open(options[0], encoding="utf-8") as file:
        profile = json.load(file)
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    filter_ = seccomp.SyscallFilter(defaction=seccomp.ERRNO(profile["defaultErrnoRet"]))
    for group in profile["syscalls"]:
        assert group["action"] == "SCMP_ACT_ALLOW"
        for name in group["names"]:
            if name in without:
                continue
            try:
                filter_.add_rule(seccomp.ALLOW, name)
            except (ValueError, RuntimeError):
                # Not on this architecture, or newer than this libseccomp: runtimes skip it as well.
                print(f"run-under: {name} is unknown here", file=sys.stderr)
    filter_.load()
    os.execv(program[0], program)


main()
