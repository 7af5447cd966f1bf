"""A language model in a folder on this machine, through `transformers`; nothing is sent or fetched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pgsam_monai.base.errors import UserFault
from pgsam_monai.texts.asking import Message

MAX_NEW_TOKENS = 256


class LocalModel:
    """A causal language model saved with `save_pretrained`: safetensors and its tokenizer.

    Greedy decoding under a fixed seed; on a GPU if there is one. Code in the folder is never run.

    Raises:
        UserFault: the folder holds no such model; the message says what is missing.
    """

    def __init__(self, folder: str | Path, *, max_new_tokens: int = MAX_NEW_TOKENS, seed: int = 0):
        root = Path(folder).expanduser()
        if not (root / "config.json").is_file():
            raise UserFault(
                f"--local '{folder}' is no transformers model (no config.json); give the folder that holds "
                "config.json, the tokenizer and *.safetensors."
            )
        self.model = str(root.resolve())
        self._max_new_tokens, self._seed = max_new_tokens, seed
        self._tokenizer, self._network = _load(root)

    def ask(self, messages: Sequence[Message]) -> str:
        """The raw continuation of the conversation, at most `max_new_tokens` tokens.

        Raises UserFault when the conversation is longer than the model's context.
        """
        import torch

        inputs = self._encode(messages).to(self._network.device)
        length = inputs["input_ids"].shape[1]
        context = getattr(self._network.config, "max_position_embeddings", None)
        if context and length + self._max_new_tokens > context:
            raise UserFault(
                f"The request has {length} tokens and leaves less than {self._max_new_tokens} for the answer in "
                f"the {context} that --local '{self.model}' reads; take a model with a longer context."
            )
        cuda = [self._network.device] if self._network.device.type == "cuda" else []
        with torch.inference_mode(), torch.random.fork_rng(cuda):
            torch.manual_seed(self._seed)
            tokens = self._network.generate(
                **inputs, do_sample=False, max_new_tokens=self._max_new_tokens, pad_token_id=self._pad()
            )
        return self._tokenizer.decode(tokens[0, length:], skip_special_tokens=True)

    def _encode(self, messages: Sequence[Message]):
        """Token ids (1, n) and attention mask; the chat template where the tokenizer has one."""
        if self._tokenizer.chat_template:
            return self._tokenizer.apply_chat_template(
                list(messages), add_generation_prompt=True, return_tensors="pt", return_dict=True
            )
        return self._tokenizer(plain_talk(messages), return_tensors="pt", return_token_type_ids=False)

    def _pad(self) -> int | None:
        pad = self._tokenizer.pad_token_id
        return self._tokenizer.eos_token_id if pad is None else pad


def plain_talk(messages: Sequence[Message]) -> str:
    """A conversation as running text, for models that know no chat template."""
    names = {"user": "Question", "assistant": "Answer"}
    turns = [f"{names[message['role']]}: {message['content']}" for message in messages]
    return "\n\n".join([*turns, "Answer:"])


def _load(root: Path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    rules = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(root, **rules)
        network, found = AutoModelForCausalLM.from_pretrained(
            root, use_safetensors=True, dtype="auto", output_loading_info=True, **rules
        )
    except Exception as error:  # transformers raises many kinds for a missing file, code to run, odd weights
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise UserFault(
            f"--local '{root}' can't be loaded as a language model with safetensors and without running its "
            f"code: {reason}"
        ) from error
    missing = sorted([*found["missing_keys"], *map(str, found["mismatched_keys"])])
    if missing:  # transformers would fill them with random numbers
        raise UserFault(
            f"--local '{root}' lacks weights that its config.json asks for ({', '.join(missing[:3])}, "
            f"{len(missing)} in all); copy the whole model again."
        )
    return tokenizer, network.eval().to("cuda" if torch.cuda.is_available() else "cpu")
