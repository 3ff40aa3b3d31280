"""Trains several hand-overs in one start of torch: train_all.py TRAIN_PY JOBS, where JOBS is a file with [{"folder", "output", "parallel"}, ...]."""

import importlib.util
import json
import sys
import warnings
from argparse import Namespace

warnings.filterwarnings("ignore")
spec = importlib.util.spec_from_file_location("trainer", sys.argv[1])
trainer = importlib.util.module_from_spec(spec)
spec.loader.exec_module(trainer)
with open(sys.argv[2], encoding="utf-8") as file:
    jobs = json.load(file)
processes = trainer.Processes()
for job in jobs:
    options = Namespace(base=None, pass_rows=None, until_step=None, **job)
    if trainer.train(options, processes, []) != 0:
        raise SystemExit(f"{job}: did not end")
processes.close()
