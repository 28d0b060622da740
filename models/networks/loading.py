"""Load a network by name: safetensors only, no remote code, kept up to so many bytes, one at a time."""

import hashlib
import json
import sys
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)
from transformers.utils.logging import disable_progress_bar

from models.errors import InputError
from models.networks.anatomy import Anatomy, examine, projection_weight
from models.networks.building import building
from models.networks.catalogue import EMBEDDED, Entry, find
from models.networks.folder import check_files, held, held_or_none, weight_files
from models.networks.hub import ask, bring, downloaded, refuse_without_safetensors
from models.networks.recording import ATTENTION
from models.networks.tokens import is_panic
from models.runtime.kept import Kept
from models.runtime.memory import drop_when_short, make_room
from models.runtime.settings import settings

NETWORKS_SHARE = 0.75  # of what the settings let a process keep; the rest is for traces
WINDOW_OF_ALL = 2**30  # longer than any text, where a network makes a window's mask in any case
LEAST_SHARE = 0.5  # of what a configuration claims that its files hold; poolers may be missing
MOST_SHARED = 64  # layers that may have their weights in common
MOST_LAYERS = 512  # a configuration that claims more is not built even to be measured
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

disable_progress_bar()


@dataclass(frozen=True, eq=False)
class Network:
    """A loaded network. It is shared by all sessions: nothing may be changed on it."""

    entry: Entry  # complete: what the catalogue did not know was read from the network
    model: PreTrainedModel  # in eval mode, without gradients
    tokenizer: PreTrainedTokenizerBase
    device: torch.device
    dtype: torch.dtype
    layers: int
    heads: int
    key_heads: int  # fewer than heads where several queries share keys (GQA, MQA)
    head_width: int  # d_k
    width: int  # of the residual stream
    context: int  # longest input, in tokens
    vocabulary: int  # rows of the embedding
    anatomy: Anatomy

    @property
    def rope_base(self) -> float:
        """The base of its rotary frequencies, as its configuration names it."""
        parameters = getattr(self.model.config, "rope_parameters", None) or {}
        return float(parameters.get("rope_theta", 10_000.0))

    @property
    def changes_beyond(self) -> int | None:
        """The length from which rotary frequencies follow that of the batch; None where they never do.

        LongRoPE's two lists and dynamic NTK: a short text beside a long one is turned as the long one is.
        """
        parameters = getattr(self.model.config, "rope_parameters", None) or {}
        kind = parameters.get("rope_type")
        if kind not in ("longrope", "dynamic") or parameters.get("alpha"):
            return None
        trained = parameters.get("original_max_position_embeddings") if kind == "longrope" else None
        return int(trained or self.model.config.max_position_embeddings)

    @property
    def inverse_frequencies(self) -> tuple[Tensor, ...]:
        """The buffers of rotary frequencies that it holds, as transformers names them."""
        named = self.model.named_buffers()
        return tuple(buffer.float().cpu() for name, buffer in named if name.endswith("inv_freq"))


def network_bytes(network: Network) -> int:
    """Of parameters, each counted once, and buffers."""
    held = (*network.model.parameters(), *network.model.buffers())
    return sum(tensor.nbytes for tensor in held)


def _most_bytes() -> int:
    return int(NETWORKS_SHARE * settings().cache_megabytes * 1e6)


_networks: Kept[tuple[object, ...], Network] = Kept(_most_bytes, network_bytes)
drop_when_short(_networks.clear)
_download_lock = Lock()


def load(name: str, device: str | None = None, dtype: torch.dtype | None = None) -> Network:
    """The network that a catalogue name, hub id or folder stands for.

    Without ``device`` and ``dtype``: CUDA in bfloat16 where there is one, else CPU in float32.
    Raises InputError with one sentence, whatever is wrong with the name, the hub or the files.
    """
    entry = find(name)
    place = _device(device)
    dtype = dtype or (torch.bfloat16 if place.type == "cuda" else torch.float32)
    key = (entry.name, _last_change(entry), str(place), dtype)

    def make() -> Network:
        make_room()
        folder = _folder(entry)
        with building():
            return _load(entry, folder, place, dtype)

    return _networks.get(key, make)


def kept_bytes() -> int:
    """Of the networks in memory that are kept to be used again."""
    return _networks.bytes


