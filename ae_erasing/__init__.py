__version__ = "0.1.0"

import warnings

# fastai still calls `torch.jit.script`; newer torch says so at each import, in the middle of a page
warnings.filterwarnings('ignore', message=r'.*torch\.jit\.script.* is deprecated', category=FutureWarning)
