"""The short campaign: two kills of a run, which then ends with the bytes of a run that was not killed."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="forks after importing torch, and tells by /proc who is alive")
def test_a_run_that_is_killed_twice_ends_with_the_same_bytes() -> None:
    """In a process of its own, because it forks, and other threads must not be running then."""
    campaign = Path(__file__).with_name("chaos_campaign.py")
    command = [sys.executable, str(campaign), "--only", "run", "--kills", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 kills, 0 faults" in done.stdout
