"""The table of CLIP's tokens is that of CLIP's tokenizer, for every word of the library.

`PYTHONPATH=. python tests/pgsam_monai/base/structures/test_word_tokens.py` writes the table anew.
"""

import json
import re
import textwrap
from pathlib import Path

from open_clip.tokenizer import SimpleTokenizer

from pgsam_monai.base.structures import describing
from pgsam_monai.base.structures.library import load_library

TABLE = Path(describing.__file__).with_name("word_tokens.json")
TOLD = ("name", "shape", "position", "neighbours", "ct", "mr")


def every_phrase():
    for structure in load_library().values():
        yield from (getattr(structure, part) for part in TOLD)
        yield from (*structure.phases.values(), *structure.looks.values())
        for variant in structure.regions.values():
            yield from variant.values()
    yield from (
        *describing.SEEN_ON.values(),
        "with; the patient's left is on the picture's right, bottom, top",
    )


def table():
    """Tokens -> the library's words of so many, in alphabetical order."""
    encode, words = SimpleTokenizer().encode, set()
    for phrase in every_phrase():
        words.update(re.findall(describing.PIECES, phrase.casefold()))
    counted = {word: len(encode(word)) for word in sorted(words)}
    return {
        str(count): [w for w, n in counted.items() if n == count] for count in sorted({*counted.values()})
    }


def test_the_table_holds_the_librarys_words_as_clip_divides_them():
    written = {
        count: " ".join(lines).split() for count, lines in json.loads(TABLE.read_text("utf-8")).items()
    }

    assert written == table()


def test_texts_are_counted_as_clip_counts_them():
    tokenizer = SimpleTokenizer()
    for text in (
        "Spleen on CT: crescent-shaped solid organ, along ribs 9 to 11; the patient's left is on the picture's right.",
        "V- or Y-shaped gland with limbs 3-6 mm thick.",
    ):
        assert describing.count_tokens(text) == len(tokenizer.encode(text)), text


if __name__ == "__main__":
    rows = {count: textwrap.wrap(" ".join(words), 110) for count, words in table().items()}
    TABLE.write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
