"""From a recording of a clinic (EDF, BDF or FIF) to a picture and a prediction: two commands.

    python examples/eeg_from_edf.py RECORDING RUN OUT [--arm ARM]

RUN is a trained run on EEG, of the HMS competition or of your own files, whose members read views of the EEG. OUT gets
the picture mel.png, the first 50 s as a model sees them, and scores.csv, a row per window of 50 s with one column per
class. Needs `pip install 'foldstill[eeg]'`.
"""

import subprocess
import sys

recording, run, out, *options = sys.argv[1:]
COMMANDS = (
    ("show", "view", recording, "mel", "--at", "0", "--out", f"{out}/mel.png"),
    ("predict", "--run", run, "--data", recording, "--out", f"{out}/scores.csv", *options),
)
for command in COMMANDS:
    print("foldstill", *command, flush=True)
    subprocess.run([sys.executable, "-m", "foldstill", *command], check=True)
