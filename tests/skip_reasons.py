#!/usr/bin/env python3
"""Passes ctest's output through and says, before its summary, why tests were skipped.

usage: ctest … | skip_reasons.py LOG     LOG: Testing/Temporary/LastTest.log of the build folder
"""
import re
import sys

SUMMARY = re.compile(r"\d+% tests passed")
SKIPPED = re.compile(r"\s*\d+ - (.*) \(Skipped\)")
OUTPUT = re.compile(r"^\d+/\d+ Test: (.*)\n(?:.*\n)*?Output:\n-+\n((?:.*\n)*?)<end of output>", re.M)


def reason(output):
    """The line after GoogleTest's mark, or what a script said after `skipped:`."""
    lines = output.splitlines()
    for number, line in enumerate(lines):
        if line.startswith("skipped: "):
            return line.removeprefix("skipped: ")
        if line.endswith(": Skipped") and number + 1 < len(lines):
            return lines[number + 1].removeprefix("skipped: ")
    return "no reason given"


def main():
    summary = []
    for line in sys.stdin:
        if summary or SUMMARY.match(line):
            summary.append(line)
        else:
            print(line, end="", flush=True)
    names = [found.group(1) for found in map(SKIPPED.match, summary) if found]
    if names:
        with open(sys.argv[1], encoding="utf-8", errors="replace") as log:
            outputs = dict(OUTPUT.findall(log.read()))
        print(f"{len(names)} tests were skipped:")
        for name in names:
            print(f"  {name}: {reason(outputs.get(name, ''))}")
        print()
    print("".join(summary), end="")


main()
