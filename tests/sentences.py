#!/usr/bin/env python3
"""Twenty sentences of the project's prose, drawn at random, for a reader who has not seen them.

    python3 tests/sentences.py [SEED] [COUNT]

Draws from README.md, docs/, CONTRIBUTING.md, CHANGELOG.md, the long help of every verb (of the command in target/debug, if it is built), the expected
reports, and the module documentation in src/ and shim/src. The same seed draws the same sentences from the same text.
"""

import pathlib
import random
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
COMMAND = ROOT / "target/debug/locktrace"


def paragraphs_of_markdown(text):
    text = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    for block in re.split(r"\n\s*\n|\n(?=[*#-])", text):
        if not block.lstrip().startswith(("#", "|", "<")):
            yield block.lstrip("*-> ")


def paragraphs_of_modules(path):
    lines = [line.strip()[3:].strip() for line in path.read_text().splitlines() if line.startswith("//!")]
    yield from paragraphs_of_markdown("\n".join(lines))


def paragraphs_of_help():
    if not COMMAND.exists():
        return
    help_of = lambda *verb: subprocess.run([COMMAND, *verb, "--help"], capture_output=True, text=True).stdout
    verbs = re.findall(r"^  ([a-z]+)  ", help_of(), flags=re.M)
    for verb in verbs:
        for block in re.split(r"\n\s*\n", help_of(verb)):
            yield f"locktrace {verb}", block


def sources():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for block in paragraphs_of_markdown(page.read_text()):
            yield page.relative_to(ROOT), block
    for path in sorted([*(ROOT / "src").rglob("*.rs"), *(ROOT / "shim/src").rglob("*.rs")]):
        for block in paragraphs_of_modules(path):
            yield path.relative_to(ROOT), block
    for name in ["report.txt", "explain.txt"]:
        for block in re.split(r"\n\s*\n", (ROOT / "tests/expected" / name).read_text()):
            yield f"tests/expected/{name}", block
    yield from paragraphs_of_help()


def sentences():
    for place, block in sources():
        for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z`\[])", " ".join(block.split())):
            links = sentence.count("](")
            if len(sentence.split()) >= 6 and links < 3 and not sentence.startswith("Exit codes"):
                yield place, sentence.lstrip("*")


def main():
    seed = sys.argv[1] if len(sys.argv) > 1 else "1"
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    drawn = random.Random(seed).sample(list(sentences()), count)
    for number, (place, sentence) in enumerate(drawn, 1):
        print(f"{number:>3}. {place}\n     {sentence}")


main()
