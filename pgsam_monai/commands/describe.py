"""`pgsam describe`: texts of a bundle's classes, or of each case, written by a language model."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pgsam_monai.base.errors import UserFault
from pgsam_monai.commands.values import words

if TYPE_CHECKING:
    from pgsam_monai.texts.wishes import ModelChoice, Wishes


def describe(
    bundle: str,
    *,
    endpoint: str | None = None,
    model: str | None = None,
    local: str | None = None,
    api_key_file: str | None = None,
    classes: str | None = None,
    instructions: str = "",
    pictures: int = 0,
    each: str | None = None,
    images: str | None = None,
    output: str | None = None,
    send_to_remote: bool = False,
    dataset_dir: str | None = None,
    append: bool = False,
    dry_run: bool = False,
) -> None:
    """Let a language model write or refine the texts of a bundle's classes, configs/texts.json.

    With --each, a vision model is shown every case of the bundle's splits, images only, never labels, and writes a text
    of each class that it sees there: nine slices side by side of each case, or each slice. They go into
    configs/case_texts.json. With --images and --output it is shown other images, for pgsam predict --case_texts.

    Nothing is sent unless you name an endpoint; what is sent is printed first. Interrupted, the same command goes on.

    Examples:
        pgsam describe bundles/pgsam_synapse --endpoint http://localhost:11434/v1 --model llama3.1:8b
        pgsam describe bundles/pgsam_synapse --local /models/Qwen3-8B --classes "spleen,left kidney"
        pgsam describe bundles/pgsam_synapse --endpoint http://localhost:8000/v1 --model medgemma --pictures 3
        pgsam describe bundles/pgsam_synapse --endpoint http://localhost:8000/v1 --model medgemma --each case
        pgsam describe bundles/pgsam_synapse --endpoint http://localhost:8000/v1 --model medgemma --each case \\
            --images new_scans --output texts_of_new_scans.json

    Args:
        bundle: the folder of a bundle whose network reads texts.
        endpoint: an OpenAI-compatible server (vLLM, Ollama, llama.cpp, …), up to /v1.
        model: the model's name there.
        local: instead of both, the folder of a transformers model (safetensors).
        api_key_file: file with the server's key; the variable OPENAI_API_KEY otherwise.
        classes: some of the classes, separated by commas; all but the background otherwise.
        instructions: added to every request.
        pictures: of each class so many slices of training cases are shown to a vision model, with words on where in
            them the class lies, by its labels; each gives the class another text.
        each: case or slice, to have texts of each instead of the classes' own, from its pictures alone.
        images: with --each case, an image file, a folder of them or a DICOM series, instead of the bundle's cases.
        output: the file that gets the texts of --images.
        send_to_remote: allow pictures to leave this machine.
        dataset_dir: where the data set lies, if not where the bundle says.
        append: keep the current texts beside the new ones.
        dry_run: print the requests; send and write nothing.
    """
    from pgsam_monai.texts.wishes import ModelChoice, Wishes, check_wishes

    choice = ModelChoice(endpoint=endpoint, model=model, local=local, api_key_file=api_key_file)
    wishes = Wishes(
        classes=tuple(words(classes)) or None, instructions=instructions, pictures=pictures, each=each,
        send_to_remote=send_to_remote, dataset_dir=dataset_dir, append=append, dry_run=dry_run,
    )  # fmt: skip
    _check_images(images, output, each)
    check_wishes(choice, wishes)
    try:
        _describe(bundle, choice, wishes, images, output)
    except KeyboardInterrupt:
        sys.exit("pgsam: interrupted. Answers so far are kept; the same command goes on after them.")


def _check_images(images: str | None, output: str | None, each: str | None) -> None:
    if images is not None and each != "case":
        raise UserFault(
            "--images FILE_OR_FOLDER goes with --each case; the number of training slices that are shown for a class's "
            "text is --pictures."
        )
    if (images is None) != (output is None):
        raise UserFault(
            "--images are what is described, --output is the file that gets their texts; give both."
        )


def _describe(
    bundle: str, choice: ModelChoice, wishes: Wishes, images: str | None, output: str | None
) -> None:
    if not wishes.each:
        from pgsam_monai.texts.describe import describe

        describe(bundle, choice, wishes)
        return
    from pgsam_monai.bundle import Bundle
    from pgsam_monai.predicting.inputs import list_inputs, require_channels
    from pgsam_monai.texts.describe_cases import describe_cases

    whole = Bundle(bundle)
    whole.require_class_texts(f"--each {wishes.each}")
    cases = None if images is None else list_inputs(images, channels=whole.channels)
    for case in cases or ():
        require_channels(case, whole.channels)
    describe_cases(bundle, choice, wishes, images=cases, output=output)
