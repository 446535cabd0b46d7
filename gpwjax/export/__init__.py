"""Trained nets for other programs: StableHLO and ONNX files, and a web page."""

from gpwjax.export.files import BOUNDS, PICTURES, export

__all__ = ["BOUNDS", "PICTURES", "export"]
