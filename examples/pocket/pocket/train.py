"""Trains the model: `python3 -m pocket.train RUN_FOLDER --steps N`. Resumes what is there.

First copy drills alone, then episodes of the scripted expert, with some drills for a while. A run
of its own, `--beside --start TRUNK.pt`, then trains the MTP block and the indexers, which learn
from the finished trunk without changing it.
"""
import argparse
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from . import generate, optim
from .codec import Codec
from .config import CONFIG
from .drill import drill, pad
from .initial import initial_weights
from .model import FusedOps, Model

LENGTH_MAX = 832        # tokens; nearly all episodes of one task are shorter
POOL = 192              # episodes sorted by length before they are cut into batches


def parse():
    a = argparse.ArgumentParser()
    a.add_argument("run", type=Path)
    a.add_argument("--steps", type=int, required=True, help="all of them, drills included")
    a.add_argument("--drill-steps", type=int, default=110)
    a.add_argument("--all-until", type=float, default=0.1,
                   help="share of the steps in which the texts of others count a little too")
    a.add_argument("--decay-from", type=float, default=0.5)
    a.add_argument("--batch-tokens", type=int, default=2560)
    a.add_argument("--rate-muon", type=float, default=0.01)
    a.add_argument("--rate-adam", type=float, default=0.003)
    a.add_argument("--start", type=Path, help="weights to start from, for a continuation")
    a.add_argument("--beside", action="store_true", help="MTP block and indexers alone")
    a.add_argument("--seed", type=int, default=0)
    a.add_argument("--save-every", type=int, default=300)
    return a.parse_args()


