"""Training-step speed of PyTorch: MobileFaceNet + ArcFace over 10,575 classes, forward, backward and SGD, on CPU.

Prints one JSON line: { work, engine, threads, bestMs, medianMs, perSecond, gflops, runs, malloc, layout }.
Run: python3 bench/torch/step.py [--threads 2] [--batch 32] [--classes 10575] [--malloc default|tuned] [--layout nhwc|nchw] [--seconds 10]
"""

import argparse
import json

from common import environment, row, timings

parser = argparse.ArgumentParser()
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--batch", type=int, default=32)
parser.add_argument("--classes", type=int, default=10575)
parser.add_argument("--malloc", choices=("default", "tuned"), default="default")
parser.add_argument("--layout", choices=("nhwc", "nchw"), default="nhwc")
parser.add_argument("--seconds", type=float, default=10)
args = parser.parse_args()
environment(args.threads, args.malloc)

import torch

from mobileFaceNet import FaceTrainer, decay_groups, initialise

torch.set_num_threads(args.threads)
generator = torch.Generator().manual_seed(0)
layout = torch.channels_last if args.layout == "nhwc" else torch.contiguous_format
model = FaceTrainer(args.classes)
initialise(model, generator)
model.to(memory_format=layout).train()
sgd = torch.optim.SGD(decay_groups(model), lr=1e-3, momentum=0.9, nesterov=True)
x = torch.randn(args.batch, 3, 112, 112, generator=generator).contiguous(memory_format=layout)
labels = torch.randint(args.classes, (args.batch,), generator=generator)


def step():
    sgd.zero_grad(set_to_none=True)
    loss = model(x, labels)
    loss.backward()
    sgd.step()
    return loss.item()


# Three times the forward multiplications: forward, input gradients, weight gradients.
gflop = 3 * 2 * (220_965_376 + 128 * args.classes) / 1e9
print(json.dumps(row("train", timings(step, args.seconds), args.threads, args.batch, gflop,
                     malloc=args.malloc, layout=args.layout, version=torch.__version__)))
