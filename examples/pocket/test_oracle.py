"""The exported folder in the NumPy oracle against the trainer: `test_oracle.py ORACLE_FOLDER`.

300 tokens with the trained selection, again with a top-k so small that the indexer selects, and the
MTP block; all within 1e-4 standard deviations of the logits.
"""
import dataclasses
import sys
from pathlib import Path

import numpy as np
import torch

from pocket import generate
from pocket.codec import Codec
from pocket.config import CONFIG
from pocket.export import read_weights
from pocket.model import Model

FOLDER = Path(__file__).parent / "model"


def deviation(ours, theirs):
    return float(np.abs(ours - theirs).max() / theirs.std())


def ids_of_an_episode(length):
    codec, ids, seed = Codec(FOLDER), [], 0
    while len(ids) < length:
        ids += codec.sample(generate.episode(f"oracle {seed}"))[0]
        seed += 1
    return ids[:length]


def compare(top_k, length=300):
    from dsv4 import st_io
    from dsv4.model import Oracle
    cfg, weights = st_io.load_model(str(FOLDER))
    oracle = Oracle(dataclasses.replace(cfg, index_topk=top_k), weights)
    ids = ids_of_an_episode(length)
    theirs, hidden = oracle.prefill(ids, want_hidden=True)
    w = read_weights(FOLDER)
    model = Model(w, {**CONFIG, "index_topk": top_k})
    with torch.no_grad():
        batch = torch.tensor([ids])
        streams = model.trunk(batch, "select")
        ours = model.logits(streams).numpy()
        mtp = model.mtp(streams, batch.roll(-1, 1), w["head.weight"]).numpy()[:-1]
    theirs_mtp = oracle.mtp_extend(oracle.new_cache(), hidden[:-1], ids[1:], 0)
    return deviation(ours, theirs), deviation(mtp, theirs_mtp)


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    torch.set_num_threads(1)
    for k in CONFIG["index_topk"], 8:
        trunk, mtp = compare(k)
        print(f"top-k {k}: trunk {trunk:.1e}, mtp {mtp:.1e} standard deviations")
        assert max(trunk, mtp) <= 1e-4
