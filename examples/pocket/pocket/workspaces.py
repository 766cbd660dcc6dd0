"""Writes held-out workspaces to disk: `python3 -m pocket.workspaces OUT --count 100`.

OUT/KIND/NAME/ gets task.json and the folder workspace. task.json says kind, prompt, mode,
verify (a shell command that exits 0 in the right end state, or null) and facts (texts that the
answer must hold). The kind `honest` collects what cannot be done: only the answer can be right.
"""
import argparse
import json
import shlex
from pathlib import Path

from . import generate
from .tasks import KINDS


def verify_command(episode):
    """A shell command for the end state, or None when no file changes."""
    if episode.verify:
        return episode.verify
    before, after = episode.initial, episode.workspace.files
    checks = [f"printf %s {shlex.quote(text)} | cmp -s - {shlex.quote(path)}"
              for path, text in sorted(after.items()) if before.get(path) != text]
    return " && ".join(checks) or None


def task(episode, mode):
    return {"kind": "honest" if episode.honest else episode.kind, "mode": mode,
            "prompt": episode.prompts[0], "verify": verify_command(episode),
            "facts": [] if episode.verify else episode.facts}


def write(folder, files, description):
    (folder / "workspace").mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        file = folder / "workspace" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    text = json.dumps(description, indent=1, ensure_ascii=False)
    (folder / "task.json").write_text(text + "\n", encoding="utf-8")


def main():
    a = argparse.ArgumentParser()
    a.add_argument("out", type=Path)
    a.add_argument("--count", type=int, default=100, help="workspaces of each kind, half each mode")
    a.add_argument("--first", type=int, default=0, help="first seed")
    a = a.parse_args()
    for kind in KINDS:
        for seed in range(a.first, a.first + a.count):
            mode = "think" if seed % 2 else "fast"
            e = generate.episode(seed, kind, mode == "think", evaluation=True, turns=1)
            description = task(e, mode)
            folder = a.out / description["kind"] / f"{kind}-{seed:04}-{mode}"
            write(folder, e.initial, description)


if __name__ == "__main__":
    main()
