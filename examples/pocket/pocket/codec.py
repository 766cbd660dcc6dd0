"""Segments to token ids and back, with the trained tokenizer."""
from pathlib import Path

from . import render

MODEL = Path(__file__).parent.parent / "model"


class Codec:
    def __init__(self, folder=MODEL):
        from tokenizers import Tokenizer
        self.tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
        ids = {t: self.tokenizer.token_to_id(t) for t in
               (render.BOS, render.EOS, render.USER, render.ASSISTANT, render.THINK,
                render.END_THINK, render.DSML)}
        self.special, self.eos, self.end_think = ids, ids[render.EOS], ids[render.END_THINK]
        # Ids of ordinary text: after the first three, before the other special tokens.
        self.first, self.last = 3, ids[render.USER]
        self.newline = self.encode("\n")[0]

    def encode(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def ids(self, segments):
        out = []
        for text, special, *_ in segments:
            out += [self.special[text]] if special else self.encode(text)
        return out

    def sample(self, episode):
        """-> ids, weight of predicting each id."""
        ids, weights = [], []
        for text, special, weight in episode.segments:
            part = [self.special[text]] if special else self.encode(text)
            ids += part
            weights += [weight] * len(part)
        return ids, weights

    def decode(self, ids):
        return self.tokenizer.decode(ids, skip_special_tokens=False)
