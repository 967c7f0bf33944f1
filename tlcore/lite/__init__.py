"""TensorFlow's names for what `tlcore.export` does: `lite.TFLiteConverter`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlcore.saving._files import PathLike, as_path
from tlcore.utils.notes import note

if TYPE_CHECKING:
    from tlcore.models import Model

__all__ = ["TFLiteConverter"]

_EXISTS = (
    "tlcore's TFLiteConverter has from_keras_model, from_keras_model_file and convert, and writes "
    "float32 models"
)

# Attributes of TensorFlow's converter, and the values at which they ask for nothing.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "allow_custom_ops": (False,),
    "default_ranges_stats": (None,),
    "drop_control_dependency": (True, False),
    "experimental_new_converter": (True, False),
    "experimental_new_quantizer": (True, False, None),
    "inference_input_type": (None, "float32"),
    "inference_output_type": (None, "float32"),
    "inference_type": (None, "float32"),
    "optimizations": (None, []),
    "post_training_quantize": (False,),
    "quantized_input_stats": (None, {}),
    "representative_dataset": (None,),
    "target_ops": (None,),
    "target_spec": (None,),
}


class _Converters(type):
    def __getattr__(cls, name: str) -> Any:
        raise AttributeError(f"{_EXISTS}, but not {name!r}.")


class TFLiteConverter(metaclass=_Converters):
    """Keras model -> bytes of a `.tflite` file, with TensorFlow's names.

        converter = tlcore.lite.TFLiteConverter.from_keras_model_file("model.h5")
        open("model.tflite", "wb").write(converter.convert())

    Quantisation is not there: setting `optimizations` and the like raises a ValueError.

    Source: `tf.lite.TFLiteConverter` of TensorFlow 1 and 2.
    """

    def __init__(self, model: Model, folder: Path) -> None:
        self._model = model
        self._folder = folder

    @classmethod
    def from_keras_model_file(
        cls,
        model_file: PathLike,
        input_arrays: None = None,
        input_shapes: None = None,
        output_arrays: None = None,
        custom_objects: None = None,
    ) -> TFLiteConverter:
        """A converter for the model in an .h5 file; labels.txt will stand beside that file.

        Raises:
            FileNotFoundError, ValueError: as `tlcore.saving.load_model`; arguments that choose
                parts of a model must be None.
        """
        from tlcore.saving import load_model

        chosen = {
            "input_arrays": input_arrays,
            "input_shapes": input_shapes,
            "output_arrays": output_arrays,
            "custom_objects": custom_objects,
        }
        for name, value in chosen.items():
            if value:
                raise ValueError(f"{name} must be None, got {value!r}: whole models are converted.")
        path = as_path(model_file, "model_file")
        return cls(load_model(path, compile=False), path.parent)

    @classmethod
    def from_keras_model(cls, model: Model) -> TFLiteConverter:
        """A converter for `model`; labels.txt will stand in the current folder."""
        from tlcore.models import Model

        if not isinstance(model, Model):
            raise TypeError(f"model must be a tlcore model, got {type(model).__name__}.")
        return cls(model, Path())

    def convert(self) -> bytes:
        """The bytes of the `.tflite` file; writes labels.txt if the model has class names.

        labels.txt stands beside the file or folder that the converter was made from, and also
        inside the bytes, which are a zip archive as well.

        Raises:
            ValueError: the model's input shape is unknown.
        """
        from tlcore.export import tflite_bytes, write_labels

        content = tflite_bytes(self._model)
        try:
            labels = write_labels(self._model, self._folder)
        except OSError as err:  # the conversion is worth more; the names are in its bytes too
            note(f"labels.txt could not be written ({err}); the class names are in the model.")
            return content
        if labels is not None:
            note(f"the class names are in {labels}, in the order of the outputs.")
        return content

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
            return
        if name not in _NEUTRAL:
            raise AttributeError(f"{_EXISTS}, but not {name!r}.")
        said = getattr(value, "__name__", value)  # numpy.float32 and "float32" alike
        if not any(type(said) is type(neutral) and said == neutral for neutral in _NEUTRAL[name]):
            raise ValueError(f"{_EXISTS}, so {name}={value!r} is not possible.")

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{_EXISTS}, but not {name!r}.")


def __getattr__(name: str) -> Any:
    raise AttributeError(f"tlcore.lite does not have {name}: {_EXISTS}.")
