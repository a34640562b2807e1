"""Golden results for src/image/jpegEncode.ts: what Pillow, and OpenCV where it is installed, write with libjpeg-turbo.

    python3 test/reference/jpegEncode.py test/reference/jpegEncode.json

Needs numpy and pillow. Pillow 9.4 with libjpeg-turbo 2.1.5 wrote the file; Pillow 12.3 with libjpeg-turbo 3.1.4 and
OpenCV 4.14 with libjpeg-turbo 3.1.2 write the same. The encoder was also held against all three on 594 other pictures,
photographs among them: 5,576 files, all equal. Pictures are drawn from whole numbers and counterRandom.py, so that
the file holds hashes only: the first 16 hexadecimal digits of SHA-256.
"""

import base64
import hashlib
import io
import json
import sys

import numpy as np
from PIL import Image, features

from counterRandom import fold, key_of, threefry

try:
    import cv2
except ImportError:
    cv2 = None

SIZES = [(1, 1), (7, 9), (16, 16), (33, 17), (112, 112)]
QUALITIES = [1, 30, 75, 90, 95, 100]
SUBSAMPLINGS = ["4:4:4", "4:2:2", "4:2:0"]


def noise(width, height):
    key = fold(key_of(5), "jpegEncode")
    counters = np.arange(width * height * 3, dtype=np.uint32)
    return (threefry(key, counters, 0)[0] & np.uint32(255)).astype(np.int64).reshape(height, width, 3)


def face(width, height):
    """A head of skin, hair above, two eyes, a mouth, before a background that changes from left to right."""
    y, x = np.mgrid[0:height, 0:width]
    u = (2 * x + 1) * 64 // width - 64
    v = (2 * y + 1) * 64 // height - 64
    image = np.stack([40 + u // 2 + 64, 90 + v // 4, 150 - u // 2], axis=-1)
    image[u * u * 25 + v * v * 16 < 48400] = (205, 158, 132)
    image[(u * u * 25 + v * v * 16 < 52900) & (v < -24)] = (52, 38, 30)
    for centre in (-19, 19):
        image[(u - centre) ** 2 + (v + 8) ** 2 * 4 < 100] = (240, 240, 238)
        image[(u - centre) ** 2 + (v + 8) ** 2 < 16] = (30, 60, 90)
    image[u * u + (v - 28) ** 2 * 12 < 360] = (170, 60, 66)
    return np.clip(image + (noise(width, height) & 7) - 4, 0, 255)


PICTURES = {
    "noise": noise,
    "extremes": lambda width, height: (noise(width, height) & 1) * 255,
    "flat": lambda width, height: np.tile(np.array([200, 30, 90]), (height, width, 1)),
    "face": face,
}


def hashed(data):
    return hashlib.sha256(data).hexdigest()[:16]


def saved(image, quality, subsampling):
    out = io.BytesIO()
    Image.fromarray(image).save(out, "JPEG", quality=quality, subsampling=subsampling)
    data = out.getvalue()
    if cv2 is not None:
        factor = getattr(cv2, "IMWRITE_JPEG_SAMPLING_FACTOR_" + subsampling.replace(":", ""))
        options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor]
        assert cv2.imencode(".jpg", image[..., ::-1].copy(), options)[1].tobytes() == data
    return data


def defaults(image):
    """What the programs write unless told how to sample."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, "JPEG", quality=95)
    if cv2 is not None:
        assert cv2.imencode(".jpg", image[..., ::-1].copy())[1].tobytes() == out.getvalue()
    return out.getvalue()


def main(path):
    pictures, files = {}, {}
    for name, draw in PICTURES.items():
        for width, height in SIZES:
            image = draw(width, height).astype(np.uint8)
            picture = f"{name} {width}x{height}"
            pictures[picture] = hashed(image.tobytes())
            for subsampling in SUBSAMPLINGS:
                files[f"{picture} {subsampling}"] = [hashed(saved(image, q, subsampling)) for q in QUALITIES]
    large = noise(640, 480).astype(np.uint8)
    small = face(7, 9).astype(np.uint8)
    result = {
        "pillow": Image.__version__,
        "libjpegTurbo": features.version_feature("libjpeg_turbo"),
        "qualities": QUALITIES,
        "pictures": pictures,
        "files": files,
        "default face 112x112": hashed(defaults(face(112, 112).astype(np.uint8))),
        "noise 640x480 4:4:4 100": hashed(saved(large, 100, "4:4:4")),
        "face 7x9 4:2:0 90": base64.b64encode(saved(small, 90, "4:2:0")).decode(),
        # every quality has its own tables
        "face 16x16 4:2:0 1 to 100": hashed(
            b"".join(saved(face(16, 16).astype(np.uint8), q, "4:2:0") for q in range(1, 101))
        ),
    }
    with open(path, "w") as out:
        json.dump(result, out, indent=1)
        out.write("\n")


main(sys.argv[1])