class Data:
    """An endless stream of padded batches; every sample is new."""

    def __init__(self, codec, seed, tokens):
        self.codec, self.tokens = codec, tokens
        self.r, self.ready = random.Random(seed), []
        self.drill_share = 0.0

    def drills(self, n=16):
        c = self.codec
        return pad([drill(self.r, c.first, c.last, c.newline) for _ in range(n)])

    def sample(self):
        if self.r.random() < self.drill_share:
            c = self.codec
            return drill(self.r, c.first, c.last, c.newline, (4, 10), (2, 9))
        while True:
            s = self.codec.sample(generate.episode(self.r.getrandbits(60)))
            if len(s[0]) <= LENGTH_MAX:
                return s

    def batch(self):
        if not self.ready:
            pool = sorted((self.sample() for _ in range(POOL)), key=lambda s: len(s[0]))
            group = []
            for s in pool:
                padded = -(-len(s[0]) // 32) * 32
                if group and padded * (len(group) + 1) > self.tokens:
                    self.ready.append(group)
                    group = []
                group.append(s)
            self.ready.append(group)
            self.r.shuffle(self.ready)
        return pad(self.ready.pop())


class Trainer:
    def __init__(self, args):
        self.args, self.codec = args, Codec()
        self.step, self.tokens = 0, 0
        self.data = Data(self.codec, args.seed + 1, args.batch_tokens)
        w = torch.load(args.start)["weights"] if args.start else initial_weights(args.seed)
        state = self.latest()
        if state:
            w, self.step, self.tokens = state["weights"], state["step"], state["tokens"]
            self.data.r.seed(f"{args.seed} resumed at {self.step}")
        for name, p in w.items():
            beside = name.startswith("mtp.") or ".indexer." in name
            p.requires_grad_(p.is_floating_point() and not name.endswith("gate.bias")
                             and (beside or not args.beside))
        self.w, self.model = w, Model(w, ops=FusedOps())
        self.muon, self.adam = optim.build(w, CONFIG, args.rate_muon, args.rate_adam)
        if state:
            self.adam.load_state_dict(state["adam"])
            if self.muon:
                self.muon.buffers = state["muon"]
        self.clipped = [p for g in self.adam.param_groups for p in g["params"]]

    def latest(self):
        file = self.args.run / "latest.pt"
        return torch.load(file) if file.exists() else None

    def save(self):
        state = {"weights": {n: p.detach() for n, p in self.w.items()}, "step": self.step,
                 "tokens": self.tokens, "adam": self.adam.state_dict(),
                 "muon": self.muon.buffers if self.muon else None}
        new = self.args.run / "new.pt"
        torch.save(state, new)
        new.rename(self.args.run / "latest.pt")

    # ------------------------------------------------------------------ one step
    def factor(self):
        done, warm = self.step / self.args.steps, min(1.0, (self.step + 1) / 40)
        start = self.args.decay_from
        return warm * (1.0 if done < start else 1 - 0.98 * (done - start) / (1 - start))

    def losses(self, ids, weights):
        """-> dictionary of losses; their sum is minimised."""
        if self.args.beside:
            return self.losses_beside(ids, weights)
        streams = self.model.trunk(ids)
        rows, target, weight = self.targets(ids, weights, 1)
        return {"trunk": self.cross_entropy(self.model.logits(streams[rows]), target, weight)}

    def losses_beside(self, ids, weights):
        index = []
        streams = self.model.trunk(ids, index)
        rows, target, weight = self.targets(ids, (weights == 1.0).float(), 2)
        logits = self.model.mtp(streams, ids.roll(-1, 1), self.w["head.weight"], rows)
        return {"mtp": self.cross_entropy(logits, target, weight), "index": sum(index)}

    def targets(self, ids, weights, ahead):
        """-> rows that predict something that counts, what, and with which weight."""
        if self.step > self.args.all_until * self.args.steps:
            weights = (weights == 1.0).float()
        w = F.pad(weights[:, ahead:], (0, ahead)).flatten()
        rows = w.nonzero()[:, 0]
        return rows, ids.roll(-ahead, 1).flatten()[rows], w[rows]

    def cross_entropy(self, logits, target, weight):
        loss = F.cross_entropy(logits, target, reduction="none")
        return (loss * weight).sum() / weight.sum()

    def update(self):
        torch.nn.utils.clip_grad_norm_([p for p in self.clipped if p.grad is not None], 1.0)
        factor = self.factor()
        if self.muon:
            self.muon.step(factor)
        for g in self.adam.param_groups:
            g["lr"] = self.args.rate_adam * factor
        self.adam.step()
        for p in self.w.values():
            p.grad = None
        for prefix, load in self.model.loads.items():
            if self.args.beside and not prefix.startswith("mtp."):
                continue
            load = load.float()
            self.w[prefix + "gate.bias"] += 0.001 * (load.mean() - load).sign()

    def run(self):
        a, log = self.args, open(self.args.run / "log.txt", "a", buffering=1)
        mean, since, counted = {}, time.time(), 0
        while self.step < a.steps:
            drilling = self.step < a.drill_steps
            drills = not a.start and self.step < 0.4 * a.steps
            self.data.drill_share = 0.1 if drills else 0.0
            ids, weights = self.data.drills() if drilling else self.data.batch()
            losses = self.losses(ids, weights)
            sum(losses.values()).backward()
            self.update()
            for k, v in losses.items():
                mean.setdefault(k, []).append(v.item())
            self.step += 1
            self.tokens += ids.numel()
            counted += ids.numel()
            if drilling and self.step == a.drill_steps:
                assert losses["trunk"] < 0.5, "the drill gate: copying was not learned"
            if self.step % 20 == 0 or self.step == a.steps:
                text = " ".join(f"{k} {sum(v) / len(v):.4f}" for k, v in mean.items())
                log.write(f"step {self.step} {text} tokens/s {counted / (time.time() - since):.0f} "
                          f"tokens {self.tokens} factor {self.factor():.3f}\n")
                mean, since, counted = {}, time.time(), 0
            if self.step % a.save_every == 0 or self.step == a.steps:
                self.save()


if __name__ == "__main__":
    torch.set_num_threads(1)
    # Products round their operands to BF16 where the processor has units for it: twice the speed.
    torch.set_float32_matmul_precision("medium")
    arguments = parse()
    arguments.run.mkdir(parents=True, exist_ok=True)
    Trainer(arguments).run()
