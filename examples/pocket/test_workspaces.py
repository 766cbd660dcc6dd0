"""Written workspaces fail their verify command, and pass it once the expert has been there."""
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

from pocket import generate, workspaces
from pocket.tasks import KINDS

SEEDS = 25


def passes(command, files):
    with tempfile.TemporaryDirectory() as folder:
        workspaces.write(Path(folder), files, {})
        done = subprocess.run(["bash", "-c", command], cwd=Path(folder) / "workspace",
                              env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
                              capture_output=True)
    return done.returncode == 0


class Workspaces(unittest.TestCase):
    def test_verify_tells_before_from_after(self):
        for kind in KINDS:
            for seed in range(SEEDS):
                e = generate.episode(seed, kind, evaluation=True, turns=1)
                task = workspaces.task(e, "think")
                if task["kind"] == "honest" or not task["verify"]:
                    continue
                with self.subTest(kind=kind, seed=seed):
                    changed = e.initial != e.workspace.files
                    self.assertEqual(passes(task["verify"], e.initial), not changed)
                    self.assertTrue(passes(task["verify"], e.workspace.files))


if __name__ == "__main__":
    unittest.main()
