"""Configurations and tokenizers of tiny networks, of every kind that Loupe looks into."""

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MixtralConfig,
    PreTrainedTokenizerFast,
)

from models.training.training_data import train_tokenizer

LINES = """Margery rowed out to the bell on the rock before the tide turned.
The miller said that the river had never been so high, not even in the year of the flood.
"Who rang it?" asked the boy. "Nobody," said Margery, "and that is what troubles me."
茶馆里的人都说,那只钟从来没有自己响过。
"""
VOCABULARY = 400


def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    """Loupe's own kind, which puts a start token in front."""
    tokenizer = train_tokenizer(LINES, VOCABULARY - 20)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|start|>", model_max_length=64)


def gpt2_tokenizer() -> PreTrainedTokenizerFast:
    """GPT-2's kind, which puts nothing in front."""
    tokenizer = train_tokenizer(LINES, VOCABULARY - 20)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|start|>", model_max_length=64)


def word_piece_tokenizer() -> PreTrainedTokenizerFast:
    """BERT's kind, with the padding and truncation that MiniLM's file carries along."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCABULARY - 20, special_tokens=special, show_progress=False
    )
    tokenizer.train_from_iterator(LINES.splitlines(), trainer)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=8)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        pad_token="[PAD]",
        unk_token="[UNK]",
        model_max_length=64,
    )


def llama_config(width: int = 24, heads: int = 6, key_heads: int = 2, **changes) -> LlamaConfig:
    settings = {
        "vocab_size": VOCABULARY,
        "hidden_size": width,
        "num_hidden_layers": 3,
        "num_attention_heads": heads,
        "num_key_value_heads": key_heads,
        "head_dim": width // heads,
        "intermediate_size": 2 * width,
        "max_position_embeddings": 64,
        "bos_token_id": 0,
        "eos_token_id": None,
        "initializer_range": 0.3,  # attention far from uniform
    }
    return LlamaConfig(**settings | changes)


def mixtral_config(width: int = 24, heads: int = 6, key_heads: int = 2, **changes) -> MixtralConfig:
    settings = {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 5}
    shared = llama_config(width, heads, key_heads).to_diff_dict() | {"model_type": "mixtral"}
    return MixtralConfig(**shared | settings | changes)


def gpt2_config(width: int = 24, heads: int = 4, **changes) -> GPT2Config:
    settings = {
        "vocab_size": VOCABULARY,
        "n_embd": width,
        "n_layer": 3,
        "n_head": heads,
        "n_positions": 64,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "initializer_range": 0.3,
    }
    return GPT2Config(**settings | changes)


def neox_config(width: int = 24, heads: int = 4, **changes) -> GPTNeoXConfig:
    settings = {
        "vocab_size": VOCABULARY,
        "hidden_size": width,
        "num_hidden_layers": 3,
        "num_attention_heads": heads,
        "intermediate_size": 2 * width,
        "max_position_embeddings": 64,
        "initializer_range": 0.3,
    }
    return GPTNeoXConfig(**settings | changes)


def bert_config(width: int = 24, heads: int = 4, **changes) -> BertConfig:
    settings = {
        "vocab_size": VOCABULARY,
        "hidden_size": width,
        "num_hidden_layers": 3,
        "num_attention_heads": heads,
        "intermediate_size": 2 * width,
        "max_position_embeddings": 64,
        "initializer_range": 0.3,
    }
    return BertConfig(**settings | changes)


TOKENIZERS = {"bert": word_piece_tokenizer, "gpt2": gpt2_tokenizer}
