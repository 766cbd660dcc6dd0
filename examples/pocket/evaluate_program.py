"""Runs the real program over written workspaces: `evaluate_program.py PROGRAM MODEL WORKSPACES`.

WORKSPACES comes from `python3 -m pocket.workspaces`. A task succeeds when the program exits 0 (so
its verify command passed, if it has one) and the answer holds the required facts.
"""
import argparse
import collections
import json
import shutil
import subprocess
import tempfile
from pathlib import Path


def run(a, task, folder):
    """-> the `result` object of the program, or what went wrong."""
    command = [a.program, "run", "--output-format", "json", "-m", a.model, "--mode", task["mode"],
               "--temperature", "0", "-C", folder]
    if task["verify"]:
        command += ["--verify", task["verify"]]
    try:
        done = subprocess.run(command + [task["prompt"]], capture_output=True, text=True,
                              timeout=a.seconds, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return {"exit": 124, "text": "", "error": "too slow"}
    try:
        result = json.loads(done.stdout)
    except ValueError:
        result = {"text": "", "error": done.stderr[-400:]}
    return {**result, "exit": done.returncode}


def succeeded(task, result):
    text = result.get("text") or ""
    return result["exit"] == 0 and all(fact in text for fact in task["facts"])


def main():
    p = argparse.ArgumentParser()
    p.add_argument("program")
    p.add_argument("model")
    p.add_argument("workspaces", type=Path)
    p.add_argument("--seconds", type=float, default=300, help="limit for one task")
    p.add_argument("--failures", type=Path, help="write the failed tasks and results here")
    a = p.parse_args()
    good, all_, failures = collections.Counter(), collections.Counter(), []
    sampled, drafted, accepted = (collections.Counter() for _ in range(3))
    for file in sorted(a.workspaces.glob("*/*/task.json")):
        task = json.loads(file.read_text())
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(file.parent / "workspace", folder, dirs_exist_ok=True)
            result = run(a, task, folder)
        key = task["kind"], task["mode"]
        all_[key] += 1
        good[key] += succeeded(task, result)
        usage = result.get("usage") or {}
        sampled[task["mode"]] += usage.get("sampled", 0)
        drafted[task["mode"]] += usage.get("drafted", 0)
        accepted[task["mode"]] += usage.get("accepted", 0)
        if not succeeded(task, result):
            failures.append({"task": str(file.parent), **task, "result": result})
    for kind in sorted({k for k, _ in all_}):
        cells = [f"{mode} {good[kind, mode]:3} of {all_[kind, mode]:3}"
                 for mode in ("think", "fast")]
        print(f"{kind:8} " + "   ".join(cells))
    for mode in sampled:
        share = 100 * accepted[mode] / max(1, drafted[mode])
        print(f"{mode}: {share:.1f} % of {drafted[mode]} drafted tokens accepted, "
              f"{sampled[mode]} sampled")
    total = sum(all_.values())
    print(f"together {100 * sum(good.values()) / max(1, total):.1f} % of {total}")
    if a.failures:
        a.failures.write_text(json.dumps(failures, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
