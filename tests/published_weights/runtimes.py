"""The packages' networks in the packages' own runtimes: ncnn and onnxruntime, on the CPU.

Pre- and post-processing are written here once more, with numpy and OpenCV alone.
"""

from pathlib import Path

import cv2
import numpy as np
import torch

from models.data.pixels import Alpha, Floats, Pixels

SIDE = 1024


class NcnnRealEsrgan:
    """Real-ESRGAN x4plus in ncnn, computed in single precision."""

    def __init__(self, files: Path) -> None:
        import ncnn

        self._ncnn = ncnn
        self._net = ncnn.Net()
        self._net.opt.use_vulkan_compute = False
        self._net.opt.num_threads = torch.get_num_threads()
        for name in ("packed", "storage", "arithmetic"):
            setattr(self._net.opt, f"use_fp16_{name}", False)
        self._net.load_param(str(files.with_suffix(".param")))
        self._net.load_model(str(files.with_suffix(".bin")))

    def enlarge(self, image: Pixels) -> Pixels:
        """The image, uint8 HxWx3, four times as large."""
        planes = np.ascontiguousarray(image.transpose(2, 0, 1), np.float32) / np.float32(255)
        extractor = self._net.create_extractor()
        extractor.input("data", self._ncnn.Mat(planes))
        _, output = extractor.extract("output")
        levels = np.rint(np.clip(np.array(output), 0, 1) * 255)
        return np.asarray(levels, np.uint8).transpose(1, 2, 0)


class OnnxIsnet:
    """IS-Net in onnxruntime."""

    def __init__(self, file: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            file, options, providers=["CPUExecutionProvider"]
        )

    def salience(self, levels: Floats) -> Floats:
        """The finest map, float32 [1024, 1024] in 0..1, of levels [1024, 1024, 3] in 0..255."""
        pixels = (levels / np.float32(255) - np.float32(0.5)).transpose(2, 0, 1)[None]
        (output,) = self._session.run(["output"], {"input": np.ascontiguousarray(pixels)})
        return np.asarray(output[0, 0], np.float32)

    def alpha(self, salience: Floats, size: tuple[int, int]) -> Alpha:
        """The map at a photo's size (height, width), stretched to 0..1 in whole levels."""
        resized = cv2.resize(salience, size[::-1], interpolation=cv2.INTER_LINEAR)
        low, high = resized.min(), resized.max()
        levels = np.trunc((resized - low) / (high - low) * 255)
        return np.asarray(levels / 255, np.float32)


def prepare(image: Pixels) -> Floats:
    """The levels of a photo at 1024x1024, truncated as in the authors' program; float32 HxWx3."""
    resized = cv2.resize(image.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.trunc(resized), np.float32)
