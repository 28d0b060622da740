"""A mask as Python that anybody can run: for transformers, torch's SDPA, and FlexAttention."""

from typing import Literal

from models.masks.algebra import Mask
from models.networks.catalogue import Entry
from models.networks.tokens import TokenizedText

Library = Literal["transformers", "sdpa", "flex"]

_RANDOM = """n, heads, width = {tokens}, {heads}, {width}
torch.manual_seed(0)
query, key, value = torch.randn(3, 1, heads, n, width)
"""


def mask_function(mask: Mask) -> str:
    """The mask as a function with the signature that both libraries share."""
    preparation = "".join(f"{line}\n" for line in mask.preparation)
    return f"{preparation}\n\ndef mask_mod(b, h, q_idx, kv_idx):\n    return {mask.expression}\n"


def transformers_code(mask: Mask, entry: Entry, tokenized: TokenizedText) -> str:
    """The whole network under this mask; prints the next token's likeliest candidates.

    A four-dimensional mask is taken as it is. Eager attention adds the least finite number, so that a
    query that may read nothing reads everything alike, as on the page. Positions are given, since some
    networks (OPT) would count them from the mask.
    """
    name = "AutoModelForCausalLM" if entry.kind == "causal" else "AutoModel"
    location = f"assets/networks/{entry.location}" if entry.source == "embedded" else entry.location
    if entry.source == "package":
        location = f"{entry.location}/model"  # inside site-packages
    result = (
        "positions = torch.arange(n)[None]\n"
        "logits = model(ids, attention_mask=mask, position_ids=positions).logits[0]\n"
        "print(logits[-1].softmax(-1).topk(8))\n"
        if entry.kind == "causal"
        else "states = model(ids, attention_mask=mask).last_hidden_state[0]\nprint(states)\n"
    )
    return f"""import torch
from transformers import {name}
from transformers.masking_utils import eager_mask

model = {name}.from_pretrained({location!r}, attn_implementation="eager").eval()
ids = torch.tensor([{list(tokenized.token_ids)!r}])
n = ids.shape[1]
{mask_function(mask)}

mask = eager_mask(batch_size=1, q_length=n, kv_length=n, mask_function=mask_mod)
with torch.no_grad():
    {result.replace(chr(10), chr(10) + "    ").rstrip()}
"""


def sdpa_code(mask: Mask, tokens: int, heads: int, width: int) -> str:
    """Torch's scaled_dot_product_attention with a boolean mask, on random queries, keys and values."""
    return f"""import torch
import torch.nn.functional as F

{_RANDOM.format(tokens=tokens, heads=heads, width=width)}{mask_function(mask)}

q_idx, kv_idx = torch.arange(n)[:, None], torch.arange(n)[None, :]
mask = mask_mod(0, 0, q_idx, kv_idx).expand(n, n)  # True: may be read
output = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
print(output)
"""


def flex_code(mask: Mask, tokens: int, heads: int, width: int) -> str:
    """FlexAttention, on the same random queries, keys and values."""
    return f"""import torch
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

{_RANDOM.format(tokens=tokens, heads=heads, width=width)}{mask_function(mask)}

mask = create_block_mask(mask_mod, B=None, H=None, Q_LEN=n, KV_LEN=n, device=query.device)
output = flex_attention(query, key, value, block_mask=mask)  # on a GPU: torch.compile(flex_attention)
print(output)
"""
