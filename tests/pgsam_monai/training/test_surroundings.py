import pytest

from pgsam_monai.training.surroundings import find_bundle_root, weights_folder


@pytest.fixture
def bundle(tmp_path):
    folder = tmp_path / "my bundles" / "samed_x"
    (folder / "configs").mkdir(parents=True)
    (folder / "configs/metadata.json").write_text("{}")
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "training", "--config_file", "{}/configs/train.json"],
        ["run", "training", "--config_file={}/configs/train.json"],
        ["run", "--config_file", "['{}/configs/train.json', '{}/configs/evaluate.json']"],
        ["run", "--config_file", '["{}/configs/train.json"]'],
    ],
)
def test_found_by_the_config_file_from_anywhere(bundle, arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_bundle_root("samed_x", [word.replace("{}", str(bundle)) for word in arguments]) == str(bundle)


def test_found_below_bundles_and_inside(bundle, monkeypatch):
    monkeypatch.chdir(bundle)
    assert find_bundle_root("samed_x", []) == "."
    (bundle.parent / "bundles").symlink_to(bundle.parent)
    monkeypatch.chdir(bundle.parent)
    assert find_bundle_root("samed_x", []) == "bundles/samed_x"


def test_not_found_names_the_remedy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="--bundle_root"):
        find_bundle_root("samed_x", ["--config_file", "elsewhere/train.json"])


def test_weights_of_the_bundle_itself(bundle):
    assert weights_folder(str(bundle)) is None
    (bundle / "weights").mkdir()
    assert weights_folder(str(bundle)) == str(bundle / "weights")
