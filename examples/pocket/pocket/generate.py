"""One sample from a seed: workspace, conversation of the expert, or Rejected and the next try."""
import random

from .episode import Episode, Rejected
from .tasks import KINDS
from .words import Names


def episode(seed, kind=None, thinking=None, evaluation=False, turns=None):
    """The seed decides everything not given. -> Episode with .kind"""
    r = random.Random(f"{'held out' if evaluation else 'train'} {seed}")
    while True:
        try:
            return attempt(r, kind, thinking, evaluation, turns)
        except Rejected:
            pass


def attempt(r, kind, thinking, evaluation, turns):
    names, files, plays, kinds = Names(r, evaluation), {}, [], []
    for _ in range(turns or (2 if r.random() < 0.15 else 1)):
        k = kind or r.choices(list(KINDS), [w for _, w in KINDS.values()])[0]
        plays.append(KINDS[k][0](r, names, files))
        kinds.append(k)
    if r.random() < 0.05:
        files["AGENTS.md"] = "".join(f"{names.phrase(2, 4).capitalize()}.\n"
                                     for _ in range(r.randint(1, 3)))
    e = Episode(r, files, r.random() < 0.5 if thinking is None else thinking,
                slips=0.0 if evaluation else 0.15)
    e.kind = kinds[-1]
    for play in plays:
        play(e)
    return e
