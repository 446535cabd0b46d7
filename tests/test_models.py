import jax.numpy as jnp
import pytest

from gpwjax import count, create_model, list_models


def test_list_models_is_sorted_and_names_mobilenet():
    assert list_models() == sorted(list_models())
    assert "mobilenet" in list_models()


@pytest.mark.parametrize("name", list_models())
def test_each_model_is_made_with_its_settings(name):
    model = create_model(
        name,
        7,
        min_channels=16,
        small_images=True,
        dtype=jnp.bfloat16,
        batch_norm_momentum=0.9,
    )
    assert model.classes == 7
    assert model.min_channels == 16
    assert model.small_images
    assert model.dtype == jnp.bfloat16
    assert model.batch_norm_momentum == 0.9


@pytest.mark.parametrize("name", list_models())
def test_settings_are_the_dense_net_for_large_images_by_default(name):
    assert create_model(name, 7) == create_model(
        name,
        7,
        min_channels=None,
        small_images=False,
        dtype=None,
        batch_norm_momentum=None,
    )


def test_each_family_gives_logits_of_its_classes(shallow):
    layers = count(shallow.model.clone(classes=7), (8, 8, 3)).layers
    assert layers[-1].output_shape == (7,)


def test_models_of_equal_settings_are_equal_and_of_others_not():
    # jit compiles once for equal models.
    assert create_model("mobilenet", 10, 16) == create_model("mobilenet", 10, 16)
    assert create_model("mobilenet", 10, 16) != create_model("mobilenet", 10, 32)


def test_an_unknown_name_is_refused_with_the_known_ones():
    known = ", ".join(list_models())
    with pytest.raises(ValueError, match=f"must be one of {known}, got 'mobile'"):
        create_model("mobile", 10)


@pytest.mark.parametrize("value", [0, -1, 10.0, "10", None])
def test_classes_must_be_an_integer_of_at_least_1(value):
    rule = f"classes must be an integer of at least 1, got {value!r}"
    with pytest.raises(ValueError, match=rule):
        create_model("mobilenet", value)


@pytest.mark.parametrize("value", [0, -16, 16.0, "16"])
def test_min_channels_must_be_an_integer_of_at_least_1(value):
    rule = f"min_channels must be an integer of at least 1, got {value!r}"
    with pytest.raises(ValueError, match=rule):
        create_model("mobilenet", 10, value)
