"""Plays held-out episodes greedily in the simulator: `python3 -m pocket.evaluate WEIGHTS`.

WEIGHTS is a model folder or a checkpoint. Success: the files at the end equal the expert's, and the
answer holds the required facts. An episode in which every token of the expert is the arg-max is a
success without being played, since greedy decoding would write just that; `--exact` stops there,
which is fast and a lower bound. `--loss` prints the mean loss of the expert's tokens instead.
"""
import argparse
import time
from pathlib import Path

import torch

from . import generate, render
from .codec import Codec
from .export import read_weights, rounded
from .model import FusedOps, Model
from .session import Session
from .simulator import Workspace
from .tasks import KINDS

STEPS_MAX = 12
REPLY_MAX = 220         # tokens; the longest reply of the expert is shorter


def load(path):
    path = Path(path)
    w = read_weights(path) if path.is_dir() else rounded(torch.load(path)["weights"])
    return Model({n: x.detach() for n, x in w.items()}, ops=FusedOps())


class Player:
    """The agent loop: prompt, greedy reply, call, outcome, until an answer."""

    def __init__(self, model, codec):
        self.model, self.codec = model, codec

    def play(self, episode):
        """-> the workspace at the end, the last answer, transcript."""
        workspace, session = Workspace(episode.initial), Session(self.model)
        pending = [(render.BOS, True), (render.system_text(episode.initial), False)]
        answer, text = "", []
        for prompt in episode.prompts:
            pending += [(render.USER, True), (prompt, False)]
            for _ in range(STEPS_MAX):
                pending += render.opener(episode.thinking)
                ids = self.codec.ids(pending)
                reply = self.reply(session, ids)
                text.append(self.codec.decode(ids + reply))
                answer, call = self.parse(reply, episode.thinking)
                pending = [(render.EOS, True)]
                if not call:
                    break
                pending += render.tool_result(workspace.call(*call))
        return workspace, answer, "".join(text)

    def reply(self, session, ids):
        logits, out = session.extend(ids), []
        while len(out) < REPLY_MAX and (token := int(logits.argmax())) != self.codec.eos:
            out.append(token)
            logits = session.extend([token])
        return out

    def parse(self, reply, thinking):
        if thinking:
            if self.codec.end_think not in reply:
                return "", None
            reply = reply[reply.index(self.codec.end_think) + 1:]
        return render.parse(self.codec.decode(reply))


def succeeded(episode, workspace, answer):
    return (workspace.files == episode.workspace.files
            and all(fact in answer for fact in episode.facts))


def exact(model, codec, episode):
    ids, weights = codec.sample(episode)
    with torch.no_grad():
        index = "select" if len(ids) > 4 * model.c["index_topk"] else None
        best = model.logits(model.trunk(torch.tensor([ids]), index)).argmax(-1)[:-1]
    wanted = torch.tensor(weights[1:]) == 1.0
    return bool((best == torch.tensor(ids[1:]))[wanted].all())


def loss(model, codec, kinds, first, count):
    """Mean cross entropy of the expert's tokens over held-out episodes."""
    total, tokens = 0.0, 0
    for kind in kinds:
        for seed in range(first, first + count):
            e = generate.episode(seed, kind, bool(seed % 2), evaluation=True, turns=1)
            ids, weights = codec.sample(e)
            wanted = torch.tensor(weights[1:]) == 1.0
            with torch.no_grad():
                logits = model.logits(model.trunk(torch.tensor([ids])))[:-1][wanted]
            target = torch.tensor(ids[1:])[wanted]
            total += torch.nn.functional.cross_entropy(logits, target, reduction="sum").item()
            tokens += len(target)
    return total / tokens


def main():
    a = argparse.ArgumentParser()
    a.add_argument("weights")
    a.add_argument("--count", type=int, default=20, help="episodes of each kind and mode")
    a.add_argument("--first", type=int, default=0, help="first seed")
    a.add_argument("--kinds", default=",".join(KINDS))
    a.add_argument("--exact", action="store_true")
    a.add_argument("--loss", action="store_true")
    a.add_argument("--show", type=int, default=0, help="failures to print of each kind and mode")
    a = a.parse_args()
    torch.set_num_threads(1)
    codec, model = Codec(), load(a.weights)
    kinds = a.kinds.split(",")
    if a.loss:
        print(f"loss {loss(model, codec, kinds, a.first, a.count):.4f}")
        return
    player, total, since = Player(model, codec), [], time.time()
    for kind in kinds:
        row = []
        for thinking in True, False:
            good, shown = 0, 0
            for seed in range(a.first, a.first + a.count):
                e = generate.episode(seed, kind, thinking, evaluation=True, turns=1)
                is_exact = exact(model, codec, e)
                if is_exact or a.exact:
                    good += is_exact
                    continue
                workspace, answer, text = player.play(e)
                ok = succeeded(e, workspace, answer)
                good += ok
                if not ok and shown < a.show:
                    shown += 1
                    print(f"--- {kind} {seed}\n{text}\nwanted {e.facts}\n")
            row.append(good)
        total += row
        print(f"{kind:8} think {row[0]:3} fast {row[1]:3} of {a.count} each", flush=True)
    share = sum(total) / (len(total) * a.count)
    print(f"together {100 * share:.1f} % of {len(total) * a.count}, {time.time() - since:.0f} s")


if __name__ == "__main__":
    main()
