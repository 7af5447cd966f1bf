import torch
from small_sam import make_original

from pgsam_monai.networks.sam.mask_decoder import MaskDecoder
from pgsam_monai.networks.sam.prompt_encoder import PromptEncoder


def load_ours(original, image_size):
    decoder, prompts = MaskDecoder(num_classes=3), PromptEncoder(image_size=image_size)
    decoder.load_state_dict(original.mask_decoder.state_dict())
    prompts.load_state_dict(original.prompt_encoder.state_dict())
    return decoder, prompts


@torch.no_grad()
def test_batch_equals_segment_anything_image_by_image():
    original = make_original(96)
    decoder, prompts = load_ours(original, 96)
    embedding = torch.randn(3, 256, 6, 6)
    masks, quality = decoder(
        embedding, grid_encoding=prompts.grid_encoding(embedding), dense=prompts.no_prompt()
    )
    sparse, dense = original.prompt_encoder(None, None, None)
    for index in range(3):
        wanted, wanted_quality = original.mask_decoder.predict_masks(
            embedding[index : index + 1], original.prompt_encoder.get_dense_pe(), sparse, dense
        )
        torch.testing.assert_close(masks[index : index + 1], wanted, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(quality[index : index + 1], wanted_quality, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_sparse_prompts_go_in_per_image():
    original = make_original(96)
    decoder, prompts = load_ours(original, 96)
    embedding = torch.randn(2, 256, 6, 6)
    points = torch.tensor([[[10.0, 20.0]], [[50.0, 60.0]]])
    sparse, dense = prompts((points, torch.ones(2, 1)), None, None)
    masks, _ = decoder(embedding, grid_encoding=prompts.grid_encoding(embedding), dense=dense, sparse=sparse)
    wanted, _ = original.mask_decoder.predict_masks(
        embedding[1:], prompts.get_dense_pe(), sparse[1:], dense[1:]
    )
    torch.testing.assert_close(masks[1:], wanted, atol=1e-5, rtol=1e-5)


def test_grid_encoding_keeps_its_precision_under_autocast():
    prompts = PromptEncoder(image_size=96)
    with torch.autocast("cpu", torch.bfloat16):
        encoding = prompts.grid_encoding(torch.randn(1, 256, 6, 6).bfloat16())
    torch.testing.assert_close(encoding, prompts.get_dense_pe(), atol=1e-5, rtol=1e-5)


def test_parameter_counts_are_those_of_the_papers():
    with torch.device("meta"):
        counts = [sum(p.numel() for p in MaskDecoder(num_classes=k).parameters()) for k in (3, 8, 9)]
        prompts = sum(p.numel() for p in PromptEncoder(image_size=224).parameters())
    assert counts == [4_058_340, 4_759_945, 4_900_266]
    assert prompts == 6_220


@torch.no_grad()
def test_skip_features_change_the_masks():
    decoder = MaskDecoder(num_classes=2, skip_channels=(5, 4))
    prompts = PromptEncoder(image_size=64)
    embedding = torch.randn(1, 256, 4, 4)
    skips = (torch.randn(1, 5, 8, 8), torch.randn(1, 4, 16, 16))
    inputs = {"grid_encoding": prompts.grid_encoding(embedding), "dense": prompts.no_prompt()}
    masks, _ = decoder(embedding, **inputs, skips=skips)
    for changed in ((skips[0] * 2 + 1, skips[1]), (skips[0], skips[1] * 2 + 1)):
        assert (decoder(embedding, **inputs, skips=changed)[0] - masks).abs().max() > 1e-4
    assert masks.shape == (1, 3, 16, 16)
