"""Make the kept checkpoint anew: `python tests/checkpoint_v1/make.py`, from anywhere.

A format version has one such folder, made when the version was new and never again: that a later charrnn still reads
it is what `test_checkpoint.py` shows with it. Only while a version has not been released may its folder be remade.
"""

import os
from pathlib import Path

import numpy as np

from charrnn import checkpoint as ckpt
from charrnn.data.corpus import Corpus
from charrnn.nn import model
from charrnn.training.loop import Report
from charrnn.training.run import Run

os.chdir(Path(__file__).parent)
here = Path()
for name in ("best.npz", "last.npz", "log.jsonl", "expected.npz"):
    (here / name).unlink(missing_ok=True)

settings = {"hidden_size": 8, "steps": 10, "batch_size": 2, "seq_len": 8, "eval_every": 5, "log_every": 0}
settings |= {"warmup_steps": 0, "learning_rate": 0.03, "seed": 11}
run = Run.start(Corpus.read("corpus.txt"), here, settings=settings)
for event in run.events():
    if isinstance(event, Report):
        break
run.save()
run.close()

saved = ckpt.load(here / "last.npz")
ids = saved.vocab.encode(Path("corpus.txt").read_text(encoding="utf-8")[:60])
weights = model.prepare(saved.params, saved.model_config)
logits, state, _ = model.forward(weights, ids[:, None], model.zero_state(saved.model_config, 1))
expected = {"logits": logits[:, 0], "state": state}

# The second half of the run, on copies: the kept files stay those of the fifth step.
kept = {name: (here / name).read_bytes() for name in ("best.npz", "last.npz")}
run = Run.resume(here)
for _ in run.events():
    pass
run.close()
expected |= {f"resumed/{name}": array for name, array in run.state.params.items()}
for name, data in kept.items():
    (here / name).write_bytes(data)
for name in ("log.jsonl", ".lock"):
    (here / name).unlink()
np.savez_compressed(here / "expected.npz", **expected)
for path in sorted(here.iterdir()):
    if path.is_file():
        print(f"{path.stat().st_size:7,}  {path}")
