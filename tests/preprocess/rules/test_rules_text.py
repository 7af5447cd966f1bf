"""The rules of networks that read text: CLIP, its memory, and the texts."""

import pytest
from plan_evidence import GPU, decide, evidence, values

from preprocess.networks.pgsam.rules import choose_clip_towers, keeps_clip
from preprocess.rules import texts
from preprocess.rules.encoders import ENCODERS
from preprocess.rules.memory import NOTHING, fixed_gb, image_gb


def test_clip_on_a_cpu_learns_from_random_numbers():
    decided = values(evidence(), "pgsam")
    assert (decided["clip_model"], decided["clip_weights"], decided["clip_training"]) == (
        "clip_tiny",
        None,
        "full",
    )
    assert (decided["clip_towers"], decided["refinement_steps"]) == ("both", 3)


def test_texts_of_a_sentence_encoder_stay_as_they_were_written():
    names = ("image_prior", "text_match", "base_rates", "clip_towers")
    planned = values(evidence(), "pgsam")
    assert [planned[name] for name in names] == ["global", "learnt", False, "both"]
    minilm = values(evidence(), "pgsam", text_encoder="minilm")
    assert [minilm[name] for name in names] == ["none", "identity", True, "image"]


def test_clip_on_a_gpu_is_adapted():
    names = ("clip_model", "clip_weights", "clip_training")
    decided = values(evidence(machine=GPU), "pgsam")
    assert [decided[name] for name in names] == ["ViT-B-32-quickgelu", "openai", "lora"]
    random = values(evidence(machine=GPU), "pgsam", clip_weights=None)
    assert random["clip_training"] == "full"
    folder = values(evidence(machine=GPU), "pgsam", clip_model="local-dir:/models/biomedclip")
    assert (folder["clip_weights"], folder["clip_training"]) == ("pretrained", "lora")
    unknown = decide(evidence(machine=GPU), "pgsam", clip_model="ViT-B-16-SigLIP")
    assert unknown["clip_weights"].value is None and "give the tag" in unknown["clip_weights"].reason
    assert "taken for a ViT-B-16-quickgelu" in unknown["batch_size"].reason


def test_towers_that_are_not_there_are_neither_trained_nor_counted():
    whole = _clip(8)
    without_image, without_text = _clip(8, image_prior="none"), _clip(8, text_encoder="minilm")
    assert whole.megabytes > without_image.megabytes and whole.values > without_image.values
    assert whole.megabytes > without_text.megabytes and whole.values == without_text.values
    assert choose_clip_towers(None, {"text_encoder": "minilm", "image_prior": "patches"}).value == "image"
    assert choose_clip_towers(None, {"text_encoder": None, "image_prior": "none"}).value == "text"


def _clip(num_classes, training="lora", **chosen):
    decided = {"clip_model": "ViT-B-32-quickgelu", "clip_training": training, "image_size": 224}
    decided |= {"image_prior": "global", "text_encoder": None, **chosen}
    return keeps_clip({**decided, "labels": list(range(num_classes + 1))}, ENCODERS["vit_b"])


def test_pgsam_needs_more_memory_than_samed():
    one = {"image_size": 224, "mixed_precision": False}
    plain, guided = (image_gb("vit_b", num_classes=8, beside=b, **one) for b in (NOTHING, _clip(8)))
    assert 1.2 < guided / plain < 2
    assert image_gb("vit_b", num_classes=15, beside=_clip(15), **one) - guided > (
        image_gb("vit_b", num_classes=15, **one) - plain
    )
    lora, full = (
        fixed_gb("vit_b", encoder_training="lora", beside=_clip(8, training=training))
        for training in ("lora", "full")
    )
    assert full - lora == pytest.approx(0.151 * 12, rel=1e-6)
    tight = GPU.__class__(target="gpu", memory_gb=8, target_reason="x.", memory_reason="x.")
    facts = evidence(machine=tight)
    assert values(facts, "pgsam")["batch_size"] < values(facts)["batch_size"]
    assert "vit_b and CLIP ViT-B-32-quickgelu at" in decide(facts, "pgsam")["batch_size"].reason


def test_texts_are_looked_up_and_unknown_names_get_a_sentence():
    decided = {"label_names": ["background", "liver", "xyzzy"], "modality": "CT", "orientation": ""}
    decision = texts.choose_texts(None, decided)
    assert list(decision.value) == ["background", "liver", "xyzzy"]
    assert "Liver on CT: " in decision.value["liver"]
    assert decision.value["xyzzy"] == "The xyzzy on CT."
    assert "knows 2 of 3 names" in decision.reason and "Plain sentence only for 'xyzzy'" in decision.reason
    near = texts.choose_texts(None, {**decided, "label_names": ["spleeen"]}).reason
    assert "'spleeen' (near: 'spleen')" in near


def test_the_data_set_decides_what_an_ambiguous_label_means():
    decided = {"label_names": ["background", "Anterior", "Posterior"], "modality": "MR", "orientation": ""}
    alone = texts.choose_texts(evidence(), decided)
    told = texts.choose_texts(evidence(dataset_words="hippocampus Task04_Hippocampus"), decided)
    assert "knows 1 of 3" in alone.reason and "knows 3 of 3" in told.reason
    assert "ippocamp" in told.value["Anterior"]


def test_the_other_labels_the_data_set_and_the_orientation_shape_a_text():
    names = ["background", "spleen", "left kidney", "aorta", "heart"]
    decided = {"label_names": names[:4], "modality": "CT", "orientation": "PLS"}
    told = texts.choose_texts(evidence(dataset_words="synapse"), decided).value
    assert told["aorta"].startswith("Abdominal aorta on CT: ") and "portal vein" in told["aorta"]
    assert told["left kidney"].endswith("; the patient's left is on the picture's right.")
    assert "picture" not in told["spleen"]

    chest = texts.choose_texts(evidence(), {**decided, "label_names": [*names[3:]], "orientation": ""}).value
    assert chest["aorta"].startswith("Thoracic aorta on CT: ") and "portal" not in chest["aorta"]
