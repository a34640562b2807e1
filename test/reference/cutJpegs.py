"""Golden results for the tolerant reading of src/image/jpeg.ts: what libjpeg-turbo makes of JPEG files that were cut off.

    python3 test/reference/cutJpegs.py test/reference/cutJpegs.json

Needs numpy and pillow (9.4 with libjpeg-turbo 2.1.5 wrote the file). The end marker is put behind each cut, since pillow
otherwise waits for more; libjpeg itself does the same where its input ends.
"""

import base64
import io
import json
import sys

import numpy as np
from PIL import Image

from counterRandom import fold, key_of, threefry

WIDTH, HEIGHT = 77, 61


def picture():
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    key = fold(key_of(5), "cut")
    noise = (threefry(key, np.arange(WIDTH * HEIGHT, dtype=np.uint32), 0)[0] & np.uint32(15)).reshape(HEIGHT, WIDTH)
    channels = [x * 3 + noise, 255 - y * 4 + noise, 128 + 90 * np.sin(x / 9) * np.cos(y / 7)]
    return np.clip(np.stack(channels, axis=-1), 0, 255).astype(np.uint8)


def fnv(data):
    h = 0x811C9DC5
    for b in data:
        h = ((h ^ b) * 0x01000193) & 0xFFFFFFFF
    return h


def saved(image, **options):
    out = io.BytesIO()
    Image.fromarray(image).save(out, "JPEG", **options)
    return out.getvalue()


def read(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).tobytes()


image = picture()
files = {
    "420": saved(image, quality=60, subsampling=2),
    "444": saved(image, quality=50, subsampling=0),
    "422": saved(image, quality=55, subsampling=1),
    "grey": saved(image[..., 0], quality=70),
}
result = {}
for name, data in files.items():
    scan = data.index(b"\xff\xda") + 2 + data[data.index(b"\xff\xda") + 3]
    cuts = [scan + 40 + (len(data) - 2 - scan - 40) * k // 7 for k in range(8)]
    result[name] = {
        "base64": base64.b64encode(data).decode(),
        "hash": fnv(read(data)),
        "cuts": [{"at": c, "hash": fnv(read(data[:c] + b"\xff\xd9"))} for c in cuts],
    }
json.dump(result, open(sys.argv[1], "w"), separators=(",", ":"))
