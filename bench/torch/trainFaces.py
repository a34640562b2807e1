"""The training anchor: MobileFaceNet + ArcFace trained by PyTorch on real faces from nothing, verified on LFW pairs.

Recipe: s 32, m 0.5, hard fallback; RGB (x - 127.5) / 128, random horizontal flip; batch 64, last partial batch dropped;
SGD Nesterov 0.9, lr 0.1 after 100 steps of linear warm-up, 0.01 from 60 % and 0.001 from 85 % of the steps; weight decay 4e-5
on convolutions, 4e-4 on the global depthwise, the last 1x1 and the class matrix, 0 on batch norm and PReLU.
Verification is protocol B on LFW folds 1 to 3: features of the face and its mirror image concatenated, the mean of the other
folds subtracted, cosine, threshold the mean of all those best on the other folds (-1 to 1 in steps of 1e-4).

The data (one folder a person; LFW's pairs.txt with the pictures) lies outside the repository.
Prints JSON lines { step, epoch, loss, lr, imagesPerSecond }, then { epoch, accuracy, folds }; --out writes the steps as CSV.
Run: python3 bench/torch/trainFaces.py --seed 1 --epochs 12 --threads 2 --out bench/results/torchFaces.csv
     --maxSteps 5 --evalPairs 20 is a smoke run.
"""

import argparse
import io
import json
import pathlib
import time

from common import SHARED, environment

parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--epochs", type=int, default=12)
parser.add_argument("--batch", type=int, default=64)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--malloc", choices=("default", "tuned"), default="tuned")
parser.add_argument("--data", type=pathlib.Path, default=SHARED / "train" / "celeba112")
parser.add_argument("--verify", type=pathlib.Path, default=SHARED / "verify" / "lfw112")
parser.add_argument("--out", type=pathlib.Path)
parser.add_argument("--logEverySteps", type=int, default=50)
parser.add_argument("--evalEveryEpochs", type=int, default=6)
parser.add_argument("--maxSteps", type=int, default=0, help="stop early")
parser.add_argument("--evalPairs", type=int, default=0, help="pairs of each kind a fold, for a smoke run")
args = parser.parse_args()
environment(args.threads, args.malloc)

import numpy as np
import torch
from PIL import Image

from mobileFaceNet import FaceTrainer, decay_groups, initialise


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"))


def normalised(images):
    """uint8 [B, 112, 112, 3] to float [B, 3, 112, 112], channels last in memory."""
    return (torch.from_numpy(images).permute(0, 3, 1, 2).float() - 127.5) / 128


def load_faces(folder):
    people = sorted(p for p in folder.iterdir() if p.is_dir())
    files = [(f, label) for label, p in enumerate(people) for f in sorted(p.glob("*.jpg"))]
    return np.stack([pixels(f) for f, _ in files]), np.array([label for _, label in files]), len(people)


def load_pairs(folder, limit):
    """Folds of (left index, right index, same) over a list of pictures."""
    lines = (folder / "pairs.txt").read_text().splitlines()
    folds, each = map(int, lines[0].split())
    index, files = {}, []

    def of(name, number):
        key = f"{name}/{name}_{int(number):04d}.jpg"
        if key not in index:
            index[key] = len(files)
            files.append(folder / key)
        return index[key]

    out, at = [], 1
    for _ in range(folds):
        pairs = []
        for same in (True, False):
            for line in lines[at : at + (min(limit, each) or each)]:
                f = line.split()
                pairs.append((of(f[0], f[1]), of(f[0], f[2]), True) if same else (of(f[0], f[1]), of(f[2], f[3]), False))
            at += each
        out.append(pairs)
    return out, np.stack([pixels(f) for f in files])


def embed(net, images):
    net.eval()
    out = []
    with torch.no_grad():
        for i in range(0, len(images), 64):
            b = images[i : i + 64]
            out.append(torch.cat([net(normalised(b)), net(normalised(b[:, :, ::-1].copy()))], 1).numpy())
    net.train()
    return np.concatenate(out).astype(np.float64)


