"""Golden results for src/image/filters.ts: what PIL, OpenCV, SciPy and NumPy make of one small picture.

    python3 test/reference/filters.py test/reference/filters.json

Needs numpy, scipy, opencv-python-headless and pillow. The picture is drawn from counterRandom.py, so that the file
holds results only, as base64 of their bytes [height, width, 3]. PIL is what torchvision's ColorJitter calls for PIL pictures.
"""

import base64
import json
import sys

import cv2
import numpy as np
import PIL
import scipy
from PIL import Image, ImageEnhance
from scipy import ndimage

from counterRandom import fold, key_of, threefry

WIDTH, HEIGHT = 15, 11


def picture(width=WIDTH, height=HEIGHT):
    """Noise over four large blocks: word 0 of counter i, low 6 bits, on block levels of word 1 of counter 0..11."""
    key = fold(key_of(5), "filters")
    noise = (threefry(key, np.arange(width * height * 3, dtype=np.uint32), 0)[0] & np.uint32(63)).astype(np.int64)
    blocks = (threefry(key, np.arange(12, dtype=np.uint32), 1)[1] & np.uint32(255)).astype(np.int64).reshape(2, 2, 3)
    y = (np.arange(height) * 2 // height)[:, None]
    x = (np.arange(width) * 2 // width)[None, :]
    image = blocks[y, x] + noise.reshape(height, width, 3) - 32
    return np.clip(image, 0, 255).astype(np.uint8)


def gaussian(image, sigma):
    """Rounded half up; no value is so near to a tie that the order of sums decides."""
    exact = np.stack(
        [ndimage.gaussian_filter(image[..., c].astype(np.float64), sigma, truncate=3, mode="mirror") for c in range(3)],
        axis=-1,
    )
    near = np.abs(exact + 0.5 - np.round(exact + 0.5)).min()
    assert near > 1e-6, near
    return np.floor(exact + 0.5).astype(np.uint8)


def sharpened(image, alpha, lightness):
    kernel = alpha * np.array([[-1, -1, -1], [-1, 8 + lightness, -1], [-1, -1, -1]], np.float64)
    kernel[1, 1] += 1 - alpha
    return cv2.filter2D(image, -1, kernel)


def main(path):
    image = picture()
    pil = Image.fromarray(image)
    results = {"picture": image, "grey": np.stack([np.asarray(pil.convert("L"))] * 3, axis=-1)}
    for f in (0, 0.35, 0.8, 1.3, 2.7):
        results[f"brightness {f}"] = np.asarray(ImageEnhance.Brightness(pil).enhance(f))
        results[f"contrast {f}"] = np.asarray(ImageEnhance.Contrast(pil).enhance(f))
        results[f"saturation {f}"] = np.asarray(ImageEnhance.Color(pil).enhance(f))
    for sigma in (0.4, 1, 1.7, 4, 9):
        results[f"gaussianBlur {sigma}"] = gaussian(image, sigma)
    for side in (3, 5, 6, 7):
        results[f"boxBlur {side}"] = cv2.blur(image, (side, side))
    for side in (3, 5, 7, 11):
        results[f"medianBlur {side}"] = cv2.medianBlur(image, side)
    for side in (3, 5, 9):
        results[f"opening {side}"] = cv2.morphologyEx(image, cv2.MORPH_OPEN, np.ones((side, side), np.uint8))
    for alpha, lightness in ((0.25, 1), (0.77, 0.8), (1, 1.5)):
        results[f"sharpen {alpha} {lightness}"] = sharpened(image, alpha, lightness)
    made_by = {"PIL": PIL.__version__, "cv2": cv2.__version__, "scipy": scipy.__version__, "numpy": np.__version__}
    coded = {name: base64.b64encode(np.ascontiguousarray(r).tobytes()).decode() for name, r in results.items()}
    with open(path, "w") as f:
        json.dump({"madeBy": made_by, "width": WIDTH, "height": HEIGHT, "results": coded}, f, indent=1)
        f.write("\n")


if __name__ == "__main__":
    main(sys.argv[1])
