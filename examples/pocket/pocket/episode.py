"""An episode: one generated workspace, the user's texts, and what the scripted expert does."""
import random

from . import render
from .simulator import Workspace


class Rejected(Exception):
    """The drawn workspace is unfit, for example because a text to replace occurs twice."""


class Episode:
    """Records the expert's conversation as segments (text, is special, loss weight)."""

    def __init__(self, r: random.Random, files, thinking, slips=0.0):
        self.r, self.thinking = r, thinking
        self.slips = slips          # how often the expert shows how a wrong edit is put right
        self.initial = dict(files)
        self.workspace = Workspace(files)
        self.segments = [(render.BOS, True, 0.0), (render.system_text(files), False, 0.0)]
        self.prompts, self.facts = [], []
        self.calls = []             # (tool, arguments, outcome)
        self.verify = None          # shell command that exits 0 in the right end state
        self.honest = False         # the task cannot be done, and the answer must say so

    def add(self, segments, weight):
        self.segments += [(text, special, weight) for text, special in segments]

    def user(self, text):
        self.prompts.append(text)
        self.add([(render.USER, True), (text, False)], 0.1)

    def call(self, thought, tool, expect="", weight=1.0, **args):
        """One step with a call; the outcome must begin with `expect`."""
        self.add(render.opener(self.thinking), 0.1)
        self.add(render.reply(self.thinking, thought, call=(tool, args)), weight)
        self.workspace.seconds = self.seconds()
        outcome = self.workspace.call(tool, args)
        self.calls.append((tool, args, outcome))
        if not outcome.startswith(expect):
            raise Rejected(outcome)
        self.add(render.tool_result(outcome), 0.1)
        return outcome

    def seconds(self):
        """How long a command takes: mostly no time, more on a busy machine."""
        return f"{'0' if self.r.random() < 0.9 else self.r.randint(1, 12)}.{self.r.randint(0, 9)}"

    def run(self, thought, command):
        """-> exit code, output."""
        outcome = self.call(thought, "run_command", "exit ", command=command)
        head, _, output = outcome.partition("\n")
        return int(head.split()[1]), output

    def search_one(self, thought, pattern, **args):
        """A search that must find one line -> its path."""
        expect = "search_files 1 of 1\n"
        outcome = self.call(thought, "search_files", expect, pattern=pattern, **args)
        return outcome.split("\n")[1]

    def edit(self, thought, path, old, new, weight=1.0):
        self.call(thought, "edit_file", "edit_file ", weight, path=path, old=old, new=new)

    def answer(self, thought, text, facts=(), verify=None, honest=False):
        self.add(render.opener(self.thinking), 0.1)
        self.add(render.reply(self.thinking, thought, text), 1.0)
        self.facts, self.verify, self.honest = list(facts), verify, honest
