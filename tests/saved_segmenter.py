"A segmenter's file without training, and pictures of few pixels, for the tests of finding them and of the command."
import json, torch
from PIL import Image
from safetensors.torch import save_file

from ae_erasing.segmentation.networks import seg_model
from colour_net import META

def segmenter(path, n=3):
    "Write the weights of an untrained network of `n` classes"
    torch.manual_seed(1)
    net = seg_model('resnet10t', n, False, 16, width=16)[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = dict(seg_arch='resnet10t', output_stride=16, width=16, stats=META['stats'], vocab=META['vocab'][:n], size=64)
    save_file(net.state_dict(), path, dict(model=json.dumps(meta)))
    return path

def pictures(root, *names):
    for n in names:
        (root/n).parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (4,4)).save(root/n, 'PNG')
    return root
