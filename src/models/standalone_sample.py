"""Reads images with an exported network: `python predict.py IMAGE...`. Needs only onnxruntime, numpy and pillow.

Research and education only, not a diagnosis. Each image must show the part that `read` in the metadata names, and
nothing else.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession(str(Path(__file__).with_name("model.onnx")), providers=["CPUExecutionProvider"])
about = json.loads(session.get_modelmeta().custom_metadata_map["vigil"])
side = about["side"]
for path in sys.argv[1:]:
    with Image.open(path) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    picture = picture.convert("L" if about["grey"] else "RGB").convert(about["mode"])
    if not about["squash"]:
        width, height = picture.size
        shorter = min(width, height)
        picture = picture.resize((int(side * width / shorter), int(side * height / shorter)), about["filter"])
        left, upper = round((picture.width - side) / 2), round((picture.height - side) / 2)
        picture = picture.crop((left, upper, left + side, upper + side))
    pixels = np.asarray(picture.resize((side, side), about["filter"])).reshape(1, side, side, -1)
    (probabilities,) = session.run(None, {"pixels": pixels})[0]
    by_code = {code: float(p) for code, p in zip(about["classes"], probabilities, strict=True)}
    p_malignant = sum(by_code[code] for code in about["malignant"])
    decision = "refer" if p_malignant >= about["threshold"] else "no referral"
    print(json.dumps({"path": path, "p_malignant": p_malignant, "decision": decision, "probabilities": by_code}))
