"""Names for generated workspaces. One word in eight, chosen by hash, is kept for evaluation."""
import builtins
import json
import keyword
import random
import re
import zlib
from pathlib import Path

LETTERS = "abcdefghijklmnopqrstuvwxyz"
# Words of the templates: kept out of names so that a name's tokens do not depend on its place.
TEMPLATE_WORDS = set("""
add and are check command contain create created current def does edit exit exists expected fail
file files find fixed follow found function got has how import is line lines line list many module
name new not number old one passes path pattern print product pass python read return returns run
say search set should similar still sum sys test tests text that the there they thing this to tool
true false none what where which width with write you call difference replaced says shown missing
class glob context string parameter invoke result names first deleted os out for from change make
define defined definition directory entries empty see now look error
""".split())


def held_out(word):
    return zlib.crc32(word.encode()) % 8 == 0


def load():
    words = Path(__file__).with_name("words.txt").read_text().split()
    return [w for w in words if w not in TEMPLATE_WORDS]


def pieces(folder=Path(__file__).parent.parent / "model"):
    """Tokens of letters alone: lower case, capitals. Empty before there is a tokenizer."""
    file = folder / "tokenizer.json"
    if not file.exists():
        return [], []
    tokens = sorted(json.loads(file.read_text(encoding="utf-8"))["model"]["vocab"])
    return [[t for t in tokens if re.fullmatch(form, t)] for form in ("[a-z]{2,}", "[A-Z]{2,}")]


def usable(word):
    """Not a name that Python or the generated programs use themselves."""
    return not (keyword.iskeyword(word) or hasattr(builtins, word)
                or word.lower() in TEMPLATE_WORDS)


class Names:
    """Draws words and names; never the same word twice in one workspace.

    Some words of training are put together from tokens, so that every token is met as part of a
    name, also those that otherwise stand in the templates only.
    """

    def __init__(self, r: random.Random, evaluation=False, invented=0.2, from_tokens=0.2):
        self.r, self.invented = r, invented
        self.words = POOLS[evaluation]
        self.lower, self.capital = ([], []) if evaluation else PIECES
        self.from_tokens = from_tokens if self.lower else 0.0
        self.used = set()

    def word(self, tokens=None):
        while True:
            w = self.draw(tokens or self.lower)
            if w.lower() not in self.used and usable(w):
                self.used.add(w.lower())
                return w

    def draw(self, tokens):
        if self.from_tokens and self.r.random() < self.from_tokens:
            return "".join(self.r.choice(tokens) for _ in range(self.r.choice((1, 2, 2))))
        if self.r.random() < self.invented:
            return "".join(self.r.choice(LETTERS) for _ in range(self.r.randint(3, 5)))
        return self.r.choice(self.words)

    def snake(self):
        n = self.r.choices((1, 2, 3), (40, 55, 5))[0]
        return "_".join(self.word() for _ in range(n))

    def two(self):
        return f"{self.word()}_{self.word()}"

    def capitals(self):
        n = 2 if self.r.random() < 0.6 else 1
        return "_".join(self.word(self.capital) for _ in range(n)).upper()

    def camel(self):
        return self.word().capitalize() + self.word().capitalize()

    def phrase(self, low=2, high=4):
        return " ".join(self.word() for _ in range(self.r.randint(low, high)))

    def number(self):
        digits = self.r.choices((1, 2, 3), (3, 5, 2))[0]
        return self.r.randrange(10 ** (digits - 1) + 1, 10 ** digits)


def _pools():
    words = load()
    return {True: [w for w in words if held_out(w)], False: [w for w in words if not held_out(w)]}


POOLS, PIECES = _pools(), pieces()
