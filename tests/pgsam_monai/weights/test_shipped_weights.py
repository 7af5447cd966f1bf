"""drawn_tiny ships with this package: found there, checked, and loaded from 16 bits into networks of 32."""

from __future__ import annotations

import shutil

import pytest
import torch
from drawn_stand_in import NAME, put_stand_in, random_state

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.weights import KNOWN_WEIGHTS
from pgsam_monai.commands.weights import fetch_weights, import_weights, list_weights
from pgsam_monai.networks.autosam import AutoSAM
from pgsam_monai.networks.hsam import HSAM
from pgsam_monai.networks.medsa import MedSA
from pgsam_monai.networks.samed import SAMed
from pgsam_monai.weights import files
from pgsam_monai.weights.files import find_weights, load_weights, resolve_weights

MOST_BYTES = 12_000_000
REAL = files.SHIPPED


@pytest.fixture
def shipped(monkeypatch, tmp_path):
    """The file of an installation, random numbers."""
    return put_stand_in(monkeypatch, tmp_path / "site")


@pytest.mark.skipif(KNOWN_WEIGHTS[NAME].sha256 is None, reason="the weights aren't trained yet")
def test_the_file_is_what_its_record_says():
    file = resolve_weights(NAME)
    assert file.parent == REAL and file.stat().st_size == KNOWN_WEIGHTS[NAME].size_bytes <= MOST_BYTES
    assert {value.dtype for value in load_weights(file).values()} == {torch.float16}
    MedSA(num_classes=1, image_size=KNOWN_WEIGHTS[NAME].image_size, backbone="vit_tiny", weights=NAME)


def test_a_card_lies_beside_it():
    card = (REAL / f"{NAME}.md").read_text(encoding="utf-8")
    numbers = sum(value.numel() for value in random_state().values())
    for told in ("Apache-2.0", "`vit_tiny`", "not a medical device", f"{numbers:,} numbers"):
        assert told in card


def test_it_is_found_without_a_download_or_a_copy(shipped, tmp_path, capsys):
    cache = tmp_path / "cache"
    assert resolve_weights(NAME, weights_dir=cache) == find_weights(KNOWN_WEIGHTS[NAME]) == shipped
    fetch_weights(NAME, weights_dir=str(cache))
    assert capsys.readouterr().out == (
        f"'drawn_tiny' ships with this package, so it is here already:\n{shipped}\n"
    )
    list_weights(str(cache))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith(NAME)]
    assert line.split() == [
        NAME, "vit_tiny", "7", "MB", "Apache-2.0", KNOWN_WEIGHTS[NAME].sha256[:12], "here", "this", "package",
    ]  # fmt: skip
    assert not cache.exists()


def test_importing_it_recognises_what_is_here(shipped, tmp_path, capsys):
    shutil.copyfile(shipped, tmp_path / "mine.safetensors")
    import_weights(str(tmp_path / "mine.safetensors"), weights_dir=str(tmp_path / "cache"))
    assert capsys.readouterr().out == f"{shipped}\n" and not (tmp_path / "cache").exists()


def test_a_damaged_file_is_refused(shipped, tmp_path):
    content = shipped.read_bytes()
    shipped.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UserFault, match="SHA-256 of .* expected .*install pgsam-monai again"):
        resolve_weights(NAME, weights_dir=tmp_path)
    shipped.write_bytes(content[:-2])
    with pytest.raises(UserFault, match="expected 7,.*install pgsam-monai again"):
        resolve_weights(NAME, weights_dir=tmp_path)


def test_an_installation_without_it_names_the_remedy_and_takes_an_import(shipped, tmp_path):
    cache = tmp_path / "cache"
    shutil.move(shipped, tmp_path / "mine.safetensors")
    with pytest.raises(UserFault, match="lacks them.*pip install --force-reinstall .*pgsam weights import"):
        resolve_weights(NAME, weights_dir=cache)
    file = files.import_weights(tmp_path / "mine.safetensors", weights_dir=cache)
    assert file == cache / "drawn_tiny.safetensors" == resolve_weights(NAME, weights_dir=cache)


def test_an_import_of_another_version_is_never_taken(shipped, tmp_path):
    """Versions differ in their numbers, not in their size."""
    content = bytearray(shipped.read_bytes())
    content[-1] ^= 1
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / shipped.name).write_bytes(content)
    assert resolve_weights(NAME, weights_dir=tmp_path / "cache") == shipped
    shipped.unlink()
    with pytest.raises(UserFault, match="SHA-256 of .* expected .*isn't of this version"):
        resolve_weights(NAME, weights_dir=tmp_path / "cache")


def built(network, **options):
    return network(num_classes=2, backbone="vit_tiny", weights=NAME, encoder_training="full", **options)


@pytest.mark.parametrize("network", [SAMed, HSAM, MedSA, AutoSAM])
def test_its_16_bits_become_a_networks_32(shipped, network):
    given, own = load_weights(shipped), built(network, image_size=KNOWN_WEIGHTS[NAME].image_size).state_dict()
    tensors = {key: value for key, value in own.items() if isinstance(value, torch.Tensor)}
    assert {value.dtype for value in tensors.values() if value.is_floating_point()} == {torch.float32}
    encoder = [key for key in given if key.startswith("image_encoder.")]
    assert len(encoder) > 40
    loaded = {
        key.replace(".block.", "."): value for key, value in tensors.items()
    }  # beside Med-SA's adapters
    assert all(torch.equal(loaded[key], given[key].float()) for key in encoder)


def test_position_tables_are_carried_to_another_size(shipped):
    table = load_weights(shipped)["image_encoder.pos_embed"].float()
    own = built(SAMed, image_size=448).image_encoder.pos_embed
    assert table.shape == (1, 16, 16, 192) and own.shape == (1, 28, 28, 192) and own.dtype == torch.float32
    assert torch.allclose(own[0, 0, 0], table[0, 0, 0]) and torch.allclose(own[0, -1, -1], table[0, -1, -1])


def test_skip_features_are_loaded_where_a_network_has_them(shipped):
    key = "mask_decoder.skips.1.mix.weight"
    given, state = load_weights(shipped)[key].float(), built(SAMed, image_size=64).state_dict()
    assert torch.equal(state[key], given)
    without = built(SAMed, image_size=64, skip_features=False).state_dict()
    assert not any("skips" in name for name in without)
