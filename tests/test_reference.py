"""Our nets beside the authors' Keras nets, with the same drawn weights and images.

The reference lists the layers of each Keras net with their inputs, means, standard
deviations and a few values. Each layer that has weights is found in our net by the name
of its weights, and its input and its output are compared. What lies between the layers
with weights (activations, interleaving, sums, concatenations, pooling) is the input of
one of them.
"""

import importlib.util
from functools import partial

import jax
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict

from gpwjax import GroupedPointwise, create_model, from_keras, interleave
from gpwjax.keras import LAYER_NAMES

# Reference of `shared` -> name and min_channels of the net, image size.
REFERENCES = {
    "densenet_bc_l100_none_32": ("densenet_bc_l100", None, 32),
    "densenet_bc_l100_12ch_32": ("densenet_bc_l100", 12, 32),
    "efficientnet_b0_none_224": ("efficientnet_b0", None, 224),
    "efficientnet_b0_16ch_32": ("efficientnet_b0", 16, 32),
    "mobilenet_none_224": ("mobilenet", None, 224),
    "mobilenet_16ch_224_paper": ("mobilenet", 16, 224),
    "mobilenet_v3_large_none_224": ("mobilenet_v3_large", None, 224),
    "mobilenet_v3_large_16ch_224": ("mobilenet_v3_large", 16, 224),
}
# Our layers, by the end of their path, whose activation is inside the authors' layer.
ACTIVATION_INSIDE = {
    "densenet_bc_l100_none_32": {"head": nn.softmax},
    "densenet_bc_l100_12ch_32": {"head": nn.softmax, "/conv": nn.relu},
    "efficientnet_b0_none_224": {
        "head": nn.softmax,
        "squeeze_excite/reduce/K": nn.swish,
        "squeeze_excite/expand/K": nn.sigmoid,
    },
    "efficientnet_b0_16ch_32": {"head": nn.softmax},
}
WITH_WEIGHTS = ("Conv2D", "DepthwiseConv2D", "BatchNormalization", "Dense")


@pytest.fixture(scope="module")
def draw_weights(shared):
    """The authors' module that draws the weights and the images."""
    path = shared / "reference/draw_weights.py"
    spec = importlib.util.spec_from_file_location("draw", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=REFERENCES)
def reference(request, shared, draw_weights):
    """The authors' numbers, our logits, and Keras layer -> our input and output."""
    with np.load(shared / f"reference/{request.param}.npz") as file:
        authors = dict(file)
    name, min_channels, size = REFERENCES[request.param]
    model = create_model(name, 10, min_channels, small_images=size == 32)
    names = [str(name) for name in authors["weight_name"]]
    weights = draw_weights.draw(names, authors["weight_shape"], soft=True)
    variables = from_keras(model, dict(zip(names, weights, strict=True)))
    inside = ACTIVATION_INSIDE.get(request.param, {})
    run = jax.jit(partial(logits_and_layers, model, inside))
    logits, layers = jax.device_get(run(variables, draw_weights.images(size)))
    channels_last = layers[-1] | {
        name: [np.moveaxis(array, 0, -1) for array in pair]
        for name, pair in layers[0].items()
    }
    return authors, logits, channels_last


def logits_and_layers(model, activation_inside, variables, images):
    """The logits, and input and output of each layer with weights, by the axis of their
    channels and by the name of the layer."""
    paths = {path[:-1] for path in flatten_dict(variables["params"])}
    layers = {0: {}, -1: {}}

    def record(call, args, kwargs, context):
        output = call(*args, **kwargs)
        path = context.module.path
        if path in paths and context.method_name == "__call__":
            activated = output
            for end, activation in activation_inside.items():
                if "/".join(path).endswith(end):
                    activated = activation(output)
            name = LAYER_NAMES[type(model)](list(path), model)
            axis = getattr(context.module, "axis", -1)
            x, *steps = args
            if type(context.module) is GroupedPointwise and steps:
                x = interleave(x, steps[0], axis)  # in L, part of the product
            layers[axis][name] = x, activated
        return output

    with nn.intercept_methods(record):
        return model.apply(variables, images, train=False), layers


def test_logits_equal_the_authors(reference):
    authors, logits, _ = reference
    np.testing.assert_allclose(logits, authors["soft_logits64"], rtol=0, atol=1e-4)


def test_every_layer_equals_the_authors(reference):
    authors, _, layers = reference
    names = authors["layer_name"].tolist()
    kinds, inputs = (
        dict(zip(names, authors[f"layer_{of}"].tolist(), strict=True))
        for of in ("class", "inputs")
    )
    assert {name for name in names if kinds[name] in WITH_WEIGHTS} == set(layers)
    pairs = []  # row of a layer of the authors, our array
    for name, (x, y) in layers.items():
        before = inputs[name]
        if kinds.get(before) == "ZeroPadding2D":
            before = inputs[before]
        if before in names:  # all but the images
            pairs.append((names.index(before), x))
        pairs.append((names.index(name), y))
    # In the order of the net, so that the first layer that differs fails.
    for row, ours in sorted(pairs, key=lambda pair: pair[0]):
        expected = [authors[f"soft_layer_{of}"][row] for of in ("mean", "std", "probe")]
        np.testing.assert_allclose(
            figures(ours), np.hstack(expected), rtol=0, atol=1e-4, err_msg=names[row]
        )


def figures(x):
    """Mean, standard deviation, 8 channels of the middle pixel of the first image."""
    middle = x[0] if x.ndim == 2 else x[0, x.shape[1] // 2, x.shape[2] // 2]
    probe = np.full(8, np.nan)
    probe[: len(middle)] = middle[:8]
    return [x.mean(dtype=np.float64), x.std(dtype=np.float64), *probe]
