import pytest

from pgsam_monai.base.weights import CLIP_RECORDS, KNOWN_WEIGHTS
from preprocess.bundle.metadata import large_files


@pytest.mark.parametrize("name", KNOWN_WEIGHTS)
def test_downloads_are_those_of_the_weights_table(name):
    known, text = KNOWN_WEIGHTS[name], large_files(name)
    comes_with_a_package = known.shipped or known.package is not None
    assert (text is not None) == (known.sha256 is not None and not comes_with_a_package)
    if text:
        assert text.splitlines()[1:4] == [
            f"- path: weights/{known.file_name}",
            f"  url: {known.url}",
            f"  hash_val: {known.sha256}",
        ]


@pytest.mark.parametrize("name", [None, "/data/mine.pth"])
def test_other_weights_are_not_downloaded(name):
    assert large_files(name) is None


@pytest.mark.parametrize("clip", CLIP_RECORDS, ids=lambda record: record.name)
def test_clips_weights_come_beside_sams(clip):
    both, alone = large_files("sam_vit_b", clip), large_files(None, clip)
    assert both == large_files("sam_vit_b") + alone.removeprefix("large_files:\n")
    assert alone.splitlines()[1:4] == [
        f"- path: weights/{clip.file_name}",
        f"  url: {clip.url}",
        f"  hash_val: {clip.sha256}",
    ]