def fresh_copy(name: str) -> PreTrainedModel:
    """A network of one's own, to be trained: float32 on the CPU, plain transformers, no tracing.

    Nothing of it is shared or kept. Raises InputError as ``load`` does, and on an encoder.
    """
    network = load(name)
    if network.entry.kind != "causal":
        raise InputError("{name} is an encoder: it has no next token to learn.", name=name)
    with building():
        model = AutoModelForCausalLM.from_pretrained(
            _folder(network.entry),
            dtype=torch.float32,
            attn_implementation="sdpa",
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    return model.eval()


def _device(device: str | None) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:  # a misspelt device; torch without that device
        raise InputError("There is no device {device} here.", device=repr(device)) from error
    return place


def _last_change(entry: Entry) -> int:
    """When the weights of a local network were written, so that a newly trained one is read anew."""
    if entry.source not in ("embedded", "folder"):
        return 0
    weights = _local_folder(entry) / "model.safetensors"
    return weights.stat().st_mtime_ns if weights.is_file() else 0


def _local_folder(entry: Entry) -> Path:
    if entry.source == "embedded":
        return EMBEDDED / entry.location
    if entry.source == "folder":
        return Path(entry.location)
    spec = find_spec(entry.location)
    if spec is None or spec.origin is None:
        raise InputError(
            "{name} comes with the Python package {package}, which is not installed here.",
            name=entry.name,
            package=entry.location.replace("_", "-"),
        )
    return Path(spec.origin).parent / "model"


def _folder(entry: Entry) -> Path:
    """Where the files lie; a hub's are brought first, while other networks can still be loaded."""
    if entry.source != "hub":
        return _local_folder(entry)
    with _download_lock:
        if (folder := downloaded(entry.location)) is not None:
            return folder
        ask(entry.location)
        # What describes the network comes first, so that its weights come only if it is accepted.
        _config(bring(entry.location, weights=False), entry.name)
        return bring(entry.location, weights=True)


def _load(entry: Entry, folder: Path, device: torch.device, dtype: torch.dtype) -> Network:
    check_files(folder, entry.name)
    config = _config(folder, entry.name, held_or_none(folder))
    _check_weights(folder, entry)
    tokenizer = _tokenizer(folder, entry.name)
    model = _model(folder, config, entry.name, device, dtype)
    return network_of(entry, model, tokenizer, device, dtype)


def _config(folder: Path, name: str, weights: tuple[int, int] | None = None) -> PreTrainedConfig:
    """The configuration, after everything in it that rules the network out.

    weights: tensors and numbers in the weight files, where these are there already: a configuration that
        claims far more is believed in nothing.
    """
    try:
        raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        model_type = str(raw.get("model_type", "unknown"))
    except (OSError, ValueError, AttributeError, RecursionError) as error:  # no file, JSON or object
        raise InputError("{name} has no config.json that can be read.", name=name) from error
    if model_type not in CONFIG_MAPPING_NAMES and "auto_map" in raw:
        raise InputError(
            "{name} needs a program of its own to be run, which Loupe never does; "
            "only architectures that transformers knows are loaded.",
            name=name,
        )
    known = {*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, *MODEL_FOR_MASKED_LM_MAPPING_NAMES}
    if raw.get("is_encoder_decoder") or model_type not in known:
        raise InputError(
            "{name} is of the type {model_type}; Loupe looks into decoders such as GPT-2 and Llama, "
            "and encoders such as BERT.",
            name=name,
            model_type=model_type,
        )
    if "quantization_config" in raw:
        raise InputError("{name} is quantized; Loupe loads networks with unquantized weights.", name=name)
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # each architecture checks its own configuration, in its own way
        raise InputError("{name} has no config.json that can be read.", name=name) from error
    _window_of_none(config)
    layers = getattr(config, "num_hidden_layers", 0)
    if weights is not None and isinstance(layers, int) and layers > max(MOST_SHARED, weights[0]):
        raise InputError("The weights of {name} do not fit its config.json.", name=name)
    count = _check_size(config, name)
    if weights is not None and weights[1] < LEAST_SHARE * count:
        raise InputError("The weights of {name} do not fit its config.json.", name=name)
    return config


def _window_of_none(config: PreTrainedConfig) -> None:
    """A window of 0 is written for none by some; taken literally it would hide every key."""
    if getattr(config, "sliding_window", None) == 0:
        config.sliding_window = WINDOW_OF_ALL


def _check_size(config: PreTrainedConfig, name: str) -> int:
    """Build the network without memory for its weights, and count them."""
    try:
        if config.num_hidden_layers > MOST_LAYERS:
            raise ValueError(f"{config.num_hidden_layers} layers")
        with building(), torch.device("meta"):
            skeleton = class_of(config).from_config(
                config, trust_remote_code=False, attn_implementation=ATTENTION
            )
        count = skeleton.num_parameters()
    except Exception as error:  # whatever an architecture says about a configuration that is off
        if isinstance(error, KeyError) and error.args == (ATTENTION,):
            raise InputError(
                "Loupe cannot trace {architecture}: it attends in a way of its own.",
                architecture=config.model_type,
            ) from error
        raise InputError("{name} has a config.json that describes no network.", name=name) from error
    most = settings().largest_network
    if count > most:
        raise InputError(
            "{name} has {count} parameters; at most {most} are loaded here.",
            name=name,
            count=count,
            most=most,
        )
    return count


def class_of(config: PreTrainedConfig) -> Any:
    """The transformers class that gives logits where the weights have a language-model head."""
    architectures = config.architectures or [""]
    if any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in architectures):
        return AutoModelForCausalLM
    if any(name.endswith("ForMaskedLM") for name in architectures):
        return AutoModelForMaskedLM
    return AutoModel


