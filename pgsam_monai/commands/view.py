"""`pgsam view`: a page that shows a prediction on its image."""

from __future__ import annotations

from pathlib import Path

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.memory import set_limit
from pgsam_monai.base.replacing import note_written, require_replaceable
from pgsam_monai.commands.values import window_numbers


def view(
    prediction: str,
    *,
    image: str | None = None,
    output: str | None = None,
    reference: str | None = None,
    bundle: str | None = None,
    labels: str | None = None,
    window: object = None,
    open: bool = False,
    overwrite: bool = False,
    max_gb: object = None,
) -> None:
    """Write an HTML page that shows a label map on its image: open it in any browser, from disk, without a network.

    The page is one file with everything in it: three planes, classes to switch on and off, opacity, grey-value windows.
    It holds the image, so treat it like the image. `pgsam predict … --html` writes the same page of each prediction.

    Examples:
        pgsam view predictions/case.nii.gz --image scan.nii.gz --bundle bundles/samed_synapse --open
        pgsam view predictions/case.nii.gz --image dicom/series --labels liver=1,spleen=2
        pgsam view predictions/case.seg.dcm --image dicom/series
        pgsam view predictions/case.nii.gz --image scan.nii.gz --reference labels/case.nii.gz --output case.html

    Args:
        prediction: file of a label map, or a DICOM segmentation (as `pgsam predict --format dicom-seg` writes it).
        image: the image that it belongs to: a file or a DICOM series folder.
        output: the page, beside the prediction by default.
        reference: a second label map, to compare: its outlines, and the Dice of each class.
        bundle: folder of the bundle that predicted, for the names of the classes.
        labels: names of the classes instead, as in liver=1,spleen=2.
        window: low,high: grey values that are black and white at first; you can change them on the page.
        open: open the page in the browser.
        overwrite: replace a file that is none of ours, or was changed since it was written.
        max_gb: GB that the voxels of one image may take in memory; a quarter of the free memory by default.
    """
    set_limit(max_gb)
    from pgsam_monai.pictures.page.write import write_page

    if image is None:
        raise UserFault("view: no image to show the prediction on; give it with --image FILE.")
    file = _page_file(prediction, output)
    require_replaceable([file], inputs=filter(None, (image, prediction, reference)), overwrite=overwrite)
    names, background, planned = _class_names(bundle, labels)
    write_page(
        image,
        prediction,
        reference,
        file=file,
        labels=names,
        background=background,
        window=window_numbers(window) or planned,
    )
    note_written(file)
    print(file)
    if open:
        _open(file)


def _page_file(prediction: str, output: str | None) -> Path:
    from pgsam_monai.base.cases import case_name

    file = Path(prediction).expanduser().with_name(f"{case_name(prediction)}.html")
    file = file if output is None else Path(output).expanduser()
    if file.suffix.lower() not in (".html", ".htm"):
        raise UserFault(f"view: --output names the page, as in case.html; got '{output}'.")
    return file


def _class_names(
    bundle: str | None, labels: str | None
) -> tuple[dict[str, int], int | None, tuple[float, float] | None]:
    """Class names with their values, the background's value (None: all others), and the bundle's window."""
    if bundle is not None and labels is not None:
        raise UserFault("view: --bundle and --labels both name the classes; give one of them.")
    if bundle is not None:
        from pgsam_monai.bundle import Bundle

        planned = Bundle(bundle, configs=["plan.json"])
        return planned.labels, planned.background, planned.window
    names = {} if labels is None else _named_values(labels)
    return names, None if 0 in names.values() else 0, None


def _named_values(labels: str) -> dict[str, int]:
    """What was typed as liver=1,spleen=2."""
    names = {}
    for part in labels.split(","):
        name, _, value = (word.strip() for word in part.rpartition("="))
        if not name or not value.isascii() or not value.isdigit():
            raise UserFault(
                f"view: --labels takes name=value separated by commas, as in liver=1,spleen=2; got '{labels}'."
            )
        if name in names or int(value) in names.values():
            raise UserFault(f"view: --labels gives the name '{name}' or the value {value} twice.")
        names[name] = int(value)
    return names


def _open(file: Path) -> None:
    import webbrowser

    if not webbrowser.open(file.absolute().as_uri()):
        print("No browser was found here; open the file in one yourself.")
