"""The simulator against the real tools, byte for byte: `test_simulator.py PROGRAM [seed count]`.

Every outcome that training shows must look as it will in use. Each seed makes one workspace, on
disk and in memory; the same random calls go to `PROGRAM tool` and to the simulator.
"""
import os
import random
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from pocket import generate
from pocket.simulator import Workspace, split_lines
from pocket.tasks import KINDS

PROGRAM = None
SEEDS = 25
TIME = re.compile(r"(?m)^(exit -?\d+ · )\d+\.\d( s · )")


def without_time(outcome):
    return TIME.sub(r"\1S.S\2", outcome)


class RealTools:
    def __init__(self, folder, files):
        self.folder = Path(folder)
        for path, text in files.items():
            file = self.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")

    def call(self, tool, args):
        pairs = [f"{key}={value}" for key, value in args.items()]
        done = subprocess.run([PROGRAM, "tool", tool, "--workspace", str(self.folder), *pairs],
                              capture_output=True, text=True, timeout=60,
                              env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
        return done.stdout.removesuffix("\n")

    def files(self):
        return {str(f.relative_to(self.folder)): f.read_text(encoding="utf-8")
                for f in sorted(self.folder.rglob("*")) if f.is_file()}


def random_call(r, files):
    """A call as the expert makes it, or one with a mistake in it. -> tool, arguments"""
    path = r.choice(sorted(files)) if files else "nothing.txt"
    lines = split_lines(files.get(path, "")) or ["x"]
    word = r.choice(re.findall(r"\w+", files.get(path, "")) or ["x"])
    at = r.randint(1, len(lines))
    return r.choice([
        ("read_file", {"path": path}),
        ("read_file", {"path": path, "from": at, "to": r.randint(at, len(lines))}),
        ("read_file", {"path": path.rpartition("/")[0] or path}),
        ("read_file", {"path": path[1:] or "x"}),
        ("search_files", {"pattern": word}),
        ("search_files", {"pattern": f"def {word}", "context": 2}),
        ("search_files", {"pattern": word, "context": r.randint(1, 3)}),
        ("search_files", {"pattern": f"{word} ="}),
        ("search_files", {"pattern": word, "glob": "*.py"}),
        ("search_files", {"glob": r.choice(("*", "*.py", "**/*.py", "src/*", f"{word}/*"))}),
        ("edit_file", {"path": path, "old": r.choice(lines), "new": f"{word} changed"}),
        ("edit_file", {"path": path, "old": word, "new": f"{word}\nand more"}),
        ("edit_file", {"path": path, "lines": str(at), "new": f"{word} whole line"}),
        ("write_file", {"path": f"{word.lower()}.txt", "text": f"{word}\n" * r.randint(1, 3)}),
        ("run_command", {"command": f"python3 {path}" if path.endswith(".py") else "python3 x.py"}),
    ])


def comparable(tool, outcome):
    """Outcomes the expert never meets, and whose texts hold more than the simulator writes."""
    return not ("Traceback" in outcome or "can't open file" in outcome or
                tool == "edit_file" and ("does not occur" in outcome or "occurs" in outcome))


class Simulator(unittest.TestCase):
    def compare(self, seed, kind):
        r = random.Random(f"{seed} {kind}")
        episode = generate.episode(seed, kind, turns=1)
        with tempfile.TemporaryDirectory() as folder:
            real, simulated = RealTools(folder, episode.initial), Workspace(episode.initial)
            for _ in range(12):
                tool, args = random_call(r, simulated.files)
                expected = simulated.call(tool, args)
                outcome = real.call(tool, args)
                if comparable(tool, expected):
                    self.assertEqual(without_time(outcome), without_time(expected), (tool, args))
                self.assertEqual(real.files(), simulated.files, (tool, args))

    def test_outcomes_are_those_of_the_program(self):
        for kind in KINDS:
            for seed in range(SEEDS):
                with self.subTest(kind=kind, seed=seed):
                    self.compare(seed, kind)

    def test_the_expert_finds_the_same_outcomes(self):
        for kind in KINDS:
            for seed in range(SEEDS):
                episode = generate.episode(seed, kind, turns=1)
                with self.subTest(kind=kind, seed=seed), tempfile.TemporaryDirectory() as folder:
                    real = RealTools(folder, episode.initial)
                    for tool, args, expected in episode.calls:
                        outcome = real.call(tool, args)
                        self.assertEqual(without_time(outcome), without_time(expected))


if __name__ == "__main__":
    PROGRAM = os.path.abspath(sys.argv[1])
    SEEDS = int(sys.argv[2]) if len(sys.argv) > 2 else SEEDS
    unittest.main(argv=sys.argv[:1])
