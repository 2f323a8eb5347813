"""Freed memory is kept, in a process of its own: the setting is for good."""

import platform
import subprocess
import sys

import pytest

CODE = """
import resource, sys, torch
from rdlib.engine import hardware
if sys.argv[1] == "keep":
    assert hardware.keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def update():
    held = [torch.empty(10_000_000).fill_(1.0) for _ in range(4)]  # 40 MB each
for _ in range(3):
    update()
before = faults()
for _ in range(5):
    update()
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="NOT TESTED: no glibc to tell")
def test_the_same_blocks_again_cost_no_new_pages():
    def pages(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", CODE, how], capture_output=True, text=True, check=True)
        return int(done.stdout)

    # Not none: where the heap cannot grow in place, it begins anew once.
    assert pages("keep") < 0.5 * pages("usual")
