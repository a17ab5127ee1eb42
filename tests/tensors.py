"Random tensors, and whether two are the same, for the tests of networks and maps."
import torch

def batch(*size, seed=0): return torch.randn(size, generator=torch.Generator().manual_seed(seed))

def probabilities(*size, seed=0):
    "Of labels, along the second axis"
    return batch(*size, seed=seed).mul(3).softmax(1)

def same(a, b, atol=1e-5):
    assert a.shape==b.shape
    assert torch.allclose(a, b, atol=atol), (a-b).abs().max()