def _check_weights(folder: Path, entry: Entry) -> None:
    """Every weight file is there, whole, and for the packaged network the published one."""
    index = folder / "model.safetensors.index.json"
    try:
        if not index.is_file() and not (folder / "model.safetensors").is_file():
            refuse_without_safetensors(entry.name, [path.name for path in folder.iterdir()])
        held(folder, weight_files(folder))
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError("The weights of {name} are damaged or incomplete.", name=entry.name) from error
    if entry.source == "package":
        with (folder / "model.safetensors").open("rb") as weights:
            if hashlib.file_digest(weights, "sha256").hexdigest() != MINILM_SHA256:
                raise InputError(
                    "The weights of {name} are not those that were published.", name=entry.name
                )


def _tokenizer(folder: Path, name: str) -> PreTrainedTokenizerBase:
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        backend = tokenizer.backend_tokenizer
    except BaseException as error:  # of several libraries, most without a type of their own
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        raise InputError("{name} has no tokenizer.json that can be read.", name=name) from error
    # Settings that some tokenizer files carry along; Loupe cuts texts itself.
    backend.no_truncation()
    backend.no_padding()
    return tokenizer


def _model(
    folder: Path, config: PreTrainedConfig, name: str, device: torch.device, dtype: torch.dtype
) -> PreTrainedModel:
    try:
        model, report = class_of(config).from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            attn_implementation=ATTENTION,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
        model = model.to(device)
    except Exception as error:  # transformers, safetensors and torch raise many kinds
        raise InputError("The weights of {name} do not fit its config.json.", name=name) from error
    # An encoder's pooler is not on the way to anything that is traced.
    if any("pooler" not in key for key in report["missing_keys"]):
        raise InputError("The weights of {name} are damaged or incomplete.", name=name)
    return model.eval().requires_grad_(False)


def network_of(
    entry: Entry,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    device: torch.device,
    dtype: torch.dtype,
) -> Network:
    config = model.config
    anatomy = examine(model, entry.name)
    example = anatomy.example
    context = _context(entry.name, _positions(config), tokenizer.model_max_length)
    complete = replace(
        entry,
        architecture=type(model).__name__,
        kind=_kind(config),
        parameters=model.num_parameters(),
        context=context,
    )
    return Network(
        complete,
        model,
        tokenizer,
        device,
        dtype,
        layers=config.num_hidden_layers,
        heads=example.query.shape[0],
        key_heads=example.key.shape[0],
        head_width=example.query.shape[-1],
        width=projection_weight(anatomy.projections[0]).shape[1],
        context=context,
        vocabulary=len(model.get_input_embeddings().get_parameter("weight")),
        anatomy=anatomy,
    )


def _context(name: str, *longest: Any) -> int:
    """The least of what is claimed as the longest text. Raises InputError on what is no length."""
    for value in longest:
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 1:
            raise InputError(
                "{name} names a longest text of {value}, which is no length.",
                name=name,
                value=repr(value)[:40],
            )
    return int(min(longest))


def _positions(config: PreTrainedConfig) -> int:
    """Positions that a text may take; RoBERTa's begin after the one that stands for padding."""
    positions = getattr(config, "max_position_embeddings", sys.maxsize)
    if "roberta" in config.model_type and isinstance(config.pad_token_id, int):
        return positions - config.pad_token_id - 1
    return positions


def _kind(config: PreTrainedConfig) -> Literal["causal", "encoder"]:
    """Encoders read in both directions; BERT and its like do so unless they say otherwise."""
    is_encoder = config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return "encoder" if is_encoder and not getattr(config, "is_decoder", False) else "causal"
