import torch

from pgsam_monai.networks.sam.attend import attend


def test_both_ways_agree():
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 3, 4, 8), torch.randn(2, 3, 5, 8), torch.randn(2, 3, 5, 8)
    bias = torch.randn(2, 3, 4, 5)
    for given in (None, bias):
        fused = attend(query, key, value, given)
        half = None if given is None else given.bfloat16()
        written_out = attend(query.bfloat16(), key.bfloat16(), value.bfloat16(), half)
        assert written_out.dtype == torch.bfloat16
        torch.testing.assert_close(written_out.float(), fused, atol=0.05, rtol=0.05)


def test_bias_selects_keys():
    value = torch.tensor([[[[1.0], [2.0]]]])
    bias = torch.tensor([[[[0.0, -1e9], [-1e9, 0.0]]]])
    out = attend(torch.zeros(1, 1, 2, 1), torch.zeros(1, 1, 2, 1), value, bias)
    torch.testing.assert_close(out, value)
