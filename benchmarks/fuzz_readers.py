"""Searches for image files that our readers don't answer rightly, guided by the code that each one reaches.

    pip install atheris
    python benchmarks/fuzz_readers.py -max_total_time=300                     # further words are libFuzzer's
    python benchmarks/fuzz_readers.py --format nrrd -max_total_time=60

An input is a format and the bytes of a file's header and voxels, before they are packed; the first ones are whole. It
is answered rightly by a consistent volume or by a sentence (`tests/fuzz/test_fuzz_headers.py` says more). Anything
else, an abort, 10 s, or 2 GB end the search and leave the input as crash-…; give that file's path to try it again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["pgsam_monai.base"]):
    from pgsam_monai.base import volume as readers

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from fuzz.specimens import specimens  # noqa: E402

from pgsam_monai.base.errors import UserFault  # noqa: E402


class Trying:
    """Reads each input as a file in a folder of its own."""

    def __init__(self, names: list[str], folder: Path) -> None:
        self.names, self.folder = names, folder

    def seeds(self) -> Path:
        """A folder with the whole files."""
        place = self.folder / "seeds"
        place.mkdir()
        for number, name in enumerate(self.names):
            content = next(iter(specimens()[name].files.values()))
            (place / f"{number}").write_bytes(bytes([number]) + content)
        return place

    def __call__(self, data: bytes) -> None:
        if not data:
            return
        specimen = specimens()[self.names[data[0] % len(self.names)]]
        first, *others = specimen.files
        place = self.folder / "image"
        place.mkdir(exist_ok=True)
        for file in place.iterdir():
            file.unlink()
        (place / first).write_bytes(specimen.packed(data[1:]))
        for name in others:
            (place / name).write_bytes(specimen.files[name])
        self._read(place / (specimen.opened or first))

    def _read(self, file: Path) -> None:
        for read in (readers.read_geometry, readers.read_volume, readers.read_label):
            try:
                answer = read(file)
            except UserFault:
                continue
            assert 0 not in (answer.shape if hasattr(answer, "shape") else answer.voxels.shape)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--format", choices=sorted(specimens()), help="all by default")
    given, more = parser.parse_known_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as scratch:
        trying = Trying([given.format] if given.format else sorted(specimens()), Path(scratch))
        limits = ["-timeout=10", "-rss_limit_mb=2000"]
        atheris.Setup([sys.argv[0], *limits, *more, str(trying.seeds())], trying)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
