"""Inference speed of PyTorch: MobileFaceNet forward at 112x112 on CPU, batch norm in evaluation mode.

Prints one JSON line per mode and batch: eager (channels last) and frozen TorchScript (batch norm folded).
Run: python3 bench/torch/forward.py [--threads 2] [--batches 1,32] [--malloc default|tuned] [--seconds 5]
"""

import argparse
import json

from common import environment, row, timings

parser = argparse.ArgumentParser()
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--batches", default="1,32")
parser.add_argument("--malloc", choices=("default", "tuned"), default="default")
parser.add_argument("--seconds", type=float, default=5)
args = parser.parse_args()
environment(args.threads, args.malloc)

import torch

from mobileFaceNet import FaceTrainer, initialise

torch.set_num_threads(args.threads)
generator = torch.Generator().manual_seed(0)
model = FaceTrainer(2)
initialise(model, generator)
eager = model.net.to(memory_format=torch.channels_last).eval()

with torch.no_grad():
    for batch in map(int, args.batches.split(",")):
        x = torch.randn(batch, 3, 112, 112, generator=generator).contiguous(memory_format=torch.channels_last)
        frozen = torch.jit.optimize_for_inference(torch.jit.trace(eager, x))
        for mode, net, input in (("eager", eager, x), ("frozen", frozen, x.contiguous())):
            ms = timings(lambda: net(input), args.seconds)
            print(json.dumps(row("forward", ms, args.threads, batch, 2 * 220_965_376 / 1e9,
                                 mode=mode, malloc=args.malloc, version=torch.__version__)), flush=True)
