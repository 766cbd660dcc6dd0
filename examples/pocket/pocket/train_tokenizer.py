"""Learns the tokenizer: `python3 -m pocket.train_tokenizer MODEL_FOLDER`.

A name must fall into the same tokens wherever it stands, or it cannot be copied token by token.
So merges are learned inside runs of one kind of character only, digits stay single, and merges that
cross such borders are added last, for pieces of the templates alone.
"""
import collections
import json
import re
import sys
from pathlib import Path

from . import generate, render
from .words import load

SPECIAL_FIRST = [render.BOS, render.EOS, render.PAD]
SPECIAL_LAST = [render.USER, render.ASSISTANT, render.THINK, render.END_THINK, render.DSML,
                "<｜latest_reminder｜>", "<｜action｜>", "<｜query｜>", "<｜authority｜>", "<｜domain｜>",
                "<｜title｜>", "<｜extracted_url｜>", "<｜read_url｜>"]
VOCABULARY = 1024
TEMPLATE_MERGES = 120
SAMPLES = 1500

# The official pre-tokenizer: three splits, see spec/tokenizer.md.
SPLITS = [r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
          r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
          r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"]
RUNS = re.compile(r"[a-z]+|[A-Z]+|[0-9]|[^\sA-Za-z0-9]+\n*|\s+")


def byte_characters():
    """The printable stand-in for each of the 256 bytes, as in GPT-2."""
    keep = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(b) if b in keep else chr(next(others)) for b in range(256)]


BYTES = byte_characters()


def spelled(text):
    return "".join(BYTES[b] for b in text.encode())


def learn(counts, room, taken):
    """Ordinary BPE on {piece: count}; `taken` holds the tokens there are. -> merges."""
    words = {tuple(p): n for p, n in counts.items()}
    merges = []
    while len(merges) < room:
        pairs = collections.Counter()
        for word, n in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += n
        if not pairs:
            break
        best = max(pairs, key=lambda p: (pairs[p], p))
        taken.add("".join(best))
        merges.append(best)
        words = {merged(w, best): n for w, n in words.items()}
    return merges


def merged(word, pair):
    out, i = [], 0
    while i < len(word):
        if word[i:i + 2] == pair:
            out.append(word[i] + word[i + 1])
            i += 2
        else:
            out.append(word[i])
            i += 1
    return tuple(out)


def encode_piece(piece, ranks):
    word = tuple(piece)
    while len(word) > 1:
        best = min(zip(word, word[1:]), key=lambda p: ranks.get(p, 1 << 30))
        if best not in ranks:
            break
        word = merged(word, best)
    return word


def run_counts():
    """Runs of one kind of character: words of names, and the texts of generated episodes."""
    counts = collections.Counter()
    for word in load():
        counts[spelled(word)] += 6
        counts[spelled(word.upper())] += 4
    for seed in range(SAMPLES):
        for text, special, _ in generate.episode(f"tokenizer {seed}").segments:
            if not special:
                counts.update(spelled(run) for run in RUNS.findall(text))
    return counts


def template_pieces(pre_tokenizer, ranks):
    """Frequent pieces of the templates that cross the borders of runs, most tokens saved first."""
    seen = collections.Counter()
    for seed in range(SAMPLES):
        episode = generate.episode(f"pieces {seed}")
        drawn = set(re.findall(r"[a-z]{3,}|[A-Z]{3,}", " ".join(episode.initial)
                               + " ".join(episode.initial.values()) + " ".join(episode.prompts)))
        for text, special, weight in episode.segments:
            if special:
                continue
            for piece, _ in pre_tokenizer.pre_tokenize_str(text):
                if not set(re.findall(r"[a-z]{3,}|[A-Z]{3,}", piece)) & (drawn - KEEP):
                    seen[piece] += 1
    saved = {p: n * (len(encode_piece(p, ranks)) - 1) for p, n in seen.items()
             if not any(ch.isdigit() for ch in p) and len(re.sub("[^A-Za-z]", "", p)) != 1
             and len(re.sub("[^A-Za-z]", "", p)) != 2}
    return sorted((p for p in saved if saved[p] > 40), key=lambda p: -saved[p])


KEEP = set("return import print from def the tests test file files line lines".split())


def build():
    """-> tokenizer.json as a dictionary."""
    from tokenizers import pre_tokenizers
    from tokenizers import Regex
    pre = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(s), "isolated") for s in SPLITS]
                                  + [pre_tokenizers.ByteLevel(False, use_regex=False)])
    room = VOCABULARY - 3 - 256 - len(SPECIAL_LAST)
    taken = set(BYTES)
    merges = learn(run_counts(), room - TEMPLATE_MERGES, taken)
    ranks = {p: i for i, p in enumerate(merges)}
    for piece in template_pieces(pre, ranks):
        word = encode_piece(piece, ranks)
        needed = inner_first(word)
        fresh = [p for p in needed if p not in ranks and "".join(p) not in taken]
        if len(fresh) != len(needed) or len(merges) + len(fresh) > room:
            continue
        for p in fresh:
            ranks[p] = len(merges)
            merges.append(p)
            taken.add("".join(p))
    assert len(merges) == room, (len(merges), room)
    return as_json(merges)


def inner_first(word):
    """Merges that join a piece: its letters first, so that no token " m" splits other words."""
    if len(word) > 2 and not word[0].isascii() or not word[0].isalnum():
        rest = left_to_right(word[1:])
        return rest + [(word[0], "".join(word[1:]))]
    return left_to_right(word)


def left_to_right(word):
    pairs, left = [], word[0]
    for right in word[1:]:
        pairs.append((left, right))
        left += right
    return pairs


def as_json(merges):
    tokens = SPECIAL_FIRST + BYTES + ["".join(m) for m in merges]
    first_special = len(tokens)
    added = list(enumerate(SPECIAL_FIRST)) + list(enumerate(SPECIAL_LAST, first_special))
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    pre = [{"type": "Split", "pattern": {"Regex": s}, "behavior": "Isolated", "invert": False}
           for s in SPLITS] + [{**level, "use_regex": False}]
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": t, "single_word": False, "lstrip": False,
                          "rstrip": False, "normalized": False, "special": i < 3}
                         for i, t in added],
        "normalizer": {"type": "Sequence", "normalizers": []},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": pre},
        "post_processor": {**level, "use_regex": False},
        "decoder": {**level, "use_regex": False},
        "model": {"type": "BPE", "dropout": None, "unk_token": None,
                  "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False,
                  "vocab": {t: i for i, t in enumerate(tokens)},
                  "merges": [" ".join(m) for m in merges]},
    }


CONFIG = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": render.BOS,
          "eos_token": render.EOS, "pad_token": render.EOS, "add_bos_token": False,
          "add_eos_token": False, "clean_up_tokenization_spaces": False,
          "model_max_length": 1048576}
TOOLS = ["run_command", "read_file", "write_file", "edit_file", "search_files"]


def write(folder):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    agent = {"system": render.SYSTEM, "tools": TOOLS, "render_tools": False}
    for name, content in (("tokenizer.json", build()), ("tokenizer_config.json", CONFIG),
                          ("agent.json", agent)):
        text = json.dumps(content, ensure_ascii=False, indent=1)
        (folder / name).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(sys.argv[1])
