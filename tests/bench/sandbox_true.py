#!/usr/bin/env python3
"""Times /bin/true in the sandbox against bubblewrap, call by call in turn, in the same minute.

    tests/bench/sandbox_true.py build/release/sandbox_driver [ROUNDS]
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time

BWRAP = ("bwrap --unshare-all --die-with-parent --new-session --ro-bind /usr /usr --ro-bind /etc "
         "/etc --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 "
         "--proc /proc --dev /dev --tmpfs /tmp --tmpfs /root --cap-drop ALL").split()


def seconds(argv):
    begin = time.perf_counter()
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
    return time.perf_counter() - begin


def main():
    driver = os.path.abspath(sys.argv[1])
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    with tempfile.TemporaryDirectory() as folder:
        work = os.path.join(folder, "work")
        os.mkdir(work)
        commands = {
            "nothing": ["/bin/true"],
            "bwrap": BWRAP + ["--bind", work, work, "/bin/true"],
            "sandbox": [driver, "workspace=" + work, "state=" + folder,
                        "result=" + os.path.join(folder, "result"), "--", "/bin/true"],
        }
        times = {name: [] for name in commands}
        for _ in range(rounds):
            for name, argv in commands.items():
                times[name].append(1000 * seconds(argv))
    for name, values in times.items():
        values.sort()
        print(f"{name:8} median {statistics.median(values):6.2f} ms"
              f"  p95 {values[int(0.95 * rounds)]:6.2f} ms  min {values[0]:6.2f} ms")
    ratio = statistics.median(times["sandbox"]) / statistics.median(times["bwrap"])
    print(f"sandbox / bwrap = {ratio:.2f}")


if __name__ == "__main__":
    main()
