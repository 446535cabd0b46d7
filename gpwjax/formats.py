"""The formats in which a net is exported; `gpwjax.export` writes them.

Imports nothing heavy.
"""

FILES = ("stablehlo", "onnx")
FORMATS = (*FILES, "web", "card")
DTYPES = ("float32", "bfloat16", "int8")  # of the weights
