"Overrides that make the paper's experiment one of seconds."

LOOP = dict(arch='resnet10t', pretrained='no', size=32, mine_size=32, refine_iters=0, epochs=1, steps=2, bs=4)
SEG = dict(arch='resnet10t', pretrained='no', size=32, pred_size=32, epochs=1, width=16, bs=4)
