"""The heap keeps what it has: temporaries that come again cost no page faults."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from ray_glocal.hypergradient.state import heap
heap.hold()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def temporaries():
    blocks = [torch.empty(2**22) for _ in range(3)]
    for block in blocks:
        block.fill_(1.0)

for _ in range(5):
    temporaries()
before = faults()
for _ in range(20):
    temporaries()
print((faults() - before) / 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has another heap")
@pytest.mark.parametrize("process", range(3))  # without holding, every second one maps all anew, as chance has it
def test_temporaries_that_come_again_are_not_mapped_again(process):
    told = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, check=True).stdout
    assert float(told) < 3 * 2**24 / 4096 / 10
