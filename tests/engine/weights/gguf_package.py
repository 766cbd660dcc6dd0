#!/usr/bin/env python3
"""Holds our de-quantised values against those of the Python package gguf, bit for bit.

usage: gguf_package.py DRIVER FOLDER   DRIVER: the program dequantize; FOLDER: where the package is
                                       installed, from PyPI, if it is not there yet
       gguf_package.py --table FOLDER  prints quantised_values.inc

Exit 77 where the package cannot be had.
"""
import pathlib
import subprocess
import sys

VERSION = "0.19.0"
TYPES = ("Q8_0 MXFP4 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q3_K Q4_K Q5_K Q6_K IQ2_XXS IQ2_XS IQ3_XXS IQ4_NL "
         "IQ4_XS F16 BF16 F32").split()

# Halves that stand at the border of something: zeros, subnormals, the largest, infinities, NaN.
HALVES = [0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x0400, 0x3C00, 0xBC00, 0x7BFF, 0xFBFF,
          0x7C00, 0xFC00, 0x7C01, 0x7E00, 0xFE00, 0xFFFF]

# Where a block keeps its halves.
PLACES = {"Q4_1": (0, 2), "Q5_1": (0, 2), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q2_K": (80, 82),
          "Q3_K": (108,), "Q6_K": (208,), "MXFP4": ()}


def install(folder):
    """Puts the package into the folder and makes it importable; exit 77 if that fails."""
    if not (folder / "gguf").is_dir():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--target", folder,
               f"gguf=={VERSION}"]
        done = subprocess.run(pip, capture_output=True, text=True)
        if done.returncode != 0:
            print(f"skipped: the Python package gguf {VERSION} cannot be installed here")
            sys.exit(77)
    sys.path.insert(0, str(folder))


def values_of(name, blocks):
    """The package's values of an array of blocks, as bits; every NaN as the same."""
    import numpy
    from gguf import GGMLQuantizationType, quants
    with numpy.errstate(all="ignore"):
        values = quants.dequantize(blocks, GGMLQuantizationType[name]).reshape(-1)
    return numpy.where(numpy.isnan(values), numpy.uint32(0x7FC00000), values.view(numpy.uint32))


def block_bytes(name):
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
    return GGML_QUANT_SIZES[GGMLQuantizationType[name]][1]


def adversarial(name):
    """Random blocks, then blocks with every pair of border halves, then blocks of one byte."""
    import numpy
    size = block_bytes(name)
    random = numpy.random.default_rng(5)
    parts = [random.integers(0, 256, (4000, size), numpy.uint8)]
    places = PLACES.get(name, (0,)) if size > 4 else ()
    if places:
        pairs = random.integers(0, 256, (len(HALVES) ** 2, size), numpy.uint8)
        for i, pair in enumerate(pairs):
            for place, half in zip(places, (HALVES[i % 16], HALVES[i // 16])):
                pair[place:place + 2] = (half & 255, half >> 8)
        parts.append(pairs)
    parts.append(numpy.repeat(numpy.arange(256, dtype=numpy.uint8), size).reshape(-1, size))
    return numpy.concatenate(parts)


def compare(driver):
    import numpy
    failed = False
    for name in TYPES:
        blocks = adversarial(name)
        expected = values_of(name, blocks)
        done = subprocess.run([driver, name], input=blocks.tobytes(), capture_output=True, check=True)
        found = numpy.frombuffer(done.stdout, numpy.uint32)
        nan = (found & 0x7FFFFFFF) > 0x7F800000
        found = numpy.where(nan, numpy.uint32(0x7FC00000), found)
        wrong = numpy.flatnonzero(found != expected) if found.size == expected.size else [0]
        print(f"{name}: {expected.size} values, {len(wrong)} differ")
        for i in wrong[:5]:
            print(f"  at {i}: found {found[i]:08x}, expected {expected[i]:08x}")
        failed |= len(wrong) > 0
    return 1 if failed else 0


def table():
    """As random_bytes() and checksum_of() in quantised_block_test.cpp."""
    import numpy
    for name in TYPES[:-3]:
        state, count = 1, 300 * block_bytes(name)
        data = bytearray()
        for _ in range(count):
            state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
            data.append(state >> 56)
        bits = values_of(name, numpy.frombuffer(bytes(data), numpy.uint8).reshape(300, -1))
        checksum = 14695981039346656037
        for byte in bits.tobytes():
            checksum = (checksum ^ byte) * 1099511628211 % 2**64
        samples = [f"0x{bits[97 * i]:08X}" for i in range(14)]
        print(f"    {{Format::{name.lower()},")
        for i in range(0, 14, 7):
            print(f"     {'{' if i == 0 else ' '}{', '.join(samples[i:i + 7])}{'},' if i else ','}")
        print(f"     0x{checksum:016X}U}},")
    return 0


def main():
    install(pathlib.Path(sys.argv[2]))
    sys.exit(table() if sys.argv[1] == "--table" else compare(sys.argv[1]))


main()
