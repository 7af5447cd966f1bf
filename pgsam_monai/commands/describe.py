"""`pgsam describe`: texts of a bundle's classes, written by a language model."""

from __future__ import annotations

import sys

from pgsam_monai.commands.values import words


def describe(
    bundle: str,
    *,
    endpoint: str | None = None,
    model: str | None = None,
    local: str | None = None,
    api_key_file: str | None = None,
    classes: str | None = None,
    instructions: str = "",
    per_image: bool = False,
    images: int | None = None,
    send_to_remote: bool = False,
    dataset_dir: str | None = None,
    append: bool = False,
    dry_run: bool = False,
) -> None:
    """Let a language model write or refine the texts of a bundle's classes, configs/texts.json.

    Nothing is sent unless you name an endpoint; what is sent is printed first. Interrupted, the same command goes on.

    Examples:
        pgsam describe bundles/pgsam_synapse --endpoint http://localhost:11434/v1 --model llama3.1:8b
        pgsam describe bundles/pgsam_synapse --local /models/Qwen3-8B --classes "spleen,left kidney"
        pgsam describe bundles/pgsam_synapse --endpoint http://localhost:8000/v1 --model medgemma --per_image --images 3

    Args:
        bundle: the folder of a bundle whose network reads texts.
        endpoint: an OpenAI-compatible server (vLLM, Ollama, llama.cpp, …), up to /v1.
        model: the model's name there.
        local: instead of both, the folder of a transformers model (safetensors).
        api_key_file: file with the server's key; the variable OPENAI_API_KEY otherwise.
        classes: some of the classes, separated by commas; all but the background otherwise.
        instructions: added to every request.
        per_image: send slices of training cases to a vision model; each gives its class another text.
        images: slices per class, 3 by default.
        send_to_remote: allow these slices to leave this machine.
        dataset_dir: where the data set lies, if not where the bundle says.
        append: keep the current texts beside the new ones.
        dry_run: print the requests; send and write nothing.
    """
    from pgsam_monai.texts.describe import describe as run
    from pgsam_monai.texts.wishes import ModelChoice, Wishes

    choice = ModelChoice(endpoint=endpoint, model=model, local=local, api_key_file=api_key_file)
    wishes = Wishes(
        classes=tuple(words(classes)) or None, instructions=instructions, per_image=per_image, images=images,
        send_to_remote=send_to_remote, dataset_dir=dataset_dir, append=append, dry_run=dry_run,
    )  # fmt: skip
    try:
        run(bundle, choice, wishes)
    except KeyboardInterrupt:
        sys.exit("pgsam: interrupted. Answers so far are kept; the same command goes on after them.")