def verify(features, folds):
    """Protocol B: accuracy of every fold under the threshold of the others."""
    thresholds = np.arange(-10000, 10001) / 10000

    def scores(pairs, mean):
        f = features - mean
        f = f / np.linalg.norm(f, axis=1, keepdims=True)
        left, right, same = (np.array(c) for c in zip(*pairs))
        return (f[left] * f[right]).sum(1), same.astype(bool)

    out = []
    for i, fold in enumerate(folds):
        others = [p for j, o in enumerate(folds) if j != i for p in o]
        mean = features[[k for l, r, _ in others for k in (l, r)]].mean(0)
        cos, same = scores(others, mean)
        positive, negative = np.sort(cos[same]), np.sort(cos[~same])
        right = len(positive) - np.searchsorted(positive, thresholds, "right") + np.searchsorted(negative, thresholds, "left")
        threshold = thresholds[right == right.max()].mean()
        cos, same = scores(fold, mean)
        out.append(float(((cos > threshold) & same).sum() + ((cos < threshold) & ~same).sum()) / len(fold))
    return out


def rate(step, total):
    if step < 100:
        return 0.1 * (step + 1) / 100
    return 0.1 if step < 0.6 * total else 0.01 if step < 0.85 * total else 0.001


def main():
    torch.set_num_threads(args.threads)
    generator = torch.Generator().manual_seed(args.seed)
    images, labels, classes = load_faces(args.data)
    folds, faces = load_pairs(args.verify, args.evalPairs)
    model = FaceTrainer(classes)
    initialise(model, generator)
    model.to(memory_format=torch.channels_last).train()
    sgd = torch.optim.SGD(decay_groups(model), lr=0.1, momentum=0.9, nesterov=True)
    per_epoch = len(images) // args.batch
    total, step, csv = per_epoch * args.epochs, 0, io.StringIO("")
    csv.write("step,epoch,loss,lr,imagesPerSecond\n")
    training = 0.0
    for epoch in range(args.epochs):
        order = torch.randperm(len(images), generator=generator).numpy()
        flips = torch.rand(len(images), generator=generator).numpy() < 0.5
        for at in range(0, per_epoch * args.batch, args.batch):
            start = time.perf_counter()
            pick = order[at : at + args.batch]
            batch = images[pick]
            mirror = flips[pick]
            batch[mirror] = batch[mirror][:, :, ::-1]
            for group in sgd.param_groups:
                group["lr"] = rate(step, total)
            sgd.zero_grad(set_to_none=True)
            loss = model(normalised(batch), torch.from_numpy(labels[pick]))
            loss.backward()
            sgd.step()
            took, step = time.perf_counter() - start, step + 1
            training += took
            line = dict(step=step, epoch=epoch + 1, loss=round(loss.item(), 4), lr=round(rate(step - 1, total), 6),
                        imagesPerSecond=round(args.batch / took, 2))
            csv.write(",".join(f"{v:g}" for v in line.values()) + "\n")
            if step % args.logEverySteps == 0 or step == args.maxSteps:
                print(json.dumps(line), flush=True)
            if step == args.maxSteps:
                break
        last = step in (args.maxSteps, total)
        if last or (epoch + 1) % args.evalEveryEpochs == 0:
            accuracies = verify(embed(model.net, faces), folds)
            print(json.dumps(dict(epoch=epoch + 1, step=step, accuracy=round(float(np.mean(accuracies)), 5),
                                  folds=[round(a, 5) for a in accuracies], protocol="B, flip concatenated, LFW folds 1-3",
                                  imagesPerSecond=round(step * args.batch / training, 2), seed=args.seed)), flush=True)
        if last:
            break
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(csv.getvalue())


if __name__ == "__main__":
    main()
