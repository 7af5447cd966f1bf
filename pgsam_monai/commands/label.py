"""`pgsam label`: bundles on a MONAI Label server, for 3D Slicer, OHIF and scripts."""

from __future__ import annotations

from pgsam_monai.base.memory import set_limit
from pgsam_monai.commands.values import window_numbers, words


def label(
    *bundles: str, studies: str | None = None, host: str = "127.0.0.1", port: int = 8000, auth: str | None = None,
    allow_origin: str | None = None, also_read: str | None = None, app_dir: str | None = None,
    score: str | None = None, train: bool = True, max_upload_mb: int = 2000, environment: str | None = None,
    dry_run: bool = False, max_gb: object = None, engine: str = "auto", labels: str | None = None,
    window: object = None, plane: str | None = None,
) -> None:  # fmt: skip
    """Serve with MONAI Label: segment, click, correct and train from 3D Slicer, OHIF or a script.

    With trained bundles, or from nothing, or both. From nothing means: --labels names what you are going to label, and
    weights that come with this package answer clicks and boxes (drawn_tiny_deepedit, drawn_tiny_deepgrow); they know
    no structure by themselves. Once two studies have labels, training drawn_tiny plans a data set of these, writes a
    bundle into the app's folder and trains it; from then on, and at later starts, it is served beside them.

    Bundles are linked, not copied: a training from the server is in the bundle, and a model.pt that changes is what
    the next request gets. Images are the files that lie in the studies folder itself; labels that clients save go to
    its labels/final. DICOM series are folders in it, asked for by their names.

    In 3D Slicer: install the extension MONAILabel, open the module "MONAI Label", enter the address that is printed
    at the start, and press its arrow. /health says whether the server lives, /info/ what it has, /logs/ what it did.

    Nothing leaves this machine. The server listens on loopback unless you name another --host; then use --auth too,
    for otherwise everybody who reaches the port can read the studies and train. With --auth users need a role of the
    realm: monailabel-user to segment, -annotator to save labels, -admin to train. Further settings of MONAI Label,
    MONAI_LABEL_… in the environment, stay as you have set them; a file .env is not read.

    MONAI Label has its own environment, .venv-label, because it needs older versions of some packages: `make label`
    makes it in a checkout, `python -m venv .venv-label && .venv-label/bin/pip install 'pgsam-monai[label]'` elsewhere.

    Examples:
        pgsam label bundles/medsa_spleen bundles/refsam3d_btcv --studies /data/studies --port 8123
        pgsam label bundles/samed_spleen --studies /data/studies --score samed_spleen
        pgsam label --studies /data/studies --labels liver,spleen
        pgsam label --studies /data/ct --labels "liver,left kidney" --window=-160,240
        pgsam label bundles/samed_spleen --studies /data/studies --host 0.0.0.0 --auth https://id.example.org/realms/lab

    Args:
        bundles: folders of trained bundles; their folders' names are the models' names.
        studies: folder with the images; labels are written there. Or the address of a DICOMweb server, for OHIF.
        host: address to listen on; 0.0.0.0 is every address of this machine.
        port: to listen on.
        auth: realm of Keycloak or another OpenID Connect server; its users are let in by their roles.
        allow_origin: addresses of web pages that may ask the server, such as OHIF's, separated by commas. Pages of this
            machine may. Behind a server with a name of its own, that one's address too.
        also_read: folders, separated by commas, whose images and DICOM series may be asked for by their paths; without
            it only those of the studies folder.
        app_dir: folder for links, logs, and bundles that were trained from nothing; by default one per studies folder
            in ~/.cache/pgsam_monai/label.
        score: bundles, separated by commas, whose images are scored for active learning at the start and after each
            training. That takes minutes per hundred images; without it clients ask for it.
        train: False refuses trainings.
        max_upload_mb: larger uploads are refused.
        environment: folder of the environment that has MONAI Label.
        dry_run: check everything and print the command, but start nothing.
        engine: torch; openvino or onnxruntime, which answer with what pgsam export wrote; auto takes the faster of
            these that was seen to answer as the trained network does. After a training from here torch answers, until
            the next export.
        labels: structures to label from nothing, separated by commas. Label files that lie in the studies folder's
            labels/final already hold 1, 2, … in this order.
        window: with labels, low,high: grey values that become black and white, for CT in HU; by default percentiles of
            each image.
        plane: with labels, axial, coronal or sagittal: the slices that clicks and boxes are about; by default those
            across the largest spacing, axial among equals.
        max_gb: GB that the voxels of one image may take in memory; a quarter of the free memory by default.
    """
    set_limit(max_gb)
    from pgsam_monai.label.launch.environment import find_environment
    from pgsam_monai.label.launch.serving import check
    from pgsam_monai.label.launch.start import start

    serving = check(
        bundles, studies, app_dir=app_dir, host=host, port=port, auth=auth, score=words(score), train=train,
        allow_origin=words(allow_origin), max_upload_mb=max_upload_mb, also_read=words(also_read),
        engine=engine, labels=words(labels), window=window_numbers(window), plane=plane,
    )  # fmt: skip
    start(serving, find_environment(environment), dry_run=dry_run)
