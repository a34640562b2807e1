"""NumPy files of one dict of dicts of arrays, as numpy.save writes them, with pickle protocols 2 and 3; and what is none.

    python3 test/reference/npyDict.py > test/reference/npyDict.json
"""

import base64
import io
import json
import pickle

import numpy as np

layers = {
    "conv1": {"weights": np.arange(12, dtype="<f4").reshape(2, 3, 1, 2) / 4, "biases": np.array([-1, 0.5], "<f4")},
    "fc-2": {"weights": np.asfortranarray(np.arange(6, dtype="<f8").reshape(2, 3))},
    "prelu1": {"alpha": np.array([0.25], ">f4")},
}


def saved(value, protocol):
    out = io.BytesIO()
    array = np.empty((), dtype=object)
    array[()] = value
    np.lib.format.write_array_header_1_0(out, np.lib.format.header_data_from_array_1_0(array))
    pickle.dump(array, out, protocol=protocol)
    return base64.b64encode(out.getvalue()).decode()


class Hostile:
    def __reduce__(self):
        return (print, ("executed",))


print(
    json.dumps(
        {
            "protocol2": saved(layers, 2),
            "protocol3": saved(layers, 3),
            "list": saved([1, 2], 3),
            "flat": saved({"a": np.zeros(2)}, 3),
            "objects": saved({"a": {"b": np.array([None, 1], dtype=object)}}, 3),
            "hostile": saved({"a": {"b": Hostile()}}, 3),
            "expected": {
                layer: {name: {"shape": list(w.shape), "data": w.flatten().tolist()} for name, w in weights.items()}
                for layer, weights in layers.items()
            },
        }
    )
)
