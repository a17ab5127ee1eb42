"Segmenters without training, and pictures whose masks are known, for the tests of predictions."
import numpy as np, pytest, torch
from PIL import Image
from torch import nn

from ae_erasing.segmentation.networks import SegNet, seg_model
from tensors import batch

class Tones(nn.Module):
    "How much redder, greener and bluer each pixel is than its other colours; keeps the sizes that it saw"
    def __init__(self):
        super().__init__()
        self.seen = []
    def forward(self, x):
        self.seen.append(tuple(x.shape[-2:]))
        return [(2*x-x.sum(1, keepdim=True)).relu()]

class Score(nn.Conv2d):
    def forward(self, fs): return super().forward(fs[-1])

def colour_net():
    "Sees red, green and blue, each pixel by itself"
    net = SegNet(Tones(), Score(3, 4, 1), 3, 3)
    weights = torch.cat([torch.zeros(1,3), 20*torch.eye(3)]),60*torch.eye(3)
    for conv,w,b in zip((net.head, net.cls), weights, (torch.tensor([5.,0,0,0]), torch.full((3,), -3.))):
        conv.weight.data[:,:,0,0],conv.bias.data[:] = w,b
    return net.eval()

COLOURS = np.array([[128]*3, [240,20,20], [20,240,20], [20,20,240]], np.uint8)
META = dict(vocab=['red','green','blue'], stats=([0.]*3,[1.]*3), size=70)
PLACES = np.array([[1,1,0],[2,0,3]], np.uint8)
MASK = PLACES.repeat(32, 0).repeat(32, 1)
PICTURE = COLOURS[MASK]

@pytest.fixture
def net(): return colour_net()

@pytest.fixture(scope='module')
def deep():
    "Untrained, but its scores are levelled so that each class occurs"
    torch.manual_seed(0)
    net = seg_model('resnet10t', 5, False, 16, width=16)[0].eval()
    with torch.no_grad(): s,v = net(batch(4, 3, 64, 96))
    for conv,o in ((net.head.out[-1], s.transpose(0,1).flatten(1)), (net.cls, v.T)):
        conv.weight.data /= o.std(1).view(-1,1,1,1)
        conv.bias.data = (conv.bias.data-o.mean(1))/o.std(1)
    return net,dict(vocab=list('abcde'), stats=([.5]*3,[.25]*3), size=112)

def noise(w, h, seed=0):
    a = np.random.default_rng(seed).integers(0, 256, (max(1,h//8),max(1,w//8),3)).astype(np.uint8)
    return Image.fromarray(a).resize((w,h), Image.Resampling.BICUBIC)
